"""How is a task about segments carried out? In a process of its own, which is started, waited for and ended here."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from shutil import which
from subprocess import PIPE
from time import monotonic
from typing import Any

import msgspec
import trio

from gateway.logs.pace import LOWEST
from gateway.logs.tasks import Job, Task

COMMAND = (sys.executable, "-P", "-m", "gateway.logs.child")
LOOK_SECONDS = 0.1
"""How often it is asked whether anybody still waits."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class Folders:
    """Where segments are: `out` is what waits for a parent, `refused` what that would not have, `kept` what an origin
    has, by node, `unreadable` what of that is no segment after all."""

    def __init__(self, root: Path) -> None:
        self.logs = root / "log"
        self.own = root / "segments"
        self.out = self.own / "out"
        self.refused = self.out / "refused"
        self.unreadable = self.own / "unreadable"
        self.kept = self.own / "kept"
        self.work = self.own / "work"
        self.marks = self.own / "marks"

    def make(self, own: str) -> None:
        for folder in (self.refused, self.kept / own, self.work, self.marks, self.unreadable):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def carry_out[Result](
    task: Task, shape: type[Result], *, memory_bytes_max: int, seconds_max: float, threads: int = 1, nice: int = LOWEST,
    wall_s: float = 0.0,
) -> Result:  # fmt: skip
    """What the task gives. Raises subprocess.SubprocessError where it ends badly or takes too long: more than
    `seconds_max` of a core, or than `wall_s` by the clock (0 = twice as long). Blocks; the process ends with the thread
    that waits for it, and with the task of trio that this thread works for.

    It has its low priority from its first instruction on: to start it takes a tenth of a second, which on a node with
    one core came out of delivery's time, every two seconds under load."""
    job = Job(task, memory_bytes_max, seconds_max, os.getpid(), threads, nice)
    command = (*_lowered(nice), *COMMAND)
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment) as process:
        try:
            told, complaint = _outcome(process, msgspec.msgpack.encode(job), wall_s or 2 * seconds_max)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, told, complaint)
    answer: Any = msgspec.json.decode(told, type=shape)
    return answer  # type: ignore[no-any-return]


def _outcome(process: subprocess.Popen[bytes], sent: bytes, wall_s: float) -> tuple[bytes, bytes]:
    """What it wrote, on both ways. Raises subprocess.TimeoutExpired, trio.Cancelled."""
    until_s, unsent = monotonic() + wall_s, [sent]
    while True:
        try:
            return process.communicate(unsent.pop() if unsent else None, timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(RuntimeError):  # a thread that is not trio's is never cancelled
                trio.from_thread.check_cancelled()
            if monotonic() > until_s:
                raise


def _lowered(nice: int) -> tuple[str, ...]:
    """What starts a program at a lower priority; where there is no such thing, the process lowers itself."""
    found = which("nice", path=ENVIRONMENT["PATH"])
    return (found, "-n", str(nice)) if found else ()
