"""How does one process serve thousands of connections with about two system calls a request?

One trio task owns an edge-triggered epoll of its own, in which every connection is registered once, and steps through
them as synchronous state machines: read, look up the exact head in the memo, send. What cannot be answered at once is
lent to a request task. No await stands between reading and writing the state of a connection.
"""

import errno
import os
import select
import socket
import time
from collections import OrderedDict
from time import monotonic

import trio

from gateway.config import Delivery
from gateway.delivery.answers import Answer, Extents, Wire, http_date, plan, status_line
from gateway.delivery.connections import Connection, Phase
from gateway.delivery.heads import Head, Refused, bare_line_end, parse
from gateway.delivery.requests import Handler, attend
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import ENTRIES_MAX, RequestLog, fragment, peer_tag, stamp

READ_BYTES = 64 << 10
QUANTUM_BYTES = 2 << 20
ACCEPTS_MAX = 64
EVENTS_MAX = 512
HOT_TURNS = 3
LINGER_SECONDS = 2.0
LINGER_BYTES_MAX = 4 << 30
SEND_WAIT_SECONDS = 15.0
REPOKE_SECONDS = 0.1
MEMO_BYTES_MAX = 48 << 20
MEMO_HEAD_BYTES_MAX = 4 << 10
WARM_BYTES = 2 << 20

_IN, _OUT, _ET = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
_RDHUP, _BROKEN = select.EPOLLRDHUP, select.EPOLLHUP | select.EPOLLERR
_ALL = _IN | _OUT | _ET | _RDHUP


class Remembered:
    """An answer ready for exactly these head bytes."""

    __slots__ = ("answer", "key", "line", "moment", "weight", "wire")

    def __init__(self, answer: Answer, wire: Wire, moment: int, line: bytes, key: tuple[str, str, str]) -> None:
        self.answer = answer
        self.wire = wire
        self.moment = moment
        self.line = line
        self.key = key
        self.weight = len(wire.rest) + len(wire.body) + 512


