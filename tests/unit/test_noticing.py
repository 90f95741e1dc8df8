"""Is what nobody did told once, whoever finds it and however often, and never left out (O3, E8, F9)? Real stores."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest
import trio

from gateway.access.limits.tolls import Ledger, Wish
from gateway.noticing.customers import CustomerWatch
from gateway.noticing.damage import WALK_MS, DamageWatch
from gateway.noticing.noticing import Found, Noticing, Source
from gateway.noticing.quotas import LATER_MS, QuotaWatch
from gateway.noticing.refused import AGAIN_SECONDS, RefusalsUp, Refused
from storage.commit import Committed, Decide, Decided
from storage.digest import sha256
from storage.errors import OverQuota, Unavailable
from storage.notices import Notice, PutNotice
from storage.nouns import (
    SYSTEM,
    Draft,
    DropFile,
    DropRepository,
    Entitlement,
    Entry,
    Grant,
    Package,
    PutPackage,
    PutRepository,
    PutToken,
    PutWorkspace,
    Repository,
    Token,
    Workspace,
)
from storage.open import Store, open_store
from storage.upkeep.damaged import damaged_blobs, missing_files
from tests.harness.stores import publish
from tests.harness.waiting import comes

DAY_MS = 24 * 3600 * 1000
MAIN = Repository("acme", "main", quota_bytes=1000)
CUSTOMER = Token("tok_c", "buyer", b"c" * 32, (Grant("acme/main"), Grant("acme/other")), "entitlement")


class World:
    """An origin's store, its clock, and what stands in its journals."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_ms = 1_800_000_000_000
        self.store: Store = open_store(root / "store", role="origin")
        self.ledger = Ledger(root / "tolls")
        self.entries: list[Entry] = []

    async def commit(self, decide: Decide) -> Committed:
        assert self.store.committer is not None
        done = await self.store.committer.commit(decide)
        if done.entry is not None:
            self.entries.append(done.entry)
        return done

    async def write(self, *changes: object, workspace: str = "acme", repository: str = "main") -> None:
        draft = Draft(workspace, repository, "t", "t", changes)  # type: ignore[arg-type]
        await self.commit(lambda reading: Decided(draft, None))

    async def fill(self, name: str, size: int) -> None:
        """Publish a file of so many bytes."""
        await publish(self.store, name, name.encode() + b"." * (size - len(name)))

    def quotas(self, *, whole: bool = True) -> QuotaWatch:
        return QuotaWatch(self.store.catalog, self.store.quotas, 0.9, DAY_MS, whole=whole)

    async def look(self, *sources: Source) -> list[tuple[str, str, str]]:
        """(workspace, repository, kind) of what is told now."""
        before = len(self.entries)
        noticing = Noticing(sources, self.commit, lambda: self.now_ms)
        for source in sources:
            await noticing.look(source)
        return [(one.workspace, one.repository, kind.kind) for one in self.entries[before:] for kind in notices(one)]


def notices(entry: Entry) -> list[Notice]:
    return [one.notice for one in entry.changes if isinstance(one, PutNotice)]


@asynccontextmanager
async def world(root: Path) -> AsyncIterator[World]:
    made = World(root)
    try:
        await made.write(PutWorkspace(Workspace("acme")), workspace=SYSTEM, repository="")
        await made.write(PutRepository(MAIN), PutRepository(Repository("acme", "other")))
        yield made
    finally:
        made.ledger.close()
        made.store.close()


REACHED, NEAR = ("acme", "main", "quota.reached"), ("acme", "main", "quota.near")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_a_quota_is_told_when_it_is_nearly_and_when_it_is_wholly_used_and_then_no_more(one: World) -> None:
    watch = one.quotas()
    assert await one.look(watch) == []
    await one.fill("a", 899)
    assert await one.look(watch) == []
    await one.fill("b", 1)
    assert await one.look(watch) == [NEAR]
    [told] = notices(one.entries[-1])
    assert (told.limit, told.used, told.refused, one.entries[-1].actor) == (1000, 900, 0, "node")
    await one.fill("c", 1)
    assert await one.look(watch) == []
    await one.fill("d", 99)
    assert await one.look(watch) == [REACHED]
    for number in range(5):
        await one.write(PutPackage("generic", Package(f"e{number}")))
        one.now_ms += DAY_MS
        assert await one.look(watch, one.quotas(), one.quotas()) == [], "nor by others, nor after a restart"


async def test_one_that_is_filled_and_emptied_again_and_again_is_told_once_a_day(one: World) -> None:
    watch, told = one.quotas(), []
    for _ in range(20):
        await one.fill("a", 950)
        told += await one.look(watch)
        await one.write(DropFile("generic", "pkg", "a", forget=True))
        told += await one.look(watch)
    assert told == [NEAR]
    await one.fill("a", 950)
    assert await one.look(watch) == []
    one.now_ms += DAY_MS + LATER_MS
    assert await one.look(watch) == [NEAR], "what still holds then is told"
    assert await one.look(watch) == []


