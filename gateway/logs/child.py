"""What runs in the process that works on segments? One task from stdin, its result to stdout, behind walls.

It is one of many in a node's life, at low priority, and ends with its task: what the engine took of memory goes back,
and what it does wrong ends with it. The walls are those of whoever takes packages apart (`sandbox/walls`): bounds on
memory, files and time, no network, no new program; and of all files it reaches those of its folder alone.
"""

import os
import sys
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from gateway.logs import asking, columns
from gateway.logs.tasks import Build, Count, Export, Find, Job, Latest, Merge, Tally, Task
from gateway.sandbox import walls

EXTRA_BYTES = 3 << 30
"""Of address space, beyond what the engine may fill: code, arenas, mapped files."""
FILE_BYTES_MAX = 8 << 30
DESCRIPTORS_MAX = 1024

LOOKED_AT = ("/proc/self/cgroup", "/proc/meminfo", "/sys/fs/cgroup")
"""Where the engine looks how much memory there is."""


def main() -> None:
    """Carry out the job; a failure is an exit code and one line on stderr without any data."""
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    os.setpriority(os.PRIO_PROCESS, 0, max(job.nice, os.getpriority(os.PRIO_PROCESS, 0)))
    try:
        with opened(job) as engine:
            result = run(engine, job.task)
    except Exception as error:
        sys.stderr.write(type(error).__name__)
        sys.exit(1)
    sys.stdout.buffer.write(msgspec.json.encode(result))


def opened(job: Job) -> duckdb.DuckDBPyConnection:
    """An engine in memory behind the walls: what would forbid its threads comes when they have started."""
    walls.bound(job.memory_bytes_max + EXTRA_BYTES, FILE_BYTES_MAX, job.parent, descriptors=DESCRIPTORS_MAX)
    walls.allow_seconds(int(job.seconds_max * job.threads))
    folder = job.task.folder
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{job.memory_bytes_max >> 20}MB",
        "threads": job.threads,
        "async_threads": 0,
        "temp_directory": str(Path(folder) / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    countries = [job.task.countries] if isinstance(job.task, Build) and job.task.countries else []
    walls.confine([folder], [*LOOKED_AT, *countries])
    engine = duckdb.connect(":memory:", config=settings)
    engine.execute("set timezone = 'UTC'")
    engine.execute(f"set allowed_directories = ['{columns.quoted(folder)}']")
    engine.execute("set enable_external_access = false")
    engine.execute("set lock_configuration = true")
    engine.execute("select count(*) from range(10)").fetchall()
    walls.refuse_calls()
    return engine


def run(engine: duckdb.DuckDBPyConnection, task: Task) -> Any:
    """Carry out one task."""
    match task:
        case Build():
            return columns.build(engine, task)
        case Merge():
            return columns.merge(engine, task)
        case Tally():
            return asking.tally(engine, task)
        case Latest():
            return asking.latest(engine, task)
        case Count():
            return asking.count(engine, task)
        case Find():
            return asking.find(engine, task)
        case Export():
            return asking.export(engine, task)


if __name__ == "__main__":
    main()
