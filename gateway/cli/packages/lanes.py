"""How much is sent at the same time, whatever there is to send? One bound for files and parts of files together.

A file takes a lane for the request that it is sent in, and so does each part of a large one: there are never more
connections than lanes. Requests that are made in memory are made one after the other where together they were too
large. Whoever interrupts waits for nobody: nothing here is joined then, since the process ends.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

MEMORY_BYTES_MAX = 1 << 30


class Lanes:
    """So many of them. Files wait in threads of their own for the lanes of their parts."""

    def __init__(self, count: int, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self.count = count
        self._free = threading.BoundedSemaphore(count)
        self._files = ThreadPoolExecutor(count, "file")
        self._parts = ThreadPoolExecutor(count, "part")
        self._memory = threading.Condition()
        self._memory_left = self._memory_all = memory_bytes_max

    @contextmanager
    def lane(self) -> Iterator[None]:
        """One connection, for as long as the block lasts."""
        with self._free:
            yield

    @contextmanager
    def memory(self, size: int) -> Iterator[None]:
        """Room for so many bytes; what is larger than all there is takes all."""
        taken = min(size, self._memory_all)
        with self._memory:
            self._memory.wait_for(lambda: self._memory_left >= taken)
            self._memory_left -= taken
        try:
            yield
        finally:
            with self._memory:
                self._memory_left += taken
                self._memory.notify_all()

    def files[One, Result](self, send: Callable[[One], Result], files: Iterable[One]) -> list[Result]:
        """Do it for each, at the same time; the first failure keeps what has not begun from beginning, and is raised
        when the rest has ended."""
        return _all(self._files, send, files)

    def parts[One](self, send: Callable[[One], None], parts: Iterable[One]) -> None:
        """The same for the parts of one file, each in a lane."""

        def in_lane(part: One) -> None:
            with self.lane():
                send(part)

        _all(self._parts, in_lane, parts)

    def close(self) -> None:
        """There is nothing more to send."""
        self._files.shutdown()
        self._parts.shutdown()


def _all[One, Result](pool: ThreadPoolExecutor, do: Callable[[One], Result], what: Iterable[One]) -> list[Result]:
    begun: list[Future[Result]] = [pool.submit(do, one) for one in what]
    done, rest = wait(begun, return_when=FIRST_EXCEPTION)
    if any(one.exception() is not None for one in done):
        for one in rest:
            one.cancel()
        wait(rest)
    return [one.result() for one in begun if not one.cancelled()]
