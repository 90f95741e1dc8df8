"""Whom do issuers that never answer keep waiting (THREATS A8, D2), and how often is one asked?

The issuers are fakes that answer when a test lets them.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import trio

from cache.asking.upstream import Fetched
from gateway.access.signin import issuers as told
from gateway.access.signin.issuers import RESTING_S, Endpoints, Issuers
from gateway.access.signin.lots import LOT_THREADS_MAX, THREADS_MAX
from storage.errors import Unavailable, UpstreamFailed
from tests.harness.identities import Issuer, rsa_jwk

KEYS = {"keys": [rsa_jwk(Issuer.rsa_key, "rsa")]}
HANGS_S = 30.0
"""A test that waits longer has failed."""


async def until(holds: Callable[[], bool]) -> None:
    """What threads do tells the loop nothing."""
    while True:
        if holds():
            return
        await trio.sleep(0.001)


class Outside:
    """All issuers. Those at "slow" hosts answer once `gate` is open, those at "broken" ones then fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.asked: list[str] = []
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __call__(self) -> Any:
        return self

    def close(self) -> None:
        pass

    def _answer(self, url: str, told: Any) -> Fetched:
        host = url.split("/")[2]
        with self.lock:
            self.asked.append(url)
            self.now[host] += 1
            self.most[host] = max(self.most[host], self.now[host])
        if "slow" in host:
            self.gate.wait()
        with self.lock:
            self.now[host] -= 1
        if "broken" in host:
            raise UpstreamFailed("It does not answer.")
        return Fetched(200, {}, json.dumps(told).encode(), url)

    def fetch_document(self, url: str, headers: Mapping[str, str], **more: Any) -> Fetched:
        issuer = "/".join(url.split("/")[:3])
        document = {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/keys",
            "authorization_endpoint": f"{issuer}/a",
            "token_endpoint": f"{issuer}/token",
        }
        return self._answer(url, KEYS if url.endswith("/keys") else document)

    def send_form(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str], **more: Any) -> Fetched:
        return self._answer(url, {"id_token": "x"})

    async def under(self, count: int) -> None:
        """Wait until so many requests are under way, and see that there are no more."""
        await until(lambda: self.now.total() >= count)
        for _ in range(20):
            await trio.sleep(0.001)
            assert self.now.total() == count, self.now


@pytest.fixture
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.gate.set()


async def key(issuers: Issuers, host: str, workspace: str) -> Any:
    return await issuers.key(f"https://{host}", "rsa", private_network=False, workspace=workspace)


async def redeem(issuers: Issuers, host: str, workspace: str) -> Any:
    there = Endpoints(f"https://{host}/a", f"https://{host}/token", True, False)
    return await issuers.redeem(f"https://{host}", there, {}, "", private_network=False, workspace=workspace)


async def fails(work: Any, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        await work


async def test_a8_slow_issuers_of_a_workspace_keep_no_other_waiting(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and codes alike; what waits for its turn is answered when that comes."""
    monkeypatch.setattr(told, "WAIT_S_MAX", HANGS_S)
    issuers, got = Issuers(outside), []

    async def ask(number: int) -> None:
        one = redeem if number % 2 else key
        got.append(await one(issuers, f"slow{number}.example", "greedy"))

    with trio.fail_after(HANGS_S):
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(ask, number)
            await outside.under(LOT_THREADS_MAX)
            assert await key(issuers, "good.example", "modest") is not None
            assert await redeem(issuers, "good.example", "modest") == {"id_token": "x"}
            assert not got
            outside.gate.set()
    assert len(got) == 12
    assert all(got)
    assert issuers._lots._lots == {}, "nothing is kept of who asks no more"


async def test_a8_all_workspaces_together_have_so_many_threads(outside: Outside) -> None:
    issuers = Issuers(outside)
    with trio.fail_after(HANGS_S):
        async with trio.open_nursery() as nursery:
            for number in range(3 * THREADS_MAX):
                nursery.start_soon(key, issuers, f"slow{number}.example", f"w{number // 2}")
            await outside.under(THREADS_MAX)
            outside.gate.set()
    assert issuers._lots._lots == {}


async def test_a8_an_issuer_is_asked_once_at_a_time_whoever_hangs_up(outside: Outside) -> None:
    issuers, got = Issuers(outside), []

    async def ask(workspace: str) -> None:
        got.append(await key(issuers, "slow.example", workspace))

    with trio.fail_after(HANGS_S):
        for number in range(5):  # each begins, or joins, and leaves
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, f"w{number}")
                await outside.under(1)
                nursery.cancel_scope.cancel()
        assert issuers._lots._lots.keys() == {"w0"}, "a thread is had until it is back"
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, f"w{number}")
            await outside.under(1)
            outside.gate.set()
    assert len(got) == 20
    assert outside.most["slow.example"] == 1
    assert len(outside.asked) == 2, "the document and the keys, once"


async def test_a8_a_failure_is_remembered_though_nobody_waited_for_it(outside: Outside) -> None:
    clock_s = 0.0
    issuers = Issuers(outside, lambda: clock_s)
    with trio.fail_after(HANGS_S):
        for asks in (key, redeem):
            before = len(outside.asked)
            outside.gate.clear()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asks, issuers, "slow-broken.example", "w")
                await outside.under(1)
                nursery.cancel_scope.cancel()
            outside.gate.set()
            await until(lambda: not issuers._lots._lots)
            for _ in range(5):
                await fails(asks(issuers, "slow-broken.example", "other"), Unavailable)
            assert len(outside.asked) == before + 1
            clock_s += RESTING_S
            await fails(asks(issuers, "slow-broken.example", "other"), UpstreamFailed)
            assert len(outside.asked) == before + 2
            clock_s += RESTING_S


async def test_a8_who_waits_too_long_is_told_so(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "WAIT_S_MAX", 0.05)
    issuers = Issuers(outside)
    with trio.fail_after(HANGS_S):
        for asks in (key, key, redeem):
            await fails(asks(issuers, "slow.example", "w"), Unavailable)
        assert outside.now.total() == 2
        await fails(redeem(issuers, "slow2.example", "w"), Unavailable)
        assert outside.now.total() == 2, "its workspace has its threads out already"


async def test_a8_what_is_known_of_issuers_is_bounded_and_what_is_under_way_stays(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "ISSUERS_MAX", 3)
    issuers, got = Issuers(outside), []

    async def ask() -> None:
        got.append(await key(issuers, "slow.example", "w"))

    with trio.fail_after(HANGS_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await outside.under(1)
            for number in range(20):
                await key(issuers, f"i{number}.example", "other")
                assert len(issuers._held) <= 3
            nursery.start_soon(ask)
            await outside.under(1)
            outside.gate.set()
    assert len(got) == 2
    assert outside.most["slow.example"] == 1
