"""Which bytes lie in which pack, and how much of each pack is alive?

The rows of the blob tables, within a transaction of the caller's. `blobs` and `members` say the same from two sides;
`packs` carries how many of its bytes belong to a blob, counted once where several blobs share them, so they are only
changed together, here. A pack is needed as long as it has members; which of its bytes, `live_ranges` tells.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from xxhash import xxh3_64_digest

from storage.blobs.chunker import ARCHIVE_BYTES_MIN, Cut
from storage.blobs.packs import BODY, Extent, Record
from storage.errors import Damaged
from storage.index.keys import seal, unseal
from storage.index.tables import BlobTables, Txn

_BLOB = struct.Struct("<BBHQQ8s")
_EXTENT = struct.Struct("<IQQ")
_PACK = struct.Struct("<IQQQ")
_CHUNK = struct.Struct("<IQ")
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")
_LENGTH_SHIFT = 40
_LANE_SHIFT = 8
_CHUNK_SUM_BYTES = 4


class BlobRow(NamedTuple):
    """Where a blob is; `sum` is the xxh3_64 of its bytes. `saved` of its bytes were there before it came. `recipe` is
    the body of its recipe, if it has one; no blob shares bytes with one that has none."""

    size: int
    sum: bytes
    extents: tuple[Extent, ...]
    cut: Cut = Cut.UNDECIDED
    saved: int = 0
    recipe: Extent | None = None


class PackRow(NamedTuple):
    """`length` is how much of the file counts, `live` how much of it belongs to blobs. `lane` is the number of the
    Lane that it belongs to (blobs.appending), below 2^24; 0 = everybody's."""

    sealed: bool
    created_ms: int
    length: int
    live: int
    lane: int = 0


