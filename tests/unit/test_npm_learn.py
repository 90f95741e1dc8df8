"""What is believed of a foreign registry's packument, and what is not?"""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from formats.kit.contract import ABOUT, Foreign, Show, about
from formats.npm import ROOM, upstream
from formats.npm.upstream import KEYS
from storage.errors import Absent, UpstreamFailed
from tests.harness.npm_registry import BASE, Registry, ask
from tests.harness.views import MemoryView

URL = "https://upstream.example/npm/demo"
SHORT_JSON = "application/vnd.npm.install-v1+json"
SHA512 = bytes(range(64))
SHA1 = "00112233445566778899aabbccddeeff00112233"


def version(version: str = "1.0.0", name: str = "demo", **other: Any) -> dict[str, Any]:
    dist = {
        "shasum": SHA1,
        "integrity": "sha512-" + base64.b64encode(SHA512).decode(),
        "tarball": f"https://files.example/{name}/-/{name}-{version}.tgz",
        "fileCount": 3,
        "unpackedSize": 99,
        "signatures": [{"keyid": "SHA256:x", "sig": "y"}],
        **other.pop("dist", {}),
    }
    return {"name": name, "version": version, "_id": f"{name}@{version}", **other, "dist": dist}


def packument(*versions: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "_id": "demo",
        "name": "demo",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {one["version"]: one for one in versions},
        "time": {
            "created": "2020-01-01T00:00:00.000Z",
            "modified": "2024-05-06T07:08:09.123Z",
            "1.0.0": "2020-01-02T03:04:05.678Z",
        },
        "maintainers": [{"name": "ada", "email": "a@example.com"}],
        "readme": "# Demo",
        **other,
    }


def learn(document: object, name: str = "demo") -> Foreign:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    learnt = ROOM.learn(name, raw, URL)
    # What is learnt travels between processes and nodes.
    return msgspec.msgpack.decode(msgspec.msgpack.encode(learnt), type=Foreign)


def shown(foreign: Foreign, path: str = "demo", accept: str = "") -> Any:
    plan = ROOM.read(ask(path, accept=accept))
    assert isinstance(plan, Show)
    return json.loads(ROOM.render(plan, MemoryView().lay(foreign), BASE).body)


def test_a_packument_comes_through_with_our_own_addresses() -> None:
    one = version(dependencies={"a": "1"}, deprecated="old", scripts={"postinstall": "x"}, description="Does it")
    foreign = learn(packument(one))
    full = shown(foreign)
    expected = packument(one)
    expected["versions"]["1.0.0"]["dist"]["tarball"] = f"{BASE}/demo/-/demo-1.0.0.tgz"
    expected["versions"]["1.0.0"]["hasInstallScript"] = True
    expected |= {"description": "Does it", "_rev": full["_rev"]}
    assert full == expected
    short = shown(foreign, accept=SHORT_JSON)
    assert short["modified"] == "2024-05-06T07:08:09.123Z"
    assert set(short["versions"]["1.0.0"]) == {
        "name",
        "version",
        "dependencies",
        "deprecated",
        "hasInstallScript",
        "dist",
    }
    assert short["versions"]["1.0.0"]["dist"] == full["versions"]["1.0.0"]["dist"]


def test_files_carry_their_source_and_the_announced_digests() -> None:
    (file,) = learn(packument(version())).files
    assert (file.name, file.version, file.size, file.sha256) == ("demo-1.0.0.tgz", "1.0.0", -1, b"")
    assert file.digests == {"sha512": SHA512.hex(), "sha1": SHA1}
    assert file.source == "https://files.example/demo/-/demo-1.0.0.tgz"
    assert file.at_ms == 1577934245678


def test_a_scope_is_no_part_of_the_file_and_relative_addresses_are_resolved() -> None:
    one = version(name="@acme/demo", dist={"tarball": "/npm/@acme/demo/-/whatever.tgz#frag"})
    foreign = learn(packument(one, name="@acme/demo"), "@acme/demo")
    assert foreign.files[0].name == "demo-1.0.0.tgz"
    assert foreign.files[0].source == "https://upstream.example/npm/@acme/demo/-/whatever.tgz"


