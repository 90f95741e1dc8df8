"""Does one process deliver, another when that ends, and is every repeat known by its id (D14)? On a real store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gateway.front.complaints import now_ms
from gateway.webhooks.delivering import Deliverer
from gateway.webhooks.queue import Rules
from gateway.webhooks.records import LOG_MAX, Delivery, Records
from gateway.webhooks.sealed import Sealed, Sealing, Secret
from gateway.webhooks.sending import Answer, Sender
from gateway.webhooks.signatures import new_secret
from gateway.webhooks.telling import Telling
from storage.commit import Decided
from storage.errors import Full
from storage.hooks import DropWebhook, PutWebhook, Webhook
from storage.index.history import History
from storage.nouns import (
    SYSTEM,
    Draft,
    DropRepository,
    DropWorkspace,
    Package,
    PutPackage,
    PutRepository,
    PutTeam,
    PutVersion,
    PutWorkspace,
    Repository,
    Team,
    Version,
    Workspace,
)
from storage.open import Store, open_store
from tests.harness.waiting import comes

RULES = Rules(attempts_max=3, retry_seconds_min=0.01, retry_seconds_max=0.05, disable_seconds=1e9)
HOOK = Webhook("whk_a", "acme", "", "all", "https://receiver.example", "rev_a", 0, 0, ("team.*",))


class Remembering(Sender):
    """A fault and a memory in the place of the network: what was sent; `status` is that of each answer but
    of the message that is `refused`."""

    def __init__(self) -> None:
        super().__init__("test")
        self.sent: list[str] = []
        self.status = 200
        self.refused = ""
        self.under_way = self.most = 0

    async def post(
        self, url: str, headers: dict[str, str], body: bytes, *, private_network: bool, hook: str = ""
    ) -> Answer:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await trio.sleep(0.01)
        self.under_way -= 1
        self.sent.append(headers["webhook-id"])
        return Answer(500 if headers["webhook-id"] == self.refused else self.status, "", 1)


class World:
    """One origin's store, and as many who would deliver as a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: Store = open_store(root / "store", role="origin")
        self.sealing = Sealing(root / "webhooks.json")
        self.records = Records(root / "webhooks")
        assert self.store.journal is not None
        self.history = History(self.store.index, self.store.journal)

    def telling(self, sender: Sender) -> Telling:
        return Telling(
            self.store.catalog,
            self.history,
            self.sealing,
            self.records,
            sender,
            lambda format, package: package,
            lambda format: None,
            now_ms,
        )

    def deliverer(self, sender: Sender, parallel_max: int = 3, rules: Rules = RULES) -> Deliverer:
        assert self.store.committer is not None
        lock = self.root / "webhooks" / "deliver.lock"
        telling, commit = self.telling(sender), self.store.committer.commit
        return Deliverer(lock, telling, commit, rules, parallel_max=parallel_max)

    async def write(self, *changes: object, action: str = "t", repository: str = "") -> None:
        assert self.store.committer is not None
        draft = Draft("acme", repository, "t", action, changes)  # type: ignore[arg-type]
        await self.store.committer.commit(lambda reading: Decided(draft, None))

    async def hook(self, hook: Webhook = HOOK, url: str = "https://receiver.example/x") -> None:
        self.sealing.put(hook.revision, Sealed(hook.id, 0, url, (Secret(new_secret()),)))
        await self.write(PutWebhook(hook))

    async def teams(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            await self.write(PutTeam(Team(f"t{number}")))


@asynccontextmanager
async def world(root: Path) -> AsyncIterator[World]:
    made = World(root)
    try:
        await made.write(PutRepository(Repository("acme", "main")))
        yield made
    finally:
        made.records.close()
        made.store.close()


async def test_d14_one_delivers_and_the_other_takes_over(tmp_path: Path) -> None:
    async with world(tmp_path) as one, trio.open_nursery() as nursery:
        await one.hook()
        first, second = Remembering(), Remembering()
        async with trio.open_nursery() as life:
            life.start_soon(one.deliverer(first).run)
            await one.teams(0, 5)
            await comes(lambda: len(first.sent) >= 5)
            nursery.start_soon(one.deliverer(second).run)
            await one.teams(5, 5)
            await comes(lambda: len(first.sent) >= 10)
            assert second.sent == []
            life.cancel_scope.cancel()
        await one.teams(10, 5)
        await comes(lambda: len(second.sent) >= 5)
        assert len({*first.sent, *second.sent}) == 15
        assert first.most <= 3, "no more at a time than there may be"
        nursery.cancel_scope.cancel()


async def test_what_is_refused_is_given_up_after_its_attempts_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as one, trio.open_nursery() as nursery:
        await one.hook()
        sender = Remembering()
        sender.status = 500
        nursery.start_soon(one.deliverer(sender).run)
        await one.teams(0, 1)
        await comes(lambda: len(sender.sent) >= 4)
        state = one.records.state("whk_a")
        assert state is not None
        assert state.given_up == 0, "who takes nothing may be away: nothing is lost by that"
        sender.status, sender.refused = 200, sender.sent[0]
        await one.teams(1, 2)
        await comes(lambda: (now := one.records.state("whk_a")) is not None and (now.given_up, now.waiting) == (1, []))
        state = one.records.state("whk_a")
        assert state is not None
        assert state.delivered == len(set(sender.sent)) - 1
        assert {each.status for each in one.records.deliveries("whk_a") if each.message == sender.refused} == {500}
        nursery.cancel_scope.cancel()


async def test_a_webhook_that_goes_is_forgotten_with_its_secrets(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.hook()
        one.records.write({}, [("whk_a", line(0))])
        await one.write(DropWebhook("", "whk_a"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.deliverer(Remembering()).run)
            await comes(lambda: one.sealing.find("rev_a") is None)
            nursery.cancel_scope.cancel()
        assert one.records.deliveries("whk_a") == []


async def test_a_webhook_of_a_repository_tells_nothing_of_one_that_had_its_name_before(tmp_path: Path) -> None:
    """However far back a replay goes."""
    async with world(tmp_path) as one, trio.open_nursery() as nursery:
        package = [PutPackage("npm", Package("p")), PutVersion("npm", "p", Version("1.0"))]
        await one.write(*package, repository="main")
        await one.write(DropRepository("acme", "main"), repository="main")
        await trio.sleep(0.005)
        await one.write(PutRepository(Repository("acme", "main", at_ms=now_ms())), repository="main")
        await trio.sleep(0.005)
        hook = Webhook("whk_a", "acme", "main", "all", "https://receiver.example", "rev_a", 0, 0, ("package.*",))
        await one.hook(hook)
        await one.write(*package, repository="main")
        sender = Remembering()
        nursery.start_soon(one.deliverer(sender).run)
        await comes(lambda: (state := one.records.state(hook.id)) is not None and state.delivered >= 1)
        await comes(lambda: not one.records.state(hook.id).waiting)  # type: ignore[union-attr]
        nursery.cancel_scope.cancel()
    assert len(sender.sent) == 1


def test_c11_what_is_secret_in_an_address_is_hidden_where_a_receiver_says_it_again() -> None:
    url = "https://receiver.example/in?token=s3cr%2Bet-w0rd&x=1"
    hidden = Sealed("whk_a", 0, url, ()).hidden
    assert {"s3cr+et-w0rd", "s3cr%2Bet-w0rd"} <= set(hidden)
    assert [len(one) for one in hidden] == sorted((len(one) for one in hidden), reverse=True)


def test_a_delivery_has_its_own_number_whatever_is_written_beside_it(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.write({}, [("whk_a", line(0)), ("whk_b", line(0)), ("whk_a", line(0))]) == [1, 1, 2]
    assert records.write({}, [("whk_b", line(0))]) == [2]
    records.close()


def line(number: int) -> Delivery:
    return Delivery(0, f"msg_{number}", "team.created", "acme", number, 1, "event", number, 1, 200, "")


def test_the_log_of_each_webhook_has_a_bound(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write({}, [("whk_b", line(1))])
    for start in range(0, LOG_MAX + 50, 50):
        records.write({}, [("whk_a", line(number)) for number in range(start, start + 50)])
    kept = records.deliveries("whk_a")
    assert [one.number for one in kept] == list(range(LOG_MAX + 50, 50, -1))
    assert [one.number for one in records.deliveries("whk_a", 100, 2)] == [99, 98]
    assert records.delivery("whk_a", 7) is None
    assert records.delivery("whk_a", 70) is not None
    assert len(records.deliveries("whk_b")) == 1
    assert records.deliveries("whk") == []
    assert records.forget(frozenset(("whk_b",))) == 1
    assert records.deliveries("whk_a") == []
    assert len(records.deliveries("whk_b")) == 1
    records.close()


class Holding(Remembering):
    """Receivers that do not answer, but those whose addresses name `quick`."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0

    async def post(
        self, url: str, headers: dict[str, str], body: bytes, *, private_network: bool, hook: str = ""
    ) -> Answer:
        if "quick" not in url:
            self.held += 1
            await trio.sleep_forever()
        return await super().post(url, headers, body, private_network=private_network, hook=hook)


async def test_d14_receivers_that_do_not_answer_hold_up_nobody_else(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """There are more of them than places. Once they are known to be slow they have half of those together."""
    autojump_clock.autojump_threshold = 0.05
    async with world(tmp_path) as one, trio.open_nursery() as nursery:
        sender = Holding()
        for number in range(5):
            await one.hook(
                msgspec.structs.replace(HOOK, id=f"whk_{number}", name=f"slow{number}", revision=f"r{number}")
            )
        nursery.start_soon(one.deliverer(sender, parallel_max=8).run)
        await one.teams(0, 1)
        await comes(lambda: sender.held >= 4)
        await trio.sleep(2.0)
        quick = msgspec.structs.replace(HOOK, id="whk_q", name="quick", revision="rq")
        await one.hook(quick, "https://quick.example/x")
        await one.teams(1, 10)
        await comes(lambda: len(set(sender.sent)) == 11)
        assert sender.held <= 5
        nursery.cancel_scope.cancel()


async def test_events_begin_in_the_order_of_the_journal(tmp_path: Path) -> None:
    async with world(tmp_path) as one, trio.open_nursery() as nursery:
        await one.hook()
        await one.teams(0, 60)
        sender = Remembering()
        rules = RULES._replace(parallel_max=1)
        nursery.start_soon(one.deliverer(sender, rules=rules).run)
        await comes(lambda: len(sender.sent) >= 60)
        with one.store.catalog.read() as reading:
            last = reading.serial("acme")
        told = [
            each.message_id("whk_a")
            for serial in range(1, last + 1)
            for each in one.telling(sender).told_by(one.history.one("acme", serial).entry, "acme")
            if each.event.kind.startswith("team.")
        ]
        assert sender.sent == told
        nursery.cancel_scope.cancel()


async def test_d14_what_cannot_be_written_down_bounds_what_is_sent_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes nothing (a fault): a restart repeats no more than the bound, and leaves none out."""
    monkeypatch.setattr("gateway.webhooks.written.UNWRITTEN_MAX", 20)
    monkeypatch.setattr("gateway.webhooks.delivering.TROUBLE_SECONDS", 0.01)
    async with world(tmp_path) as one, trio.open_nursery() as nursery:
        await one.hook()
        await one.teams(0, 80)
        sender, written = Remembering(), one.records.write

        def full(*_: object) -> list[int]:
            raise Full("The disk is full.")

        monkeypatch.setattr(one.records, "write", full)
        async with trio.open_nursery() as life:
            life.start_soon(one.deliverer(sender).run)
            await comes(lambda: len(sender.sent) >= 20)
            await trio.sleep(0.3)
            assert len(sender.sent) <= 20 + RULES.parallel_max
            life.cancel_scope.cancel()
        before = len(sender.sent)
        monkeypatch.setattr(one.records, "write", written)
        nursery.start_soon(one.deliverer(sender).run)
        await comes(lambda: (now := one.records.state("whk_a")) is not None and now.delivered >= 80)
        assert len(set(sender.sent)) == 80
        assert len(sender.sent) == 80 + before
        nursery.cancel_scope.cancel()


async def test_c6_the_webhooks_of_a_deleted_workspace_tell_of_the_end_and_are_forgotten(tmp_path: Path) -> None:
    """What happened before is told, and the end, each once; then neither its queue nor its secret is kept."""
    async with world(tmp_path) as one:
        assert one.store.committer is not None
        made = Draft(SYSTEM, "", "t", "t", (PutWorkspace(Workspace("acme")),))
        await one.store.committer.commit(lambda reading: Decided(made, None))
        every = msgspec.structs.replace(HOOK, events=("team.*", "workspace.deleted"))
        deaf = msgspec.structs.replace(HOOK, id="whk_b", revision="rev_b")
        await one.hook(every)
        await one.hook(deaf)
        sender, refusing = Remembering(), Remembering()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.deliverer(sender).run)
            await one.teams(0, 1)
            await comes(lambda: len(sender.sent) == 2)
            over = Draft(SYSTEM, "", "t", "workspace.delete", (DropWorkspace("acme"),))
            await one.store.committer.commit(lambda reading: Decided(over, None))
            await comes(lambda: len(sender.sent) == 3)
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
        assert len(set(sender.sent)) == 3
        with one.store.catalog.read() as reading:
            assert [hook.id for hook in reading.webhooks()] == ["whk_a", "whk_b"], "so that a crash loses nothing"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.deliverer(refusing).run)
            await comes(lambda: one.records.state("whk_a") is None and one.records.state("whk_b") is None)
            nursery.cancel_scope.cancel()
        assert refusing.sent == []
