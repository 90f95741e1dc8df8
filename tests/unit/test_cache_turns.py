"""Are all who wait for a fetch's first bytes served in one pass, and is nobody harmed by another? (F8, B6)"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from cache.asking.bodies import Source
from cache.asking.upstream import Remote
from cache.fills import turns
from cache.fills.flight import Fill, Flights
from cache.fills.turns import Turn, Turns
from storage.errors import Absent
from tests.harness.caches import cache_at, drain
from tests.harness.upstreams import Item, Upstream, digests_of, noise, upstream

SIZE = 900_000


class Place:
    """A node's flights over one upstream, which is asked when the gate is open."""

    def __init__(self, server: Upstream, flights: Flights, remote: Remote) -> None:
        self.gate = threading.Event()
        self.server = server
        self.flights = flights
        self.remote = remote

    def begin(self, body: bytes, path: str = "/f") -> Fill:
        url = self.server.url + path

        def opener(offset: int) -> Source:
            self.gate.wait(30)
            return self.remote.open_stream(url, offset=offset, private_network=True)

        return self.flights.begin(b"key", len(body), digests_of(body), opener)


@pytest.fixture
def place(tmp_path: Path, nursery: trio.Nursery) -> Iterator[Place]:
    with upstream() as server, cache_at(tmp_path / "cache") as (_, keeper):
        remote = Remote(connect_seconds_max=2, silence_seconds_max=5)
        made = Place(server, Flights(nursery, keeper, tmp_path / "fills"), remote)
        yield made
        made.gate.set()
        remote.close()


@pytest.mark.parametrize("offset", [0, 500_000])
async def test_b6_all_are_served_in_their_order_before_any_task_goes_on(place: Place, offset: int) -> None:
    body = noise(SIZE)
    place.server.items["/f"] = Item(body)
    seen: list[str] = []
    fill = place.begin(body)

    async def client(number: int) -> None:
        await fill.first(offset, lambda: seen.append(f"sent {number}"))
        seen.append("went on")

    async with trio.open_nursery() as clients:
        for number in range(20):
            clients.start_soon(client, number)
            await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        place.gate.set()
    assert seen == [*(f"sent {number}" for number in range(20)), *["went on"] * 20]
    await fill.done()
    await fill.first(offset, lambda: seen.append("late"))
    assert seen[-1] == "late"
    assert (await drain(fill), place.server.count("/f")) == (body, 1)


async def test_f8_who_leaves_or_breaks_harms_nobody(place: Place) -> None:
    body = noise(SIZE)
    place.server.items["/f"] = Item(body)
    fill = place.begin(body)
    sent: list[int] = []
    leaving = trio.CancelScope()

    async def client(number: int) -> None:
        await fill.first(0, lambda: sent.append(number))

    async def leaver() -> None:
        with leaving:
            await client(-1)

    async def broken() -> None:
        def fails() -> None:
            leaving.cancel()  # what one's answer does may end another's task, which has not left the queue yet
            raise ValueError("this one's own")

        with pytest.raises(ValueError, match="own"):
            await fill.first(0, fails)

    async with trio.open_nursery() as clients:
        for one in (lambda: client(0), broken, lambda: client(1)):
            clients.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await client(-2)
        clients.start_soon(leaver)
        await trio.testing.wait_all_tasks_blocked()
        place.gate.set()
    assert -2 not in sent
    assert [one for one in sent if one >= 0] == [0, 1]
    assert await drain(fill) == body


async def test_b7_a_fetch_that_fails_before_the_first_byte_sends_nobody_anything(place: Place) -> None:
    body, sent = noise(SIZE), list[int]()
    fill = place.begin(body, "/never")

    async def client() -> None:
        with pytest.raises(Absent):
            await fill.first(0, lambda: sent.append(1))

    async with trio.open_nursery() as clients:
        for _ in range(5):
            clients.start_soon(client)
        await trio.testing.wait_all_tasks_blocked()
        place.gate.set()
    with pytest.raises(Absent):
        await fill.first(0, lambda: sent.append(1))
    assert sent == []


async def test_more_than_one_pass_are_served_in_several(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURNS_A_PASS", 3)
    body, sent = noise(SIZE), list[int]()
    place.server.items["/f"] = Item(body)
    fill = place.begin(body)
    async with trio.open_nursery() as clients:
        for number in range(10):
            clients.start_soon(fill.first, 0, lambda number=number: sent.append(number))
            await trio.testing.wait_all_tasks_blocked()
        place.gate.set()
    assert sent == [*range(10)]
    await fill.done()


def test_only_those_whose_bytes_are_there_are_served() -> None:
    queue, sent = Turns(), list[int]()
    for offset in (0, 10, 5, 0):
        queue.add(Turn(offset, lambda offset=offset: sent.append(offset)))  # type: ignore[misc]
    assert not queue.serve(6)
    assert (sent, bool(queue)) == ([0, 5, 0], True)
    assert not queue.serve(10)
    assert not queue.serve(11)
    assert (sent, bool(queue)) == ([0, 5, 0, 10], False)


async def test_where_the_object_ends_before_nothing_is_sent(place: Place) -> None:
    place.server.items["/f"] = Item(b"")
    sent: list[int] = []
    fill = place.begin(b"")
    place.gate.set()
    await fill.first(0, lambda: sent.append(1))
    assert (sent, fill.size) == ([], 0)
