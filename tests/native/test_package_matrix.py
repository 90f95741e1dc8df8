"""Does any address of any room tell who may not know of a thing whether it is there? A part of the matrix, real nodes.

The rows are made of what the rooms declare; `python -m bench matrix` asks them all. THREATS B9, C5, C7.
"""

from collections.abc import Iterator

import pytest

from bench.hostile.drive import Target
from bench.matrix import HIDDEN, METHODS, NARROWED, READER, REPOSITORY, WORKSPACE, World, asked, rows
from formats import ROOMS
from tests.harness.pairs import Pair

pytestmark = pytest.mark.native

SHARE = 16
CELLS_MIN = 10_000
STATES = {NARROWED: 2, READER: 1}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("matrix")) as made:
        yield made


def test_b9_c5_c7_no_cell_tells_what_is_there(pair: Pair) -> None:
    target = Target(pair.origin.url, pair.token, f"{WORKSPACE}/{REPOSITORY}", pair.origin.data)
    world = World(pair.origin.url, pair.token, target)
    for node in (pair.origin, pair.edge):
        told = asked(node.url, world, SHARE)
        assert told.leaks == []
        assert told.wrong == []
        assert told.found == ROOMS.keys(), "there was something to be found"


def test_c7_the_whole_matrix_has_every_room_method_and_principal() -> None:
    whole = list(rows(1))
    assert {(room, method, principal) for room, _, method, principal in whole} == {
        (room, method, principal) for room in ROOMS for method in METHODS for principal in (*HIDDEN, NARROWED, READER)
    }
    assert sum(STATES.get(principal, 5) for *_, principal in whole) >= CELLS_MIN
