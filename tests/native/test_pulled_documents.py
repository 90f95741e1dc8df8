"""Is a digest file told from the bytes that are here, and whose document is given out where a name is ours and theirs?

The first is Pull.digest_of, the second a Show that can be pulled, of a name that was published here and is allowed.
Maven has both. THREATS B1, C14, D1.
"""

import hashlib
import uuid
from collections.abc import Iterator

import pytest

from tests.harness import maven_layout
from tests.harness.registry import bearer
from tests.harness.running import Got, Up, get
from tests.harness.upstreams import Item, Upstream, noise, upstream

pytestmark = pytest.mark.native

DOORS = ("origin", "edge")
OURS = "org/ours/lib"
LIE = b"0" * 40


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as one:
        yield one


def drawing(node: Up, server: Upstream, *more: str) -> str:
    repository = f"{node.workspace}/documents-{uuid.uuid4().hex[:8]}"
    node.entrepot("repo", "create", repository, url=node.edge)
    at = f"{server.url}/"
    node.entrepot("upstream", "add", repository, "maven", at, "--private-network", *more, url=node.edge)
    return repository


def ask(node: Up, door: str, repository: str, path: str, method: str = "GET", body: bytes | None = None) -> Got:
    return get(f"{getattr(node, door)}/{repository}/maven/{path}", bearer(node.token), method, body)


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).hexdigest().encode()


# ---------------------------------------------------------------- digests of files


@pytest.mark.parametrize("door", DOORS)
def test_d1_a_digest_is_that_of_the_bytes_which_are_here(node: Up, server: Upstream, door: str) -> None:
    """Whatever the upstream says of it, which is not even asked."""
    repository = drawing(node, server)
    at, data = "org/theirs/lib/1.0/lib-1.0.jar", noise(100_000)
    server.items[f"/{at}"] = Item(data)
    for algorithm in ("sha1", "md5", "sha256", "sha512"):
        server.items[f"/{at}.{algorithm}"] = Item(LIE)
    assert ask(node, door, repository, at).body == data
    for algorithm in ("sha1", "md5", "sha256"):
        told = hashlib.new(algorithm, data).hexdigest().encode()
        got = ask(node, door, repository, f"{at}.{algorithm}")
        assert (got.status, got.body) == (200, told)
        head = ask(node, door, repository, f"{at}.{algorithm}", "HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(told)))
        anonymous = get(f"{getattr(node, door)}/{repository}/maven/{at}.{algorithm}")
        assert anonymous.status == 401, "B1: a digest is as private as its file"
        assert server.count(f"/{at}.{algorithm}") == 0
    # one that was not computed on the way is theirs
    assert ask(node, door, repository, f"{at}.sha512").body == LIE


@pytest.mark.parametrize("door", DOORS)
def test_a_digest_of_what_is_not_here_is_the_upstreams_own_and_asked_for_once(
    node: Up, server: Upstream, door: str
) -> None:
    repository = drawing(node, server)
    at = "org/theirs/other/1.0/other-1.0.jar.sha1"
    server.items[f"/{at}"] = Item(b"their own words")
    for _ in range(2):
        got = ask(node, door, repository, at)
        assert (got.status, got.body, got.headers["content-type"]) == (
            200,
            b"their own words",
            "text/plain; charset=utf-8",
        )
    assert server.count(f"/{at}") == 1
    assert server.count(f"/{at.removesuffix('.sha1')}") == 0
    assert ask(node, door, repository, at.replace("1.0", "2.0")).status == 404


# ---------------------------------------------------------------- ours first, else theirs


def both(server: Upstream, version: str) -> tuple[str, bytes]:
    """A file of our own package's name that the upstream has: (its path, its bytes)."""
    at, data = f"{OURS}/{version}/lib-{version}.pom", maven_layout.pom("org.ours", "lib", version, more="<!-- up -->")
    server.items[f"/{at}"] = Item(data)
    server.items[f"/{at}.sha1"] = Item(sha1(data))
    return at, data


@pytest.mark.parametrize("door", DOORS)
def test_c14_of_a_name_that_is_ours_and_allowed_ours_goes_first_and_theirs_where_we_have_none(
    node: Up, server: Upstream, door: str
) -> None:
    repository = drawing(node, server, "--allow", OURS)
    first, _ = both(server, "1.0")
    second, theirs = both(server, "2.0")
    ours = maven_layout.pom("org.ours", "lib", "1.0")
    assert ask(node, door, repository, first, "PUT", ours).status in (200, 201)
    for _ in range(2):  # on its way, then from the cache
        assert ask(node, door, repository, f"{first}.sha1").body == sha1(ours)
        got = ask(node, door, repository, f"{second}.sha1")
        assert (got.status, got.body) == (200, sha1(theirs))
        assert ask(node, door, repository, f"{second}.sha1", "HEAD").headers["content-length"] == "40"
    assert server.count(f"/{first}.sha1") == 0
    assert server.count(f"/{second}.sha1") == 1
    assert ask(node, door, repository, f"{OURS}/3.0/lib-3.0.pom.sha1").status == 404
    assert ask(node, door, repository, first).body == ours
    assert ask(node, door, repository, second).body == theirs


@pytest.mark.parametrize("door", DOORS)
def test_c14_of_a_name_that_is_ours_alone_nothing_of_theirs_is_shown(node: Up, server: Upstream, door: str) -> None:
    repository = drawing(node, server)
    second, theirs = both(server, "2.0")
    assert ask(node, door, repository, second).body == theirs, "before it is ours"
    assert ask(node, door, repository, f"{second}.sha1").body == sha1(theirs)
    first = f"{OURS}/1.0/lib-1.0.pom"
    ours = maven_layout.pom("org.ours", "lib", "1.0")
    assert ask(node, door, repository, first, "PUT", ours).status in (200, 201)
    before = len(server.asked)
    for path in (second, f"{second}.sha1", f"{second}.sha256", f"{OURS}/3.0/lib-3.0.pom.sha1"):
        for method in ("GET", "HEAD"):
            assert ask(node, door, repository, path, method).status == 404, path
    assert ask(node, door, repository, f"{first}.sha1").body == sha1(ours)
    assert len(server.asked) == before
