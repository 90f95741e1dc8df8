"""Whatever happens on the way between workers and the origin: is never more spent than the limit?"""

import tempfile
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.limits.tolls import Ledger, Lending, Lent, Return, Tolls, Wish, period_of
from storage.errors import Forbidden, Unavailable
from storage.nouns import Entitlement, Token

WORKERS = 3
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "ahead", "lose the answer", "lose the return", "crash", "idle"]),
        st.integers(0, WORKERS - 1),
        st.integers(0, 40),
        st.sampled_from(["a", "b", "c", "d"]),
    ),
    max_size=60,
)


class Losing:
    """A way to the origin on which answers get lost."""

    def __init__(self, lending: Lending) -> None:
        self._lending = lending
        self.losing = False

    async def lend(self, wish: Wish) -> Lent:
        lent = await self._lending.lend(wish)
        if self.losing:
            raise Unavailable("lost")
        return lent

    async def take_back(self, back: Return) -> None:
        await self._lending.take_back(back)
        if self.losing:
            raise Unavailable("lost")


@settings(deadline=None, max_examples=60)
@given(STEPS, st.integers(0, 30), st.integers(0, 300), st.integers(0, 3))
def test_f9_never_more_is_spent_than_the_limit(
    steps: list[tuple[str, int, int, str]], downloads: int, size: int, clients: int
) -> None:
    limits = Entitlement(downloads, size, clients)
    token = Token("tok_x", "customer", bytes(32), (), "entitlement", 1_000, entitlement=limits)

    async def play() -> None:
        ledger = Ledger(Path(folder) / "ledger")
        lending = Lending(ledger, lambda id: token, lambda: 5_000)
        ways = [Losing(lending) for _ in range(WORKERS)]
        tolls = [Tolls(way) for way in ways]
        spent, bytes_spent, seen = 0, 0, set()
        for step, worker, cost, client in steps:
            ways[worker].losing = step.startswith("lose")
            if step in ("take", "lose the answer"):
                try:
                    await tolls[worker].take(token.id, limits, client, cost)
                except (Forbidden, Unavailable):
                    continue
                spent, bytes_spent = spent + 1, bytes_spent + cost
                seen.add(client)
                if tolls[worker].spending(token.id, limits, client)(cost):  # as the loop does, without asking anybody
                    spent, bytes_spent = spent + 1, bytes_spent + cost
            elif step == "ahead":
                await tolls[worker].borrow_ahead(token.id, limits)
            elif step == "crash":
                tolls[worker] = Tolls(ways[worker])
            else:
                await tolls[worker].farewell()
            used = ledger.used(token, 5_000)
            assert not downloads or spent <= used.downloads <= downloads
            assert not size or bytes_spent <= used.size <= size
            assert not clients or len(seen) <= used.clients <= clients
        ledger.close()

    with tempfile.TemporaryDirectory() as folder:
        trio.run(play, clock=trio.testing.MockClock(autojump_threshold=60))


@pytest.mark.parametrize(
    ("period_s", "reset_ms", "now_ms", "expected"),
    [
        (0, 0, 5_000, 1_000),
        (1, 0, 5_500, 5_000),
        (1, 3_700, 5_500, 4_700),
        (0, 3_000, 5_000, 3_000),
        (2, 0, 999, 1_000),
    ],
)
def test_when_a_period_begins(period_s: int, reset_ms: int, now_ms: int, expected: int) -> None:
    began, ends = period_of(Entitlement(period_s=period_s, reset_ms=reset_ms), 1_000, now_ms)
    assert began == expected
    assert ends > max(now_ms, began)


async def test_a_new_period_is_a_new_count(tmp_path: Path) -> None:
    limits = Entitlement(2, period_s=10)
    token = Token("tok_x", "customer", bytes(32), (), "entitlement", 0, entitlement=limits)
    ledger = Ledger(tmp_path)
    wish = Wish(token.id, 1, 0, "")
    assert [ledger.lend(token, wish, 1_000).refused for _ in range(3)] == ["", "", "downloads"]
    assert ledger.lend(token, wish, 10_000).refused == ""
    ledger.take_back(Return(token.id, 0, 2, 0))
    assert ledger.used(token, 10_000).downloads == 1, "a slice of the last period is of no use in this one"
    ledger.close()
