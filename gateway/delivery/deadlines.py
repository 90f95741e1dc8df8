"""Whose time is up, and what follows from it? Pure: the loop asks once a second and does what comes back."""

from collections.abc import Iterable, Iterator
from enum import Enum
from math import inf

from gateway.delivery.connections import Connection, Phase

SEND_WINDOW_SECONDS = 10.0


class Due(Enum):
    """What becomes of a connection whose deadline passed."""

    WAKE = "the task that reads its body is told"
    ABORT = "its client takes too little: cut"
    REFUSE = "its head did not come: 408"
    CLOSE = "nobody waits for anything: closed"


def begin_window(c: Connection, now_s: float) -> None:
    """From now on, the client must have taken its share of bytes at the end of each window."""
    c.phase, c.mark, c.deadline = Phase.SENDING, c.sent, now_s + SEND_WINDOW_SECONDS


def overdue(connections: Iterable[Connection], now_s: float, rate_min_bytes_s: int) -> Iterator[tuple[Connection, Due]]:
    """Each connection whose time is up. A sender that made progress, or waits for the disk, gets a new window."""
    for c in connections:
        if now_s < c.deadline or c.phase == Phase.TASK:
            continue
        if c.phase == Phase.READING:
            c.late, c.deadline = True, inf
            yield c, Due.WAKE
        elif c.phase == Phase.SENDING:
            if c.warming or c.sent - c.mark >= rate_min_bytes_s * SEND_WINDOW_SECONDS:
                begin_window(c, now_s)
            else:
                yield c, Due.ABORT
        else:
            yield c, Due.REFUSE if c.phase == Phase.HEAD else Due.CLOSE