def test_o13_a_time_that_nobody_knows_is_not_made_up() -> None:
    document = packument(version(), version("2.0.0"))
    full = shown(learn(document))
    assert full["time"].get("1.0.0") == "2020-01-02T03:04:05.678Z"
    assert "2.0.0" not in full["time"]
    del document["time"]
    document["modified"] = "2021-01-01T00:00:00.000Z"
    assert shown(learn(document))["time"] == {"modified": "2021-01-01T00:00:00.000Z"}


def test_o13_an_unknown_time_of_change_does_not_pass_for_an_old_one() -> None:
    timeless = packument(version(), version("2.0.0"))
    del timeless["time"]["modified"]
    assert "modified" not in shown(learn(timeless))["time"]
    assert "modified" not in shown(learn(timeless), accept=SHORT_JSON)
    timeless["time"]["2.0.0"] = "2022-02-02T00:00:00Z"
    assert shown(learn(timeless), accept=SHORT_JSON)["modified"] == "2022-02-02T00:00:00.000Z"
    del timeless["time"]
    assert "modified" not in shown(learn(timeless), accept=SHORT_JSON)


def test_o13_a_version_newer_than_modified_moves_it() -> None:
    document = packument(version())
    document["time"]["1.0.0"] = "2025-01-01T00:00:00Z"
    assert shown(learn(document))["time"]["modified"] == "2025-01-01T00:00:00.000Z"


def test_c14_local_and_foreign_versions_of_one_allowed_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.publish(version="5.0.0")
    registry.view.lay(learn(packument(version())))
    assert set(registry.get("demo")["versions"]) == {"5.0.0"}, "a published name is not taken from upstream"
    registry.view.lay(learn(packument(version(), version("2.0.0"))), allowed=True)
    short = registry.get("demo", accept=SHORT_JSON)
    assert set(short["versions"]) == {"1.0.0", "2.0.0", "5.0.0"}
    assert short["dist-tags"]["latest"] == "5.0.0"
    assert "modified" not in short, "nobody knows when 2.0.0 came"


def test_o14_attestations_are_offered_here_and_fetched_there() -> None:
    attestations = {
        "url": "https://upstream.example/-/npm/v1/attestations/demo@1.0.0",
        "provenance": {"predicateType": "p"},
    }
    foreign = learn(packument(version(dist={"attestations": attestations})))
    assert next((file.name, file.source) for file in foreign.files) == ("demo-1.0.0.sigstore", attestations["url"])
    assert shown(foreign)["versions"]["1.0.0"]["dist"]["attestations"] == {
        **attestations,
        "url": f"{BASE}/-/npm/v1/attestations/demo@1.0.0",
    }


def test_o14_signing_keys_are_the_upstreams() -> None:
    fetch = ROOM.upstream(ABOUT, about(KEYS))
    assert fetch is not None
    assert fetch.path == "-/npm/v1/keys"
    keys = {"keys": [{"keyid": "SHA256:x", "key": "y", "expires": None}]}
    assert shown(learn(keys, KEYS), "-/npm/v1/keys") == keys
    plan = ROOM.read(ask("-/npm/v1/keys"))
    assert isinstance(plan, Show)
    assert json.loads(ROOM.render(plan, MemoryView(), BASE).body) == {"keys": []}


def test_names_of_earlier_days_are_asked_for_and_learnt() -> None:
    for name, path in (("JSONStream", "JSONStream"), ("@Acme/x", "@Acme%2fx"), ("it's", "it's"), ("@s/n", "@s%2fn")):
        fetch = ROOM.upstream(ABOUT, about(name))
        assert fetch is not None
        assert fetch.path == path
    assert learn(packument(version(name="JSONStream"), name="JSONStream"), "JSONStream").versions
    for name in ("..", "a/b", "a%2f", "@a", "", "a b"):
        assert ROOM.upstream(ABOUT, about(name)) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>login</html>",
        b"[]",
        b"{}",
        b"null",
        b'{"name": "demo", "versions": []}',
        b'{"name": "demo", "versions": {"1.0.0": NaN}}',
        b'{"name": "demo", "versions": {"1.0.0": {"x": "\xff"}}}',
        b'{"name": "demo", "x": "\xff"}',
        b'{"name": "demo", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": "demo"} trailing',
        b'{"name": "Demo", "versions": {}}',
        b'{"name": "other", "versions": {}}',
    ],
)
def test_d1_an_answer_that_is_no_packument_of_this_package_fails(raw: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        learn(raw)


def test_too_many_versions_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "VERSIONS_MAX", 2)
    assert len(learn(packument(version(), version("2.0.0"))).versions) == 2
    with pytest.raises(UpstreamFailed, match="more than 2"):
        learn(packument(version(), version("2.0.0"), version("3.0.0")))


