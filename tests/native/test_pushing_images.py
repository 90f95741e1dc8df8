"""Images that skopeo, podman and docker's form hold, pushed from a terminal through an edge, and pulled back.

What comes back is compared by digest, and what was sent by what the node lacked.
"""

import hashlib
import json
import os
import tarfile
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.harness import images, layouts
from tests.harness.clients import program, run
from tests.harness.engines import home
from tests.harness.pushing import Shaky, ended, push
from tests.harness.running import Up

pytestmark = pytest.mark.native
MIB = 1 << 20


def new_layout(folder: Path, tag: str, own_bytes: int = 100_000) -> str:
    """An image with a layer of this test's own; its digest."""
    own = {"id": uuid.uuid4().bytes, "data": os.urandom(own_bytes)}
    return layouts.write(folder, tag, {"etc/motd": b"welcome\n" * 1000}, own)


def pushed(node: Up, home: Path, *arguments: str, url: str = "") -> list[dict[str, Any]]:
    done = push(node, url or node.edge, home, *arguments)
    out, words = ended(done)
    assert done.returncode == 0, words
    items: list[dict[str, Any]] = json.loads(out)["items"]
    return items


def pulled(node: Up, folder: Path, address: str, form: str = "oci:") -> Path:
    """What skopeo gets of WORKSPACE/REPOSITORY/NAME:TAG from the edge: a layout, or `dir:`, its own plain form."""
    there = f"{node.edge.partition('://')[2]}/{address}"
    command = [program("skopeo"), "copy", "-q", "--all", "--src-tls-verify=false", "--src-creds", f"u:{node.token}"]
    run([*command, f"docker://{there}", f"{form}{folder}"], env=home(folder.parent / "puller"))
    return folder


def digest_in(layout: Path) -> str:
    return str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


def config_of(manifest: bytes) -> str:
    """The digest of the image's config: its id."""
    return str(json.loads(manifest)["config"]["digest"])


def config_saved(archive: Path, form: str) -> str:
    """The id of the image in what podman saved: docker's form has a config of its own, which podman makes of OCI's."""
    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            content = tar.extractfile(name)
            assert content is not None
            return content.read()

        if form == "docker-archive":
            config = read(json.loads(read("manifest.json"))[0]["Config"])
            return f"sha256:{hashlib.sha256(config).hexdigest()}"
        listed = json.loads(read("index.json"))["manifests"][0]["digest"]
        return config_of(read(f"blobs/{listed.replace(':', '/')}"))


def test_a_layout_and_its_archive_come_back_as_they_were(node: Up, tmp_path: Path) -> None:
    """A directory, and skopeo's archive of it, whose second push sends no blob; then under another tag."""
    name, layout, archive = f"i{uuid.uuid4().hex[:8]}", tmp_path / "layout", tmp_path / "image.tar"
    digest = new_layout(layout, "v1")
    run([program("skopeo"), "copy", "-q", f"oci:{layout}:v1", f"oci-archive:{archive}:v1"], env=home(tmp_path / "h"))
    (first,) = pushed(node, tmp_path, str(layout), f"{node.private}/oci/{name}")
    assert (first["digest"], first["tag"], first["blobs"], first["blobs_sent"]) == (digest, "v1", 3, 3)
    assert digest_in(pulled(node, tmp_path / "a", f"{node.private}/{name}:v1")) == digest
    (second,) = pushed(node, tmp_path, str(archive), "--to", node.private, "--path", name, "--tag", "v2")
    assert (second["digest"], second["tag"], second["blobs_sent"], second["bytes_sent"]) == (digest, "v2", 0, 0)
    assert digest_in(pulled(node, tmp_path / "b", f"{node.private}/{name}:v2")) == digest