class Reactor:
    """The delivery loop of one worker; the Engine of its request tasks."""

    def __init__(
        self, handler: Handler, config: Delivery, *, log: RequestLog, metrics: Metrics, nursery: trio.Nursery
    ) -> None:
        self.config = config
        self.draining = False
        self.fillers = trio.CapacityLimiter(config.fill_threads_max)
        self._handler = handler
        self._log = log
        self._metrics = metrics
        self._nursery = nursery
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._connections: dict[int, Connection] = {}
        self._ready: dict[int, Connection] = {}
        self._memo: OrderedDict[bytes, Remembered] = OrderedDict()
        self._memo_bytes = 0
        self._moment = handler.moment()
        self._preambles: dict[int, bytes] = {}
        self._running = 0
        self._scratch = [bytearray(1)]
        self._second = 0
        self._stamp = b""
        self._tick()

    # ------------------------------------------------------------ the task

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listeners[listener.fileno()] = listener
        self._epoll.register(listener.fileno(), _IN)

    async def run(self) -> None:
        """Serve until cancelled or drained."""
        self._nursery.start_soon(self._watch)
        try:
            while not (self.draining and not self._connections):
                if not self._ready:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                idle = 0
                while idle <= HOT_TURNS:
                    idle = 0 if self._turn() else idle + 1
                    await trio.lowlevel.checkpoint()
        finally:
            for c in list(self._connections.values()):
                self._close(c)
            for listener in self._listeners.values():
                listener.close()
            self._epoll.close()

    def drain(self) -> None:
        """Take no new connections, end the idle ones, finish the others."""
        self.draining = True
        for number, listener in self._listeners.items():
            self._epoll.unregister(number)
            listener.close()
        self._listeners.clear()
        for c in list(self._connections.values()):
            if c.phase is Phase.IDLE and not c.owned and not c.sending:
                self._close(c)

    @property
    def busy(self) -> bool:
        """Is anything still being answered?"""
        return bool(self._connections)

    def _turn(self) -> int:
        self._moment = self._handler.moment()
        events = self._epoll.poll(0, EVENTS_MAX)
        for number, event in events:
            if number in self._listeners:
                self._accept(self._listeners[number])
            elif (c := self._connections.get(number)) is not None:
                self._on_event(c, event)
        poked = list(self._ready.values())
        self._ready.clear()
        for c in poked:
            self._resume(c)
        return len(events) + len(poked)

    async def _watch(self) -> None:
        """Once a second: the clock, the deadlines, the counters. Ten times a second: sends that gave no edge."""
        beats = 0
        while True:
            await trio.sleep(REPOKE_SECONDS)
            beats += 1
            self._tick()
            for c in [c for c in self._connections.values() if c.sending and not c.warming]:
                self._resume(c)
            if beats % 5 == 0:
                self._log.flush()
            if beats % 10 == 0:
                self._sweep(monotonic())
                self._metrics.connections = len(self._connections)
                self._metrics.publish()
            if self.draining and not self._connections:
                return

    def _tick(self) -> None:
        now = time.time()
        self._stamp = stamp(now)
        if int(now) != self._second:
            self._second = int(now)
            self._preambles.clear()

    def _note(self, c: Connection, line: bytes) -> None:
        """One line of the access log: three references, joined elsewhere."""
        pending = self._log.pending
        pending += (self._stamp, c.tag, line)
        if len(pending) > 3 * ENTRIES_MAX:
            self._log.flush()

    def _sweep(self, now: float) -> None:
        for c in list(self._connections.values()):
            if now < c.deadline:
                continue
            if c.phase is Phase.READING:
                c.late = True
                c.wake()
            elif c.phase is Phase.SENDING and c.sent - c.mark >= self.config.send_rate_min_bytes_s * SEND_WAIT_SECONDS:
                c.mark, c.deadline = c.sent, now + SEND_WAIT_SECONDS
            elif c.phase is Phase.HEAD:
                self._refuse(c, Refused(408, "The request head did not arrive in time."))
            elif c.owned:
                self.abort(c)
            else:
                self._close(c)

    # ------------------------------------------------------------ connections

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    return
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = address[0] if isinstance(address, tuple) else ""
            c = Connection(sock, peer, peer_tag(peer, "http"))
            c.deadline = monotonic() + self.config.head_seconds_max
            self._connections[c.fd] = c
            self._epoll.register(c.fd, _ALL)
            if len(self._connections) > self.config.connections_max:
                self._refuse(c, Refused(503, "This node has as many connections as it takes."))

    def _on_event(self, c: Connection, event: int) -> None:
        if event & _RDHUP:
            c.half = True
        if c.owned:
            self._on_borrowed(c, event)
            return
        if event & _BROKEN:
            self._close(c)
            return
        if c.sending:
            self._resume(c)
        elif c.phase is Phase.LINGER:
            self._swallow(c)
        else:
            self._serve(c)

    def _on_borrowed(self, c: Connection, event: int) -> None:
        if event & _BROKEN:
            c.gone = True
            if c.scope is not None:
                c.scope.cancel()
        elif c.sending and not c.warming:
            self._pump(c)
        c.wake()

    def _resume(self, c: Connection) -> None:
        """Go on sending, then with what the client sent meanwhile."""
        if c.fd < 0 or not c.sending or c.warming or not self._pump(c):
            return
        if c.owned:
            c.wake()
        elif c.close_after:
            self._finish(c)
        else:
            self._serve(c)

    def _close(self, c: Connection) -> None:
        if c.fd < 0:
            return
        self._connections.pop(c.fd, None)
        self._ready.pop(c.fd, None)
        if c.hard:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        c.sock.close()
        c.fd = -1
        c.gone = True
        c.sending = False
        c.descriptor_reset()
        c.wake()

    # ------------------------------------------------------------ reading heads

    def _serve(self, c: Connection) -> None:
        """Answer what is there, read on, until nothing is left or the connection is busy otherwise."""
        try:
            while True:
                if c.buf and not self._heads(c):
                    return
                data = c.recv(READ_BYTES)
                if not data:
                    self._close(c)
                    return
                c.buf += data
                if not self._heads(c):
                    return
                if len(data) < READ_BYTES and not c.half:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._close(c)
            return
        self._await_more(c)

    def _await_more(self, c: Connection) -> None:
        config = self.config
        if not c.buf:
            c.phase, c.deadline = Phase.IDLE, monotonic() + config.idle_seconds_max
        elif c.phase is not Phase.HEAD:
            c.phase, c.deadline = Phase.HEAD, monotonic() + config.head_seconds_max

    def _heads(self, c: Connection) -> bool:
        """Take every whole head from the buffer; False when the connection is lent, sending, or closed."""
        while c.buf:
            end = c.buf.find(b"\r\n\r\n")
            if end < 0:
                return self._incomplete(c)
            raw = bytes(c.buf[: end + 4])
            c.buf = c.buf[end + 4 :]
            if len(raw) > self.config.head_bytes_max:
                self._refuse(c, Refused(431, "The request head is too large."))
            else:
                self._take(c, raw)
            if c.owned or c.sending or c.fd < 0 or c.phase is Phase.LINGER:
                return False
        return True

    def _incomplete(self, c: Connection) -> bool:
        if len(c.buf) > self.config.head_bytes_max:
            self._refuse(c, Refused(431, "The request head is too large."))
            return False
        if bare_line_end(c.buf):
            self._refuse(c, Refused(400, "A line of the head does not end with CR LF."))
            return False
        return True

    def _take(self, c: Connection, raw: bytes) -> None:
        known = self._memo.get(raw)
        if known is not None and self._still(raw, known):
            self._send_wire(c, known.wire)
            self._note(c, known.line)
            self._metrics.count(known.key, known.wire.size)
            return
        try:
            head = parse(raw, peer=c.peer, scheme=c.scheme)
            answer = self._look(head)
        except Refused as refused:
            self._refuse(c, refused)
            return
        if answer is None:
            self._lend(c, head)
        else:
            self._answer(c, raw, head, answer)

    def _look(self, head: Head) -> Answer | None:
        if head.method in ("GET", "HEAD") and head.length == 0:
            return self._handler.look(head)
        return None

    def _still(self, raw: bytes, known: Remembered) -> bool:
        if known.moment != self._moment:
            if not self._handler.holds(known.answer):
                self._forget(raw)
                return False
            known.moment = self._moment
        if known.answer.until_s <= monotonic():
            self._forget(raw)
            return False
        return True

    def _answer(self, c: Connection, raw: bytes, head: Head, answer: Answer) -> None:
        wire = plan(answer, head, head.keep and not self.draining)
        line = fragment(
            head.method, head.target, wire.status, wire.size, outcome=answer.outcome, principal=answer.principal,
            repository=answer.repository,
        )  # fmt: skip
        key = (head.method, str(wire.status), answer.outcome)
        if answer.until_s > monotonic() and len(raw) <= MEMO_HEAD_BYTES_MAX and not self.draining:
            self._remember(raw, Remembered(answer, wire, self._moment, line, key))
        self._send_wire(c, wire)
        self._note(c, line)
        self._metrics.count(key, wire.size)

    def _remember(self, raw: bytes, fresh: Remembered) -> None:
        fresh.weight += len(raw)
        self._forget(raw)
        self._memo[raw] = fresh
        self._memo_bytes += fresh.weight
        while len(self._memo) > self.config.memo_entries_max or self._memo_bytes > MEMO_BYTES_MAX:
            self._memo_bytes -= self._memo.popitem(last=False)[1].weight

    def _forget(self, raw: bytes) -> None:
        known = self._memo.pop(raw, None)
        if known is not None:
            self._memo_bytes -= known.weight

    # ------------------------------------------------------------ sending

    def preamble(self, status: int) -> bytes:
        known = self._preambles.get(status)
        if known is None:
            date = f"Date: {http_date(self._second)}\r\n".encode()
            known = self._preambles[status] = status_line(status) + date
        return known

    def _send_wire(self, c: Connection, wire: Wire) -> None:
        c.close_after = wire.close
        if self.push(c, self.preamble(wire.status) + wire.rest + wire.body, wire.extents, wire.lease) and wire.close:
            self._finish(c)

    def push(self, c: Connection, data: bytes, extents: Extents = (), lease: object = None) -> bool:
        if c.fd < 0:
            return True
        c.pend = bytes(c.pend) + data if c.pend else data
        c.extents, c.lease, c.at = extents, lease, 0
        if extents:
            _, c.offset, length = extents[0]
            c.end = c.offset + length
        c.sending = True
        if self._pump(c):
            return True
        c.mark, c.deadline = c.sent, monotonic() + SEND_WAIT_SECONDS
        c.phase = Phase.SENDING
        return False

    def _pump(self, c: Connection) -> bool:
        """Send until the kernel takes no more, the quantum is used up, or all is sent (True)."""
        try:
            if c.pend:
                n = c.send(c.pend, socket.MSG_MORE if c.extents else 0)
                c.sent += n
                if n < len(c.pend):
                    c.pend = memoryview(c.pend)[n:]
                    return False
                c.pend = b""
            if c.extents and not self._pump_extents(c):
                return False
        except BlockingIOError:
            return False
        except OSError:
            self._lose(c)
            return True
        c.sending = False
        c.descriptor_reset()
        if c.owned:
            c.phase = Phase.TASK
        return True

    def _pump_extents(self, c: Connection) -> bool:
        left = QUANTUM_BYTES
        while True:
            source = c.extents[c.at][0]
            wanted = min(c.end - c.offset, left)
            if wanted and not self._is_warm(source, c.offset):
                c.warming = True
                self._nursery.start_soon(self._warm, c, source, c.offset)
                return False
            n = os.sendfile(c.fd, source, c.offset, wanted) if wanted else 0
            if wanted and not n:
                raise OSError("the pack is shorter than its index says")
            c.offset += n
            c.sent += n
            left -= n
            if c.offset == c.end:
                c.at += 1
                if c.at == len(c.extents):
                    return True
                _, c.offset, length = c.extents[c.at]
                c.end = c.offset + length
            elif n < wanted:
                return False
            if left <= 0:
                self._ready[c.fd] = c
                return False

    def _is_warm(self, source: int, offset: int) -> bool:
        """Would a read there come from memory? A cold one would hold up every other connection."""
        try:
            os.preadv(source, self._scratch, offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def _warm(self, c: Connection, source: int, offset: int) -> None:
        lease = c.lease
        try:
            await trio.to_thread.run_sync(_read_ahead, source, offset)
        finally:
            c.warming = False
        if lease is c.lease:
            self._resume(c)

    def _lose(self, c: Connection) -> None:
        c.hard = True
        if c.owned:
            c.gone = True
            c.sending = False
            if c.scope is not None:
                c.scope.cancel()
        else:
            self._close(c)

    def _finish(self, c: Connection) -> None:
        """The last answer is sent: say so, then wait a moment for the client to see it."""
        if c.fd < 0:
            return
        try:
            c.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(c)
            return
        c.phase, c.deadline, c.buf, c.reserve = Phase.LINGER, monotonic() + LINGER_SECONDS, b"", 0
        self._swallow(c)

    def _swallow(self, c: Connection) -> None:
        try:
            while c.reserve < LINGER_BYTES_MAX:
                n = len(c.recv(READ_BYTES))
                c.reserve += n
                if not n:
                    break
                c.deadline = monotonic() + LINGER_SECONDS
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(c)

    def _refuse(self, c: Connection, refused: Refused) -> None:
        """A head that is not accepted: one answer, and no further request from this connection."""
        body = (refused.reason + "\n").encode()
        rest = b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
        rest += b"Content-Length: %d\r\n\r\n" % len(body)
        c.close_after = True
        c.buf = b""
        line = fragment("-", b"-", refused.status, len(body))
        self._note(c, line)
        self._metrics.count(("-", str(refused.status), "REFUSED"), len(body))
        if self.push(c, self.preamble(refused.status) + rest + body):
            self._finish(c)

    # ------------------------------------------------------------ request tasks

    def _lend(self, c: Connection, head: Head) -> None:
        if self._running >= self.config.requests_running_max:
            self._refuse(c, Refused(503, "This node has as many requests as it takes."))
            return
        self._running += 1
        c.owned = True
        c.phase, c.deadline = Phase.TASK, float("inf")
        self._nursery.start_soon(attend, self, self._handler, c, head)

    def take(self, c: Connection) -> bytes:
        return c.sock.recv(READ_BYTES)

    def hush(self, c: Connection, quiet: bool) -> None:
        if c.fd >= 0:
            self._epoll.modify(c.fd, _ET if quiet else _ALL)

    def abort(self, c: Connection) -> None:
        c.hard = True
        c.gone = True
        if c.scope is not None:
            c.scope.cancel()
        if not c.owned:
            self._close(c)

    def give_back(self, c: Connection, keep: bool, clean: bool) -> None:
        self._running -= 1
        c.owned = False
        if c.fd < 0:
            return
        if c.gone or c.hard:
            self._close(c)
        elif not keep:
            self._finish(c)
        else:
            c.phase, c.close_after = Phase.IDLE, False
            self._serve(c)

    def record(
        self,
        c: Connection,
        line: bytes,
        *,
        method: str,
        status: int,
        outcome: str,
        repository: str,
        size: int,
        seconds: float,
    ) -> None:
        self._note(c, line)
        self._metrics.count((method, str(status), outcome), size)
        self._metrics.time(seconds)


def _read_ahead(source: int, offset: int) -> None:
    """Bring the next bytes of a file into memory, off the loop."""
    try:
        os.posix_fadvise(source, offset, 4 * WARM_BYTES, os.POSIX_FADV_WILLNEED)
        os.pread(source, WARM_BYTES, offset)
    except OSError:
        return