async def test_another_quota_is_another_cause_and_a_workspace_has_its_own(one: World) -> None:
    watch = one.quotas()
    await one.fill("a", 950)
    assert await one.look(watch) == [NEAR]
    await one.write(PutRepository(msgspec.structs.replace(MAIN, quota_bytes=950)))
    assert await one.look(watch) == [REACHED], "of the two the one that says more"
    await one.write(PutRepository(msgspec.structs.replace(MAIN, quota_bytes=0)))
    await one.write(PutWorkspace(Workspace("acme", quota_bytes=1000)), workspace=SYSTEM, repository="")
    assert await one.look(watch) == [("acme", "", "quota.near")]


async def test_o3_an_upload_without_room_is_told_once_whoever_refuses_it(one: World) -> None:
    """A thousand tries make one entry: nobody fills the journal by being refused."""
    one.store.quotas.hear("acme", "main", 900)
    one.store.quotas.hear("acme", "none", 2000)
    one.store.quotas.hear("none", "main", 2000)
    assert one.store.quotas.refusals() == {}, "who says so is believed only where it is so"
    watch = one.quotas(whole=False)
    told = []
    for number in range(50):
        with pytest.raises(OverQuota):
            one.store.quotas.reserve("acme", "main", 1001)
        with pytest.raises(OverQuota):
            await one.fill(f"a{number}", 1001)
        one.store.quotas.hear("acme", "main", 1001)
        told += await one.look(watch)
        one.now_ms += 60_000
    assert told == [REACHED]
    [notice] = notices(one.entries[-1])
    assert (notice.limit, notice.used, notice.refused) == (1000, 0, 1001)
    one.now_ms += DAY_MS
    one.store.quotas.hear("acme", "main", 1001)
    assert await one.look(watch) == [REACHED]
    one.store.quotas.hear("acme", "main", 1001)
    await one.write(DropRepository("acme", "main"))
    assert await one.look(watch) == [], "of what is gone nothing is told"
    await one.write(PutRepository(MAIN))
    one.store.quotas.hear("acme", "main", 1001)
    assert await one.look(watch) == [REACHED], "another one of its name is another one"


async def test_f9_a_customers_limit_is_told_once_a_period_also_after_a_crash(one: World) -> None:
    limits = Entitlement(downloads_max=1, bytes_max=1000, clients_max=1, period_s=3600)
    token = msgspec.structs.replace(CUSTOMER, at_ms=one.now_ms, entitlement=limits)
    await one.write(PutToken(token), workspace=SYSTEM, repository="")
    watch = CustomerWatch(one.store.catalog, one.ledger)
    assert one.ledger.lend(token, Wish("tok_c", 1, 600, "a"), one.now_ms).refused == ""
    assert await one.look(watch) == []
    for _ in range(3):
        assert one.ledger.lend(token, Wish("tok_c", 1, 10, "a"), one.now_ms).refused == "downloads"
        assert one.ledger.lend(token, Wish("tok_c", 0, 900, "a"), one.now_ms).refused == "bytes"
        assert one.ledger.lend(token, Wish("tok_c", 0, 1, "b"), one.now_ms).refused == "clients"
    one.ledger.close()
    one.ledger = Ledger(one.root / "tolls")
    watch = CustomerWatch(one.store.catalog, one.ledger)
    assert await one.look(watch) == [("acme", "", "entitlement.limit_reached")] * 3
    told = {each.of: each for each in notices(one.entries[-1])}
    assert {name: (each.limit, each.used) for name, each in told.items()} == {
        "downloads": (1, 1), "bytes": (1000, 600), "clients": (1, 1)
    }  # fmt: skip
    assert {(each.token, each.name, each.period_ms) for each in told.values()} == {("tok_c", "buyer", token.at_ms)}
    one.ledger.lend(token, Wish("tok_c", 1, 10, "a"), one.now_ms)
    assert await one.look(watch, CustomerWatch(one.store.catalog, one.ledger)) == []
    one.now_ms += 3600_000
    assert one.ledger.lend(token, Wish("tok_c", 0, 1001, "a"), one.now_ms).refused == "bytes"
    assert await one.look(watch) == [("acme", "", "entitlement.limit_reached")], "the next period has its own"
    more = msgspec.structs.replace(token, entitlement=msgspec.structs.replace(limits, bytes_max=2000))
    await one.write(PutToken(more), workspace=SYSTEM, repository="")
    assert one.ledger.lend(more, Wish("tok_c", 0, 2001, "a"), one.now_ms).refused == "bytes"
    assert await one.look(watch) == [("acme", "", "entitlement.limit_reached")], "and so has another limit"


async def test_what_is_written_and_not_yet_known_to_be_is_not_written_twice(one: World) -> None:
    """A crash between the entry and the ledger (a fault): the same is found again, and told no more."""
    token = msgspec.structs.replace(CUSTOMER, at_ms=one.now_ms, entitlement=Entitlement(bytes_max=10))
    await one.write(PutToken(token), workspace=SYSTEM, repository="")
    one.ledger.lend(token, Wish("tok_c", 0, 11), one.now_ms)
    watch = CustomerWatch(one.store.catalog, one.ledger)
    forgetful = MappingProxyType({"told": watch.told})
    watch.told = lambda found: None  # type: ignore[method-assign]
    assert len(await one.look(watch)) == 1
    assert len(one.ledger.reached()) == 1
    watch.told = forgetful["told"]  # type: ignore[method-assign]
    assert await one.look(watch) == []
    assert one.ledger.reached() == []


