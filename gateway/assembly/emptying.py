"""How do bins become empty by themselves? An origin takes out what has had its time, one entry for each Repository.

The transaction that takes it out looks again whether its time is over. Its bytes are the sweep's from then on.
"""

from collections.abc import Awaitable, Callable
from itertools import groupby, islice

from storage.commit import Committed, Decided
from storage.index.catalog import Catalog, Reading
from storage.nouns import Draft, DropBinned

AT_A_TIME_MAX = 1_000

Commit = Callable[[Callable[[Reading], Decided]], Awaitable[Committed]]


async def empty_due(catalog: Catalog, commit: Commit, now_ms: int) -> int:
    """Take out what is due, a bounded part at a time; returns how much it was. Raises Problem."""
    emptied = 0
    while True:
        with catalog.read() as reading:
            due = list(islice(reading.bins_due(now_ms), AT_A_TIME_MAX))
        if not due:
            return emptied
        for place, some in groupby(due, lambda one: (one.workspace, one.repository)):
            committed = await commit(_decision(place, [one.id for one in some], now_ms))
            emptied += len(committed.entry.changes) if committed.entry is not None else 0


def _decision(place: tuple[str, str], ids: list[str], now_ms: int) -> Callable[[Reading], Decided]:
    def decide(reading: Reading) -> Decided:
        over = [one for one in ids if (held := reading.binned(*place, one)) is not None and held.until_ms <= now_ms]
        drops = tuple(DropBinned(one) for one in over)
        return Decided(Draft(*place, "", "bin.expire", drops) if drops else None, None, place[0])

    return decide
