"""Which lines of the access log are missing, and from when to when? What was lost is told as soon as it can be.

A gap is a line of the log itself, with the outcome LOST: from `lost_since` to `time` that many lines were `lost`, or an
unknown number (null), where a process ended before it had written all.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

LOST = "LOST"
TAIL_BYTES = 16 << 10
_TIME = re.compile(rb'"time":"([0-9T:.+-]{10,40})"')


class Gap(NamedTuple):
    """`lines` None = nobody knows how many. Times as they stand in the log (RFC 3339)."""

    lines: int | None
    since: str
    until: str

    def line(self) -> bytes:
        """As it is written."""
        lost = "null" if self.lines is None else self.lines
        return f'{{"time":"{self.until}","outcome":"{LOST}","lost":{lost},"lost_since":"{self.since}"}}\n'.encode()

    def joined(self, other: "Gap | None") -> "Gap":
        """Both as one."""
        if other is None:
            return self
        lines = None if self.lines is None or other.lines is None else self.lines + other.lines
        return Gap(lines, min(self.since, other.since), max(self.until, other.until))


def gap_of(fragments: list[bytes]) -> Gap:
    """Of lines that are lost, as the log holds them: three fragments each, of which the first says when."""
    first, last = _TIME.search(fragments[0]), _TIME.search(fragments[-3])
    now = moment()
    return Gap(len(fragments) // 3, first[1].decode() if first else now, last[1].decode() if last else now)


def moment() -> str:
    """Now, as it stands in the log."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Tail(NamedTuple):
    """How a log ends: whether in the middle of a line, and the time of the last one, "" where there is none."""

    torn: bool
    last: str


def tail_of(path: Path) -> Tail:
    """The end of the log at `path`; of none, and of an empty one, nothing is torn."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            data = file.read()
    except FileNotFoundError:
        return Tail(False, "")
    found = _TIME.findall(data[: data.rfind(b"\n") + 1])
    return Tail(bool(data) and not data.endswith(b"\n"), found[-1].decode() if found else "")
