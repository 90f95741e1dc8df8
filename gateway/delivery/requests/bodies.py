"""Where exactly does a request body end, and how do its bytes reach a sink without holding up the loop?

Strict: a body ends where its length or its last chunk says, never later, so that the bytes behind it are the next
request and nothing else. Small bodies are read on the loop. Once a sender has shown that it is fast, one thread takes
over with large blocking reads until the sender pauses; then the loop waits again. So a slow client never holds a
thread, and a fast one costs no thread hop per buffer.
"""

import re
import socket
import struct
from collections.abc import Callable
from time import monotonic

import trio

from gateway.delivery.connections.connection import Connection, Engine, Gone, Phase
from gateway.delivery.messages.heads import Head
from storage.errors import Invalid, Problem, TooLarge

INLINE_BYTES_MAX = 1 << 20
FIRST_BYTES = 8 << 10  # more only for who fills it: many slow clients must not cost much memory
BUFFER_BYTES = 256 << 10
FILL_BUFFER_BYTES = 1 << 20
FILL_PAUSE_S = 0.2
BULK_BYTES = 64 << 10
DRAIN_BYTES_MAX = 64 << 10
LINES_PER_FEED = 256
LINE_BYTES_MAX = 256
TRAILER_BYTES_MAX = 4 << 10
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Sink = Callable[[memoryview], None]

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class TooSlow(Problem):
    """The client stopped sending, or sends below the minimum rate."""

    status, code = 408, "too-slow"


class Chunked:
    """Takes a chunked body apart. Pure: `feed` copies payload out and says how much input it has understood."""

    __slots__ = ("_left", "_state", "_trailer", "done")

    def __init__(self) -> None:
        self.done = False
        self._state = "size"
        self._left = 0
        self._trailer = 0

    def feed(self, raw: bytes | bytearray, start: int, end: int, out: memoryview) -> tuple[int, int]:
        """(consumed, produced) of raw[start:end]; at most LINES_PER_FEED lines, the rest waits for the next feed.

        Invalid for anything RFC 9112 section 7.1 does not allow, and for lines and trailers beyond their bounds.
        """
        at, made, room = start, 0, len(out)
        view = memoryview(raw)
        for _ in range(LINES_PER_FEED):
            if self._state == "data":
                count = min(self._left, end - at, room - made)
                out[made : made + count] = view[at : at + count]
                at, made, self._left = at + count, made + count, self._left - count
                if self._left:
                    break
                self._state = "data end"
            line = self._line(raw, at, end)
            if line is None:
                break
            at += len(line) + 2
            self._take(line)
            if self.done or (self._state == "data" and made == room):
                break
        return at - start, made

    def _line(self, raw: bytes | bytearray, at: int, end: int) -> bytes | None:
        """The next line without its end, or None where it is not complete."""
        stop = raw.find(b"\n", at, min(end, at + LINE_BYTES_MAX + 2))
        if stop < 0:
            if end - at > LINE_BYTES_MAX or (self._state == "data end" and raw[at:end] not in (b"", b"\r")):
                raise Invalid("The chunked body is malformed.")
            return None
        line = bytes(raw[at : stop - 1])
        if stop == at or raw[stop - 1] != 13 or b"\r" in line:
            raise Invalid("A line of the chunked body does not end with CR LF.")
        return line

    def _take(self, line: bytes) -> None:
        if self._state == "data end":
            if line:
                raise Invalid("A chunk is longer than it says.")
            self._state = "size"
        elif self._state == "size":
            match = _SIZE.fullmatch(line)
            if match is None or (line[len(match[1]) : len(match[1]) + 1] not in (b"", b";")):
                raise Invalid("A chunk size is malformed.")
            self._left = int(match[1], 16)
            self._state = "data" if self._left else "trailer"
        else:
            self._trailer += len(line) + 2
            if self._trailer > TRAILER_BYTES_MAX or (line and _TRAILER.fullmatch(line) is None):
                raise Invalid("The trailer of the chunked body is malformed.")
            self.done = not line


