"""A next version from what is here and what a parent sends; parents that lie are refused (THREATS B7, F5)."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.asking.bodies import Source
from cache.fills import pieces
from cache.fills.flight import Flights
from cache.fills.keeper import ShelfKeeper
from cache.fills.pieces import Parent, PieceSource, Range, Unpacked, open_pieces, parse_ranges, ranges_text
from storage.blobs.chunker import Chunk, chunks, decide, key_of
from storage.blobs.intake import Staged
from storage.blobs.recipes import ENTRY_BYTES, HEADER_BYTES, Part, decode, decode_window, encode, window
from storage.blobs.shelf import BlobShelf
from storage.digest import sha256
from storage.errors import Absent, Damaged, UpstreamFailed
from storage.upkeep.composing import Composer
from tests.harness.caches import cache_at, drain
from tests.harness.versions import edited, model

OLD = model(size=17 << 20)
NEW = edited(OLD, 6 << 20, 2 << 20)


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, length: data[at : at + length]


def recipe_of(data: bytes) -> bytes:
    cut, edges = decide(reader(data), len(data))
    parts = [Part(chunk, True) for chunk in chunks(reader(data), len(data), edges)]
    return encode(cut, len(data), bytes(8), parts)


RECIPE = recipe_of(NEW)


class Body:
    """A source over bytes that gives them out in odd pieces."""

    def __init__(self, data: bytes) -> None:
        self.status, self.headers, self.offset, self.length = 200, dict[str, str](), 0, len(data)
        self._data = io.BytesIO(data)
        self.closed = False

    def readinto(self, buffer: memoryview) -> int:
        return self._data.readinto(buffer[:70_001])

    def ready(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Origin:
    """A parent that has NEW, and counts. `recipe` and `data` may be lies."""

    def __init__(self, recipe: bytes = RECIPE, data: bytes = NEW, many: int = 4096) -> None:
        self.recipe, self.data, self.many = recipe, data, many
        self.asked: list[list[Range]] = []
        self.windows = 0

    def parent(self) -> Parent:
        return Parent(self.told, self.sent)

    def told(self, offset: int) -> bytes:
        self.windows += 1
        return window(reader(self.recipe), offset, self.many)

    def sent(self, ranges: Sequence[Range]) -> Source:
        ranges = parse_ranges(ranges_text(ranges), len(NEW))
        self.asked.append(list(ranges))
        return Body(b"".join(self.data[at : at + length] for at, length in ranges))

    @property
    def bytes(self) -> int:
        return sum(length for ranges in self.asked for _, length in ranges)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[BlobShelf]:
    with cache_at(tmp_path) as (shelf, _):
        put(shelf, tmp_path, OLD)
        yield shelf


def put(shelf: BlobShelf, root: Path, data: bytes) -> None:
    (root / "staging").mkdir(exist_ok=True)
    with Staged(root / "staging") as staged:
        staged.write(data)
        staged.seal()
        shelf.put(staged)
    while Composer(shelf).work():
        pass


def read(source: Source, piece: int = 256 << 10) -> bytes:
    out, buffer = bytearray(), memoryview(bytearray(piece))
    while count := source.readinto(buffer):
        out += buffer[:count]
    return bytes(out)


def opened(origin: Origin, shelf: BlobShelf, offset: int = 0) -> PieceSource:
    source = open_pieces(origin.parent(), shelf, len(NEW), offset)
    assert source is not None
    return source


def test_only_what_is_new_is_fetched(shelf: BlobShelf) -> None:
    origin = Origin()
    source = opened(origin, shelf)
    assert read(source) == NEW
    assert (2 << 20) < origin.bytes < (2 << 20) + 600_000
    assert origin.bytes == source.fetched_bytes
    assert len(origin.asked) == 1


def test_windows_and_batches(shelf: BlobShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BATCH_BYTES_MAX", 1 << 20)
    origin = Origin(many=37)
    assert read(opened(origin, shelf), 10_007) == NEW
    assert origin.windows == -(-len(decode(RECIPE)[1]) // 37)
    assert 2 <= len(origin.asked) <= 4


@pytest.mark.parametrize("offset", [1, 6 << 20, (7 << 20) + 13, len(NEW) - 1])
def test_it_goes_on_from_any_offset(shelf: BlobShelf, offset: int) -> None:
    source = opened(Origin(), shelf, offset)
    assert source.offset <= offset
    assert read(source) == NEW[source.offset :]


def test_an_empty_node_fetches_whole(tmp_path: Path) -> None:
    with cache_at(tmp_path) as (empty, _):
        origin = Origin()
        assert open_pieces(origin.parent(), empty, len(NEW), 0) is None
        assert origin.windows == 0


def test_what_shares_nothing_is_fetched_whole(tmp_path: Path) -> None:
    with cache_at(tmp_path) as (shelf, _):
        put(shelf, tmp_path, model(99))
        assert open_pieces(Origin().parent(), shelf, len(NEW), 0) is None


def test_no_recipe_is_no_error(shelf: BlobShelf) -> None:
    def none(offset: int) -> bytes:
        raise Absent("no")

    assert open_pieces(Parent(none, Origin().sent), shelf, len(NEW), 0) is None


def test_a_chunk_that_was_evicted_or_rotted_meanwhile_is_fetched(shelf: BlobShelf) -> None:
    """E8: nothing damaged is handed on."""
    origin = Origin()
    source = opened(origin, shelf)
    (pack,) = shelf.packs()
    with shelf.path(pack.id).open("r+b") as file:
        file.seek(4096 + (12 << 20))
        file.write(os.urandom(8))
    assert read(source) == NEW
    assert len(origin.asked) == 2


def test_a_chunk_that_is_not_what_its_key_says_is_refused(shelf: BlobShelf) -> None:
    """B7, F5: before a byte of it is handed on."""
    lie = bytearray(NEW)
    lie[7 << 20] ^= 1
    source = opened(Origin(data=bytes(lie)), shelf)
    got = bytearray()
    buffer = memoryview(bytearray(1 << 16))
    while len(got) < 6 << 20:
        got += buffer[: source.readinto(buffer)]
    with pytest.raises(UpstreamFailed, match="not what its key says"):
        read(source)
    assert NEW.startswith(bytes(got))


def lies() -> dict[str, bytes]:
    head, parts = decode(RECIPE)
    entries = [RECIPE[at : at + ENTRY_BYTES] for at in range(HEADER_BYTES, len(RECIPE), ENTRY_BYTES)]
    swapped = [*entries[:5], entries[6], entries[5], *entries[7:]]
    far = Part(Chunk(0, 1 << 22, parts[0].chunk.key), True)
    return {
        "another size": encode(head.cut, len(NEW) + 1, head.sum, parts),
        "out of order": RECIPE[:HEADER_BYTES] + b"".join(swapped),
        "twice the same start": RECIPE[:HEADER_BYTES] + b"".join(entries[:1] * 2 + entries[2:]),
        "a huge chunk": encode(head.cut, len(NEW), head.sum, [far, *parts[100:]]),
        "no chunks": encode(head.cut, len(NEW), head.sum, []),
        "not from the beginning": encode(head.cut, len(NEW), head.sum, parts[1:]),
        "of another version": b"\x09" + RECIPE[1:],
        "noise": os.urandom(len(RECIPE)),
    }


@pytest.mark.parametrize("name", lies())
def test_hostile_recipes_are_refused(shelf: BlobShelf, name: str) -> None:
    """F5: a rogue parent's recipe costs a whole fetch, and nothing else."""
    raw = lies()[name]
    parent = Parent(lambda offset: raw[: HEADER_BYTES + 4097 * ENTRY_BYTES], Origin().sent)
    assert open_pieces(parent, shelf, len(NEW), 0) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_window_is_a_window_or_damaged(data: st.DataObject) -> None:
    raw = bytearray(window(reader(RECIPE), data.draw(st.integers(0, len(NEW) - 1)), data.draw(st.integers(1, 50))))
    whole = bytes(raw)
    head, parts = decode_window(whole)
    assert parts == decode(RECIPE)[1][head.first : head.first + len(parts)]
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[at] ^= data.draw(st.integers(1, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        _, parts = decode_window(bytes(raw))
    except Damaged:
        return
    assert all(0 < part.chunk.length <= 204_800 for part in parts)


def test_a_recipe_that_lies_of_the_whole_stores_nothing(shelf: BlobShelf, tmp_path: Path) -> None:
    """B7: every chunk right, the whole wrong: the last bytes are not released, and nothing is kept."""
    other = NEW[: 8 << 20] + OLD[8 << 20 : 8 << 20] + NEW[8 << 20 :][::-1]
    origin = Origin(recipe_of(other), other)

    async def fetch() -> None:
        async with trio.open_nursery() as nursery:
            flights = Flights(nursery, ShelfKeeper(shelf), tmp_path / "fills")
            named = {"sha256": sha256(NEW).hex()}
            fill = await flights.join(b"k", len(NEW), named, lambda at: opened(origin, shelf, at))
            with pytest.raises(UpstreamFailed, match="sha256"):
                await drain(fill)
            assert fill.available < len(NEW)
            nursery.cancel_scope.cancel()

    trio.run(fetch)
    assert shelf.holds(sha256(NEW)) is None
    assert shelf.holds(sha256(other)) is None


def test_a_flight_that_breaks_off_goes_on_in_pieces(shelf: BlobShelf, tmp_path: Path) -> None:
    origin = Origin()
    breaks = [6_500_000]

    def opener(at: int) -> Source:
        source = opened(origin, shelf, at)
        if not breaks:
            return source
        limit, seen, whole = breaks.pop(), 0, source.readinto

        def readinto(buffer: memoryview) -> int:
            nonlocal seen
            if seen > limit:
                raise UpstreamFailed("gone")
            count = whole(buffer)
            seen += count
            return count

        source.readinto = readinto  # type: ignore[method-assign]
        return source

    async def fetch() -> None:
        async with trio.open_nursery() as nursery:
            flights = Flights(nursery, ShelfKeeper(shelf), tmp_path / "fills")
            fill = await flights.join(b"k", len(NEW), {"sha256": sha256(NEW).hex()}, opener)
            assert await drain(fill) == NEW
            nursery.cancel_scope.cancel()

    trio.run(fetch)
    assert shelf.holds(sha256(NEW)) == len(NEW)
    assert len(origin.asked) == 2
    assert origin.asked[1][0][0] > 6_400_000  # what had come is not asked for again
    assert not breaks


def test_compressed_pieces_and_a_bomb() -> None:
    data = b"text " * 300_000
    packed = zstandard.ZstdCompressor(level=1).compress(data)
    assert read(Unpacked(Body(packed), len(data))) == data
    bomb = Unpacked(Body(zstandard.ZstdCompressor().compress(bytes(1 << 28))), 1000)
    assert bomb.readinto(memoryview(bytearray(1000))) == 1000
    with pytest.raises(UpstreamFailed):
        read(Unpacked(Body(packed[:50] + b"noise" + packed[50:]), len(data)))


@pytest.mark.parametrize("text", ["", "-", "1", "1-", "g-1", "1-1,", "0-0", "+1-1", "0-ffffffff", "1" * 20 + "-1",
                                  ",".join(["0-1"] * 129), "0-7fffff,0-7fffff"])  # fmt: skip
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(Damaged):
        parse_ranges(text, len(NEW))


def test_keys_are_blake3() -> None:
    assert key_of(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
