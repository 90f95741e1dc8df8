"""How does one process serve thousands of connections with about two system calls a request?

One trio task owns an edge-triggered epoll of its own, in which every connection is registered once, and steps through
them as synchronous state machines: read, look up the exact head in the memo, send. What cannot be answered at once is
lent to a request task and taken back after its answer. No await stands between reading and writing the state of a
connection. Edges are never lost: whoever takes a connection over reads until there is nothing more.
"""

import logging
import os
import select
import socket
from math import inf
from time import monotonic

import trio

from gateway.config import Delivery
from gateway.delivery.connections.connection import Connection, Gone, Phase
from gateway.delivery.connections.listening import Doors, Listener
from gateway.delivery.connections.parting import Parting, hang_up
from gateway.delivery.connections.proxies import DIRECT, Arrivals, Proxies
from gateway.delivery.connections.tls import Seal
from gateway.delivery.loop.deadlines import begin_window, enforce
from gateway.delivery.loop.notes import Notes
from gateway.delivery.loop.recalling import Recall
from gateway.delivery.loop.rounds import go_round
from gateway.delivery.loop.sending import CROWD, Sender
from gateway.delivery.messages.answers import Extents
from gateway.delivery.messages.heads import Head, Refused, complaint
from gateway.delivery.messages.memo import Entry, Memos
from gateway.delivery.requests.request import Handler, attend, running_max
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import RequestLog

log_of_bugs = logging.getLogger("entrepot.delivery")

READ_BYTES = 64 << 10
HEAD_BYTES = 960  # most heads; a buffer of more costs the allocator a look through all that was freed
EVENTS_MAX = 512
HOT_TURNS = 3
HANDSHAKE_STEPS_MAX = 4
GRACE_SECONDS = 1.0
SPELL_SECONDS = 0.0005
HEADS_A_VISIT = 64
MEMO_AGE_SECONDS = 60.0

_IN, _OUT, _ET = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
_RDHUP, _BROKEN = select.EPOLLRDHUP, select.EPOLLHUP | select.EPOLLERR
_UNUSUAL = _RDHUP | _BROKEN
_ALL = _IN | _OUT | _ET | _RDHUP
_IDLE, _HEAD = Phase.IDLE, Phase.HEAD


