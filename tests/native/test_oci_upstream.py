"""Is a foreign image pulled with the fewest requests, streamed, kept, and served when its registry is gone?"""

import json
import os
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import images
from tests.harness.clients import program, run
from tests.harness.docker_registry import DockerRegistry
from tests.harness.registry import Image, bearer, code_of
from tests.harness.running import Up, clean_environment

pytestmark = pytest.mark.native

FRESH_S = 1
STRANGER = b"a stranger's"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as one:
        yield one


@pytest.fixture(scope="module")
def drawing(node: Up, registry: DockerRegistry) -> str:
    """A private repository that draws from the registry and believes it for a second."""
    place = f"{node.workspace}/images"
    node.entrepot("repo", "create", place, url=node.edge)
    fresh = ("--fresh", f"{FRESH_S}s")
    node.entrepot("upstream", "add", place, "oci", registry.url, "--private-network", *fresh, url=node.edge)
    return place


def foreign(registry: DockerRegistry, name: str) -> Image:
    return Image(registry.url.rstrip("/"), name, {})


def through(node: Up, door: str, repository: str, name: str) -> Image:
    return Image(getattr(node, door), f"{repository}/{name}", bearer(node.token))


def push(image: Image, tag: str, *layers: bytes) -> str:
    """A whole image into a registry that takes no blob in one request."""
    for part in (b"{}", *layers):
        begun = image.ask("POST", "blobs/uploads/", b"").headers["location"]
        mark = "&" if "?" in begun else "?"
        address = f"{image.at(begun)}{mark}digest={images.digest_of(part)}"
        assert image.ask("PUT", address, part, Content_Type="application/octet-stream").status == 201
    done = image.push_manifest(images.manifest(b"{}", *layers), tag)
    assert done.status == 201, done.body
    return done.headers["docker-content-digest"]


