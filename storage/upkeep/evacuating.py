"""How is a pack emptied whose bytes several blobs share?

What lives in it is copied chunk by chunk, each compared with its key, into one run of a new pack. One transaction then
lets every blob that has bytes there point to the new place, if what lives is still what was copied. Chunks are found
there from then on; the old pack has no member any more, and goes the way of all empty packs.
"""

import bisect
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from xxhash import xxh3_64

from storage import disk
from storage.blobs.chunker import Chunk, Cut, key_of
from storage.blobs.ledger import BlobRow, ChunkRow, PackRow
from storage.blobs.packs import (
    COMPOSED,
    NO_BLOB,
    PACK_HEADER_BYTES,
    RECIPE,
    RECORD_BYTES,
    RUN,
    Extent,
    Record,
    next_record,
    read_body,
    record_bytes,
    record_header,
    records,
)
from storage.blobs.recipes import Part, decode, encode
from storage.blobs.shelf import BlobShelf
from storage.errors import Damaged
from storage.index.tables import Txn

STEP_BYTES = 8 << 20
ROWS_MAX = 1000

Change = Callable[[Callable[[Txn], int]], int]
"""Runs one transaction under the write lock."""


class Counts(Protocol):
    """What a run tells of itself."""

    copied: int
    copied_bytes: int


class Piece(NamedTuple):
    """A chunk that lives in the old pack: `offset` there, `target` in the new one."""

    key: bytes
    offset: int
    length: int
    target: int


