"""What did this node lose of its log, and how does the origin hear of it?

Lines that are lost stay lost, but nobody takes the rest for all: each mark says which bytes of which log files will
never come and up to when lines were lost, and a line of a log of its own, `access-lost.jsonl`, tells the same to
whoever asks or exports. What was lost in memory before it was written, that log itself tells (gateway.insight.gaps).
"""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.insight.gaps import Gap, moment
from gateway.logs import durable, segments
from gateway.logs.register import Mark

STATE = "lost.json"
LOG = "access-lost.jsonl"
LOST_MAX = 10_000
LOG_BYTES_MAX = 1 << 20
Interval = tuple[str, int, int]
"""Of the bytes of a log file, by its mark: from, to."""


class Lost(msgspec.Struct, frozen=True):
    """Intervals of log files that were let go or gone before the origin had them, by the node whose log it is ("" =
    this one), and when that was last seen."""

    intervals: dict[str, tuple[Interval, ...]] = {}
    lost_ms: int = 0


class Losses:
    """Of one node; `own` is where its segments are, `logs` where its log is. Blocks. What cannot be written, on a disk
    that is full, is kept in mind until it can."""

    def __init__(self, own: Path, logs: Path) -> None:
        self._state = own / STATE
        self._log = logs / LOG
        self._untold: dict[str, list[Interval]] = {}
        self._lost_ms = 0
        self._gap: Gap | None = None

    def add(self, intervals: Mapping[str, Iterable[Interval]], lost_ms: int = 0, *, since_s: float = 0.0) -> None:
        """These will not come, and lines were lost up to `lost_ms`. `since_s`: the log has not told it yet, so it tells
        of a gap from then to now."""
        for node, some in intervals.items():
            self._untold.setdefault(node, []).extend(some)
        self._lost_ms = max(self._lost_ms, lost_ms, int(time.time() * 1000) if self._untold else 0)
        if since_s:
            since = datetime.fromtimestamp(since_s, UTC).isoformat(timespec="milliseconds")
            self._gap = Gap(None, since, moment()).joined(self._gap)
        self.tell()

    def tell(self) -> None:
        """Write down what was not yet."""
        if self._untold or self._lost_ms:
            before = self.told()
            merged = dict(before.intervals)
            for node, some in self._untold.items():
                merged[node] = tuple(dict.fromkeys((*merged.get(node, ()), *some)))[-LOST_MAX:]
            lost = Lost(merged, max(before.lost_ms, self._lost_ms))
            if lost != before:
                durable.write_durably(self._state, msgspec.json.encode(lost))
            self._untold, self._lost_ms = {}, 0
        if self._gap is not None:
            if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
                self._log.replace(self._log.with_name(f"{LOG}.1"))
            with self._log.open("ab") as file:
                file.write(self._gap.line())
            self._gap = None

    def told(self) -> Lost:
        """All there is."""
        try:
            return msgspec.json.decode(self._state.read_bytes(), type=Lost)
        except (FileNotFoundError, msgspec.MsgspecError):
            return Lost()

    def added(self, node: str, mark: Mark) -> Mark:
        """The mark of a node behind this one, with what was lost of it here."""
        lost = self.told()
        mine = lost.intervals.get(segments.spelt(node), ())
        if not mine:
            return mark
        all_of = tuple(dict.fromkeys((*mark.lost, *mine)))[-LOST_MAX:]
        return msgspec.structs.replace(mark, lost=all_of, lost_ms=max(mark.lost_ms, lost.lost_ms))
