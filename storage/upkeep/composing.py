"""How does a stored blob come to share its bytes with others, and to tell which chunks it has?

A large upload is stored whole and acknowledged; afterwards, and in no hurry, a thread of one process looks at it. What
gains nothing stays as it is. Else its chunks become known where they lie, so that the next version finds them; and
where enough of them was here before, it is composed: what is new goes to a pack of its own, the rest stays where it
was, and the whole copy goes. Before it goes, the composed bytes are read and must have the blob's sha256: nothing is
built on a rotten chunk. Order: new pack durable, then the index, then the old pack unlinked; what a killed process
leaves is a pack that no row names, which the next start removes, or a blob that is looked at again.

On a cache nothing is composed, since there whole packs are forgotten: chunks only become known.
"""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lmdb
import trio
from xxhash import xxh3_64

from storage import disk
from storage.blobs.chunker import Chunk, Cut, Read, chunks, decide
from storage.blobs.layout import Stretch, lay_out
from storage.blobs.ledger import BlobRow, ChunkRow, PackRow
from storage.blobs.packs import (
    COMPOSED,
    PACK_HEADER_BYTES,
    RECIPE,
    RECORD_BYTES,
    RUN,
    SINGLE_START,
    Extent,
    Record,
    next_record,
    record_bytes,
    record_header,
)
from storage.blobs.recipes import Part, encode
from storage.blobs.shelf import BlobShelf, Located
from storage.digest import Hasher
from storage.errors import Damaged, Problem
from storage.upkeep.sweep import unheld

BLOB_BYTES_MAX = 16 << 30
"""Larger blobs stay whole: their list of chunks is held in memory while they are cut."""
ROWS_MAX = 1000
"""Rows of one transaction: nobody who publishes waits long for it."""
BATCH_MAX = 16
LOOK_SECONDS = 0.5
PAUSE_SECONDS = 30.0
_READ_BYTES = 1 << 20
log = logging.getLogger("entrepot.storage")


class _Stopped(Exception):
    """The process ends: what was begun is looked at again by the next."""


class Written(NamedTuple):
    """A composed pack on the disk and its records. Locked through `fd`, so that nobody takes it for abandoned."""

    number: int
    fd: int
    run: Record
    recipe: Record


