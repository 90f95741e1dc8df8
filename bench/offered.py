"""How long do answers take at a fixed offered load, whatever the server's own pace?

Requests leave by the clock, not when the last answer came, so that a stall is seen by all who would have asked
meanwhile; each is timed from the moment it was due. The connections take turns.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult

from bench.load import Broken, parse_head

READ_BYTES = 64 << 10
GRACE_SECONDS = 5.0


def connect(url: SplitResult) -> socket.socket:
    """A connection that asks without delay."""
    sock = socket.create_connection((url.hostname or "", url.port or 80), 20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Asker:
    """Connections that ask for one small file at `rate` requests a second together."""

    def __init__(self, connections: Sequence[socket.socket], request: bytes) -> None:
        self._request = request
        self._socks = {sock.fileno(): sock for sock in connections}
        self._free = deque(self._socks)
        self._due: dict[int, float] = {}
        self._got: dict[int, bytes] = {}
        self._epoll = select.epoll()
        for sock in connections:
            sock.setblocking(False)
            self._epoll.register(sock, select.EPOLLIN)

    def run(self, rate: float, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> list[float]:
        """Milliseconds from due to answered, of all that were due. `meanwhile` is called again and again.

        Raises Broken where a connection ends, answers something else, or an answer does not come.
        """
        took_ms: list[float] = []
        begin = time.perf_counter()
        total, sent = int(rate * seconds), 0
        backlog: deque[float] = deque()
        while len(took_ms) < total:
            now = time.perf_counter()
            if now > begin + seconds + GRACE_SECONDS:
                raise Broken(f"{total - len(took_ms)} of {total} answers did not come")
            while sent < total and begin + sent / rate <= now:
                backlog.append(begin + sent / rate)
                sent += 1
            while backlog and self._free:
                self._ask(self._free.popleft(), backlog.popleft())
            until = begin + sent / rate - time.perf_counter() if sent < total else 0.01
            for number, _ in self._epoll.poll(max(until, 0.0), 512):
                self._read(number, took_ms)
            meanwhile()
        return took_ms

    def _ask(self, number: int, due: float) -> None:
        self._due[number] = due
        if self._socks[number].send(self._request) != len(self._request):
            raise Broken("a request did not go out whole")

    def _read(self, number: int, took_ms: list[float]) -> None:
        try:
            data = self._socks[number].recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data or number not in self._due:
            raise Broken(f"a connection ended, or spoke unasked: {data[:80]!r}")
        data = self._got.pop(number, b"") + data
        status, head, body = parse_head(data)
        if status != b"200":
            raise Broken(f"answered {status!r}")
        if len(data) < head + body:
            self._got[number] = data
            return
        took_ms.append((time.perf_counter() - self._due.pop(number)) * 1e3)
        self._free.append(number)

    def close(self) -> None:
        self._epoll.close()
