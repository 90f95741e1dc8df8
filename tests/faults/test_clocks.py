"""Do clocks that jump, at an origin or an edge, prolong nothing and end nothing that is still good? THREATS E10, F6.

Each node runs with a wall clock that is wrong by what stands in a file (wrong_clock.c, preloaded); monotonic time is
true.
"""

import calendar
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clients import program
from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.faults

LEASE_S = 5
HOUR_S = 3600


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Topology]:
    compiler = program("cc")
    library, folder = tmp_path / "wrong_clock.so", tmp_path / "world"
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)

    def clocked(name: str) -> dict[str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        clock_of(folder, name).write_bytes(bytes(8))
        return {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(clock_of(folder, name))}

    with Topology(folder, f"[cache]\nlease_seconds = {LEASE_S}\n", environment=clocked) as made:
        yield made


def clock_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.clock"


def jump(world: Topology, node: Node, hours: int) -> None:
    """The wall clock of a node is wrong by so much from now on. Returns when it shows."""
    with clock_of(world.folder, node.name).open("r+b") as file:
        file.write(struct.pack("<q", hours * HOUR_S))
    end_s = time.monotonic() + 30
    while date_of(node) != hours:
        assert time.monotonic() < end_s, f"the clock is {date_of(node)} hours ahead"
        time.sleep(0.05)


def date_of(node: Node) -> float:
    """How far its clock is ahead of ours, in hours."""
    told = node.get("/-/health").headers["date"]
    return round((calendar.timegm(time.strptime(told, "%a, %d %b %Y %H:%M:%S GMT")) - time.time()) / 3600)


def test_e10_wall_clocks_that_jump_prolong_no_right_and_end_no_lease(world: Topology) -> None:
    mine = world.repository("mine", "one")
    assert world.put(mine, "a/1/a.bin", b"a").status == 201
    edge = world.edge("tokyo", "asia")
    path = f"/{mine}/generic/a/1/a.bin"
    edge.until(path, 200, world.token)

    def token(name: str, *more: str) -> str:
        made: str = world.entrepot("token", "create", name, "--repository", mine, "--read", *more)["token"]
        return made

    hourly, brief, lasting = token("hourly", "--expires", "1h"), token("brief", "--expires", "12s"), token("lasting")
    ends_s = time.monotonic() + 12
    for one in (hourly, brief, lasting):
        edge.until(path, 200, one)

    for hours in (5, -2, 0):
        jump(world, edge, hours)
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            assert edge.get(path, lasting).status == 200, "an edge that hears its origin keeps its lease"
            assert edge.get("/-/ready").status == 200
        if hours > 0:
            assert edge.get(path, hourly).status == 200, "what is remembered holds for the time that passes"
            assert edge.get(path, hourly, afresh="1").status == 401, "by the edge's clock it is over"
        else:
            assert edge.get(path, hourly, afresh="1").status == 200

    # Behind: what is over by the origin's clock is over at an edge that believes it is earlier, remembered or not.
    jump(world, edge, -2)
    while edge.get(path, brief).status == 200:
        assert time.monotonic() < ends_s + 30, "a clock that is behind prolongs a token"
        time.sleep(0.05)
    assert edge.get(path, brief).status == 401
    edge.stop()
    edge.start()
    edge.until("/-/ready", 200)
    assert date_of(edge) == -2
    assert edge.get(path, brief).status == 401, "nor after a start with a wrong clock"
    assert edge.get(path, lasting).status == 200

    # The origin's own clock goes back: nothing that was over comes back, here or at edges; its journal goes on.
    jump(world, world.origin, -2)
    for node in (world.origin, edge):
        assert node.get(path, brief).status == 401
        assert node.get(path, lasting).status == 200
    assert world.put(mine, "b/1/b.bin", b"b").status == 201
    edge.until(f"/{mine}/generic/b/1/b.bin", 200, lasting)
    assert edge.get("/-/ready").status == 200

    # Alone, with a clock that is set back: the lease ends by the time that passed.
    world.origin.stop()
    jump(world, edge, -9)
    edge.until(path, 503, lasting, seconds_max=6 * LEASE_S)
    assert edge.get("/-/ready").status == 503


def test_f6_an_edge_whose_clock_is_days_behind_says_so_and_serves_what_it_has(world: Topology) -> None:
    mine = world.repository("mine", "one", public=True)
    assert world.put(mine, "a/1/a.bin", b"a").status == 201
    edge = world.edge("tokyo", "asia")
    path = f"/{mine}/generic/a/1/a.bin"
    edge.until(path, 200)
    edge.stop()
    with clock_of(world.folder, edge.name).open("r+b") as file:
        file.write(struct.pack("<q", -72 * HOUR_S))
    edge.start()
    edge.until(path, 200)
    edge.until("/-/ready", 503)
    end_s = time.monotonic() + 30
    while "Is this machine's clock right?" not in edge.words():
        assert time.monotonic() < end_s, edge.words()
        time.sleep(0.1)
    jump(world, edge, 0)
    edge.until("/-/ready", 200)