class Reactor:
    """The delivery loop of one worker; the Engine of its request tasks. Tasks run in `nursery`.

    `hot_turns` is how often the loop looks again before it sleeps; 0 where more processes than cores want to run.
    """

    def __init__(
        self,
        handler: Handler,
        config: Delivery,
        *,
        log: RequestLog,
        metrics: Metrics,
        nursery: trio.Nursery,
        hot_turns: int = HOT_TURNS,
        proxies: Proxies = DIRECT,
    ) -> None:
        self.config = config
        self.draining = False
        self.fillers = trio.CapacityLimiter(config.fill_threads_max)
        self.ended = trio.Event()
        self._handler = handler
        self.notes = Notes(log, metrics)
        self._nursery = nursery
        self._hot_turns = hot_turns
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, _IN | _ET)
        self._asleep = False
        self._doors = Doors(self._epoll)
        self._arrivals = Arrivals(proxies, nursery, config.head_seconds_max, self._welcome)
        self._connections: dict[int, Connection] = {}
        self._seal = Seal()
        self._sender = Sender(nursery, self._seal, self._later)
        self._parting = Parting(self._seal, self.close, self._later)
        self._shaking: dict[int, Connection] = {}
        self._steps_left = HANDSHAKE_STEPS_MAX
        self.memos = Memos(config.memo_entries_max, handler.in_use)
        self._running, self._drained_at = 0, inf
        self._turn_begins()

    # ------------------------------------------------------------ the task

    @property
    def busy(self) -> int:
        """How many connections are there still?"""
        return len(self._connections)

    def listen(self, listener: Listener | socket.socket) -> None:
        """Accept connections from this one too."""
        self._doors.open(Listener(listener) if isinstance(listener, socket.socket) else listener)

    async def run(self) -> None:
        """Serve until drained, or cancelled: then everything is closed at once."""
        idle = 0
        try:
            while not (self.draining and (not self._connections or monotonic() > self._drained_at + GRACE_SECONDS)):
                idle = 0 if self._spell() else idle + 1
                if self._sender.ready or self._shaking or self._doors.waiting or idle < self._hot_turns:
                    await trio.lowlevel.checkpoint()
                    continue
                self._asleep = True
                try:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                finally:
                    self._asleep = False
                idle = 0
        finally:
            self.draining = True
            self._doors.close()
            for c in list(self._connections.values()):
                self.close(c)
            self._epoll.close()
            os.close(self._bell)
            self.ended.set()

    def drain(self) -> None:
        """Take no new connections, end the idle ones, finish the others, but not for longer than is configured."""
        if self.draining:
            return
        self.draining = True
        self._drained_at = monotonic() + self.config.drain_seconds_max
        self._doors.close()
        self.memos.clear()
        for c in list(self._connections.values()):
            if c.phase in (Phase.IDLE, Phase.HEAD, Phase.SHAKE) and not c.buf:
                self.close(c)
        self._wake()

    async def watch(self) -> None:
        """See to what no event tells of, until the loop has ended."""
        shortest = min(self.config.head_seconds_max, self.config.idle_seconds_max, self.config.body_idle_seconds_max)
        duties = (
            (0.0, self._feed),
            (0.0, Recall(self._connections, self._handler, self.abort).look),
            (0.5, self.notes.log.flush),
            (min(max(shortest / 4, 0.05), 1.0), self._sweep),
            (1.0, self._look_around),
            (MEMO_AGE_SECONDS, self.memos.age),
        )
        await go_round(self.ended, duties)

    def _feed(self) -> None:
        """Doors that were shut for want of descriptors."""
        if self._doors.feed():
            self._wake()

    def _spell(self) -> bool:
        """Turns in a row while there is something to do: where no request task waits, trio has its turn less often."""
        if not self._turn():
            return False
        end = self._now + SPELL_SECONDS
        while not self._running and self._now < end and self._turn():
            pass
        return True

    def _turn(self) -> int:
        events = self._epoll.poll(0, EVENTS_MAX)
        if not (events or self._sender.ready or self._shaking or self._doors.waiting):
            return 0
        self._turn_begins()
        self._sender.alone = len(events) < 2
        self._step(events)
        later = [*self._sender.ready.values(), *self._shaking.values()]
        self._sender.ready.clear()
        self._shaking.clear()
        for c in later:
            try:
                self._resume(c)
            except Exception as bug:
                self._give_up(c, bug)
        for number in [*self._doors.waiting]:
            self._on_other(number)
        return len(events) + len(later)

    def _step(self, events: list[tuple[int, int]]) -> None:
        """A step of each connection that something happened to. One head in, one answer out, is written out here: this
        is the hot path, and what holds for the whole turn is looked up once."""
        connections, moment, now, idle_until = self._connections, self._moment, self._now, self._idle_until
        pending, stamp, preambles = self.notes.log.pending, self.notes.clock.stamp, self.notes.clock.preambles
        for number, event in events:
            c = connections.get(number)
            if c is None:
                self._on_other(number)
                continue
            try:
                if event & _UNUSUAL or c.phase > _HEAD:
                    self._on_event(c, event)
                    continue
                if not event & _IN:
                    continue
                if c.buf or c.tls is not None:
                    self._serve(c)
                    continue
                try:
                    data = c.recv(HEAD_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    self.close(c)
                    continue
                entry = c.memo.young.get(data)
                if (entry is None or entry.moment != moment or entry.until_s <= now) and (
                    entry is None or entry.toll is None or not entry.may_go(moment, now)
                ):
                    self._serve(c, data, HEAD_BYTES)
                    continue
                pending += (stamp, c.tag, entry.line)
                tally = entry.tally
                tally.requests += 1
                tally.bytes += entry.size
                preamble = preambles.get(entry.status) or self.notes.preamble(entry.status)
                out = entry.out if entry.stamped is preamble else entry.begin(preamble)
                if entry.at_once:
                    try:
                        n = c.send(out)
                    except BlockingIOError:
                        n = 0
                    except OSError:
                        self.close(c)
                        continue
                    if n != len(out):
                        c.pend = memoryview(out)[n:]
                        if not self.push(c, b""):
                            continue
                elif entry.warm_until_s > now:
                    if not self._sender.send_file(c, entry, out):
                        begin_window(c, now)
                        continue
                elif not self._send_rest(c, entry, out):
                    continue
                c.phase, c.deadline = _IDLE, idle_until
                if len(data) == HEAD_BYTES:
                    self._serve(c)
            except Exception as bug:
                self._give_up(c, bug)

    def _turn_begins(self) -> None:
        """What holds for all that a turn does. The moment is read after the events: no client knows a later one."""
        self._moment = self._handler.moment()
        self._now = now = monotonic()
        self._idle_until = now + self.config.idle_seconds_max
        self._steps_left = HANDSHAKE_STEPS_MAX
        self.notes.turn(now)

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            os.eventfd_write(self._bell, 1)

    def _later(self, c: Connection) -> None:
        """Look at this one in the next turn, and do not sleep before."""
        if c.fd >= 0:
            self._sender.ready[c.fd] = c
            self._wake()

    def _give_up(self, c: Connection, bug: Exception) -> None:
        """A bug in one step costs that connection and no other."""
        log_of_bugs.error("a connection was given up", exc_info=bug)
        self.abort(c)

    def _look_around(self) -> None:
        self.notes.publish(self.busy, self._running)
        self._sender.make_room(self._connections.values())

    def _sweep(self) -> None:
        enforce(self, list(self._connections.values()), monotonic(), self.config.send_rate_min_bytes_s)
        if monotonic() >= self._drained_at:
            for c in list(self._connections.values()):
                self.abort(c)
            self._wake()

    # ------------------------------------------------------------ connections

    def _on_other(self, number: int) -> None:
        if number in self._doors:
            for sock, peer, listener in self._doors.accept(number):
                self._arrivals.come(sock, peer, listener)
        elif number == self._bell:
            os.eventfd_read(self._bell)

    def _welcome(self, sock: socket.socket, peer: str, listener: Listener, proxied: bool) -> None:
        """A new connection. One over the limit is told so, as long as that itself does not become a crowd."""
        crowd = len(self._connections) - self.config.connections_max
        if crowd >= (CROWD if listener.context is None else 0):
            sock.close()
            return
        tls = None if listener.context is None else self._seal.wrap(listener.context)
        c = Connection(sock, peer, self.memos.at_first(listener.memo, peer, proxied), tls, proxied)
        c.deadline = monotonic() + self.config.head_seconds_max
        self._connections[c.fd] = c
        self._epoll.register(c.fd, _ALL)
        if crowd >= 0:
            self.refuse(c, Refused(503, "This node has as many connections as it takes."))

    def _on_event(self, c: Connection, event: int) -> None:
        if event & _RDHUP:
            c.half = True
        if event & _BROKEN:
            self.abort(c)
        else:
            self._resume(c)

    def _resume(self, c: Connection) -> None:
        """Go on sending, then with what the client sent meanwhile."""
        if c.fd < 0:
            return
        if c.sending and not self._advance(c):
            return
        if c.owned:
            c.wake()
        elif c.phase == Phase.LINGER:
            self._parting.swallow(c)
        elif c.told:
            self._parting.begin(c)
        elif c.fd >= 0:
            self._serve(c)

    def close(self, c: Connection) -> None:
        if c.fd < 0:
            return
        self._connections.pop(c.fd, None)
        self._sender.ready.pop(c.fd, None)
        self._shaking.pop(c.fd, None)
        hang_up(c)
        if self.draining and not self._connections:
            self._wake()

    # ------------------------------------------------------------ reading heads

    def _serve(self, c: Connection, data: bytes = b"", asked: int = 0) -> None:
        """Answer what is there and read on until nothing is left, or the connection is busy otherwise.

        `data` was just read, where up to `asked` bytes were asked for.
        """
        if c.tls is not None:
            self._serve_sealed(c)
            return
        try:
            if c.buf and not (asked or self._heads(c)):
                return
            while True:
                if not asked:
                    data, asked = c.recv(READ_BYTES), READ_BYTES
                if not data:
                    self.close(c)
                    return
                c.buf += data
                if not self._heads(c):
                    return
                if len(data) < asked and not c.half:
                    break
                asked = 0
        except BlockingIOError:
            pass
        except OSError:
            self.close(c)
            return
        self._await_more(c)

    def _serve_sealed(self, c: Connection) -> None:
        """The same through TLS, as hot but for the sealing: what was received is opened whole before anything else."""
        asked = READ_BYTES if c.shaking else HEAD_BYTES
        try:
            while True:
                if c.buf and not self._heads(c):
                    return
                if c.shaking and self._steps_left <= 0:
                    self._shaking[c.fd] = c
                    self._wake()
                    return
                data = c.recv(asked)
                if not data:
                    self.close(c)
                    return
                self._steps_left -= c.shaking
                plain = self._seal.open(c, data) if c.shaking else self._seal.open_head(c, data)
                if c.phase == Phase.SHAKE and not c.shaking:
                    c.phase = Phase.IDLE
                entry = None if c.buf or c.pend else c.memo.young.get(plain)
                if entry is not None and entry.moment == self._moment and entry.until_s > self._now:
                    if not entry.at_once:
                        if not self._send_rest(c, entry, self.notes.counted(c, entry)):
                            return
                    else:
                        c.pend = out = self._seal.sealed(c, self.notes.counted(c, entry))
                        n = c.send(out)
                        if n != len(out):
                            c.pend = memoryview(out)[n:]
                            break
                        c.pend = b""
                    if len(data) < asked and not (c.half or c.ended):
                        c.phase, c.deadline = _IDLE, self._idle_until
                        return
                else:
                    c.buf += plain
                if c.pend and not self.push(c, b""):
                    return
                if not self._heads(c):
                    return
                if c.ended:
                    self._parting.begin(c)
                    return
                if len(data) < asked and not c.half:
                    break
                asked = READ_BYTES
        except BlockingIOError:
            pass
        except OSError:  # ssl.SSLError is one
            self._parting.alert(c)
            return
        self._await_more(c)

    def _await_more(self, c: Connection) -> None:
        """Nothing is left to read: what could not be sent at once goes on, else the next head is waited for."""
        if c.pend:
            self.push(c, b"")
        elif c.shaking or c.fd < 0:
            pass
        elif not c.buf:
            c.phase, c.deadline = Phase.IDLE, self._idle_until
            if self.draining:
                self.close(c)
        elif c.phase != Phase.HEAD:
            c.phase, c.deadline = Phase.HEAD, self._now + self.config.head_seconds_max

    def _heads(self, c: Connection) -> bool:
        """Take the whole heads from the buffer; False when the connection is lent, sending, put off or closed."""
        for _ in range(HEADS_A_VISIT):
            if not c.buf:
                return True
            end = c.buf.find(b"\r\n\r\n")
            refused = complaint(c.buf, end + 4 if end >= 0 else 0, self.config.head_bytes_max)
            if refused is not None:
                self.refuse(c, refused)
                return False
            if end < 0:
                return True
            raw, c.buf = c.buf[: end + 4], c.buf[end + 4 :]
            c.phase = Phase.IDLE
            self._take(c, raw)
            if c.phase > Phase.HEAD or c.fd < 0:
                return False
        self._later(c)
        return False

    def _take(self, c: Connection, raw: bytes) -> None:
        """Answer one head, or lend the connection to a task for it."""
        entry = c.memo.find(raw)
        if entry is not None:
            if entry.moment != self._moment and self._handler.holds(entry.answer):
                entry.moment = self._moment
            if entry.may_go(self._moment, self._now):
                self._send_rest(c, entry, self.notes.counted(c, entry))
                return
            c.memo.drop(raw)
        try:
            head = self._arrivals.read(c, raw)
            entry = self._look(c, raw, head)
        except Refused as refused:
            self.refuse(c, refused)
            return
        except Exception as bug:
            log_of_bugs.error("a read failed", exc_info=bug)
            self.refuse(c, Refused(500, "This node failed on the request."))
            return
        if entry is None:
            self._lend(c, head)
        else:
            self._send_rest(c, entry, self.notes.counted(c, entry))

    def _look(self, c: Connection, raw: bytes, head: Head) -> Entry | None:
        """An answer from local knowledge, remembered; None where a request task is needed."""
        if head.method not in ("GET", "HEAD") or head.length or (answer := self._handler.look(head)) is None:
            return None
        entry = self.notes.entry_of(c, answer, head, head.keep and not self.draining, self._moment)
        if entry.paid_until_s > self._now and not self.draining:
            self._sender.hold_small(entry, self.config.small_body_bytes_max)
            c.memo = self.memos.keep(c.memo, c.scheme, c.peer, raw, entry)
        return entry if entry.toll is None or entry.toll.pay(entry.size) else None

    # ------------------------------------------------------------ sending

    def _send_rest(self, c: Connection, entry: Entry, data: bytes) -> bool:
        """Send what does not go in one piece; True when it is out and the connection may go on."""
        c.told = entry.close
        if entry.is_one_file and c.tls is None:
            entry.warm_until_s = self._sender.warm_until_s(entry)
        if not self.push(c, data, entry.extents, entry.lease, entry.body):
            return False
        if entry.close:
            self._parting.begin(c)
        return not (entry.close or c.gone)

    def push(self, c: Connection, data: bytes, extents: Extents = (), lease: object = None, body: bytes = b"") -> bool:
        if c.gone:
            return True
        if c.tls is None:
            c.pend = bytes(c.pend) + data if c.pend else data
        else:
            c.plain = bytes(c.plain) + data if c.plain else data
        if body:
            c.body = body
        if extents:
            c.load_extents(extents, lease)
        c.sending = True
        return self._advance(c)

    def _advance(self, c: Connection) -> bool:
        """Send what can be sent; True when nothing is left, also because the client is gone."""
        try:
            done = self._sender.pump(c)
        except OSError:
            c.sending = False
            self.abort(c)
            return True
        if not done:
            if c.phase not in (Phase.SENDING, Phase.READING):
                begin_window(c, monotonic())
            return False
        c.sending = False
        if c.phase == Phase.SENDING:
            c.phase = Phase.TASK if c.owned else Phase.SHAKE if c.shaking else Phase.IDLE
            c.deadline = inf if c.owned else monotonic() + self.config.head_seconds_max
        return True

    def refuse(self, c: Connection, refused: Refused) -> None:
        """A head that is not accepted: one answer, and no further request from this connection."""
        c.buf = b""
        entry = self.notes.refusal(c, refused)
        self._send_rest(c, entry, self.notes.counted(c, entry))

    # ------------------------------------------------------------ request tasks

    def _lend(self, c: Connection, head: Head) -> None:
        if self._running >= running_max(self.config, head):
            self.refuse(c, Refused(503, "This node has as many requests as it takes."))
            return
        self._running += 1
        c.owned, c.told = True, False
        c.phase, c.deadline = Phase.TASK, inf
        self._nursery.start_soon(attend, self, self._handler, c, head)

    def take(self, c: Connection) -> bytes:
        try:
            data = c.recv(READ_BYTES) if c.tls is None else self._seal.receive(c, READ_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            raise Gone from None
        finally:
            if c.tls is not None and c.pend:
                self.push(c, b"")
        return data

    def hush(self, c: Connection, quiet: bool) -> None:
        if c.fd >= 0:
            self._epoll.modify(c.fd, _ET if quiet else _ALL)

    def abort(self, c: Connection) -> None:
        c.hard = c.gone = True
        if c.owned:
            c.sending = False
            if c.scope is not None:
                c.scope.cancel()
            c.wake()
        else:
            self.close(c)

    def give_back(self, c: Connection, keep: bool, clean: bool) -> None:
        self._running -= 1
        c.owned = False
        if c.fd < 0:
            return
        if c.gone or c.hard:
            self.close(c)
        elif not keep:
            self._parting.begin(c)
        else:
            self._turn_begins()  # what the task has changed must be seen by the next request
            c.phase, c.deadline = Phase.IDLE, self._idle_until
            try:
                self._serve(c)
            except Exception as bug:
                self._give_up(c, bug)
