"""How is a fetch that nobody waits for kept from taking the link? By a bucket of bytes, until somebody does wait."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from cache.asking.bodies import Source

BURST_SECONDS = 0.25
STEP_BYTES = 64 << 10
NAP_SECONDS = 0.05


class Bucket:
    """So many bytes a second, shared by threads. What was saved up is worth BURST_SECONDS at most."""

    def __init__(self, rate_bytes_s: int, now_s: Callable[[], float] = time.monotonic) -> None:
        if rate_bytes_s <= 0:
            raise ValueError("a rate is at least one byte a second")
        self._rate_bytes_s = rate_bytes_s
        self._now_s = now_s
        self._free_s = now_s()
        self._lock = threading.Lock()

    def take(self, count: int) -> float:
        """Take `count` bytes; for how many seconds whoever took them waits now."""
        with self._lock:
            now_s = self._now_s()
            self._free_s = max(self._free_s, now_s - BURST_SECONDS) + count / self._rate_bytes_s
            return max(0.0, self._free_s - now_s)


class Paced:
    """A Source that waits for its buckets after each piece. Once `hurried`, or so late that it would not end in time
    (`unpaced_s`, monotonic), it flows as fast as it can."""

    def __init__(
        self,
        source: Source,
        buckets: Sequence[Bucket],
        hurried: Callable[[], bool],
        unpaced_s: float = float("inf"),
        *,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._buckets = buckets
        self._hurried = hurried
        self._unpaced_s = unpaced_s
        self._sleep = sleep
        self._now_s = now_s
        self._aborted = False
        self.status: int = source.status
        self.headers: Mapping[str, str] = source.headers
        self.offset: int = source.offset
        self.length: int = source.length

    def readinto(self, buffer: memoryview) -> int:
        if self._flows():
            return self._source.readinto(buffer)
        count = self._source.readinto(buffer[:STEP_BYTES])
        self._wait(max((one.take(count) for one in self._buckets), default=0.0))
        return count

    def ready(self, seconds: float) -> bool:
        return self._source.ready(seconds)

    def close(self) -> None:
        self._source.close()

    def abort(self) -> None:
        self._aborted = True
        self._source.abort()

    def _flows(self) -> bool:
        return self._aborted or self._hurried() or self._now_s() > self._unpaced_s

    def _wait(self, seconds: float) -> None:
        """In short naps: a client that joins is not to wait for the end of a long one."""
        end_s = self._now_s() + seconds
        while not self._flows() and (left_s := end_s - self._now_s()) > 0:
            self._sleep(min(left_s, NAP_SECONDS))
