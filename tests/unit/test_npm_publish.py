"""What does a publication leave behind, and what is refused with nothing left behind?"""

import base64
import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from formats.npm import ROOM
from formats.npm.facts import version_facts
from storage.errors import Absent, Conflict, Invalid, Problem, TooLarge, Unsupported
from storage.nouns import PutPackage
from tests.harness.npm_registry import START_MS, Registry, ask, dist, document, sigstore, tarball


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def refused(registry: Registry, problem: type[Problem], match: str, body: object, path: str = "demo") -> None:
    """The write is refused, and nothing of it is there."""
    before = registry.view.serial
    with pytest.raises(problem, match=match):
        registry.send("PUT", path, body)
    assert registry.view.serial == before


# ---------------------------------------------------------------- publish


@pytest.mark.parametrize("attachments_first", [False, True], ids=["npm", "yarn"])
@pytest.mark.parametrize("name", ["demo", "@acme/demo"])
def test_a_version_is_published_whatever_the_order_of_keys(
    registry: Registry, name: str, attachments_first: bool
) -> None:
    data = tarball({"name": name, "version": "1.0.0"})
    status, said = registry.publish(name, data=data, attachments_first=attachments_first)
    assert (status, said["ok"]) == (201, True)
    file = registry.view.file(name, "demo-1.0.0.tgz")
    assert file is not None
    assert registry.bytes[file.sha256] == data
    assert file.size == len(data)
    assert set(file.digests) == {"sha1", "sha512"}
    assert registry.view.tags(name) == {"latest": "1.0.0"}
    assert registry.get(name)["versions"]["1.0.0"]["dist"]["shasum"] == dist(data)["shasum"]


def test_the_first_version_is_latest_also_under_another_tag(registry: Registry) -> None:
    registry.publish(version="1.0.0-beta.1", tag="beta")
    assert registry.view.tags("demo") == {"beta": "1.0.0-beta.1", "latest": "1.0.0-beta.1"}
    registry.publish(version="1.0.0-beta.2", tag="beta")
    assert registry.view.tags("demo") == {"beta": "1.0.0-beta.2", "latest": "1.0.0-beta.1"}


def test_the_same_bytes_again_change_nothing(registry: Registry) -> None:
    body = document(tag="latest")
    registry.send("PUT", "demo", body)
    serial = registry.view.serial
    assert registry.send("PUT", "demo", {**body, "dist-tags": {"other": "1.0.0"}})[0] == 200
    assert registry.view.serial == serial


def test_c15_a_version_never_gets_other_bytes(registry: Registry) -> None:
    registry.publish()
    refused(registry, Conflict, "cannot publish over", document(description="other"))
    registry.publish(version="2.0.0")
    other = document(description="other")
    same = document()
    rev = registry.get("demo?write=true")["_rev"]
    kept = {**registry.get("demo?write=true")}
    del kept["versions"]["1.0.0"]
    assert registry.send("PUT", f"demo/-rev/{rev}", kept)[0] == 201
    refused(registry, Conflict, "cannot come back", other)
    assert registry.send("PUT", "demo", same)[0] == 201


def test_c14_a_name_that_only_an_upstream_has_can_be_claimed(registry: Registry) -> None:
    assert not registry.view.claimed("demo")
    registry.publish()
    assert registry.view.claimed("demo")


def test_a_large_document_with_a_large_tarball_is_taken(registry: Registry) -> None:
    data = tarball({"name": "demo", "version": "1.0.0"}, {"package/noise": bytes(range(256)) * 20_000})
    registry.publish(data=data)
    file = registry.view.file("demo", "demo-1.0.0.tgz")
    assert file is not None
    assert registry.bytes[file.sha256] == data


