"""What does a crowd see that asks for one object at several edges at the same moment?

Every client has its connection before the moment comes. The first at each edge keeps what it reads and checks the
digest; the others let the kernel drop it. Where all together would read more than is sensible, the others leave after
their share: that is a crowd, too.

One interpreter reads for all of them, and comes to the last long after its bytes have come. So when the first bytes of
each were there its kernel tells, not this loop. The kernel puts what comes in a row together, and then tells of the
last of it: so a client lets no more in than some packets until it has read of them. And clients would have machines of
their own: they ask ahead of whoever else wants the cores, since at once is when they ask, and from the moment that all
have asked, this one leaves the cores to the others.
"""

import contextlib
import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.load import parse_head
from bench.regions.world import PORT, Host

READ_BYTES = 1 << 20
HEAD_BYTES = 4 << 10
READ_BYTES_MAX = 16 << 30
CROWD_SECONDS_MAX = 240.0
FIRST_ROOM_BYTES = 4 << 10
ROOM_BYTES = 4 << 20
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")


@dataclass(slots=True)
class Crowded:
    """What they saw, from the moment that the first one asked. `first_byte_ms`: when the first of each client's body
    had come to its kernel, `read_ms` when the client itself read that; both by edge. `asked_ms`: when the last one had
    asked."""

    first_byte_ms: dict[str, list[float]] = field(default_factory=dict)
    read_ms: dict[str, list[float]] = field(default_factory=dict)
    asked_ms: float = 0.0
    wrong: list[str] = field(default_factory=list)
    body_bytes: int = 0
    whole: int = 0
    seconds: float = 0.0

    @property
    def all_ms(self) -> list[float]:
        return [value for values in self.first_byte_ms.values() for value in values]


class _Client:
    """One of them: reads its head, then its body, whole or up to `share` bytes."""

    def __init__(self, host: Host, share: int, *, checks: bool) -> None:
        with host.site.entered():
            self.sock = socket.socket()
        self.sock.settimeout(20)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FIRST_ROOM_BYTES)
        self.sock.connect(("127.0.0.1", PORT))
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.edge, self._share = host.name, share
        self.digest = hashlib.sha256() if checks else None
        self._head, self.left, self.read, self.first_s, self.read_s = b"", -1, 0, 0.0, 0.0

    def step(self, buffer: memoryview) -> bool:
        """Take what came; is it done? Raises OSError and Broken."""
        if self.left < 0:
            return self._begin()
        flags = 0 if self.digest else socket.MSG_TRUNC
        got = self.sock.recv_into(buffer, min(self.left, READ_BYTES), flags)
        if not got:
            raise OSError("cut within the body")
        if self.digest:
            self.digest.update(buffer[:got])
        return self._took(got)

    def _begin(self) -> bool:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, ROOM_BYTES)
        piece, told, _, _ = self.sock.recvmsg(HEAD_BYTES, 64)
        if not piece:
            raise OSError("closed instead of answering")
        self._head += piece
        if b"\r\n\r\n" not in self._head:
            return False
        status, head, self.left = parse_head(self._head)
        if status != b"200":
            raise OSError(f"answered {status.decode()}")
        body = self._head[head:]
        if body:
            self.first_s = arrived_s(told)
        if self.digest:
            self.digest.update(body)
        return self._took(len(body))

    def _took(self, got: int) -> bool:
        if got and not self.read_s:
            self.read_s = time.monotonic()
            self.first_s = self.first_s or self.read_s  # head and body came apart, which nodes avoid
        self.left -= got
        self.read += got
        return self.left == 0 or (self.digest is None and self.read >= self._share)


def arrived_s(told: Sequence[tuple[int, int, bytes]]) -> float:
    """When the bytes of a receive had come, on the clock of time.monotonic: what the kernel told beside them
    (SO_TIMESTAMPNS), or else now."""
    now_s = time.monotonic()
    for level, kind, data in told:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return now_s - max(0.0, time.time() - float(seconds) - float(nanoseconds) / 1e9)
    return now_s


def crowd(edges: Sequence[Host], path: str, a_edge: int, size: int, sha256: str, share: int = 0) -> Crowded:
    """`a_edge` clients at each edge ask for `path` at once; all but the first of each leave after `share` bytes, 0 =
    after as many as are sensible."""
    share = max(HEAD_BYTES, min(size, share or size, READ_BYTES_MAX // (a_edge * len(edges))))
    clients = [_Client(host, share, checks=number == 0) for number in range(a_edge) for host in edges]
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    found = Crowded({host.name: [] for host in edges}, {host.name: [] for host in edges})
    poll = select.epoll()
    waiting = {client.sock.fileno(): client for client in clients}
    with contextlib.suppress(PermissionError):  # of this thread alone
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    begun_s = time.monotonic()
    for client in clients:
        client.sock.sendall(request)
    found.asked_ms = (time.monotonic() - begun_s) * 1e3
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 19)
    for descriptor, client in waiting.items():
        client.sock.setblocking(False)
        poll.register(descriptor, select.EPOLLIN)
    buffer = memoryview(bytearray(READ_BYTES))
    while waiting and time.monotonic() < begun_s + CROWD_SECONDS_MAX:
        for descriptor, _ in poll.poll(1.0, 512):
            client = waiting[descriptor]
            try:
                done = client.step(buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                found.wrong.append(f"{client.edge}: {error}")
                done = True
            if done:
                del waiting[descriptor]
                client.sock.close()
    found.seconds = time.monotonic() - begun_s
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    poll.close()
    found.wrong += [f"{client.edge}: not done in {CROWD_SECONDS_MAX:.0f} s" for client in waiting.values()]
    for client in clients:
        client.sock.close()
        found.body_bytes += client.read
        found.whole += client.left == 0
        if client.first_s:
            found.first_byte_ms[client.edge].append((client.first_s - begun_s) * 1e3)
            found.read_ms[client.edge].append((client.read_s - begun_s) * 1e3)
        if client.digest and client.digest.hexdigest() != sha256:
            found.wrong.append(f"{client.edge}: other bytes than the upstream has")
    return found
