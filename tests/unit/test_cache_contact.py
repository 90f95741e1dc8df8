"""Does a follower believe no more of what was told before it than is true of what it has?"""

import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from cache.asking.parents import Parents
from cache.following.contact import Contact
from cache.following.feed import beat, entries
from cache.following.follower import LONG_AGO_S, Follower, Greeting
from gateway.access.peers.leases import EdgeLease
from storage.errors import UpstreamFailed
from storage.index.holes import CLOSES_ALL, Hole
from storage.nouns import Repository
from tests.unit.test_cache_follower import ORIGIN, Edge, History, Line, follow, honest, inline


@pytest.fixture
def history() -> History:
    made = History()
    for number in range(30):
        made.append("one" if number % 3 else "two")
    return made


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "edge" / "follower.lock"


def left_by(lock: Path) -> Path:
    """The contact as a process leaves it that is gone, with its lock."""
    left = lock.with_name(f"{lock.name}-left")
    shutil.copy(lock, left)
    return left


async def test_e7_an_index_that_was_set_aside_takes_along_what_was_known_of_it(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    """Else an edge without anything says of all that there is that it does not exist, and has leave to."""
    before = await follow(Edge(), Line(honest(history)), lock, 1)
    assert before.synced
    assert before.whole_s > 0
    after = Follower(Edge(), ORIGIN, Line(honest(history)), (lock := left_by(lock)), slowly=inline)
    assert not after.synced
    assert after.whole_s == 0
    assert after.lag_ms > 0
    half = History()
    half.bodies = history.bodies[:10]

    async def some_of_it(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield history.beat()
        yield entries(half.behind(after))
        await trio.sleep_forever()

    edge = Edge()
    assert not (await follow(edge, Line(some_of_it), lock, 1)).synced, "some of it is not all of it"
    assert edge.applied == 10
    assert (await follow(Edge(), Line(honest(history)), left_by(lock), 1)).synced


async def test_who_begins_to_follow_believes_what_the_one_before_told_last(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    """The one before began anew after this one started."""
    edge = Edge()
    await follow(edge, Line(honest(history)), lock, 1)

    async def nothing_new(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield beat(history.epoch, len(history.bodies) + 5, 0)
        await trio.sleep_forever()

    lock = left_by(lock)
    waiting = Follower(edge, ORIGIN, Line(nothing_new), lock, slowly=inline)
    heard_s, _, synced, whole_s = Contact(lock).read()
    assert synced
    Contact(lock).write(heard_s, 0.0, False, whole_s)
    with trio.move_on_after(1):
        await waiting.run()
    assert not waiting.synced


async def test_f3_who_learns_another_history_is_not_drawn_away_from_it(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    """A preferred parent comes back in the middle: it may have the old history, and all that was learned would go."""
    parents = Parents(["http://near", "http://far"], trio.current_time)
    edge = Edge()
    edge.anew = True
    asked: list[str] = []
    at_s: list[float] = []

    @asynccontextmanager
    async def connect(parent: str, greeting: Greeting) -> AsyncIterator[AsyncIterator[bytes]]:
        asked.append(parent)
        at_s.append(trio.current_time())
        if len(asked) == 1:
            raise UpstreamFailed("not yet")

        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield beat(history.epoch, len(history.bodies), 0)
                await trio.sleep(1)

        async with aclosing(pieces()) as stream:
            yield stream

    follower = Follower(edge, parents, connect, lock, slowly=inline)
    with trio.move_on_after(60):
        await follower.run()
    assert asked == ["http://near", "http://far"], "it stays where it is"
    edge.anew = False
    follower = Follower(edge, parents, connect, left_by(lock), slowly=inline)
    parents.failed("http://near")
    with trio.move_on_after(60):
        await follower.run()
    assert asked[2:] == ["http://far", "http://near", "http://near"], "and goes back once that is done"


class Lacking(Edge):
    """An edge that cannot take in entries by the action "bad"."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: tuple[Hole, ...] = ()
        self.failures = 0

    def holes(self) -> tuple[Hole, ...]:
        return self.missing

    def apply_raw(self, bodies: list[bytes]) -> int:
        if self.failures:
            self.failures -= 1
            raise ValueError("whatever it is")
        return super().apply_raw(bodies)


def hole(*closes: str) -> Hole:
    return Hole("one", 3, "main", "bad", 5, "KeyError at fold.py:1", (b"x",), closes, "build")


async def test_f10_a_follower_tells_all_workers_since_when_something_is_missing(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    edge = Lacking()
    follower = await follow(edge, Line(honest(history)), lock, 1)
    other = Follower(edge, ORIGIN, Line(honest(history)), lock, slowly=inline)
    lease = EdgeLease(other, 30.0)
    mine, theirs = Repository("one", "r"), Repository("two", "r", lease_s=5)
    assert follower.closed_s == 0.0
    before_s = time.monotonic()
    edge.missing = (hole(), hole("one"))
    follower._hear()
    assert before_s <= other.closed_s <= time.monotonic()
    heard_s = time.monotonic()
    follower._contact.write(heard_s, heard_s, True, heard_s)
    assert other.whole_s > other.closed_s
    assert lease.until_s(mine) == other.closed_s + 30.0, "as if the origin had been lost then"
    assert lease.until_s(theirs) == other.whole_s + 5
    assert lease.silent_s() > 0.0, "bodies that are on their way are looked at again"
    since_s = other.closed_s
    follower._hear()
    assert other.closed_s == since_s, "it grows no younger"
    edge.missing = (hole(CLOSES_ALL),)
    follower._hear()
    assert lease.until_s(theirs) == lease.whole_s() + 5 == since_s + 5
    edge.missing = (hole(),)
    follower._hear()
    assert other.closed_s == 0.0
    assert lease.until_s(mine) == other.whole_s + 30.0


async def test_f10_what_was_closed_before_a_restart_of_the_machine_is_closed_at_once(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    edge = Lacking()
    edge.missing = (hole("one"),)
    follower = await follow(edge, Line(honest(history)), lock, 1)
    assert follower.closed_s == LONG_AGO_S


async def test_f10_whatever_an_applier_raises_the_edge_tries_again(
    history: History, lock: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    edge = Lacking()
    edge.failures = 3
    follower = await follow(edge, Line(honest(history)), lock, 20)
    assert edge.heads() == history.heads()
    assert follower.synced
    assert "tries again: ValueError at test_cache_contact.py" in caplog.text
    assert "whatever it is" not in caplog.text
