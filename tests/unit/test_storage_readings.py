"""Does a Reading that is over hold anything, however long somebody refers to it (THREATS A8)?"""

from pathlib import Path

import pytest

from storage.index.catalog import Catalog, Reading
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
