"""What must be done again and again although nothing happens? Duties, each after its own time."""

from collections.abc import Callable, Sequence
from time import monotonic

import trio

BEAT_SECONDS = 0.1

Duty = tuple[float, Callable[[], None]]
"""(seconds between two times, what to do)"""


async def go_round(ended: trio.Event, duties: Sequence[Duty]) -> None:
    """Do each duty after its seconds until `ended`, looking every BEAT_SECONDS; one that is late is not made up for."""
    due_s = [monotonic() + seconds for seconds, _ in duties]
    while not ended.is_set():
        with trio.move_on_after(BEAT_SECONDS):
            await ended.wait()
        now = monotonic()
        for number, (seconds, duty) in enumerate(duties):
            if now >= due_s[number]:
                due_s[number] = now + seconds
                duty()
