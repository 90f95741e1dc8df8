"""Do an origin, a shield and edges that enrolled keep what they promise? All processes of their own, mutual TLS
between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.topologies import Topology


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    with Topology(tmp_path / "world") as made:
        yield made


def test_f5_an_edge_sees_its_workspaces_alone(world: Topology) -> None:
    mine, theirs = world.repository("mine", "one"), world.repository("theirs", "secret-name")
    assert world.put(mine, "a/1/a.bin", b"a" * 1000).status == 201
    assert world.put(theirs, "b/1/b.bin", b"b" * 1000).status == 201
    edge = world.edge("tokyo", "asia", "mine")
    path = f"/{mine}/generic/a/1/a.bin"
    edge.until(path, 200, world.token)
    assert edge.get(path, world.token).body == b"a" * 1000
    assert edge.get(f"/{theirs}/generic/b/1/b.bin", world.token).status == 404
    edge.stop()
    held = b"".join(one.read_bytes() for one in (edge.data / "index").rglob("*") if one.is_file())
    assert b"mine" in held
    assert b"secret-name" not in held
    assert b"theirs" not in held
