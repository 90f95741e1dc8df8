"""Does a shield wait for what the edge that asks it knows already, and for nobody else?"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from cache.following.relay import SEEN, Relay, seen_at
from gateway.access.credentials import tickets
from gateway.access.peers.leases import Lease
from gateway.access.tokens import mint
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from gateway.front.peers.seeing import SECONDS_MAX, Seeing
from gateway.front.writes.relaying import LOST_SECONDS_MAX, Relaying
from storage.errors import Unavailable
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Edge, Grant, PutEdge, PutToken, Token
from storage.open import Store
from tests.harness.stores import opened, publish, write
from tests.harness.worlds import NOW_MS

KEY = b"k" * 32
SHIELD = cast("Lease", object())


def asks(serial: int, *, key: bytes = KEY, workspace: str = "acme") -> Head:
    return Head(raw_path="/acme/main/generic/f", headers={SEEN: seen_at(workspace, serial)}, key=key)


async def enrolled(store: Store, *workspaces: str) -> None:
    edge = Edge("tokyo", "asia", workspaces, key=KEY, enrolled_ms=1)
    await write(store, PutEdge(edge), workspace=SYSTEM, repository="")


async def test_a_shield_waits_for_what_its_edge_knows(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await enrolled(store, "acme")
        await publish(store, "a", b"a")
        seeing = Seeing(store.catalog, SHIELD)
        with store.catalog.read() as reading:
            assert seeing.ahead(reading, asks(1)) is None
            assert seeing.ahead(reading, asks(2)) == ("acme", 2)
        order = []
        async with trio.open_nursery() as nursery:

            async def asked() -> None:
                await seeing.catch_up(asks(2))
                with store.catalog.read() as reading:
                    order.append(("answered", reading.serial("acme")))

            nursery.start_soon(asked)
            await trio.sleep(0.05)
            order.append(("published", 2))
            await publish(store, "b", b"b")
        assert order == [("published", 2), ("answered", 2)]


async def test_a_shield_that_stays_behind_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    with opened(tmp_path) as store:
        await enrolled(store, "acme")
        before_s = trio.current_time()
        with pytest.raises(Unavailable, match="behind"):
            await Seeing(store.catalog, SHIELD).catch_up(asks(7))
        assert trio.current_time() - before_s == pytest.approx(SECONDS_MAX)


async def test_nobody_else_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Clients, strangers, edges that may not see the Workspace, and whoever asks an origin."""
    with opened(tmp_path) as store:
        await enrolled(store, "acme")
        seeing = Seeing(store.catalog, SHIELD)
        nonsense = Head(headers={SEEN: "acme=99999999999999999999"}, key=KEY)
        for head in (Head(), asks(7, key=b""), asks(7, key=b"x" * 32), asks(7, workspace="theirs"), nonsense):
            await seeing.catch_up(head)
        await Seeing(store.catalog, None).catch_up(asks(7))
        assert trio.current_time() == pytest.approx(0, abs=0.01)


async def test_who_was_sent_here_with_a_ticket_is_waited_for(tmp_path: Path) -> None:
    """Who just published by a global name finds it at the edge that it is sent to."""
    with opened(tmp_path) as store:
        await enrolled(store, "acme")
        text, parts = mint()
        grants = (Grant("acme", read=True),)
        token = Token(parts.id, "reader", parts.sha256, grants, "api", NOW_MS, verify_key=parts.verify_key)
        await write(store, PutToken(token), workspace=SYSTEM, repository="")
        await publish(store, "a", b"a")
        fields = {"host": "edge.example", "peer": "203.0.113.7"}
        with store.catalog.read() as reading:
            there = cast("Any", Ahead(reading, 1))
            shows = Head(raw_path="/acme/main/generic/f", secret=text, **fields)
            ticket = tickets.issue(there, shows, "acme", "edge.example", NOW_MS)
            sent = Head(raw_path="/acme/main/generic/f", query=((tickets.ARGUMENT, ticket),), **fields)
            assert Seeing(store.catalog, SHIELD).ahead(reading, sent) == ("acme", 2)
            assert Seeing(store.catalog, None).ahead(reading, sent) is None
        waited = []
        async with trio.open_nursery() as nursery:

            async def asked() -> None:
                await Seeing(store.catalog, SHIELD).catch_up(sent)
                waited.append("answered")

            nursery.start_soon(asked)
            await trio.sleep(0.05)
            waited.append("published")
            await publish(store, "b", b"b")
        assert waited == ["published", "answered"]


class Ahead:
    """A reading of a node that knows more."""

    def __init__(self, reading: Reading, by: int) -> None:
        self._reading, self._by = reading, by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reading, name)

    def serial(self, ws: str) -> int:
        return self._reading.serial(ws) + self._by


# ---------------------------------------------------------------- writes


class Silent:
    """A relay whose origin never answers."""

    async def forward(self, *_: object) -> object:
        await trio.sleep_forever()
        raise AssertionError


def request() -> Request:
    return cast("Request", SimpleNamespace(head=Head("PUT", "/acme/main/generic/f"), body=None, outcome=""))


async def test_f2_a_write_ends_when_the_origin_falls_silent(tmp_path: Path, autojump_clock: MockClock) -> None:
    lost_at_s = 4.0
    with opened(tmp_path) as store:

        def lost() -> bool:
            return trio.current_time() >= lost_at_s

        relaying = Relaying(cast("Relay", cast("Any", Silent())), store.catalog, lost)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relaying.run)
            with pytest.raises(Unavailable, match="whether it was done") as told:
                await relaying.forward(request())
            assert told.value.retry_after_s
            assert lost_at_s < trio.current_time() <= lost_at_s + LOST_SECONDS_MAX + 0.3
            before_s = trio.current_time()
            with pytest.raises(Unavailable, match="has lost its origin") as told:
                await relaying.forward(request())
            assert (trio.current_time(), bool(told.value.retry_after_s)) == (before_s, True)
            nursery.cancel_scope.cancel()