@pytest.mark.parametrize(
    "bad",
    [
        "no object",
        None,
        {},
        version("9.0.1"),
        version("9.0.0", name="other"),
        {"name": "demo", "version": "9.0.0"},
        version("9.0.0", dist={"tarball": 5}),
        version("9.0.0", dist={"tarball": ""}),
        version("9.0.0", dist={"tarball": "file:///etc/passwd"}),
        version("9.0.0", dist={"tarball": "ftp://files.example/x.tgz"}),
        version("9.0.0", dist={"tarball": "https://user:secret@files.example/x.tgz"}),
        version("9.0.0", dist={"tarball": "https://[::1/x.tgz"}),
        version("9.0.0", dist={"tarball": "https://files.example/x.tgz\r\nX: y"}),
        version("9.0.0", dist={"tarball": "https://files.example/" + "x" * 2000}),
        version("9.0.0", dist={"integrity": "", "shasum": ""}),
        version("9.0.0", dist={"integrity": "sha512-AAAA", "shasum": "zz"}),
        {**version("9.0.0"), "dist": []},
        {**version("9.0.0"), "version": 9},
    ],
)
def test_d1_a_version_that_makes_no_sense_is_left_out_and_the_others_stay(bad: Any) -> None:
    document = packument(version())
    document["versions"]["9.0.0"] = bad
    document["dist-tags"]["next"] = "9.0.0"
    foreign = learn(document)
    assert [one.name for one in foreign.versions] == ["1.0.0"]
    assert [one.name for one in foreign.files] == ["demo-1.0.0.tgz"]
    assert foreign.tags == {"latest": "1.0.0"}


@pytest.mark.parametrize("name", ["1.0", "01.0.0", "__proto__", '1.0.0","x":"', "../1.0.0", "", "1.0.0-" + "a" * 300])
def test_versions_that_are_no_semver_are_left_out(name: str) -> None:
    foreign = learn(packument(version(), version(name)))
    assert [one.name for one in foreign.versions] == ["1.0.0"]


def test_members_of_other_shapes_are_borne() -> None:
    document = packument(
        version(deprecated=True, keywords="a, b c", scripts=["install"], description=5, funding=None),
        **{
            "time": [],
            "maintainers": "ada",
            "readme": {"x": 1},
            "dist-tags": {"latest": "1.0.0", "x": 5, "1": "1.0.0"},
        },
    )
    full = shown(learn(document))
    assert full["dist-tags"] == {"latest": "1.0.0"}
    assert full["versions"]["1.0.0"]["deprecated"] == "This version is deprecated."
    assert (full["maintainers"], full["readme"]) == ([], "")
    for name in ("time", "dist-tags", "maintainers"):
        learn({**document, name: None})
    assert "deprecated" not in shown(learn(packument(version(deprecated=False))))["versions"]["1.0.0"]


def test_a_package_without_versions_is_absent() -> None:
    for document in (
        packument(),
        {"name": "demo", "time": {"unpublished": {}}},
        packument(version(dist={"tarball": 1})),
    ):
        with pytest.raises(Absent):
            shown(learn(document))


def test_integrity_of_several_kinds() -> None:
    text = (
        f"sha1-{base64.b64encode(bytes(20)).decode()} sha384-AAAA md5-xx sha512-{base64.b64encode(SHA512).decode()}?opt"
    )
    assert upstream.digests_of(text) == {"sha1": "00" * 20, "sha512": SHA512.hex()}
    assert upstream.integrity_of({"sha1": "00"}) == ""
    assert upstream.integrity_of({"sha256": "00" * 32}).startswith("sha256-")


def test_write_true_shows_nothing_foreign() -> None:
    plan = ROOM.read(ask("demo?write=true"))
    assert isinstance(plan, Show)
    assert not plan.foreign
    other = ROOM.read(ask("demo"))
    assert isinstance(other, Show)
    assert other.foreign
    assert (plan.page, plan.argument) != (other.page, other.argument)
