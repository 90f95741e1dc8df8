"""Does an edge end up with its origin's history, whatever the stream between them does?"""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from cache.asking.parents import Parents
from cache.following import feed
from cache.following.contact import Contact
from cache.following.feed import (
    AFTER_BYTES_MAX,
    ANEW,
    WORKSPACES_MAX,
    Anew,
    Beat,
    Forget,
    Frame,
    FrameReader,
    beat,
    entries,
    marked,
    parse_after,
    told_after,
)
from cache.following.follower import RETRY_SECONDS, SILENCE_SECONDS, Follower, Greeting, over_http
from storage.digest import sha256
from storage.errors import Damaged, Invalid, UpstreamFailed
from storage.index.holes import Hole
from storage.nouns import Entry
from storage.open import open_store
from tests.harness.upstreams import Item, upstream

# ---------------------------------------------------------------- frames


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.integers(0, 1 << 60)), max_size=20), st.randoms())
def test_frames_survive_any_cutting(things: list[bytes | int], dice: random.Random) -> None:
    data, expected = b"", list[Frame]()
    for thing in things:
        data += entries([thing]) if isinstance(thing, bytes) else beat(thing, 2, 3)
        expected.append(thing if isinstance(thing, bytes) else Beat(thing, 2, 3))
    data, expected = data + ANEW, [*expected, Anew()]
    reader, found, at = FrameReader(), list[Frame](), 0
    while at < len(data):
        step = dice.randint(1, 40)
        found += reader.feed(data[at : at + step])
        at += step
    assert found == expected


def test_a_length_that_no_entry_has_is_damage() -> None:
    with pytest.raises(Damaged):
        list(FrameReader().feed(b"\x00\x00\x00\x7f"))


