"""What did one run of a load generator, pinned to the client's core, find, and what did it cost the server?"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import Loaded
from bench.machine import CLIENT_CORE, cpu_seconds, need, pinned

ROOT = Path(__file__).resolve().parents[1]
LATENCY_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: requests (fractional for bodies under way), seconds, the server's CPU seconds, the client's share."""

    requests: float
    seconds: float
    server_cpu_seconds: float
    client_busy: float = 0.0
    p99_ms: float = 0.0

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.server_cpu_seconds / self.requests * 1e6 if self.requests else 0.0


class Refused(Exception):
    """The server answered with errors: the measurement is void."""


def parse_wrk(text: str) -> tuple[int, float, float]:
    """(requests, seconds, p99 in ms) of wrk's output. Raises Refused on socket errors or answers of 400 and above."""
    trouble = re.search(r"^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$", text, re.M)
    if trouble:
        raise Refused(trouble[1])
    total = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", text)
    if not total:
        raise Refused(f"wrk said: {text[-300:]}")
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    seconds = float(total[2]) * {"ms": 1e-3, "s": 1.0, "m": 60.0}[total[3]]
    return int(total[1]), seconds, float(tail[1]) * LATENCY_UNITS[tail[2]] if tail else 0.0


def wrk(pid: int, url: str, *, connections: int, seconds: float, headers: Sequence[str] = ()) -> Measured:
    """wrk with one thread. wrk takes whole seconds."""
    need("wrk")
    extra = [part for header in headers for part in ("-H", header)]
    length = f"{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{length}", "--latency", *extra, url]
    before = cpu_seconds(pid)
    done = subprocess.run(pinned(CLIENT_CORE, command), capture_output=True, text=True, check=False)
    spent = cpu_seconds(pid) - before
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    requests, took, p99 = parse_wrk(done.stdout)
    return Measured(requests, took, spent, p99_ms=p99)


def own(
    pid: int, what: str, url: str, *, connections: int, seconds: float, size: int = 0, options: Sequence[str] = ()
) -> Measured:
    """`bench.load`; `size` is the body's length, for counting a long transfer in parts."""
    told = own_raw(what, url, connections=connections, seconds=seconds, options=["--server-pid", str(pid), *options])
    bad = {status: count for status, count in told.statuses.items() if not "200" <= status < "400"}
    if bad:
        raise Refused(f"{url}: {bad}")
    requests = told.body_bytes / size if size else float(told.responses)
    return Measured(requests, told.seconds, told.server_cpu_seconds, told.client_cpu_seconds / told.seconds)


def own_raw(what: str, url: str, *, connections: int, seconds: float, options: Sequence[str] = ()) -> Loaded:
    """`bench.load` in a process of its own on the client's core. Raises Refused where it gives up."""
    command = [sys.executable, "-m", "bench.load", what, url, "--connections", str(connections)]
    command += ["--seconds", str(seconds), *options]
    done = subprocess.run(pinned(CLIENT_CORE, command), capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise Refused(done.stderr[-600:])
    return Loaded(**json.loads(done.stdout))
