"""Do edges hold what their region's policies say, before anybody asks? An origin and enrolled edges as processes."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import images
from tests.harness.pairs import PRIVATE, PUBLIC, Pair
from tests.harness.registry import Image, bearer
from tests.harness.topologies import Node, Topology, said
from tests.harness.waiting import until

BODY = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(3_000))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Topology(tmp_path_factory.mktemp("replication") / "world") as made:
        yield made


@pytest.fixture
def world(running: Topology) -> Iterator[Topology]:
    """One origin for all; each test has a workspace and edges of its own, and takes its edges with it."""
    if running.origin.process.poll() is not None:
        running.origin.start()
        running.origin.until("/-/ready", 200)
    yield running
    running.stop_edges()


def progress(world: Topology, edge: Node) -> dict[str, Any]:
    """How far an edge is with its one repository; {} where it has nothing to hold."""
    items = world.entrepot("replication", "status", url=edge.url)["items"]
    return items[0] if items else {}


def whole(world: Topology, edge: Node, files: int) -> None:
    """Wait until so many files are wanted and here."""

    def holds() -> bool:
        told = progress(world, edge)
        return bool(told) and told["files"] == told["here_files"] == files and told["whole_serial"] == told["serial"]

    until(holds, f"{files} files come to {edge.name}")


def fetched(node: Node, here: str) -> list[str]:
    """The files of a repository that peers fetched here by name."""
    return [one["target"] for one in node.served() if one["target"].startswith(f"/-/peer/file/{here}/")]


def asked_for(node: Node, path: str) -> list[str]:
    return [one["target"] for one in node.served() if one["target"] == path]


def test_f2_an_eager_region_serves_with_the_origin_gone_what_nobody_had_asked_it_for(world: Topology) -> None:
    """O19: what was there before the policy, what came behind it, and in the other region only what was asked for."""
    here = world.repository("acme1", "main", public=True)
    assert world.put(here, "old/1/old.bin", BODY).status == 201
    eager, lazy = world.edge("tokyo1", "asia", "acme1"), world.edge("paris1", "europe", "acme1")
    world.entrepot("replication", "set", here, "--region", "asia")
    assert world.put(here, "new/1/new.bin", BODY[::-1]).status == 201
    whole(world, eager, 2)
    lazy.until(f"/{here}/generic/new/1/new.bin", 200, method="HEAD")
    assert progress(world, lazy) == {}
    assert len(fetched(world.origin, here)) == 2, "each once"
    assert 'entrepot_replication_waiting_bytes{workspace="acme1",repository="main"} 0' in metrics(world, eager)
    world.origin.stop(signal.SIGKILL)
    assert eager.get(f"/{here}/generic/old/1/old.bin").body == BODY
    assert eager.get(f"/{here}/generic/new/1/new.bin").body == BODY[::-1]
    assert lazy.get(f"/{here}/generic/old/1/old.bin").status in (502, 503)


def metrics(world: Topology, node: Node) -> str:
    return node.get("/-/metrics", world.token).body.decode()


def test_o19_a_restart_in_the_middle_goes_on_and_fetches_nothing_twice(world: Topology) -> None:
    here = world.repository("acme2", "main", public=True)
    for number in range(30):
        assert world.put(here, f"a/{number}/a.bin", BODY + bytes([number])).status == 201
    edge = world.edge("tokyo2", "asia", "acme2")
    world.entrepot("replication", "set", here, "--region", "asia", "--rate", "150K")
    until(lambda: len(fetched(world.origin, here)) >= 5, "it begins")
    edge.stop(signal.SIGKILL)
    before = fetched(world.origin, here)
    assert len(before) < 30, "it was in the middle"
    edge.start()
    edge.until("/-/ready", 200)
    world.entrepot("replication", "set", here, "--region", "asia")
    whole(world, edge, 30)
    again = [one for one in fetched(world.origin, here) if fetched(world.origin, here).count(one) > 1]
    assert len(set(again)) <= 2, "no more than what was under way"


def test_a_query_is_narrowed_and_cleared(world: Topology) -> None:
    here = world.repository("acme3", "main", public=True)
    for name in ("one", "two"):
        for number in range(2):
            assert world.put(here, f"{name}/{number}/a.bin", BODY + f"{name}{number}".encode()).status == 201
    edge = world.edge("tokyo3", "asia", "acme3")
    world.entrepot("replication", "set", here, "--region", "asia", "--package", "o*", "--days", "2")
    whole(world, edge, 2)
    assert len(fetched(world.origin, here)) == 2
    assert world.entrepot("replication", "list", here)["items"][0]["packages"] == ["o*"]
    world.entrepot("replication", "clear", here, "--region", "asia")
    until(lambda: progress(world, edge) == {}, "it lets go")
    assert world.put(here, "one/9/a.bin", BODY).status == 201
    edge.until(f"/{here}/generic/one/9/a.bin", 200, method="HEAD")
    assert len(fetched(world.origin, here)) == 2, "nothing more comes unasked"


def test_f2_a_signature_comes_with_its_image_and_is_found_with_the_origin_gone(world: Topology) -> None:
    """What refers to a tagged image, what is tagged with its digest, and nothing of the image beside it."""
    here = world.repository("acme4", "main", public=True)
    app = Image(world.origin.url, f"{here}/app", bearer(world.token))
    other = app.push("dev", b"another layer")
    image = app.push("v1", BODY)
    for part in (b"seal", b"old seal"):
        assert app.push_blob(part).status == 201
    sealing = images.manifest(b"{}", b"seal")
    sealing["subject"] = {"mediaType": sealing["mediaType"], "digest": image, "size": 1}
    seal = images.digest_of(json.dumps(sealing).encode())
    assert app.push_manifest(sealing, seal).status == 201
    assert app.push_manifest(images.manifest(b"{}", b"old seal"), image.replace(":", "-") + ".sig").status == 201
    edge = world.edge("tokyo4", "asia", "acme4")
    world.entrepot("replication", "set", here, "--region", "asia", "--tag", "v*")
    whole(world, edge, 7)  # three manifests, their layers and the one configuration
    world.origin.stop(signal.SIGKILL)
    there = Image(edge.url, f"{here}/app", {})
    assert there.ask("GET", "manifests/v1").status == 200
    listed = json.loads(there.ask("GET", f"referrers/{image}").body)["manifests"]
    assert [one["digest"] for one in listed] == [seal]
    for path in (f"manifests/{seal}", f"manifests/{image.replace(':', '-')}.sig"):
        assert there.ask("GET", path).status == 200
    for part in (b"seal", b"old seal", BODY):
        assert there.ask("GET", f"blobs/{images.digest_of(part)}").body == part
    assert there.ask("GET", f"manifests/{other}").status in (502, 503)


def test_an_edge_with_a_token_holds_what_the_region_of_its_configuration_wants(tmp_path: Path) -> None:
    with Pair(tmp_path / "pair", replication={"region": "asia"}) as pair:
        for place, region in ((PUBLIC, "asia"), (PRIVATE, "europe")):
            code, _, said = pair.entrepot("replication", "set", place, "--region", region)
            assert code == 0, said
            assert (
                pair.origin.ask("PUT", f"/{place}/generic/a/1/a.bin", pair.token, BODY + place.encode()).status == 201
            )

        def here() -> list[tuple[str, int]]:
            told = pair.entrepot("replication", "status", node=pair.edge)[1]["items"]
            return [(f"{one['workspace']}/{one['repository']}", one["here_files"]) for one in told]

        until(lambda: here() == [(PUBLIC, 1)], "what its region wants is here, and nothing else")
        os.killpg(pair.origin.process.pid, signal.SIGKILL)
        assert pair.edge.ask("GET", f"/{PUBLIC}/generic/a/1/a.bin").body == BODY + PUBLIC.encode()
        assert pair.edge.ask("GET", f"/{PRIVATE}/generic/a/1/a.bin", pair.token).status in (502, 503)


def test_metadata_alone_keeps_no_bytes(world: Topology) -> None:
    here = world.repository("acme5", "main", public=True)
    world.entrepot("replication", "set", here, "--region", "asia", "--mode", "metadata")
    assert world.put(here, "a/1/a.bin", BODY).status == 201
    edge = world.edge("tokyo5", "asia", "acme5")
    path = f"/{here}/generic/a/1/a.bin"
    edge.until(path, 200)
    for _ in range(3):
        assert edge.get(path).body == BODY
    assert len(asked_for(world.origin, path)) >= 4, "each time from the origin"


def test_o19_a_shield_fetches_once_for_its_region(world: Topology) -> None:
    here = world.repository("acme6", "main")
    shield = world.edge("gate6", "behind", shield=True)
    edges = [world.edge(name, "behind", "acme6", parents=[shield, world.origin]) for name in ("tokyo6", "osaka6")]
    world.entrepot("replication", "set", here, "--region", "behind")
    assert world.put(here, "a/1/a.bin", BODY).status == 201
    for node in (shield, *edges):
        whole(world, node, 1)
    assert len(fetched(world.origin, here)) == 1
    assert len(fetched(shield, here)) == 2
    assert edges[0].get(f"/{here}/generic/a/1/a.bin", world.token).body == BODY


def test_f5_c1_a_name_in_the_index_opens_nothing_that_its_path_would_not(world: Topology) -> None:
    mine, theirs = world.repository("mine7", "one"), world.repository("theirs7", "two")
    for one in (mine, theirs):
        assert world.put(one, "a/1/a.bin", BODY).status == 201
    file = world.entrepot("ls", mine, "a/1/a.bin", "--format", "generic")["files"][0]["name"]
    path = f"/-/peer/file/{{}}/generic?package=a/1/a.bin&file={file}"
    reader = world.entrepot("token", "create", "reader", "--repository", mine)["token"]
    for where in (mine, theirs):
        assert world.origin.get(path.format(where)).status in (401, 404), "nobody"
        assert world.origin.get(path.format(where), reader).status == 404, "no client, whatever it may read"
        assert world.origin.get(path.format(where), world.token).body == BODY
    edge = world.edge("tokyo7", "asia", "mine7")
    assert said(edge.data, "GET", world.origin.peers + path.format(mine)) == 200
    assert said(edge.data, "GET", world.origin.peers + path.format(theirs)) == 404, "another tenant's"
    assert said(edge.data, "POST", world.origin.peers + path.format(mine), b"") == 404
    assert said(edge.data, "GET", world.origin.peers + path.format(mine) + "x") == 404
    recipe = f"{world.origin.peers}/-/peer/recipe{path.format(theirs)}&piece-sha256={hashlib.sha256(BODY).hexdigest()}"
    assert said(edge.data, "GET", recipe) == 404
    world.entrepot("quarantine", "add", f"{mine}/generic/a/1/a.bin")
    assert said(edge.data, "GET", world.origin.peers + path.format(mine)) == 403, "quarantine holds here too"