@pytest.mark.parametrize("signed", [False, True])
def test_a_snapshot_that_no_frame_holds_is_told_by_both_ends_and_garbles_nothing(
    monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    monkeypatch.setattr(feed, "MARKED_BYTES_MAX", 2 << 20)
    reader = feed.SealedReader(lambda signature, sum: True, b"n", "e") if signed else FrameReader()
    largest = feed.marked(feed.Snapshot(bytes(32), bytes(32), bytes((2 << 20) - 64)))
    sent = largest + feed.marked(feed.Signed(bytes(64))) if signed else largest
    assert len(list(reader.feed(sent))) == 1
    more = feed.marked(feed.Snapshot(bytes(32), bytes(32), bytes(3 << 20)))
    assert len(more) < 20, "what nobody takes is not sent"
    with pytest.raises(UpstreamFailed, match="takes 3 MiB, and 2 MiB is the most"):
        list(reader.feed(more))
    with pytest.raises((Damaged, UpstreamFailed)) as caught:
        list(FrameReader().feed(feed._MARK.pack(feed._MARKED, b"p"[0], 3 << 20)))
    assert "MiB" not in caught.value.message


def test_what_a_follower_has_is_parsed_strictly() -> None:
    assert parse_after(b"") == {}
    assert parse_after(b"demo:12\n-:3\n") == {"demo": 12, "-": 3}
    for text in ("demo", "demo:", "demo:x", "demo:1;", "De mo:1", "demo:-1", "a/b:1", "a:1,b:1", "\xff:1", "\n"):
        with pytest.raises(Invalid):
            parse_after(text.encode())


def test_a_follower_of_very_many_workspaces_can_say_where_it_is() -> None:
    after = {f"workspace-{number:05}".ljust(63, "x"): 10**18 - 1 for number in range(WORKSPACES_MAX)}
    told = told_after(after)
    assert len(told) <= AFTER_BYTES_MAX
    assert parse_after(told) == after
    with pytest.raises(Invalid):
        parse_after(told + b"one-more:1\n")


# ---------------------------------------------------------------- a small history, and an edge that folds it


class History:
    """An origin's journal in memory."""

    def __init__(self, epoch: int = 7) -> None:
        self.epoch = epoch
        self.bodies: list[tuple[str, int, bytes]] = []

    def append(self, workspace: str, action: str = "x") -> None:
        mine = [body for name, _, body in self.bodies if name == workspace]
        previous = sha256(mine[-1]) if mine else bytes(32)
        entry = Entry(self.epoch, workspace, len(mine) + 1, previous, 0, "me", action, "", ())
        self.bodies.append((workspace, entry.serial, msgspec.msgpack.encode(entry)))

    def behind(self, after: Mapping[str, int]) -> list[bytes]:
        return [body for name, serial, body in self.bodies if serial > after.get(name, 0)]

    def beat(self) -> bytes:
        return beat(self.epoch, len(self.bodies), 0)

    def heads(self) -> dict[str, tuple[int, bytes]]:
        return {name: (serial, sha256(body)) for name, serial, body in self.bodies}


class Edge:
    """Applies as storage.index.applier does, in memory."""

    def __init__(self) -> None:
        self._epoch = 0
        self._heads: dict[str, tuple[int, bytes]] = {}
        self.resets = 0
        self.applied = 0

    @property
    def applier(self) -> "Edge":
        return self

    def heads(self) -> dict[str, tuple[int, bytes]]:
        return dict(self._heads)

    def epoch(self) -> int:
        return self._epoch

    def apply_raw(self, bodies: list[bytes]) -> int:
        heads, epoch, fresh = dict(self._heads), self._epoch, 0
        for body in bodies:
            entry = msgspec.msgpack.decode(body, type=Entry)
            epoch = epoch or entry.epoch
            serial, hash = heads.get(entry.workspace, (0, bytes(32)))
            if entry.epoch > epoch:
                raise Damaged("epoch")
            if entry.serial <= serial:
                if entry.serial == serial and sha256(body) != hash:
                    raise Damaged("another history")
                continue
            if entry.serial != serial + 1 or entry.previous != hash:
                raise Damaged("chain")
            heads[entry.workspace] = (entry.serial, sha256(body))
            fresh += 1
        self._heads, self._epoch = heads, epoch
        self.applied += fresh
        return fresh

    def scope(self) -> bytes:
        return b""

    def apply_seen(self, body: bytes, hash: bytes) -> int:
        raise AssertionError("this edge sees everything")

    def replace_system(self, body: bytes, hash: bytes, scope: bytes) -> None:
        raise AssertionError("this edge sees everything")

    def forget_workspace(self, workspace: str) -> None:
        raise AssertionError("this edge sees everything")

    anew = False
    outdated = False

    def holes(self) -> tuple[Hole, ...]:
        return ()

    def take_over(self) -> None:
        raise AssertionError("nothing is learned beside this")

    def reset_for_resync(self, epoch: int = 0) -> None:
        self.resets += bool(self._heads)
        self._heads, self._epoch = {}, epoch


ORIGIN = Parents(["http://origin"])
Script = Callable[[Mapping[str, int]], AsyncIterator[bytes]]


async def inline(step: Callable[[], object]) -> object:
    """No thread, so that the mocked clock stands still while something is applied."""
    await trio.lowlevel.checkpoint()
    return step()


class Line:
    """The way to the origin: one script for each connection, the last one for all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.asked: list[dict[str, int]] = []
        self.at_s: list[float] = []

    @asynccontextmanager
    async def __call__(self, parent: str, greeting: Greeting) -> AsyncIterator[AsyncIterator[bytes]]:
        after = greeting.after
        self.asked.append(dict(after))
        self.at_s.append(trio.current_time())
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        pieces = script(after)
        try:
            yield pieces
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]


def honest(history: History, *, then: Callable[[], Awaitable[None]] = trio.sleep_forever) -> Script:
    async def script(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield history.beat()
        yield entries(history.behind(after))
        yield history.beat()
        await then()

    return script


async def follow(edge: Edge, line: Line, lock: Path, seconds: float) -> Follower:
    """Follow for so long on the mocked clock."""
    follower = Follower(edge, ORIGIN, line, lock, slowly=inline)
    with trio.move_on_after(seconds):
        await follower.run()
    return follower


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "edge" / "follower.lock"


@pytest.fixture
def history() -> History:
    made = History()
    for number in range(30):
        made.append("one" if number % 3 else "two")
    return made


# ---------------------------------------------------------------- F4: the stream


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
async def test_an_edge_catches_up_however_the_bytes_come(
    history: History, lock: Path, autojump_clock: MockClock, piece_bytes: int
) -> None:
    async def script(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        data = history.beat() + entries(history.behind(after)) + history.beat()
        for at in range(0, len(data), piece_bytes):
            yield data[at : at + piece_bytes]
        await trio.sleep_forever()

    edge = Edge()
    follower = await follow(edge, Line(script), lock, 1)
    assert edge.heads() == history.heads()
    assert follower.synced
    assert follower.connected
    assert follower.lag_ms == 0


async def test_f4_what_comes_twice_counts_once(history: History, lock: Path, autojump_clock: MockClock) -> None:
    async def script(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        bodies = history.behind({})
        yield entries(bodies[:20]) + entries(bodies[10:20])
        yield entries(bodies[5:]) + history.beat()
        await trio.sleep_forever()

    edge = Edge()
    await follow(edge, Line(script), lock, 1)
    assert (edge.heads(), edge.applied, edge.resets) == (history.heads(), 30, 0)


async def test_f4_after_a_gap_it_is_asked_once_more(history: History, lock: Path, autojump_clock: MockClock) -> None:
    async def gap(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        bodies = history.behind(after)
        yield history.beat() + entries(bodies[:6])
        await trio.sleep(0.1)
        yield entries(bodies[9:])

    edge = Edge()
    line = Line(gap, honest(history))
    await follow(edge, line, lock, 2)
    assert (edge.heads(), edge.resets, len(line.asked)) == (history.heads(), 0, 2)
    assert sum(line.asked[1].values()) == 6 - len(line.asked[1]), "the last entry of each workspace is asked for again"


async def test_f4_a_broken_chain_begins_anew_and_ends_the_same(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    other = History()
    for _ in range(5):
        other.append("one", "another history")
    edge = Edge()
    edge.apply_raw([body for _, _, body in other.bodies])
    line = Line(honest(history))
    await follow(edge, line, lock, 3)
    assert (edge.heads(), edge.resets) == (history.heads(), 1)
    assert [sum(after.values()) for after in line.asked] == [4, 4, 0]


async def test_e12_another_history_that_is_just_as_long_is_noticed(lock: Path, autojump_clock: MockClock) -> None:
    """The beats of both say the same."""
    ours, other = History(), History()
    for _ in range(5):
        ours.append("one")
        other.append("one", "another history")
    edge = Edge()
    edge.apply_raw([body for _, _, body in other.bodies])
    await follow(edge, Line(honest(ours)), lock, 3)
    assert (edge.heads(), edge.resets) == (ours.heads(), 1)


async def test_f3_e12_a_new_epoch_begins_anew(history: History, lock: Path, autojump_clock: MockClock) -> None:
    restored = History(epoch=8)
    for _ in range(3):
        restored.append("one")
    edge = Edge()

    async def for_a_while() -> None:
        await trio.sleep(0.5)

    line = Line(honest(history, then=for_a_while), honest(restored))
    await follow(edge, line, lock, 3)
    assert (edge.heads(), edge.epoch(), edge.resets) == (restored.heads(), 8, 1)


@pytest.mark.parametrize("in_band", [True, False])
async def test_f3_an_edge_that_is_ahead_begins_anew(
    history: History, lock: Path, autojump_clock: MockClock, in_band: bool
) -> None:
    edge = Edge()
    edge.apply_raw(history.behind({}))
    older = History()
    older.bodies = history.bodies[:10]

    async def script(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        if in_band and sum(after.values()) > 10:
            yield ANEW
            return
        yield older.beat() + entries(older.behind(after)) + older.beat()
        await trio.sleep_forever()

    await follow(edge, Line(script), lock, 3)
    assert (edge.heads(), edge.resets) == (older.heads(), 1)


async def test_garbage_does_not_reset_by_itself(history: History, lock: Path, autojump_clock: MockClock) -> None:
    async def garbage(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield b"\x00\x00\x00\x7fgarbage"

    edge = Edge()
    edge.apply_raw(history.behind({})[:4])
    await follow(edge, Line(garbage, honest(history)), lock, 2)
    assert (edge.heads(), edge.resets) == (history.heads(), 0)


# ---------------------------------------------------------------- F2: silence, and who may know of it


async def test_f2_silence_ends_a_connection(history: History, lock: Path, autojump_clock: MockClock) -> None:
    edge = Edge()
    line = Line(honest(history))
    await follow(edge, line, lock, SILENCE_SECONDS * 3)
    gaps = [after - before for before, after in zip(line.at_s, line.at_s[1:], strict=False)]
    assert len(gaps) >= 2
    assert all(SILENCE_SECONDS <= gap <= SILENCE_SECONDS + RETRY_SECONDS[1] for gap in gaps)


async def test_a_quiet_origin_that_beats_is_not_silent(history: History, lock: Path, autojump_clock: MockClock) -> None:
    async def script(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield entries(history.behind(after))
        while True:
            yield history.beat()
            await trio.sleep(1)

    line = Line(script)
    follower = await follow(Edge(), line, lock, 60)
    assert len(line.asked) == 1
    assert follower.connected


async def test_f7_an_origin_that_is_away_is_tried_ever_more_seldom(lock: Path, autojump_clock: MockClock) -> None:
    """And at times that differ from edge to edge: who comes back is not met by all at once."""

    async def refused(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        raise UpstreamFailed("connection refused")
        yield b""

    line = Line(refused)
    follower = await follow(Edge(), line, lock, 60)
    gaps = [after - before for before, after in zip(line.at_s, line.at_s[1:], strict=False)]
    assert gaps[0] <= 2 * RETRY_SECONDS[0]
    assert all(0.5 * RETRY_SECONDS[1] <= gap <= RETRY_SECONDS[1] for gap in gaps[6:])
    assert not follower.connected
    assert not follower.synced
    assert follower.last_contact_s == 0.0
    assert follower.lag_ms > 0


async def test_f5_why_the_origin_is_not_heard_is_told_with_what_to_do_and_not_again_and_again(
    lock: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An edge that was revoked tries for ever."""

    async def refused(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        raise UpstreamFailed("The origin answers 401.", "Was this edge revoked?")
        yield b""

    line = Line(refused)
    await follow(Edge(), line, lock, 150)
    said = [one.getMessage() for one in caplog.records if "is not heard" in one.getMessage()]
    assert len(line.at_s) > 70
    assert said == ["the origin is not heard: The origin answers 401. Was this edge revoked?"] * 3


async def test_behind_is_told_until_level(history: History, lock: Path, autojump_clock: MockClock) -> None:
    async def behind(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield history.beat()
        await trio.sleep_forever()

    follower = await follow(Edge(), Line(behind), lock, 1)
    assert follower.connected
    assert follower.whole_s == 0.0, "a beat ahead of its entries is no leave to serve"
    assert not follower.synced
    assert follower.lag_ms > 0


async def test_f2_whole_without_ever_being_level(history: History, lock: Path, autojump_clock: MockClock) -> None:
    """Where more is published all the time no beat finds an edge level; what it told of comes soon behind it."""

    async def busy(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        bodies = history.behind({})
        yield entries(bodies[:10])
        yield beat(history.epoch, 20, 0)
        yield entries(bodies[10:19])
        await trio.sleep(0.5)
        told.append(follower.whole_s)
        yield entries(bodies[19:])
        await trio.sleep_forever()

    told: list[float] = []
    follower = Follower(Edge(), ORIGIN, Line(busy), lock, slowly=inline)
    with trio.move_on_after(1):
        await follower.run()
    assert told == [0.0], "one entry of those that it told of is missing"
    assert follower.whole_s > 0
    assert not follower.synced


async def test_f5_beats_of_before_a_change_of_sight_count_for_nothing(lock: Path, autojump_clock: MockClock) -> None:
    """What was taken away counted in them, so no number tells any more when what they told of is here."""
    history = History()
    for number in range(20):
        history.append("one" if number < 10 else "gone")

    async def script(after: Mapping[str, int]) -> AsyncIterator[bytes]:
        yield entries(history.behind({})[:15])
        yield beat(history.epoch, 20, 0)
        yield marked(Forget("gone"))
        yield beat(history.epoch, 10, 0)
        await trio.sleep_forever()

    edge = Forgetful()
    follower = await follow(edge, Line(script), lock, 1)
    assert edge.heads().keys() == {"one"}
    assert follower.whole_s > 0


class Forgetful(Edge):
    """An edge from which a workspace is taken away."""

    def forget_workspace(self, workspace: str) -> set[bytes]:  # type: ignore[override]
        del self._heads[workspace]
        return set()


async def test_e10_the_other_workers_share_the_contact_and_no_restart_does(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    before_s = time.monotonic()
    edge = Edge()
    one = await follow(edge, Line(honest(history)), lock, 1)
    other = Follower(edge, ORIGIN, Line(honest(history)), lock, slowly=inline)
    assert other.last_contact_s == one.last_contact_s >= before_s
    assert other.synced
    contact = Contact(lock)
    contact.write(time.monotonic() + 1000, 0.0, True, 0.0)
    assert other.last_contact_s == 0.0, "a time to come is of another boot"
    contact._boot = b"another boot    "
    contact.write(time.monotonic(), 0.0, True, 0.0)
    assert other.last_contact_s == 0.0


async def test_one_worker_follows_and_another_takes_over(
    history: History, lock: Path, autojump_clock: MockClock
) -> None:
    first, second = Line(honest(history)), Line(honest(history))
    async with trio.open_nursery() as workers:
        with trio.CancelScope() as dying:

            async def die_later() -> None:
                await trio.sleep(1)
                dying.cancel()

            workers.start_soon(die_later)
            follower = Follower(Edge(), ORIGIN, first, lock, slowly=inline)
            other = Follower(Edge(), ORIGIN, second, lock, slowly=inline)
            workers.start_soon(other.run)
            await trio.testing.wait_all_tasks_blocked()
            assert (len(first.asked), len(second.asked)) == (0, 1)
            await follower.run()
        workers.cancel_scope.cancel()
    assert first.asked == []


# ---------------------------------------------------------------- over HTTP, into a real index


async def test_an_edge_follows_over_http(history: History, tmp_path: Path, nursery: trio.Nursery) -> None:
    store = open_store(tmp_path / "edge", role="edge")
    data = history.beat() + entries(history.behind({})) + history.beat()
    try:
        with upstream() as server, trio.CancelScope() as following:
            server.items["/-/peer/journal"] = Item(data, chunked=True, pause_at=len(data))
            parents, lock = Parents([server.url + "/"]), tmp_path / "edge" / "follower.lock"
            follower = Follower(store, parents, over_http("canary"), lock)
            nursery.start_soon(follower.run)
            for _ in range(1000):
                if follower.synced:
                    break
                await trio.sleep(0.005)
            assert follower.synced
            assert server.asked[0].headers["authorization"] == "Bearer canary"
            with store.catalog.read() as reading:
                assert reading.heads() == history.heads()
                assert reading.epoch == history.epoch
            assert follower.lag_ms == 0
            following.cancel()
            nursery.cancel_scope.cancel()
    finally:
        store.close()


@pytest.mark.parametrize("item", [Item(b"", status=401), Item(b"", status=302), Item(raw=b"nonsense\r\n\r\n")])
async def test_an_answer_that_is_no_stream_is_a_failure(item: Item) -> None:
    with upstream() as server:
        server.items["/-/peer/journal"] = item
        with pytest.raises(UpstreamFailed):
            async with over_http("token")(server.url, Greeting({"a": 1})):
                raise AssertionError("it opened")
        assert [one.body for one in server.asked] == [b"a:1\n"]
