"""What is the latest time that it can be said to be? By that, and not by the wall clock alone, a credential is over.

A wall clock may be set back, by hand or by a server of time, and no token lives longer for it (THREATS E10). At an edge
the time never stands before what its origin said last plus what has passed since; where there is no origin to ask, not
before what it once was plus what has passed since. A clock of an origin that was ahead and is set right costs the
tokens that would have ended by now on the wrong one, until the process is started again. What is written down, and what
other nodes compare, has the wall clock's time.
"""

import time
from collections.abc import Callable

_MS = 1_000_000


class Clock:
    """Wall and monotonic time in ns. `origin_ms` is the origin's time, 0 where nothing was heard of it."""

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._ahead_ns = wall_ns() - monotonic_ns()
        self.origin_ms: Callable[[], int] = _unheard

    def now_ms(self) -> int:
        """The wall clock, for what is written down and for what other nodes compare."""
        return self._wall_ns() // _MS

    def latest_ms(self) -> int:
        """For whether a token is over."""
        wall_ns, monotonic_ns = self._wall_ns(), self._monotonic_ns()
        if origin_ms := self.origin_ms():
            return max(wall_ns // _MS, origin_ms)
        self._ahead_ns = max(self._ahead_ns, wall_ns - monotonic_ns)
        return (self._ahead_ns + monotonic_ns) // _MS


def _unheard() -> int:
    return 0


CLOCK = Clock()
latest_ms = CLOCK.latest_ms
