"""Packages that are copied and moved between repositories and workspaces, by reference, at an origin and its edge.

Each asks for the bytes where clients do, in the target, through the edge (THREATS C1, C2, C3)."""

import json
import os
import uuid
from typing import Any

import pytest

from tests.harness import images
from tests.harness.commandline import run
from tests.harness.debs import deb
from tests.harness.npm_registry import document
from tests.harness.registry import Image, bearer
from tests.harness.running import Got, Up, clean_environment, get

pytestmark = pytest.mark.native


def fresh(node: Up, *more: str) -> str:
    """A repository of its own."""
    place = f"{node.workspace}/r{uuid.uuid4().hex[:10]}"
    node.entrepot("repo", "create", place, *more)
    return place


def refused(node: Up, token: str, *arguments: str) -> tuple[int, str]:
    """Exit code and message of a command that fails, for another principal."""
    environment = clean_environment() | {"ENTREPOT_URL": node.edge, "ENTREPOT_TOKEN": token}
    done = run([*arguments, "--json"], environment)
    assert done.returncode != 0, done.stdout
    return done.returncode, json.loads(done.stderr)["error"]["message"]


def asked(node: Up, path: str, method: str = "GET", body: bytes | None = None, door: str = "") -> Got:
    return get(f"{door or node.edge}/{path}", bearer(node.token), method, body)


def token(node: Up, *arguments: str) -> str:
    return str(node.entrepot("token", "create", "t", *arguments)["token"])


def test_c3_an_image_goes_with_its_layers_its_parts_and_its_signatures(node: Up) -> None:
    """An index of two images, one layer shared, one signed; then moved into another workspace."""
    source, target = fresh(node), fresh(node)
    image = Image(node.edge, f"{source}/app", bearer(node.token))
    shared, own = os.urandom(70_000), os.urandom(50_000)
    parts = [images.manifest(b"{}", shared), images.manifest(b"{}", shared, own)]
    digests = [image.push(f"p{number}", *layers) for number, layers in enumerate(([shared], [shared, own]))]
    raw = [json.dumps(one).encode() for one in parts]
    whole = image.push_manifest(images.index(*raw), "all").headers["docker-content-digest"]
    signature = os.urandom(200)
    assert image.push_blob(signature).status == 201
    signed = images.manifest(b"{}", signature, subject=json.dumps(images.index(*raw)).encode())
    assert image.push_manifest(signed, images.digest_of(json.dumps(signed).encode())).status == 201

    told = node.entrepot("copy", f"{source}/oci/app@all", target, url=node.edge)["items"][0]
    assert (told["version"], told["versions"]) == (whole, 4)
    there = Image(node.edge, f"{target}/app", bearer(node.token))
    assert there.ask("GET", "manifests/all").headers["docker-content-digest"] == whole
    for part in digests:
        assert there.ask("GET", f"manifests/{part}").status == 200
    for layer in (shared, own, signature):
        assert there.ask("GET", f"blobs/{images.digest_of(layer)}").body == layer
    assert len(json.loads(there.ask("GET", f"referrers/{whole}").body)["manifests"]) == 1
    assert node.entrepot("copy", f"{source}/oci/app@all", target)["items"][0]["files"] == 0

    # a move across workspaces: it is all there, and of it nothing here; what else is here stays whole
    other = f"{node.workspace}-{uuid.uuid4().hex[:8]}"
    node.entrepot("workspace", "create", other)
    node.entrepot("repo", "create", f"{other}/box")
    for part in ("p0", "p1"):
        node.entrepot("tag", "remove", f"{source}/oci/app", part)
    stays = image.push("stays", shared)
    moved = node.entrepot("move", f"{source}/oci/app@{whole}", f"{other}/box", url=node.edge)["items"][0]
    assert moved["moved"] is True
    box = Image(node.edge, f"{other}/box/app", bearer(node.token))
    assert box.ask("GET", f"blobs/{images.digest_of(own)}").body == own
    assert box.ask("GET", "manifests/all").headers["docker-content-digest"] == whole
    for path in ("manifests/all", f"manifests/{digests[1]}", f"blobs/{images.digest_of(own)}"):
        assert image.ask("GET", path).status == 404, path
    assert image.ask("GET", f"manifests/{stays}").status == 200
    assert image.ask("GET", f"blobs/{images.digest_of(shared)}").body == shared
    again = refused(node, node.token, "move", f"{source}/oci/app@{whole}", f"{other}/box")
    assert again[0] == 3


