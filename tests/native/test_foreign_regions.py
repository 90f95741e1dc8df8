"""Does what an edge drew from a foreign registry reach the regions that want it, through the origin alone?

An origin and enrolled edges as processes, in two regions; this machine's own upstreams, and a registry on loopback that
tells what it was asked.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import mvn
from tests.harness.clients import python_upstream
from tests.harness.docker_registry import DockerRegistry
from tests.harness.images import digest_of
from tests.harness.registry import Image
from tests.harness.relaying import Relay
from tests.harness.running import clean_environment
from tests.harness.topologies import Node, Topology, said
from tests.harness.waiting import until
from tests.native.test_oci_upstream import push
from tests.native.test_replication import metrics, progress
from tests.native.test_upstreams import reachable

pytestmark = pytest.mark.native

JAR = "org/apache/commons/commons-text/1.12.0/commons-text-1.12.0.jar"
POM = JAR.removesuffix("jar") + "pom"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    with Topology(tmp_path / "world") as made:
        yield made


def holds(world: Topology, edge: Node, files: int) -> None:
    """Wait until so many foreign files, or more, are wanted and all of them here."""

    def told() -> bool:
        one = progress(world, edge)
        return bool(one) and one["foreign_files"] == one["foreign_here_files"] >= files and one["lag_ms"] == 0

    try:
        until(told, f"{files} foreign files come to {edge.name}")
    except AssertionError as error:
        raise AssertionError(f"{error} {progress(world, edge)} {edge.words()}") from error


def downloaded(node: Node, where: str, folder: Path) -> bytes:
    """What pip gets, with its page and the metadata beside the wheel."""
    index = f"{node.url}/{where}/pypi/simple/"
    command = [sys.executable, "-m", "pip", "--isolated", "download", "--no-cache-dir", "--no-deps"]
    done = subprocess.run(
        [*command, "--index-url", index, "-d", str(folder), "six==1.16.0"],
        env=clean_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("six-*.whl")
    return file.read_bytes()


@pytest.mark.live
def test_o19_what_one_region_drew_another_has_and_serves_with_origin_and_registries_gone(
    world: Topology, tmp_path: Path
) -> None:
    """What was there before the policy, and what came behind it; each file asked for once of its registry."""
    here = world.repository("acme", "open", public=True)
    lazy, shield = world.edge("paris", "europe", "acme"), world.edge("gate", "asia", shield=True)
    eager = world.edge("tokyo", "asia", "acme", parents=[shield, world.origin])
    with Relay(reachable(mvn.upstream())) as maven:
        for format, url in (("pypi", reachable(python_upstream())), ("maven", maven.url)):
            world.entrepot("upstream", "add", here, format, url, "--private-network")
        lazy.until(f"/{here}/maven/{POM}", 200)
        direct = downloaded(lazy, here, tmp_path / "lazy")
        world.entrepot("replication", "set", here, "--region", "asia")
        until(lambda: progress(world, eager).get("foreign_files", 0) >= 2, "what was drawn before is heard of")
        jar = lazy.get(f"/{here}/maven/{JAR}").body
        assert jar[:2] == b"PK"
        drawn = [one["target"] for one in world.origin.served() if one.get("outcome") == "FILL"]
        for node in (shield, eager):
            holds(world, node, 3)  # the pom, the jar, the wheel
        assert progress(world, lazy) == {}
        assert 'entrepot_replication_foreign_waiting_files{workspace="acme",repository="open"} 0' in metrics(
            world, eager
        )
        counted = Counter(path for _, path, _ in maven.asked)
        assert {path: n for path, n in counted.items() if n > 1} == {}, "nothing is asked for twice"
        again = [one["target"] for one in world.origin.served() if one.get("outcome") == "FILL"]
        assert again == drawn, "the origin fetched nothing for the other region"
    for node in (world.origin, shield):
        node.stop(signal.SIGKILL)
    assert eager.get(f"/{here}/maven/{JAR}").body == jar
    assert eager.get(f"/{here}/maven/{POM}").status == 200
    assert downloaded(eager, here, tmp_path / "eager") == direct


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as one:
        yield one


def pulled(node: Node, where: str, name: str, tag: str, token: str = "") -> list[bytes]:
    """An image as a client gets it: its manifest by the tag and by the digest, and its blobs."""
    image = Image(node.url, f"{where}/{name}", {"Authorization": f"Bearer {token}"} if token else {})
    got = image.ask("GET", f"manifests/{tag}")
    assert got.status == 200, got.body
    digest = got.headers["docker-content-digest"]
    assert image.ask("GET", f"manifests/{digest}").body == got.body
    made = json.loads(got.body)
    blobs = [image.ask("GET", f"blobs/{one['digest']}") for one in (made["config"], *made["layers"])]
    assert {one.status for one in blobs} == {200}
    return [got.body, *(one.body for one in blobs)]


def test_o19_f5_a_query_by_tag_brings_an_image_whole_through_a_shield_and_a_quarantine_none(
    world: Topology, registry: DockerRegistry
) -> None:
    """Of what was drawn that alone that the policy asks for; the registry is asked for each thing once; another
    tenant's edge hears of nothing; no edge gets past a quarantine."""
    here, other = world.repository("acme", "images"), world.repository("other", "images")
    for where in (here, other):
        world.entrepot("upstream", "add", where, "oci", registry.url, "--private-network")
    there = Image(registry.url.rstrip("/"), "team/app", {})
    for tag in ("v1", "dev"):
        push(there, tag, os.urandom(70_000), tag.encode())
    push(Image(registry.url.rstrip("/"), "team/bad", {}), "v1", b"bad")
    world.entrepot("replication", "set", here, "--region", "asia", "--tag", "v*")
    shield = world.edge("gate", "asia", shield=True)
    eager = world.edge("tokyo", "asia", "acme", parents=[shield, world.origin])
    lazy = world.edge("paris", "europe", "acme", "other")
    world.entrepot("quarantine", "add", f"{here}/oci/team/bad", "--reason", "not this")
    lazy.until(f"/v2/{here}/team/bad/manifests/v1", 403, world.token)
    before = len(registry.asked())
    wanted = pulled(lazy, here, "team/app", "v1", world.token)
    pulled(lazy, here, "team/app", "dev", world.token)
    pulled(lazy, other, "team/bad", "v1", world.token)
    asked = Counter(one for one in registry.asked()[before:] if one[0] == "GET")
    for node in (shield, eager):
        holds(world, node, 4)  # the manifest by its tag, a configuration and two layers
        assert progress(world, node)["foreign_files"] in (4, 5)
    named = world.origin.peers + "/-/peer/drawn/{}"
    assert said(eager.data, "GET", named.format(here)) == 200
    assert said(eager.data, "GET", named.format(other)) == 404, "another tenant's"
    assert said(lazy.data, "GET", named.format(here) + "?after=x") == 404
    reader = world.entrepot("token", "create", "reader", "--repository", here)["token"]
    assert world.origin.get(f"/-/peer/drawn/{here}", reader).status == 404, "no client, whatever it may read"
    assert world.origin.get(f"/-/peer/drawn/{here}").status in (401, 404)
    world.origin.stop(signal.SIGKILL)
    shield.stop(signal.SIGKILL)
    assert pulled(eager, here, "team/app", "v1", world.token) == wanted
    image = Image(eager.url, f"{here}/team/app", {"Authorization": f"Bearer {world.token}"})
    assert image.ask("GET", "manifests/dev").status in (502, 503)
    after = Counter(one for one in registry.asked()[before:] if one[0] == "GET")
    assert after == asked, "the registry was asked for nothing more"
    assert {one: n for one, n in asked.items() if n > 1 and "/blobs/" in one[1]} == {}


