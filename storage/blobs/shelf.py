"""Where are the bytes of a blob, and how do bytes become one?

A BlobShelf is a directory of packs and the tables that say what lies in them: the hosted shelf of an origin (durable)
and the cache shelf of a node are the same class. Its writer is used within a write transaction of its environment and
nowhere else, so that transaction is also the lock of the writer.

Small bodies (CHECKED_BYTES_MAX) are compared with their checksum when a process first finds them, larger ones by
`verify` and by whoever scrubs; what does not match is Damaged on the durable shelf and forgotten on the cache.
"""

import bisect
import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence, Set
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import lmdb
from xxhash import xxh3_64_digest

from storage import disk
from storage.blobs.appending import EVERYBODYS, Appender, Lane
from storage.blobs.chunker import key_of
from storage.blobs.intake import Staged
from storage.blobs.ledger import BlobRow, ChunkRow, Ledger, PackRow
from storage.blobs.packs import (
    BODY,
    PACK_HEADER_BYTES,
    RECORD_BYTES,
    SINGLE,
    SINGLE_START,
    PackHeader,
    PackWriter,
    Record,
    pack_header,
    single_headers,
)
from storage.blobs.recipes import chunk_keys
from storage.digest import Hasher
from storage.errors import Conflict, Damaged
from storage.index.gate import Gate
from storage.index.tables import BlobTables, Txn

PACK_BYTES_MAX = 256 << 20
CACHE_PACK_BYTES_MAX = 64 << 20
HANDLES_MAX = 256
CHECKED_BYTES_MAX = 64 << 10
_SOUND_MAX = 1 << 16
_CHUNKS_MAX = 1000
_READ_BYTES = 1 << 20


class Laid(tuple[tuple[int, int, int], ...]):
    """The extents of a blob, (descriptor, offset, length) in order."""

    @cached_property
    def starts(self) -> list[int]:
        """Where in the blob each of them begins."""
        return [0, *itertools.accumulate(length for _, _, length in self[:-1])]

    def slice(self, start: int, stop: int) -> tuple[tuple[int, int, int], ...]:
        """The extents of bytes start..stop, fewer at the end. Found by bisection, however many there are."""
        last = len(self) - 1
        if last < 0:
            return ()
        size = self.starts[last] + self[last][2]
        if start <= 0 and stop >= size:
            return self
        stop = min(stop, size)
        at, out = max(0, bisect.bisect_right(self.starts, start) - 1), []
        while start < stop:
            fd, offset, held = self[at]
            within = start - self.starts[at]
            taken = min(stop - start, held - within)
            if taken:
                out.append((fd, offset + within, taken))
            start, at = start + taken, at + 1
        return tuple(out)


class PackHandle:
    """An open pack. Closes when nobody refers to it any more, so a transfer outlives the pack's name."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            with suppress(OSError):
                os.close(self.fd)


class Located:
    """A blob ready to be sent: `extents` of (descriptor, offset, length), open for as long as this object lives, and
    `recipe` alike, None where it was not cut."""

    __slots__ = ("_handles", "cut", "extents", "recipe", "sha256", "size")

    def __init__(
        self, sha256: bytes, handles: tuple[PackHandle, ...], row: BlobRow, recipe: PackHandle | None = None
    ) -> None:
        self.sha256 = sha256
        self.size = row.size
        self.cut = row.cut
        self._handles = handles if recipe is None else (*handles, recipe)
        self.recipe: tuple[int, int, int] | None = None
        if recipe is not None and row.recipe is not None:
            self.recipe = (recipe.fd, row.recipe.offset, row.recipe.length)
        self.extents = Laid(
            (handle.fd, extent.offset, extent.length) for handle, extent in zip(handles, row.extents, strict=True)
        )

    def read(self) -> bytes:
        """All of it, for small ones."""
        return b"".join(disk.read_all(fd, length, offset) for fd, offset, length in self.extents)

    def pread(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, fewer only at the end. Blocking."""
        parts = [disk.read_all(fd, held, at) for fd, at, held in self.extents.slice(start, start + length)]
        return parts[0] if len(parts) == 1 else b"".join(parts)


