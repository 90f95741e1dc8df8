"""Which of several parents is asked, and for how long is one that failed left alone?

The first healthy one in the order of the configuration. One that failed, or fell silent, is passed over for a time that
doubles with each further failure; when the time is up the next question tries it again. Pure but for the clock; used by
several threads.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PAUSE_SECONDS = (0.5, 15.0)


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    until_s: float = 0.0


class Parents:
    """The parents of an edge, the preferred one first, as http(s)://host:port."""

    def __init__(self, urls: Sequence[str], now_s: Callable[[], float] = time.monotonic) -> None:
        if not urls:
            raise ValueError("an edge has at least one parent")
        self.urls = tuple(url.rstrip("/") for url in urls)
        self._now_s = now_s
        self._lock = threading.Lock()
        self._silent: list[Callable[[str], None]] = []
        self._breakers = {url: _Breaker() for url in self.urls}

    def __repr__(self) -> str:
        return f"<Parents {sum(not self.resting(url) for url in self.urls)} of {len(self.urls)} healthy>"

    def order(self) -> tuple[str, ...]:
        """All of them, the one to ask first first; those that rest come last, the soonest to be tried again ahead."""
        with self._lock:
            now_s = self._now_s()
            rest = {url: max(0.0, one.until_s - now_s) for url, one in self._breakers.items()}
        return tuple(sorted(self.urls, key=lambda url: rest[url]))

    def resting(self, url: str) -> bool:
        """Is it being passed over?"""
        return self.rest_s(url) > 0

    def rest_s(self, url: str) -> float:
        """For how long it is still passed over."""
        with self._lock:
            return max(0.0, self._breakers[url].until_s - self._now_s())

    def others(self, url: str) -> bool:
        """Is there a healthy one besides this?"""
        return any(not self.resting(other) for other in self.urls if other != url)

    def failed(self, url: str) -> None:
        """It did not answer, answered wrongly, or fell silent."""
        with self._lock:
            one = self._breakers[url]
            pause_s = min(PAUSE_SECONDS[0] * 2 ** min(one.failures, 10), PAUSE_SECONDS[1])
            one.failures += 1
            one.until_s = self._now_s() + pause_s * random.uniform(0.5, 1.0)  # noqa: S311

    def on_silence(self, tell: Callable[[str], None]) -> None:
        """`tell` is called with each parent that falls silent."""
        self._silent.append(tell)

    def silent(self, url: str) -> None:
        """It is not heard any more, though nothing says that it is gone."""
        self.failed(url)
        for tell in self._silent:
            tell(url)

    def worked(self, url: str) -> None:
        """It answered as it should."""
        with self._lock:
            self._breakers[url] = _Breaker()
