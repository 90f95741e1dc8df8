"""How does a test get a real index that decisions change, without a disk to wait for?

The index, its fold and its readings are the product's own. Only the journal's file is left out: entries are kept in a
list, so that a test can look at what was written.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from storage.commit import Committed, Decided
from storage.errors import Absent
from storage.index.catalog import Catalog, Reading
from storage.index.history import History, Kept
from storage.index.index import Index
from storage.journal.journal import End
from storage.nouns import Draft, Entry

NOW_MS = 1_800_000_000_000


class Ledger:
    """One index, and the one way to change it."""

    def __init__(self, root: Path) -> None:
        self.index = Index(root / "index")
        self.catalog = Catalog(self.index)
        self.entries: list[Entry] = []
        self.all: list[Entry] = []

    async def commit(self, decide: Callable[[Reading], Decided]) -> Committed:
        """As storage.commit.Committer does it, for one decision at a time."""
        return self.apply(decide)

    def apply(self, decide: Callable[[Reading], Decided]) -> Committed:
        with self.index.env.begin(write=True) as txn:
            decided = decide(Reading(self.index, txn))
            draft = decided.draft
            if draft is None:
                serial = self.index.head(txn, decided.workspace)[0] if decided.workspace else 0
                return Committed(None, serial, decided.value)
            serial, previous = self.index.head(txn, draft.workspace)
            entry = Entry(
                1,
                draft.workspace,
                serial + 1,
                previous,
                NOW_MS,
                draft.actor,
                draft.action,
                draft.repository,
                draft.changes,
                draft.reason,
                once=draft.once,
            )
            raw = msgspec.msgpack.encode(entry)
            assert hashlib.sha256(raw).digest() != previous
            self.index.apply(txn, entry, raw)
        self.entries.append(entry)
        self.all.append(entry)
        return Committed(entry, serial + 1, decided.value)

    def write(self, draft: Draft) -> None:
        """Put something there before the test begins; no entry of the test's own."""
        self.apply(lambda reading: Decided(draft, None))
        self.entries.clear()

    def history(self) -> "Written":
        """The history of what is in `entries`."""
        return Written(self)

    def close(self) -> None:
        self.index.close()


class Written(History):
    """A History over the entries of a Ledger, which has no journal's file."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def one(self, workspace: str, serial: int) -> Kept:
        """Raises Absent."""
        for entry in self._ledger.all:
            if (entry.workspace, entry.serial) == (workspace, serial):
                return Kept(End(1, 0), msgspec.msgpack.encode(entry), entry)
        raise Absent("There is no such entry.")

    def after(self, workspace: str, serial: int) -> Iterator[Kept]:
        for entry in list(self._ledger.all):
            if entry.workspace == workspace and entry.serial > serial:
                yield Kept(End(1, 0), b"", entry)
