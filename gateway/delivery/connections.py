"""What does the loop know about one client connection, and what may a request task ask of the loop?

A Connection is plain state. Either the loop owns it (a synchronous state machine, see reactor) or a request task has
borrowed it (`owned`); its descriptor stays registered with the loop's epoll all the time, so that neither lending nor
taking back costs a system call, and a reset is noticed while a task works.
"""

import socket
import ssl
from collections.abc import Callable
from enum import IntEnum
from math import inf
from typing import Any, Protocol

import trio

from gateway.config import Delivery
from gateway.delivery.answers import Extents


class Gone(Exception):
    """The client left, or was given up. Nothing can be told to it any more."""


class Phase(IntEnum):
    """What the deadline of a connection means."""

    IDLE = 0  # between requests
    HEAD = 1  # a head has begun and is not complete
    SENDING = 2  # bytes wait for the client to take them
    TASK = 3  # a request task works; no deadline of ours
    READING = 4  # a request task waits for the client's body
    LINGER = 5  # the answer is out, what still comes in is thrown away
    SHAKE = 6  # a TLS handshake


class Connection:
    """One client connection. `tag` is its part of an access log line; `buf` what was received and not yet understood.

    Output in order: `pend`, then the rest of `extents` (from number `at`, `offset` to `end` being the current one).
    `gone`: reset or given up; `half`: the client has sent its FIN; `late`: its deadline passed while a task reads.
    """

    __slots__ = (
        "at",
        "buf",
        "close_after",
        "deadline",
        "end",
        "extents",
        "fd",
        "gone",
        "half",
        "hard",
        "hushed",
        "late",
        "lease",
        "mark",
        "offset",
        "owned",
        "peer",
        "pend",
        "phase",
        "plain",
        "recv",
        "reserve",
        "scope",
        "send",
        "sending",
        "sent",
        "shaking",
        "sock",
        "tag",
        "tls",
        "waiter",
        "warming",
    )

    def __init__(self, sock: socket.socket, peer: str, tag: bytes, tls: ssl.SSLObject | None = None) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.tag = tag
        self.tls = tls
        self.shaking = tls is not None
        self.recv = sock.recv
        self.send: Callable[..., int] = sock.send
        self.buf = b""
        self.plain: bytes | memoryview = b""  # TLS: plaintext still to be sealed
        self.pend: bytes | memoryview = b""
        self.extents: Extents = ()
        self.at = 0
        self.descriptor_reset()
        self.lease: object = None
        self.sending = False
        self.sent = 0
        self.mark = 0
        self.phase = Phase.IDLE
        self.deadline = inf
        self.close_after = False
        self.hard = False
        self.hushed = False
        self.owned = False
        self.warming = False
        self.waiter: Any = None
        self.scope: trio.CancelScope | None = None
        self.gone = False
        self.half = False
        self.late = False
        self.reserve = 0

    def descriptor_reset(self) -> None:
        """Forgets the extents: nothing of them is left to send."""
        self.extents = ()
        self.at = self.offset = self.end = 0
        self.lease = None

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

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


class Engine(Protocol):
    """What a request task asks of the loop. Ten members: it is the whole of the border between the two."""

    config: Delivery
    draining: bool
    fillers: trio.CapacityLimiter

    def preamble(self, status: int) -> bytes:
        """Status line and Date."""
        ...

    def push(self, c: Connection, data: bytes, extents: Extents = (), lease: object = None) -> bool:
        """Begins to send; True when the kernel has taken all of it already, else `c.sending` until it has."""
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
        """Counts and logs one answer."""
        ...