# ---------------------------------------------------------------- the document


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "other"}, "another package"),
        ({"_id": "other"}, "another package"),
        ({"versions": {}}, "no version"),
        ({"versions": None}, "no version"),
        ({"versions": {"1.0.0": {"name": "other", "version": "1.0.0"}}}, "another name"),
        ({"versions": {"1.0.0": {"name": "demo", "version": "1.0.1"}}}, "another name"),
        ({"versions": {"1.0.0": []}}, "not a package document"),
        ({"dist-tags": {"1.0": "1.0.0"}}, "dist-tag is not allowed"),
        ({"dist-tags": {"latest": 1}}, "not a package document"),
        ({"_attachments": {"demo-1.0.0.tgz": {"stub": True}}}, "no tarball"),
        ({"_attachments": {"demo-9.0.0.tgz": {"data": "QUJD"}}}, "no version"),
        ({"_attachments": {"demo-1.0.0.zip": {"data": "QUJD"}}}, "no tarball"),
        ({"_attachments": {"demo-1.0.0.tgz": {"data": "QUJD"}, "demo-2.0.0.tgz": {"data": "QUJD"}}}, "two tarballs"),
        ({"_attachments": {"demo-1.0.0.tgz": {"data": "QUJD"}, "x": {"data": "QUJD"}}}, "belongs to no version"),
        ({"_attachments": {"demo-1.0.0.tgz": {"data": 5}}}, "not a package document"),
    ],
)
def test_documents_that_make_no_sense_are_refused(registry: Registry, change: dict[str, Any], why: str) -> None:
    refused(registry, Invalid, why, {**document(), **change})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b'{"name": NaN}',
        b'{"name": "demo"} x',
        b'{"name": "\xff"}',
        b"\x00",
        b"{" * 99,
        b'{"x": "\xff"}',
        b'{"versions": {"1.0.0": {"x": "\xff"}}}',
        b'{"x": -Infinity}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_d6_bodies_that_are_no_json_object_are_refused(registry: Registry, raw: bytes) -> None:
    with pytest.raises((Invalid, Unsupported)):
        registry.send("PUT", "demo", raw)


def test_d6_a_huge_document_is_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("formats.kit.jsons.CONTAINERS_MAX", 1000)
    refused(registry, TooLarge, "objects", document(other=[[] for _ in range(1001)], data=b"x"))
    deep: Any = 1
    for _ in range(70):
        deep = {"a": deep}
    refused(registry, Invalid, "deeper", document(other=deep, data=b"x"))


def test_new_names_are_lower_case_and_new_versions_strict(registry: Registry) -> None:
    refused(registry, Invalid, "name is not allowed", document("Demo"), "Demo")
    for version in ("1.0", "v1.0.0", "1.0.0+build", "01.0.0"):
        refused(registry, Invalid, "version", document(version=version))


# ---------------------------------------------------------------- d9: announced and real


@pytest.mark.parametrize(
    ("announced", "why"),
    [
        ({"shasum": "0" * 40}, "sha1 is not"),
        ({"integrity": "sha512-" + base64.b64encode(bytes(64)).decode()}, "sha512 is not"),
        ({"integrity": "sha512-short"}, "no digest"),
        ({"integrity": "md5-AAAA"}, "no digest"),
        ({"shasum": "zz"}, "no digest"),
        (7, "no object"),
    ],
)
def test_d9_a_digest_that_is_not_the_files_is_refused(registry: Registry, announced: Any, why: str) -> None:
    body = document()
    body["versions"]["1.0.0"]["dist"] = announced
    refused(registry, Invalid, why, body)


def test_d9_what_is_served_is_the_files_own_digest(registry: Registry) -> None:
    data = tarball({"name": "demo", "version": "1.0.0"})
    body = document(data=data)
    del body["versions"]["1.0.0"]["dist"]
    registry.send("PUT", "demo", body)
    served = registry.get("demo")["versions"]["1.0.0"]["dist"]
    assert {key: served[key] for key in ("integrity", "shasum")} == {
        key: dist(data)[key] for key in ("integrity", "shasum")
    }


@pytest.mark.parametrize("off", [-1, 1, 1 << 40])
def test_d9_a_length_that_is_not_the_files_is_refused(registry: Registry, off: int) -> None:
    data = tarball({"name": "demo", "version": "1.0.0"})
    refused(registry, Invalid, "bytes, and the document says", document(data=data, length=len(data) + off))


@pytest.mark.parametrize(
    "inside",
    [
        {"name": "other", "version": "1.0.0"},
        {"name": "demo", "version": "1.0.1"},
        {"name": "demo"},
        {"version": "1.0.0"},
        {"name": ["demo"], "version": "1.0.0"},
    ],
)
def test_d9_name_and_version_are_the_files(registry: Registry, inside: dict[str, Any]) -> None:
    refused(registry, Invalid, "another name or version", document(data=tarball(inside)))


