"""Whose time is up, and what follows from it? The loop asks once a second."""

from collections.abc import Iterable, Iterator
from enum import Enum
from math import inf
from typing import Protocol

from gateway.delivery.connections.connection import Connection, Phase
from gateway.delivery.messages.heads import Refused

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


class Ending(Protocol):
    """What a loop can do with a connection whose time is up."""

    def abort(self, c: Connection) -> None: ...

    def close(self, c: Connection) -> None: ...

    def refuse(self, c: Connection, refused: Refused) -> None: ...


def enforce(loop: Ending, connections: Iterable[Connection], now_s: float, rate_min_bytes_s: int) -> None:
    """End, or wake, each connection whose time is up."""
    for c, due in overdue(connections, now_s, rate_min_bytes_s):
        if due is Due.WAKE:
            c.wake()
        elif due is Due.ABORT:
            loop.abort(c)
        elif due is Due.REFUSE:
            loop.refuse(c, Refused(408, "The request head did not arrive in time."))
        else:
            loop.close(c)
