"""Does the OCI room read addresses from their end, keep manifests whole, and say no in the words of its protocol?"""

import json
from typing import Any

import msgspec
import pytest

from formats import ROOMS
from formats.kit.contract import Accept, Amend, Ask, Borrow, Plan, Progress, Resume, Serve, Show
from formats.oci import manifest, names
from formats.oci.decide import PartUnknown
from storage.errors import Absent, Forbidden, Invalid, MethodRefused, Problem, TooLarge, Unauthenticated
from tests.contract.rooms import World, ask, oci_blob, oci_manifest
from tests.harness import images

ROOM = ROOMS["oci"]
ZERO = "sha256:" + "0" * 64
LONG = "sha512:" + "0" * 128
DIGEST = "Docker-Content-Digest"
ODD_LENGTH = {"content-range": "0-9", "content-length": "4"}


def asked(method: str, path: str, headers: dict[str, str] | None = None) -> Ask:
    request = ask(ROOM, method, path, headers)
    return Ask(**{name: getattr(request, name) for name in request.__struct_fields__} | {"base": BASE})


BASE = "https://registry.example:8443/v2/acme/main"


@pytest.mark.parametrize(
    ("method", "path", "plan"),
    [
        ("GET", "app/manifests/1.0", Serve("app", "m/", tag="1.0", name_header=DIGEST)),
        ("HEAD", f"a/b/c/manifests/{ZERO}", Serve("a/b/c", f"m/{ZERO}", name_header=DIGEST)),
        ("GET", f"app/blobs/{LONG}", Serve("app", f"b/{LONG}", name_header=DIGEST)),
        ("GET", f"app/blobs/uploads/blobs/{ZERO}", Serve("app/blobs/uploads", f"b/{ZERO}", name_header=DIGEST)),
        ("GET", "app/blobs/manifests/list", Serve("app/blobs", "m/", tag="list", name_header=DIGEST)),
        ("DELETE", "app/manifests/old", Amend(0, {"do": "delete-tag", "name": "app", "at": "old"})),
        ("DELETE", f"app/manifests/{ZERO}", Amend(0, {"do": "delete-manifest", "name": "app", "at": ZERO})),
    ],
)  # fmt: skip
def test_an_address_is_read_from_its_end(method: str, path: str, plan: Plan) -> None:
    found = ROOM.read(asked(method, path))
    assert (msgspec.structs.replace(found, told=()) if isinstance(found, Serve) else found) == plan


UPLOAD = {"do": "blob", "name": "app"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "plan"),
    [
        ("POST", "app/blobs/uploads/", {}, Resume("start", context=UPLOAD)),
        ("POST", "app/blobs/uploads", {}, Resume("start", context=UPLOAD)),
        (
            "POST",
            "app/blobs/uploads/?digest-algorithm=sha512",
            {},
            Resume("start", digests=("sha512",), context=UPLOAD),
        ),
        (
            "POST",
            f"app/blobs/uploads/?digest={ZERO}",
            {},
            Accept("raw", digests=("sha256",), unpack=False, context=UPLOAD),
        ),
        ("PATCH", "app/blobs/uploads/x-1", {}, Resume("append", "x-1", context=UPLOAD)),
        ("PATCH", "app/blobs/uploads/x-1", {"content-range": "5-9"}, Resume("append", "x-1", 5, context=UPLOAD)),
        ("GET", "app/blobs/uploads/x-1", {}, Resume("state", "x-1", context=UPLOAD)),
        ("DELETE", "app/blobs/uploads/x-1", {}, Resume("cancel", "x-1", context=UPLOAD)),
        (
            "PUT",
            f"app/blobs/uploads/x-1?digest={LONG}",
            {},
            Resume("append", "x-1", finish=True, digests=("sha512",), context=UPLOAD),
        ),
    ],
)  # fmt: skip
def test_uploads(method: str, path: str, headers: dict[str, str], plan: Plan) -> None:
    assert ROOM.read(asked(method, path, headers)) == plan
    assert ROOM.right(asked(method, path, headers)) == "write"


