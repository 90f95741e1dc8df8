"""Of which chunks does a blob consist?

A recipe is a header of 32 bytes and an entry of 40 bytes a chunk: its blake3 and where it starts in the blob, so that
the chunk at any offset is found in a few reads however large the blob. It lies in a pack behind the bytes that it
describes (record kind RECIPE), so that packs alone tell which chunks they hold; between nodes it travels in windows of
the same bytes. All that is read here may come from a stranger and is checked. All integers are little-endian.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from storage.blobs.chunker import CHUNK_BYTES_MAX, Chunk, Cut
from storage.blobs.packs import RECIPE, read_body, records
from storage.errors import Damaged

HEADER_BYTES = 32
ENTRY_BYTES = 40
ENTRIES_MAX = 1 << 24
WINDOW_MAX = 4096
"""Entries that travel at once: about 256 MB of a blob."""

_HEADER = struct.Struct("<BB2xIQQ8s")
_ENTRY = struct.Struct("<32sQ")
_HERE = 1 << 63
_VERSION = 1


class Part(NamedTuple):
    """A chunk of a recipe. `here`: the bytes lie in the record ahead of the recipe, one after the other."""

    chunk: Chunk
    here: bool


class RecipeHead(NamedTuple):
    """`first` is the number of the first entry that follows: 0 in a pack, any in a window. `many` is of all, `sum` the
    xxh3_64 of the blob."""

    cut: Cut
    many: int
    size: int
    sum: bytes
    first: int = 0


def encode(cut: Cut, size: int, sum: bytes, parts: Sequence[Part]) -> bytes:
    """A whole recipe."""
    return encode_head(RecipeHead(cut, len(parts), size, sum)) + b"".join(
        [_ENTRY.pack(chunk.key, chunk.start | (_HERE if here else 0)) for chunk, here in parts]
    )


def many_of(length: int) -> int:
    """Of how many chunks a recipe of so many bytes tells."""
    return (length - HEADER_BYTES) // ENTRY_BYTES


def encode_head(head: RecipeHead) -> bytes:
    return _HEADER.pack(_VERSION, head.cut, head.many, head.size, head.first, head.sum)


def decode(data: bytes) -> tuple[RecipeHead, list[Part]]:
    """A whole recipe. Raises Damaged for one that does not describe a blob from its first byte to its last."""
    head = decode_head(data)
    if head.first or len(data) != HEADER_BYTES + head.many * ENTRY_BYTES:
        raise _broken()
    parts = list(_parts(data, head, head.many, head.size))
    if head.many and parts[0].chunk.start:
        raise _broken()
    return head, parts


def decode_window(data: bytes) -> tuple[RecipeHead, list[Part]]:
    """Entries from `first` on, and one more that only tells where the last of them ends, unless that is the blob's end.

    Raises Damaged.
    """
    head = decode_head(data)
    held, rest = divmod(len(data) - HEADER_BYTES, ENTRY_BYTES)
    ends = head.first + held == head.many
    if rest or held < 1 or held > WINDOW_MAX + 1 or head.first + held > head.many or (held == 1 and not ends):
        raise _broken()
    size = head.size if ends else _ENTRY.unpack_from(data, len(data) - ENTRY_BYTES)[1] & ~_HERE
    return head, list(_parts(data, head, held if ends else held - 1, size))


def decode_head(data: bytes) -> RecipeHead:
    if len(data) < HEADER_BYTES:
        raise _broken()
    version, cut, count, size, first, sum = _HEADER.unpack_from(data)
    if version != _VERSION or count > ENTRIES_MAX or cut not in tuple(Cut) or size >= _HERE:
        raise _broken()
    return RecipeHead(Cut(cut), count, size, sum, first)


def _parts(data: bytes, head: RecipeHead, held: int, stop: int) -> Iterator[Part]:
    """The first `held` entries; `stop` is where the last of them ends."""
    starts = [
        _ENTRY.unpack_from(data, at) for at in range(HEADER_BYTES, HEADER_BYTES + held * ENTRY_BYTES, ENTRY_BYTES)
    ]
    for (key, told), (_, following) in zip(starts, [*starts[1:], (b"", stop)], strict=True):
        start = told & ~_HERE
        length = (following & ~_HERE) - start
        if not 0 < length <= CHUNK_BYTES_MAX or start + length > head.size:
            raise _broken()
        yield Part(Chunk(start, length, key), bool(told & _HERE))


def window(read: Callable[[int, int], bytes], offset: int, many: int = WINDOW_MAX) -> bytes:
    """The window of a stored recipe, which `read(at, length)` reads, that begins with the chunk at `offset`.

    A few small reads and one large, however long the recipe is. Raises Damaged.
    """
    head = decode_head(read(0, HEADER_BYTES))
    low, high = 0, head.many
    while high - low > 1:
        middle = (low + high) // 2
        _, told = _ENTRY.unpack(read(HEADER_BYTES + middle * ENTRY_BYTES, ENTRY_BYTES))
        low, high = (middle, high) if told & ~_HERE <= offset else (low, middle)
    held = min(many + 1, head.many - low)
    body = read(HEADER_BYTES + low * ENTRY_BYTES, held * ENTRY_BYTES)
    return encode_head(head._replace(first=low)) + body


def chunk_keys(path: Path) -> Iterator[bytes]:
    """The chunks that lie in a pack file, as its recipes tell. None where it cannot be read."""
    with suppress(FileNotFoundError):
        found = records(path)
        for record in found[1] if found is not None else ():
            if record.kind == RECIPE:
                with suppress(Damaged):
                    _, parts = decode(read_body(path, record))
                    yield from (part.chunk.key for part in parts if part.here)


def _broken() -> Damaged:
    return Damaged("A recipe does not describe a blob.", "Restore its pack from a copy.")
