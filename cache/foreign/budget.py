"""Which foreign registries are to be left alone, and for how long?

Registries count requests. One that says that ours are used up, by 429 with a time or by a RateLimit-Remaining of 0 with
any answer, is asked for nothing more until its time is over: each further question would be refused and, with some of
them, counted as well. It holds for all that it has, in all repositories and processes of the node; what was pulled
before masks it meanwhile.
"""

import time
from collections.abc import Callable, Mapping

from cache.asking.bodies import retry_after
from cache.keeping.shelf import Shelf
from storage.errors import Unavailable

RESTING = "resting"
REST_SECONDS_MAX = 300
REST_SECONDS_UNTOLD = 60
_DIGITS_MAX = 9


class Budget:
    """The node's requests at its upstreams, by scheme and authority. Thread-safe, as the shelf is."""

    def __init__(self, shelf: Shelf, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._shelf = shelf
        self._now_ms = now_ms

    def check(self, url: str) -> None:
        """Raises Unavailable while whoever answers at `url` is left alone."""
        left_ms = self._left_ms(owner_of(url))
        if left_ms > 0:
            raise Unavailable("The upstream asks to be left alone for a while.", retry_after_s=left_ms // 1000 + 1)

    def rest(self, url: str, seconds: int) -> None:
        """Leave it alone for so long, and no longer than REST_SECONDS_MAX."""
        until_ms = self._now_ms() + min(seconds, REST_SECONDS_MAX) * 1000
        self._shelf.put(RESTING, owner_of(url).encode(), until_ms.to_bytes(8, "big"))

    def note(self, url: str, headers: Mapping[str, str]) -> None:
        """What an answer tells of the requests that are left (RateLimit-Remaining, RateLimit-Reset)."""
        if _number(headers.get("ratelimit-remaining", "")) == 0:
            self.rest(url, _number(headers.get("ratelimit-reset", ""), REST_SECONDS_UNTOLD))

    def heed(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Of a whole answer, as `note`; and what a 429 tells of the time to stay away (Retry-After)."""
        self.note(url, headers)
        if status == 429 and "retry-after" in headers:
            self.rest(url, retry_after(headers))

    def _left_ms(self, owner: str) -> int:
        raw = self._shelf.get(RESTING, owner.encode())
        left_ms = int.from_bytes(raw, "big") - self._now_ms() if raw is not None else 0
        return left_ms if left_ms <= REST_SECONDS_MAX * 1000 else 0  # a far-off end is a clock that was moved


def owner_of(url: str) -> str:
    """Scheme and authority of who is asked."""
    return "/".join(url.split("/", 3)[:3])


def _number(text: str, otherwise: int = -1) -> int:
    """The number that a field begins with ("76;w=21600" is 76)."""
    digits = text.partition(";")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX else otherwise