def test_c14_a_purge_and_a_publication_reach_what_another_region_was_told_of(
    world: Topology, registry: DockerRegistry
) -> None:
    """What was drawn before a purge is held no more, what is drawn behind it is; and once the name is published here,
    a stranger's bytes under it are held and given nowhere."""
    here = world.repository("acme", "images")
    world.entrepot("upstream", "add", here, "oci", registry.url, "--private-network")
    there = Image(registry.url.rstrip("/"), "judged/app", {})
    old = os.urandom(70_000)
    push(there, "v1", old)
    push(Image(registry.url.rstrip("/"), "judged/other", {}), "v1", os.urandom(70_000))
    world.entrepot("replication", "set", here, "--region", "asia")
    eager, lazy = world.edge("tokyo", "asia"), world.edge("paris", "europe")
    pulled(lazy, here, "judged/app", "v1", world.token)
    pulled(lazy, here, "judged/other", "v1", world.token)
    holds(world, eager, 6)
    before = progress(world, eager)["foreign_files"]

    def told(files: int) -> bool:
        one = progress(world, eager)
        return bool(one["foreign_files"] == one["foreign_here_files"] == files)

    world.entrepot("purge", f"{here}/oci/judged/app")
    until(lambda: told(before // 2), "what was drawn before the purge is wanted no more, the other image is")
    fresh = os.urandom(60_000)
    push(there, "v1", fresh)
    until(lambda: fresh in pulled(lazy, here, "judged/app", "v1", world.token), "the registry is asked anew")
    until(lambda: told(before), "what was drawn behind it comes")
    assert fresh in pulled(eager, here, "judged/app", "v1", world.token)

    mine = Image(world.origin.url, f"{here}/judged/app", {"Authorization": f"Bearer {world.token}"})
    ours = os.urandom(50_000)
    mine.push("v2", ours)
    until(lambda: progress(world, eager)["foreign_files"] == before // 2, "a stranger's are wanted no more")
    eager.until(f"/v2/{here}/judged/app/manifests/v2", 200, world.token)
    assert ours in pulled(eager, here, "judged/app", "v2", world.token)
    image = Image(eager.url, f"{here}/judged/app", {"Authorization": f"Bearer {world.token}"})
    assert image.ask("GET", "manifests/v1").status == 404
    assert image.ask("GET", f"blobs/{digest_of(fresh)}").status == 404
    assert pulled(eager, here, "judged/other", "v1", world.token)
