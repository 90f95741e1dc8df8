"""How does an origin tell its journal to those who follow it? In order, as committed, and with a beat when it is quiet.

The frames are those of cache.feed. An entry leaves within a few milliseconds of its commit, by whichever
worker; the first after a quiet time within 15.
"""

import time
from collections.abc import Awaitable, Callable

import trio

from cache.feed import ANEW, beat, entries
from storage.catalog import Catalog
from storage.errors import Conflict
from storage.journal import Journal

BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.003
QUIET_SECONDS = 2.0
LOOK_SECONDS_QUIET = 0.015
READ_BYTES = 1 << 20


async def journal_stream(
    catalog: Catalog, journal: Journal, after: dict[str, int], send: Callable[[bytes], Awaitable[None]]
) -> None:
    """Send a beat, every entry behind `after`, then each new one as it is committed. Ends when `send` raises, or after
    telling a follower who is ahead of this journal to start anew."""
    reader = journal.follow(after)
    moment, beaten_s, moved_s = -1, -1.0, trio.current_time()
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
            moment, moved_s = now_moment, now_s
        if now_s - beaten_s >= BEAT_SECONDS:
            beaten_s = now_s
            await send(_beat(catalog, journal))
        await trio.sleep(LOOK_SECONDS if now_s - moved_s < QUIET_SECONDS else LOOK_SECONDS_QUIET)


def _beat(catalog: Catalog, journal: Journal) -> bytes:
    with catalog.read() as reading:
        total = sum(serial for serial, _ in reading.heads().values())
    return beat(journal.epoch, total, time.time_ns() // 1_000_000)
