"""Do lines become segments in time, also where delivery leaves the work hardly any of a core? THREATS F12."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Logs
from gateway.insight.requestlog import RequestLog, fragment, peer_tag, stamp
from gateway.logs import keeping, merging
from gateway.logs.jobs import Folders
from gateway.logs.keeping import ROOM_BYTES, Keeping
from gateway.logs.merging import Merging
from gateway.logs.pace import EQUAL, LOW, LOWEST, PRIORITIES, Waiting, left_s, priority
from gateway.logs.register import Register
from gateway.logs.tasks import Latest
from tests.harness.believing import Everything

MB = 1 << 20


def kept(root: Path) -> tuple[Keeping, RequestLog]:
    made = Keeping(root, "tokyo", Logs(), None, None)
    made.folders.make("origin")
    return made, RequestLog(made.folders.logs / "access-0.jsonl")


def add(log: RequestLog, count: int) -> None:
    what = fragment("GET", b"/acme/main/generic/x", 200, 1, repository="acme/main")
    log.pending += (stamp(1.0), peer_tag("192.0.2.1", "http"), what) * count
    log.close()


@pytest.mark.parametrize(
    ("before", "now", "seconds", "found"),
    [
        ({}, {}, 2, LOWEST),  # nobody asks
        ({0: 32 * MB}, {0: 32 * MB}, 2, LOWEST),  # nor any more
        ({}, {0: MB // 10}, 2, LOWEST),  # 200 requests a second
        ({0: 10 * MB}, {0: 12 * MB}, 2, LOW),  # 4,500
        ({}, {0: 46 * MB}, 2, LOW),  # 100,000, but it may be a burst
        ({0: 64 * MB}, {0: 110 * MB}, 2, EQUAL),  # it is none, and what is left are four seconds
        ({0: 0, 1: 64 * MB}, {0: MB // 10, 1: 110 * MB}, 2, EQUAL),  # the fullest counts
        ({0: 110 * MB}, {0: 110 * MB}, 2, LOWEST),  # it was one
        ({0: ROOM_BYTES}, {0: ROOM_BYTES}, 2, EQUAL),  # nothing comes, and nothing must
        ({0: 60 * MB}, {0: MB}, 2, LOWEST),  # it was taken
    ],
)
def test_the_sooner_lines_are_lost_the_more_of_the_core_the_work_has(
    before: dict[int, int], now: dict[int, int], seconds: float, found: int
) -> None:
    assert priority(Waiting(before, 10.0), Waiting(now, 10.0 + seconds), ROOM_BYTES) == found


@given(st.integers(0, ROOM_BYTES), st.integers(0, ROOM_BYTES), st.floats(0, 100))
def test_more_that_waits_is_never_less_urgent(less: int, more: int, seconds: float) -> None:
    less, more = sorted((less, more))
    before, later = Waiting({0: 0}, 0.0), [Waiting({0: one}, seconds) for one in (less, more)]
    left = [left_s(before, one, ROOM_BYTES) for one in later]
    assert left[0] >= left[1]
    found = [priority(before, one, ROOM_BYTES) for one in later]
    assert found == sorted(found, reverse=True)
    assert {*found} <= {*PRIORITIES}


def test_f12_a_segment_that_is_left_no_core_begins_anew_at_the_usual_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been ended at the worst point: made, with its source removed, and nothing told."""
    made, log = kept(tmp_path)
    add(log, 10)
    told = f"""
import os, runpy, sys, time
from gateway.logs import child
real = child.run
def run(engine, task):
    done = real(engine, task)
    if os.getpriority(os.PRIO_PROCESS, 0) > {EQUAL}:
        time.sleep(60)
    return done
child.run = run
child.main()
"""
    monkeypatch.setattr("gateway.logs.jobs.COMMAND", (sys.executable, "-P", "-c", told))
    assert made.take() == 1
    assert made.look().all == 0
    (segment,) = (one for one in made.folders.out.iterdir() if one.is_file())
    assert duckdb.sql(f"select count(*) from '{segment}'").fetchall() == [(10,)]


def test_what_got_no_core_is_merged_at_the_usual_priority_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"""
import os, time
nice = os.getpriority(os.PRIO_PROCESS, 0)
if nice > {EQUAL}:
    time.sleep(60)
print(0)
"""
    monkeypatch.setattr("gateway.logs.jobs.COMMAND", (sys.executable, "-c", told))
    monkeypatch.setattr(merging, "SECONDS_MAX", 1.0)
    one = Merging(Folders(tmp_path), Logs(), Register(tmp_path), Everything())
    with pytest.raises(subprocess.TimeoutExpired):
        one._carry_out(Latest("/", ()), int)
    assert one._carry_out(Latest("/", ()), int) == 0
    with pytest.raises(subprocess.TimeoutExpired):
        one._carry_out(Latest("/", ()), int)


def test_f12_a_log_that_fills_in_seconds_is_taken_at_deliverys_own_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at the lowest again, once little comes."""
    asked: list[int] = []
    real = keeping.carry_out

    def seen(*told: object, nice: int, **more: object) -> object:
        asked.append(nice)
        return real(*told, nice=nice, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(keeping, "carry_out", seen)
    monkeypatch.setattr(keeping, "ROOM_BYTES", 20 * MB)
    monkeypatch.setattr(keeping, "PATIENCE_SECONDS", 60.0)
    made, log = kept(tmp_path)
    add(log, 10)
    made.look()
    made.take()
    monkeypatch.setattr(keeping, "PACE_SECONDS_MIN", 0.0)
    add(log, 100_000)
    assert made.look().all > 10 * MB
    monkeypatch.setattr(keeping, "PACE_SECONDS_MIN", 60.0)
    made.take()
    monkeypatch.setattr(keeping, "PACE_SECONDS_MIN", 0.0)
    made.look()
    made.look()
    monkeypatch.setattr(keeping, "PACE_SECONDS_MIN", 60.0)
    add(log, 10)
    made.take()
    assert asked == [LOWEST, EQUAL, LOWEST]
