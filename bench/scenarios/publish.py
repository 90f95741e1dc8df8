"""How many small publishes a second does one node commit, and how fast does one large upload go in?

Every publish is durable before it is answered. Memory is looked at all the while: the largest of the node's processes.
"""

import threading
import time
from types import TracebackType
from typing import Self

from bench.clients import Refused, own_raw
from bench.machine import SERVER_CORE, cpu_seconds, family, memory_bytes
from bench.numbers import percentile, size_text
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Filler, LoneOrigin, Running, put

REPOSITORY = "bench/files"
CONNECTIONS = 64
BODY_BYTES = 1 << 10
SAMPLE_SECONDS = 0.05


class Memory:
    """The greatest resident memory of any one process of a family, sampled in a thread."""

    def __init__(self, pid: int) -> None:
        self.resident_bytes = self.anonymous_bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for pid in family(self._pid):
                try:
                    resident, anonymous = memory_bytes(pid)
                except OSError:
                    continue
                self.resident_bytes = max(self.resident_bytes, resident)
                self.anonymous_bytes = max(self.anonymous_bytes, anonymous)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def rows(self, during: str) -> list[Row]:
        return [
            Row(f"memory, {during}", "MB resident", [self.resident_bytes / 1e6], goal="<= 150", note="largest process"),
            Row(f"memory, {during}", "MB anonymous", [self.anonymous_bytes / 1e6], note="largest process"),
        ]


def small(node: Running, origin: LoneOrigin, told: Options) -> list[Row]:
    """Small files from many connections at once."""
    rate = Row(f"{size_text(BODY_BYTES)} publishes from {CONNECTIONS} connections", "publishes/s", goal=">= 2,000")
    wait = Row("time to acknowledgement, p99", "ms")
    with Memory(node.pid) as memory:
        for _ in range(told.rounds):
            spent = cpu_seconds(node.pid)
            found = own_raw(
                "put",
                f"{origin.url}/{REPOSITORY}/generic/bench",
                connections=CONNECTIONS,
                seconds=told.seconds,
                options=["--size", str(BODY_BYTES), "--header", f"Authorization: Bearer {origin.token}", "--latencies"],
            )
            if set(found.statuses) - {"200", "201", "204"}:
                raise Refused(f"publishes answered {found.statuses}")
            rate.ours.append(found.responses / found.seconds)
            rate.ours_cpu.append((cpu_seconds(node.pid) - spent) / max(1, found.responses) * 1e6)
            wait.ours.append(percentile(found.first_byte_ms, 99))
    return [rate, wait, *memory.rows("small publishes")]


def large(node: Running, origin: LoneOrigin, told: Options) -> list[Row]:
    """One upload at a time."""
    row = Row(f"{size_text(told.big_bytes)} upload", "MB/s", goal=">= 350")
    with Memory(node.pid) as memory:
        for number in range(told.rounds):
            body = Filler(f"large {number}", told.big_bytes)
            begin = time.perf_counter()
            put(f"{origin.url}/{REPOSITORY}/generic/large/{number}", body, origin.bearer)
            row.ours.append(told.big_bytes / (time.perf_counter() - begin) / 1e6)
    return [row, *memory.rows("large upload")]


def run(told: Options) -> Result:
    result = Result("publish")
    origin = LoneOrigin(told.home / "node", REPOSITORY)
    with origin.start(core=SERVER_CORE) as node:
        for part in (small, large):
            if told.cases in part.__name__:
                result.rows += part(node, origin, told)
    result.notes += [
        "one worker of an origin on one core, the client on another; every publish is durable before it is answered",
        "resident memory counts the mapped index, which the kernel may take back; anonymous memory does not",
    ]
    return result
