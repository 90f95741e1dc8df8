"""Whatever happens on the way between workers and the origin: is never more spent than the limit?"""

import tempfile
from pathlib import Path
from time import monotonic

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.limits.pockets import ROLL_DOWNLOADS_MAX, ROLL_SHARE, ROLLS_MAX, Pocket, Roll
from gateway.access.limits.tolls import IDLE_SECONDS, Ledger, Lending, Lent, Return, Tolls, Wish, period_of
from gateway.delivery.messages.answers import Answer, Wire
from gateway.delivery.messages.memo import Entry
from gateway.insight.metrics import Tally
from storage.errors import Forbidden, Unavailable
from storage.nouns import Entitlement, Token

WORKERS = 3
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["take", "take", "take", "again", "again", "ahead", "lose the answer", "lose the return", "crash", "idle"]
        ),
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

    async def lend(self, wish: Wish, to: str = "") -> Lent:
        lent = await self._lending.lend(wish)
        if self.losing:
            raise Unavailable("lost")
        return lent

    async def take_back(self, back: Return, of: str = "") -> None:
        await self._lending.take_back(back)
        if self.losing:
            raise Unavailable("lost")


def remembered(tolls: Tolls, token: Token, limits: Entitlement, client: str, size: int) -> Entry:
    """An answer as the loop keeps it."""
    answer = Answer(body=bytes(size))
    answer.toll = tolls.spending(token.id, limits, client)
    return Entry(answer, Wire(200, b"", bytes(size), (), size, False), 1, b"", Tally())


@settings(deadline=None, max_examples=100)
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
        kept: list[list[Entry]] = [[] for _ in range(WORKERS)]
        for step, worker, cost, client in steps:
            ways[worker].losing = step.startswith("lose")
            if step in ("take", "lose the answer"):
                try:
                    await tolls[worker].take(token.id, limits, client, cost)
                except (Forbidden, Unavailable):
                    continue
                spent, bytes_spent = spent + 1, bytes_spent + cost
                seen.add(client)
                kept[worker].append(remembered(tolls[worker], token, limits, client, cost))
            elif step == "again":  # as the loop does, without asking anybody
                for entry in kept[worker]:
                    for _ in range(cost % 5):
                        if entry.may_go(1, monotonic()):
                            spent, bytes_spent = spent + 1, bytes_spent + entry.size
            elif step == "ahead":
                await tolls[worker].borrow_ahead(token.id, limits)
            elif step == "crash":
                tolls[worker], kept[worker] = Tolls(ways[worker]), []
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


class Generous:
    """Lends whatever is asked for, and keeps what comes back."""

    def __init__(self, downloads: int, size: int) -> None:
        self._lent = Lent(1, 3_600_000, downloads, size)
        self.asked = 0
        self.back: list[Return] = []

    async def lend(self, wish: Wish, to: str = "") -> Lent:
        self.asked += 1
        return self._lent

    async def take_back(self, back: Return, of: str = "") -> None:
        self.back.append(back)


async def test_a_remembered_answer_is_charged_by_a_subtraction_and_the_pocket_is_asked_once_in_many() -> None:
    """What a hot download costs: one draw in 64, nothing awaited, and the sums are right at every step."""
    limits, draws = Entitlement(1 << 40, 1 << 60), 0
    tolls = Tolls(Generous(10_000, 10_000_000))
    await tolls.take("tok_x", limits, "a", 100)
    token = Token("tok_x", "customer", bytes(32), (), "entitlement", 1_000, entitlement=limits)
    entry = remembered(tolls, token, limits, "a", 100)
    roll = entry.toll
    assert isinstance(roll, Roll)
    pay = roll._draw

    def counted(of: Roll, size: int) -> bool:
        nonlocal draws
        draws += 1
        return pay(of, size)

    roll._draw = counted
    now_s = monotonic()
    for _ in range(1_000):
        assert entry.may_go(1, now_s)
    assert draws == -(-1_000 // (ROLL_DOWNLOADS_MAX + 1))
    pocket = tolls._pockets["tok_x"]
    assert pocket.downloads + roll.paid == 10_000 - 1 - 1_000
    assert pocket.size + 100 * roll.paid == 10_000_000 - 100 * 1_001


async def test_f9_what_is_put_aside_goes_back_before_anybody_is_refused() -> None:
    """Many answers have something put aside; a last one gets all of that, and then there is nothing for anybody."""
    limits, lender = Entitlement(1_000), Generous(1_000, 0)
    tolls = Tolls(lender)
    token = Token("tok_x", "customer", bytes(32), (), "entitlement", 1_000, entitlement=limits)
    await tolls.take(token.id, limits, "a", 1)
    entries = [remembered(tolls, token, limits, "a", 1) for _ in range(20)]
    sent = sum(entry.may_go(1, monotonic()) for entry in entries)
    assert sent == 20
    assert sum(entry.toll.paid for entry in entries if entry.toll is not None) > 100
    while entries[0].may_go(1, monotonic()):
        sent += 1
    assert sent == 999
    assert not any(entry.may_go(1, monotonic()) for entry in entries)


async def test_f9_what_is_put_aside_is_given_back_with_the_rest(autojump_clock: trio.testing.MockClock) -> None:
    """Once nothing was sent for a while, and not as long as the loop still takes of it."""
    limits, lender, now_s = Entitlement(1_000, 1 << 30), Generous(1_000, 1 << 30), [100.0]
    tolls = Tolls(lender, lambda: now_s[0])
    token = Token("tok_x", "customer", bytes(32), (), "entitlement", 1_000, entitlement=limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tolls._return_idle)
        await tolls.take(token.id, limits, "a", 10)
        entry = remembered(tolls, token, limits, "a", 10)
        for number in range(8):
            assert entry.may_go(1, now_s[0]), number
            now_s[0] += IDLE_SECONDS
            await trio.sleep(IDLE_SECONDS)
        assert not lender.back
        for _ in range(5):
            now_s[0] += IDLE_SECONDS
            await trio.sleep(IDLE_SECONDS)
        nursery.cancel_scope.cancel()
    assert lender.back == [Return("tok_x", 1, 1_000 - 9, (1 << 30) - 90)]
    assert not entry.may_go(1, now_s[0])


def test_f9_what_is_put_aside_is_good_for_its_period_alone() -> None:
    limits, pocket = Entitlement(1_000), Pocket(0)
    pocket.put_in(1, 50.0, 1_000, 0)
    roll = Roll(lambda roll, size: False)
    pocket.fill(roll, limits, 1)
    assert (roll.paid, roll.until_s) == (ROLL_DOWNLOADS_MAX, 50.0)
    pocket.put_in(2, 90.0, 1_000, 0)
    assert roll.paid == 0
    assert pocket.downloads == 1_000
    pocket.fill(roll, limits, 1)
    assert not pocket.take(limits, "a", 1, 90.0)
    assert roll.paid == 0


def test_what_is_put_aside_is_bounded() -> None:
    limits, pocket = Entitlement(1 << 40), Pocket(0)
    pocket.put_in(1, 50.0, 100_000, 0)
    rolls = [Roll(lambda roll, size: False) for _ in range(3 * ROLLS_MAX)]
    for roll in rolls:
        pocket.fill(roll, limits, 1)
        assert len(pocket.rolls) <= ROLLS_MAX
        assert pocket.downloads + sum(one.paid for one in rolls) == 100_000
    pocket.unroll()
    pocket.put_in(1, 50.0, -pocket.downloads + 2 * ROLL_SHARE, 0)
    pocket.fill(rolls[0], limits, 1)
    assert rolls[0].paid == 2