class ChunkRow(NamedTuple):
    """Where the bytes of a chunk are. They may belong to no blob any more: they are there while their pack is."""

    pack: int
    offset: int
    length: int


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

    def after(self, txn: Txn, sha256: bytes) -> bytes | None:
        """The blob that follows in the order of their names; None behind the last."""
        with txn.cursor(db=self._t.blobs) as cursor:
            return bytes(cursor.key()) if cursor.set_range(sha256 + b"\0") else None

    def add(self, txn: Txn, pack: int, records: Sequence[Record]) -> None:
        """Rows for the bodies among these records of a pack that has its row; what is already known elsewhere stays
        where it is."""
        added = 0
        for one in records:
            if one.kind != BODY or self.has(txn, one.sha256):
                continue
            row = BlobRow(one.length, one.sum, (Extent(pack, one.offset, one.length),))
            txn.put(one.sha256, seal(_encode_blob(row)), db=self._t.blobs)
            txn.put(pack_key(pack) + one.sha256, seal(_U64.pack(one.length)), db=self._t.members)
            if one.length >= ARCHIVE_BYTES_MIN:
                txn.put(one.sha256, b"", db=self._t.uncut)
            added += one.length
        self._weigh(txn, pack, added)

    def remove(self, txn: Txn, sha256: bytes) -> None:
        """Forget one blob; its bytes stay in the pack, dead where no other blob has them. A row that cannot be read is
        forgotten with the rest."""
        value = txn.pop(sha256, db=self._t.blobs)
        if value is None:
            return
        txn.delete(sha256, db=self._t.uncut)
        txn.delete(sha256, db=self._t.damaged)
        row = _decode_blob(value[8:])
        if row.recipe is None:
            for extent in row.extents:
                if txn.delete(pack_key(extent.pack) + sha256, db=self._t.members):
                    self._weigh(txn, extent.pack, -extent.length)
            return
        for pack in {extent.pack for extent in row.extents}:
            txn.delete(pack_key(pack) + sha256, db=self._t.members)
            self._weigh_anew(txn, pack)

    def lay(self, txn: Txn, sha256: bytes, row: BlobRow) -> None:
        """Say anew where a blob is, how it was cut, or both. Packs must have their rows."""
        old = self.blob(txn, sha256)
        txn.put(sha256, seal(_encode_blob(row)), db=self._t.blobs)
        txn.delete(sha256, db=self._t.uncut)
        before = old.extents if old is not None else ()
        if before == row.extents:
            return
        for pack in {extent.pack for extent in (*before, *row.extents)}:
            held = sum(extent.length for extent in row.extents if extent.pack == pack)
            if held:
                txn.put(pack_key(pack) + sha256, seal(_U64.pack(held)), db=self._t.members)
            else:
                txn.delete(pack_key(pack) + sha256, db=self._t.members)
            self._weigh_anew(txn, pack)

    def uncut(self, txn: Txn, many: int) -> list[bytes]:
        """At most `many` large blobs that nobody has looked at yet."""
        with txn.cursor(db=self._t.uncut) as cursor:
            going = cursor.first()
            found: list[bytes] = []
            while going and len(found) < many:
                found.append(cursor.key())
                going = cursor.next()
        return found

    # ------------------------------------------------------------ chunks

    def chunk(self, txn: Txn, key: bytes) -> ChunkRow | None:
        """Where a chunk's bytes are. None too where its pack is gone, or the row is not whole: it is only a hint."""
        value = txn.get(key, db=self._t.chunks)
        row = None if value is None else _decode_chunk(value)
        return row if row is not None and txn.get(pack_key(row.pack), db=self._t.packs) is not None else None

    def put_chunk(self, txn: Txn, key: bytes, row: ChunkRow) -> None:
        payload = _CHUNK.pack(row.pack, row.offset | row.length << _LENGTH_SHIFT)
        txn.put(key, xxh3_64_digest(payload)[:_CHUNK_SUM_BYTES] + payload, db=self._t.chunks)

    def drop_chunks(self, txn: Txn, pack: int, keys: Iterable[bytes]) -> None:
        """Forget those of these chunks that are said to lie in this pack."""
        for key in keys:
            value = txn.get(key, db=self._t.chunks)
            row = None if value is None else _decode_chunk(value)
            if value is not None and (row is None or row.pack == pack):
                txn.delete(key, db=self._t.chunks)

    def chunks(self, txn: Txn) -> int:
        """How many chunks have a place."""
        return int(txn.stat(self._t.chunks)["entries"])

    def is_damaged(self, txn: Txn, sha256: bytes) -> bool:
        """Did a scrub find that these bytes are not what they were? Then who brings them again repairs them."""
        return txn.get(sha256, db=self._t.damaged) is not None

    def damaged(self, txn: Txn, most: int) -> Iterator[tuple[bytes, int]]:
        """Some of the blobs that are, with when that was found (ms since 1970)."""
        for sha256, value in islice(txn.cursor(db=self._t.damaged), most):
            yield bytes(sha256), int(_U64.unpack(unseal(value, "damaged"))[0]) if value else 0

    def mark_damaged(self, txn: Txn, sha256: bytes, at_ms: int) -> None:
        """`at_ms` is when that was found; 0 = it is whole again."""
        if at_ms:
            txn.put(sha256, seal(_U64.pack(at_ms)), db=self._t.damaged)
        else:
            txn.delete(sha256, db=self._t.damaged)

    def point(self, txn: Txn, source: int, target: int, records: Sequence[Record]) -> None:
        """Whole blobs of one pack lie in another now, as these records of it. Their old bytes are dead."""
        for one in records:
            row = self.blob(txn, one.sha256)
            assert row is not None, "only what lies there is moved"
            assert row.recipe is None, "what shares its bytes is moved by them"
            moved = row._replace(extents=(Extent(target, one.offset, one.length),))
            txn.put(one.sha256, seal(_encode_blob(moved)), db=self._t.blobs)
            txn.delete(pack_key(source) + one.sha256, db=self._t.members)
            txn.put(pack_key(target) + one.sha256, seal(_U64.pack(one.length)), db=self._t.members)
        weight = sum(one.length for one in records)
        self._weigh(txn, source, -weight)
        self._weigh(txn, target, weight)

    # ------------------------------------------------------------ packs

    def pack(self, txn: Txn, pack: int) -> PackRow | None:
        value = txn.get(pack_key(pack), db=self._t.packs)
        return None if value is None else _decode_pack(unseal(value, "packs"))

    def packs(self, txn: Txn) -> Iterator[tuple[int, PackRow]]:
        for key, value in txn.cursor(db=self._t.packs):
            yield int.from_bytes(key), _decode_pack(unseal(value, "packs"))

    def put_pack(self, txn: Txn, pack: int, row: PackRow) -> None:
        """Also keeps the list of open packs and the next number."""
        txn.put(pack_key(pack), seal(_encode_pack(row)), db=self._t.packs)
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
        """Forget a pack and every blob that lies in it, if only with a part."""
        for sha256, _ in self.members(txn, pack):
            self.remove(txn, sha256)
        txn.delete(pack_key(pack), db=self._t.packs)
        txn.delete(pack_key(pack), db=self._t.open)

    def members(self, txn: Txn, pack: int) -> list[tuple[bytes, int]]:
        """(sha256, bytes in this pack) of the blobs that lie in a pack; what they share is counted with each."""
        prefix = pack_key(pack)
        found = []
        with txn.cursor(db=self._t.members) as cursor:
            going = cursor.set_range(prefix)
            while going and cursor.key().startswith(prefix):
                found.append((cursor.key()[4:], int(_U64.unpack(unseal(cursor.value(), "members"))[0])))
                going = cursor.next()
        return found

    def live_ranges(self, txn: Txn, pack: int) -> list[tuple[int, int]]:
        """(offset, end) of the bytes of a pack that belong to a blob, in order, what touches in one."""
        found: list[tuple[int, int]] = []
        for sha256, _ in self.members(txn, pack):
            row = self.blob(txn, sha256)
            for extent in row.extents if row is not None else ():
                if extent.pack == pack:
                    found.append((extent.offset, extent.offset + extent.length))
        return merged(found)

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
            self._put_live(txn, pack, row, max(0, row.live + difference))

    def _weigh_anew(self, txn: Txn, pack: int) -> None:
        row = self.pack(txn, pack)
        if row is not None:
            self._put_live(txn, pack, row, sum(stop - start for start, stop in self.live_ranges(txn, pack)))

    def _put_live(self, txn: Txn, pack: int, row: PackRow, live: int) -> None:
        txn.put(pack_key(pack), seal(_encode_pack(row._replace(live=live))), db=self._t.packs)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of ranges (start, end), in order."""
    out: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return out


def _encode_blob(row: BlobRow) -> bytes:
    listed = row.extents if row.recipe is None else (*row.extents, row.recipe)
    fixed = _BLOB.pack(row.cut, row.recipe is not None, len(listed), row.size, row.saved, row.sum)
    return fixed + b"".join([_EXTENT.pack(one.pack, one.offset, one.length) for one in listed])


def _decode_blob(payload: bytes) -> BlobRow:
    cut, has_recipe, count, size, saved, sum = _BLOB.unpack_from(payload)
    if len(payload) != _BLOB.size + count * _EXTENT.size or count < has_recipe:
        raise Damaged("A row of the index table 'blobs' is cut off.", "Stop the node and run `entrepot rebuild-index`.")
    extents = tuple(Extent(*one) for one in _EXTENT.iter_unpack(payload[_BLOB.size :]))
    if not has_recipe:
        return BlobRow(size, sum, extents, Cut(cut), saved)
    return BlobRow(size, sum, extents[:-1], Cut(cut), saved, extents[-1])


def _decode_chunk(value: bytes) -> ChunkRow | None:
    payload = value[_CHUNK_SUM_BYTES:]
    if len(payload) != _CHUNK.size or xxh3_64_digest(payload)[:_CHUNK_SUM_BYTES] != value[:_CHUNK_SUM_BYTES]:
        return None
    pack, packed = _CHUNK.unpack(payload)
    return ChunkRow(pack, packed & (1 << _LENGTH_SHIFT) - 1, packed >> _LENGTH_SHIFT)


def _encode_pack(row: PackRow) -> bytes:
    return _PACK.pack(row.sealed | row.lane << _LANE_SHIFT, row.created_ms, row.length, row.live)


def _decode_pack(payload: bytes) -> PackRow:
    state, created_ms, length, live = _PACK.unpack(payload)
    return PackRow(bool(state & 1), created_ms, length, live, state >> _LANE_SHIFT)
