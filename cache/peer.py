"""How does an origin tell the journal to who follows it? As frames, in order, with a heartbeat where nothing happens.

A frame is a u32 (little-endian) length and that many bytes, the body of an Entry; a length of 0 is a heartbeat.
"""

import re
import struct
from collections.abc import Awaitable, Callable

import trio

from storage.catalog import Catalog
from storage.errors import Invalid
from storage.journal import Journal

LENGTH = struct.Struct("<I")
HEARTBEAT = LENGTH.pack(0)
HEARTBEAT_SECONDS = 1.0
LOOK_SECONDS = 0.003
READ_BYTES = 1 << 20
WORKSPACES_MAX = 100_000
_PLACE = re.compile(r"([a-z0-9._-]{1,63}):([0-9]{1,18})")


def parse_after(text: str) -> dict[str, int]:
    """"demo:12,other:3" → the Serials that the follower has. Raises Invalid."""
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
    """Send every entry behind `after`, then each new one as it is committed. Ends when `send` raises."""
    reader = journal.follow(after)
    moment = -1
    beat_s = trio.current_time()
    while True:
        now_moment = catalog.moment()
        bodies = []
        if now_moment != moment:
            bodies = await trio.to_thread.run_sync(reader.read, READ_BYTES)
        if bodies:
            await send(b"".join(LENGTH.pack(len(body)) + body for body in bodies))
            beat_s = trio.current_time()
            continue
        moment = now_moment
        if trio.current_time() - beat_s >= HEARTBEAT_SECONDS:
            await send(HEARTBEAT)
            beat_s = trio.current_time()
        await trio.sleep(LOOK_SECONDS)
