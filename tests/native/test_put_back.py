"""Does an edge notice that its origin was put back and has gone on in another way, whatever the two histories' lengths?

THREATS F3 and E12. The edge is away meanwhile: when it comes back, the other history may be shorter than the one it
knows, as long, or longer.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness.topologies import Node, Topology

pytestmark = pytest.mark.native

LOST = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """One origin, which is put back several times: each time with a repository and an edge of their own."""
    with Topology(tmp_path_factory.mktemp("put_back") / "world") as made:
        yield made


@pytest.mark.parametrize("others", [0, LOST, LOST + 2])
def test_e12_an_edge_that_comes_back_never_merges_two_histories(world: Topology, others: int) -> None:
    mine = world.repository("mine", f"with-{others}", public=True)
    assert world.put(mine, "kept/1/a.bin", b"kept").status == 201
    edge = world.edge(f"tokyo-{others}", "asia")
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
    edge.stop()


def test_f3_e12_public_hits_go_on_while_an_edge_learns_another_history(world: Topology) -> None:
    """Everything that was warm is answered throughout. Then the other history holds, also where both gave a path the
    same Serial, and the edge's memory and kept documents knew the first one's."""
    mine, hidden = world.repository("mine", "warm", public=True), world.repository("mine", "hidden")
    for number in range(150):
        assert world.put(mine, f"kept/{number}/a.bin", b"kept %d" % number).status == 201
    assert world.put(hidden, "kept/1/a.bin", b"hidden").status == 201
    edge = world.edge("paris", "europe")
    copy = world.folder / "copy"
    world.origin.stop()
    shutil.copytree(world.origin.data, copy, ignore=shutil.ignore_patterns("*.sock"))
    world.origin.start()
    world.origin.until("/-/ready", 200)
    for number in range(LOST):
        assert world.put(mine, f"same/{number}/a.bin", b"old").status == 201
    warm = [f"/{mine}/generic/kept/{number}/a.bin" for number in range(150)]
    same = [f"/{mine}/generic/same/{number}/a.bin" for number in range(LOST)]
    listing = f"/{mine}/generic/same/0/"
    for path in (*warm, *same):
        edge.until(path, 200)
    old_listing = edge.get(listing).body
    world.origin.stop()
    with asked_without_end(edge, warm) as answers:
        shutil.rmtree(world.origin.data)
        copy.rename(world.origin.data)
        world.origin.start()
        world.origin.until("/-/ready", 200)
        for number in range(LOST):
            assert world.put(mine, f"same/{number}/a.bin", b"newer").status == 201
        for path in same:
            until_body(edge, path, b"newer")
        edge.until(f"/{hidden}/generic/kept/1/a.bin", 200, world.token)
    assert set(answers) == {200}, answers
    assert answers[200] > 150
    assert edge.get(listing).body != old_listing, "a document of the other history"
    assert world.put(mine, "after/1/a.bin", b"after", edge).status == 201
    assert edge.get(f"/{mine}/generic/after/1/a.bin").body == b"after"
    assert not (edge.data / "index.next").exists()
    assert "has all of its origin's history now" in edge.words()


def until_body(edge: Node, path: str, body: bytes) -> None:
    edge.until("/-/ready", 200)
    end_s = time.monotonic() + 30
    while edge.get(path).body != body:
        assert time.monotonic() < end_s, f"{path} is still {edge.get(path)}"
        time.sleep(0.01)


@contextmanager
def asked_without_end(edge: Node, paths: list[str]) -> Iterator[Counter[int]]:
    """Someone asks for these over and over meanwhile; how often which status was the answer."""
    answers: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            for path in paths:
                answers[edge.get(path).status] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        over.set()
        asking.join()
