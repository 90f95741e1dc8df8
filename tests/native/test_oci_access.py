"""Who gets at which bytes of an image? Every verb, through both doors, for everybody who may come (C1, C2, C3, C4)."""

import json
import uuid
from collections.abc import Callable

import pytest

from tests.harness import images
from tests.harness.registry import Image, basic, bearer, code_of, fetched_pass
from tests.harness.running import Up, get

pytestmark = pytest.mark.native

every_door = pytest.mark.parametrize("door", ["origin", "edge"])


def token(node: Up, repository: str, *rights: str) -> str:
    made = node.entrepot("token", "create", f"for {repository}", "--repository", repository, *rights, url=node.edge)
    return str(made["token"])


def image(node: Up, door: str, repository: str = "", name: str = "", headers: dict[str, str] | None = None) -> Image:
    """An image nobody has pushed before, as its admin sees it unless `headers` say otherwise."""
    whole = f"{repository or node.private}/{name or 'x' + uuid.uuid4().hex[:12]}"
    return Image(getattr(node, door), whole, bearer(node.token) if headers is None else headers)


def verbs(node: Up, digest: str, layer: bytes) -> list[tuple[str, str, bytes | None]]:
    """Everything that can be asked of an image with one layer and the tag `1`."""
    document = json.dumps(images.manifest(b"{}", layer)).encode()
    return [
        ("GET", "manifests/1", None),
        ("HEAD", "manifests/1", None),
        ("GET", f"manifests/{digest}", None),
        ("HEAD", f"manifests/{digest}", None),
        ("GET", f"blobs/{images.digest_of(layer)}", None),
        ("HEAD", f"blobs/{images.digest_of(layer)}", None),
        ("GET", "tags/list", None),
        ("GET", f"referrers/{digest}", None),
        ("POST", "blobs/uploads/", b""),
        ("POST", f"blobs/uploads/?digest={images.digest_of(b'new')}", b"new"),
        ("POST", f"blobs/uploads/?mount={images.digest_of(layer)}&from={node.public}/any", b""),
        ("PUT", "manifests/2", document),
        ("DELETE", "manifests/1", None),
        ("DELETE", f"manifests/{digest}", None),
        ("DELETE", f"blobs/{images.digest_of(layer)}", None),
    ]


READS = ("GET", "HEAD")


@every_door
@pytest.mark.parametrize("as_pass", [False, True])
def test_c1_every_verb_for_everybody(node: Up, door: str, as_pass: bool) -> None:
    layer = uuid.uuid4().bytes
    admin = image(node, door)
    digest = admin.push("1", layer)
    stranger, reader = token(node, node.public, "--write"), token(node, node.private, "--read")
    said: dict[str, Callable[[str], int]] = {
        "": lambda method: 401,
        stranger: lambda method: 404,
        reader: lambda method: 200 if method in READS else 403,
    }
    for secret, expected in said.items():
        scope = f"repository:{admin.name}:pull,push,delete"
        headers = bearer(fetched_pass(admin.door, secret, scope)) if as_pass else basic(secret)
        them = image(node, door, name=admin.name.rpartition("/")[2], headers=headers)
        for method, path, body in verbs(node, digest, layer):
            got = them.ask(method, path, body, Content_Type=images.MANIFEST)
            assert got.status == expected(method), (method, path, got.body)
            if got.status != 200:
                assert layer not in got.body
                assert digest not in str(got.headers) + got.body.decode("latin-1")
    for method, path, body in verbs(node, digest, layer):
        got = admin.ask(method, path, body, Content_Type=images.MANIFEST)
        gone = method == "DELETE" or path.startswith("manifests") or "blobs/sha256" in path
        assert got.status < 300 or (gone and got.status == 404), (method, path, got.body)


@every_door
def test_a_public_image_is_read_by_all_and_written_by_none(node: Up, door: str) -> None:
    layer = uuid.uuid4().bytes
    digest = image(node, door, node.public, "for-all").push("1", layer)
    scope = f"repository:{node.public}/for-all:pull,push"
    for headers in ({}, bearer(fetched_pass(getattr(node, door), "", scope))):
        them = image(node, door, node.public, "for-all", headers)
        for method, path, body in verbs(node, digest, layer):
            got = them.ask(method, path, body, Content_Type=images.MANIFEST)
            assert got.status == (200 if method in READS else 401), (method, path, got.body)
    assert them.ask("GET", f"blobs/{images.digest_of(layer)}").body == layer


@every_door
def test_c1_bytes_that_another_image_has_are_not_here(node: Up, door: str) -> None:
    """CVE-2024-39897: not by reading, not by naming them in a manifest (C2), not by HEAD."""
    layer = uuid.uuid4().bytes
    image(node, door).push("1", layer)
    other = image(node, door)
    other.push("1", b"own")
    digest = images.digest_of(layer)
    for method in READS:
        assert other.ask(method, f"blobs/{digest}").status == 404
    refused = other.push_manifest(images.manifest(b"{}", layer), "2")
    assert (refused.status, code_of(refused)) == (404, "MANIFEST_BLOB_UNKNOWN")


