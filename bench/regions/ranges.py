"""What does a range in the middle of a large object cost that an edge does not have?

Beside it stands the same range asked of the origin itself, by the same client through the same wires, on a connection
that is open: what a hit costs over that way. What else comes into the region is counted at its wire.
"""

import http.client
import random
import time
from collections.abc import Buffer

from bench.numbers import size_text
from bench.regions.story import Story
from bench.regions.world import PORT, Host
from bench.servers import Filler, put

ROUNDS = 5
WANTED_BYTES = 1 << 20
SETTLE_SECONDS = 2.0
CUT_BYTES_S = 400e6
"""What was published is cut at this speed at least, and until then that goes on beside."""


class Fresh(Filler):
    """A body of which no part comes twice, so that no chunk of it is here for another's sake."""

    def readinto(self, into: Buffer, /) -> int:
        number, offset = divmod(self._at, WANTED_BYTES)
        if not offset:
            self._block = memoryview(random.Random(f"fresh {number}").randbytes(WANTED_BYTES))
        return super().readinto(memoryview(into).cast("B")[: WANTED_BYTES - offset])


class Ranges:
    """A kept connection that asks for ranges; from within `host`, of the node at `address`."""

    def __init__(self, host: Host, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, PORT, timeout=60)
        with host.site.entered():
            self._connection.connect()

    def ask(self, path: str, first: int, count: int) -> tuple[float, float]:
        """(milliseconds to the first bytes of the body, to its end)."""
        begun_s = time.monotonic()
        self._connection.request("GET", path, headers={"Range": f"bytes={first}-{first + count - 1}"})
        answer = self._connection.getresponse()
        got = len(answer.read1(1 << 14))
        first_s = time.monotonic()
        got += len(answer.read())
        if answer.status != 206 or got != count:
            raise RuntimeError(f"{path} from {first}: {answer.status}, {got} bytes")
        return (first_s - begun_s) * 1e3, (time.monotonic() - begun_s) * 1e3

    def close(self) -> None:
        self._connection.close()


def far_range(story: Story, size: int) -> None:
    """`size` bytes are published, and ranges of 1 MB in the middle of them asked for at one edge."""
    world, traffic, host = story.world, story.traffic, story.world.edges[-1]
    path = f"{traffic.repositories[True]}/generic/large"
    traffic.quiet.set()
    traffic.settle()
    with world.origin.site.entered():
        put(f"{world.origin.url}{path}", Fresh("large", size), world.bearer)
    for edge in world.edges:
        edge.until(path, 200, method="HEAD")
    traffic.paused.set()
    time.sleep(SETTLE_SECONDS + size / CUT_BYTES_S)
    ours, theirs = Ranges(host, "127.0.0.1"), Ranges(host, world.origin.site.address)
    firsts, beside, more = [], [], []
    with story.phase("ranges"):
        theirs.ask(path, 0, 1000)
        for number in range(ROUNDS):
            at = size // 2 + number * size // 16 + 12_345
            beside.append(theirs.ask(path, at, WANTED_BYTES)[0])
            beside[-1] = theirs.ask(path, at, WANTED_BYTES)[0]
            before = world.into(host.region)
            firsts.append(ours.ask(path, at, WANTED_BYTES)[0])
            time.sleep(SETTLE_SECONDS)
            more.append((world.into(host.region) - before - WANTED_BYTES) / (1 << 20))
    ours.close()
    theirs.close()
    traffic.paused.clear()
    traffic.quiet.clear()
    what = f"1 MB in the middle of a cold {size_text(size)}"
    story.say(f"{what}: first byte, the very first", firsts[0], "ms")
    story.say(f"{what}: first byte", firsts, "ms")
    story.say(f"{what}: first byte of a hit over the same wires", beside, "ms")
    ratios = [mine / other for mine, other in zip(firsts, beside, strict=True)]
    story.say(f"{what}: ratio", ratios, "x", "<= 1.3")
    story.say(f"{what}: fetched more than asked", more, "MB", "<= 2", "with what TCP and TLS add")
