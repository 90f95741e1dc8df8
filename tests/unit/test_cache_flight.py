"""Is there one fetch for any number of waiters, and does nobody get a byte too many of what is not verified?"""

import errno
import io
import os
import threading
from collections.abc import Buffer, Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

import pytest
import trio

from cache.asking.bodies import Source
from cache.asking.upstream import Remote
from cache.fills import filling, spool
from cache.fills.filling import HOLD_BYTES, released
from cache.fills.flight import FAR_BYTES, Fill, Flights
from cache.fills.keeper import Keeper
from cache.fills.spool import Slot
from storage.blobs.shelf import BlobShelf
from storage.errors import Absent, Full, Unavailable, UpstreamFailed
from tests.harness.caches import cache_at, drain, spawn_fetch
from tests.harness.upstreams import Item, Upstream, digests_of, noise, upstream

SIZE = 1_500_000


class Node:
    """One worker process: its cache, a client, an upstream, and flights in the test's own nursery."""

    def __init__(self, root: Path, shelf: BlobShelf, keeper: Keeper, server: Upstream) -> None:
        self.root = root
        self.shelf = shelf
        self.keeper = keeper
        self.server = server
        self.remote = Remote(connect_seconds_max=2, silence_seconds_max=5)

    def opener(self, path: str = "/f") -> Callable[[int], Source]:
        return lambda offset: self.remote.open_stream(self.server.url + path, offset=offset, private_network=True)

    def stored(self, body: bytes) -> bytes | None:
        located = self.shelf.find(bytes.fromhex(digests_of(body)["sha256"]))
        if located is None:
            return None
        return b"".join(os.pread(fd, length, offset) for fd, offset, length in located.extents)

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in (self.root / "fills").iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with upstream() as server, cache_at(tmp_path / "cache") as (shelf, keeper):
        one = Node(tmp_path / "cache", shelf, keeper, server)
        yield one
        one.remote.close()


@pytest.fixture
def flights(node: Node, nursery: trio.Nursery) -> Flights:
    return Flights(nursery, node.keeper, node.root / "fills")


async def settled(flights: Flights, key: bytes = b"key") -> None:
    """Until the flight is cleared away."""
    for _ in range(2000):
        if flights.running(key) is None:
            return
        await trio.sleep(0.002)
    raise AssertionError("a flight stays")


# ---------------------------------------------------------------- the good way


