"""Was a row or an entry found damaged while it was read? Then somebody should read all there is.

Whoever meets damage tells only the one who asked. So each process remembers that it met some, and the next scrub, which
is due then, finds what else there is and says it to all.
"""

import threading
import time
from collections.abc import Callable

AGAIN_SECONDS = 24 * 3600.0
"""What is damaged is met again and again; a scrub reads everything."""


class Alarm:
    """One process's. Any thread rings it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rung = False
        self._answered_s = -AGAIN_SECONDS
        self.count = 0

    def ring(self) -> None:
        """Something is damaged."""
        with self._lock:
            self.count += 1
            self._rung = True

    def take(self) -> bool:
        """Is it to be answered now? True once a day at most."""
        with self._lock:
            if not self._rung or self._clock() - self._answered_s < AGAIN_SECONDS:
                return False
            self._rung, self._answered_s = False, self._clock()
            return True


damage = Alarm()
