"""Do the simulated caches of the bench keep their share, and hit what they should?"""

import json
from pathlib import Path

import pytest

from bench.machine import Skipped
from bench.policies import POLICIES
from bench.scenarios.eviction import bounded, drawn, measured, neighbours, recorded


@pytest.mark.parametrize("name", POLICIES)
def test_a_cache_with_room_for_all_misses_each_object_once(name: str) -> None:
    trace = drawn(1, 4_000)
    policy = POLICIES[name](2 * sum(dict(trace).values()))
    assert sum(not policy.ask(key, size) for key, size in trace) == len(dict(trace))


@pytest.mark.parametrize("name", POLICIES)
def test_a_smaller_share_has_less(name: str) -> None:
    trace = drawn(2, 20_000)
    small, large = measured(name, trace, 0.02), measured(name, trace, 0.2)
    assert 0 < small[0] < large[0] < 100
    assert 0 < small[1] < large[1] < 100


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("many", [2, 32])
def test_who_lies_apart_is_bounded_for_little(many: int, *, each: bool) -> None:
    """Its most holds, and less is written on than is freed; of what lies together up to seven times as much (an eighth
    of a pack is the least that is worth it), and there a small most does not hold."""
    has, of_freed, of_fetched, _ = bounded(many, 20_000, each=each)
    assert 25 / many < has.ours[0] <= 50 / many
    assert of_freed.ours[0] < 0.3
    assert of_fetched.ours[0] < 0.3
    assert of_freed.theirs[0] <= 7
    assert (has.theirs[0] > 50 / many) or many == 2


def test_a_most_for_the_busy_one_helps_the_quiet_one() -> None:
    nothing, least, most, alone = (row.ours[0] for row in neighbours(20_000))
    assert nothing < 50
    assert min(least, most) > 85
    assert most >= alone - 2


def test_lru_is_what_a_list_would_be() -> None:
    trace = [(key, 10) for key, _ in drawn(3, 3_000)]
    policy, kept = POLICIES["LRU"](1_000), list[bytes]()
    for key, size in trace:
        assert policy.ask(key, size) == (key in kept)
        if key in kept:
            kept.remove(key)
        kept = [*kept, key][-100:]


def test_a_log_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    lines = [
        {"time": "2026-11-27T10:00:02", "method": "GET", "target": "/b", "status": 200, "bytes": 7},
        {"time": "2026-11-27T10:00:01", "method": "GET", "target": "/a", "status": 200, "bytes": 5},
        {"time": "2026-11-27T10:00:03", "method": "GET", "target": "/a", "status": 304, "bytes": 0},
        {"time": "2026-11-27T10:00:04", "method": "PUT", "target": "/c", "status": 201, "bytes": 9},
    ]
    log = tmp_path / "access-0.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"time": "2026')
    assert recorded([log]) == [(b"/a", 5), (b"/b", 7)]
    log.write_text("")
    with pytest.raises(Skipped):
        recorded([log])
