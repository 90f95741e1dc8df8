"""How many requests, of which kind, how many bytes? Counted in each worker, told for all of them by any.

The hot path holds a Tally and adds to two numbers. Each worker writes its counters to a small file once a second;
rendering reads the files of all. Every series carries its worker, so that one that was restarted is a reset of its
own series and of no other. No label comes from what a client may choose freely.
"""

import json
import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.insight.series import Labels, headed, labelled, written
from gateway.insight.stalls import STEPS_S, Stalls

BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
KEYS_MAX = 1_000

Key = tuple[str, str, str]
OTHER: Key = ("-", "-", "OTHER")


class Tally:
    """One kind of answer: how many, and the bytes of their bodies."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0


class Metrics:
    """Counters of one worker of a node; `directory` is shared by its workers."""

    def __init__(self, directory: Path, worker: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._worker = str(worker)
        self._path = directory / f"{worker}.json"
        self._tallies: dict[Key, Tally] = {}
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._seconds_sum = 0.0
        self._told = ""
        self.connections = 0
        self.running = 0
        self.log_dropped = 0
        self.spans_sent = 0
        self.spans_dropped = 0
        self.stalls = Stalls()

    def tally(self, key: Key) -> Tally:
        """The counter of (method, status, outcome), to be kept and added to."""
        known = self._tallies.get(key)
        if known is None:
            if len(self._tallies) >= KEYS_MAX:
                key = OTHER
            known = self._tallies.setdefault(key, Tally())
        return known

    def count(self, key: Key, size: int) -> None:
        """One answer of that kind with a body of `size` bytes."""
        tally = self.tally(key)
        tally.requests += 1
        tally.bytes += size

    def time(self, seconds: float) -> None:
        """How long a request task took."""
        self._seconds_sum += seconds
        self._buckets[bisect_left(BUCKETS_S, seconds)] += 1

    def publish(self) -> None:
        """Let the other workers see these counters. A disk that is full loses an update, nothing else."""
        told = json.dumps(self._snapshot())
        if told == self._told:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(told)
            os.replace(fresh, self._path)
        except OSError:
            return
        self._told = told

    def sum(self, field: str) -> int:
        """One counter over all workers."""
        return sum(int(str(told.get(field, 0))) for told in self._all().values())

    def render(self) -> str:
        """Prometheus text (version 0.0.4) over all workers: the others as of a second ago, this one as of now."""
        return "".join(_lines(sorted(self._all().items())))

    def _all(self) -> dict[str, dict[str, Any]]:
        workers: dict[str, dict[str, Any]] = {}
        for path in self._directory.glob("*.json"):
            try:
                told = json.loads(path.read_text())
                if _runs(told["pid"]) and told["steps"]:
                    workers[path.stem] = told
            except (OSError, ValueError, KeyError, TypeError):
                continue  # a worker that is just starting, or the remains of one
        workers[self._worker] = self._snapshot()
        return workers

    def _snapshot(self) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "requests": [[*key, tally.requests, tally.bytes] for key, tally in self._tallies.items()],
            "buckets": self._buckets,
            "seconds_sum": round(self._seconds_sum, 6),
            "connections": self.connections,
            "running": self.running,
            "log_dropped": self.log_dropped,
            "spans_sent": self.spans_sent,
            "spans_dropped": self.spans_dropped,
            "steps": self.stalls.counts,
            "longest_step_s": round(self.stalls.longest_s(), 4),
        }


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lines(workers: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    yield from written("requests_total", "counter", "Answers sent.", _counts(workers, 3))
    yield from written("response_bytes_total", "counter", "Bytes of the bodies of answers.", _counts(workers, 4))
    yield from headed("request_seconds", "histogram", "Time of requests that needed more than a look into memory.")
    for worker, told in workers:
        total = 0
        for limit, count in zip((*map(str, BUCKETS_S), "+Inf"), told["buckets"], strict=True):
            total += count
            yield f"entrepot_request_seconds_bucket{labelled({'worker': worker, 'le': limit})} {total}\n"
        yield f"entrepot_request_seconds_sum{labelled({'worker': worker})} {told['seconds_sum']}\n"
        yield f"entrepot_request_seconds_count{labelled({'worker': worker})} {total}\n"
    steps = (
        ({"worker": worker, "upto": limit}, count)
        for worker, told in workers
        for limit, count in zip((*map(str, STEPS_S), "+Inf"), told["steps"], strict=True)
    )
    yield from written(
        "loop_steps_total", "counter", "Steps that kept all else on the loop waiting for over 5 ms.", steps
    )
    for name, kind, field, help in _FIELDS:
        yield from written(name, kind, help, (({"worker": worker}, told[field]) for worker, told in workers))


_FIELDS = (
    ("loop_longest_step_seconds", "gauge", "longest_step_s", "The longest such step of the last minute or two."),
    ("connections", "gauge", "connections", "Connections that are open."),
    ("requests_running", "gauge", "running", "Requests that a task is at work on."),
    ("access_log_dropped_total", "counter", "log_dropped", "Lines that the disk of the access log was too slow for."),
    ("trace_spans_total", "counter", "spans_sent", "Spans that the collector took."),
    ("trace_spans_dropped_total", "counter", "spans_dropped", "Spans that the collector did not take in time."),
)


def _counts(workers: list[tuple[str, dict[str, Any]]], column: int) -> Iterator[tuple[Labels, int]]:
    for worker, told in workers:
        for row in sorted(told["requests"]):
            method, status, outcome = row[:3]
            yield {"worker": worker, "method": method, "status": status, "outcome": outcome}, row[column]
