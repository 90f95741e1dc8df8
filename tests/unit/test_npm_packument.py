"""Are the documents, put together from pieces of JSON, what a plain dictionary would say?"""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.npm import ROOM
from formats.npm.manifest import SHORT, heard, spoken
from storage.errors import Absent
from tests.harness.npm_registry import BASE, START_MS, Registry, ask, document, sigstore, tarball

SHORT_JSON = "application/vnd.npm.install-v1+json"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def said(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


MANIFESTS: list[dict[str, Any]] = [
    {"version": "1.0.0", "description": 'first "quoted" \\ \u2028 ünï', "keywords": ["a", "b"], "bin": "./cli.js"},
    {
        "version": "1.1.0-rc.1",
        "dependencies": {"a": "^1.0.0"},
        "os": ["linux"],
        "libc": ["glibc"],
        "peerDependenciesMeta": {"a": {"optional": True}},
        "x-custom": {"deep": [1, 2.5, None, True]},
    },
    {
        "version": "1.1.0",
        "description": "the latest",
        "license": "MIT",
        "repository": {"type": "git", "url": "git+https://example.com/demo.git"},
        "homepage": "https://example.com",
        "author": {"name": "Ada"},
        "engines": {"node": ">=20"},
        "scripts": {"test": "true"},
    },
]


def oracle(name: str, published: list[tuple[dict[str, Any], bytes, int]], tags: dict[str, str]) -> dict[str, Any]:
    """The full document as a dictionary."""
    bare, versions, times = name.rpartition("/")[2], {}, {}
    for manifest, data, at_ms in published:
        version = manifest["version"]
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        versions[version] = {
            "name": name,
            **manifest,
            "_id": f"{name}@{version}",
            "_npmUser": {"name": "ada", "email": ""},
            "dist": {
                "tarball": f"{BASE}/{name}/-/{bare}-{version}.tgz",
                "integrity": integrity,
                "shasum": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
                "fileCount": 1,
                "unpackedSize": len(json.dumps({"name": name, **manifest})),
            },
        }
        times[version] = said(at_ms)
    latest = versions[tags["latest"]]
    top = ("description", "homepage", "keywords", "repository", "author", "contributors", "bugs", "license")
    return {
        "_id": name,
        "name": name,
        "dist-tags": tags,
        "versions": versions,
        "time": {"created": said(published[0][2]), "modified": said(published[-1][2]), **times},
        "maintainers": [{"name": "ada", "email": ""}],
        "readme": "# Hello",
        **{key: latest[key] for key in top if key in latest},
    }


@pytest.mark.parametrize("name", ["demo", "@acme/demo"])
def test_documents_are_what_a_dictionary_would_say(registry: Registry, name: str) -> None:
    published = []
    for manifest in MANIFESTS:
        version, rest = manifest["version"], {key: one for key, one in manifest.items() if key != "version"}
        data = tarball({"name": name, **manifest})
        registry.publish(name, version, data=data, tag="rc" if "rc" in version else "latest", **rest)
        published.append((manifest, data, registry.at_ms))
    expected = oracle(name, published, {"latest": "1.1.0", "rc": "1.1.0-rc.1"})
    full = registry.get(name)
    rev = full.pop("_rev")
    assert rev.startswith("3-")
    assert full == expected
    assert list(full["versions"]) == [manifest["version"] for manifest in MANIFESTS]
    short = {
        version: {key: one for key, one in manifest.items() if key in (*SHORT, "dist")}
        for version, manifest in expected["versions"].items()
    }
    assert registry.get(name, accept=SHORT_JSON) == {
        "name": name,
        "modified": expected["time"]["modified"],
        "dist-tags": expected["dist-tags"],
        "versions": short,
    }
    for wanted in ("1.1.0", "latest", "1.1.0-rc.1", "rc"):
        version = expected["dist-tags"].get(wanted, wanted)
        assert registry.get(f"{name}/{wanted}") == expected["versions"][version]
    with pytest.raises(Absent):
        registry.get(f"{name}/9.9.9")


def test_no_text_of_a_manifest_can_break_out_of_the_document(registry: Registry) -> None:
    nasty = '"},"dist-tags":{"latest":"6.6.6"},"x":{"y":"\\'
    body = document(description=nasty, **{nasty: nasty, "deprecated": nasty})
    body["versions"]["1.0.0"]["readme"] = nasty
    registry.send("PUT", "demo", body)
    full = registry.get("demo")
    assert full["dist-tags"] == {"latest": "1.0.0"}
    assert full["versions"]["1.0.0"][nasty] == nasty
    assert (full["description"], full["readme"]) == (nasty, nasty)
    assert full["versions"]["1.0.0"]["deprecated"] == nasty


def test_what_a_manifest_says_of_its_own_dist_is_not_served(registry: Registry) -> None:
    body = document(_npmUser={"name": "mallory"}, _resolved="x", _integrity="y", _rev="9", hasInstallScript=True)
    body["versions"]["1.0.0"]["dist"] |= {"attestations": {"url": "http://evil.example/"}, "signatures": [{"sig": "x"}]}
    registry.send("PUT", "demo", body)
    served = registry.get("demo")["versions"]["1.0.0"]
    assert served["_npmUser"] == {"name": "ada", "email": ""}
    assert not {"_resolved", "_integrity", "_rev", "hasInstallScript"} & served.keys()
    assert set(served["dist"]) == {"tarball", "integrity", "shasum", "fileCount", "unpackedSize"}


def test_o13_modified_is_the_time_of_the_last_change_to_the_millisecond(registry: Registry) -> None:
    registry.publish()
    registry.at_ms += 1234
    registry.send("PUT", "-/package/demo/dist-tags/a", b'"1.0.0"')
    assert registry.get("demo", accept=SHORT_JSON)["modified"] == said(registry.at_ms)
    assert registry.get("demo")["time"] == {
        "created": said(START_MS + 1000),
        "modified": said(registry.at_ms),
        "1.0.0": said(START_MS + 1000),
    }


def test_both_addresses_of_a_scoped_tarball_give_the_same_bytes(registry: Registry) -> None:
    data = tarball({"name": "@acme/demo", "version": "1.0.0"})
    registry.publish("@acme/demo", data=data)
    for path in ("@acme/demo/-/demo-1.0.0.tgz", "@acme/demo/-/@acme/demo-1.0.0.tgz"):
        assert registry.get(path) == data
    assert registry.get("@acme/demo/-/demo-2.0.0.tgz") is None


def test_the_attestations_of_a_version_lie_beside_it(registry: Registry) -> None:
    data = tarball({"name": "demo", "version": "1.0.0"})
    registry.publish(data=data, bundle=sigstore("demo", "1.0.0", data))
    short = registry.get("demo", accept=SHORT_JSON)
    address = short["versions"]["1.0.0"]["dist"]["attestations"]["url"]
    assert json.loads(registry.get(address.removeprefix(BASE + "/")))["attestations"]


@pytest.mark.parametrize("page", ["none", "none/1.0.0", "-/package/none/dist-tags", "-/package/none/visibility"])
def test_what_is_not_there_is_absent(registry: Registry, page: str) -> None:
    registry.publish()
    with pytest.raises(Absent):
        registry.get(page)


def test_visibility_is_public_only_to_who_needs_no_name(registry: Registry) -> None:
    registry.publish()
    assert registry.get("-/package/demo/visibility") == {"public": False}
    plan = ROOM.read(ask("-/package/demo/visibility", principal=""))
    assert json.loads(ROOM.render(plan, registry.view, BASE).body) == {"public": True}  # type: ignore[arg-type]


@given(st.integers(631152000_000, 4102444800_000))
def test_times_are_said_and_heard_alike(at_ms: int) -> None:
    assert heard(spoken(at_ms)) == at_ms
    assert spoken(at_ms) == said(at_ms)


@pytest.mark.parametrize(
    "text", [None, 5, "", "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "x" * 50]
)
def test_times_that_are_none_are_zero(text: object) -> None:
    assert heard(text) == 0
