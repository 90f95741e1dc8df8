"""Who of those that wait for the same fetch gets its first bytes, and when? All of them, in one pass of the loop.

Each says from where it wants bytes and how they are sent to it; who brings them calls that in the order in which they
came, before any of their tasks goes on. A task costs as much to wake as a small answer costs to send, and the last one
would wait for all of it.
"""

from collections.abc import Callable

TURNS_A_PASS = 512
"""So many are served without a look at anything else that the loop has to do."""


class Turn:
    """One who waits. `over` once `send` was called; `error` is what that raised."""

    __slots__ = ("error", "offset", "over", "send")

    def __init__(self, offset: int, send: Callable[[], None]) -> None:
        self.offset = offset
        self.send = send
        self.over = False
        self.error: Exception | None = None

    def take(self) -> None:
        """What goes wrong for one is nothing to the others."""
        self.over = True
        try:
            self.send()
        except Exception as error:
            self.error = error


class Turns:
    """Those of one fetch."""

    def __init__(self) -> None:
        self._waiting: dict[Turn, None] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, turn: Turn) -> None:
        """At the end of the queue."""
        self._waiting[turn] = None

    def leave(self, turn: Turn) -> None:
        """It waits no more, served or not."""
        self._waiting.pop(turn, None)

    def serve(self, released: int) -> bool:
        """Serve those whose bytes are among the first `released`; True where some of them are left for another pass."""
        ready = [turn for turn in self._waiting if turn.offset < released]
        for turn in ready[:TURNS_A_PASS]:
            # who is served may end another's connection, whose task leaves later than now
            self._waiting.pop(turn, None)
            turn.take()
        return len(ready) > TURNS_A_PASS
