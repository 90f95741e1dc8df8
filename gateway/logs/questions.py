"""How is a question about the client log carried out? In a process for each, few at a time, over the right segments."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.config import Logs as Limits
from gateway.logs import segments
from gateway.logs.child import Job
from gateway.logs.columns import Count, Filter, Find
from gateway.logs.keeping import COMMAND, Folders
from gateway.logs.segments import OWN
from storage.errors import Unavailable

AT_ONCE_MAX = 2
WAITING_MAX = 20
THREADS = 2
Sees = Callable[[str], bool]
"""May the lines of this node be told?"""


class Questions:
    """Questions to the segments that an origin keeps."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._folders = Folders(root)
        self._limits = limits
        self._limiter: trio.CapacityLimiter | None = None

    async def count(self, filter: Filter, sees: Sees, by: tuple[str, ...], limit: int, *, by_bytes: bool) -> Any:
        """Rows of `by`, requests and bytes. Raises Unavailable."""
        return await self._ask(
            lambda: Count(str(self._folders.own), self._files(filter, sees), by, filter, limit, by_bytes)
        )

    async def find(self, filter: Filter, sees: Sees, limit: int) -> Any:
        """Lines, the latest first. Raises Unavailable."""
        return await self._ask(lambda: Find(str(self._folders.own), self._files(filter, sees), filter, limit))

    def _files(self, filter: Filter, sees: Sees) -> tuple[str, ...]:
        """Those that may hold such lines: a segment is taken after what it holds."""
        oldest = f"{datetime.fromtimestamp(filter.since_ms / 1000, UTC):%Y%m%d}"
        nodes = [path for path in self._folders.kept.glob("*") if path.name == OWN or sees(path.name)]
        found = (path for node in nodes for path in node.iterdir() if segments.is_name(path.name))
        return tuple(sorted(str(path) for path in found if path.name >= oldest))

    async def _ask(self, task: Callable[[], Count | Find]) -> Any:
        self._limiter = self._limiter or trio.CapacityLimiter(AT_ONCE_MAX)
        if self._limiter.statistics().tasks_waiting >= WAITING_MAX:
            raise Unavailable("Too many questions about the client log at once.", "Try again.", retry_after_s=5)
        async with self._limiter:
            return await trio.to_thread.run_sync(self._run, task)

    def _run(self, task: Callable[[], Count | Find]) -> Any:
        limits = self._limits
        job = Job(task(), limits.memory_bytes_max, limits.seconds_max, THREADS, nice=5)
        try:
            done = subprocess.run(
                COMMAND, input=msgspec.msgpack.encode(job), capture_output=True, check=False, timeout=limits.seconds_max
            )
        except subprocess.TimeoutExpired:
            done = None
        if done is None or done.returncode:
            raise Unavailable(
                "This question takes more than one may.", "Ask for less time, or raise [logs] seconds_max.",
                retry_after_s=30,
            )  # fmt: skip
        return msgspec.json.decode(done.stdout)