@every_door
def test_c1_deleted_here_stays_deleted_whatever_others_do(node: Up, door: str) -> None:
    """CVE-2026-35172: delete, a peer pushes and reads the same bytes, read here."""
    layer = uuid.uuid4().bytes
    digest = images.digest_of(layer)
    mine, theirs = image(node, door), image(node, door)
    mine.push("1", layer)
    assert mine.ask("DELETE", f"blobs/{digest}").status == 202
    assert mine.ask("GET", f"blobs/{digest}").status == 404
    theirs.push("1", layer)
    assert theirs.ask("GET", f"blobs/{digest}").body == layer
    for method in READS:
        assert mine.ask(method, f"blobs/{digest}").status == 404
    assert mine.push_blob(layer).status == 201
    assert mine.ask("GET", f"blobs/{digest}").body == layer


# ---------------------------------------------------------------- mounts


@every_door
def test_c1_a_mount_needs_the_right_to_read_its_source(node: Up, door: str) -> None:
    layer = uuid.uuid4().bytes
    digest = images.digest_of(layer)
    source = image(node, door)
    source.push("1", layer)
    path = f"blobs/uploads/?mount={digest}&from={source.name}"
    may_not = image(node, door, node.public, headers=basic(token(node, node.public, "--read", "--write")))
    nowhere = path.replace(source.name, f"{node.private}/there-is-none")
    for asked in (path, nowhere, path.replace(digest, images.digest_of(b"never"))):
        got = may_not.ask("POST", asked, b"")
        assert got.status == 202, "an upload begins, as if the source had nothing"
        assert got.body == b""
    assert may_not.ask("HEAD", f"blobs/{digest}").status == 404
    may = image(node, door, node.public)
    got = may.ask("POST", path, b"")
    assert got.status == 201
    assert got.headers["location"].endswith(f"/{may.name}/blobs/{digest}")
    assert may.ask("GET", f"blobs/{digest}").body == layer
    # a live link: what goes away at the source stays here, and the other way round
    source.ask("DELETE", f"blobs/{digest}")
    assert may.ask("GET", f"blobs/{digest}").body == layer
    assert image(node, door, node.public).ask("POST", path, b"").status == 202


@every_door
def test_c8_a_pass_mounts_only_from_what_it_names(node: Up, door: str) -> None:
    layer = uuid.uuid4().bytes
    source, there = image(node, door), image(node, door)
    source.push("1", layer)
    path = f"blobs/uploads/?mount={images.digest_of(layer)}&from={source.name}"
    push, pull = f"repository:{there.name}:pull,push", f"repository:{source.name}:pull"
    there.headers = bearer(fetched_pass(there.door, node.token, push))
    assert there.ask("POST", path, b"").status == 202
    there.headers = bearer(fetched_pass(there.door, node.token, push, pull))
    assert there.ask("POST", path, b"").status == 201


# ---------------------------------------------------------------- passes


@every_door
def test_c8_a_pass_is_good_for_what_it_names_and_no_more(node: Up, door: str) -> None:
    layer = uuid.uuid4().bytes
    one, other = image(node, door), image(node, door)
    for each in (one, other):
        each.push("1", layer)
        each.headers = bearer(fetched_pass(each.door, node.token, f"repository:{one.name}:pull"))
    assert one.ask("GET", "manifests/1").status == 200
    refused = one.ask("PUT", "manifests/2", b"{}", Content_Type=images.MANIFEST)
    assert refused.status == 401
    assert f'scope="repository:{one.name}:pull,push"' in refused.headers["www-authenticate"]
    assert other.ask("GET", "manifests/1").status == 401
    # nothing but images is to be had with it
    assert get(f"{one.door}/{node.private}/generic/", one.headers).status == 401
    assert get(f"{one.door}/-/api/v1/whoami", one.headers).status == 401


def test_c6_a_revoked_token_takes_its_passes_with_it_at_both_doors_at_once(node: Up) -> None:
    name = image(node, "edge")
    name.push("1", b"layer")
    made = node.entrepot("token", "create", "to be revoked", "--repository", node.private, "--read", url=node.edge)
    passes = {door: fetched_pass(getattr(node, door), made["token"], f"repository:{name.name}:pull")
              for door in ("origin", "edge")}  # fmt: skip
    for door in ("origin", "edge"):
        for text in passes.values():
            them = Image(getattr(node, door), name.name, bearer(text))
            assert them.ask("GET", "manifests/1").status == 200, "a pass is good at whichever node"
            assert them.ask("GET", "manifests/1").status == 200
    node.entrepot("token", "revoke", made["id"], url=node.edge)
    for door in ("origin", "edge"):
        for text in passes.values():
            assert Image(getattr(node, door), name.name, bearer(text)).ask("GET", "manifests/1").status == 401
        assert get(f"{getattr(node, door)}/v2/-/token", basic(made["token"])).status == 401


