"""Do the clients that people use pull foreign images through an edge: cold, warm, and when their registry is gone?

Private and public. Each client begins with nothing each time, so that all of an image comes over the wire. THREATS C1.
"""

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import layouts
from tests.harness.clients import program, run
from tests.harness.docker_registry import DockerRegistry
from tests.harness.engines import docker_engine, home
from tests.harness.running import Up

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(os.geteuid() != 0, reason="docker's, podman's and buildah's storage is made by root here"),
]

EXACT = ("skopeo", "crane")
"""Of these the manifest itself is looked at; the others check digests and tell in words of their own."""

STALE_S = 6
"""A tag that was looked at is believed for five seconds at least."""


class Puller:
    """All clients in one home; each pull goes into a place of its own."""

    def __init__(self, folder: Path, short: Path, docker: list[str]) -> None:
        self.folder, self._short, self._docker = folder, short, docker
        self.environment = home(folder / "home")
        (folder / "home" / "auth.json").write_text("{}")  # podman wants the file that it is told of
        self.clients: dict[str, Callable[[str], str]] = {
            "skopeo": self._skopeo,
            "crane": self._crane,
            "oras": self._oras,
            "podman": self._podman,
            "buildah": self._buildah,
            "docker": self._engine,
        }
        self._ok = True

    def pull(self, client: str, address: str, *, ok: bool = True) -> str:
        """What the client found: the image's layer or its digest stands in it."""
        self._ok = ok
        return self.clients[client](address)

    def login(self, host: str, token: str) -> None:
        """For all: each reads one of these two files."""
        self._ok = True
        self._run("skopeo", "login", "--tls-verify=false", host, "-u", "u", "-p", token)
        self._run("crane", "--insecure", "auth", "login", host, "-u", "u", "-p", token)

    def _run(self, name: str, *arguments: str) -> str:
        return run([program(name), *arguments], env=self.environment, ok=self._ok)

    def _place(self) -> Path:
        return self.folder / uuid.uuid4().hex

    def _skopeo(self, address: str) -> str:
        place = self._place()
        told = self._run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{address}", f"dir:{place}")
        return (place / "manifest.json").read_text() if self._ok else told

    def _crane(self, address: str) -> str:
        told = self._run("crane", "--insecure", "pull", "--format=oci", address, str(place := self._place()))
        return (place / "index.json").read_text() if self._ok else told

    def _oras(self, address: str) -> str:
        place = self._place()
        told = self._run("oras", "copy", "--from-plain-http", address, "--to-oci-layout", f"{place}:v1")
        return (place / "index.json").read_text() if self._ok else told

    def _stores(self) -> list[str]:
        """podman wants a short path for what it runs."""
        return ["--root", str(self._place()), "--runroot", str(self._short / uuid.uuid4().hex[:4])]

    def _podman(self, address: str) -> str:
        stores = [*self._stores(), "--storage-driver", "vfs"]
        told = self._run("podman", *stores, "pull", "-q", "--tls-verify=false", address)
        return self._run("podman", *stores, "image", "inspect", address) if self._ok else told

    def _buildah(self, address: str) -> str:
        stores = [*self._stores(), "--storage-driver", "vfs"]
        told = self._run("buildah", *stores, "pull", "-q", "--tls-verify=false", address)
        return self._run("buildah", *stores, "inspect", "--type", "image", address) if self._ok else told

    def _engine(self, address: str) -> str:
        told = run([*self._docker, "pull", address], env=self.environment, ok=self._ok)
        if self._ok:
            run([*self._docker, "rmi", "-f", address], env=self.environment)
        return told


@pytest.fixture
def puller(node: Up, tmp_path: Path) -> Iterator[Puller]:
    host = node.edge.partition("://")[2]
    with (
        tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as short,
        docker_engine(Path(short), host) as docker,
    ):
        yield Puller(tmp_path, Path(short), docker)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path / "registry") as one:
        yield one


def filled(registry: DockerRegistry, folder: Path, clients: list[str]) -> dict[str, str]:
    """An image of its own for each client: its manifest's digest."""
    host, found = registry.url.split("/")[2], {}
    for client in clients:
        own = {"id": uuid.uuid4().bytes, "data": os.urandom(1 << 20)}
        found[client] = layouts.write(folder / client, "v1", {"etc/motd": client.encode()}, own)
        run(
            [program("skopeo"), "copy", "-q", "--dest-tls-verify=false", "--preserve-digests",
             f"oci:{folder / client}:v1", f"docker://{host}/team/{client}:v1"],
            env=home(folder / "pusher"),
        )  # fmt: skip
    return found


@pytest.mark.parametrize("kind", ["private", "public"])
def test_o8_foreign_images_cold_warm_and_without_their_registry(
    node: Up, registry: DockerRegistry, puller: Puller, tmp_path: Path, kind: str
) -> None:
    repository = f"{node.workspace}/foreign-{uuid.uuid4().hex[:8]}"
    node.entrepot("repo", "create", repository, *(["--public"] if kind == "public" else []), url=node.edge)
    fresh = ("--fresh", "1s")
    node.entrepot("upstream", "add", repository, "oci", registry.url, "--private-network", *fresh, url=node.edge)
    (tmp_path / "images").mkdir()
    digests = filled(registry, tmp_path / "images", list(puller.clients))
    host = node.edge.partition("://")[2]
    if kind == "private":
        for client in puller.clients:
            puller.pull(client, f"{host}/{repository}/team/{client}:v1", ok=False)
        puller.login(host, node.token)
    proofs: dict[str, str] = {}
    for client, digest in digests.items():
        address = f"{host}/{repository}/team/{client}:v1"
        proofs[client] = puller.pull(client, address)
        assert puller.pull(client, address), "warm"
        assert puller.pull(client, f"{host}/{repository}/team/{client}@{digest}")
    asked = [path for method, path in registry.asked() if method == "GET"]
    for client in puller.clients:
        fetched = [path for path in asked if path.startswith(f"/v2/team/{client}/")]
        assert len(fetched) == len(set(fetched)) == 4, "a manifest, a config and two layers, once each"
    registry.stop()
    time.sleep(STALE_S)
    for client, digest in digests.items():
        told = puller.pull(client, f"{host}/{repository}/team/{client}:v1")
        assert told == proofs[client] if client in EXACT else told
        puller.pull(client, f"{host}/{repository}/team/{client}@{digest}")
    puller.pull("skopeo", f"{host}/{repository}/team/skopeo:v2", ok=False)
