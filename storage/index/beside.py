"""How does an edge learn another history while it goes on showing the one it has?

The other history is folded into an index of its own, beside the live one, from its first entry on. Once it is whole,
one transaction makes the live index equal to it, row for row: a reader sees the one or the other and never a mixture,
and no process has to open anything anew. Only rows that differ are written, so that a history which was put back a
little costs a little. What lies beside is worth nothing after a crash: then it is begun anew.
"""

import secrets
from collections.abc import Iterator

from storage import disk
from storage.index import holes
from storage.index.index import Index
from storage.index.tables import FOLD_TABLES, Txn

FOLDER = "index.next"
Rows = Iterator[tuple[bytes, bytes]]


class Beside:
    """An index that is being made for `live`, in a folder next to it. One at a time; blocking."""

    def __init__(self, live: Index) -> None:
        self._live = live
        self._folder = live.path.with_name(FOLDER)
        disk.remove_tree(self._folder)
        self.index = Index(self._folder, edge=live.edge, durable=False)

    def discard(self) -> None:
        """It is not wanted any more."""
        self.index.close()
        disk.remove_tree(self._folder)

    def take_over(self) -> int:
        """Make the live index equal to this one; how many rows that changed. All of it or nothing."""
        changed = 0
        live, next = self._live, self.index
        with live.env.begin(write=True) as writing, live.env.begin() as old, next.env.begin() as new:
            for name in (*FOLD_TABLES, "leaving"):
                table = getattr(live.tables, name)
                before, after = old.cursor(db=table), new.cursor(db=getattr(next.tables, name))
                for key, value in differences(iter(before), iter(after)):
                    changed += 1
                    if value is None:
                        writing.delete(key, db=table)
                    else:
                        writing.put(key, value, db=table)
            self._take_state(writing, new)
        return changed

    def _take_state(self, writing: Txn, new: Txn) -> None:
        live, next = self._live, self.index
        live.set_epoch(writing, next.epoch(new))
        live.set_scope(writing, next.scope(new))
        live.set_stamp(writing)
        holes.write(writing, live.tables, holes.holes(new, next.tables))
        live.set_history(writing, secrets.randbits(48) | 1)


def differences(old: Rows, new: Rows) -> Iterator[tuple[bytes, bytes | None]]:
    """What makes `old` equal to `new`, both in order of their keys: (key, value to put or None to delete), in order."""
    here, there = next(old, None), next(new, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here[0] < there[0]):
            assert here is not None
            yield here[0], None
            here = next(old, None)
        elif here is None or there[0] < here[0]:
            yield there
            there = next(new, None)
        else:
            if here[1] != there[1]:
                yield there
            here, there = next(old, None), next(new, None)