@pytest.mark.parametrize("version", ["v1.0.0", " 1.0.0", "=1.0.0", "1.0.0+build.5"])
def test_versions_are_compared_as_clients_clean_them(registry: Registry, version: str) -> None:
    assert registry.publish(data=tarball({"name": "demo", "version": version}))[0] == 201


@pytest.mark.parametrize(
    "lie",
    [
        {"dependencies": {"left": "^1.0.0"}},
        {"dependencies": {"right": "^1.0.0", "evil": "1.0.0"}},
        {"dependencies": {"right": "^2.0.0"}},
        {"dependencies": {"right": "^1.0.0"}, "peerDependencies": {"x": "1"}},
        {"dependencies": {"right": "^1.0.0"}, "scripts": {"postinstall": "node evil.js"}},
        {"dependencies": {"right": "^1.0.0"}, "scripts": {"install": "node-gyp rebuild"}},
    ],
)
def test_d9_the_manifest_cannot_say_other_things_than_the_file(registry: Registry, lie: dict[str, Any]) -> None:
    own = {"name": "demo", "version": "1.0.0", "dependencies": {"right": "^1.0.0"}}
    refused(registry, Invalid, "not th", document(data=tarball(own), **lie))


def test_what_clients_write_anew_is_no_disagreement(registry: Registry) -> None:
    own = {
        "name": "demo",
        "version": "1.0.0",
        "dependencies": {"a": " ^1.0.0 ", "git": "owner/repo", "both": "1.0.0"},
        "optionalDependencies": {"both": "1.0.0"},
        "peerDependencies": [],
    }
    body = document(
        data=tarball(own, {"package/binding.gyp": b"{}"}),
        dependencies={"a": "^1.0.0", "git": "github:owner/repo"},
        optionalDependencies={"both": "1.0.0"},
        scripts={"install": "node-gyp rebuild", "test": "x"},
        gypfile=True,
    )
    assert registry.send("PUT", "demo", body)[0] == 201


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ({}, {}, {}),
        ({"scripts": {"postinstall": "x"}}, {}, {"hasInstallScript": True}),
        ({"scripts": {"test": "install"}}, {}, {}),
        ({}, {"package/binding.gyp": b""}, {"hasInstallScript": True}),
        ({"gypfile": False}, {"package/binding.gyp": b""}, {}),
        ({}, {"package/npm-shrinkwrap.json": b"{}"}, {"_hasShrinkwrap": True}),
    ],
)
def test_what_is_run_at_install_is_told_from_the_file(
    registry: Registry, own: dict[str, Any], files: dict[str, bytes], expected: dict[str, bool]
) -> None:
    data = tarball({"name": "demo", "version": "1.0.0", **own}, files)
    body = document(data=data, **own)
    body["versions"]["1.0.0"]["hasInstallScript"] = "a lie"
    registry.send("PUT", "demo", body)
    for accept in ("application/json", "application/vnd.npm.install-v1+json"):
        served = registry.get("demo", accept=accept)["versions"]["1.0.0"]
        assert {key: served[key] for key in ("hasInstallScript", "_hasShrinkwrap") if key in served} == expected


# ---------------------------------------------------------------- d4: the tarball