@pytest.mark.parametrize("size", [0, 1, 1000, HOLD_BYTES, HOLD_BYTES + 1, SIZE, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_object_is_streamed_and_stored(node: Node, flights: Flights, size: int, chunked: bool) -> None:
    body = noise(size)
    node.server.items["/f"] = Item(body, chunked=chunked)
    fill = await flights.join(b"key", -1, digests_of(body), node.opener())
    assert fill.size in ((None, size) if chunked else (size,))
    assert await drain(fill) == body
    assert (await fill.done()).hex() == digests_of(body)["sha256"]
    assert fill.size == size
    assert node.stored(body) == body
    await settled(flights)
    assert node.leftovers() == []


async def test_b6_two_hundred_waiters_and_one_fetch(node: Node, flights: Flights, nursery: trio.Nursery) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=700_000)
    results: list[bytes] = []
    opened = 0

    async def client(number: int) -> None:
        nonlocal opened
        fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
        opened += 1
        if opened == 100:
            item.gate.set()  # half of them join while it flows
        results.append(await drain(fill))

    async with trio.open_nursery() as clients:
        for number in range(200):
            clients.start_soon(client, number)
    assert results == [body] * 200
    assert node.server.count("/f") == 1


async def test_o4_the_first_bytes_are_there_before_the_last(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=400_000)
    fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    assert fill.size == SIZE
    while fill.available < 400_000:
        await fill.wait(fill.available)
    assert os.pread(fill.descriptor, 400_000, fill.start) == body[:400_000]
    assert fill.available == 400_000
    item.gate.set()
    assert await drain(fill) == body


async def test_o6_a_fill_outlives_the_client_that_began_it(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=400_000)
    with trio.CancelScope() as leaving:
        fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
        await fill.wait(0)
        leaving.cancel()
        await fill.wait(SIZE - 1)
    assert leaving.cancelled_caught
    item.gate.set()
    joined = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    assert await drain(joined) == body
    assert node.server.count("/f") == 1


async def test_o6_a_thread_that_comes_too_late_asks_nobody_and_leaves_the_fetch_to_others(
    node: Node, flights: Flights
) -> None:
    fill = Fill(b"key", node.keeper.header_bytes, node.opener(), flights._bypasses)
    fill.stopping = True
    slot = Slot(node.root / "fills", b"key", node.keeper.header_bytes)
    assert slot.lead()
    end = filling.Filling(slot, fill, node.opener(), 5, {}, node.keeper, seconds_max=60).run()
    assert (end.terminal, node.server.asked) == (False, [])
    assert Slot(node.root / "fills", b"key", node.keeper.header_bytes).lead()


async def test_whatever_has_come_is_told_when_the_source_pauses(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=1)
    fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    assert await fill.wait(0) == 1
    item.gate.set()
    assert await drain(fill) == body


def test_a_buffer_is_in_one_fetch_at_a_time_and_then_in_the_next() -> None:
    with filling._buffers.one(1000) as first, filling._buffers.one(1000) as second:
        assert first.obj is not second.obj
        assert (len(first), len(second)) == (1000, 1000)
    with filling._buffers.one(5) as again:
        assert again.obj in (first.obj, second.obj)


async def test_a_descriptor_outlives_the_flight_and_the_pack(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body)
    fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    await fill.done()
    await settled(flights)
    for pack in node.shelf.packs():
        node.shelf.drop(pack.id)
    assert node.stored(body) is None
    assert os.pread(fill.descriptor, SIZE, fill.start) == body


async def test_what_was_stored_meanwhile_is_not_fetched_again(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body)
    first = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    await first.done()
    await settled(flights)
    again = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    assert await drain(again) == body
    assert node.server.count("/f") == 1


async def test_who_asked_is_told_what_to_remember(node: Node, flights: Flights) -> None:
    body = noise(1000)
    node.server.items["/f"] = Item(body)
    remembered: list[tuple[str, int]] = []
    fill = await flights.join(
        b"key", -1, {}, node.opener(), lambda sha256, size: remembered.append((sha256.hex(), size))
    )
    await fill.done()
    assert remembered == [(digests_of(body)["sha256"], 1000)]


async def test_every_announced_digest_counts(node: Node, flights: Flights) -> None:
    body = noise(1000)
    node.server.items["/f"] = Item(body)
    wrong = {**digests_of(body), "sha512": "00" * 64}
    with pytest.raises(UpstreamFailed, match="sha512"):
        await drain(await flights.join(b"key", -1, wrong, node.opener()))
    await settled(flights)
    assert await drain(await flights.join(b"key", -1, {"unknown": "1", **digests_of(body)}, node.opener())) == body


# ---------------------------------------------------------------- B7, D1: the bad way


@pytest.mark.parametrize(("written", "size", "out"), [
    (0, 0, 0), (1, 1, 0), (999, 1000, 999), (1000, 1000, 999), (HOLD_BYTES, HOLD_BYTES, HOLD_BYTES - 1),
    (SIZE, SIZE, SIZE - HOLD_BYTES), (10, SIZE, 10), (1000, -1, 0), (SIZE, -1, SIZE - HOLD_BYTES),
])  # fmt: skip
def test_how_much_may_leave_before_it_is_verified(written: int, size: int, out: int) -> None:
    assert released(written, size) == out


@pytest.mark.parametrize("size", [1, 1000, HOLD_BYTES + 1, SIZE])
async def test_d1_a_wrong_last_byte_reaches_nobody(node: Node, flights: Flights, size: int) -> None:
    body = noise(size)
    node.server.items["/f"] = Item(body, wrong_last=True)
    fills: list[Fill] = []

    async def consume() -> None:
        fills.append(await flights.join(b"key", size, digests_of(body), node.opener()))
        await drain(fills[-1])

    async def client() -> None:
        with pytest.raises(UpstreamFailed):
            await consume()

    async with trio.open_nursery() as clients:
        for _ in range(5):
            clients.start_soon(client)
    assert all(fill.available <= size - (HOLD_BYTES if size > HOLD_BYTES else 1) for fill in fills)
    await settled(flights)
    assert node.shelf.packs() == []
    assert node.leftovers() == []
    node.server.items["/f"] = Item(body)
    assert await drain(await flights.join(b"key", size, digests_of(body), node.opener())) == body


@pytest.mark.parametrize("cut", [0, 1, HOLD_BYTES, 700_000, SIZE - 1])
async def test_b7_a_cut_stores_nothing_and_the_next_request_begins_anew(node: Node, flights: Flights, cut: int) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body, cut_at=cut, ranges=False)
    with pytest.raises(UpstreamFailed):
        await drain(await flights.join(b"key", SIZE, {}, node.opener()))
    await settled(flights)
    assert node.shelf.packs() == []
    assert node.leftovers() == []
    node.server.items["/f"] = Item(body)
    assert await drain(await flights.join(b"key", SIZE, {}, node.opener())) == body