class Evacuation:
    """Takes what several blobs share out of one sealed pack."""

    def __init__(self, shelf: BlobShelf, pack: int, change: Change) -> None:
        self._shelf = shelf
        self._ledger = shelf.ledger
        self._pack = pack
        self._change = change

    def steps(self, counts: Counts) -> Iterator[int]:
        """Nothing where no member has a recipe. Each step yields the bytes it moved. Raises Damaged, Full; then nothing
        has changed."""
        with self._shelf.env.begin() as txn:
            members = self._members(txn)
            live = self._ledger.live_ranges(txn, self._pack)
        if not any(row.recipe is not None for _, row in members):
            return
        start = next_record(PACK_HEADER_BYTES) + RECORD_BYTES
        pieces = self._pieces(live, start)
        number, fd = self._shelf.create_pack(COMPOSED)
        counted = False
        try:
            with disk.room("for sweeping"):
                yield from self._copy(fd, pieces)
                recipes, length = self._describe(fd, pieces, members, start)
            yield self._change(lambda txn: self._point(txn, number, length, pieces, recipes))
            with self._shelf.env.begin() as txn:
                counted = self._ledger.pack(txn, number) is not None
        finally:
            if not counted:
                self._shelf.path(number).unlink(missing_ok=True)
            os.close(fd)
        if counted:
            counts.copied += len(members)
            counts.copied_bytes += sum(one.length for one in pieces)
            yield from self._repoint_chunks(number, pieces)

    def _members(self, txn: Txn) -> list[tuple[bytes, BlobRow]]:
        rows = [(sha256, self._ledger.blob(txn, sha256)) for sha256, _ in self._ledger.members(txn, self._pack)]
        return [(sha256, row) for sha256, row in rows if row is not None]

    def _pieces(self, live: Sequence[tuple[int, int]], start: int) -> list[Piece]:
        """The chunks that lie within what lives, in order, and where they go. Raises Damaged where they are not all of
        it: then the pack does not say which chunks it has."""
        path, pieces = self._shelf.path(self._pack), []
        try:
            found = records(path)
        except FileNotFoundError:
            found = None
        described = found[1] if found is not None else []
        for body, recipe in itertools.pairwise(described):
            if recipe.kind != RECIPE:
                continue
            at = body.offset
            for chunk, here in decode(read_body(path, recipe))[1]:
                if here:
                    if _within(live, at, at + chunk.length):
                        pieces.append(Piece(chunk.key, at, chunk.length, start))
                        start += chunk.length
                    at += chunk.length
        if sum(one.length for one in pieces) != sum(stop - begin for begin, stop in live):
            raise Damaged(f"Pack {self._pack:08x} does not tell what it holds.", "Restore it from a copy.")
        return pieces

    def _copy(self, fd: int, pieces: Sequence[Piece]) -> Iterator[int]:
        source = os.open(self._shelf.path(self._pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            done = 0
            for one in pieces:
                data = disk.read_all(source, one.length, one.offset)
                if key_of(data) != one.key:
                    raise Damaged(f"A chunk in pack {self._pack:08x} is damaged.", "Restore the pack from a copy.")
                disk.write_all(fd, data, one.target)
                done += one.length
                if done >= STEP_BYTES:
                    yield 2 * done
                    done = 0
        finally:
            os.close(source)

    def _describe(
        self, fd: int, pieces: Sequence[Piece], members: Sequence[tuple[bytes, BlobRow]], start: int
    ) -> tuple[dict[bytes, Extent], int]:
        """Headers and recipes: that of the run, and those that lay in the old pack; where they are now, by blob, and
        how much of the new pack counts. All of it is durable."""
        size, state = sum(one.length for one in pieces), xxh3_64()
        for at in range(start, start + size, STEP_BYTES):
            state.update(disk.read_all(fd, min(STEP_BYTES, start + size - at), at))
        run = Record(NO_BLOB, start, size, state.digest(), RUN, _now_ms())
        disk.write_all(fd, record_header(run), start - RECORD_BYTES)
        parts = [Part(Chunk(one.target - start, one.length, one.key), True) for one in pieces]
        own = encode(Cut.UNDECIDED, size, run.sum, parts)
        stop, moved = run.stop, {}
        for sha256, body in ((NO_BLOB, own), *self._recipes(members)):
            record, written = record_bytes(next_record(stop), sha256, body, RECIPE, _now_ms())
            disk.write_all(fd, written, next_record(stop))
            stop = record.stop
            moved[sha256] = Extent(0, record.offset, record.length)
        disk.settle(fd, "a pack")
        disk.settle_directory(self._shelf.root)
        return moved, stop

    def _recipes(self, members: Sequence[tuple[bytes, BlobRow]]) -> Iterator[tuple[bytes, bytes]]:
        """Those of living blobs that lie in the old pack; none of their chunks lies ahead of them any more."""
        found = records(self._shelf.path(self._pack))
        theirs = {sha256 for sha256, row in members if row.recipe is not None and row.recipe.pack == self._pack}
        for record in found[1] if found is not None else ():
            if record.kind == RECIPE and record.sha256 in theirs:
                head, parts = decode(read_body(self._shelf.path(self._pack), record))
                body = encode(head.cut, head.size, head.sum, [Part(chunk, False) for chunk, _ in parts])
                yield record.sha256, body

    def _point(self, txn: Txn, number: int, length: int, pieces: Sequence[Piece], recipes: dict[bytes, Extent]) -> int:
        """Every blob points to the new place, unless more lives by now than was copied."""
        starts = [one.offset for one in pieces]
        copied = [(one.offset, one.offset + one.length) for one in pieces]
        for begin, stop in self._ledger.live_ranges(txn, self._pack):
            if not _covered(copied, starts, begin, stop):
                return 0
        self._ledger.put_pack(txn, number, PackRow(True, _now_ms(), length, 0))
        for sha256, row in self._members(txn):
            extents = tuple(_moved(row.extents, self._pack, number, pieces, starts))
            recipe = row.recipe
            if recipe is not None and recipe.pack == self._pack:
                if sha256 not in recipes:
                    raise Damaged(f"The recipe of blob {sha256.hex()} is not there.", "Restore its pack from a copy.")
                recipe = Extent(number, recipes[sha256].offset, recipes[sha256].length)
            self._ledger.lay(txn, sha256, row._replace(extents=extents, recipe=recipe))
        return sum(one.length for one in pieces)

    def _repoint_chunks(self, number: int, pieces: Sequence[Piece]) -> Iterator[int]:
        for at in range(0, len(pieces), ROWS_MAX):
            batch = pieces[at : at + ROWS_MAX]
            yield self._change(lambda txn, batch=batch: self._repoint(txn, number, batch))  # type: ignore[misc]

    def _repoint(self, txn: Txn, number: int, pieces: Sequence[Piece]) -> int:
        for one in pieces:
            row = self._ledger.chunk(txn, one.key)
            if row is None or row.pack == self._pack:
                self._ledger.put_chunk(txn, one.key, ChunkRow(number, one.target, one.length))
        return 0


def _within(ranges: Sequence[tuple[int, int]], start: int, stop: int) -> bool:
    at = bisect.bisect_right(ranges, (start, 1 << 62)) - 1
    return at >= 0 and stop <= ranges[at][1]


def _covered(copied: Sequence[tuple[int, int]], starts: Sequence[int], start: int, stop: int) -> bool:
    at = bisect.bisect_right(starts, start) - 1
    while at >= 0 and at < len(copied) and start < stop:
        if not copied[at][0] <= start < copied[at][1]:
            return False
        start, at = copied[at][1], at + 1
    return start >= stop


def _moved(
    extents: Sequence[Extent], old: int, new: int, pieces: Sequence[Piece], starts: Sequence[int]
) -> Iterator[Extent]:
    """The extents with those of the old pack where they are now; what touches is one."""
    last: Extent | None = None
    for extent in extents:
        for one in _split(extent, new, pieces, starts) if extent.pack == old else (extent,):
            if last is not None and (last.pack, last.offset + last.length) == (one.pack, one.offset):
                last = Extent(last.pack, last.offset, last.length + one.length)
                continue
            if last is not None:
                yield last
            last = one
    if last is not None:
        yield last


def _split(extent: Extent, new: int, pieces: Sequence[Piece], starts: Sequence[int]) -> Iterator[Extent]:
    at, offset, left = bisect.bisect_right(starts, extent.offset) - 1, extent.offset, extent.length
    while left:
        one = pieces[at]
        length = min(left, one.offset + one.length - offset)
        yield Extent(new, one.target + offset - one.offset, length)
        at, offset, left = at + 1, offset + length, left - length


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
