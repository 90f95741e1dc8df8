"""Which pack does a small body go to?

A process appends to packs of its own, one a Lane, and holds the lock of each. What all may share lies in EVERYBODYS;
another Lane keeps together what is to be forgotten together. All of it is used within a write transaction of the
shelf's environment, and nowhere else.
"""

from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import lmdb

from storage.blobs.ledger import Ledger, PackRow
from storage.blobs.packs import BODY, PACK_HEADER_BYTES, SHARED, PackHeader, PackWriter, Record
from storage.index.tables import Txn

LANE_NUMBERS = 1 << 24
OPEN_MAX = 64
"""So many packs a process has open to append to; the one that was used longest ago is let go of, and gone on with when
its Lane comes again."""


class Lane(NamedTuple):
    """Packs that hold what belongs together. `number` is below LANE_NUMBERS, and stands in the row of each pack. A pack
    that has `pack_bytes_max` is closed when the next body comes, or at once: then it can be forgotten."""

    number: int
    pack_bytes_max: int
    closed_at_once: bool = False


EVERYBODYS = 0
"""The number of the Lane for all that nobody wants apart."""


class Appender:
    """The packs that this process appends to."""

    def __init__(self, root: Path, ledger: Ledger, store: bytes, *, durable: bool) -> None:
        self._root = root
        self._ledger = ledger
        self._store = store
        self._durable = durable
        self._writers: dict[int, PackWriter] = {}
        """The last one used is the last."""
        self._left: dict[int, int] = {}
        """The pack of each Lane that was let go of and is not full, as far as this process knows."""

    def path(self, pack: int) -> Path:
        return self._root / f"{pack:08x}.pack"

    def close(self) -> None:
        for lane in tuple(self._writers):
            self._let_go(lane)

    def append(self, txn: Txn, lane: Lane, bodies: Sequence[tuple[bytes, bytes | bytearray]], now_ms: int) -> None:
        """Write (sha256, body) pairs and their rows. Raises OSError where there is no room."""
        writer = self.writer(txn, lane, now_ms)
        records, stop = writer.append(bodies, now_ms)
        self._ledger.add(txn, writer.header.id, records)
        self._ledger.grow(txn, writer.header.id, stop)
        if lane.closed_at_once and stop >= lane.pack_bytes_max:
            writer.length = stop
            self.seal(txn, writer, now_ms)
            self._let_go(lane.number)

    def writer(self, txn: Txn, lane: Lane, now_ms: int) -> PackWriter:
        """This process's pack, as long as the index says it is, and not full."""
        writer = self._writers.get(lane.number)
        if writer is not None and writer.is_gone():
            self._let_go(lane.number)  # it was swept
            writer = None
        if writer is None:
            writer = self.adopted(txn, lane.number)
        if writer is not None:
            self._writers[lane.number] = writer
            id = writer.header.id
            row = self._ledger.pack(txn, id)
            if row is None:  # made in a transaction that was given up
                row = PackRow(False, writer.header.created_ms, PACK_HEADER_BYTES, 0, lane.number)
                self._ledger.put_pack(txn, id, row)
            writer.length = row.length
            if row.length < lane.pack_bytes_max and not row.sealed:
                self._used(lane.number)
                return writer
            if not row.sealed:
                self.seal(txn, writer, now_ms)
            self._let_go(lane.number)  # else it was closed to be swept
        writer = self._writers[lane.number] = self.created(txn, now_ms, lane.number)
        self._used(lane.number)
        return writer

    def _used(self, lane: int) -> None:
        self._writers[lane] = self._writers.pop(lane)
        while len(self._writers) > OPEN_MAX:
            oldest = next(iter(self._writers))
            self._left[oldest] = self._writers[oldest].header.id
            self._let_go(oldest)

    def let_go_of(self, pack: int) -> bool:
        """Close this pack, if it is one of ours."""
        for lane, writer in self._writers.items():
            if writer.header.id == pack:
                self._let_go(lane)
                return True
        return False

    def _let_go(self, lane: int) -> None:
        self._writers.pop(lane).close()

    def roll_back(self, txn: Txn) -> None:
        """Give back the room of what was appended and does not count, as far as `txn` says. Only the index knows that:
        what a writer remembers may be older than the last commit."""
        with suppress(lmdb.Error):  # a transaction that failed may not tell any more; the bytes are written over then
            for writer in self._writers.values():
                row = self._ledger.pack(txn, writer.header.id)
                writer.cut(row.length if row is not None else PACK_HEADER_BYTES)

    def created(self, txn: Txn, now_ms: int, lane: int = EVERYBODYS) -> PackWriter:
        """A new pack, empty."""
        number = self._ledger.next(txn)
        while True:
            header = PackHeader(number, SHARED, PACK_HEADER_BYTES, now_ms, self._store)
            try:
                writer = PackWriter.create(self.path(number), header, durable=self._durable)
            except FileExistsError:
                number += 1
                continue
            self._ledger.put_pack(txn, number, PackRow(False, now_ms, PACK_HEADER_BYTES, 0, lane))
            return writer

    def adopted(self, txn: Txn, lane: int = EVERYBODYS, avoid: Set[int] = frozenset()) -> PackWriter | None:
        """An open pack of this Lane whose writer is gone."""
        left = self._left.pop(lane, None)
        for pack in self._ledger.open_packs(txn) if left is None else (left, *self._ledger.open_packs(txn)):
            row = self._ledger.pack(txn, pack)
            if row is not None and not row.sealed and row.lane == lane and pack not in avoid:
                writer = PackWriter.adopt(self.path(pack), row.length, durable=self._durable)
                if writer is not None:
                    return writer
        return None

    def seal(self, txn: Txn, writer: PackWriter, now_ms: int) -> None:
        """Close a pack: nobody appends to it any more."""
        members = []
        for sha256, size in self._ledger.members(txn, writer.header.id):
            row = self._ledger.blob(txn, sha256)
            if row is not None:
                members.append(Record(sha256, row.extents[0].offset, size, row.sum, BODY, 0))
        stop = writer.close_with(members, now_ms)
        self._ledger.grow(txn, writer.header.id, stop, sealed=True)
