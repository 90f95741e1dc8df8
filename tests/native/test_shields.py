"""What does a shield tell the edges behind it once it has lost the origin? THREATS F2: no more than a client.

The origin stands still, so that its connections stay open and say nothing.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.topologies import Node, Topology, said
from tests.harness.waiting import until

pytestmark = pytest.mark.native

LEASE_S = 4.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    with Topology(tmp_path / "world", f"[cache]\nlease_seconds = {LEASE_S}\n") as made:
        yield made


@contextmanager
def silent(node: Node) -> Iterator[None]:
    os.killpg(node.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(node.process.pid, signal.SIGCONT)


def test_f2_a_shield_whose_lease_is_over_tells_edges_nothing_private(world: Topology) -> None:
    mine, public = world.repository("mine", "one"), world.repository("mine", "two", public=True)
    for repository in (mine, public):
        assert world.put(repository, "a/1/a.bin", b"a" * 1000).status == 201
    shield = world.edge("gate", "asia", shield=True)
    edge = world.edge("tokyo", "asia", "mine", parents=[shield, world.origin])
    for repository in (mine, public):
        for node in (shield, edge):
            node.until(f"/{repository}/generic/a/1/a.bin", 200, world.token)
    file = world.entrepot("ls", mine, "a/1/a.bin", "--format", "generic")["files"][0]["name"]

    def asked(repository: str) -> list[int]:
        """Every way in which an edge asks its shield: by path, by name, for knowledge, sets and keys."""
        paths = [
            f"/{repository}/generic/a/1/a.bin",
            f"/-/peer/file/{repository}/generic?package=a/1/a.bin&file={file}",
            f"/-/peer/foreign/{repository}/pypi?package=a",
            f"/-/peer/set/{repository}/deb?set=x",
            f"/-/peer/certificates/{repository}",
        ]
        return [said(edge.data, "GET", shield.peers + path) for path in paths]

    def heard() -> set[str]:
        """Of which edges the origin knows how they are."""
        return {one["name"] for one in world.entrepot("edge", "list", url=edge.url)["items"] if one["report"]}

    until(lambda: heard() == {"gate", "tokyo"}, "of one the origin hears through the other")
    report = b'{"version":"1","lag_ms":0,"waiting_files":0,"waiting_bytes":0,"holes":[]}'
    assert said(shield.data, "POST", f"{world.origin.peers}/-/peer/report/tokyo", report) == 204
    assert said(edge.data, "POST", f"{world.origin.peers}/-/peer/report/gate", report) == 404, "F5: its own word alone"
    assert said(edge.data, "POST", f"{world.origin.peers}/-/peer/report", b"[]") == 400
    before = asked(mine), asked(public)
    assert before[0] == before[1]
    assert before[0][:2] == [200, 200]
    assert 503 not in before[0]
    with silent(world.origin):
        time.sleep(LEASE_S + 1)
        assert asked(mine) == [503] * 5
        assert asked(public)[:3] == before[1][:3], "what is public goes on"
        assert edge.get(f"/{mine}/generic/a/1/a.bin", world.token).status == 503, "and nobody behind it is fresh by it"
        assert edge.get(f"/{public}/generic/a/1/a.bin").status == 200
    until(lambda: asked(mine) == before[0], "it comes back by itself")
    edge.until(f"/{mine}/generic/a/1/a.bin", 200, world.token)


def test_e7_f2_an_edge_whose_index_was_set_aside_says_of_nothing_that_it_is_not_there(world: Topology) -> None:
    """With the origin gone, too: then it knows of nothing at all."""
    public = world.repository("mine", "two", public=True)
    assert world.put(public, "a/1/a.bin", b"a" * 1000).status == 201
    edge = world.edge("tokyo", "asia", "mine")
    path = f"/{public}/generic/a/1/a.bin"
    edge.until(path, 200)
    edge.until(f"/{public}/generic/none.bin", 404)
    edge.stop()
    shutil.rmtree(edge.data / "index")
    with silent(world.origin):
        edge.start()
        edge.until("/-/health", 200)
        assert edge.get(path).status == 503
        assert edge.get(f"/{public}/generic/none.bin").status == 503
    edge.until(path, 200)
    edge.until(f"/{public}/generic/none.bin", 404)
