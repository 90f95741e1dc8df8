"""Does a Reading that is over hold anything, and what is left of what was worked out of it (THREATS A8, C6)?"""

from pathlib import Path

import pytest

from storage.index.catalog import KNOWN_MAX, Catalog, Reading
from storage.index.index import READERS_MAX, Index


def test_a8_readings_that_are_over_take_no_readers_slot(tmp_path: Path) -> None:
    """As when more request tasks than there are slots each wait for a slow body, with their Reading in their frame."""
    catalog = Catalog(Index(tmp_path / "index"))
    kept: list[Reading] = []
    for _ in range(READERS_MAX + 100):
        with catalog.read() as reading:
            kept.append(reading)
    assert catalog.moment() >= 0
    with pytest.raises(AttributeError):
        kept[0].serial("demo")


def test_c6_what_is_worked_out_of_a_moment_goes_with_it(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    catalog = Catalog(index)
    with catalog.read() as first, catalog.read() as second:
        assert first.remember("key", 1) == 1
        assert second.recall("key") == 1
        with index.env.begin(write=True) as txn:
            index.set_epoch(txn, 7)
        with catalog.read() as third:
            assert third.recall("key") is None
            third.remember("key", 3)
        assert (first.recall("key"), second.recall("key")) == (1, 1), "they go on reading the old moment"
    with catalog.read() as fourth:
        assert fourth.recall("key") == 3


def test_c6_nothing_is_remembered_under_the_write_lock(tmp_path: Path) -> None:
    """The decisions of one group share a transaction, and each sees what those before it changed."""
    index = Index(tmp_path / "index")
    catalog = Catalog(index)
    with index.env.begin(write=True) as txn:
        reading = Reading(index, txn)
        assert reading.remember("key", 1) == 1
        assert reading.recall("key") is None
        index.set_epoch(txn, 7)
    with catalog.read() as later:
        assert later.recall("key") is None


def test_so_much_is_remembered_of_a_moment_and_no_more(tmp_path: Path) -> None:
    catalog = Catalog(Index(tmp_path / "index"))
    for number in range(KNOWN_MAX + 1):
        with catalog.read() as reading:
            reading.remember(number, number)
    with catalog.read() as reading:
        assert reading.recall(KNOWN_MAX) == KNOWN_MAX
        assert reading.recall(0) is None