async def test_f8_a_cut_is_continued_by_a_range_where_a_digest_will_judge(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body, cut_at=600_000)
    assert await drain(await flights.join(b"key", SIZE, digests_of(body), node.opener())) == body
    assert [one.headers.get("range") for one in node.server.asked] == [None, "bytes=600000-", "bytes=1200000-"]


async def test_a_source_that_never_gets_further_fails(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body, cut_at=600_000, ranges=False)
    with pytest.raises(UpstreamFailed):
        await drain(await flights.join(b"key", SIZE, digests_of(body), node.opener()))
    assert node.server.count("/f") == 2


@pytest.mark.parametrize(
    ("item", "size"), [(Item(noise(1000)), 999), (Item(noise(1000)), 1001), (Item(noise(90_000), chunked=True), 89_999)]
)
async def test_d1_another_length_than_announced_is_a_failure(
    node: Node, flights: Flights, item: Item, size: int
) -> None:
    node.server.items["/f"] = item
    with pytest.raises(UpstreamFailed):
        await drain(await flights.join(b"key", size, {}, node.opener()))
    await settled(flights)
    assert node.shelf.packs() == []


async def test_an_absent_object_is_absent_for_all(node: Node, flights: Flights) -> None:
    for _ in range(2):
        with pytest.raises(Absent):
            await flights.join(b"key", -1, {}, node.opener("/never"))
        await settled(flights)
    assert node.leftovers() == []


async def test_e5_a_full_disk_is_told_and_leaves_nothing(
    node: Node, flights: Flights, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body)

    def no_room(descriptor: int, data: memoryview, offset: int) -> None:
        raise Full("There is no room left to fetch into.")

    with monkeypatch.context() as patched:
        patched.setattr(filling, "write_whole", no_room)
        with pytest.raises(Full):
            await drain(await flights.join(b"key", SIZE, digests_of(body), node.opener()))
        await settled(flights)
    assert node.leftovers() == []
    assert await drain(await flights.join(b"key", SIZE, digests_of(body), node.opener())) == body


def test_e5_a_short_write_is_gone_on_with_and_no_room_is_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "f").open("w+b") as file:
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:3], at))
        filling.write_whole(file.fileno(), memoryview(b"0123456789"), 2)
        assert (tmp_path / "f").read_bytes() == b"\0\x000123456789"

        def refuse(fd: int, data: memoryview, at: int) -> int:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "pwrite", refuse)
        with pytest.raises(Full):
            filling.write_whole(file.fileno(), memoryview(b"x"), 0)


async def test_too_many_flights_are_refused_with_a_time_to_come_back(node: Node, nursery: trio.Nursery) -> None:
    flights = Flights(nursery, node.keeper, node.root / "fills", flights_max=1)
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=1000)
    fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    with pytest.raises(Unavailable) as refused:
        await flights.join(b"other", SIZE, digests_of(body), node.opener())
    assert refused.value.retry_after_s == 2
    item.gate.set()
    await fill.done()


