"""Does a node whose index another version wrote come to its own by itself? An origin makes it anew from its journal
before it serves, an edge learns it anew and serves what it had meanwhile, also while its origin is away."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.index.index import Index
from storage.index.keys import seal
from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.native


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    with Topology(tmp_path / "world") as world:
        yield world


def age(node: Node) -> None:
    """Leave it as an older program would have: with its stamp, and without rows that only this one writes."""
    node.stop()
    index = Index(node.data / "index", edge=node.name != "origin")
    with index.env.begin(write=True) as txn:
        txn.drop(index.tables.claims, delete=False)
        txn.put(b"stamp", seal(b"of another version"), db=index.tables.state)
    index.close()


def until_told(node: Node, words: str) -> None:
    end_s = time.monotonic() + 60
    while words not in node.words():
        assert time.monotonic() < end_s, node.words()
        time.sleep(0.02)


def rows_of(node: Node) -> int:
    node.stop()
    index = Index(node.data / "index")
    with index.env.begin() as txn:
        found = txn.stat(index.tables.claims)["entries"]
        assert not index.is_outdated(txn)
    index.close()
    return int(found)


def test_nodes_of_a_new_version_serve_what_an_old_one_took_in(world: Topology) -> None:
    mine, hidden = world.repository("mine", "one", public=True), world.repository("mine", "two")
    for number in range(5):
        assert world.put(mine, f"a/{number}/a.bin", b"a").status == 201
    assert world.put(hidden, "b/1/b.bin", b"b").status == 201
    edge = world.edge("tokyo", "asia")
    warm, private = f"/{mine}/generic/a/0/a.bin", f"/{hidden}/generic/b/1/b.bin"
    edge.until(warm, 200)
    edge.until(private, 200, world.token)
    age(edge)
    age(world.origin)
    edge.start()
    edge.until(warm, 200)
    assert "written by another version" in edge.words()
    world.origin.start()
    world.origin.until("/-/ready", 200)
    assert "the index is made anew from" in world.origin.words()
    until_told(edge, "has all of its origin's history now")
    edge.until(private, 200, world.token)
    assert world.put(mine, "a/6/a.bin", b"newer", edge).status == 201
    assert edge.get(f"/{mine}/generic/a/6/a.bin").body == b"newer"
    assert rows_of(edge) == rows_of(world.origin) > 0
