"""How does a next version travel between nodes as what is new in it?

A source like any other: the bytes of one object in order, from an offset on. Its parent tells, a window at a time, of
which chunks the object consists; those that lie in this node's cache are read there, the others are asked of the
parent, many ranges in one request. Every chunk is compared with its key before anything of it is handed on, and the
fetch that reads from here judges the whole by its sha256. A recipe that does not describe the announced object is
refused, and so is a chunk that is not what its key says.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple, cast

import zstandard

from cache.asking.bodies import Source
from storage.blobs.chunker import ARCHIVE_BYTES_MIN, CHUNK_BYTES_MAX, key_of
from storage.blobs.ledger import ChunkRow
from storage.blobs.recipes import ENTRY_BYTES, HEADER_BYTES, WINDOW_MAX, Part, RecipeHead, decode_window
from storage.blobs.shelf import BlobShelf
from storage.errors import Absent, Damaged, UpstreamFailed

BATCH_BYTES_MAX = 8 << 20
BATCH_RANGES_MAX = 128
"""Ranges of one request: the address that names them stays below 4 KB."""
HELD_SHARE_MIN = 0.05
"""Where less of an object is here it is fetched as a whole: sent from a file, not chunk by chunk."""
CODING = "entrepot-coding"
_READ_BYTES = 64 << 10
ZSTD = "zstd"
log = logging.getLogger("entrepot.cache")

Range = tuple[int, int]
"""(offset, length)"""


class Parent(NamedTuple):
    """How one object's parent is asked. Both block; they raise Absent where there is no recipe, UpstreamFailed."""

    recipe: Callable[[int], bytes]
    """The window of the recipe that begins with the chunk at an offset."""
    pieces: Callable[[Sequence[Range]], Source]
    """These ranges of the object, one behind the other."""


def open_pieces(parent: Parent, shelf: BlobShelf, size: int, offset: int) -> "PieceSource | None":
    """The object from the chunk at `offset` on, None where it is better fetched as a whole. Raises UpstreamFailed."""
    if size < ARCHIVE_BYTES_MIN or not 0 <= offset < size or not shelf.chunk_count():
        return None
    source = PieceSource(parent, shelf, size)
    try:
        share = source.begin(offset)
    except Absent:
        return None
    except Damaged as problem:
        log.warning("a parent's recipe was refused: %s", problem.message)
        return None
    return source if share >= HELD_SHARE_MIN else None


def windowed(raw: bytes, size: int, offset: int) -> tuple[RecipeHead, list[Part]]:
    """A window of the recipe of an object of `size` bytes, from the chunk at `offset` on. Raises Damaged."""
    head, parts = decode_window(raw)
    first = parts[0].chunk if parts else None
    if head.size != size or first is None or not first.start <= offset < first.start + first.length:
        raise Damaged("The recipe is that of another object.", "Ask for the whole.")
    if (head.first == 0) != (first.start == 0):
        raise Damaged("The recipe does not begin at the beginning.", "Ask for the whole.")
    return head, parts


def windows_bytes_max() -> int:
    """The most that a window takes on its way."""
    return HEADER_BYTES + (WINDOW_MAX + 1) * ENTRY_BYTES


