"""Do the simulated caches of the bench keep their share, and hit what they should?"""

import json
from pathlib import Path

import pytest

from bench.machine import Skipped
from bench.policies import POLICIES
from bench.scenarios.eviction import bounded, drawn, measured, recorded


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


@pytest.mark.parametrize("many", [2, 16])
def test_who_shares_packs_is_bounded_at_a_price_that_is_told(many: int) -> None:
    """At most seven bytes are written on for one that is freed (an eighth of a pack is the least that is worth it)."""
    has, of_freed, of_fetched = (row.ours[0] for row in bounded(many, 20_000))
    assert 0 < has < 100 / many
    assert 0 < of_freed <= 7
    assert 0 < of_fetched < 2


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
