"""What runs in the process that makes segments, or answers one question? One task from stdin, its result to stdout.

It is one of many in a node's life, at the lowest priority, and ends with its task: what the engine took of memory goes
back, and what it does wrong ends with it.
"""

import os
import resource
import sys

import msgspec

from gateway.logs.columns import Task, run

NICE = 19
EXTRA_BYTES = 3 << 30
"""Of address space, beyond what the engine may fill: code, arenas, mapped files."""


class Job(msgspec.Struct, frozen=True):
    """A task and its bounds."""

    task: Task
    memory_bytes_max: int
    seconds_max: float
    threads: int = 1
    nice: int = NICE


def main() -> None:
    """Carry out the job; a failure is an exit code and one line on stderr without any data."""
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    os.nice(job.nice)
    space = job.memory_bytes_max + EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    cpu = int(job.seconds_max * job.threads) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        result = run(job.task, job.memory_bytes_max, job.threads)
    except Exception as error:
        sys.stderr.write(type(error).__name__)
        sys.exit(1)
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
