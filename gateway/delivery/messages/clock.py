"""What time does an answer carry, and a line of the log? Made a hundred times a second, not once an answer."""

import time
from time import monotonic

from gateway.delivery.messages.answers import http_date, status_line
from gateway.insight.requestlog import stamp

TICK_SECONDS = 0.01


class Clock:
    """`stamp` is the first fragment of an access log line; `preambles` are status line and Date by status."""

    __slots__ = ("_next_tick_s", "_second", "preambles", "stamp")

    def __init__(self) -> None:
        self.preambles: dict[int, bytes] = {}
        self.stamp = b""
        self._second = 0
        self._next_tick_s = 0.0
        self.tick(monotonic())

    def tick(self, now_s: float) -> None:
        """`now_s` is monotonic: what is shown follows the wall clock wherever it jumps."""
        if now_s < self._next_tick_s:
            return
        self._next_tick_s = now_s + TICK_SECONDS
        wall = time.time()
        self.stamp = stamp(wall)
        if int(wall) != self._second:
            self._second = int(wall)
            self.preambles.clear()

    def preamble(self, status: int) -> bytes:
        """Status line and Date."""
        known = self.preambles.get(status)
        if known is None:
            date = f"Date: {http_date(self._second)}\r\n".encode()
            known = self.preambles[status] = status_line(status) + date
        return known
