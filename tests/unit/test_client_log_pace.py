"""Do lines become segments in time, also where delivery leaves the work hardly any of a core? THREATS F12."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Logs
from gateway.insight.requestlog import RequestLog, fragment, peer_tag, stamp
from gateway.logs import keeping
from gateway.logs.jobs import carry_out
from gateway.logs.keeping import ROOM_BYTES, Keeping
from gateway.logs.pace import EQUAL, LOW, LOWEST, PRIORITIES, Waiting, left_s, priority
from gateway.logs.tasks import Build

MB = 1 << 20
TASK = Build("/", "", "", "", "")


@pytest.mark.parametrize(
    ("before", "now", "seconds", "found"),
    [
        ({}, {}, 2, LOWEST),  # nobody asks
        ({0: 32 * MB}, {0: 32 * MB}, 2, LOWEST),  # nor any more
        ({}, {0: MB // 10}, 2, LOWEST),  # 200 requests a second
        ({0: 10 * MB}, {0: 12 * MB}, 2, LOW),  # 4,500
        ({}, {0: 46 * MB}, 2, EQUAL),  # 100,000: what is left are eight seconds
        ({}, {0: MB // 10, 1: 46 * MB}, 2, EQUAL),  # the fullest counts
        ({0: ROOM_BYTES}, {0: ROOM_BYTES}, 2, EQUAL),  # nothing comes, and nothing must
        ({0: 60 * MB}, {0: MB}, 2, LOWEST),  # it was taken
    ],
)
def test_the_sooner_lines_are_lost_the_more_of_the_core_the_work_has(
    before: dict[int, int], now: dict[int, int], seconds: float, found: int
) -> None:
    assert priority(left_s(Waiting(before, 10.0), Waiting(now, 10.0 + seconds), ROOM_BYTES)) == found


@given(st.integers(0, ROOM_BYTES), st.integers(0, ROOM_BYTES), st.floats(0, 100))
def test_more_that_waits_is_never_less_urgent(less: int, more: int, seconds: float) -> None:
    less, more = sorted((less, more))
    left = [left_s(Waiting({0: 0}, 0.0), Waiting({0: one}, seconds), ROOM_BYTES) for one in (less, more)]
    assert left[0] >= left[1]
    assert priority(left[0]) >= priority(left[1])
    assert priority(left[0]) in PRIORITIES


def test_a_task_that_is_left_no_time_begins_anew_at_a_higher_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no core while it is low: here it sleeps then."""
    tried = tmp_path / "tried"
    told = f"""
import os, time
nice = os.getpriority(os.PRIO_PROCESS, 0)
open({str(tried)!r}, "a").write(f"{{nice}} ")
if nice > {EQUAL}:
    time.sleep(60)
print(nice)
"""
    monkeypatch.setattr("gateway.logs.jobs.COMMAND", (sys.executable, "-c", told))
    assert carry_out(TASK, int, memory_bytes_max=1, seconds_max=60.0, patience_s=2.0) == EQUAL
    assert tried.read_text().split() == [str(one) for one in PRIORITIES]


def test_f12_a_log_that_fills_in_seconds_is_taken_at_deliverys_own_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at the lowest again, once little comes."""
    asked: list[int] = []
    real = carry_out

    def seen(*told: object, nice: int, **more: object) -> object:
        asked.append(nice)
        return real(*told, nice=nice, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(keeping, "carry_out", seen)
    monkeypatch.setattr(keeping, "ROOM_BYTES", 20 * MB)
    made = Keeping(tmp_path, "tokyo", Logs(), None, None)
    made.folders.make("origin")
    log = RequestLog(made.folders.logs / "access-0.jsonl")
    what = fragment("GET", b"/acme/main/generic/x", 200, 1, repository="acme/main")

    def add(count: int) -> None:
        log.pending += (stamp(1.0), peer_tag("192.0.2.1", "http"), what) * count
        log.flush()

    add(10)
    log.close()
    made.look()
    made.take()
    add(100_000)
    log.close()
    assert made.look().all > 10 * MB
    made.take()
    made.look()
    made.look()
    add(10)
    log.close()
    made.take()
    assert asked == [LOWEST, EQUAL, LOWEST]
