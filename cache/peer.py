"""How does an origin tell its journal to those who follow it? In order, as committed, and with a beat when it is quiet.

The frames are those of cache.feed. An entry leaves within a few milliseconds of its commit, by whichever worker.
"""

import re
import time
from collections.abc import Awaitable, Callable

import trio

from cache.feed import ANEW, beat, entries
from storage.catalog import Catalog
from storage.errors import Conflict, Invalid
from storage.journal import Journal

BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.003
READ_BYTES = 1 << 20
WORKSPACES_MAX = 100_000
_PLACE = re.compile(r"([a-z0-9._-]{1,63}):([0-9]{1,18})")


def parse_after(text: str) -> dict[str, int]:
    """ "demo:12,other:3" → the Serials that the follower has. Raises Invalid."""
    after: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        match = _PLACE.fullmatch(part)
        if match is None or len(after) >= WORKSPACES_MAX:
            raise Invalid("The argument after is malformed.", "Send workspace:serial pairs with commas between.")
        after[match[1]] = int(match[2])
    return after


async def journal_stream(
    catalog: Catalog, journal: Journal, after: dict[str, int], send: Callable[[bytes], Awaitable[None]]
) -> None:
    """Send a beat, every entry behind `after`, then each new one as it is committed. Ends when `send` raises, or after
    telling a follower who is ahead of this journal to start anew."""
    reader = journal.follow(after)
    moment, beaten_s = -1, -1.0
    await send(_beat(catalog, journal))
    while True:
        now_moment, now_s = catalog.moment(), trio.current_time()
        if now_moment != moment:
            try:
                bodies = await trio.to_thread.run_sync(reader.read, READ_BYTES)
            except Conflict:
                await send(ANEW)
                return
            if bodies:
                await send(entries(bodies))
                continue
            moment = now_moment
        if now_s - beaten_s >= BEAT_SECONDS:
            beaten_s = now_s
            await send(_beat(catalog, journal))
        await trio.sleep(LOOK_SECONDS)


def _beat(catalog: Catalog, journal: Journal) -> bytes:
    with catalog.read() as reading:
        total = sum(serial for serial, _ in reading.heads().values())
    return beat(journal.epoch, total, time.time_ns() // 1_000_000)
