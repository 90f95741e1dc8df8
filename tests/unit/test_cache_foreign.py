"""Is an upstream asked as seldom as possible, and is nothing kept that was no answer?"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import pytest
import trio

from cache.asking.upstream import Remote
from cache.foreign.freshness import (
    FLOOR_S,
    RETRY_MS,
    RETRY_MS_MAX,
    Held,
    Standing,
    Terms,
    failed,
    left_s,
    lifetime_s,
    standing,
)
from cache.foreign.knowledge import ForeignKnowledge
from cache.foreign.noted import Noted, note, noted_in
from cache.keeping.shelf import Shelf
from formats.kit.contract import Learn
from storage.errors import Invalid, Unavailable, UpstreamFailed
from storage.nouns import Upstream as Source
from storage.nouns import Version
from tests.harness.upstreams import Item, Upstream, upstream

Knowledge = ForeignKnowledge[dict[str, int]]
PLACE = ("acme", "main", "npm", "left")


class World:
    """One node with a clock of its own, and two upstreams."""

    def __init__(self, shelf: Shelf, one: Upstream, two: Upstream) -> None:
        self.shelf = shelf
        self.one, self.two = one, two
        self.clock_ms = 1_800_000_000_000
        self.remote = Remote(connect_seconds_max=2, silence_seconds_max=2)
        self.learnt = 0
        self.upstreams = (self.source(one),)

    def source(self, server: Upstream, fresh_s: int = 300) -> Source:
        return Source("npm", f"{server.url}/", fresh_s=fresh_s, negative_s=60, private_network=True)

    async def learn(self, format: str, package: str, raw: bytes, url: str) -> bytes:
        self.learnt += 1
        try:
            json.loads(raw)
        except ValueError as error:
            raise Invalid("no json") from error
        return raw

    def knowledge(self, **more: object) -> Knowledge:
        settings: dict[str, object] = {
            "ask": lambda format, package: Learn(package, "application/json", 1 << 20),
            "learn": self.learn,
            "decode": json.loads,
            "secret_of": lambda workspace, repository, one: f"secret of {one.url}",
            "stale_seconds_max": 3600,
            "now_ms": lambda: self.clock_ms,
        }
        return Knowledge(self.shelf, self.remote, **(settings | more))  # type: ignore[arg-type]

    def later(self, seconds: float) -> None:
        self.clock_ms += int(seconds * 1000)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    env = lmdb.open(str(tmp_path / "cache"), map_size=64 << 20, max_dbs=16, sync=False)
    with upstream() as one, upstream() as two:
        made = World(Shelf(env), one, two)
        yield made
        made.remote.close()
    env.close()


def page(value: int, **headers: str) -> Item:
    return Item(json.dumps({"value": value}).encode(), headers={"Content-Type": "application/json", **headers})


async def test_what_is_fresh_is_not_asked_again(world: World) -> None:
    world.one.items["/left"] = page(1)
    knowledge = world.knowledge()
    assert knowledge.peek(*PLACE, world.upstreams) is None
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    world.later(299)
    assert await world.knowledge().of(*PLACE, world.upstreams) == {"value": 1}
    known = knowledge.peek(*PLACE, world.upstreams)
    assert known is not None
    assert known.foreign() == {"value": 1}
    assert known.version != 0
    assert known.told_by == tuple(one.name for one in world.upstreams)
    assert world.one.count("/left") == 1


async def test_o9_what_is_old_is_renewed_by_its_validator(world: World) -> None:
    world.one.items["/left"] = page(1, ETag='"a"')
    knowledge = world.knowledge()
    await knowledge.of(*PLACE, world.upstreams)
    before = knowledge.peek(*PLACE, world.upstreams)
    world.later(301)
    assert knowledge.peek(*PLACE, world.upstreams) is None
    world.one.items["/left"] = Item(status=304)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    assert world.one.asked[-1].headers["if-none-match"] == '"a"'
    after = knowledge.peek(*PLACE, world.upstreams)
    assert before is not None
    assert after is not None
    assert before.version == after.version
    assert world.learnt == 1
    world.later(301)
    world.one.items["/left"] = page(2)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 2}
    changed = knowledge.peek(*PLACE, world.upstreams)
    assert changed is not None
    assert changed.version != after.version


@pytest.mark.parametrize(
    "broken",
    [
        Item(b"{}", status=500),
        Item(b"{}", status=429),
        Item(b"{}", status=403),
        Item(b"{}", headers={"Content-Type": "text/html"}),
        Item(b"<html>log in</html>"),
        Item(b'{"value": 9}', cut_at=5),
        Item(raw=b"HTTP/1.1 200 OK\r\n\r\n{}"),
    ],
)
async def test_b5_an_error_is_never_kept_and_what_is_stale_is_used(world: World, broken: Item) -> None:
    world.one.items["/left"] = broken
    knowledge = world.knowledge()
    with pytest.raises((UpstreamFailed, Unavailable)):
        await knowledge.of(*PLACE, world.upstreams)
    assert knowledge.peek(*PLACE, world.upstreams) is None
    world.one.items["/left"] = page(1)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    world.later(301)
    world.one.items["/left"] = broken
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    known = knowledge.peek(*PLACE, world.upstreams)
    assert known is not None, "while the upstream rests the stale copy answers at once"
    assert known.stale
    count = world.one.count("/left")
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    assert world.one.count("/left") == count
    world.later(3601)
    with pytest.raises((UpstreamFailed, Unavailable)):
        await knowledge.of(*PLACE, world.upstreams)


@pytest.mark.parametrize("status", [404, 410])
async def test_b5_absence_is_kept_for_a_short_time(world: World, status: int) -> None:
    world.one.items["/left"] = Item(b"", status=status)
    knowledge = world.knowledge()
    assert await knowledge.of(*PLACE, world.upstreams) is None
    known = knowledge.peek(*PLACE, world.upstreams)
    assert known is not None
    assert (known.version, known.foreign()) == (0, None)
    world.later(61)
    world.one.items["/left"] = page(1)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}


def heard(world: World, *place: str) -> dict[str, Noted]:
    return dict(noted_in(world.shelf, place))


def test_o32_names_that_were_heard_are_read_as_far_as_they_are_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = Noted(("first",), ("1.0",), 1)
    for number in range(50):
        note(world.shelf, (*PLACE[:3], f"{'ab'[number % 2]}{number:02}"), noted)
    note(world.shelf, (*PLACE[:2], "zzz", "a10"), noted)
    monkeypatch.setattr("cache.foreign.noted.READ_AT_ONCE", 10)
    read: list[int] = []
    scan = world.shelf.scan

    def counted(*args: Any, **told: Any) -> list[tuple[bytes, bytes]]:
        got = scan(*args, **told)
        read.append(len(got))
        return got

    monkeypatch.setattr(world.shelf, "scan", counted)
    assert [name for name, _ in islice(noted_in(world.shelf, PLACE[:3], "a", "a04"), 10)] == [
        f"a{number:02}" for number in range(6, 26, 2)
    ]
    assert read == [10]
    assert [name for name, _ in noted_in(world.shelf, PLACE[:3], "b")] == [
        f"b{number:02}" for number in range(1, 50, 2)
    ]
    assert read == [10, 10, 10, 5]
    assert len(list(noted_in(world.shelf, PLACE[:3]))) == 50
    assert list(noted_in(world.shelf, PLACE[:3], "b", "b49")) == []


async def test_o32_what_an_upstream_knows_is_noted_by_name_until_it_is_gone(world: World) -> None:
    class Told(dict[str, int]):
        versions = (Version("1.0"), Version("2.0"))

    knowledge = world.knowledge(decode=lambda raw: Told(json.loads(raw)))
    source = Source("npm", f"{world.one.url}/", "first", fresh_s=300, private_network=True)
    world.one.items["/left"] = page(1)
    assert heard(world, *PLACE[:3]) == {}
    await knowledge.of(*PLACE, (source,), 7)
    noted = Noted(("first",), ("1.0", "2.0"), world.clock_ms, 7)
    assert heard(world, *PLACE[:3]) == {"left": noted}
    assert heard(world, "acme", "mai", "npm") == heard(world, "acme", "main", "np") == {}
    await knowledge.of("acme", "main", "npm", "absent", (source,))
    del world.one.items["/left"]
    world.later(301)
    assert await knowledge.of(*PLACE, (source,), 7) is None
    assert heard(world, *PLACE[:3]) == {}


async def test_o32_what_one_upstream_lacks_stays_noted_of_another(world: World) -> None:
    class Told(dict[str, int]):
        versions = (Version("1.0"),)

    knowledge = world.knowledge(decode=lambda raw: Told(json.loads(raw)))
    lacks = Source("npm", f"{world.one.url}/", "lacks", negative_s=60, private_network=True)
    has = Source("npm", f"{world.two.url}/", "has", fresh_s=300, private_network=True)
    world.two.items["/left"] = page(1)
    await knowledge.of(*PLACE, (lacks, has))
    assert heard(world, *PLACE[:3])["left"].upstreams == ("has",)
    world.later(100)
    await knowledge.of(*PLACE, (lacks, has))
    assert world.one.count("/left") == 2, "it was asked again, and said no again"
    assert heard(world, *PLACE[:3])["left"].upstreams == ("has",)


async def test_what_went_away_upstream_is_gone_when_its_freshness_is(world: World) -> None:
    world.one.items["/left"] = page(1)
    knowledge = world.knowledge()
    await knowledge.of(*PLACE, world.upstreams)
    world.later(301)
    del world.one.items["/left"]
    assert await knowledge.of(*PLACE, world.upstreams) is None
    world.later(30)
    assert await knowledge.of(*PLACE, world.upstreams) is None


async def test_c14_an_upstream_that_fails_is_not_passed_over(world: World) -> None:
    both = (world.source(world.one), world.source(world.two))
    world.two.items["/left"] = page(2)
    world.one.items["/left"] = Item(b"", status=500)
    with pytest.raises(UpstreamFailed):
        await world.knowledge().of(*PLACE, both)
    assert world.two.asked == []
    del world.one.items["/left"]
    assert await world.knowledge().of(*PLACE, both) == {"value": 2}
    assert world.two.asked[-1].headers["authorization"] == f"secret of {world.two.url}/"


async def test_b6_many_ask_and_one_question_goes_out(world: World, nursery: trio.Nursery) -> None:
    item = world.one.items["/left"] = page(1)
    item.pause_at = 3
    one_process, other = world.knowledge(), world.knowledge(nursery=nursery)
    got: list[object] = []

    async def client(knowledge: Knowledge) -> None:
        got.append(await knowledge.of(*PLACE, world.upstreams))

    async with trio.open_nursery() as clients:
        for _ in range(20):
            clients.start_soon(client, one_process)
            clients.start_soon(client, other)
        for _ in range(1000):
            if world.one.asked:
                break
            await trio.sleep(0.002)
        await trio.sleep(0.03)  # the others come to wait meanwhile
        item.gate.set()
    assert got == [{"value": 1}] * 40
    assert world.one.count("/left") == 1
    assert world.learnt == 1


async def test_o6_who_asked_first_may_leave(world: World) -> None:
    item = world.one.items["/left"] = page(1)
    item.pause_at = 3
    knowledge = world.knowledge()
    got: list[object] = []

    async def second() -> None:
        got.append(await knowledge.of(*PLACE, world.upstreams))

    async with trio.open_nursery() as clients:
        with trio.move_on_after(5) as leaving:
            clients.start_soon(second)
            leaving.cancel()
            await knowledge.of(*PLACE, world.upstreams)
        item.gate.set()
    assert got == [{"value": 1}]


async def test_a_slow_upstream_is_waited_for_only_without_a_copy(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/left"] = page(1)
    knowledge = world.knowledge(nursery=nursery, patience_s=0.05)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    world.later(301)
    item = world.one.items["/left"] = page(2)
    item.pause_at = 3
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    item.gate.set()
    with trio.fail_after(60):
        while await knowledge.of(*PLACE, world.upstreams) != {"value": 2}:  # noqa: ASYNC110 - what is learnt has no event
            await trio.sleep(0.01)
    assert world.learnt == 2


async def test_a_missing_file_is_a_reason_to_ask_again_but_not_at_once(world: World) -> None:
    world.one.items["/left"] = page(1)
    knowledge = world.knowledge()
    await knowledge.of(*PLACE, world.upstreams)
    world.one.items["/left"] = page(2)
    assert await knowledge.of(*PLACE, world.upstreams, refresh=True) == {"value": 1}
    world.later(3)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    assert await knowledge.of(*PLACE, world.upstreams, refresh=True) == {"value": 2}


async def test_content_that_was_evicted_is_asked_for_again(world: World) -> None:
    world.one.items["/left"] = page(1)
    await world.knowledge().of(*PLACE, world.upstreams)
    for key, _ in world.shelf.scan("foreign-content"):
        world.shelf.drop("foreign-content", key)
    known = world.knowledge().peek(*PLACE, world.upstreams)
    assert known is not None
    with pytest.raises(Unavailable):
        known.foreign()
    assert await world.knowledge().of(*PLACE, world.upstreams) == {"value": 1}


async def test_an_edge_asks_its_parent(world: World) -> None:
    path = "/-/peer/foreign/acme/main/npm?package=%40scope%2Fleft"
    world.one.items[path] = Item(b'{"value": 7}', headers={"Content-Type": "application/octet-stream"})
    edge = world.knowledge(parent=world.one.url + "/", token="canary")
    place = ("acme", "main", "npm", "@scope/left")
    assert await edge.of(*place, world.upstreams) == {"value": 7}
    assert world.one.asked[-1].headers["authorization"] == "Bearer canary"
    assert world.learnt == 0
    world.later(31)
    assert edge.peek(*place, world.upstreams) is None


async def test_b1_knowledge_is_one_repositorys(world: World) -> None:
    world.one.items["/left"] = page(1)
    knowledge = world.knowledge()
    await knowledge.of(*PLACE, world.upstreams)
    for place in (("acme", "other", "npm", "left"), ("other", "main", "npm", "left"), ("acme", "main", "pypi", "left")):
        assert knowledge.peek(*place, world.upstreams) is None
    assert knowledge.peek(*PLACE, (world.source(world.two),)) is None
    assert await knowledge.of(*PLACE, ()) is None


# ---------------------------------------------------------------- the pure steps

TERMS = Terms(300, 60, 3600)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("", 300), ("max-age=600", 300), ("max-age=60", 60), ("s-maxage=30, max-age=60", 30), ("no-cache", FLOOR_S),
     ("max-age=0", FLOOR_S), ("max-age=x", 300), ("max-age=" + "9" * 40, 300), ("no-store, max-age=60", FLOOR_S)],
)  # fmt: skip
def test_an_upstream_may_shorten_and_not_prolong(told: str, seconds: int) -> None:
    assert lifetime_s({"cache-control": told}, 300) == seconds
    assert lifetime_s({"cache-control": "max-age=60", "age": "50"}, 300) == 10


def test_e10_a_clock_that_went_back_makes_nothing_young() -> None:
    held = Held(10_000_000, 300, 1, b"content")
    assert standing(held, 10_000_000, TERMS) is Standing.FRESH
    assert standing(held, 9_999_999, TERMS) is Standing.NOTHING
    assert left_s(held, 5_000_000) == 0
    resting = failed(held, 10_000_000)
    assert standing(resting, 10_000_000 - RETRY_MS_MAX, TERMS) is Standing.NOTHING


def test_failures_are_asked_again_ever_more_seldom() -> None:
    held, now_ms, waits = Held(0, 1, 1, b"content"), 2_000, []
    for _ in range(8):
        held = failed(held, now_ms)
        waits.append(held.retry_ms - now_ms)
        assert standing(held, now_ms, TERMS) is Standing.RESTING
        assert standing(held, held.retry_ms, TERMS) is Standing.STALE
    assert waits == [RETRY_MS, 4000, 8000, 16000, 32000, RETRY_MS_MAX, RETRY_MS_MAX, RETRY_MS_MAX]


async def test_f14_why_a_package_is_withheld_is_known_for_as_long_as_it_is_held(world: World) -> None:
    world.one.items["/left"] = page(1)
    knowledge = world.knowledge(withheld=lambda format, foreign: format * (foreign["value"] == 2))
    assert knowledge.withheld(*PLACE, world.upstreams) == ""
    await knowledge.of(*PLACE, world.upstreams)
    assert knowledge.withheld(*PLACE, world.upstreams) == ""
    world.later(301)
    world.one.items["/left"] = page(2)
    await knowledge.of(*PLACE, world.upstreams)
    world.later(10 * 24 * 3600)
    assert world.knowledge().withheld(*PLACE, world.upstreams) == "npm", "also from the disk, and when it is old"
    world.one.items["/left"] = page(3)
    await knowledge.of(*PLACE, world.upstreams)
    assert knowledge.withheld(*PLACE, world.upstreams) == ""


async def test_an_edge_says_what_its_parent_says(world: World) -> None:
    told = {"detail": "It is inside.", "remedy": "Add it with --private-network.", "status": 502}
    knowledge = world.knowledge(parent=world.one.url)
    path = "/-/peer/foreign/acme/main/npm?package=left"
    world.one.items[path] = Item(json.dumps(told).encode(), status=502)
    with pytest.raises(UpstreamFailed) as failure:
        await knowledge.of(*PLACE, world.upstreams)
    assert (failure.value.message, failure.value.remedy) == ("It is inside.", "Add it with --private-network.")
    world.one.items[path] = Item(b"<html>", status=502)
    with pytest.raises(UpstreamFailed, match="answered 502"):
        await world.knowledge(parent=world.one.url).of(*PLACE, world.upstreams)


def paged(value: str, following: str = "", **headers: str) -> Item:
    link = {"Link": f'<{following}>; rel="next"'} if following else {}
    return Item(value.encode(), headers={"Content-Type": "application/json", **link, **headers})


async def test_o9_a_list_of_several_pages_is_read_whole_and_renewed_without_a_validator(world: World) -> None:
    """The first page has not changed, the second one has: a 304 to the first would hide it."""
    heard: list[bytes] = []

    async def learn(format: str, package: str, raw: bytes, url: str) -> bytes:
        heard.append(raw)
        return json.dumps(raw.decode().split("\x1e")).encode()

    knowledge = world.knowledge(ask=lambda format, package: Learn(package, pages_max=3), learn=learn)
    world.one.items["/left"] = paged("1", "http://elsewhere.example/left?2", ETag='"a"')
    world.one.items["/left?2"] = paged("2", ETag='"b"')
    assert await knowledge.of(*PLACE, world.upstreams) == ["1", "2"]
    assert world.one.asked[-1].headers["authorization"] == f"secret of {world.one.url}/"
    world.later(301)
    world.one.items["/left?2"] = paged("3", "/left?3", ETag='"c"')
    world.one.items["/left?3"] = paged("4", "/left?4")
    assert await knowledge.of(*PLACE, world.upstreams) == ["1", "3", "4"], "and no more than three pages"
    assert not any("if-none-match" in one.headers for one in world.one.asked)
    world.later(301)
    world.one.items["/left?3"] = Item(status=500)
    assert await knowledge.of(*PLACE, world.upstreams) == ["1", "3", "4"], "half a list is none"


async def test_o8_one_whose_requests_are_used_up_is_left_alone_by_all_questions(world: World) -> None:
    knowledge = world.knowledge()
    world.one.items["/left"] = page(1, **{"RateLimit-Remaining": "0;w=21600", "RateLimit-Reset": "200"})
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}
    with pytest.raises(Unavailable) as refused:
        await knowledge.of("acme", "main", "npm", "right", world.upstreams)
    assert refused.value.retry_after_s == 201
    with pytest.raises(Unavailable):
        await world.knowledge().of("acme", "other", "npm", "left", world.upstreams)
    assert [one.path for one in world.one.asked] == ["/left"]
    world.later(201)
    world.one.items["/right"] = Item(status=429, headers={"Retry-After": "100"})
    with pytest.raises(Unavailable) as refused:
        await knowledge.of("acme", "main", "npm", "right", world.upstreams)
    assert refused.value.retry_after_s == 100
    world.later(101)
    assert await knowledge.of(*PLACE, world.upstreams) == {"value": 1}, "what is held masks it"
