"""How is a task about segments carried out? In a process of its own, which is started, waited for and ended here."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import msgspec

from gateway.logs.pace import LOWEST
from gateway.logs.tasks import Job, Task

COMMAND = (sys.executable, "-P", "-m", "gateway.logs.child")
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
    that waits for it.

    It has its low priority from its first instruction on: to start it takes a tenth of a second, which on a node with
    one core came out of delivery's time, every two seconds under load."""
    job = Job(task, memory_bytes_max, seconds_max, os.getpid(), threads, nice)
    done = subprocess.run(
        (*_lowered(nice), *COMMAND),
        input=msgspec.msgpack.encode(job),
        capture_output=True,
        check=True,
        timeout=wall_s or 2 * seconds_max,
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    answer: Any = msgspec.json.decode(done.stdout, type=shape)
    return answer  # type: ignore[no-any-return]


def _lowered(nice: int) -> tuple[str, ...]:
    """What starts a program at a lower priority; where there is no such thing, the process lowers itself."""
    found = which("nice", path=ENVIRONMENT["PATH"])
    return (found, "-n", str(nice)) if found else ()
