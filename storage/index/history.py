"""Who did what, when? Entries out of the journal of an origin, the latest first, while it goes on.

Nothing is kept for this but where each entry lies, which the index knows anyway. Calls block: they are for a thread.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from storage import entries
from storage.digest import sha256
from storage.errors import Absent
from storage.index.index import Index
from storage.index.tables import Txn
from storage.journal.journal import End, Journal
from storage.nouns import Entry


class Kept(NamedTuple):
    """An entry as it was written: its place, the bytes, and what they mean."""

    at: End
    body: bytes
    entry: Entry

    @property
    def hash(self) -> bytes:
        return sha256(self.body)


class Head(NamedTuple):
    """The last entry of a Workspace: its Serial and the sha256 of its bytes."""

    epoch: int
    workspace: str
    serial: int
    hash: bytes


class History:
    """The written history of one origin."""

    def __init__(self, index: Index, journal: Journal) -> None:
        self._index = index
        self._journal = journal

    def heads(self) -> list[Head]:
        """By workspace."""
        with self._index.env.begin() as txn:
            found = self._index.heads(txn)
        return [Head(self._journal.epoch, name, serial, hash) for name, (serial, hash) in sorted(found.items())]

    def one(self, workspace: str, serial: int) -> Kept:
        """Raises Absent."""
        with self._index.env.begin() as txn:
            if not 0 < serial <= self._index.head(txn, workspace)[0]:
                raise Absent("There is no such entry.")
            at = self._index.place(txn, workspace, serial)
        return self._kept(at)

    def before(self, workspace: str, serial: int) -> Iterator[Kept]:
        """The entries of a Workspace that came before this Serial, the latest first."""
        for number in range(serial - 1, 0, -1):
            yield self.one(workspace, number)

    def after(self, workspace: str, serial: int) -> Iterator[Kept]:
        """The entries of a Workspace behind this Serial, in order, as far as it goes now."""
        with self._index.env.begin() as txn:
            last = self._index.head(txn, workspace)[0]
        for number in range(serial + 1, last + 1):
            yield self.one(workspace, number)

    def latest(self, *workspaces: str, below: End | None = None) -> Iterator[Kept]:
        """What was written before the place `below`, the latest first, of these Workspaces or, without any, of all."""
        with self._index.env.begin() as txn:
            heads = self._index.heads(txn)
            names = [name for name in heads if not workspaces or name in workspaces]
            tops = {name: self._top(txn, name, heads[name][0], below) for name in names}
        for at in heapq.merge(*(self._places(name, top) for name, top in tops.items()), reverse=True):
            yield self._kept(at)

    def _top(self, txn: Txn, workspace: str, serial: int, below: End | None) -> int:
        """The last Serial that lies before `below`."""
        low, high = 0, serial
        while below is not None and low < high:
            middle = (low + high + 1) // 2
            if self._index.place(txn, workspace, middle) < below:
                low = middle
            else:
                high = middle - 1
        return high

    def _places(self, workspace: str, top: int) -> Iterator[End]:
        for serial in range(top, 0, -1):
            with self._index.env.begin() as txn:
                at = self._index.place(txn, workspace, serial)
            yield at

    def _kept(self, at: End) -> Kept:
        body = self._journal.entry_at(at)
        return Kept(at, body, entries.read(body))
