"""One fetch for all who ask for what has no room on the disk, in a bounded ring; who falls out of it goes on by a range
of its own, or ends as broken (E5, F8)."""

import io
from collections.abc import AsyncIterator, Buffer, Mapping

import pytest
import trio
import trio.testing

from cache.fills import sharing as rings
from cache.fills.flight import _Bypasses
from cache.fills.sharing import RING_BYTES_MAX, RINGS_MAX, Opened, Shared, Sharing
from storage.errors import Absent, Problem, UpstreamFailed
from tests.harness.upstreams import noise


class Given(io.BytesIO):
    """A source of these bytes, from an offset on."""

    def __init__(self, body: bytes, offset: int = 0, *, length: int | None = None, cut_at: int = -1) -> None:
        super().__init__(body[offset:] if cut_at < 0 else body[offset:cut_at])
        self.offset = offset
        self.length = len(body) - offset if length is None else length
        self.headers: Mapping[str, str] = {}
        self.status = 206 if offset else 200

    def readinto(self, buffer: Buffer, /) -> int:
        return super().readinto(buffer)

    def ready(self, seconds: float) -> bool:
        return True

    def abort(self) -> None:
        pass


class World:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.lone = _Bypasses(32)
        self.sharing = Sharing(nursery, self.lone)
        self.opened: list[int] = []
        self.body = noise(3_000_000)
        self.same = "v1"
        self.cut_at = -1
        self.length: int | None = None
        self.problem: Problem | None = None

    def open(self, offset: int) -> Opened:
        self.opened.append(offset)
        if self.problem is not None:
            raise self.problem
        return Opened(Given(self.body, offset, length=self.length, cut_at=self.cut_at), "about", self.same)

    async def join(self, key: bytes = b"k") -> Shared:
        shared = await self.sharing.join(key, self.open)
        assert shared is not None
        return shared


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World(nursery)
        nursery.cancel_scope.cancel()


async def rest(shared: Shared, piece: int = 50_000) -> bytes:
    found = b""
    async with shared:
        while data := await shared.read(piece):
            assert len(data) <= piece
            found += data
    return found


async def test_e5_two_hundred_who_ask_at_once_or_a_moment_later_are_one_fetch(world: World) -> None:
    found: list[bytes] = []

    async def one(number: int) -> None:
        found.append(await rest(await world.join(), 20_000 + 97 * number))

    async with trio.open_nursery() as nursery:
        for number in range(199):
            nursery.start_soon(one, number)
    await one(199)
    assert found == [world.body] * 200
    assert world.opened == [0]


async def test_it_stays_for_a_while_only_and_is_bounded(world: World, autojump_clock: trio.testing.MockClock) -> None:
    assert await rest(await world.join()) == world.body
    await trio.sleep(rings.STAY_SECONDS + 1)
    assert await rest(await world.join()) == world.body
    assert world.opened == [0, 0]
    for number in range(2 * RINGS_MAX):
        assert await rest(await world.join(b"%d" % number)) == world.body, "what only stays makes way"
    assert len(world.sharing._rings) <= RINGS_MAX
    readers = [await world.join(b"%d" % number) for number in range(30, 30 + RINGS_MAX)]
    for _ in range(2):
        alone = await world.join(b"one more")
        assert alone._ring not in world.sharing._rings.values(), "it fetches alone then"
        assert await rest(alone) == world.body
        assert alone._ring.held_bytes <= rings.LONE_BYTES_MAX
    for reader in readers:
        reader.close()


async def test_f8_who_is_slow_falls_out_of_the_ring_and_goes_on_alone(world: World) -> None:
    world.body = noise(RING_BYTES_MAX + (6 << 20))
    slow, fast = await world.join(), await world.join()
    begun = await slow.read(10_000)
    assert await rest(fast, 1 << 20) == world.body
    assert begun + await rest(slow, 1 << 20) == world.body
    assert world.opened == [0, 10_000], "one range of its own, from where it was"
    assert world.lone._free == 32


@pytest.mark.parametrize("why", ["it is another one now", "nothing tells", "its length is not told"])
async def test_f8_who_falls_out_where_nothing_says_that_it_is_the_same_ends_as_broken(world: World, why: str) -> None:
    world.body = noise(RING_BYTES_MAX + (6 << 20))
    world.same = "" if why == "nothing tells" else "v1"
    world.length = -1 if why == "its length is not told" else None
    slow, fast = await world.join(), await world.join()
    await slow.read(10_000)
    assert await rest(fast, 1 << 20) == world.body
    world.same = "v2"
    with pytest.raises(UpstreamFailed):
        await rest(slow)
    slow.close()
    await trio.testing.wait_all_tasks_blocked()
    assert world.lone._free == 32, "nothing is left open"


async def test_a_fetch_is_no_further_ahead_than_it_may_be_and_ends_with_its_last_reader(world: World) -> None:
    world.body = noise(RING_BYTES_MAX)
    one = await world.join()
    await one.read(1)
    await trio.sleep(0.1)
    (ring,) = world.sharing._rings.values()
    assert ring.written <= rings.AHEAD_BYTES_MAX + rings.PIECE_BYTES
    one.close()
    while world.sharing._rings:  # noqa: ASYNC110  # nobody tells
        await trio.sleep(0.01)
    assert world.lone._free == 32
    assert await rest(await world.join()) == world.body, "the next one begins anew"


async def test_b7_a_source_that_ends_early_ends_so_for_all_and_nothing_of_it_stays(world: World) -> None:
    world.cut_at = 100_000
    readers = [await world.join() for _ in range(3)]
    for reader in readers:
        with pytest.raises(UpstreamFailed, match="ended too early"):
            await rest(reader)
    world.cut_at = -1
    assert await rest(await world.join()) == world.body


async def test_what_cannot_be_had_is_told_to_all_who_wait(world: World) -> None:
    world.problem = Absent("There is none.")
    with pytest.raises(Absent):
        await world.join()
    world.problem = UpstreamFailed("It does not answer.")
    assert await world.sharing.join(b"k", world.open) is None
    world.problem = None
    assert await rest(await world.join()) == world.body
    assert world.lone._free == 32