@every_door
def test_a_login_is_checked(node: Up, door: str) -> None:
    door = getattr(node, door)
    asked = get(f"{door}/v2/")
    assert asked.status == 401
    assert asked.headers["www-authenticate"].startswith(f'Bearer realm="{door}/v2/-/token"')
    assert get(f"{door}/v2/", basic(node.token)).status == 200
    assert get(f"{door}/v2/", bearer(node.token)).status == 200
    assert get(f"{door}/v2/", bearer(fetched_pass(door, node.token))).status == 200
    for bad in (node.token[:-1] + "x", "ent_nonsense", "entp_nonsense", "entp_anonymous2"):
        assert get(f"{door}/v2/", basic(bad)).status == 401
        assert get(f"{door}/v2/-/token", basic(bad)).status == 401
    form = f"grant_type=password&username=any&password={node.token}&service=x&scope=repository:a/b/c:pull"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert get(f"{door}/v2/-/token", headers, "POST", form.encode()).status == 200
    assert get(f"{door}/v2/-/token", headers, "POST", b"a=%ff&" * 200).status == 400
    assert get(f"{door}/v2/-/nothing").status == 404
    assert get(f"{door}/v2/-/token", method="DELETE").status == 405


# ---------------------------------------------------------------- uploads


@every_door
def test_c3_an_upload_is_its_beginners_alone(node: Up, door: str) -> None:
    mine = image(node, door)
    started = mine.ask("POST", "blobs/uploads/", b"")
    location = mine.at(started.headers["location"])
    assert mine.ask("PATCH", location, b"half", Content_Range="0-3").headers["range"] == "0-3"
    them = Image(mine.door, mine.name, basic(token(node, node.private, "--read", "--write")))
    elsewhere = location.replace(mine.name, f"{node.private}/elsewhere")
    for who, where in ((them, location), (mine, elsewhere)):
        for method in ("GET", "PATCH", "DELETE"):
            got = who.ask(method, where, b"more" if method == "PATCH" else None)
            assert (got.status, code_of(got)) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert who.ask("PUT", f"{where}?digest={images.digest_of(b'half')}", b"").status == 404
    again = mine.ask("PATCH", location, b"half", Content_Range="0-3")
    assert (again.status, again.headers["range"]) == (416, "0-3")
    state = mine.ask("GET", location)
    assert (state.status, state.headers["range"]) == (204, "0-3")
    wrong = mine.ask("PUT", f"{location}?digest={images.digest_of(b'other')}", b" done")
    assert (wrong.status, code_of(wrong)) == (400, "DIGEST_INVALID")


@every_door
def test_c3_two_finish_and_the_blob_is_there_once(node: Up, door: str) -> None:
    mine = image(node, door)
    location = mine.at(mine.ask("POST", "blobs/uploads/", b"").headers["location"])
    digest = images.digest_of(b"whole")
    first = mine.ask("PUT", f"{location}?digest={digest}", b"whole")
    second = mine.ask("PUT", f"{location}?digest={digest}", b"whole")
    assert (first.status, second.status) == (201, 404)
    assert mine.ask("GET", f"blobs/{digest}").body == b"whole"


# ---------------------------------------------------------------- hostile input


@every_door
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "manifests/1", b"[" * 200_000, 400),
        ("PUT", "manifests/1", b'{"a":' * 200_000, 400),
        ("PUT", "manifests/1", b" " * (5 << 20), 413),
        ("PUT", "manifests/1", b"\xff\xfe", 400),
        ("PUT", "manifests/1", b"null", 400),
        ("PUT", "manifests/1?" + "tag=x&" * 60, b"{}", 400),
        ("PUT", "manifests/" + "x" * 200, b"{}", 400),
        ("PUT", "manifests/sha256:" + "0" * 64, b"{}", 400),
        ("GET", "blobs/sha256:..", None, 400),
        ("GET", "blobs/sha512:" + "0" * 128, None, 404),
        ("GET", "tags/list?n=99999999999999999999999", None, 400),
        ("GET", "referrers/latest", None, 400),
        ("POST", "blobs/uploads/?digest=sha256:00", b"x", 400),
        ("POST", "blobs/uploads/?digest=blake3:" + "0" * 64, b"x", 400),
        ("PATCH", "blobs/uploads/" + "A" * 32, b"x", 404),
        ("PATCH", "blobs/uploads/..%252f", b"x", 400),
        ("TRACE", "tags/list", None, 405),
    ],
)
def test_what_makes_no_sense_is_the_clients_fault(
    node: Up, door: str, method: str, path: str, body: bytes | None, status: int
) -> None:
    mine = image(node, door, name="hostile")
    got = mine.ask(method, path, body, Content_Type=images.MANIFEST)
    assert got.status == status, got.body
