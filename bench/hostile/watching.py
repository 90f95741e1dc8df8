"""What does an attack do to a node and to those who use it meanwhile? Seen from outside, and from its metrics."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.hostile.speaking import Ended, Malformed, Reset, Said, Speaker
from bench.machine import family, memory_bytes
from bench.numbers import percentile
from gateway.delivery.processes.workers import WORKER_NAME

PROBE_PAUSE_S = 0.005
SAMPLE_S = 0.1
GOOD_BODY = b"a good file\n" * 100
STEP = re.compile(r'entrepot_loop_steps_total\{worker="\d+",upto="([^"]+)"\} (\d+)')
LONGEST = re.compile(r"entrepot_loop_longest_step_seconds\{[^}]*\} ([0-9.e+-]+)")
FAILURE = re.compile(r'entrepot_requests_total\{[^}]*status="5\d\d"[^}]*\} (\d+)')


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of a node: its 5xx, its steps over 50 ms, the longest step of the last minute."""

    failures: int
    long_steps: int
    longest_s: float


def metrics_of(url: str, token: str) -> Metrics:
    with Speaker(url) as speaker:
        said = exchange(speaker, "GET", "/-/metrics", token)
    text = said.body.decode()
    long = sum(int(count) for upto, count in STEP.findall(text) if upto == "+Inf" or float(upto) > 0.05)
    return Metrics(
        sum(map(int, FAILURE.findall(text))), long, max((float(one) for one in LONGEST.findall(text)), default=0.0)
    )


def exchange(speaker: Speaker, method: str, path: str, token: str = "", body: bytes = b"") -> Said:
    """A request of good manners."""
    who = f"Authorization: Bearer {token}\r\n" if token else ""
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    speaker.send(f"{method} {path} HTTP/1.1\r\nHost: {speaker.host}\r\n{who}{length}\r\n".encode() + body)
    return speaker.hear(head=method == "HEAD")


def role_of(pid: int) -> str:
    """What a process of a node is: a worker, a sandbox, or what looks after them."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
    if b"gateway.sandbox.child" in line:
        return "sandbox"
    return "worker" if name == WORKER_NAME else "supervisor"


def processes(pid: int) -> dict[str, dict[int, int]]:
    """Anonymous memory by process id, by role."""
    found: dict[str, dict[int, int]] = {"worker": {}, "sandbox": {}, "supervisor": {}, "": {}}
    for one in family(pid):
        try:
            found[role_of(one)][one] = memory_bytes(one)[1]
        except OSError:
            continue
    return found


@dataclass
class Seen:
    """How good clients fared: milliseconds of each request, and what went wrong."""

    probes_ms: list[float] = field(default_factory=list)
    reads_ms: list[float] = field(default_factory=list)
    publishes_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    worker_peak_bytes: int = 0
    sandbox_peak_bytes: int = 0
    longest_step_s: float = 0.0


class Bystanders:
    """Good clients beside an attack: one that asks for the same small file again and again, one that reads and one that
    publishes, each checking what it gets; and one that looks at memory and metrics."""

    def __init__(self, url: str, token: str, repository: str, pid: int) -> None:
        self._url, self._token, self._base, self._pid = url, token, f"/{repository}/generic/", pid
        self.seen = Seen()
        self._over = threading.Event()
        calls = (self._probe, self._read, self._publish, self._watch)
        self._threads = [threading.Thread(target=self._run, args=(call,)) for call in calls]

    def _run(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self.seen.wrong.append(f"{call.__name__}: {type(error).__name__} {error}")

    def __enter__(self) -> Self:
        with Speaker(self._url) as speaker:
            said = exchange(speaker, "PUT", f"{self._base}good", self._token, GOOD_BODY)
            if said.status not in (200, 201):
                raise RuntimeError(f"a good file was answered {said}")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _timed(self, speaker: Speaker, into: list[float], method: str, path: str, body: bytes = b"") -> None:
        began = time.perf_counter()
        try:
            said = exchange(speaker, method, path, self._token, body)
        except (Ended, Reset, Malformed) as trouble:
            self.seen.wrong.append(f"{method} {path}: {type(trouble).__name__}")
            return
        into.append((time.perf_counter() - began) * 1e3)
        if said.status not in (200, 201) or (method == "GET" and said.body != GOOD_BODY):
            self.seen.wrong.append(f"{method} {path}: {said.status}")

    def _probe(self) -> None:
        with Speaker(self._url) as speaker:
            while not self._over.wait(PROBE_PAUSE_S):
                self._timed(speaker, self.seen.probes_ms, "GET", f"{self._base}good")

    def _read(self) -> None:
        number = 0
        while not self._over.wait(0.02):
            number += 1
            with Speaker(self._url) as speaker:
                self._timed(speaker, self.seen.reads_ms, "GET", f"{self._base}good?{number}")

    def _publish(self) -> None:
        number = 0
        with Speaker(self._url) as speaker:
            while not self._over.wait(0.05):
                number += 1
                path = f"{self._base}published/{number}-{time.time_ns()}"
                self._timed(speaker, self.seen.publishes_ms, "PUT", path, b"%d" % number)

    def _watch(self) -> None:
        asked = 0.0
        while not self._over.wait(SAMPLE_S):
            found, seen = processes(self._pid), self.seen
            seen.worker_peak_bytes = max(seen.worker_peak_bytes, *found["worker"].values(), 0)
            seen.sandbox_peak_bytes = max(seen.sandbox_peak_bytes, *found["sandbox"].values(), 0)
            if time.monotonic() - asked > 10:
                asked = time.monotonic()
                seen.longest_step_s = max(seen.longest_step_s, metrics_of(self._url, self._token).longest_s)


def summary(values: list[float]) -> tuple[float, float]:
    """(p99, longest), zeros where nothing was measured."""
    return (percentile(values, 99), max(values)) if values else (0.0, 0.0)
