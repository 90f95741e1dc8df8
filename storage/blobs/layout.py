"""Which bytes of a cut blob are taken from packs that hold them already, and which are written anew?

Pure. Chunks that lie in a pack one behind the other become one extent, for an extent costs a system call each time it
is sent. What is shared in too small pieces, in too many packs or with too little gain is written anew instead.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storage.blobs.chunker import Chunk
from storage.blobs.ledger import ChunkRow
from storage.blobs.packs import Extent

EXTENT_BYTES_MIN = 32 << 10
EXTENT_BYTES_AVERAGE = 128 << 10
"""No blob is laid in extents that are smaller on average: it is sent as fast as a whole one then."""
EXTENTS_MAX = 4096
PACKS_MAX = 32
"""Packs that one blob may lie in: each is a descriptor while it is sent."""
GAIN_SHARE_MIN = 0.1


class Stretch(NamedTuple):
    """Chunks `first` up to `stop` (numbers), which are the bytes from `start` on; `at` is where they lie already, None
    where they must be written."""

    first: int
    stop: int
    start: int
    length: int
    at: Extent | None


def lay_out(chunks: Sequence[Chunk], places: Sequence[ChunkRow | None]) -> list[Stretch] | None:
    """The whole blob as stretches, shared and new ones; None where sharing is not worth it."""
    size = chunks[-1].start + chunks[-1].length if chunks else 0
    smallest = EXTENT_BYTES_MIN
    shared = [one for one in coalesced(chunks, places) if one.length >= smallest]
    best = Counter[int]()
    for one in shared:
        assert one.at is not None
        best[one.at.pack] += one.length
    chosen = {pack for pack, _ in best.most_common(PACKS_MAX - 1)}
    shared = [one for one in shared if one.at is not None and one.at.pack in chosen]
    laid = list(_with_new(chunks, shared))
    while shared and len(laid) > min(EXTENTS_MAX, max(1, size // EXTENT_BYTES_AVERAGE)):
        smallest *= 2
        shared = [one for one in shared if one.length >= smallest]
        laid = list(_with_new(chunks, shared))
    return laid if size and sum(one.length for one in shared) >= GAIN_SHARE_MIN * size else None


def coalesced(chunks: Sequence[Chunk], places: Sequence[ChunkRow | None]) -> Iterator[Stretch]:
    """The stretches of known chunks that lie together."""
    first, at = 0, None
    for number, place in enumerate(places):
        if at is not None and place is not None and (at.pack, at.offset + at.length) == place[:2]:
            at = Extent(at.pack, at.offset, at.length + place.length)
            continue
        if at is not None:
            yield Stretch(first, number, chunks[first].start, at.length, at)
        first, at = number, None if place is None else Extent(*place)
    if at is not None:
        yield Stretch(first, len(chunks), chunks[first].start, at.length, at)


def _with_new(chunks: Sequence[Chunk], shared: Sequence[Stretch]) -> Iterator[Stretch]:
    at = 0
    for one in shared:
        if one.first > at:
            yield _new(chunks, at, one.first)
        yield one
        at = one.stop
    if at < len(chunks):
        yield _new(chunks, at, len(chunks))


def _new(chunks: Sequence[Chunk], first: int, stop: int) -> Stretch:
    start, last = chunks[first].start, chunks[stop - 1]
    return Stretch(first, stop, start, last.start + last.length - start, None)
