"""Which bytes lie in which pack, and how much of each pack is alive?

The rows of the blob tables, within a transaction of the caller's. `blobs` and `members` say the same from two sides;
`packs` carries the sum of the members' sizes, so they are only changed together, here.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storage.keys import seal, unseal
from storage.nouns import Extent
from storage.packs import Record
from storage.tables import BlobTables, Txn

_BLOB = struct.Struct("<BBHQ8s")
_EXTENT = struct.Struct("<IQQ")
_PACK = struct.Struct("<B3xQQQ")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_WHOLE = 0


class BlobRow(NamedTuple):
    """Where a blob is; `sum` is the xxh3_64 of its bytes."""

    size: int
    sum: bytes
    extents: tuple[Extent, ...]


class PackRow(NamedTuple):
    """`length` is how much of the file counts, `live` how much of it belongs to blobs."""

    sealed: bool
    created_ms: int
    length: int
    live: int


def pack_key(pack: int) -> bytes:
    return pack.to_bytes(4)


class Ledger:
    """The blob tables of one environment."""

    def __init__(self, tables: BlobTables) -> None:
        self._t = tables

    # ------------------------------------------------------------ blobs

    def has(self, txn: Txn, sha256: bytes) -> bool:
        return txn.get(sha256, db=self._t.blobs) is not None

    def blob(self, txn: Txn, sha256: bytes) -> BlobRow | None:
        """Raises Damaged where the row is."""
        value = txn.get(sha256, db=self._t.blobs)
        return None if value is None else _decode_blob(unseal(value, "blobs"))

    def blobs(self, txn: Txn) -> Iterator[tuple[bytes, BlobRow]]:
        for sha256, value in txn.cursor(db=self._t.blobs):
            yield sha256, _decode_blob(unseal(value, "blobs"))

    def add(self, txn: Txn, pack: int, records: Sequence[Record]) -> None:
        """Rows for these records of a pack that has its row; what is already known elsewhere stays where it is."""
        added = 0
        for one in records:
            if self.has(txn, one.sha256):
                continue
            row = _BLOB.pack(_WHOLE, 0, 1, one.length, one.sum) + _EXTENT.pack(pack, one.offset, one.length)
            txn.put(one.sha256, seal(row), db=self._t.blobs)
            txn.put(pack_key(pack) + one.sha256, seal(_U64.pack(one.length)), db=self._t.members)
            added += one.length
        self._weigh(txn, pack, added)

    def remove(self, txn: Txn, sha256: bytes) -> None:
        """Forget one blob; its bytes stay in the pack, dead. A row that cannot be read is forgotten with the rest."""
        value = txn.pop(sha256, db=self._t.blobs)
        if value is None:
            return
        for extent in _decode_blob(value[8:]).extents:
            if txn.delete(pack_key(extent.pack) + sha256, db=self._t.members):
                self._weigh(txn, extent.pack, -extent.length)

    def point(self, txn: Txn, source: int, target: int, records: Sequence[Record]) -> None:
        """Blobs of one pack lie in another now, as these records of it. Their old bytes are dead."""
        for one in records:
            row = _BLOB.pack(_WHOLE, 0, 1, one.length, one.sum) + _EXTENT.pack(target, one.offset, one.length)
            txn.put(one.sha256, seal(row), db=self._t.blobs)
            txn.delete(pack_key(source) + one.sha256, db=self._t.members)
            txn.put(pack_key(target) + one.sha256, seal(_U64.pack(one.length)), db=self._t.members)
        moved = sum(one.length for one in records)
        self._weigh(txn, source, -moved)
        self._weigh(txn, target, moved)

    # ------------------------------------------------------------ packs

    def pack(self, txn: Txn, pack: int) -> PackRow | None:
        value = txn.get(pack_key(pack), db=self._t.packs)
        return None if value is None else _decode_pack(unseal(value, "packs"))

    def packs(self, txn: Txn) -> Iterator[tuple[int, PackRow]]:
        for key, value in txn.cursor(db=self._t.packs):
            yield int.from_bytes(key), _decode_pack(unseal(value, "packs"))

    def put_pack(self, txn: Txn, pack: int, row: PackRow) -> None:
        """Also keeps the list of open packs and the next number."""
        txn.put(pack_key(pack), seal(_PACK.pack(*row)), db=self._t.packs)
        if row.sealed:
            txn.delete(pack_key(pack), db=self._t.open)
        else:
            txn.put(pack_key(pack), b"", db=self._t.open)
        if pack >= self.next(txn):
            txn.put(b"next", seal(_U32.pack(pack + 1)), db=self._t.state)

    def grow(self, txn: Txn, pack: int, length: int, *, sealed: bool = False) -> None:
        """More of a pack counts."""
        row = self.pack(txn, pack)
        assert row is not None
        self.put_pack(txn, pack, row._replace(length=length, sealed=sealed))

    def drop_pack(self, txn: Txn, pack: int) -> None:
        """Forget a pack and every blob that lies in it."""
        for sha256, _ in self.members(txn, pack):
            self.remove(txn, sha256)
        txn.delete(pack_key(pack), db=self._t.packs)
        txn.delete(pack_key(pack), db=self._t.open)

    def members(self, txn: Txn, pack: int) -> list[tuple[bytes, int]]:
        """(sha256, size) of the blobs that lie in a pack."""
        prefix = pack_key(pack)
        found = []
        with txn.cursor(db=self._t.members) as cursor:
            going = cursor.set_range(prefix)
            while going and cursor.key().startswith(prefix):
                found.append((cursor.key()[4:], int(_U64.unpack(unseal(cursor.value(), "members"))[0])))
                going = cursor.next()
        return found

    def open_packs(self, txn: Txn) -> list[int]:
        """Shared packs that may still be appended to, by their writer or, when that is gone, by another."""
        return [int.from_bytes(key) for key, _ in txn.cursor(db=self._t.open)]

    def next(self, txn: Txn) -> int:
        """The lowest number that no pack of this table has had."""
        value = txn.get(b"next", db=self._t.state)
        return 1 if value is None else int(_U32.unpack(unseal(value, "state"))[0])

    def _weigh(self, txn: Txn, pack: int, difference: int) -> None:
        row = self.pack(txn, pack)
        if row is not None and difference:
            txn.put(
                pack_key(pack), seal(_PACK.pack(*row._replace(live=max(0, row.live + difference)))), db=self._t.packs
            )


def _decode_blob(payload: bytes) -> BlobRow:
    _, _, count, size, sum = _BLOB.unpack_from(payload)
    offsets = range(_BLOB.size, _BLOB.size + count * _EXTENT.size, _EXTENT.size)
    return BlobRow(size, sum, tuple(Extent(*_EXTENT.unpack_from(payload, at)) for at in offsets))


def _decode_pack(payload: bytes) -> PackRow:
    sealed, created_ms, length, live = _PACK.unpack(payload)
    return PackRow(bool(sealed), created_ms, length, live)
