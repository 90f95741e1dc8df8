"""Is a registry left alone that says that our requests are used up, by the whole node and no longer than it asks?"""

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from cache.foreign.budget import REST_SECONDS_MAX, REST_SECONDS_UNTOLD, Budget
from cache.keeping.shelf import Shelf
from storage.errors import Unavailable

HERE = "http://one.example:5000/v2/app/manifests/1"
ELSEWHERE = "http://two.example:5000/v2/app/manifests/1"


class Clock:
    now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    env = lmdb.open(str(tmp_path / "records"), map_size=16 << 20, max_dbs=16, sync=False)
    yield Shelf(env)
    env.close()


def left_s(budget: Budget, url: str = HERE) -> int:
    try:
        budget.check(url)
    except Unavailable as problem:
        return problem.retry_after_s or 0
    return 0


def test_o8_one_that_is_left_alone_is_so_for_all_it_has_and_in_every_process(shelf: Shelf) -> None:
    clock = Clock()
    one, other = Budget(shelf, clock), Budget(shelf, clock)
    one.rest(HERE, 60)
    for budget in (one, other):
        assert left_s(budget) == 61
        assert left_s(budget, "http://one.example:5000/v2/other/blobs/x") == 61
        assert left_s(budget, ELSEWHERE) == 0
    clock.now_ms += 60_000
    assert left_s(other) == 0


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"retry-after": "30"}, 30),
        (429, {"retry-after": "99999"}, REST_SECONDS_MAX),
        (429, {"retry-after": "Fri, 27 Nov 2026 08:00:00 GMT"}, 5),
        (429, {}, 0),
        (200, {"ratelimit-remaining": "0;w=21600"}, REST_SECONDS_UNTOLD),
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 7),
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "soon"}, REST_SECONDS_UNTOLD),
        (200, {"ratelimit-remaining": "1;w=21600"}, 0),
        (200, {"ratelimit-remaining": "10"}, 0),
        (200, {"ratelimit-remaining": "none"}, 0),
        (200, {"ratelimit-remaining": "\u0660"}, 0),
        (200, {"ratelimit-remaining": "0" * 40}, 0),
        (503, {"retry-after": "30"}, 0),
    ],
)  # fmt: skip
def test_o8_what_an_answer_tells(shelf: Shelf, status: int, headers: dict[str, str], seconds: int) -> None:
    budget = Budget(shelf, Clock())
    budget.heed(HERE, status, headers)
    assert left_s(budget) == (seconds + 1 if seconds else 0)


def test_e10_a_clock_that_went_back_does_not_keep_an_upstream_away_for_ever(shelf: Shelf) -> None:
    clock = Clock()
    budget = Budget(shelf, clock)
    budget.rest(HERE, 60)
    clock.now_ms -= 3_600_000
    assert left_s(budget) == 0
