"""Do lines become segments as fast as they are written, and what is to be done where they do not? Pure.

Segments are made at the lowest priority, so that delivery feels nothing of it. On a core that delivery alone can fill
that is a hundredth of it, and the log's files hold so many bytes of each worker and no more: what is not taken by the
time they turn is lost. So the less time is left until then, the more of the core the work may have, up to as much as
delivery itself: a log that misses nobody goes before the last tenth of what a full core can send.
"""

from collections.abc import Mapping
from typing import NamedTuple

LOWEST, LOW, EQUAL = 19, 10, 0
PRIORITIES = (LOWEST, LOW, EQUAL)
"""Beside a process of the usual priority, the kernel gives them a seventieth, a tenth and half of a full core."""
LOWEST_SECONDS, LOW_SECONDS = 600.0, 120.0
"""So long must it be at least until lines are lost, for these priorities to do."""
FULL = 0.5
"""Before so much of the room is taken up, a burst may wait."""


class Waiting(NamedTuple):
    """The bytes that were not taken yet by worker, and when that was seen (s, monotonic)."""

    by_worker: Mapping[int, int]
    at_s: float

    @property
    def all(self) -> int:
        return sum(self.by_worker.values())

    def without(self, worker: int, taken: int) -> "Waiting":
        """As if these bytes had been taken before it was seen."""
        return self._replace(by_worker={**self.by_worker, worker: self.by_worker.get(worker, 0) - taken})


def left_s(before: Waiting, now: Waiting, room_bytes: int) -> float:
    """How long it is until a worker's log has no more room for what waits, at the pace since `before`, when nothing was
    taken in between; `room_bytes` is what the files of one worker hold."""
    seconds = max(now.at_s - before.at_s, 0.001)
    found = float("inf")
    for worker, waiting in now.by_worker.items():
        pace = (waiting - before.by_worker.get(worker, 0)) / seconds
        if waiting >= room_bytes:
            return 0.0
        if pace > 0:
            found = min(found, (room_bytes - waiting) / pace)
    return found


def priority(before: Waiting, now: Waiting, room_bytes: int) -> int:
    """At which nice value segments are made."""
    left = left_s(before, now, room_bytes)
    if left >= LOWEST_SECONDS:
        return LOWEST
    full = max(now.by_worker.values(), default=0) / room_bytes
    return LOW if left >= LOW_SECONDS or full < FULL else EQUAL
