"""How is a question about the client log carried out? In a process for each, few at a time, over the right segments."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from gateway.config import Logs as Limits
from gateway.logs.jobs import Folders, carry_out
from gateway.logs.merging import Listing, listed
from gateway.logs.rollups import HOUR_MS, LOST_FILE, spans
from gateway.logs.segments import OWN
from gateway.logs.tasks import Count, Counted, Export, Filter, Find, Span, Task, Written
from storage.errors import Invalid, Unavailable

AT_ONCE_MAX = 2
WAITING_MAX = 20
THREADS = 2
WINDOW_MS = HOUR_MS
"""Lines are exported in the order of their times, a window after the other: only what lies in one is put in order."""
WINDOWS_MAX = 200
Sees = Callable[[str], bool]
"""May the lines of this node be told?"""


class Piece(NamedTuple):
    """Some exported lines, and where to go on; "" = that was all."""

    body: bytes
    rows: int
    next: str


class Questions:
    """Questions to the segments that an origin keeps."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._folders = Folders(root)
        self._limits = limits
        self._limiter: trio.CapacityLimiter | None = None
        self._number = 0

    async def count(self, filter: Filter, sees: Sees, by: tuple[str, ...], limit: int, *, by_bytes: bool) -> Counted:
        """Rows of `by`, requests and bytes, and what is missing in them. Raises Unavailable."""
        return await self._ask(lambda: self.plan(filter, sees, by, limit, by_bytes=by_bytes), Counted)

    def plan(self, filter: Filter, sees: Sees, by: tuple[str, ...], limit: int, *, by_bytes: bool) -> Count:
        """Which files are read for it. Blocks."""
        there = self._there(sees)
        merged = [one.held() for node in there for one in node.merged]
        rows, rollups = spans(by, filter, merged)
        fresh = Span(_fresh(there, filter.since_ms), filter.since_ms, filter.until_ms)
        gaps = (*fresh.files, *(f"{one.path}/{LOST_FILE}" for one in merged if one.gaps))
        return Count(str(self._folders.own), (fresh, *rows), rollups, by, filter, limit, by_bytes, gaps)

    async def find(self, filter: Filter, sees: Sees, limit: int, skip: int = 0) -> Any:
        """Lines, the latest first, without the first `skip`. Raises Unavailable."""
        return await self._ask(
            lambda: Find(str(self._folders.own), self._files(filter, sees), filter, limit, skip), list[dict[str, Any]]
        )

    async def export(self, filter: Filter, sees: Sees, after: str, limit: int, *, parquet: bool) -> Piece:
        """Lines in the order of their times, behind the cursor `after`: as many as are there of one window, at most
        `limit`. Raises Invalid, Unavailable."""
        at_ms, skip = _cursor(after, filter.since_ms)
        for _ in range(WINDOWS_MAX):
            if at_ms >= filter.until_ms:
                return Piece(b"", 0, "")
            end = min(filter.until_ms, at_ms - at_ms % WINDOW_MS + WINDOW_MS)
            part = msgspec.structs.replace(filter, since_ms=at_ms, until_ms=end)
            files = await trio.to_thread.run_sync(self._files, part, sees)
            if files:
                body, told = await self._piece(files, part, skip, limit, parquet)
                if told.rows:
                    full = told.rows >= limit
                    following = f"{told.last_ms}.{told.same}" if full else f"{end}.0" if end < filter.until_ms else ""
                    return Piece(body, told.rows, following)
                later_ms = told.later_ms or filter.until_ms
            else:
                later_ms = filter.until_ms
            at_ms, skip = await trio.to_thread.run_sync(self._first_after, end, later_ms, sees), 0
        return Piece(b"", 0, f"{at_ms}.0")

    async def _piece(
        self, files: tuple[str, ...], part: Filter, skip: int, limit: int, parquet: bool
    ) -> tuple[bytes, Written]:
        self._number += 1
        target = self._folders.work / f"export-{os.getpid()}-{self._number}"
        task = Export(str(self._folders.own), files, part, skip, limit, str(target), parquet)
        try:
            told = await self._ask(lambda: task, Written)
            return await trio.to_thread.run_sync(target.read_bytes) if told.rows else b"", told
        finally:
            target.unlink(missing_ok=True)

    def _there(self, sees: Sees) -> list[Listing]:
        nodes = [path for path in self._folders.kept.glob("*") if path.name == OWN or sees(path.name)]
        return [listed(node) for node in sorted(nodes) if node.is_dir()]

    def _files(self, filter: Filter, sees: Sees) -> tuple[str, ...]:
        """Those that may hold such lines."""
        there = self._there(sees)
        merged = (one for node in there for one in node.merged)
        inside = (
            one for one in merged
            if one.note.made.from_ms < filter.until_ms and one.note.made.until_ms > filter.since_ms
        )  # fmt: skip
        return (*_fresh(there, filter.since_ms), *(str(one.rows) for one in inside if one.rows.exists()))

    def _first_after(self, at_ms: int, until_ms: int, sees: Sees) -> int:
        """The first time from `at_ms` on, at most `until_ms`, of which a merged segment may hold lines that has none
        before."""
        there = self._there(sees)
        starts = [one.note.made.from_ms for node in there for one in node.merged if one.note.made.from_ms >= at_ms]
        return max(at_ms, min([until_ms, *starts]))

    async def _ask[Result](self, task: Callable[[], Task], shape: type[Result]) -> Result:
        self._limiter = self._limiter or trio.CapacityLimiter(AT_ONCE_MAX)
        if self._limiter.statistics().tasks_waiting >= WAITING_MAX:
            raise Unavailable("Too many questions about the client log at once.", "Try again.", retry_after_s=5)
        async with self._limiter:
            return await trio.to_thread.run_sync(self._run, task, shape)

    def _run[Result](self, task: Callable[[], Task], shape: type[Result]) -> Result:
        limits = self._limits
        try:
            return carry_out(
                task(), shape, memory_bytes_max=limits.memory_bytes_max, seconds_max=limits.seconds_max,
                threads=THREADS, nice=5,
            )  # fmt: skip
        except subprocess.SubprocessError:
            raise Unavailable(
                "This question takes more than one may.", "Ask for less time, or raise [logs] seconds_max.",
                retry_after_s=30,
            ) from None  # fmt: skip


def _fresh(there: list[Listing], since_ms: int) -> tuple[str, ...]:
    """A segment is taken after what it holds."""
    oldest = f"{datetime.fromtimestamp(since_ms / 1000, UTC):%Y%m%d}"
    return tuple(str(path) for node in there for path in node.fresh if path.name >= oldest)


def _cursor(after: str, since_ms: int) -> tuple[int, int]:
    if not after:
        return since_ms, 0
    at, _, skip = after.partition(".")
    if not (at.isascii() and at.isdigit() and skip.isascii() and skip.isdigit() and len(after) < 30):
        raise Invalid("The argument after is none that a piece of an export gave.", "Give its Entrepot-Next.")
    return max(int(at), since_ms), int(skip)
