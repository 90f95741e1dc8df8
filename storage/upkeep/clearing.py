"""How do the rows of what was deleted go, while everything goes on?

A deleted Repository or Workspace is nobody's from the entry on that says so (storage.index.leaving); its rows are taken
away here, in transactions so short that no publish waits for long: how many rows one takes follows from how long the
last one held the write lock. The table tells what is left, so whoever is killed goes on.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from storage.blobs.shelf import BlobShelf
from storage.index import leaving
from storage.index.index import Index
from storage.index.tables import Txn
from storage.journal.journal import Journal
from storage.recovery import catch_up

HOLD_SECONDS = 0.01
"""For so long a step holds the write lock, its own sync included."""
ROWS_FIRST, ROWS_MIN, ROWS_MAX = 256, 32, 2_000


@dataclass(slots=True)
class Progress:
    """What this run took away: `rows`, `files`, and all of so many `places`. It is at `place`, of whose files so many
    have gone. `held_ms` is the longest that it held the write lock."""

    phase: str = "clearing"
    place: str = ""
    places: int = 0
    rows: int = 0
    files: int = 0
    place_files: int = 0
    place_files_gone: int = 0
    held_ms: int = 0

    def told(self) -> dict[str, object]:
        return asdict(self)


def is_due(index: Index) -> bool:
    """Is anything leaving?"""
    with index.env.begin() as txn:
        return bool(txn.stat(index.tables.leaving)["entries"])


def left(index: Index) -> list[dict[str, object]]:
    """What is leaving, for people: how much of it has gone."""
    with index.env.begin() as txn:
        found = list(leaving.pending(txn, index.tables))
    return [
        {
            "workspace": one.workspace,
            "repository": one.repository,
            "deleted_ms": one.held.at_ms,
            "files": one.held.files,
            "files_gone": one.held.files_gone,
            "rows_gone": one.held.rows_gone,
        }
        for one in found
    ]


class Clearing:
    """One run, until nothing is leaving. Blocking. `journal` and `shelf` are an origin's. `forgotten` hears of the
    blobs that no file names any more, of what this edge may not see any more."""

    def __init__(
        self,
        index: Index,
        journal: Journal | None,
        shelf: BlobShelf,
        forgotten: Callable[[set[bytes]], None] = lambda blobs: None,
    ) -> None:
        self._index = index
        self._journal = journal
        self._shelf = shelf
        self._forgotten = forgotten
        self.progress = Progress()
        self.mark = ""

    def steps(self) -> Iterator[int]:
        """Each is one transaction; of bytes none moves that anybody would count."""
        rows = ROWS_FIRST
        while True:
            with self._locked() as txn:
                began_s = time.monotonic()
                cleared = self._index.clear_some(txn, rows)
            if cleared is None:
                break
            held_s = time.monotonic() - began_s
            self._tell(cleared.step, held_s)
            if cleared.loose and cleared.step.place.held.forgotten:
                self._forgotten(cleared.loose)
            rows = max(ROWS_MIN, min(ROWS_MAX, 2 * rows, int(rows * HOLD_SECONDS / max(held_s, 1e-4))))
            yield 0
        self.progress.phase = "done"

    @contextmanager
    def _locked(self) -> Iterator[Txn]:
        """The write lock, with everything applied that a dead process journaled."""
        while self._journal is not None:
            with self._index.env.begin(write=True) as txn:
                if not catch_up(txn, self._index, self._journal, self._shelf):
                    yield txn
                    return
        with self._index.env.begin(write=True) as txn:
            yield txn

    def _tell(self, step: leaving.Step, held_s: float) -> None:
        told, held = self.progress, step.place.held
        told.rows += step.rows
        told.files += step.files
        told.places += step.ended
        told.place = "/".join(name for name in step.place[:2] if name)
        told.place_files, told.place_files_gone = held.files, held.files_gone
        told.held_ms = max(told.held_ms, int(1000 * held_s))
