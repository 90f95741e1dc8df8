"""Do the clients that people use push and pull images: private and public, through the edge and at the origin?"""

import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import layouts
from tests.harness.clients import program, run
from tests.harness.engines import docker_engine, home
from tests.harness.running import Up

pytestmark = pytest.mark.native

DOORS = ("origin", "edge")


def at(node: Up, door: str, repository: str, name: str = "") -> str:
    """An image's address as clients write it."""
    return f"{getattr(node, door).partition('://')[2]}/{repository}/{name or 'i' + uuid.uuid4().hex[:12]}"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout with the image `v1`: two layers, of which one is this test's own."""
    folder = tmp_path / "layout"
    own = {"id": uuid.uuid4().bytes, "data": os.urandom(2 << 20)}
    layouts.write(folder, "v1", {"etc/motd": b"welcome\n" * 1000}, own)
    return folder


def pushed(node: Up, layout: Path, address: str) -> str:
    """Bring the layout's image to an address; its digest."""
    run(
        [program("skopeo"), "copy", "-q", "--dest-tls-verify=false", "--dest-creds", f"u:{node.token}",
         f"oci:{layout}:v1", f"docker://{address}:v1"],
        env=home(layout.parent / "pusher"),
    )  # fmt: skip
    listed = json.loads((layout / "index.json").read_text())["manifests"]
    return str(listed[0]["digest"])


# ---------------------------------------------------------------- skopeo


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["private", "public"])
def test_skopeo(node: Up, tmp_path: Path, layout: Path, door: str, kind: str) -> None:
    repository = getattr(node, kind)
    address = at(node, door, repository)
    digest = pushed(node, layout, address)
    credential = ["--creds", f"u:{node.token}"]
    for other in DOORS:
        there = address.replace(address.partition("/")[0], at(node, other, "").partition("/")[0])
        for copy in ("cold", "warm"):
            command = [program("skopeo"), "copy", "-q", "--src-tls-verify=false"]
            command += [] if kind == "public" else ["--src-creds", f"u:{node.token}"]
            run([*command, f"docker://{there}:v1", f"oci:{tmp_path / f'{other}-{copy}'}:v1"], env=home(tmp_path / "h"))
            listed = json.loads((tmp_path / f"{other}-{copy}" / "index.json").read_text())["manifests"]
            assert listed[0]["digest"] == digest
        told = run([program("skopeo"), "inspect", "--tls-verify=false", *credential, f"docker://{there}:v1"])
        assert json.loads(told)["Digest"] == digest
        tags = run([program("skopeo"), "list-tags", "--tls-verify=false", *credential, f"docker://{there}"])
        assert json.loads(tags)["Tags"] == ["v1"]
    without = [program("skopeo"), "inspect", "--tls-verify=false", "--no-creds", f"docker://{address}:v1"]
    told = run(without, ok=kind == "public")
    assert kind == "public" or "unauthorized" in told.lower()
    run([program("skopeo"), "delete", "--tls-verify=false", *credential, f"docker://{address}:v1"])
    run([program("skopeo"), "inspect", "--tls-verify=false", *credential, f"docker://{address}:v1"], ok=False)


# ---------------------------------------------------------------- podman and buildah


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path has less than 50 characters: podman wants no longer one for what it runs."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="podman's and buildah's storage is made by root here")
@pytest.mark.parametrize("door", DOORS)
def test_podman_and_buildah(node: Up, tmp_path: Path, layout: Path, short: Path, door: str) -> None:
    address = at(node, door, node.private)
    pushed(node, layout, address)
    host = address.partition("/")[0]
    stores = ["--root", str(tmp_path / "root"), "--runroot", str(short), "--storage-driver", "vfs"]
    environment = home(tmp_path / "home")

    def podman(*arguments: str, ok: bool = True) -> str:
        return run([program("podman"), *stores, *arguments], env=environment, ok=ok)

    def buildah(*arguments: str) -> str:
        return run([program("buildah"), *stores, *arguments], env=environment)

    podman("login", "--tls-verify=false", "-u", "u", "-p", "ent_wrong", host, ok=False)
    podman("login", "--tls-verify=false", "-u", "u", "-p", node.token, host)
    podman("pull", "-q", "--tls-verify=false", f"{address}:v1")
    podman("tag", f"{address}:v1", f"{address}:v2")
    podman("push", "-q", "--tls-verify=false", f"{address}:v2")
    (tmp_path / "added").write_text("by buildah")
    (tmp_path / "Containerfile").write_text(f"FROM {address}:v2\nCOPY added /added\n")
    buildah("bud", "-q", "--tls-verify=false", "--isolation=chroot", "-t", f"{address}:built", str(tmp_path))
    buildah("push", "-q", "--tls-verify=false", f"{address}:built", f"docker://{address}:built")
    podman("rmi", "-f", f"{address}:built")
    podman("pull", "-q", "--tls-verify=false", f"{address}:built")
    podman("logout", host)
    podman("pull", "-q", "--tls-verify=false", f"{address}:v1", ok=False)