def raw_tarball(*entries: tuple[str, bytes, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(data)
            entry.linkname = data.decode() if kind == tarfile.SYMTYPE else ""
            if kind == tarfile.SYMTYPE:
                entry.size = 0
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


GOOD = ("package/package.json", tarfile.REGTYPE, b'{"name": "demo", "version": "1.0.0"}')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a tarball",
        b"\x1f\x8b" + bytes(50),
        tarball(None, {"package/index.js": b""}),
        tarball(None),
        tarball(b"{", None),
        tarball(b"[]", None),
        tarball(b'{"name": "demo", "version": "1.0.0", "name": "demo"}'),
        tarball(b'{"name": "demo", "version": "1.0.0", "x": "\xff"}'),
        tarball({"name": "demo", "version": "1.0.0"}, {"other/package.json": b"{}"}),
        tarball({"name": "demo", "version": "1.0.0"}, {"other/index.js": b""}),
        tarball({"name": "demo", "version": "1.0.0"}, {"package/Package.json": b"{}"}),
        tarball({"name": "demo", "version": "1.0.0"}, {"package/../../x": b"{}"}),
        tarball({"name": "demo", "version": "1.0.0"}, {"package/a\\b": b""}),
        tarball({"name": "demo", "version": "1.0.0"})[:-20],
        tarball({"name": "demo", "version": "1.0.0"}) + b"more",
        raw_tarball(GOOD, GOOD),
        raw_tarball(GOOD, ("package/x", tarfile.SYMTYPE, b"../../etc/passwd")),
        raw_tarball(("package/package.json", tarfile.SYMTYPE, b"other.json"), ("package/other.json", *GOOD[1:])),
        raw_tarball(GOOD, ("package/device", tarfile.CHRTYPE, b"")),
    ],
    ids=map(str, itertools.count()),  # not by what they are: a gzip has its hour in it
)
def test_d4_tarballs_that_could_be_read_in_two_ways_or_not_at_all(registry: Registry, data: bytes) -> None:
    with pytest.raises(Invalid):
        registry.publish(data=data)
    assert registry.view.serial == 0


def test_d4_a_bomb_is_refused(registry: Registry) -> None:
    data = tarball({"name": "demo", "version": "1.0.0"}, {"package/zeros": bytes(80 << 20)})
    assert len(data) < 1 << 20
    refused(registry, TooLarge, "times its own size", document(data=data))


def test_a_byte_order_mark_and_another_top_directory_are_fine(registry: Registry) -> None:
    own = b'\xef\xbb\xbf{"name": "demo", "version": "1.0.0"}'
    assert registry.publish(data=tarball(own, top="demo-master"))[0] == 201


# ---------------------------------------------------------------- o14: provenance


@pytest.mark.parametrize("name", ["demo", "@acme/demo"])
def test_o14_a_provenance_bundle_is_kept_and_served(registry: Registry, name: str) -> None:
    data = tarball({"name": name, "version": "1.0.0"})
    bundle = sigstore(name, "1.0.0", data)
    registry.publish(name, data=data, bundle=bundle)
    kind = "https://slsa.dev/provenance/v1"
    served = registry.get(name)["versions"]["1.0.0"]["dist"]["attestations"]
    assert served["provenance"] == {"predicateType": kind}
    assert served["url"].endswith(f"/demo/main/npm/-/npm/v1/attestations/{name}@1.0.0")
    answer = json.loads(registry.get(f"-/npm/v1/attestations/{name}@1.0.0"))
    assert answer == {"attestations": [{"predicateType": kind, "bundle": json.loads(bundle)}]}


def test_o14_a_bundle_must_speak_of_this_version_and_these_bytes(registry: Registry) -> None:
    data = tarball({"name": "demo", "version": "1.0.0"})
    for bundle, why in (
        (sigstore("demo", "1.0.1", data), "another package"),
        (sigstore("other", "1.0.0", data), "another package"),
        (sigstore("demo", "1.0.0", b"other"), "other bytes"),
        (sigstore("demo", "1.0.0", data, subject=[]), "another package"),
        (sigstore("demo", "1.0.0", data, subject=[{"name": "pkg:npm/demo@1.0.0", "digest": {}}]), "no sha512"),
        (sigstore("demo", "1.0.0", data, predicateType=1), "no sigstore"),
        ("{}", "no sigstore"),
        ("not json", "no sigstore"),
        ('{"dsseEnvelope": {"payload": "!"}}', "no sigstore"),
        ('{"dsseEnvelope": {"payload": "e30="}}', "no sigstore"),
        ('{"a": 1, "a": 2}', "twice"),
    ):
        refused(registry, Invalid, why, document(data=data, bundle=bundle))


def test_what_came_in_is_marked_with_who_sent_it(registry: Registry) -> None:
    registry.publish()
    served = registry.get("demo")
    assert served["maintainers"] == [{"name": "ada", "email": ""}]
    assert served["versions"]["1.0.0"]["_npmUser"] == {"name": "ada", "email": ""}
    assert served["readme"] == "# Hello"
    version = registry.view.version("demo", "1.0.0")
    assert version is not None
    assert version.at_ms == START_MS + 1000
    assert b"readme" not in version_facts(version).manifest


