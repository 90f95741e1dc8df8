"""What is forgotten when the cache's share of the disk is used up? The oldest packs, but not what was just asked for.

Packs stand in a queue by age. The oldest goes; small blobs of it that were read since the last look are written into
the current pack first, large ones get one more round. That is FIFO with reinsertion: what is asked for stays, a scan
that reads everything once does not drive it out.
"""

import trio

from storage.blobs import BlobShelf
from storage.errors import Problem

LOOK_SECONDS = 2.0
LOW_SHARE = 0.9
MOVE_BYTES_MAX = 1 << 20
PACKS_A_LOOK_MAX = 64


class Evictor:
    """Keeps a cache's shelf below `bytes_max`, making room down to nine tenths of it."""

    def __init__(self, shelf: BlobShelf, bytes_max: int) -> None:
        self._shelf = shelf
        self._bytes_max = bytes_max
        self._touched: set[bytes] = set()
        self._spared: set[int] = set()

    def touch(self, sha256: bytes) -> None:
        """This blob was read."""
        self._touched.add(sha256)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            await trio.to_thread.run_sync(self.make_room)

    def make_room(self) -> int:
        """Drop what must go; returns how many bytes went."""
        packs = self._shelf.packs()
        used = sum(one.bytes for one in packs)
        if used <= self._bytes_max:
            return 0
        gone = 0
        for pack in [one for one in packs if one.sealed][:PACKS_A_LOOK_MAX]:
            if used - gone <= self._bytes_max * LOW_SHARE:
                break
            if self._spare(pack.id):
                continue
            try:
                self._shelf.drop(pack.id)
            except (Problem, OSError):
                continue
            gone += pack.bytes
        self._touched.clear()
        return gone

    def _spare(self, pack: int) -> bool:
        """Save what was read; True where the pack itself gets one more round."""
        hot = [(sha256, size) for sha256, size in self._shelf.members(pack) if sha256 in self._touched]
        if any(size > MOVE_BYTES_MAX for _, size in hot) and pack not in self._spared:
            self._spared.add(pack)
            return True
        self._spared.discard(pack)
        for sha256, _ in hot:
            self._shelf.move(sha256)
        return False
