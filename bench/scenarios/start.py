"""What does it cost to start a node, and to call the command line? CPU and wall seconds, as whoever types it waits.

Of `entrepot up` (an origin and an edge) until its JSON line, of an origin alone until `/-/ready` says so; each from
SIGTERM to its exit with nobody connected; and of commands that only show something. CPU is that of all processes that
were started for it. Over fresh data, and over the same data again.
"""

import json
import resource
import subprocess
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.machine import cpu_seconds, use_all_cores
from bench.options import Options
from bench.ports import free_port
from bench.report import Result, Row
from bench.servers import START_SECONDS_MAX, STOP_SECONDS_MAX, Running, entrepot

LOOK_SECONDS = 0.005


class Clock:
    """Wall seconds, and CPU seconds of children that were waited for, since it was made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), _children_cpu_s()

    @property
    def wall_s(self) -> float:
        return time.perf_counter() - self._wall_s

    @property
    def cpu_s(self) -> float:
        return _children_cpu_s() - self._cpu_s


def run(told: Options) -> Result:
    """In turns, so that what slows the machine for a while slows all of them."""
    use_all_cores()
    rows = Rows()
    for number in range(told.rounds):
        up, alone = told.home / f"up-{number}", told.home / f"alone-{number}"
        for turn in ("first start", "again"):
            _up(rows, up, turn)
            _alone(rows, alone, turn)
        _commands(rows, told.home / f"commands-{number}")
    return Result("start", rows=rows.all)


class Rows:
    """The rows so far, by name; a figure goes to its own."""

    def __init__(self) -> None:
        self.all: list[Row] = []

    def add(self, case: str, wall_s: float, cpu_s: float) -> None:
        for what, value in (("wall", wall_s), ("CPU", cpu_s)):
            name = f"{case}, {what}"
            row = next((one for one in self.all if one.case == name), None)
            if row is None:
                row = Row(name, "s")
                self.all.append(row)
            row.ours.append(value)


def _up(rows: Rows, home: Path, turn: str) -> None:
    home.mkdir(exist_ok=True)
    command = [entrepot(), "up", "--data", str(home / "data"), "--origin-port", "0", "--edge-port", "0", "--json"]
    clock = Clock()
    with Running(command, home / "log", None, cwd=home, speaks=True) as node:
        json.loads(node.line())
        wall_s, cpu_s = clock.wall_s, cpu_seconds(node.pid)
        rows.add(f"up, {turn}: to its line", wall_s, cpu_s)
        _end(rows, f"up, {turn}: from SIGTERM to the exit", node, clock, cpu_s)


def _alone(rows: Rows, home: Path, turn: str) -> None:
    home.mkdir(exist_ok=True)
    port = free_port()
    command = [entrepot(), "serve", "--role", "origin", "--data", str(home / "data"), "--port", str(port)]
    clock = Clock()
    with Running(command, home / "log", None, cwd=home) as node:
        _wait_until_ready(node, port)
        wall_s, cpu_s = clock.wall_s, cpu_seconds(node.pid)
        rows.add(f"an origin, {turn}: to ready", wall_s, cpu_s)
        _end(rows, f"an origin, {turn}: from SIGTERM to the exit", node, clock, cpu_s)


def _end(rows: Rows, case: str, node: Running, clock: Clock, spent_s: float) -> None:
    """A node is ended a while after it is ready, as most are: what it begins then would be in the figure."""
    time.sleep(0.5)
    idle_s = cpu_seconds(node.pid)
    began_s = time.perf_counter()
    node.process.terminate()
    code = node.process.wait(STOP_SECONDS_MAX)
    wall_s = time.perf_counter() - began_s
    if code:
        raise RuntimeError(f"{node.name} ended with {code}: {node.tail()}")
    rows.add(case, wall_s, max(0.0, clock.cpu_s - max(idle_s, spent_s)))


def _wait_until_ready(node: Running, port: int) -> None:
    """Asked again and again without any pause that would count."""
    end_s = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end_s and not node.ended():
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(LOOK_SECONDS)
    raise RuntimeError(f"{node.name} is not ready: {node.tail()}")


def _commands(rows: Rows, home: Path) -> None:
    home.mkdir(exist_ok=True)
    command = [entrepot(), "up", "--data", str(home / "data"), "--origin-port", "0", "--edge-port", "0", "--json"]
    with Running(command, home / "log", None, cwd=home, speaks=True) as node:
        told = json.loads(node.line())
        speaking = {"ENTREPOT_URL": told["origin"], "ENTREPOT_TOKEN": told["token"], "PATH": "/usr/bin:/bin"}
        for words in (["--help"], ["status"], ["ls", "demo/open"], ["token", "create", "--help"]):
            clock = Clock()
            _ran([entrepot(), *words], speaking)
            rows.add(f"entrepot {' '.join(words)}", clock.wall_s, clock.cpu_s)


def _ran(command: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=START_SECONDS_MAX)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
