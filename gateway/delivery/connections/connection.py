"""What does the loop know about one client connection, and what may a request task ask of the loop?

A Connection is plain state. Either the loop owns it (a synchronous state machine, see reactor) or a request task has
borrowed it (`owned`); its descriptor stays registered with the loop's epoll all the time, so that neither lending nor
taking back costs a system call, and a reset is noticed while a task works.
"""

import socket
import ssl
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

import trio

from gateway.config import Delivery
from gateway.delivery.messages.answers import Extents
from gateway.delivery.messages.memo import Memo
from gateway.insight.metrics import Key
from gateway.insight.requestlog import peer_tag


class Gone(Exception):
    """The client left, or was given up. Nothing can be told to it any more."""


class Phase:
    """What the deadline of a connection means. Plain numbers, since the hot path compares them."""

    IDLE = 0  # between requests
    HEAD = 1  # a head has begun and is not complete
    SENDING = 2  # bytes wait for the client to take them
    TASK = 3  # a request task works; no deadline of ours
    READING = 4  # a request task waits for the client's body
    LINGER = 5  # the answer is out, what still comes in is thrown away
    SHAKE = 6  # a TLS handshake


class Connection:
    """One client connection. `tag` is its part of an access log line; `buf` what was received and not yet understood.

    Output in order: `pend` (ready for the socket), `plain` (TLS: still to be sealed), `body` (shared, never copied as a
    whole), then the rest of `extents` (number `at`, from `offset` to `end`). `sending` while any of it is left;
    `warming` while a thread brings the next bytes into memory.
    `half`: the client has sent its FIN; `ended`: it has said goodbye inside TLS; `gone`: reset or given up; `hard`: the
    peer shall see a reset; `late`: the deadline passed while a task reads; `told`: an answer is out that ends it.
    `leave`: what a request task answers under.
    `corked`: the kernel holds what does not fill a packet, until the last extent is sent.
    `key`: the sha256 of the public key of its certificate, b"" for none.
    `proxied`: a listed proxy is at the other end, and each head tells its own client; `tag` is b"" then.
    """

    __slots__ = (
        "at",
        "body",
        "buf",
        "corked",
        "deadline",
        "descriptor",
        "end",
        "ended",
        "extents",
        "fd",
        "gone",
        "half",
        "hard",
        "key",
        "late",
        "lease",
        "leave",
        "mark",
        "memo",
        "offset",
        "owned",
        "peer",
        "pend",
        "phase",
        "plain",
        "proxied",
        "recv",
        "scope",
        "send",
        "sending",
        "sent",
        "shaking",
        "sock",
        "swallowed",
        "tag",
        "tls",
        "told",
        "waiter",
        "warming",
    )

    def __init__(
        self, sock: socket.socket, peer: str, memo: Memo, tls: ssl.SSLObject | None = None, proxied: bool = False
    ) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.proxied = proxied
        self.tag = b"" if proxied else peer_tag(peer, "http" if tls is None else "https")
        self.memo = memo
        self.tls = tls
        self.shaking = tls is not None
        self.key = b""
        self.recv: Callable[..., bytes] = sock.recv
        self.send: Callable[..., int] = sock.send
        self.buf = b""
        self.plain: bytes | memoryview = b""
        self.pend: bytes | memoryview = b""
        self.body: bytes | memoryview = b""
        self.forget_extents()
        self.sending = self.warming = self.corked = False
        self.sent = self.mark = self.swallowed = 0
        self.phase = Phase.IDLE if tls is None else Phase.SHAKE
        self.deadline = inf
        self.told = self.hard = self.owned = False
        self.leave: object = None
        self.waiter: Any = None
        self.scope: trio.CancelScope | None = None
        self.gone = self.half = self.ended = self.late = False

    def forget_extents(self) -> None:
        """Nothing of them is left to send; what kept them open may close."""
        self.extents: Extents = ()
        self.at = self.offset = self.end = self.descriptor = 0
        self.lease: object = None

    def load_extents(self, extents: Extents, lease: object) -> None:
        """These are next, once everything before them is sent."""
        self.extents, self.lease, self.at = extents, lease, 0
        self.descriptor, self.offset, length = extents[0]
        self.end = self.offset + length

    def next_extent(self) -> bool:
        """Moves on to the next extent; False where there is none."""
        self.at += 1
        if self.at >= len(self.extents):
            self.forget_extents()
            return False
        self.descriptor, self.offset, length = self.extents[self.at]
        self.end = self.offset + length
        return True

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

    def who(self, peer: str, scheme: str) -> bytes:
        """The part of an access log line that `tag` does not tell."""
        return peer_tag(peer, scheme) if self.proxied else b""

    def wake(self) -> None:
        """Lets the request task that waits on this connection look again."""
        if self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            trio.lowlevel.reschedule(waiter)

    async def park(self) -> None:
        """Waits until the loop sees anything happen here; only right after an EAGAIN. Raises Gone."""
        if self.gone:
            raise Gone
        self.waiter = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self.waiter = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if self.gone:
            raise Gone


class Noting(Protocol):
    """What a request task tells and notes of its answer."""

    def preamble(self, status: int) -> bytes:
        """Status line and Date."""
        ...

    def record(self, c: Connection, line: bytes, key: Key, size: int, seconds: float) -> None:
        """Counts and logs one answer."""
        ...


class Engine(Protocol):
    """What a request task asks of the loop: the whole of the border between the two."""

    config: Delivery
    draining: bool
    fillers: trio.CapacityLimiter

    @property
    def notes(self) -> Noting:
        """What is noted of answers."""
        ...

    def push(self, c: Connection, data: bytes, extents: Extents = (), lease: object = None, body: bytes = b"") -> bool:
        """Begins to send all this, in this order; True when the kernel has it, else `c.sending` until then."""
        ...

    def take(self, c: Connection) -> bytes:
        """What the client sent next, decrypted; b"" at its end. BlockingIOError where nothing is there, or Gone."""
        ...

    def hush(self, c: Connection, quiet: bool) -> None:
        """Readiness of this descriptor is not reported while a thread reads from it."""
        ...

    def abort(self, c: Connection) -> None:
        """Gives the connection up at once: the peer sees a reset, the task is cancelled."""
        ...

    def give_back(self, c: Connection, keep: bool, clean: bool) -> None:
        """The task is done. `keep` = for the next request; `clean` = nothing of the client's is left unread."""
        ...
