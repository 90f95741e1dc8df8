"""How does a response leave, when the client, the disk and the other clients all have a say in the pace?

`pump` moves one connection on until the kernel takes no more, its share of this turn is used up, or all is sent. A
large body goes by sendfile in quanta, round robin. Before a quantum its pages are probed without waiting: a cold one
would hold up every connection of the process, so a thread reads it first.
"""

import os
import socket
from collections.abc import Callable, Iterable
from os import sendfile
from time import monotonic

import trio

from gateway.delivery.connections.connection import Connection
from gateway.delivery.connections.tls import CROWDED_ROOM_BYTES, ROOM_BYTES, Seal
from gateway.delivery.messages.memo import Entry

QUANTUM_BYTES = 2 << 20
SEALED_QUANTUM_BYTES = 1 << 20
PROBE_BYTES = 128 << 10
AHEAD_BYTES = 8 << 20
WARM_SECONDS = 10.0
WARM_BLOCKS_MAX = 50_000
READERS_MAX = 16
FIRST_ROOM_BYTES = 32 << 10
CROWD = 256
_BLOCK_BITS = 21

Block = tuple[int, int, int]
"""(descriptor, first byte of the extent, number of the 2 MB block)"""


class Sender:
    """The sending half of the loop. `ready` holds connections that may go on at once in the next turn. `alone`: one
    client is heard in this turn; then a sealed answer begins with a small piece, so that the client has work meanwhile.

    `later` puts a connection there and keeps the loop from sleeping.
    """

    def __init__(self, nursery: trio.Nursery, seal: Seal, later: Callable[[Connection], None]) -> None:
        self.ready: dict[int, Connection] = {}
        self.alone = False
        self.room_bytes = ROOM_BYTES
        self._nursery = nursery
        self._seal = seal
        self._later = later
        self._readers = trio.CapacityLimiter(READERS_MAX)
        self._probe = [bytearray(1)]
        self._warm: dict[Block, float] = {}

    def make_room(self, connections: Iterable[Connection]) -> None:
        """Seal less at once where many sealed answers wait for their clients: each holds what it was given."""
        stalled = sum(1 for c in connections if c.tls is not None and c.sending)
        self.room_bytes = ROOM_BYTES if stalled < CROWD else CROWDED_ROOM_BYTES

    def pump(self, c: Connection) -> bool:
        """True when everything is sent. OSError when the client is gone or a pack is shorter than its index says."""
        if c.warming:
            return False
        try:
            return self._pump_plain(c) if c.tls is None else self._pump_sealed(c)
        except BlockingIOError:
            return False

    def hold_small(self, entry: Entry, bytes_max: int) -> None:
        """Let the entry of a small body keep the bytes themselves, where all of them are in memory already."""
        if not entry.extents or entry.size > bytes_max:
            return
        parts = []
        for descriptor, offset, length in entry.extents:
            part = bytearray(length)
            try:
                if os.preadv(descriptor, [part], offset, os.RWF_NOWAIT) != length:
                    return
            except OSError:
                return
            parts.append(part)
        entry.hold(b"".join(parts))

    # ------------------------------------------------------------ plain

    def warm_until_s(self, entry: Entry) -> float:
        """Until when the only extent of `entry` may be sent without asking for cold pages; 0 = ask first."""
        descriptor, offset, length = entry.extents[0]
        blocks = range(offset >> _BLOCK_BITS, (offset + length - 1 >> _BLOCK_BITS) + 1)
        if length > QUANTUM_BYTES:
            return 0.0
        return min((self._warm.get((descriptor, offset, block), 0.0) for block in blocks), default=0.0)

    def send_file(self, c: Connection, entry: Entry, head: bytes | memoryview) -> bool:
        """`head` and the one extent of `entry` in two calls. False: `c` holds what the kernel did not take yet.

        OSError when the client is gone or a pack is shorter than its index says.
        """
        descriptor, offset, length = entry.extents[0]
        n = 0
        try:
            n = c.send(head, socket.MSG_MORE)
            if n == len(head):
                head, n = b"", 0
                n = sendfile(c.fd, descriptor, offset, length)
                if n == length:
                    return True
                if not n:
                    raise OSError("a pack is shorter than its index says")
        except BlockingIOError:
            pass
        c.load_extents(entry.extents, entry.lease)
        if head:
            c.pend = memoryview(head)[n:]
        else:
            c.offset += n
        c.sent += n
        c.sending = True
        if n and not head:
            self._later(c)
        return False

    def _pump_plain(self, c: Connection) -> bool:
        while c.pend:
            offered = len(c.pend)
            n = c.send(c.pend, socket.MSG_MORE if c.extents or c.body else 0)
            c.sent += n
            if n < offered:
                c.pend = memoryview(c.pend)[n:]
                return False
            c.pend, c.body = c.body, b""
        return not c.extents or self._pump_extents(c)

    def _pump_extents(self, c: Connection) -> bool:
        """A blob may lie in some hundred extents, so this loop is as hot as that of the heads. Their ends are corked:
        else each would leave in a packet of its own, half empty, and be acknowledged alone."""
        extents, fd, left, now, warm = c.extents, c.fd, QUANTUM_BYTES, monotonic(), self._warm
        if not c.corked and len(extents) > 1:
            c.corked = True
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        at, descriptor, offset, end, last = c.at, c.descriptor, c.offset, c.end, len(extents) - 1
        try:
            while left > 0:
                wanted = end - offset
                if wanted > left:
                    wanted = left
                if wanted:
                    block = offset >> _BLOCK_BITS
                    if (
                        offset + wanted - 1 >> _BLOCK_BITS != block
                        or warm.get((descriptor, extents[at][1], block), 0.0) <= now
                    ) and not self._is_warm(c, (descriptor, offset, extents[at][1], end), wanted):
                        return False
                    n = sendfile(fd, descriptor, offset, wanted)
                    if not n:
                        raise OSError("a pack is shorter than its index says")
                    offset += n
                    left -= n
                # Less than wanted: the socket is full, which gives an edge, or a page was not there. The next tells.
                if offset == end:
                    if at == last:
                        break
                    at += 1
                    descriptor, offset, end = extents[at]
                    end += offset
            else:
                self._later(c)
                return False
        finally:
            c.at, c.descriptor, c.offset, c.end = at, descriptor, offset, end
            c.sent += QUANTUM_BYTES - left
        c.forget_extents()
        if c.corked:
            c.corked = False
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        return True

    # ------------------------------------------------------------ sealed

    def _pump_sealed(self, c: Connection) -> bool:
        left, room = SEALED_QUANTUM_BYTES, FIRST_ROOM_BYTES if self.alone else self.room_bytes
        while True:
            if c.pend:
                offered = len(c.pend)
                n = c.send(c.pend)
                c.sent += n
                if n < offered:
                    c.pend = memoryview(c.pend)[n:]
                    return False
                c.pend = b""
            if left <= 0:
                self._later(c)
                return False
            n = self._gather(c, room)
            if n < 0:
                return False
            if not n:
                return True
            self._seal.seal(c, self._seal.room[:n])
            left, room = left - n, self.room_bytes

    def _gather(self, c: Connection, size: int) -> int:
        """At most `size` bytes of plaintext into the room; 0 = all is sealed, -1 = the disk must be read first."""
        room, made = self._seal.room[:size], 0
        while c.plain and made < len(room):
            taken = min(len(c.plain), len(room) - made)
            room[made : made + taken] = c.plain[:taken]
            made += taken
            if taken < len(c.plain):
                c.plain = memoryview(c.plain)[taken:]
            else:
                c.plain, c.body = c.body, b""
        while c.extents and made < len(room):
            wanted = min(c.end - c.offset, len(room) - made)
            if wanted and not self._is_warm(c, (c.descriptor, c.offset, c.extents[c.at][1], c.end), wanted):
                return made or -1
            n = os.preadv(c.descriptor, [room[made : made + wanted]], c.offset) if wanted else 0
            if wanted and not n:
                raise OSError("a pack is shorter than its index says")
            c.offset += n
            made += n
            if c.offset == c.end:
                c.next_extent()
        return made

    # ------------------------------------------------------------ cold bytes

    def _is_warm(self, c: Connection, where: tuple[int, int, int, int], n: int) -> bool:
        """Would reading `n` bytes come from memory? If not, a thread has begun to bring them there. `where`: the
        descriptor, the first of these bytes, and where the extent starts and ends.

        Asked by whole blocks of the extent, and not again for some seconds: what is served all the time is not probed.
        """
        descriptor, offset, start, end = where
        now = monotonic()
        for block in range(offset >> _BLOCK_BITS, (offset + n - 1 >> _BLOCK_BITS) + 1):
            key = (descriptor, start, block)
            if self._warm.get(key, 0.0) > now:
                continue
            low, high = max(start, block << _BLOCK_BITS), min(end, block + 1 << _BLOCK_BITS)
            if not self._in_memory(descriptor, low, high):
                c.warming = True
                self._nursery.start_soon(self._bring, c, key, low, high - low)
                return False
            self._note_warm(key, now)
        return True

    def _in_memory(self, descriptor: int, low: int, high: int) -> bool:
        for at in (*range(low, high, PROBE_BYTES), high - 1):
            try:
                os.preadv(descriptor, self._probe, at, os.RWF_NOWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True  # this file system cannot be asked
        return True

    def _note_warm(self, key: Block, now: float) -> None:
        if len(self._warm) >= WARM_BLOCKS_MAX:
            self._warm.clear()
        self._warm[key] = now + WARM_SECONDS

    async def _bring(self, c: Connection, key: Block, low: int, n: int) -> None:
        """Reads ahead in a thread while the connection waits; the lease keeps the descriptor open meanwhile."""
        lease = c.lease
        try:
            await trio.to_thread.run_sync(read_ahead, key[0], low, n, limiter=self._readers)
        finally:
            c.warming = False
        del lease
        self._note_warm(key, monotonic())
        if not c.gone:
            self._later(c)


def read_ahead(descriptor: int, offset: int, n: int) -> None:
    """Bring `n` bytes of a file into memory, and let the kernel begin with what follows."""
    try:
        os.posix_fadvise(descriptor, offset, n + AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        scratch = [bytearray(min(n, 1 << 20))]
        for at in range(offset, offset + n, 1 << 20):
            os.preadv(descriptor, scratch, at)
    except OSError:
        return
