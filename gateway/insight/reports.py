"""What did each edge last say of itself? Its origin keeps that for operators: nothing is decided by it.

One small file an edge, replaced as a whole, so that every worker reads what any of them took, and so does the next
start. A file that is lost is there again when its edge speaks next.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import get_native_id
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.insight.errorlog import report
from storage.index.holes import Hole

FOLDER = "reports"
REPORT_BYTES_MAX = 128 << 10
WORD_CHARS_MAX = 1_000
CLOSES_MAX = 100

Word = Annotated[str, Meta(max_length=WORD_CHARS_MAX)]
Count = Annotated[int, Meta(ge=0, le=1 << 62)]


class Missing(msgspec.Struct, frozen=True):
    """An entry that the edge could not take in, and the Workspaces whose private packages it refuses for that
    (storage.index.holes)."""

    workspace: Word
    serial: Count
    repository: Word
    action: Word
    why: Word
    closes: Annotated[tuple[Word, ...], Meta(max_length=CLOSES_MAX)]


class Report(msgspec.Struct, frozen=True):
    """`lag_ms` is how far behind its origin the edge knows itself to be; `waiting_*` is what its region's policies ask
    for and is not there yet. `heard_ms` is when it said so, by the clock of its origin, which sets it."""

    version: Word
    lag_ms: Count
    waiting_files: Count
    waiting_bytes: Count
    holes: Annotated[tuple[Missing, ...], Meta(max_length=1_000)]
    heard_ms: Count = 0


def missing(holes: tuple[Hole, ...]) -> tuple[Missing, ...]:
    """What is told of Holes: nothing of what their entries say."""
    return tuple(
        Missing(
            one.workspace[:WORD_CHARS_MAX],
            one.serial,
            one.repository[:WORD_CHARS_MAX],
            one.action[:WORD_CHARS_MAX],
            one.why[:WORD_CHARS_MAX],
            one.closes[:CLOSES_MAX],
        )
        for one in holes
    )


class Reports:
    """An origin's, of all its edges."""

    def __init__(self, root: Path, now_ms: Callable[[], int]) -> None:
        self._folder = root / FOLDER
        self._now_ms = now_ms

    def keep(self, edge: str, said: Report) -> None:
        """Take what an edge says, whose name can be one of a file. Blocks; a full disk loses it, nothing else."""
        before = self.of(edge)
        if said.holes and (before is None or before.holes != said.holes):
            closes = ",".join(sorted(closed_by(said)))
            report("warning", "an edge could not take in entries", edge=edge, count=len(said.holes), closes=closes)
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True, mode=0o700)
            fresh = self._folder / f".{edge}.{get_native_id()}"
            fresh.write_bytes(msgspec.json.encode(msgspec.structs.replace(said, heard_ms=self._now_ms())))
            os.replace(fresh, self._folder / edge)

    def of(self, edge: str) -> Report | None:
        """What it said last; None where it never did."""
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self._folder / edge).read_bytes(), type=Report)
        return None


def closed_by(said: Report) -> frozenset[str]:
    """The Workspaces whose private packages are refused there; * = all."""
    return frozenset(name for one in said.holes for name in one.closes)
