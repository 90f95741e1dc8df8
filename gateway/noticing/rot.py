"""Of which Workspaces did a scrub find rows of the index or entries of the journal damaged?

Told to each Workspace for each of its tables, and once a week for as long as scrubs find it. What is of no Workspace
alone is the operator's: metrics and the log tell it.
"""

from collections.abc import Callable, Sequence

from gateway.noticing.noticing import Found
from storage.index.catalog import Catalog
from storage.notices import ROTTEN, Notice
from storage.upkeep.rounds import State

AGAIN_MS = 7 * 24 * 3600 * 1000


class RotWatch:
    """One worker's of an origin. `scrub` tells the last scrub, or the one that is under way."""

    def __init__(self, catalog: Catalog, scrub: Callable[[], State]) -> None:
        self._catalog = catalog
        self._scrub = scrub

    def look(self, now_ms: int) -> list[Found]:
        state = self._scrub()
        rotten = state.progress.get("rotten")
        found = []
        with self._catalog.read() as reading:
            for key, count in rotten.items() if isinstance(rotten, dict) else ():
                workspace, _, of = key.partition("/")
                if workspace and reading.workspace(workspace) is not None:
                    last = reading.noticed(workspace, "", ROTTEN, of)
                    if last is None or state.began_ms - last.period_ms >= AGAIN_MS:
                        notice = Notice(ROTTEN, of, state.began_ms, used=count, of=of)
                        found.append(Found(workspace, "", notice, AGAIN_MS))
        return found

    def told(self, found: Sequence[Found]) -> None:
        """The journal knows."""