def test_a_mount_says_from_where_or_is_an_upload() -> None:
    start = Resume("start", context=UPLOAD)
    plan = ROOM.read(asked("POST", f"app/blobs/uploads/?mount={ZERO}&from=other/open/lib/base"))
    assert plan == Borrow("other", "open", "lib/base", f"b/{ZERO}", start, UPLOAD | {"digest": ZERO})
    for odd in ("", "&from=", "&from=other/open", "&from=other/open/UPPER"):
        assert ROOM.read(asked("POST", f"app/blobs/uploads/?mount={ZERO}{odd}")) == start
    assert ROOM.read(asked("POST", "app/blobs/uploads/?mount=sha256:x&from=other/open/lib")) == start


@pytest.mark.parametrize(
    ("method", "path", "headers", "problem", "code"),
    [
        ("GET", "UPPER/manifests/1", {}, Invalid, "NAME_INVALID"),
        ("GET", "manifests/1", {}, Invalid, "NAME_INVALID"),
        ("GET", "app/manifests/.hidden", {}, Invalid, "TAG_INVALID"),
        ("GET", "app/manifests/sha256:12", {}, Invalid, "DIGEST_INVALID"),
        ("GET", "app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", {}, Invalid, "DIGEST_INVALID"),
        ("GET", "app/blobs/sha256:" + "A" * 64, {}, Invalid, "DIGEST_INVALID"),
        ("PUT", "app/blobs/uploads/x-1", {}, Invalid, "DIGEST_INVALID"),
        ("PATCH", "app/blobs/uploads/x-1", {"content-range": "bytes"}, Invalid, "BLOB_UPLOAD_INVALID"),
        ("PATCH", "app/blobs/uploads/x", ODD_LENGTH, Invalid, "BLOB_UPLOAD_INVALID"),
        ("GET", "app/blobs/uploads/..%2f", {}, Absent, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", f"app/blobs/{ZERO}", {}, MethodRefused, "UNSUPPORTED"),
        ("POST", "app/tags/list", {}, MethodRefused, "UNSUPPORTED"),
        ("GET", "app/tags/list?n=-1", {}, Invalid, "UNSUPPORTED"),
        ("GET", "app/nothing", {}, Absent, "NAME_UNKNOWN"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_code(
    method: str, path: str, headers: dict[str, str], problem: type[Problem], code: str
) -> None:
    request = asked(method, path, headers)
    with pytest.raises(problem) as refused:
        ROOM.read(request)
    reply = ROOM.refuse(request, refused.value)
    assert json.loads(reply.body)["errors"][0]["code"] == code


def test_who_shows_nothing_is_told_where_a_pass_is_and_for_what() -> None:
    def challenge(method: str, path: str) -> str:
        reply = ROOM.refuse(asked(method, path), Unauthenticated("No."))
        return dict(reply.headers)["WWW-Authenticate"]

    realm = 'Bearer realm="https://registry.example:8443/v2/-/token",service="registry.example:8443"'
    assert challenge("GET", "a/b/manifests/1") == f'{realm},scope="repository:acme/main/a/b:pull"'
    assert challenge("POST", "a/blobs/uploads/") == f'{realm},scope="repository:acme/main/a:pull,push"'
    assert challenge("DELETE", "a/manifests/1") == f'{realm},scope="repository:acme/main/a:delete"'
    assert challenge("GET", "nothing") == realm
    denied = ROOM.refuse(asked("PUT", "a/manifests/1"), Forbidden("No."))
    assert json.loads(denied.body)["errors"][0]["code"] == "DENIED"
    assert "WWW-Authenticate" not in dict(denied.headers)


def test_c3_an_offset_that_is_not_ours_is_416_and_says_where_the_upload_stands() -> None:
    request = asked("PATCH", "app/blobs/uploads/abc", {"content-range": "9-9"})
    plan = ROOM.read(request)
    assert isinstance(plan, Resume)
    reply = ROOM.progress(request, plan, Progress("abc", 5, refused=True))  # type: ignore[attr-defined]
    assert reply.status == 416
    assert dict(reply.headers)["Range"] == "0-4"
    assert dict(reply.headers)["Location"] == "/v2/acme/main/app/blobs/uploads/abc"


# ---------------------------------------------------------------- manifests


def parsed(document: object, media: str = images.MANIFEST) -> manifest.Manifest:
    return manifest.parse(json.dumps(document).encode(), media)


def test_the_graph_of_an_image() -> None:
    found = parsed(images.manifest(b"{}", b"one", b"two", subject=b"of", notes={"a": "b"}))
    assert found.blobs == tuple(images.digest_of(one) for one in (b"{}", b"one", b"two"))
    assert found.subject == images.digest_of(b"of")
    assert found.artifact == images.CONFIG
    assert json.loads(found.annotations) == {"a": "b"}
    assert parsed(images.manifest(b"{}", artifact="application/x")).artifact == "application/x"
    assert parsed(images.index(b"one"), images.INDEX).manifests == (images.digest_of(b"one"),)


def test_layers_that_lie_elsewhere_need_not_be_here() -> None:
    document = images.manifest(b"{}", b"one", b"two")
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    assert parsed(document).blobs == (images.digest_of(b"{}"), images.digest_of(b"two"))


def without(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (document | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "document",
    [
        without(images.manifest(b"{}"), manifests=[]),
        without(images.manifest(b"{}"), mediaType=images.INDEX),
        without(images.manifest(b"{}"), schemaVersion=1),
        without(images.manifest(b"{}"), config=...),
        without(images.manifest(b"{}"), config={}),
        without(images.manifest(b"{}"), layers={}),
        without(images.manifest(b"{}"), layers=[1]),
        without(images.manifest(b"{}"), annotations={"a": 1}),
        without(images.manifest(b"{}"), artifactType=1),
        without(images.manifest(b"{}"), subject={"digest": "x"}),
        without(images.manifest(b"{}"), fsLayers=[]),
        without(images.manifest(b"{}"), mediaType=["x"]),
        [],
        "text",
        None,
    ],
)
def test_d13_a_manifest_is_one_thing_to_every_reader(document: object) -> None:
    with pytest.raises(Invalid):
        parsed(document)


def test_incident_6_an_index_with_layers_is_neither() -> None:
    with pytest.raises(Invalid):
        parsed(images.index() | {"layers": []}, images.INDEX)
    with pytest.raises(Invalid):
        parsed(images.index(), images.MANIFEST)
    with pytest.raises(Invalid):
        manifest.parse(json.dumps(images.manifest(b"{}")).encode(), "text/plain")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b'{"mediaType":NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
        b'{"config":{"digest":"a","digest":"b"}}',
    ],
)
def test_d6_json_that_readers_disagree_on_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        manifest.parse(raw, images.MANIFEST)


def test_d13_manifests_are_bounded() -> None:
    with pytest.raises(TooLarge):
        manifest.parse(b" " * (manifest.MANIFEST_BYTES_MAX + 1), images.MANIFEST)
    document = images.manifest(b"{}")
    document["layers"] = document["layers"] = [images.descriptor(b"", images.LAYER)] * (manifest.REFERENCES_MAX + 1)
    with pytest.raises(TooLarge):
        parsed(document)


def test_c2_a_manifest_is_taken_only_when_all_of_it_is_here() -> None:
    world = World(ROOM)
    image = oci_manifest("app", images.manifest(b"{}", b"layer"))
    for part in (b"{}", b"layer"):
        with pytest.raises(PartUnknown):
            world.upload(image)
        world.upload(oci_blob("app", part))
    # the same bytes under another name do not count
    with pytest.raises(PartUnknown):
        world.upload(oci_manifest("other", images.manifest(b"{}", b"layer")))
    body = json.dumps(images.manifest(b"{}", b"layer")).encode()
    with pytest.raises(PartUnknown):
        world.upload(oci_manifest("app", images.index(body)))
    world.upload(image)
    world.upload(oci_manifest("app", images.index(body)))


def test_a_tag_moves_and_goes_without_its_manifest() -> None:
    world = World(ROOM)
    world.upload(oci_blob("app", b"{}"))
    first = oci_manifest("app", images.manifest(b"{}"), "latest")
    second = oci_manifest("app", images.manifest(b"{}", notes={"a": "b"}), "latest")
    for one in (first, second):
        world.upload(one)
        assert world.view.tag("app", "latest") == images.digest_of(one.body)
    world.amend(ask(ROOM, "DELETE", "app/manifests/latest"))
    assert world.view.tags("app") == {}
    assert len(world.view.versions("app")) == 2
    with pytest.raises(Absent):
        world.amend(ask(ROOM, "DELETE", "app/manifests/latest"))


def test_a_deleted_manifest_takes_its_tags_along_and_leaves_the_referrers() -> None:
    world = World(ROOM)
    world.upload(oci_blob("app", b"{}"))
    world.upload(oci_manifest("app", images.manifest(b"{}", subject=b"x"), "latest"))
    package = names.referrers_of("app", images.digest_of(b"x"))
    (digest,) = (one.name for one in world.view.versions(package))
    world.amend(ask(ROOM, "DELETE", f"app/manifests/{digest}"))
    assert world.view.versions(package) == []
    assert world.view.tags("app") == {}
    assert world.view.gone("app", f"m/{digest}") is None, "the same bytes may come again"


# ---------------------------------------------------------------- lists


def tagged(*tags: str) -> World:
    world = World(ROOM)
    world.upload(oci_blob("app", b"{}"))
    for tag in tags:
        world.upload(oci_manifest("app", images.manifest(b"{}"), tag))
    return world


def listed(world: World, path: str) -> tuple[list[str], str]:
    plan = ROOM.read(ask(ROOM, "GET", path))
    assert isinstance(plan, Show)
    document = ROOM.render(plan, world.view, BASE)
    return json.loads(document.body)["tags"], dict(document.headers).get("Link", "")


def test_tags_come_in_pages_that_lead_on() -> None:
    world = tagged("b", "a", "C", "d")
    assert listed(world, "app/tags/list") == (["a", "b", "C", "d"], "")
    first, link = listed(world, "app/tags/list?n=2")
    assert first == ["a", "b"]
    assert link == '</v2/acme/main/app/tags/list?n=2&last=b>; rel="next"'
    assert listed(world, "app/tags/list?n=2&last=b") == (["C", "d"], "")
    assert listed(world, "app/tags/list?n=0") == ([], "")
    assert listed(world, "app/tags/list?last=zz") == ([], "")


def test_incident_5_a_huge_n_costs_nothing() -> None:
    assert listed(tagged("a"), "app/tags/list?n=999999999999999999")[0] == ["a"]
    with pytest.raises(Invalid):
        ROOM.read(ask(ROOM, "GET", "app/tags/list?n=" + "9" * 40))


def test_referrers_are_listed_filtered_and_never_absent() -> None:
    world = World(ROOM)
    world.upload(oci_blob("app", b"{}"))
    for kind in ("application/sbom", "application/signature"):
        world.upload(oci_manifest("app", images.manifest(b"{}", subject=b"x", artifact=kind, notes={"of": kind})))

    def referrers(query: str, subject: bytes = b"x") -> list[dict[str, Any]]:
        plan = ROOM.read(ask(ROOM, "GET", f"app/referrers/{images.digest_of(subject)}{query}"))
        assert isinstance(plan, Show)
        assert dict(plan.headers) == ({"OCI-Filters-Applied": "artifactType"} if query else {})
        return list(json.loads(ROOM.render(plan, world.view, BASE).body)["manifests"])

    assert {one["artifactType"] for one in referrers("")} == {"application/sbom", "application/signature"}
    (one,) = referrers("?artifactType=application/sbom")
    assert one["annotations"] == {"of": "application/sbom"}
    assert referrers("?artifactType=none") == []
    assert referrers("", b"nothing refers to this") == []