class PieceSource:
    """An object put together from what is here and what its parent sends. `offset` is where its first chunk begins."""

    def __init__(self, parent: Parent, shelf: BlobShelf, size: int) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.offset = 0
        self.length = size
        self.fetched_bytes = 0
        """Of chunks that the parent sent, before they were compressed for the way."""
        self._parent = parent
        self._shelf = shelf
        self._size = size
        self._parts: list[tuple[Part, ChunkRow | None]] = []
        self._at = 0
        self._position = 0
        self._batch: Source | None = None
        self._left = 0
        self._held = memoryview(b"")
        self._aborted = False

    def begin(self, offset: int) -> float:
        """Ask for the first window; returns which share of it is here."""
        self._ask(offset)
        self.offset = self._position = self._parts[0][0].chunk.start
        self.length = self._size - self.offset
        held = sum(part.chunk.length for part, place in self._parts if place is not None)
        return held / max(1, sum(part.chunk.length for part, _ in self._parts))

    def _ask(self, offset: int) -> None:
        _, parts = windowed(self._parent.recipe(offset), self._size, offset)
        if self._parts and parts[0].chunk.start != offset:
            raise Damaged("The recipe has changed.", "Ask for the whole.")
        places = self._shelf.find_chunks([part.chunk.key for part in parts])
        self._parts = list(zip(parts, places, strict=True))
        self._at = 0

    # ------------------------------------------------------------ as a Source

    def readinto(self, buffer: memoryview) -> int:
        """Bytes of whole chunks that were compared with their keys."""
        if not self._held:
            if self._position >= self._size or self._aborted:
                return 0
            self._held = memoryview(self._next())
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def ready(self, seconds: float) -> bool:
        if self._held or self._batch is None:
            return True
        return self._batch.ready(seconds)

    def close(self) -> None:
        self._end_batch()

    def abort(self) -> None:
        self._aborted = True
        batch = self._batch
        if batch is not None:
            batch.abort()

    # ------------------------------------------------------------ chunk by chunk

    def _next(self) -> bytes | bytearray:
        """The next chunk. Raises UpstreamFailed."""
        try:
            if self._at == len(self._parts):
                self._end_batch()
                self._ask(self._position)
        except (Absent, Damaged) as problem:
            raise UpstreamFailed(f"The parent's recipe broke off: {problem.message}") from problem
        part, place = self._parts[self._at]
        data: bytes | bytearray | None = None
        if place is not None:
            data = self._shelf.read_chunk(place, part.chunk.key)
            if data is None:  # it was evicted or is damaged: from here on as if it had never been here
                self._end_batch()
                self._parts[self._at] = (part, None)
        if data is None:
            data = self._fetched(part)
        self._at += 1
        self._position += len(data)
        return data

    def _fetched(self, part: Part) -> bytearray:
        if self._batch is None:
            ranges = self._ranges()
            self._left = sum(length for _, length in ranges)
            self._batch = self._parent.pieces(ranges)
        data = bytearray(part.chunk.length)
        view, got = memoryview(data), 0
        while got < len(data):
            count = self._batch.readinto(view[got:])
            if not count:
                raise UpstreamFailed("The parent sent fewer bytes than it was asked for.", "Try again.")
            got += count
        if key_of(data) != part.chunk.key:
            raise UpstreamFailed("The parent sent a chunk that is not what its key says.", "Nothing was stored.")
        self._left -= got
        self.fetched_bytes += got
        if not self._left:
            self._end_batch()
        return data

    def _ranges(self) -> list[Range]:
        """What is missing from here on, neighbours in one, as much as one request asks for."""
        ranges: list[Range] = []
        total = 0
        for part, place in self._parts[self._at :]:
            if place is not None:
                continue
            start, length = part.chunk.start, part.chunk.length
            if ranges and ranges[-1][0] + ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
            elif len(ranges) < BATCH_RANGES_MAX:
                ranges.append((start, length))
            else:
                break
            total += length
            if total >= BATCH_BYTES_MAX:
                break
        return ranges

    def _end_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            if self._left == 0:  # its end is read, so that the connection can be used again
                with suppress(UpstreamFailed):
                    batch.readinto(memoryview(bytearray(1)))
            batch.close()


# ---------------------------------------------------------------- on the wire


def ranges_text(ranges: Sequence[Range]) -> str:
    """As they stand in an address: "offset-length,..." in hexadecimal digits."""
    return ",".join(f"{offset:x}-{length:x}" for offset, length in ranges)


def parse_ranges(text: str, size: int) -> list[Range]:
    """Raises Damaged for what `ranges_text` would not write for an object of `size` bytes."""
    ranges: list[Range] = []
    for one in text.split(",", BATCH_RANGES_MAX):
        offset, dash, length = one.partition("-")
        if not (dash and _is_hex(offset) and _is_hex(length)):
            raise Damaged("These are no ranges.", "")
        ranges.append((int(offset, 16), int(length, 16)))
    total = sum(length for _, length in ranges)
    if len(ranges) > BATCH_RANGES_MAX or total > BATCH_BYTES_MAX + CHUNK_BYTES_MAX:
        raise Damaged("These are more ranges, or larger ones, than one request may ask for.", "")
    if any(not length or offset + length > size for offset, length in ranges):
        raise Damaged("A range lies beyond the object.", "")
    return ranges


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= 15 and all(sign in "0123456789abcdef" for sign in text)


class Unpacked:
    """A source whose bytes come compressed. Nothing is undone before it is asked for: a bomb finds no room."""

    def __init__(self, body: Source, size: int) -> None:
        self.status = body.status
        self.headers = body.headers
        self.offset = 0
        self.length = size
        self._body = body
        undo = zstandard.ZstdDecompressor(max_window_size=1 << 23)
        self._plain = undo.stream_reader(cast("IO[bytes]", _Readable(body)), read_size=_READ_BYTES)

    def readinto(self, buffer: memoryview) -> int:
        try:
            return self._plain.readinto1(buffer)
        except zstandard.ZstdError as error:
            raise UpstreamFailed("The parent sent damaged zstd.") from error

    def ready(self, seconds: float) -> bool:
        return self._body.ready(seconds)

    def close(self) -> None:
        self._body.close()

    def abort(self) -> None:
        self._body.abort()


class _Readable:
    """A source as zstandard reads it."""

    def __init__(self, body: Source) -> None:
        self._body = body
        self._room = memoryview(bytearray(_READ_BYTES))

    def read(self, size: int) -> bytes:
        return bytes(self._room[: self._body.readinto(self._room[:size])])
