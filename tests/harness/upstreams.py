"""How does a registry behave that is slow, broken, silent or a liar? A tiny HTTP server on a loopback thread."""

import hashlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Item:
    """What one path answers, and how it lies.

    `cut_at` ends the connection after so many body bytes of an answer; `pause_at` waits there for `gate` to be set;
    `wrong_last` changes the last byte; `chunked` tells no length; `ranges` False ignores Range; `raw` is sent as it is
    instead of an answer.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int = -1
    pause_at: int = -1
    gate: threading.Event = field(default_factory=threading.Event)
    wrong_last: bool = False
    chunked: bool = False
    ranges: bool = True
    raw: bytes = b""
    silent: bool = False
    length_lie: int = 0


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    method: str = "GET"


class Upstream:
    """Serves `items` by path, and remembers what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.items: dict[str, Item] = {}
        self.asked: list[Asked] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        return sum(one.path == path for one in self.asked)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while head := self._head(reader.readline):
                    body = reader.read(int(head.get("content-length", "0")))
                    if not self._answer(connection, head, body):
                        break
        except OSError:
            pass
        finally:
            self._open.discard(connection)

    def _head(self, readline: Callable[[], bytes]) -> dict[str, str]:
        headers: dict[str, str] = {}
        while (line := readline()) not in (b"\r\n", b""):
            if not headers:
                headers["method"], headers["request"], _ = line.decode("latin-1").split(" ", 2)
                continue
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def _answer(self, connection: socket.socket, head: dict[str, str], sent: bytes) -> bool:
        path, method = head.pop("request"), head.pop("method")
        self.asked.append(Asked(path, head, sent, method))
        item = self.items.get(path, Item(status=404, body=b"not here"))
        if item.silent:
            self._wait(item.gate)
            return False
        if item.raw:
            connection.sendall(item.raw)
            return False
        body = item.body[:-1] + bytes([item.body[-1] ^ 1]) if item.wrong_last else item.body
        status, start = item.status, 0
        if item.ranges and "range" in head and status == 200:
            start, status = int(head["range"].removeprefix("bytes=").rstrip("-").split("-")[0]), 206
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in item.headers.items())]
        if status == 206 and "Content-Range" not in item.headers:
            lines.append(f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        told = "Transfer-Encoding: chunked" if item.chunked else f"Content-Length: {len(body) + item.length_lie}"
        connection.sendall(("\r\n".join([*lines, told]) + "\r\n\r\n").encode())
        return method == "HEAD" or self._body(connection, item, body, start)

    def _body(self, connection: socket.socket, item: Item, body: bytes, start: int) -> bool:
        end = len(body) if item.cut_at < 0 else min(item.cut_at, len(body))
        stops = sorted({0, end, min(max(item.pause_at - start, 0), end) if item.pause_at >= 0 else end})
        for first, last in itertools.pairwise(stops):
            if item.pause_at >= 0 and first and first == item.pause_at - start:
                self._wait(item.gate)
            self._send(connection, item, body[first:last])
        if item.pause_at >= 0 and item.pause_at - start == end == stops[-1]:
            self._wait(item.gate)
        if end < len(body):
            return False
        if item.chunked:
            connection.sendall(b"0\r\n\r\n")
        return not item.length_lie

    def _send(self, connection: socket.socket, item: Item, piece: bytes) -> None:
        if not item.chunked:
            connection.sendall(piece)
            return
        for at in range(0, len(piece), 50_000):
            part = piece[at : at + 50_000]
            connection.sendall(b"%x\r\n" % len(part) + part + b"\r\n")

    def _wait(self, gate: threading.Event) -> None:
        while not gate.wait(0.02) and not self._closing.is_set():
            pass

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def upstream(tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    server = Upstream(tls)
    try:
        yield server
    finally:
        server.close()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat; the same for the same seed."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


def digests_of(body: bytes) -> dict[str, str]:
    return {"sha256": hashlib.sha256(body).hexdigest()}