def test_every_format_is_copied_by_its_own_rules(node: Up) -> None:
    source, target = fresh(node), fresh(node)
    assert asked(node, f"{source}/npm/demo", "PUT", json.dumps(document("demo", "1.0.0")).encode()).status in (200, 201)
    assert asked(node, f"{source}/generic/a/b", "PUT", b"bytes").status == 201
    jar, where = os.urandom(900), "org/acme/demo/1.0"
    assert asked(node, f"{source}/maven/{where}/demo-1.0.jar", "PUT", jar).status == 201
    package = deb("hello", "1.0")
    assert asked(node, f"{source}/deb/upload/stable/main/hello_1.0_all.deb", "PUT", package).status == 201

    items = [f"{source}/npm/demo", f"{source}/generic/a/b", f"{source}/maven/org.acme:demo@1.0"]
    told = node.entrepot("copy", *items, "--to", target, url=node.edge)
    assert (told["failed"], [one["files"] for one in told["items"]]) == ([], [1, 1, 1])
    assert node.entrepot("copy", f"{source}/deb/hello@1.0", target, "--place", "testing/extra", url=node.edge)
    assert asked(node, f"{target}/npm/demo/-/demo-1.0.0.tgz").status == 200
    assert json.loads(asked(node, f"{target}/npm/demo").body)["dist-tags"] == {"latest": "1.0.0"}
    assert asked(node, f"{target}/generic/a/b").body == b"bytes"
    assert asked(node, f"{target}/maven/{where}/demo-1.0.jar").body == jar
    assert b"1.0" in asked(node, f"{target}/maven/org/acme/demo/maven-metadata.xml").body
    assert b"hello" in asked(node, f"{target}/deb/dists/testing/extra/binary-all/Packages").body
    assert asked(node, f"{target}/deb/dists/stable/main/binary-all/Packages").status == 404

    # other bytes are in nobody's way, and stay
    assert asked(node, f"{target}/generic/a/b", "DELETE").status == 204
    assert asked(node, f"{target}/generic/a/b", "PUT", b"other").status == 201
    code, message = refused(node, node.token, "copy", f"{source}/generic/a/b", target)
    assert (code, "other bytes" in message) == (1, True)
    assert asked(node, f"{target}/generic/a/b").body == b"other"
    for wrong in (f"{source}/deb/hello@1.0", f"{source}/npm/demo@9.0.0"):
        refused(node, node.token, "copy", wrong, target, "--place", "testing")


def test_c2_what_cannot_be_read_cannot_be_copied_nor_moved_without_the_right_to_delete(node: Up) -> None:
    """Nor what is in quarantine, nor into what cannot be written to. Absent and forbidden sources look alike (B9)."""
    source, target = fresh(node), fresh(node)
    assert asked(node, f"{source}/generic/secret", "PUT", b"bytes").status == 201
    writer = token(node, "--repository", target, "--write")
    unknown = refused(node, writer, "copy", f"{node.workspace}/never/generic/secret", target)
    assert refused(node, writer, "copy", f"{source}/generic/secret", target) == unknown
    assert unknown[0] == 3
    reader = token(node, "--repository", source, "--repository", target, "--read")
    assert refused(node, reader, "copy", f"{source}/generic/secret", target)[0] == 4
    both = token(node, "--repository", source, "--read")
    assert refused(node, both, "copy", f"{source}/generic/secret", target)[0] == 3
    assert asked(node, f"{target}/generic/secret").status == 404

    node.entrepot("quarantine", "add", f"{source}/generic/secret")
    assert "quarantine" in refused(node, node.token, "copy", f"{source}/generic/secret", target)[1]
    node.entrepot("quarantine", "release", f"{source}/generic/secret")
    node.entrepot("move", f"{source}/generic/secret", target, url=node.edge)
    assert asked(node, f"{source}/generic/secret").status == 404
    assert asked(node, f"{target}/generic/secret").body == b"bytes"


def test_tags_are_added_moved_listed_and_removed(node: Up) -> None:
    place = fresh(node)
    for version in ("1.0.0", "2.0.0"):
        body: Any = json.dumps(document("demo", version)).encode()
        assert asked(node, f"{place}/npm/demo", "PUT", body).status in (200, 201)
    package = f"{place}/npm/demo"
    node.entrepot("tag", "add", f"{package}@1.0.0", "stable", url=node.edge)
    assert json.loads(asked(node, package).body)["dist-tags"]["stable"] == "1.0.0"
    assert refused(node, node.token, "tag", "add", f"{package}@2.0.0", "stable")[0] == 1
    assert node.entrepot("tag", "move", f"{package}@latest", "stable", url=node.edge)["version"] == "2.0.0"
    listed = node.entrepot("tag", "list", package, url=node.edge)["items"]
    assert {one["tag"]: one["version"] for one in listed} == {"latest": "2.0.0", "stable": "2.0.0"}
    node.entrepot("tag", "remove", package, "stable", url=node.edge)
    assert refused(node, node.token, "tag", "move", f"{package}@1.0.0", "stable")[0] == 3
    assert refused(node, node.token, "tag", "remove", package, "latest")[0] == 1
    image = Image(node.edge, f"{place}/app", bearer(node.token))
    digest = image.push("1", os.urandom(100))
    node.entrepot("tag", "add", f"{place}/oci/app@1", "stable", url=node.edge)
    assert image.ask("GET", "manifests/stable").headers["docker-content-digest"] == digest
    assert asked(node, f"{place}/generic/x", "PUT", b"x").status == 201
    code, message = refused(node, node.token, "tag", "add", f"{place}/pypi/demo@1", "stable")
    assert (code, message) == (1, "Packages of the format pypi have no tags.")
