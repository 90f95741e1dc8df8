"""Which blobs are cited, and how much does each Repository hold?

Three tables that the fold keeps up to date with every entry, so nobody ever walks the files for it. `refs` counts the
files that name a blob, in whichever Repository, visible or in a bin; `usage` sums files and their bytes as visible, by
Repository and by Workspace, and `bin_usage` those in bins. All follow from the journal alone. A row that came to
nothing is deleted, so that no trace of what was tells one index from another.

What nothing names any more is told to the caller: when that was noticed is work for sweep, and no part of the fold.
"""

import struct
from collections import defaultdict
from typing import NamedTuple

from storage.index.keys import below, join, seal, unseal
from storage.index.tables import Table, Tables, Txn, rows_below
from storage.nouns import File

_U64 = struct.Struct("<Q")
_USAGE = struct.Struct("<QQ")


class Usage(NamedTuple):
    """Files that have bytes here, and the sum of their sizes."""

    files: int = 0
    bytes: int = 0


class References:
    """What one entry changes in the tables, gathered first: many of its changes concern the same rows."""

    __slots__ = ("_bins", "_blobs", "_places", "_t", "_txn")

    def __init__(self, txn: Txn, tables: Tables) -> None:
        self._txn = txn
        self._t = tables
        self._blobs: defaultdict[bytes, int] = defaultdict(int)
        self._places: defaultdict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        self._bins: defaultdict[bytes, list[int]] = defaultdict(lambda: [0, 0])

    def came(self, workspace: str, repository: str, file: File) -> None:
        """This file is visible now."""
        self._count(self._places, workspace, repository, file, 1)

    def went(self, workspace: str, repository: str, file: File) -> None:
        """This file is not visible any more."""
        self._count(self._places, workspace, repository, file, -1)

    def binned(self, workspace: str, repository: str, file: File, sign: int) -> None:
        """This file is in the bin now (1), or not any more (-1)."""
        self._count(self._bins, workspace, repository, file, sign)

    def let_go(self, file: File) -> None:
        """This file goes, of what ended before."""
        if file.sha256:
            self._blobs[file.sha256] -= 1

    def ended(self, workspace: str, repository: str = "") -> int:
        """Nothing in it counts any more, visible or in a bin; the blobs are let go of one by one. How many files that
        were."""
        files = 0
        for table, rows in ((self._t.usage, self._places), (self._t.bin_usage, self._bins)):
            if repository:
                place = join(workspace, repository)
                before, more = _usage(self._txn, table, place), rows.pop(place, [0, 0])
                whole = rows[join(workspace)]
                whole[0] -= before.files + more[0]
                whole[1] -= before.bytes + more[1]
                self._txn.delete(place, db=table)
                files += before.files + more[0]
                continue
            files += _usage(self._txn, table, join(workspace)).files + rows.pop(join(workspace), [0, 0])[0]
            for place in [one for one in rows if one.startswith(below(workspace))]:
                del rows[place]
            for place, _ in list(rows_below(self._txn, table, "usage", below(workspace))):
                self._txn.delete(place, db=table)
            self._txn.delete(join(workspace), db=table)
        return files

    def _count(
        self, rows: defaultdict[bytes, list[int]], workspace: str, repository: str, file: File, sign: int
    ) -> None:
        if not file.sha256:  # a foreign one has no bytes here
            return
        self._blobs[file.sha256] += sign
        for place in (join(workspace), join(workspace, repository)):
            row = rows[place]
            row[0] += sign
            row[1] += sign * max(file.size, 0)

    def write(self) -> set[bytes]:
        """Bring the tables up to date; the blobs that nothing names any more."""
        loose = set()
        for sha256, difference in self._blobs.items():
            if self._cite(sha256, difference) == 0:  # also what came and went within one entry
                loose.add(sha256)
        for table, rows in ((self._t.usage, self._places), (self._t.bin_usage, self._bins)):
            for place, (files, size) in rows.items():
                if files or size:
                    self._weigh(table, place, files, size)
        return loose

    def _cite(self, sha256: bytes, difference: int) -> int:
        count = count_of(self._txn, self._t, sha256) + difference
        assert count >= 0, "a blob is let go of once for each file that named it"
        if not difference:
            return count
        if count:
            self._txn.put(sha256, seal(_U64.pack(count)), db=self._t.refs)
        else:
            self._txn.delete(sha256, db=self._t.refs)
        return count

    def _weigh(self, table: Table, place: bytes, files: int, size: int) -> None:
        before = _usage(self._txn, table, place)
        after = Usage(before.files + files, before.bytes + size)
        if after.files:
            self._txn.put(place, seal(_USAGE.pack(*after)), db=table)
        else:
            self._txn.delete(place, db=table)


def count_of(txn: Txn, tables: Tables, sha256: bytes) -> int:
    """How many files name this blob, those in bins too."""
    value = txn.get(sha256, db=tables.refs)
    return 0 if value is None else int(_U64.unpack(unseal(value, "refs"))[0])


def usage_of(txn: Txn, tables: Tables, place: bytes) -> Usage:
    """What the Workspace or Repository with this key (`join` of its names) holds as visible."""
    return _usage(txn, tables.usage, place)


def bin_usage_of(txn: Txn, tables: Tables, place: bytes) -> Usage:
    """What the bins of the Workspace, or the bin of the Repository, with this key hold."""
    return _usage(txn, tables.bin_usage, place)


def _usage(txn: Txn, table: Table, place: bytes) -> Usage:
    value = txn.get(place, db=table)
    return Usage() if value is None else Usage(*_USAGE.unpack(unseal(value, "usage")))


# ---------------------------------------------------------------- since when nothing names a blob (physical)


def loosen(txn: Txn, tables: Tables, sha256: bytes, at_ms: int) -> None:
    """Nothing names this blob since `at_ms`. A later time replaces an earlier one: its grace begins anew."""
    txn.put(sha256, seal(_U64.pack(max(at_ms, 0))), db=tables.loose)


def loose_since(txn: Txn, tables: Tables, sha256: bytes) -> int | None:
    """Since when nothing names it, in ms; None where that was not noticed. It may be named again since."""
    value = txn.get(sha256, db=tables.loose)
    return None if value is None else int(_U64.unpack(unseal(value, "loose"))[0])