def test_a_compressed_publication_is_refused(registry: Registry) -> None:
    with pytest.raises(Unsupported):
        registry.send("PUT", "demo", document(), content_encoding="gzip")


# ---------------------------------------------------------------- deprecate, owners


def test_deprecation_changes_the_versions_it_names_and_no_other(registry: Registry) -> None:
    registry.publish()
    registry.publish(version="2.0.0")
    kept = registry.get("demo?write=true")
    kept["versions"]["1.0.0"]["deprecated"] = "too old"
    kept["versions"]["1.0.0"]["dependencies"] = {"evil": "1"}
    kept["dist-tags"] = {"latest": "1.0.0"}
    assert registry.send("PUT", "demo", kept)[0] == 201
    for accept in ("", "application/vnd.npm.install-v1+json"):
        served = registry.get("demo", accept=accept)
        assert served["versions"]["1.0.0"]["deprecated"] == "too old"
        assert "deprecated" not in served["versions"]["2.0.0"]
        assert "dependencies" not in served["versions"]["1.0.0"]
        assert served["dist-tags"] == {"latest": "2.0.0"}
    kept = registry.get("demo?write=true")
    kept["versions"]["1.0.0"]["deprecated"] = ""
    registry.send("PUT", "demo", kept)
    assert "deprecated" not in registry.get("demo")["versions"]["1.0.0"]


def test_a_document_that_changes_nothing_writes_nothing(registry: Registry) -> None:
    registry.publish()
    serial = registry.view.serial
    assert registry.send("PUT", "demo", registry.get("demo?write=true"))[0] == 201
    assert registry.view.serial == serial


def test_a_document_read_before_another_change_is_refused(registry: Registry) -> None:
    registry.publish()
    old = registry.get("demo?write=true")
    registry.publish(version="2.0.0")
    old["versions"]["1.0.0"]["deprecated"] = "x"
    refused(registry, Conflict, "update conflict", old)
    refused(registry, Conflict, "update conflict", old, f"demo/-rev/{old['_rev']}")


def test_a_document_without_attachment_publishes_nothing(registry: Registry) -> None:
    body = document()
    del body["_attachments"]
    refused(registry, Invalid, "no attachment", body)
    registry.publish("demo", "2.0.0")
    refused(registry, Invalid, "no attachment", body)
    refused(registry, Unsupported, "changes nothing", {"_id": "demo", "users": {"ada": True}})


def test_owners_are_changed_and_nothing_else(registry: Registry) -> None:
    registry.publish()
    people = [{"name": "ada", "email": ""}, {"name": "bob", "email": "b@example.com"}]
    rev = registry.get("demo")["_rev"]
    owners = {"_id": "demo", "_rev": rev, "maintainers": people}
    assert registry.send("PUT", f"demo/-rev/{rev}", owners)[0] == 201
    served = registry.get("demo")
    assert served["maintainers"] == people
    assert list(served["versions"]) == ["1.0.0"]
    assert served["_rev"] != rev
    refused(registry, Invalid, "list of people", {"_id": "demo", "maintainers": "bob"})


# ---------------------------------------------------------------- unpublish


def test_unpublish_of_one_version_as_npm_does_it(registry: Registry) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        registry.publish(version=version, description=f"of {version}")
    kept = registry.get("demo?write=true")
    del kept["versions"]["2.0.0"]
    kept["dist-tags"] = {"latest": "1.1.0"}
    assert registry.send("PUT", f"demo/-rev/{kept['_rev']}", kept)[0] == 201
    served = registry.get("demo")
    assert list(served["versions"]) == ["1.0.0", "1.1.0"]
    assert served["dist-tags"] == {"latest": "1.1.0"}
    assert served["description"] == "of 1.1.0"
    assert registry.send("DELETE", f"demo/-/demo-2.0.0.tgz/-rev/{served['_rev']}")[0] == 200
    assert registry.view.gone("demo", "demo-2.0.0.tgz") is not None
    assert registry.get("-/v1/search?text=demo")["objects"][0]["package"]["version"] == "1.1.0"