async def test_the_end_of_the_server_ends_a_fill_at_once_and_leaves_its_part(node: Node) -> None:
    body = noise(SIZE)
    node.server.items["/f"] = Item(body, pause_at=700_000)
    async with trio.open_nursery() as service:
        flights = Flights(service, node.keeper, node.root / "fills")
        fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
        while fill.available < 700_000:
            await fill.wait(fill.available)
        service.cancel_scope.cancel()
    with pytest.raises(Unavailable):
        await fill.wait(SIZE - 1)
    assert [name.rpartition(".")[2] for name in node.leftovers()] == ["part", "flight"]
    node.server.items["/f"] = Item(body)
    async with trio.open_nursery() as service:
        flights = Flights(service, node.keeper, node.root / "fills")
        assert await drain(await flights.join(b"key", SIZE, digests_of(body), node.opener())) == body
        service.cancel_scope.cancel()
    assert node.server.asked[-1].headers["range"] == "bytes=700000-"


async def test_the_end_of_the_server_waits_for_threads_that_may_still_write(node: Node) -> None:
    entered, go_on, left = threading.Event(), threading.Event(), threading.Event()

    def opener(offset: int) -> Source:
        entered.set()
        go_on.wait(20)
        left.set()
        raise UpstreamFailed("It broke off while it was asked.")

    async with trio.open_nursery() as service:
        flights = Flights(service, node.keeper, node.root / "fills")
        service.start_soon(flights.join, b"key", SIZE, {}, opener)
        assert await trio.to_thread.run_sync(entered.wait, 20)
        threading.Timer(0.1, go_on.set).start()
        service.cancel_scope.cancel()
    assert left.is_set()


# ---------------------------------------------------------------- ranges far ahead


async def test_o7_a_far_range_has_a_connection_of_its_own(node: Node, flights: Flights) -> None:
    body = noise(FAR_BYTES + 200_000)
    item = node.server.items["/f"] = Item(body, pause_at=100_000)
    fill = await flights.join(b"key", len(body), digests_of(body), node.opener())
    await fill.wait(0)
    at = len(body) - 50_000
    assert fill.far(at)
    assert not fill.far(FAR_BYTES // 2)
    item.pause_at = -1
    bypass = await fill.bypass(at, 1000)
    assert bypass is not None
    async with bypass:
        found = b""
        while piece := await bypass.read(300):
            assert len(piece) <= 300
            found += piece
    assert found == body[at : at + 1000]
    item.ranges = False
    assert await fill.bypass(at, 1000) is None, "a source without ranges is no short cut"
    item.gate.set()
    assert await drain(fill) == body


async def test_few_ranges_go_past_the_cache_at_a_time(node: Node, nursery: trio.Nursery) -> None:
    flights = Flights(nursery, node.keeper, node.root / "fills", bypasses_max=1)
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=100_000)
    fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    item.pause_at = -1
    first = await fill.bypass(SIZE - 10, 10)
    assert first is not None
    assert await fill.bypass(SIZE - 10, 10) is None
    first.close()
    second = await fill.bypass(SIZE - 10, 10)
    assert second is not None
    second.close()
    item.gate.set()
    await fill.done()


# ---------------------------------------------------------------- several processes


async def line_of(stream: IO[str] | None) -> list[str]:
    assert stream is not None
    return (await trio.to_thread.run_sync(stream.readline)).split()


async def test_b6_two_processes_share_one_fetch(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=700_000)
    fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
    sha256 = digests_of(body)["sha256"]
    other = spawn_fetch(node.root, f"{node.server.url}/f", b"key", SIZE, sha256)
    with other:
        assert await line_of(other.stdout) == ["open", str(SIZE)]
        item.gate.set()
        assert await line_of(other.stdout) == ["done", sha256, sha256]
        assert await trio.to_thread.run_sync(other.wait) == 0
    assert await drain(fill) == body
    assert node.server.count("/f") == 1


async def test_b7_the_failure_of_one_process_fails_the_waiters_of_the_other(node: Node, flights: Flights) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=700_000, wrong_last=True)
    sha256 = digests_of(body)["sha256"]
    other = spawn_fetch(node.root, f"{node.server.url}/f", b"key", SIZE, sha256)
    with other:
        assert await line_of(other.stdout) == ["open", str(SIZE)]
        fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
        item.gate.set()
        with pytest.raises(UpstreamFailed, match="sha256"):
            await drain(fill)
        assert await line_of(other.stdout) == ["failed", "upstream-failed"]
        other.wait()
    assert node.server.count("/f") == 1
    assert node.shelf.packs() == []


