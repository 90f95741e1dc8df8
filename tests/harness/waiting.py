"""How does a test wait for what has no event: a file, another process, another thread? By looking, for a while."""

import time
from collections.abc import Callable

import trio

SECONDS_MAX = 60.0
LOOK_SECONDS = 0.02


def until[T](holds: Callable[[], T | None], what: str = "that") -> T:
    """What `holds` gives, once that is true."""
    end_s = time.monotonic() + SECONDS_MAX
    while not (found := holds()):
        assert time.monotonic() < end_s, f"waited in vain until {what}"
        time.sleep(LOOK_SECONDS)
    return found


async def comes[T](holds: Callable[[], T]) -> T:
    """The same, while other tasks go on."""
    with trio.fail_after(SECONDS_MAX):
        while not (found := holds()):  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(LOOK_SECONDS)
    return found