@pytest.mark.skipif(os.geteuid() != 0, reason="podman's storage is made by root here")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_podman_saves_comes_back_with_its_id(node: Up, tmp_path: Path, form: str) -> None:
    """podman pulls an image and saves it, and it is pushed under the name that the archive says. Its id is the digest
    of its config, which neither changes."""
    name, layout, archive = f"acme/i{uuid.uuid4().hex[:8]}", tmp_path / "layout", tmp_path / "saved.tar"
    new_layout(layout, "v1")
    with tempfile.TemporaryDirectory() as short:  # podman's run directory may have 50 characters
        podman = [program("podman"), "--root", f"{short}/root", "--runroot", f"{short}/run"]
        podman += ["--storage-driver", "vfs"]
        environment = home(tmp_path / "podman")
        Path(environment["REGISTRY_AUTH_FILE"]).write_text("{}")
        loaded = run([*podman, "pull", "-q", f"oci:{layout}:v1"], env=environment).split()[-1]
        full = f"registry.example/{name}:v1"
        run([*podman, "tag", loaded, full], env=environment)
        run([*podman, "save", "-q", "--format", form, "-o", str(archive), full], env=environment)
    (fact,) = pushed(node, tmp_path, str(archive), f"{node.private}/oci")
    assert fact["tag"] == "v1"
    assert f"/v2/{node.private}/{name}/manifests/v1" in fact["url"]
    back = pulled(node, tmp_path / "back", f"{node.private}/{name}:v1", "dir:")
    assert config_of((back / "manifest.json").read_bytes()) == config_saved(archive, form)
    assert fact["digest"] == f"sha256:{hashlib.sha256((back / 'manifest.json').read_bytes()).hexdigest()}"


def test_an_image_for_several_platforms(node: Up, tmp_path: Path) -> None:
    """The index as it is; of a layout that lacks one, what is lacking is told, and what is there can be pushed."""
    name, layout = f"i{uuid.uuid4().hex[:8]}", tmp_path / "layout"
    digests = [new_layout(layout, "x"), new_layout(layout, "y")]
    blobs = layout / "blobs" / "sha256"
    listed = []
    for digest, architecture in zip(digests, ("amd64", "arm64"), strict=True):
        raw = (blobs / digest[7:]).read_bytes()
        listed.append(
            {**images.descriptor(raw, images.MANIFEST), "platform": {"os": "linux", "architecture": architecture}}
        )
    raw = json.dumps({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": listed}).encode()
    (blobs / images.digest_of(raw)[7:]).write_bytes(raw)
    root = images.descriptor(raw, images.INDEX)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (fact,) = pushed(node, tmp_path, str(layout), f"{node.private}/oci/{name}:all")
    assert (fact["digest"], fact["manifests"], fact["tag"]) == (root["digest"], 3, "all")
    assert digest_in(pulled(node, tmp_path / "a", f"{node.private}/{name}:all")) == root["digest"]
    (blobs / digests[1][7:]).unlink()
    done = push(node, node.edge, tmp_path, str(layout), f"{node.private}/oci/{name}:part")
    _, words = ended(done)
    assert (done.returncode, "linux/arm64" in words, "--platform" in words) == (2, True, True)
    (one,) = pushed(node, tmp_path, str(layout), f"{node.private}/oci/{name}:one", "--platform", "linux/amd64")
    assert (one["digest"], one["blobs_sent"]) == (digests[0], 0)


def test_a_large_layer_goes_on_where_it_broke(node: Up, tmp_path: Path) -> None:
    """Through connections that break, and in a second command after the first was killed."""
    name, layout = f"i{uuid.uuid4().hex[:8]}", tmp_path / "layout"
    digest = new_layout(layout, "v1", 24 * MIB)
    door = Shaky(node.edge, breaks=4, bytes_max=4 * MIB)
    arguments = (str(layout), f"{node.private}/oci/{name}")
    try:
        begun = push(node, door.url, tmp_path, *arguments)
        while door.passed < 14 * MIB:
            assert begun.poll() is None, begun.communicate()
            threading.Event().wait(0.02)
        begun.kill()
        begun.communicate()
        first = door.passed
        assert len(list(tmp_path.glob("entrepot/uploads/*"))) == 1
        pushed(node, tmp_path, *arguments, url=door.url)
        assert door.passed < 24 * MIB + 8 * MIB, f"{first} of {door.passed} bytes before: what was there is sent again"
        assert list(tmp_path.glob("entrepot/uploads/*")) == []
    finally:
        door.close()
    assert digest_in(pulled(node, tmp_path / "back", f"{node.private}/{name}:v1")) == digest