def test_a_tarball_that_is_still_there_takes_its_version_along(registry: Registry) -> None:
    registry.publish("@acme/demo")
    registry.publish("@acme/demo", "2.0.0")
    for path in ("@acme/demo/-/demo-2.0.0.tgz/-rev/x", "demo/main/npm/@acme/demo/-/@acme/demo-1.0.0.tgz/-rev/x"):
        assert registry.send("DELETE", path)[0] == 200 + (path[0] == "@")
    assert registry.view.package("@acme/demo") is None
    with pytest.raises(Absent):
        registry.send("DELETE", "@acme/demo/-/demo-3.0.0.tgz/-rev/x")


def test_unpublish_of_everything(registry: Registry) -> None:
    registry.publish()
    with pytest.raises(Conflict):
        registry.send("DELETE", "demo/-rev/undefined")
    rev = registry.get("demo")["_rev"]
    assert registry.send("DELETE", f"demo/-rev/{rev}")[0] == 200
    with pytest.raises(Absent):
        registry.get("demo")
    with pytest.raises(Absent):
        registry.send("DELETE", f"demo/-rev/{rev}")
    refused(registry, Conflict, "cannot come back", document(description="other"))
    assert registry.view.claimed("demo")


def test_a_revision_that_leaves_nothing_drops_the_package(registry: Registry) -> None:
    registry.publish()
    kept = registry.get("demo?write=true")
    kept["versions"] = {}
    assert registry.send("PUT", f"demo/-rev/{kept['_rev']}", kept)[0] == 200
    assert registry.view.package("demo") is None


def test_a_revision_takes_no_attachments(registry: Registry) -> None:
    registry.publish()
    refused(registry, Invalid, "no attachments", document(version="2.0.0"), "demo/-rev/1-0")


# ---------------------------------------------------------------- tags


def test_tags_are_set_moved_and_removed(registry: Registry) -> None:
    for version in ("1.0.0", "2.0.0"):
        registry.publish(version=version, description=f"of {version}")
    path = "-/package/demo/dist-tags"
    assert registry.send("PUT", f"{path}/stable", b'"1.0.0"')[0] == 201
    assert registry.get(path) == {"latest": "2.0.0", "stable": "1.0.0"}
    registry.send("PUT", f"{path}/latest", b'"1.0.0"')
    assert registry.get("demo")["description"] == "of 1.0.0"
    assert registry.get("demo/latest")["version"] == "1.0.0"
    serial = registry.view.serial
    registry.send("PUT", f"{path}/latest", b'"1.0.0"')
    assert registry.view.serial == serial
    registry.send("DELETE", f"{path}/stable")
    assert registry.get(path) == {"latest": "1.0.0"}


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("PUT", "-/package/demo/dist-tags/next", b'"9.0.0"', Absent),
        ("PUT", "-/package/none/dist-tags/a", b'"1.0.0"', Absent),
        ("PUT", "-/package/demo/dist-tags/a", b"1.0.0", Invalid),
        ("PUT", "-/package/demo/dist-tags/a", b'{"a": 1}', Invalid),
        ("PUT", "-/package/demo/dist-tags/a", b'"\xff"', Invalid),
        ("PUT", "-/package/demo/dist-tags/1.0.0", b'"1.0.0"', Invalid),
        ("PUT", "-/package/demo/dist-tags/a/b", b'"1.0.0"', Invalid),
        ("DELETE", "-/package/demo/dist-tags/latest", b"", Conflict),
        ("DELETE", "-/package/demo/dist-tags/none", b"", Absent),
    ],
)
def test_tags_that_cannot_be(registry: Registry, method: str, path: str, body: bytes, problem: type[Problem]) -> None:
    registry.publish()
    with pytest.raises(problem):
        registry.send(method, path, body)


def test_each_change_moves_the_revision_and_modified_only_forward(registry: Registry) -> None:
    registry.publish()
    first = registry.get("demo")
    registry.at_ms = START_MS - 10**9
    registry.send("PUT", "-/package/demo/dist-tags/a", b'"1.0.0"')
    second = registry.get("demo")
    assert second["_rev"] != first["_rev"]
    assert second["time"]["modified"] == first["time"]["modified"]


def test_the_core_gets_the_package_first(registry: Registry) -> None:
    """The order of changes lets an index that folds one by one never see a version without its package."""
    request = ask("demo", "PUT")
    body = json.dumps(document()).encode()
    finds = registry._finds(request, ROOM.read(request), body)
    decision = ROOM.decide(request, finds, registry.view)
    assert isinstance(decision.changes[0], PutPackage)
