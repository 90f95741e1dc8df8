"""Is a customer whose limit is reached told when it may fetch again?"""

import pytest
import trio

from gateway.access.limits.tolls import NEVER_MS, Lent, Return, Tolls, Wish
from storage.errors import Forbidden
from storage.nouns import Entitlement

HOUR_MS = 3_600_000


class Refusing:
    """Lends nothing any more until the period is over."""

    def __init__(self, left_ms: int) -> None:
        self.left_ms = left_ms

    async def lend(self, wish: Wish) -> Lent:
        await trio.lowlevel.checkpoint()
        return Lent(1, self.left_ms, refused="downloads")

    async def take_back(self, back: Return) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("left_ms", "told"),
    [
        (30 * 24 * HOUR_MS, "A new period begins within 30 days. Ask whoever gave you the token."),
        (25 * HOUR_MS, "A new period begins within 2 days. Ask whoever gave you the token."),
        (90 * 60_000, "A new period begins within 2 hours. Ask whoever gave you the token."),
        (1, "A new period begins within 1 minute. Ask whoever gave you the token."),
        (NEVER_MS - 1_800_000_000_000, "Ask whoever gave you the token."),
    ],
)
async def test_a_limit_that_is_reached_says_until_when(left_ms: int, told: str) -> None:
    with pytest.raises(Forbidden) as refused:
        await Tolls(Refusing(left_ms)).take("tok_a", Entitlement(downloads_max=1), "192.0.2.7", 1)
    assert refused.value.remedy == told