async def test_a_customers_time_that_is_over_is_told_once(one: World) -> None:
    ends_ms = one.now_ms + 5_000
    made = {
        "tok_a": ends_ms, "tok_b": one.now_ms + DAY_MS, "tok_d": 0, "tok_e": one.now_ms - 31 * DAY_MS,
    }  # fmt: skip
    for id, expires_ms in made.items():
        token = msgspec.structs.replace(CUSTOMER, id=id, sha256=id.encode().ljust(32), expires_ms=expires_ms)
        await one.write(
            PutToken(msgspec.structs.replace(token, entitlement=Entitlement(metadata={"crm": "7"}))),
            workspace=SYSTEM, repository="",
        )  # fmt: skip
    watch = CustomerWatch(one.store.catalog, one.ledger)
    assert await one.look(watch) == []
    one.now_ms += 11_000
    assert await one.look(watch) == [("acme", "", "entitlement.expired")]
    [told] = notices(one.entries[-1])
    assert (told.token, told.period_ms, told.metadata) == ("tok_a", ends_ms, {"crm": "7"})
    for _ in range(3):
        one.now_ms += 11_000
        assert await one.look(watch, CustomerWatch(one.store.catalog, one.ledger)) == []


async def test_e8_damage_is_told_with_its_files_once_and_what_is_found_later_again(one: World) -> None:
    data = [b"a" * 40, b"b" * 40, b"c" * 40]
    for n, content in enumerate(data):
        await publish(one.store, f"f{n}", content, package=f"p{n}", format="npm")
    first_blob, second_blob, _ = (sha256(content) for content in data)
    found: dict[bytes, int] = {}
    watch = partial(DamageWatch, one.store.catalog, lambda: dict(found), partial(missing_files, one.store.index))
    first = watch()
    assert await one.look(first) == []
    found[first_blob] = one.now_ms
    assert await one.look(first) == [("acme", "main", "package.damaged")]
    [told] = notices(one.entries[-1])
    assert [(each.package, each.version, each.name) for each in told.files] == [("p0", "1", "f0")]
    one.now_ms += WALK_MS
    assert await one.look(first, watch()) == []
    found[second_blob] = one.now_ms + 5
    found[b"z" * 32] = one.now_ms + 6
    assert await one.look(first) == [("acme", "main", "package.damaged")]
    [told] = notices(one.entries[-1])
    assert [each.name for each in told.files] == ["f1"]
    assert told.files_count == 1


async def test_a_scrub_says_when_it_found_damage_and_a_repair_takes_that_back(one: World) -> None:
    one.store.blobs.mark_damaged(b"x" * 32, True)
    [(identity, at_ms)] = damaged_blobs(one.store.blobs).items()
    assert (identity, at_ms > 0) == (b"x" * 32, True)
    one.store.blobs.mark_damaged(b"x" * 32, True)
    assert damaged_blobs(one.store.blobs) == {identity: at_ms}, "since when it is known"
    one.store.blobs.mark_damaged(b"x" * 32, False)
    assert damaged_blobs(one.store.blobs) == {}


async def test_f9_an_edge_tells_its_origin_once_a_minute_and_again_where_that_failed(
    one: World, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[Refused] = []
    silent = True

    async def tell(said: Refused) -> None:
        if silent:
            raise Unavailable("The origin is silent.")
        told.append(said)

    up = RefusalsUp(one.store.quotas, tell)
    one.store.quotas.refuse(("acme", "main"), 10, 5, 6)
    one.store.quotas.refuse(("acme",), 10, 5, 6)
    await up.look()
    silent = False
    for _ in range(5):
        await up.look()
        one.store.quotas.refuse(("acme", "main"), 10, 5, 7)
    assert told == [Refused("acme", "main", 6), Refused("acme", "", 6)]
    await trio.sleep(AGAIN_SECONDS)
    await up.look()
    assert told[2:] == [Refused("acme", "main", 7)]


class Failing:
    """A source whose notice cannot be written at first."""

    def __init__(self) -> None:
        self.done = 0

    def look(self, now_ms: int) -> list[Found]:
        return [Found("acme", "main", Notice("quota.near", "", now_ms, 1, 1), DAY_MS)]

    def told(self, found: Sequence[Found]) -> None:
        self.done += 1


async def test_what_cannot_be_written_now_is_told_later(one: World) -> None:
    tries = 0

    async def commit(decide: Decide) -> Committed:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("Not now.")
        return await one.commit(decide)

    source = Failing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Noticing([source], commit, lambda: one.now_ms).run)
        await comes(lambda: source.done > 0)
        nursery.cancel_scope.cancel()
    assert (tries, source.done) == (3, 1)
    assert [kind.kind for entry in one.entries for kind in notices(entry)] == ["quota.near"]