# ---------------------------------------------------------------- crane


@pytest.mark.parametrize("door", DOORS)
def test_crane(node: Up, tmp_path: Path, layout: Path, door: str) -> None:
    """With an index of two images, and a copy into a public repository that mounts what is there."""
    address, public = at(node, door, node.private), at(node, door, node.public)
    digest = pushed(node, layout, address)
    environment = home(tmp_path / "home")

    def crane(*arguments: str, ok: bool = True) -> str:
        return run([program("crane"), "--insecure", *arguments], env=environment, ok=ok)

    crane("digest", f"{address}:v1", ok=False)
    crane("auth", "login", address.partition("/")[0], "-u", "u", "-p", node.token)
    assert digest in crane("digest", f"{address}:v1")
    crane("tag", f"{address}:v1", "stable")
    assert set(crane("ls", address).split()) >= {"v1", "stable"}
    crane("index", "append", "-m", f"{address}:v1", "-m", f"{address}:stable", "-t", f"{address}:all")
    assert "mounted blob" in crane("copy", f"{address}:all", f"{public}:all")
    crane("pull", f"{public}:all", str(tmp_path / "image.tar"))
    crane("push", str(tmp_path / "image.tar"), f"{address}:again")
    crane("validate", "--remote", f"{address}:again")
    crane("auth", "logout", address.partition("/")[0])
    assert digest in crane("manifest", f"{public}:all")
    crane("delete", f"{address}:v1", ok=False)


# ---------------------------------------------------------------- oras


@pytest.mark.parametrize("door", DOORS)
def test_oras(node: Up, tmp_path: Path, layout: Path, door: str) -> None:
    """Any artifact, and what refers to an image."""
    address = at(node, door, node.private)
    digest = pushed(node, layout, address)
    environment = home(tmp_path / "home")
    (tmp_path / "note.txt").write_text("a note")

    def oras(*arguments: str, ok: bool = True, cwd: Path = tmp_path) -> str:
        return run([program("oras"), *arguments], env=environment, ok=ok, cwd=cwd)

    oras("login", "--plain-http", "-u", "u", "-p", node.token, address.partition("/")[0])
    oras("push", "--plain-http", "--artifact-type", "test/thing", f"{address}:note", "note.txt:text/plain")
    (tmp_path / "out").mkdir()
    oras("pull", "--plain-http", f"{address}:note", cwd=tmp_path / "out")
    assert (tmp_path / "out" / "note.txt").read_text() == "a note"
    for kind in ("test/sbom", "test/signature"):
        oras("attach", "--plain-http", "--artifact-type", kind, f"{address}:v1", "note.txt:text/plain")
    told = oras("discover", "--plain-http", "--format", "json", f"{address}:v1")
    assert told.count('"artifactType"') == 2
    told = oras("discover", "--plain-http", "--format", "json", "--artifact-type", "test/sbom", f"{address}@{digest}")
    assert told.count('"artifactType"') == 1
    oras("copy", "-r", "--from-plain-http", "--to-plain-http", f"{address}:v1", f"{at(node, door, node.public)}:copied")
    assert set(oras("repo", "tags", "--plain-http", address).split()) == {"note", "v1"}
    oras("manifest", "delete", "--plain-http", "-f", f"{address}:note")
    oras("pull", "--plain-http", f"{address}:note", ok=False)


# ---------------------------------------------------------------- docker


@pytest.fixture
def docker(node: Up, tmp_path: Path) -> Iterator[list[str]]:
    if os.geteuid() != 0:
        pytest.skip("the docker engine needs root")
    with docker_engine(tmp_path, *(at(node, door, "").partition("/")[0] for door in DOORS)) as client:
        yield client


def test_docker(node: Up, tmp_path: Path, layout: Path, docker: list[str]) -> None:
    environment = home(tmp_path / "home")

    def ask(*arguments: str, ok: bool = True) -> str:
        return run([*docker, *arguments], env=environment, ok=ok)

    for door in DOORS:
        private, public = at(node, door, node.private), at(node, door, node.public)
        host = private.partition("/")[0]
        pushed(node, layout, private)
        pushed(node, layout, public)
        ask("pull", "-q", f"{public}:v1")
        ask("pull", "-q", f"{private}:v1", ok=False)
        ask("push", "-q", f"{public}:v1", ok=False)
        ask("login", host, "-u", "u", "-p", "ent_wrong", ok=False)
        ask("login", host, "-u", "u", "-p", node.token)
        ask("pull", "-q", f"{private}:v1")
        ask("tag", f"{private}:v1", f"{private}:v2")
        ask("push", "-q", f"{private}:v2")
        ask("rmi", "-f", f"{private}:v1", f"{private}:v2")
        ask("pull", "-q", f"{private}:v2")
        ask("logout", host)