class Body:
    """The body of one request. `done` once its exact end was seen; `received` counts payload bytes.

    Errors of all three ways of reading: TooLarge over the limit, Invalid for broken framing, TooSlow for a client that
    does not keep sending, Gone when it left. After any of them the connection is not used again.
    """

    __slots__ = ("_c", "_chunks", "_engine", "_raw", "_raw_end",
        "_raw_room", "_raw_start", "_waited", "broken", "done", "expect",
                 "left", "length", "received")  # fmt: skip

    def __init__(self, engine: Engine, c: Connection, head: Head) -> None:
        self._engine = engine
        self._c = c
        self.length = head.length
        self.left = max(head.length, 0)
        self.expect = head.expect
        self.done = head.length == 0
        self.broken = False
        self.received = 0
        self._waited = 0.0
        self._chunks = Chunked() if head.length < 0 else None
        self._raw = bytearray()
        self._raw_start = self._raw_end = 0
        self._raw_room = FIRST_BYTES

    @property
    def is_open(self) -> bool:
        """Is there more of it to come?"""
        return not self.done

    @property
    def drainable(self) -> bool:
        """Is so little left, surely on its way, that throwing it away is cheaper than a new connection?"""
        return not (self.broken or self.expect) and self._chunks is None and self.left <= DRAIN_BYTES_MAX

    async def read(self, mv: memoryview) -> int:
        """Puts the next payload into `mv` and returns its length; 0 = the whole body was seen."""
        if self.done or not len(mv):
            return 0
        await self._welcome()
        try:
            while self.is_open:
                try:
                    n = self._next(mv)
                except BlockingIOError:
                    await self._wait()
                    continue
                if n:
                    self.received += n
                    return n
                await trio.lowlevel.checkpoint()
        except (Problem, Gone):
            self.broken = True
            raise
        return 0

    async def whole(self, limit: int) -> bytes:
        """The body in memory, at most `limit` bytes."""
        out = bytearray()
        await self.fill(out.extend, limit)
        return bytes(out)

    async def fill(self, sink: Sink, limit: int) -> int:
        """Gives the body to `sink` in pieces, in order, and returns its size. `sink` may run in a thread.

        The pieces are valid only during the call. What `sink` raises comes out of here.
        """
        if self.length > limit:
            self._refuse_size(limit)
        if 0 < self.left <= len(self._c.buf) and not self.expect:
            return self._pass_on(sink)
        most = BUFFER_BYTES if self._chunks else min(BUFFER_BYTES, self.left)
        buffer = memoryview(bytearray(min(FIRST_BYTES, most)))
        while n := await self.read(buffer):
            if self.received > limit:
                self._refuse_size(limit)
            if self._c.tls is not None and self.received > INLINE_BYTES_MAX:
                await trio.to_thread.run_sync(sink, buffer[:n], limiter=self._engine.fillers)
            else:
                sink(buffer[:n])
            if self._c.tls is None and not self.done and self._is_bulk(n):
                await self._fill_in_thread(sink, limit)
            if n == len(buffer) < most:
                buffer = memoryview(bytearray(most))
        return self.received

    def _pass_on(self, sink: Sink) -> int:
        """The whole rest came along with the head: no buffer, no wait."""
        c, n = self._c, self.left
        data, c.buf = memoryview(c.buf)[:n], c.buf[n:]
        self.received += n
        self.left, self.done = 0, True
        sink(data)
        return self.received

    async def discard(self) -> bool:
        """Throws away a small rest; False where the client does not deliver it."""
        buffer = memoryview(bytearray(16 << 10))
        try:
            with trio.move_on_after(self._engine.config.body_idle_seconds_max):
                while await self.read(buffer):
                    pass
        except Problem:
            return False
        return self.done

    # ------------------------------------------------------------ one step

    async def _welcome(self) -> None:
        """100 only now, at the first read: whoever refuses a body has not asked for it."""
        if self.expect:
            self.expect = False
            if not self._engine.push(self._c, CONTINUE):
                while self._c.sending:
                    await self._c.park()

    def _next(self, mv: memoryview) -> int:
        """Payload bytes put into `mv`, 0 where a step made none. BlockingIOError when the socket is empty."""
        if self._chunks is not None:
            return self._next_chunked(mv, self._chunks)
        c = self._c
        want = min(len(mv), self.left)
        if c.buf or c.tls is not None:
            if not c.buf:
                c.buf = self._engine.take(c)
            n = min(want, len(c.buf))
            mv[:n] = c.buf[:n]
            c.buf = c.buf[n:]
        else:
            n = _received(c.sock, mv[:want])
        if not n:
            raise Gone
        self.left -= n
        self.done = not self.left
        return n

    def _next_chunked(self, mv: memoryview, chunks: Chunked) -> int:
        c = self._c
        if c.buf:
            self._append(c.buf)
            c.buf = b""
        used, made = chunks.feed(self._raw, self._raw_start, self._raw_end, mv)
        self._raw_start += used
        if chunks.done:
            self.done = True
            c.buf = bytes(self._raw[self._raw_start : self._raw_end])
            self._raw = bytearray()
        elif not made and not used:
            self._receive_raw()
        return made

    def _receive_raw(self) -> None:
        """More of a chunked body behind what is not yet understood of it."""
        c = self._c
        if c.tls is not None:
            data = self._engine.take(c)
            if not data:
                raise Gone
            self._append(data)
            return
        self._make_room(self._raw_room)
        n = _received(c.sock, memoryview(self._raw)[self._raw_end :])
        if n >= FIRST_BYTES:
            self._raw_room = BUFFER_BYTES
        if not n:
            raise Gone
        self._raw_end += n

    def _append(self, data: bytes) -> None:
        self._make_room(len(data))
        self._raw[self._raw_end : self._raw_end + len(data)] = data
        self._raw_end += len(data)

    def _make_room(self, count: int) -> None:
        """Moves the rest to the front; it is short, or nothing: a feed leaves at most a part of a line behind."""
        if self._raw_start:
            self._raw[: self._raw_end - self._raw_start] = self._raw[self._raw_start : self._raw_end]
            self._raw_end -= self._raw_start
            self._raw_start = 0
        if len(self._raw) < self._raw_end + count:
            self._raw.extend(bytes(self._raw_end + count - len(self._raw)))

    async def _wait(self) -> None:
        """Until there is more. Both a silence and a rate below the minimum end the request."""
        config, c = self._engine.config, self._c
        now = monotonic()
        idle = config.body_idle_seconds_max
        allowed = min(idle, idle + self.received / config.body_rate_min_bytes_s - self._waited)
        c.phase, c.deadline, c.late = Phase.READING, now + max(allowed, 0.0), False
        try:
            await c.park()
        finally:
            c.phase = Phase.TASK
            self._waited += monotonic() - now
        if c.late:
            raise TooSlow("The request body did not arrive in time.", "Send it again on a faster connection.")

    def _refuse_size(self, limit: int) -> None:
        self.broken = self.broken or not self.drainable
        raise TooLarge(f"The request body is larger than {limit} bytes.")

    # ------------------------------------------------------------ the filling thread

    def _is_bulk(self, n: int) -> bool:
        """Does this sender keep a thread busy? It does if one look at the socket found that much."""
        if self._chunks is not None:
            return self.received > INLINE_BYTES_MAX
        return n >= BULK_BYTES and self.length > INLINE_BYTES_MAX

    async def _fill_in_thread(self, sink: Sink, limit: int) -> None:
        """Reads in a thread until the end or the first pause. Given up by shutting the socket down."""
        c, ended = self._c, False

        async def guard(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                if not ended:
                    _shut(c.sock)

        self._engine.hush(c, True)
        c.sock.setblocking(True)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(guard)
                failure = await trio.to_thread.run_sync(self._pour, sink, limit, limiter=self._engine.fillers)
                ended = True
                nursery.cancel_scope.cancel()
        finally:
            if c.fd >= 0:
                c.sock.setblocking(False)
                self._engine.hush(c, False)
        if failure is not None:
            self.broken = True
            raise failure

    def _pour(self, sink: Sink, limit: int) -> Exception | None:
        """In the thread: large blocking reads straight into the sink. Returns what went wrong."""
        seconds = int(FILL_PAUSE_S)
        pause = struct.pack("ll", seconds, int((FILL_PAUSE_S - seconds) * 1_000_000))
        buffer = memoryview(bytearray(min(FILL_BUFFER_BYTES, self.left) if self._chunks is None else FILL_BUFFER_BYTES))
        try:
            self._c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pause)
            while not self.done:
                n = self._pour_once(buffer)
                self.received += n
                if self.received > limit:
                    self._refuse_size(limit)
                if n:
                    sink(buffer[:n])
                if self._chunks is None and n < len(buffer):
                    return None
        except BlockingIOError:
            return None
        except Exception as failure:
            return failure
        return None

    def _pour_once(self, buffer: memoryview) -> int:
        if self._chunks is not None:
            return self._next_chunked(buffer, self._chunks)
        assert not self._c.buf
        want = min(len(buffer), self.left)
        n = _received(self._c.sock, buffer[:want], socket.MSG_WAITALL)
        if not n:
            raise Gone
        self.left -= n
        self.done = not self.left
        return n


def _received(sock: socket.socket, mv: memoryview, flags: int = 0) -> int:
    """recv_into whose failures are told apart: BlockingIOError is no news, everything else is Gone."""
    try:
        return sock.recv_into(mv, 0, flags)
    except BlockingIOError:
        raise
    except OSError:
        raise Gone from None


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