def test_o8_a_pull_costs_one_request_for_the_manifest_and_one_for_each_blob(
    node: Up, registry: DockerRegistry, drawing: str, tmp_path: Path
) -> None:
    layer = os.urandom(300_000)
    digest = push(foreign(registry, "team/app"), "1", layer)
    before = len(registry.asked())
    for door in ("edge", "origin", "edge"):
        app = through(node, door, drawing, "team/app")
        for method in ("HEAD", "GET"):
            got = app.ask(method, "manifests/1")
            assert (got.status, got.headers["content-type"]) == (200, images.MANIFEST)
            assert got.headers["docker-content-digest"] == digest
        got = app.ask("GET", f"manifests/{digest}")
        assert images.digest_of(got.body) == digest
        blob = app.ask("GET", f"blobs/{images.digest_of(layer)}")
        assert blob.body == layer
        assert blob.headers["docker-content-digest"] == images.digest_of(layer)
        part = app.ask("GET", f"blobs/{images.digest_of(layer)}", Range="bytes=1000-1999")
        assert (part.status, part.body) == (206, layer[1000:2000])
    asked = registry.asked()[before:]
    assert [path for method, path in asked if method == "GET" and "/manifests/" in path] == ["/v2/team/app/manifests/1"]
    assert sum("/blobs/" in path for _, path in asked) == 1
    # a real client sees no difference
    address = f"docker://{through(node, 'edge', drawing, 'team/app').door.partition('://')[2]}/{drawing}/team/app:1"
    run(
        [program("skopeo"), "copy", "--src-tls-verify=false", "--src-creds", f"u:{node.token}", address,
         f"dir:{tmp_path / 'pulled'}"],
        env=clean_environment() | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert (tmp_path / "pulled" / images.digest_of(layer).removeprefix("sha256:")).read_bytes() == layer


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_o9_a_tag_is_renewed_by_a_look_and_fetched_only_when_it_moved(
    node: Up, registry: DockerRegistry, drawing: str, door: str
) -> None:
    there, app = foreign(registry, f"moving/{door}"), through(node, door, drawing, f"moving/{door}")
    first = push(there, "latest", b"one")
    assert app.ask("GET", "manifests/latest").headers["docker-content-digest"] == first
    before = len(registry.asked())
    time.sleep(FRESH_S + 5)
    assert app.ask("GET", "manifests/latest").headers["docker-content-digest"] == first
    assert {method for method, path in registry.asked()[before:] if path.endswith("/latest")} == {"HEAD"}
    second = push(there, "latest", b"two")
    deadline_s = time.monotonic() + 60
    while app.ask("GET", "manifests/latest").headers["docker-content-digest"] != second:
        assert time.monotonic() < deadline_s, "a moved tag is seen within its freshness"
        time.sleep(0.5)
    assert app.ask("GET", f"manifests/{first}").status == 200, "what a digest names stays"


def test_an_absent_tag_is_absent_and_a_private_name_is_never_asked_for(
    node: Up, registry: DockerRegistry, drawing: str
) -> None:
    """C14: a name that was published here is ours alone, for tags, digests, lists and referrers."""
    app = through(node, "edge", drawing, "ours/app")
    absent = app.ask("GET", "manifests/none")
    assert (absent.status, code_of(absent)) == (404, "MANIFEST_UNKNOWN")
    assert app.ask("GET", "tags/list").status == 404
    digest = app.push("mine", b"our own")
    theirs = push(foreign(registry, "ours/app"), "stolen", STRANGER)
    before = len(registry.asked())
    for path in ("manifests/stolen", f"manifests/{theirs}", f"blobs/{images.digest_of(STRANGER)}"):
        for door in ("origin", "edge"):
            assert through(node, door, drawing, "ours/app").ask("GET", path).status == 404
    assert json.loads(app.ask("GET", "tags/list").body)["tags"] == ["mine"]
    assert json.loads(app.ask("GET", f"referrers/{digest}").body)["manifests"] == []
    assert registry.asked()[before:] == []


def test_tags_of_both_sides_are_one_list(node: Up, registry: DockerRegistry, drawing: str) -> None:
    for tag in ("a", "c"):
        push(foreign(registry, "listed/app"), tag, b"x")
    for door in ("origin", "edge"):
        app = through(node, door, drawing, "listed/app")
        assert json.loads(app.ask("GET", "tags/list").body) == {
            "name": f"{drawing}/listed/app",
            "tags": ["a", "c"],
        }


def test_o8_what_was_pulled_is_served_when_the_registry_is_gone(
    node: Up, registry: DockerRegistry, drawing: str
) -> None:
    layer = uuid.uuid4().bytes
    digest = push(foreign(registry, "outage/app"), "1", layer)
    for door in ("origin", "edge"):
        app = through(node, door, drawing, "outage/app")
        assert app.ask("GET", "manifests/1").status == 200
        assert app.ask("GET", f"blobs/{images.digest_of(layer)}").status == 200
    registry.stop()
    try:
        time.sleep(FRESH_S + 5)
        for door in ("origin", "edge"):
            app = through(node, door, drawing, "outage/app")
            for path in ("manifests/1", f"manifests/{digest}", f"blobs/{images.digest_of(layer)}"):
                assert app.ask("GET", path).status == 200, (door, path)
            assert app.ask("GET", "manifests/never-asked").status in (502, 503)
    finally:
        registry.start()


def test_o4_a_layer_streams_on_its_first_pull(node: Up, registry: DockerRegistry, drawing: str) -> None:
    """Two readers from the first byte, one of them only of a part: one request to the registry."""
    layer = os.urandom(30 << 20)
    push(foreign(registry, "large/app"), "1", layer)
    app = through(node, "edge", drawing, "large/app")
    path = f"blobs/{images.digest_of(layer)}"
    got: dict[str, bytes] = {}

    def whole() -> None:
        got["whole"] = app.ask("GET", path).body

    reader = threading.Thread(target=whole)
    reader.start()
    got["part"] = app.ask("GET", path, Range="bytes=1000000-1000099").body
    reader.join()
    assert got["whole"] == layer
    assert got["part"] == layer[1_000_000:1_000_100]
    assert sum(path in asked for _, asked in registry.asked()) <= 2, "one fetch, and one aside for a far range"


# ---------------------------------------------------------------- credentials


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_a_registry_that_gives_passes_is_asked_for_one(node: Up, tmp_path: Path, door: str) -> None:
    """A node of ours is such a registry: its private repository is drawn through another one."""
    name = f"passes-{door}"
    secret = tmp_path / "token"
    made = node.entrepot("token", "create", name, "--repository", node.private, "--read")
    secret.write_text(made["token"])
    node.entrepot("repo", "create", f"{node.workspace}/{name}", url=node.edge)
    node.entrepot(
        "upstream", "add", f"{node.workspace}/{name}", "oci", node.origin + "/", "--private-network", "--fresh", "1s",
        "--username", "any", "--password-file", str(secret), url=node.edge,
    )  # fmt: skip
    layer = uuid.uuid4().bytes
    Image(node.origin, f"{node.private}/given", bearer(node.token)).push("1", layer)
    app = through(node, door, f"{node.workspace}/{name}", f"{node.private}/given")
    assert app.ask("GET", "manifests/1").status == 200
    assert app.ask("GET", f"blobs/{images.digest_of(layer)}").body == layer
    node.entrepot("token", "revoke", made["id"])
    assert app.ask("GET", "manifests/2").status in (502, 503, 404)
    assert urllib.request.urlopen(f"{node.origin}/-/health", timeout=10).status == 200