@pytest.mark.faults
@pytest.mark.parametrize("ranges", [True, False])
async def test_b6_the_death_of_the_filling_process_hands_over(node: Node, flights: Flights, ranges: bool) -> None:
    body = noise(SIZE)
    item = node.server.items["/f"] = Item(body, pause_at=700_000, ranges=ranges)
    other = spawn_fetch(node.root, f"{node.server.url}/f", b"key", SIZE, digests_of(body)["sha256"])
    with other:
        assert await line_of(other.stdout) == ["open", str(SIZE)]
        fill = await flights.join(b"key", SIZE, digests_of(body), node.opener())
        while fill.available < 700_000:
            await fill.wait(fill.available)
        item.gate.set()
        item.pause_at = -1
        other.kill()
        other.wait()
    assert await drain(fill) == body
    assert node.stored(body) == body
    assert node.server.count("/f") <= 2


async def test_a_dead_fetch_without_a_digest_is_not_continued(node: Node, flights: Flights) -> None:
    """Two halves of what may be two different objects never become one."""
    slot = Slot(node.root / "fills", b"key", node.keeper.header_bytes)
    assert slot.lead()
    assert not Slot(node.root / "fills", b"key", node.keeper.header_bytes).lead()
    part = slot.part(1, create=True)
    assert part is not None
    os.pwrite(part.number, b"old bytes", slot.start)
    slot.yield_lead()
    body = noise(1000)
    node.server.items["/f"] = Item(body)
    assert await drain(await flights.join(b"key", 1000, {}, node.opener())) == body


def test_the_last_close_of_a_large_unlinked_file_is_not_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closers: list[str] = []
    real = os.close

    def close(number: int) -> None:
        closers.append(threading.current_thread().name)
        real(number)

    monkeypatch.setattr(spool, "SLOW_REMOVAL_BYTES", 1000)
    monkeypatch.setattr(os, "close", close)
    for size, unlinked in ((2000, True), (2000, False), (10, True)):
        file = spool.Descriptor(tmp_path / "f", os.O_RDWR | os.O_CREAT)
        os.truncate(file.number, size)
        if unlinked:
            (tmp_path / "f").unlink()
        del file
        for thread in threading.enumerate():
            if thread.name == "close":
                thread.join(5)
    assert closers == ["close", "MainThread", "MainThread"]


class Asked(io.BytesIO):
    """A source of a range, of which the first bytes came with its head or did not."""

    status = 206
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, body: bytes, offset: int, *, ready: bool) -> None:
        super().__init__(body)
        self.offset, self.length, self.asked = offset, len(body), 0
        self._ready = ready

    def readinto(self, buffer: Buffer, /) -> int:
        self.asked += 1
        return super().readinto(buffer)

    def ready(self, seconds: float) -> bool:
        assert not seconds, "who leaves could not end this wait"
        return self._ready

    def abort(self) -> None:
        pass


@pytest.mark.parametrize("ready", [True, False])
async def test_what_came_with_the_head_of_a_range_is_read_with_it(flights: Flights, ready: bool) -> None:
    body = noise(100_000)
    source = Asked(body, 7, ready=ready)
    bypass = await flights.pass_by(lambda: source, 7, len(body))
    assert bypass is not None
    assert source.asked == ready
    async with bypass:
        found = b""
        while piece := await bypass.read(30_000):
            assert len(piece) <= 30_000
            found += piece
    assert found == body
    assert source.closed


@pytest.mark.parametrize("ready", [True, False])
async def test_a_whole_whose_length_nobody_tells_is_read_to_its_end(flights: Flights, ready: bool) -> None:
    body = noise(1_000_000)
    source = Asked(body, 0, ready=ready)
    source.length = -1
    bypass = await flights.pass_by(lambda: source, 0, -1)
    assert bypass is not None
    assert bypass.length == -1
    async with bypass:
        found = b""
        while piece := await bypass.read(30_000):
            found += piece
        assert await bypass.read(30_000) == b""
    assert found == body
    assert source.closed


async def test_another_range_than_the_one_asked_for_is_closed_at_once(flights: Flights) -> None:
    source = Asked(b"x" * 10, 0, ready=True)
    assert await flights.pass_by(lambda: source, 7, 10) is None
    assert source.closed
    assert not source.asked
