"""What does a request cost that is answered from memory, counted in calls? The wall clock moves when a test moves it.

Whoever adds a call to the hot path adds it to each of a hundred thousand requests a second; then this test says so.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from gateway.access.limits.pockets import ROLL_DOWNLOADS_MAX
from gateway.access.limits.tolls import Lent, Return, Tolls, Wish
from gateway.delivery.loop.reactor import Reactor
from gateway.delivery.messages import clock
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.clock import TICK_SECONDS
from gateway.insight.requestlog import RequestLog
from storage.nouns import Entitlement
from tests.harness.loops import SMALL, Client, Fake, Loop, started
from tests.harness.steps import watching

Step = Callable[[Reactor, list[tuple[int, int]]], None]
HOT = ["reactor:Reactor._step", "get", "recv", "get", "get", "send", "len", "len"]
"""Connection, its bytes, the remembered answer, status line and Date, out, all of it?, and was that all that came?"""


class Wall:
    """A wall clock that stands still: the first answer of each second is stamped anew, which is more calls."""

    def __init__(self) -> None:
        self.now_s = 1_750_000_000.5

    def time(self) -> float:
        return self.now_s


class Watch:
    """The calls of each turn that answers anything, by name. `wall` is what the loop takes for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = Wall()
        monkeypatch.setattr(clock, "time", self.wall)
        self.turns: list[list[str]] = []
        self.real: Step = Reactor._step
        monkeypatch.setattr(Reactor, "_step", lambda loop, events: self.step(loop, events))

    def step(self, loop: Reactor, events: list[tuple[int, int]]) -> None:
        seen: list[str] = []
        with watching(seen):
            self.real(loop, events)
        names = [one if " " not in one else one.split(".")[-1].split(" ")[-1] for one in seen]
        if "recv" in names:
            self.turns.append(names)


class Lender:
    """Lends more than a test spends."""

    async def lend(self, wish: Wish, to: str = "") -> Lent:
        return Lent(1, 3_600_000, 1_000_000, 1 << 40)

    async def take_back(self, back: Return, of: str = "") -> None:
        raise AssertionError(back)


async def hot(loop: Loop, watch: Watch, count: int, warm: int = 3) -> Client:
    """Ask for the small page until it is remembered, then `count` times under watch."""
    client = await loop.client()
    for _ in range(warm):
        assert (await client.get("/small")).body == SMALL
    watch.turns.clear()
    for _ in range(count):
        assert (await client.get("/small")).body == SMALL
    return client


async def test_a_hot_request_calls_nothing_of_ours_and_leaves_three_references_for_the_log(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    loop = await started(nursery, tmp_path, log_path=tmp_path / "log")
    monkeypatch.setattr(RequestLog, "flush", lambda log: None)
    await hot(loop, watch, 50)
    assert watch.turns == [HOT] * 50
    assert len(loop.log.pending) == 3 * 53
    assert len({id(line) for line in loop.log.pending[8::3]}) == 1, "one line, made once, and referred to"


async def test_the_first_answer_of_a_second_is_stamped_anew_and_no_other(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    loop = await started(nursery, tmp_path)
    client = await hot(loop, watch, 5)
    dates = {(await client.get("/small")).headers["date"]}
    watch.wall.now_s += 1
    await trio.sleep(2 * TICK_SECONDS)  # so seldom it is looked at
    for _ in range(5):
        dates.add((await client.get("/small")).headers["date"])
    assert watch.turns[:6] + watch.turns[7:] == [HOT] * 10
    assert {*HOT, "notes:Notes.preamble", "memo:Entry.begin"} < set(watch.turns[6])
    assert len(dates) == 2


async def test_a_hot_request_that_is_charged_is_one_call_more(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tolls, limits = Tolls(Lender()), Entitlement(1 << 40, 1 << 60)
    await tolls.take("tok_x", limits, "", 5)
    fake = Fake(tmp_path)
    paid = Answer(media="text/plain", etag='"one"', body=SMALL)
    paid.toll = tolls.spending("tok_x", limits, "")
    fake.pages["/small"] = paid
    watch = Watch(monkeypatch)
    loop = await started(nursery, tmp_path, handler=fake)
    await hot(loop, watch, 10 * (ROLL_DOWNLOADS_MAX + 1))
    charged = [*HOT[:4], "memo:Entry.may_go", *HOT[4:]]
    assert sum(turn == charged for turn in watch.turns) == 10 * ROLL_DOWNLOADS_MAX
    assert fake.looked == 1, "and nothing else is asked"
    pocket = tolls._pockets["tok_x"]
    assert pocket.downloads + paid.toll.paid == 1_000_000 - 1 - 3 - 10 * (ROLL_DOWNLOADS_MAX + 1)