class Composer:
    """Cuts what was stored on a shelf. One of these works on a shelf at a time; blocking, for a thread."""

    def __init__(self, shelf: BlobShelf) -> None:
        self._shelf = shelf
        self._ledger = shelf.ledger
        self.stopping = False
        """Set by whoever cannot wait any longer: the blob that is worked on stays as it was."""

    def work(self) -> int:
        """Look at some blobs that nobody has looked at; returns how many there were."""
        with self._shelf.env.begin() as txn:
            waiting = self._ledger.uncut(txn, BATCH_MAX)
        for sha256 in waiting:
            try:
                self.look_at(sha256)
            except _Stopped:
                return 0
            except Damaged as problem:
                log.error("a blob cannot be cut: %s", problem)
                self._settle(sha256, Cut.UNDECIDED)
        return len(waiting)

    def look_at(self, sha256: bytes) -> None:
        """Cut one blob, if that gains anything. Raises Damaged where its bytes are not what its row says, Full."""
        with self._shelf.env.begin() as txn:
            row = self._ledger.blob(txn, sha256)
        located = self._shelf.find(sha256)
        if row is None or located is None or row.recipe is not None or len(row.extents) != 1:
            self._settle(sha256, row.cut if row is not None else Cut.UNDECIDED)
            return
        read = self._reading(located)
        cut, edges = decide(read, row.size)
        if cut <= Cut.PACKED or row.size > BLOB_BYTES_MAX or row.extents[0].offset != SINGLE_START:
            self._settle(sha256, min(cut, Cut.PACKED))
            return
        try:
            found = list(chunks(read, row.size, edges))
        except EOFError:
            raise Damaged(f"The stored bytes of {sha256.hex()} are cut off.", "Restore their pack.") from None
        stretches = lay_out(found, self._places(found, row.extents[0].pack)) if self._shelf.durable else None
        with disk.room("to cut a blob"):
            if stretches is None:
                self._register(sha256, row, cut, found)
            elif not self._compose(sha256, row, read, cut, found, stretches):
                self._register(sha256, row, cut, found, instead=True)

    def _reading(self, located: Located) -> Read:
        def read(start: int, length: int) -> bytes:
            if self.stopping:
                raise _Stopped
            return located.pread(start, length)

        return read

    def _settle(self, sha256: bytes, cut: Cut) -> None:
        """It stays whole."""
        with self._shelf.env.begin(write=True) as txn:
            row = self._ledger.blob(txn, sha256)
            if row is not None:
                self._ledger.lay(txn, sha256, row._replace(cut=cut))
            else:
                self._ledger.remove(txn, sha256)

    def _places(self, found: Sequence[Chunk], own: int) -> list[ChunkRow | None]:
        """Where these chunks lie, not counting the blob's own pack."""
        places: list[ChunkRow | None] = []
        for at in range(0, len(found), ROWS_MAX):
            with self._shelf.env.begin() as txn:
                for chunk in found[at : at + ROWS_MAX]:
                    place = self._ledger.chunk(txn, chunk.key)
                    usable = place is not None and place.pack != own and place.length == chunk.length
                    places.append(place if usable else None)
        return places

    # ------------------------------------------------------------ whole, with its chunks known

    def _register(
        self, sha256: bytes, row: BlobRow, cut: Cut, found: Sequence[Chunk], *, instead: bool = False
    ) -> None:
        """Leave the blob where it is, write its recipe behind it, and let its chunks be found; `instead` of what is
        known of them, which was not to be relied on."""
        (extent,) = row.extents
        with self._shelf.env.begin() as txn:
            pack = self._ledger.pack(txn, extent.pack)
        if pack is None:
            return
        at = next_record(pack.length)
        body = encode(cut, row.size, row.sum, [Part(chunk, True) for chunk in found])
        record, written = record_bytes(at, sha256, body, RECIPE, _now_ms())
        fd = self._opened(extent.pack)
        if fd < 0:
            return
        try:
            disk.write_all(fd, written, at)
            if self._shelf.durable:
                disk.settle(fd, "a pack")
        finally:
            os.close(fd)
        with self._shelf.env.begin(write=True) as txn:
            if self._ledger.blob(txn, sha256) != row or self._ledger.pack(txn, extent.pack) != pack:
                return  # it went, or moved, meanwhile
            self._ledger.grow(txn, extent.pack, record.stop, sealed=True)
            recipe = Extent(extent.pack, record.offset, record.length)
            self._ledger.lay(txn, sha256, row._replace(cut=cut, recipe=recipe))
        self._put_chunks(
            [(chunk.key, ChunkRow(extent.pack, extent.offset + chunk.start, chunk.length)) for chunk in found],
            instead=instead,
        )

    def _opened(self, pack: int) -> int:
        """A pack to write behind its blob, -1 where it was forgotten meanwhile. Raises Damaged where it is known all
        the same: whoever comes next in the queue does not wait for it."""
        try:
            return os.open(self._shelf.path(pack), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            with self._shelf.env.begin() as txn:
                if self._ledger.pack(txn, pack) is None:
                    return -1
            raise Damaged("A pack that the index names is not there.", "Restore it.") from None

    def _put_chunks(self, rows: Sequence[tuple[bytes, ChunkRow]], *, instead: bool = False) -> None:
        """Let these chunks be found, where they are not already elsewhere."""
        for at in range(0, len(rows), ROWS_MAX):
            with self._shelf.env.begin(write=True) as txn:
                for key, row in rows[at : at + ROWS_MAX]:
                    if instead or self._ledger.chunk(txn, key) is None:
                        self._ledger.put_chunk(txn, key, row)

    # ------------------------------------------------------------ composed of what was here and what is new

    def _compose(
        self,
        sha256: bytes,
        row: BlobRow,
        read: Read,
        cut: Cut,
        found: Sequence[Chunk],
        stretches: Sequence[Stretch],
    ) -> bool:
        """False where it cannot be: what it would rest on is damaged, or went meanwhile."""
        written = self._write(sha256, row, read, cut, found, stretches)
        laid, fresh = _rows(written, row, cut, found, stretches)
        counts = False
        try:
            counts = self._proves(sha256, laid) and self._swap(sha256, row, laid, written)
        finally:
            if not counts:
                self._shelf.path(written.number).unlink(missing_ok=True)
            os.close(written.fd)
        if counts:
            self._put_chunks(fresh)
        return counts

    def _write(
        self,
        sha256: bytes,
        row: BlobRow,
        read: Read,
        cut: Cut,
        found: Sequence[Chunk],
        stretches: Sequence[Stretch],
    ) -> Written:
        """The composed pack, durable and named, not yet known to the index."""
        number, fd = self._shelf.create_pack(COMPOSED)
        try:
            at = next_record(PACK_HEADER_BYTES)
            length, state = 0, xxh3_64()
            reach = disk.Writeback(at + RECORD_BYTES)
            for one in stretches:
                if one.at is not None:
                    continue
                for start in range(one.start, one.start + one.length, _READ_BYTES):
                    data = read(start, min(_READ_BYTES, one.start + one.length - start))
                    disk.write_all(fd, data, at + RECORD_BYTES + length)
                    state.update(data)
                    length += len(data)
                    reach.reach(fd, at + RECORD_BYTES + length)
            run = Record(sha256, at + RECORD_BYTES, length, state.digest(), RUN, _now_ms())
            disk.write_all(fd, record_header(run), at)
            new = {number for one in stretches if one.at is None for number in range(one.first, one.stop)}
            body = encode(cut, row.size, row.sum, [Part(chunk, number in new) for number, chunk in enumerate(found)])
            recipe, tail = record_bytes(next_record(run.stop), sha256, body, RECIPE, _now_ms())
            disk.write_all(fd, tail, next_record(run.stop))
            disk.settle(fd, "a pack")
            disk.settle_directory(self._shelf.root)
        except BaseException:
            self._shelf.path(number).unlink(missing_ok=True)
            os.close(fd)
            raise
        return Written(number, fd, run, recipe)

    def _proves(self, sha256: bytes, laid: BlobRow) -> bool:
        """Do the bytes where they are to be read from now on have the blob's name?"""
        hasher = Hasher()
        try:
            read = self._reading(self._shelf.located(sha256, laid))
        except FileNotFoundError:
            return False
        for start in range(0, laid.size, _READ_BYTES):
            hasher.update(read(start, min(_READ_BYTES, laid.size - start)))
        if hasher.sha256 != sha256:
            log.error("chunks of blob %s are damaged where they lie: it keeps its own copy", sha256.hex())
        return hasher.sha256 == sha256

    def _swap(self, sha256: bytes, row: BlobRow, laid: BlobRow, written: Written) -> bool:
        """From now on it is there; False where what it rests on went meanwhile. Its own copy goes if nobody else's."""
        (old,) = row.extents
        with self._shelf.env.begin(write=True) as txn:
            packs = {extent.pack for extent in laid.extents} - {written.number}
            if self._ledger.blob(txn, sha256) != row or any(self._ledger.pack(txn, one) is None for one in packs):
                return False
            self._ledger.put_pack(txn, written.number, PackRow(True, written.run.at_ms, written.recipe.stop, 0))
            self._ledger.lay(txn, sha256, laid)
        self._give_back(old.pack)
        return True

    def _give_back(self, pack: int) -> None:
        """Unlink a pack in which nothing lives any more. Where somebody walks the files, sweep does it later."""
        hold = unheld(self._shelf.root.parent)
        if hold < 0:
            return
        try:
            with self._shelf.env.begin(write=True) as txn:
                if self._ledger.members(txn, pack):
                    return
                self._ledger.drop_pack(txn, pack)
                self._shelf.path(pack).unlink(missing_ok=True)
        finally:
            os.close(hold)
        self._shelf.let_go(pack)


class Composing:
    """The service: of all processes of a node, the one that holds the lock cuts what was stored."""

    def __init__(self, root: Path, shelves: Sequence[BlobShelf]) -> None:
        self._lock = root / "compose.lock"
        self._composers = [Composer(shelf) for shelf in shelves]

    async def run(self) -> None:
        """Look until cancelled."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                done = await self._turn() if disk.lock(fd) else 0
                await trio.sleep(0 if done else LOOK_SECONDS)
        finally:
            os.close(fd)

    async def _turn(self) -> int:
        """One look at each shelf. Told to stop, a thread is waited for: nobody may close the tables under it."""
        done = 0
        for one in self._composers:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_stop_when_cancelled, one)
                    with trio.CancelScope(shield=True):
                        done += await trio.to_thread.run_sync(one.work)
                    nursery.cancel_scope.cancel()
            except* (Problem, OSError, lmdb.Error) as problems:
                log.error("large blobs cannot be cut: %s", problems.exceptions[0])
                await trio.sleep(PAUSE_SECONDS)
            one.stopping = False
        return done


async def _stop_when_cancelled(composer: Composer) -> None:
    try:
        await trio.sleep_forever()
    finally:
        composer.stopping = True


def _rows(
    written: Written, row: BlobRow, cut: Cut, found: Sequence[Chunk], stretches: Sequence[Stretch]
) -> tuple[BlobRow, list[tuple[bytes, ChunkRow]]]:
    """The blob's new row, and those of the chunks that were written."""
    at, saved = written.run.offset, 0
    extents: list[Extent] = []
    fresh = []
    for one in stretches:
        if one.at is not None:
            extents.append(one.at)
            saved += one.length
            continue
        extents.append(Extent(written.number, at, one.length))
        for chunk in found[one.first : one.stop]:
            fresh.append((chunk.key, ChunkRow(written.number, at + chunk.start - one.start, chunk.length)))
        at += one.length
    recipe = Extent(written.number, written.recipe.offset, written.recipe.length)
    return BlobRow(row.size, row.sum, tuple(extents), cut, saved, recipe), fresh


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