class PackInfo(NamedTuple):
    """A pack as eviction and sweep see it: `bytes` on disk, `live_bytes` of blobs, `sealed` = never appended to. `lane`
    is the number of the Lane that it belongs to."""

    id: int
    bytes: int
    live_bytes: int
    created_ms: int
    sealed: bool
    lane: int = EVERYBODYS


class BlobShelf:
    """Blobs by sha256 in packs under `root`."""

    def __init__(
        self,
        root: Path,
        env: lmdb.Environment,
        tables: BlobTables,
        store: bytes,
        *,
        durable: bool,
        pack_bytes_max: int = PACK_BYTES_MAX,
        handles_max: int = HANDLES_MAX,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.env = env
        self.ledger = Ledger(tables)
        self.store = store
        self.durable = durable
        self.everybodys = Lane(EVERYBODYS, pack_bytes_max)
        """Where bodies go of which nothing else is said."""
        self._handles_max = handles_max
        self._handles: OrderedDict[int, PackHandle] = OrderedDict()
        self._lock = threading.Lock()
        self._gate = Gate(env)
        self._appender = Appender(root, self.ledger, store, durable=durable)
        self._next = 1
        self._sound: set[bytes] = set()

    def path(self, pack: int) -> Path:
        return self._appender.path(pack)

    def close(self) -> None:
        self._gate.close()
        self._appender.close()
        with self._lock:
            self._handles.clear()

    # ------------------------------------------------------------ reading

    def find(self, sha256: bytes, *, even_damaged: bool = False) -> Located | None:
        """The blob, or None where it is not here. Raises Damaged where a durable shelf holds it and it is broken.

        `even_damaged` is for who looks whether it still is.
        """
        try:
            known = None
            while True:
                with self.env.begin() as txn:
                    row = self.ledger.blob(txn, sha256)
                    if sha256 not in self._sound and not even_damaged and self.ledger.is_damaged(txn, sha256):
                        raise _damaged(sha256)
                if row is None:
                    return None
                try:
                    return self._checked(sha256, row, self.located(sha256, row))
                except FileNotFoundError:
                    if row == known:
                        raise Damaged("A pack that the index names is not there.", "Restore it.") from None
                    known = row  # it was laid anew between our two looks
        except Damaged:
            if self.durable:
                raise
        self.forget(sha256)
        return None

    def located(self, sha256: bytes, row: BlobRow) -> Located:
        """The bytes where a row says. Raises FileNotFoundError."""
        handles = {pack: self._handle(pack) for pack in {extent.pack for extent in row.extents}}
        recipe = self._handle(row.recipe.pack) if row.recipe is not None else None
        return Located(sha256, tuple(handles[extent.pack] for extent in row.extents), row, recipe)

    def _checked(self, sha256: bytes, row: BlobRow, located: Located) -> Located:
        if sha256 not in self._sound:
            self._check(sha256, row, located)
            if len(self._sound) >= _SOUND_MAX:
                self._sound.clear()
            self._sound.add(sha256)
        return located

    def _check(self, sha256: bytes, row: BlobRow, located: Located) -> None:
        if row.size <= CHECKED_BYTES_MAX:
            whole = xxh3_64_digest(located.read()) == row.sum
        else:
            whole = all(os.fstat(fd).st_size >= offset + length for fd, offset, length in located.extents)
        if not whole:
            raise _damaged(sha256)

    def _handle(self, pack: int) -> PackHandle:
        with self._lock:
            handle = self._handles.get(pack)
            if handle is not None:
                self._handles.move_to_end(pack)
                return handle
            handle = self._handles[pack] = PackHandle(self.path(pack))
            if len(self._handles) > self._handles_max:
                self._handles.popitem(last=False)
            return handle

    def trim(self) -> int:
        """Let go of packs that are gone from the disk, so that their room is given back; returns how many."""
        with self._lock:
            gone = [pack for pack, handle in self._handles.items() if not os.fstat(handle.fd).st_nlink]
            for pack in gone:
                del self._handles[pack]
        return len(gone)

    def verify(self, sha256: bytes) -> bool:
        """Read all of a blob and compare its sha256. On the cache a damaged one is forgotten. Slow: in a thread."""
        self._sound.discard(sha256)
        try:
            located = self.find(sha256)
        except Damaged:
            return False
        if located is None:
            return False
        hasher = Hasher()
        for fd, start, length in located.extents:
            for offset in range(start, start + length, _READ_BYTES):
                hasher.update(disk.read_all(fd, min(_READ_BYTES, start + length - offset), offset))
        if hasher.sha256 == sha256:
            return True
        self._sound.discard(sha256)
        if not self.durable:
            self.forget(sha256)
        return False

    def holds(self, sha256: bytes) -> int | None:
        """The size of a blob that is here, None where it is not. Looks at its row, not at its bytes."""
        with self.env.begin() as txn:
            row = self.ledger.blob(txn, sha256)
        return None if row is None else row.size

    def mark_damaged(self, sha256: bytes, damaged: bool) -> None:
        """A scrub found a hosted blob to be rotten, or whole again. Where nothing changes, nothing is locked."""
        self._sound.discard(sha256)
        with self.env.begin() as txn:
            if self.ledger.is_damaged(txn, sha256) == damaged:
                return
        with self._gate.writing() as txn:
            self.ledger.mark_damaged(txn, sha256, _now_ms() if damaged else 0)

    def doubt(self) -> None:
        """Some stored bytes were found to be rotten: nothing is taken for sound any more because it once was."""
        self._sound.clear()

    def after(self, sha256: bytes) -> bytes | None:
        """The next blob here in the order of their names; None behind the last."""
        with self.env.begin() as txn:
            return self.ledger.after(txn, sha256)

    # ------------------------------------------------------------ writing

    def put(self, staged: Staged, lane: Lane | None = None) -> None:
        """Keep a sealed Staged on the cache at once, everybody's or in a Lane. Raises Full. One that is here already
        stays the caller's.

        Hosted blobs come with the entry that names them, through the Committer alone.
        """
        assert staged.sha256, "only what was hashed can be kept"
        assert not self.durable, "hosted blobs come with an entry"
        if self.holds(staged.sha256) is not None:
            return
        self.prepare(staged)
        with disk.room("for this blob"):
            try:
                with self._gate.writing() as txn:
                    if self.ledger.has(txn, staged.sha256):
                        return
                    self._write_or_roll_back(txn, staged, lane)
            except lmdb.Error as error:
                if (problem := disk.judge_index(error, self.root, durable=self.durable)) is not None:
                    raise problem from error
                raise
        staged.keep()

    def _write_or_roll_back(self, txn: Txn, staged: Staged, lane: Lane | None) -> None:
        try:
            self.write(txn, [staged], lane)
        except BaseException:
            self.roll_back(txn)
            raise

    def prepare(self, staged: Staged) -> None:
        """Make a large Staged a single pack, durable and named, not yet known to the index. Slow: in a thread."""
        if not staged.is_large or staged.pack is not None:
            return
        assert staged.path is not None
        if self.durable:
            disk.settle(staged.descriptor(), "a pack")  # the long part, before a number is taken
        while staged.pack is None:
            number = self._reserve()
            header = PackHeader(number, SINGLE, SINGLE_START - RECORD_BYTES, _now_ms(), self.store)
            fd = staged.descriptor()
            with disk.room("for this upload"):
                disk.write_all(fd, single_headers(header, self._single(staged)), 0)
                if self.durable:
                    disk.settle(fd, "a pack")
                with suppress(FileExistsError):
                    os.link(staged.path, self.path(number))
                    if number < self._known():  # another's pack may have had it, been read by others, and been swept
                        self.path(number).unlink()
                    else:
                        staged.pack, staged.pack_id = self.path(number), number
        if self.durable:
            disk.settle_directory(self.root)

    def _known(self) -> int:
        with self.env.begin() as txn:
            return self.ledger.next(txn)

    def _single(self, staged: Staged) -> Record:
        return Record(staged.sha256, SINGLE_START, staged.size, staged.sum, BODY, _now_ms())

    def write(self, txn: Txn, staged: Sequence[Staged], lane: Lane | None = None) -> None:
        """Write these within a write transaction: bytes durable, then rows. Large ones must have been prepared.

        Raises OSError where there is no room; then, and where the transaction is given up, call `roll_back` within it.
        """
        now_ms, lane = _now_ms(), lane or self.everybodys
        if small := [(one.sha256, one.data()) for one in staged if one.pack is None]:
            self._appender.append(txn, lane, small, now_ms)
        for one in staged:
            if one.pack is not None:
                row = PackRow(True, now_ms, SINGLE_START + one.size, 0, lane.number)
                self.ledger.put_pack(txn, one.pack_id, row)
                self.ledger.add(txn, one.pack_id, [self._single(one)])

    def roll_back(self, txn: Txn) -> None:
        """Give back the room of what was appended and does not count, as far as `txn` says."""
        self._appender.roll_back(txn)

    # ------------------------------------------------------------ for sweep, under the write lock

    def seal(self, txn: Txn, pack: int) -> None:
        """Close an open pack, whoever writes to it: its writer is at rest, and looks at the row before it goes on.
        Raises Damaged where it is not there."""
        row = self.ledger.pack(txn, pack)
        assert row is not None, "a pack to be closed has its row"
        writer = PackWriter.open(self.path(pack), row.length, durable=self.durable)
        try:
            self._appender.seal(txn, writer, _now_ms())
        finally:
            writer.close()

    def begin(self, txn: Txn, avoid: Set[int]) -> PackWriter:
        """A pack to copy into, which its caller closes: one whose writer is gone (none of `avoid`), else a new one."""
        return self._appender.adopted(txn, avoid=avoid) or self._appender.created(txn, _now_ms())

    def bodies(self, pack: int, blobs: Sequence[tuple[bytes, BlobRow]]) -> list[tuple[bytes, bytes]]:
        """(sha256, body) of blobs that lie whole in a pack. Raises Damaged for one that does not match its sum."""
        try:
            handle = self._handle(pack)
        except FileNotFoundError:
            raise Damaged(f"Pack {pack:08x} is not there.", "Restore it from a copy.") from None
        found = []
        for sha256, row in blobs:
            body = disk.read_all(handle.fd, row.size, row.extents[0].offset)
            if len(body) != row.size or xxh3_64_digest(body) != row.sum:
                raise _damaged(sha256)
            found.append((sha256, body))
        return found

    def let_go(self, pack: int) -> None:
        """This pack is gone: its descriptor is not kept any longer than it is used."""
        with self._lock:
            self._handles.pop(pack, None)

    def rows(self, identities: Sequence[bytes]) -> list[BlobRow | None]:
        """How these blobs lie here, None for each that does not. A few microseconds each."""
        with self.env.begin() as txn:
            return [self.ledger.blob(txn, one) for one in identities]

    # ------------------------------------------------------------ chunks

    def chunk_count(self) -> int:
        """How many chunks have a place here."""
        with self.env.begin() as txn:
            return self.ledger.chunks(txn)

    def find_chunks(self, keys: Sequence[bytes]) -> list[ChunkRow | None]:
        """Where these chunks lie, None for each that is not here. A few microseconds each."""
        with self.env.begin() as txn:
            return [self.ledger.chunk(txn, key) for key in keys]

    def read_chunk(self, place: ChunkRow, key: bytes) -> bytes | None:
        """The bytes of a chunk; None where they went meanwhile, or are not what the key says. Blocking."""
        try:
            data = disk.read_all(self._handle(place.pack).fd, place.length, place.offset)
        except OSError:
            return None
        return data if key_of(data) == key else None

    def create_pack(self, kind: int) -> tuple[int, int]:
        """A new pack that nobody appends to: its number, and its file, locked, with the header. No row knows it."""
        while True:
            number = self._reserve()
            try:
                fd = disk.create_locked(self.path(number))
            except FileExistsError:
                continue
            if number < self._known():  # see `prepare`
                self.path(number).unlink()
                os.close(fd)
                continue
            disk.write_all(fd, pack_header(PackHeader(number, kind, PACK_HEADER_BYTES, _now_ms(), self.store)), 0)
            return number, fd

    def forget_chunks(self, pack: int) -> None:
        """Let nobody find chunks in a pack that is about to go, some at a time."""
        keys = chunk_keys(self.path(pack))
        while batch := list(itertools.islice(keys, _CHUNKS_MAX)):
            with self._gate.writing() as txn:
                self.ledger.drop_chunks(txn, pack, batch)

    def _reserve(self) -> int:
        """A number that this process has not used; another one may have."""
        with self._lock:
            number = max(self._next, self._known())
            self._next = number + 1
        return number

    # ------------------------------------------------------------ packs, for eviction and sweep

    def packs(self) -> list[PackInfo]:
        with self.env.begin() as txn:
            return [
                PackInfo(pack, row.length, row.live, row.created_ms, row.sealed, row.lane)
                for pack, row in self.ledger.packs(txn)
            ]

    def members(self, pack: int) -> list[tuple[bytes, int]]:
        """(sha256, size) of the blobs that lie in a pack."""
        with self.env.begin() as txn:
            return self.ledger.members(txn, pack)

    def drop(self, pack: int) -> None:
        """Forget a pack with its blobs, then unlink it. Raises Conflict where another process appends to it."""
        self.forget_chunks(pack)
        with self._gate.writing() as txn:
            row = self.ledger.pack(txn, pack)
            if not self._appender.let_go_of(pack) and row is not None and not row.sealed:
                self._claim(pack, row)
            self._sound.difference_update(sha256 for sha256, _ in self.ledger.members(txn, pack))
            self.ledger.drop_pack(txn, pack)
        self.path(pack).unlink(missing_ok=True)
        self.let_go(pack)

    def retire(self, pack: int) -> bool:
        """Close an open pack of the cache that nobody will go on with; False where somebody appends to it."""
        assert not self.durable, "a hosted one is gone on with"
        with disk.room("to close a pack"), self._gate.writing() as txn:
            row = self.ledger.pack(txn, pack)
            if row is None or row.sealed:
                return False
            writer = PackWriter.adopt(self.path(pack), row.length, durable=False)
            if writer is None:
                return False
            try:
                self._appender.seal(txn, writer, _now_ms())
            finally:
                writer.close()
        return True

    def _claim(self, pack: int, row: PackRow) -> None:
        """Nobody else may be appending to it. Raises Conflict."""
        if self.durable:
            raise Conflict("This pack is not sealed.", "Try again when it is.")
        if self.path(pack).exists():
            writer = PackWriter.adopt(self.path(pack), row.length, durable=False)
            if writer is None:
                raise Conflict("This pack is being written to.", "Try again when it is sealed.")
            writer.close()

    def move(self, sha256: bytes, lane: Lane | None = None) -> bool:
        """Write a blob of a shared pack once more, into the current pack. False where it is gone or has its own."""
        assert not self.durable, "hosted packs may have a tail that is journaled and not yet indexed"
        located, lane = self.find(sha256), lane or self.everybodys
        if located is None:
            return False
        with disk.room("for this blob"), self._gate.writing() as txn:
            row = self.ledger.blob(txn, sha256)
            if row is None or len(self.ledger.members(txn, row.extents[0].pack)) == 1:
                return False
            now_ms = _now_ms()
            if self._appender.writer(txn, lane, now_ms).header.id == row.extents[0].pack:
                return False
            body = located.read()
            self.ledger.remove(txn, sha256)
            self._appender.append(txn, lane, [(sha256, body)], now_ms)
        return True

    def forget(self, *blobs: bytes) -> None:
        """Drop the rows of blobs; their bytes go with their packs."""
        with self._gate.writing() as txn:
            for sha256 in blobs:
                self.ledger.remove(txn, sha256)
        self._sound.difference_update(blobs)

    def settle_all(self) -> None:
        """Make every pack durable: what a clean end of a cache is."""
        for path in self.root.glob("*.pack"):
            with suppress(FileNotFoundError):
                handle = PackHandle(path)
                os.fdatasync(handle.fd)


def _damaged(sha256: bytes) -> Damaged:
    return Damaged(f"The stored bytes of {sha256.hex()} are damaged.", "Publish them again, or restore their pack.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
