"""What does a client get, and what is kept, when the upstream fails, lies, stalls or is somebody else? THREATS A5, A10,
B5, B7, D1.

At a running edge, through its origin, whose upstream is a small server here. Each behaviour has a project of its own:
first the upstream behaves so, then it is well, and the client must get the right bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.hostile.archives import plain_zip
from bench.hostile.rooms.pypi import wheel_members
from bench.hostile.speaking import Ended, Malformed, Reset, Said
from tests.harness.pairs import Pair
from tests.harness.upstreams import Item, Upstream, noise, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.native

REPOSITORY = "demo/pulled"
JSON = "application/vnd.pypi.simple.v1+json"
LOGIN = b"<html><head><title>Log in</title></head><body><form action=/login>evil-marker</form></body></html>"
EVIL = {"X-Evil": "evil-marker", "Set-Cookie": "evil-marker=1", "Content-Security-Policy": "evil-marker"}


def project(name: str) -> tuple[str, bytes]:
    """Its file's name and bytes."""
    spelt = name.replace("-", "_")
    return f"{spelt}-1.0-py3-none-any.whl", plain_zip({**wheel_members(name, "1.0"), "pkg/data": noise(200_000)})


def page(name: str, **changed: object) -> Item:
    filename, data = project(name)
    told = {"filename": filename, "url": f"../../files/{filename}", "size": len(data)}
    told |= {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
    body = {"meta": {"api-version": "1.1"}, "name": name, "files": [told | changed], "versions": ["1.0"]}
    return Item(json.dumps(body).encode(), headers={"Content-Type": JSON})


PAGES: dict[str, Item] = {
    "500": Item(b"{}", status=500),
    "501": Item(b"{}", status=501),
    "502 with html": Item(LOGIN, status=502, headers={"Content-Type": "text/html"}),
    "503": Item(b"", status=503, headers={"Retry-After": "99999"}),
    "429": Item(b"", status=429),
    "401": Item(b"", status=401, headers={"WWW-Authenticate": 'Basic realm="evil-marker"'}),
    "403 with html": Item(LOGIN, status=403, headers={"Content-Type": "text/html"}),
    "a login page": Item(LOGIN, headers={"Content-Type": "text/html"}),
    "a login page as json": Item(LOGIN, headers={"Content-Type": JSON}),
    "204": Item(b"", status=204),
    "206": Item(b"{}", status=206, headers={"Content-Range": "bytes 0-1/9"}),
    "304": Item(b"", status=304),
    "an empty body": Item(b"", headers={"Content-Type": JSON}),
    "a cut body": Item(b'{"name": "x", "files": []}' * 50, cut_at=40, headers={"Content-Type": JSON}),
    "a longer length": Item(b"{}", length_lie=10, headers={"Content-Type": JSON}),
    "cut chunks": Item(b"x" * 90_000, chunked=True, cut_at=50_000, headers={"Content-Type": JSON}),
    "no length and no end": Item(raw=b"HTTP/1.1 200 OK\r\n\r\n{"),
    "no http": Item(raw=b"SSH-2.0-evil\r\n"),
    "nothing": Item(raw=b"\r\n"),
    "two lengths": Item(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    "length and chunks": Item(
        raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "a split header": Item(raw=b"HTTP/1.1 200 OK\r\nX: a\n b\r\nContent-Length: 2\r\n\r\n{}"),
    "broken gzip": Item(b"\x1f\x8b\x08broken", headers={"Content-Type": JSON, "Content-Encoding": "gzip"}),
    "an unknown coding": Item(b"{}", headers={"Content-Type": JSON, "Content-Encoding": "evil"}),
    "deep json": Item(b"[" * 100_000, headers={"Content-Type": JSON}),
    "not utf-8": Item(b'{"name":"\xff"}', headers={"Content-Type": JSON}),
    "rubbish": Item(noise(5_000), headers={"Content-Type": JSON}),
    "a loop": Item(b"", status=302, headers={"Location": "/loop/"}),
    "a redirect to a file": Item(b"", status=302, headers={"Location": "file:///etc/passwd"}),
    "a redirect to metadata": Item(b"", status=302, headers={"Location": "http://169.254.169.254/x"}),
    "a redirect to nowhere": Item(b"", status=302),
    "silence": Item(silent=True),
}  # fmt: skip

FILES = ("500", "503", "404", "403 with html", "a login page", "wrong last byte", "cut", "longer length", "shorter",
         "longer", "cut chunks", "gzip of it", "206", "no http", "nothing", "a loop", "silence",
         "evil headers")  # fmt: skip


def file_item(kind: str, data: bytes) -> Item:
    """How the file's own address lies."""
    lies = {
        "wrong last byte": Item(data, wrong_last=True), "cut": Item(data, cut_at=len(data) // 2),
        "longer length": Item(data, length_lie=9), "shorter": Item(data[:-9]), "longer": Item(data + b"x" * 9),
        "cut chunks": Item(data, chunked=True, cut_at=150_000), "404": Item(b"", status=404),
        "gzip of it": Item(data, headers={"Content-Encoding": "gzip"}), "evil headers": Item(data, headers=EVIL),
    }  # fmt: skip
    return lies.get(kind) or PAGES[kind]


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with upstream() as made:
        made.items["/loop/"] = Item(b"", status=302, headers={"Location": "/loop/"})
        yield made


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, server: Upstream) -> Iterator[Pair]:
    limits = {"silence_seconds_max": 1.0, "connect_seconds_max": 1.0}
    with Pair(tmp_path_factory.mktemp("upstream") / "pair", cache=limits) as made:
        call(made, "/repositories", {"workspace": "demo", "name": "pulled", "public": True})
        told: dict[str, object] = {"format": "pypi", "url": f"{server.url}/simple/", "private_network": True}
        told |= {"fresh_s": 0, "negative_s": 0}
        call(made, f"/repositories/{REPOSITORY}/upstreams", told)
        until(lambda: get(made, "simple/absent-probe/") is not None, "the edge has heard of the upstream")
        yield made
        assert '"level":"error"' not in made.words()
        assert "Traceback" not in made.words()


def call(pair: Pair, path: str, body: dict[str, object]) -> None:
    data = json.dumps(body).encode()
    with pair.origin.speaker() as speaker:
        head = f"POST /-/api/v1{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {pair.token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        speaker.send(head.encode() + data)
        assert speaker.hear().status == 201


def get(pair: Pair, path: str, wanted: str = "") -> Said | None:
    """What a client of the edge gets; None where its answer breaks off."""
    with pair.edge.speaker(patience_s=60.0) as speaker:
        ranged = f"Range: {wanted}\r\n" if wanted else ""
        speaker.send(f"GET /{REPOSITORY}/pypi/{path} HTTP/1.1\r\nHost: a\r\nAccept: {JSON}\r\n{ranged}\r\n".encode())
        try:
            return speaker.hear()
        except (Reset, Ended):
            return None
        except Malformed as error:
            raise AssertionError(f"{path}: {error}") from error


def clean(said: Said) -> None:
    """Nothing of the upstream's words or headers came through."""
    assert "evil-marker" not in json.dumps(said.headers) + said.body.decode("latin-1")


def until_whole(pair: Pair, path: str, body: bytes | None = None) -> Said:
    """A failure is not asked about again at once: until the upstream's well-being is noticed."""
    for _ in range(2_000):
        said = get(pair, path)
        if said is not None and said.status == 200 and (body is None or said.body == body):
            return said
        assert said is None or said.status in (404, 502, 503, 504), said
    raise AssertionError(f"{path} did not recover: {said}")


@pytest.mark.parametrize("kind", list(PAGES))
def test_b5_a_page_that_is_none(pair: Pair, server: Upstream, kind: str) -> None:
    name = f"page-{list(PAGES).index(kind)}"
    filename, data = project(name)
    server.items[f"/simple/{name}/"] = PAGES[kind]
    said = get(pair, f"simple/{name}/")
    assert said is not None
    assert said.status in (404, 502, 503, 504), (kind, said)
    clean(said)
    server.items[f"/simple/{name}/"], server.items[f"/files/{filename}"] = page(name), Item(data)
    assert filename.encode() in until_whole(pair, f"simple/{name}/").body
    assert until_whole(pair, f"files/{name}/{filename}", data).body == data


@pytest.mark.parametrize("kind", FILES)
def test_b7_d1_a_file_that_is_another(pair: Pair, server: Upstream, kind: str) -> None:
    """No client takes wrong bytes for the whole, and nothing of them is kept. One that breaks off may be mended by
    asking for the rest."""
    name = f"file-{FILES.index(kind)}"
    filename, data = project(name)
    server.items[f"/simple/{name}/"], server.items[f"/files/{filename}"] = page(name), file_item(kind, data)
    until_whole(pair, f"simple/{name}/")
    for wanted in ("", "bytes=0-99", ""):
        said = get(pair, f"files/{name}/{filename}", wanted)
        if said is not None and said.status in (200, 206):
            assert said.body == (data if said.status == 200 else data[:100]), (kind, wanted)
        elif said is not None:
            assert said.status in (404, 502, 503, 504), (kind, said)
        if said is not None:
            clean(said)
    server.items[f"/files/{filename}"] = Item(data)
    assert until_whole(pair, f"files/{name}/{filename}", data).body == data


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/x.whl", "file:///etc/passwd", "javascript:x", "", "//", "\r\nX: y"]
)
def test_d2_a_file_that_lies_elsewhere(pair: Pair, server: Upstream, url: str) -> None:
    name = f"elsewhere-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    filename, _ = project(name)
    server.items[f"/simple/{name}/"] = page(name, url=url)
    for path in (f"simple/{name}/", f"files/{name}/{filename}"):
        said = get(pair, path)
        assert said is None or said.status in (200, 404, 502, 503, 504), said
        assert said is None or b"root:" not in said.body
    said = get(pair, f"files/{name}/{filename}")
    assert said is None or said.status != 200


ODD_FILENAMES = (
    "a\r\nSet-Cookie: x=y-1.0.tar.gz", 'a"b-1.0.tar.gz', "../../etc/passwd", "a\0-1.0.tar.gz", "é-1.0.tar.gz",
    "a\u202e-1.0.tar.gz", "<script>-1.0.tar.gz", "a/b-1.0.tar.gz", "a\\b-1.0.tar.gz", "x" * 3_000,
)  # fmt: skip


def test_a5_no_name_of_an_upstream_splits_a_header_or_a_page(pair: Pair, server: Upstream) -> None:
    for number, filename in enumerate(ODD_FILENAMES):
        name = f"odd-{number}"
        server.items[f"/simple/{name}/"] = page(
            name, filename=filename, yanked=filename, **{"requires-python": filename, "upload-time": filename}
        )
        said = get(pair, f"simple/{name}/")
        assert said is not None
        assert said.status in (200, 404, 502), said
        assert b"<script>" not in said.body
        assert b"\nSet-Cookie" not in said.body


def test_a10_ranges_are_answered_while_the_file_still_comes(pair: Pair, server: Upstream) -> None:
    name = "filling"
    filename, data = project(name)
    item = Item(data, pause_at=120_000)
    server.items[f"/simple/{name}/"], server.items[f"/files/{filename}"] = page(name), item
    until_whole(pair, f"simple/{name}/")
    path = f"files/{name}/{filename}"
    with ThreadPoolExecutor(4) as crowd:
        whole = crowd.submit(get, pair, path)
        for first, last in ((0, 0), (0, 99), (5_000, 60_000), (1, 1)):
            said = get(pair, path, f"bytes={first}-{last}")
            assert said is not None
            assert (said.status, said.body) == (206, data[first : last + 1])
        late = [crowd.submit(get, pair, path, wanted) for wanted in ("bytes=110000-130000", "bytes=-7")]
        beyond = get(pair, path, f"bytes={len(data)}-")
        assert beyond is not None
        assert beyond.status == 416
        item.gate.set()
        answers = [one.result() for one in (whole, *late)]
    assert [one.body for one in answers if one] == [data, data[110_000:130_001], data[-7:]]
    assert server.count(f"/files/{filename}") <= 2, "one fetch, and a range far ahead"
