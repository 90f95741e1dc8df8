"""Does an edge notice that its origin was put back and has gone on in another way, whatever the two histories' lengths?

THREATS F3 and E12. The edge is away meanwhile: when it comes back, the other history may be shorter than the one it
knows, as long, or longer.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.topologies import Topology

pytestmark = pytest.mark.native

LOST = 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    with Topology(tmp_path / "world") as made:
        yield made


@pytest.mark.parametrize("others", [0, LOST, LOST + 2])
def test_e12_an_edge_that_comes_back_never_merges_two_histories(world: Topology, others: int) -> None:
    mine = world.repository("mine", "one", public=True)
    assert world.put(mine, "kept/1/a.bin", b"kept").status == 201
    edge = world.edge("tokyo", "asia")
    copy = world.folder / "copy"
    world.origin.stop()
    shutil.copytree(world.origin.data, copy, ignore=shutil.ignore_patterns("*.sock"))
    world.origin.start()
    world.origin.until("/-/ready", 200)
    for number in range(LOST):
        assert world.put(mine, f"lost/{number}/a.bin", b"lost").status == 201
        edge.until(f"/{mine}/generic/lost/{number}/a.bin", 200)
    edge.stop()
    world.origin.stop()
    shutil.rmtree(world.origin.data)
    copy.rename(world.origin.data)
    world.origin.start()
    world.origin.until("/-/ready", 200)
    for number in range(others):
        assert world.put(mine, f"other/{number}/a.bin", b"other").status == 201
    edge.start()
    edge.until(f"/{mine}/generic/kept/1/a.bin", 200)
    for number in range(LOST):
        edge.until(f"/{mine}/generic/lost/{number}/a.bin", 404, seconds_max=20)
    for number in range(others):
        edge.until(f"/{mine}/generic/other/{number}/a.bin", 200)
    assert edge.get(f"/{mine}/generic/kept/1/a.bin").body == b"kept"
    assert "starting anew" in edge.words(), "its operator is told"
