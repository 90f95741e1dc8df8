"""How much can one client process ask of a server? Closed loops over one epoll, cheap enough not to be the bottleneck.

    python -m bench.load fetch|put|shake URL --connections N --seconds S [--header "K: V"]

wrk reads 8 KB at a time and becomes the bottleneck from 64 KB bodies on; this client reads 256 KB, and drops the bytes
of plain bodies in the kernel (MSG_TRUNC). Over TLS it decrypts each connection's first answer, which tells its length,
and of the later ones reads the records' headers alone: 17 bytes of each record are no content (TLS 1.3, 16-byte tags).
Prints one JSON line.
"""

import argparse
import itertools
import json
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from bench.machine import cpu_seconds
from bench.servers import untrusting

READ_BYTES = 256 << 10
HEAD_BYTES = 2 << 10
RECORD_OVERHEAD = 17
STALL_SECONDS_MAX = 30.0

Requests = Callable[[], bytes]


@dataclass(slots=True)
class Loaded:
    """What a run saw. `responses` counts complete ones, `body_bytes` what came after heads (over TLS: with them)."""

    responses: int = 0
    body_bytes: int = 0
    seconds: float = 0.0
    client_cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    first_byte_ms: list[float] = field(default_factory=list)

    def count(self, status: bytes) -> None:
        name = status.decode("ascii", "replace")
        self.statuses[name] = self.statuses.get(name, 0) + 1


class Broken(Exception):
    """The server answered what no server should: the measurement is void."""


class Connection(Protocol):
    """One conversation: `start` sends a request, `step` takes what came and says whether the answer is complete."""

    sock: socket.socket

    def start(self) -> None: ...
    def step(self) -> bool: ...


def parse_head(data: bytes) -> tuple[bytes, int, int]:
    """(status, length of the head, length of the body) of an answer whose head is complete in `data`."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or not data.startswith(b"HTTP/1.1 "):
        raise Broken(f"no head: {data[:80]!r}")
    status = data[9:12]
    if status in (b"304", b"204"):
        return status, end + 4, 0
    at = data[:end].lower().find(b"\r\ncontent-length:")
    if at < 0:
        raise Broken(f"no Content-Length: {data[:end]!r}")
    return status, end + 4, int(data[at + 17 : end].split(b"\r\n", 1)[0])


class Plain:
    """Plain HTTP over TCP."""

    def __init__(self, url: SplitResult, requests: Requests, loaded: Loaded, buffer: memoryview) -> None:
        self.sock = socket.create_connection((url.hostname, url.port), 20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests, self._loaded, self._buffer = requests, loaded, buffer
        self._left = 0

    def start(self) -> None:
        self.sock.settimeout(20)
        self.sock.sendall(self._requests())
        self.sock.setblocking(False)
        self._sent = time.perf_counter()

    def step(self) -> bool:
        if not self._left:
            self._first(self.sock.recv_into(self._buffer, HEAD_BYTES))
        if self._left:
            try:
                got = self.sock.recv_into(self._buffer, min(self._left, READ_BYTES), socket.MSG_TRUNC)
            except BlockingIOError:
                return False
            if not got:
                raise Broken("closed within a body")
            self._left -= got
            self._loaded.body_bytes += got
        if self._left:
            return False
        self._loaded.responses += 1
        return True

    def _first(self, got: int) -> None:
        if not got:
            raise Broken("closed instead of answering")
        status, head, body = parse_head(bytes(self._buffer[:got]))
        self._loaded.count(status)
        self._loaded.first_byte_ms.append((time.perf_counter() - self._sent) * 1e3)
        self._left = head + body - got
        self._loaded.body_bytes += got - head
        if self._left < 0:
            raise Broken("more bytes than announced")


class Records:
    """Walks TLS records by their headers and counts the content they carry."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._rest = 0

    def content(self, data: memoryview) -> int:
        """Content bytes of the records whose headers end within `data`."""
        at, total, size = 0, 0, len(data)
        while at < size:
            if self._rest:
                step = min(self._rest, size - at)
                self._rest -= step
            else:
                step = min(5 - len(self._head), size - at)
                self._head += data[at : at + step]
                if len(self._head) == 5:
                    self._rest = int.from_bytes(self._head[3:])
                    total += self._rest - RECORD_OVERHEAD
                    self._head.clear()
            at += step
        return total

    @property
    def between(self) -> bool:
        """Is the last record complete?"""
        return self._rest == 0 and not self._head


class Tls:
    """HTTP over TLS 1.3. All answers must be as long as the connection's first one."""

    def __init__(
        self, url: SplitResult, requests: Requests, loaded: Loaded, buffer: memoryview, context: ssl.SSLContext
    ) -> None:
        self.sock = socket.create_connection((url.hostname, url.port), 20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests, self._loaded, self._buffer = requests, loaded, buffer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_hostname=url.hostname)
        self._records = Records()
        self._until(self._ssl.do_handshake)
        self._whole, self._body, self._status = self._measure()
        self._left = 0

    def _until[T](self, act: Callable[[], T]) -> T:
        """Runs a TLS step to its end on the blocking socket."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self.sock.sendall(self._out.read())
                data = self.sock.recv(READ_BYTES)
                if not data:
                    raise Broken("closed within TLS") from None
                self._in.write(data)
            else:
                self.sock.sendall(self._out.read())
                return done

    def _measure(self) -> tuple[int, int, bytes]:
        """One answer, decrypted: (bytes in all, bytes of body, status). It also swallows the session tickets."""
        self._ssl.write(self._requests())
        self.sock.sendall(self._out.read())
        data = self._until(lambda: self._ssl.read(16384))
        while b"\r\n\r\n" not in data:
            data += self._until(lambda: self._ssl.read(16384))
        status, head, body = parse_head(data)
        got = len(data)
        while got < head + body:
            got += len(self._until(lambda: self._ssl.read(65536)))
        if got != head + body:
            raise Broken("more bytes than announced")
        return head + body, body, status

    def start(self) -> None:
        self._ssl.write(self._requests())
        self.sock.settimeout(20)
        self.sock.sendall(self._out.read())
        self.sock.setblocking(False)
        self._left = self._whole
        self._sent = time.perf_counter()

    def step(self) -> bool:
        got = self.sock.recv_into(self._buffer)
        if not got:
            raise Broken("closed within a body")
        if self._left == self._whole:
            self._loaded.first_byte_ms.append((time.perf_counter() - self._sent) * 1e3)
        content = self._records.content(self._buffer[:got])
        self._left -= content
        self._loaded.body_bytes += content
        if self._left > 0 or not self._records.between:
            return False
        if self._left < 0:
            raise Broken("an answer of another length")
        self._loaded.responses += 1
        self._loaded.count(self._status)
        return True


class Watch:
    """What the time between begin and `stop` cost this process and the server's family of processes."""

    def __init__(self, server_pid: int) -> None:
        self._pid = server_pid
        self._server = cpu_seconds(server_pid) if server_pid else 0.0
        self._client = time.process_time()
        self.begin = time.perf_counter()

    def stop(self, loaded: Loaded) -> None:
        loaded.seconds = time.perf_counter() - self.begin
        loaded.client_cpu_seconds = time.process_time() - self._client
        loaded.server_cpu_seconds = cpu_seconds(self._pid) - self._server if self._pid else 0.0


def drive(
    connections: list[Connection], loaded: Loaded, *, seconds: float, once: bool = False, server_pid: int = 0
) -> None:
    """Keeps one request under way on each connection until the time is over (`once`: until each had its answer)."""
    poll = select.epoll()
    by_descriptor = {connection.sock.fileno(): connection for connection in connections}
    watch = Watch(server_pid)
    for descriptor, connection in by_descriptor.items():
        poll.register(descriptor, select.EPOLLIN)
        connection.start()
    end, waiting = watch.begin + seconds, len(by_descriptor)
    while waiting and (now := time.perf_counter()) < end:
        events = poll.poll(min(STALL_SECONDS_MAX, end - now), 256)
        if not events and end - now > STALL_SECONDS_MAX:
            raise Broken(f"silent for {STALL_SECONDS_MAX} s")
        for descriptor, _ in events:
            connection = by_descriptor[descriptor]
            if connection.step():
                if once:
                    poll.unregister(descriptor)
                    waiting -= 1
                else:
                    connection.start()
    watch.stop(loaded)
    for connection in connections:
        connection.sock.close()
    poll.close()
    if once and waiting:
        raise Broken(f"{waiting} of {len(connections)} had no complete answer in {seconds} s")


# ---------------------------------------------------------------- what is asked


def get_request(url: SplitResult, headers: list[str]) -> bytes:
    lines = [f"GET {url.path or '/'} HTTP/1.1", f"Host: {url.hostname}:{url.port}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def in_turn(requests: list[bytes], number: int) -> Requests:
    """One after the other without end, from one on."""
    return itertools.cycle(requests[number % len(requests) :] + requests[: number % len(requests)]).__next__


def put_requests(url: SplitResult, headers: list[str], size: int) -> Iterator[bytes]:
    """Endless publishes, each of a new name under the URL's path and with new bytes."""
    run = os.urandom(6).hex()
    filler = os.urandom(size)
    number = 0
    while True:
        number += 1
        unique = f"{run}-{number:012d}-".encode()
        body = (unique + filler)[:size] if size > len(unique) else unique[-size:]
        head = [f"PUT {url.path}/{run}/{number} HTTP/1.1", f"Host: {url.hostname}:{url.port}", *headers]
        yield "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def shake(
    url: SplitResult, request: bytes, *, seconds: float, at_once: int, resume: bool, server_pid: int = 0
) -> Loaded:
    """Connect, handshake, one request, close; `resume` uses the first connection's session ticket."""
    context, loaded = untrusting(), Loaded()
    session = _ticket(url, request, context) if resume else None
    poll = select.epoll()
    open_now: dict[int, Shaking] = {}
    watch = Watch(server_pid)
    end = watch.begin + seconds
    while (now := time.perf_counter()) < end:
        while len(open_now) < at_once:
            fresh = Shaking(url, request, context, session)
            open_now[fresh.sock.fileno()] = fresh
            poll.register(fresh.sock.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        for descriptor, _ in poll.poll(end - now, 64):
            one = open_now[descriptor]
            if one.step():
                if resume and not one.sock.session_reused:
                    raise Broken("a session was not resumed")
                loaded.responses += 1
                loaded.count(one.status)
                poll.unregister(descriptor)
                one.sock.close()
                del open_now[descriptor]
    watch.stop(loaded)
    for one in open_now.values():
        one.sock.close()
    poll.close()
    return loaded


def _ticket(url: SplitResult, request: bytes, context: ssl.SSLContext) -> ssl.SSLSession:
    with socket.create_connection((url.hostname, url.port), 20) as raw, context.wrap_socket(raw) as first:
        first.sendall(request)
        first.recv(65536)
        if first.session is None or not first.session.has_ticket:
            raise Broken("no session ticket came")
        return first.session


class Shaking:
    """One short TLS connection as a state machine on a non-blocking socket."""

    def __init__(
        self, url: SplitResult, request: bytes, context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        raw = socket.create_connection((url.hostname, url.port), 20)
        raw.setblocking(False)
        self.sock = context.wrap_socket(raw, do_handshake_on_connect=False, session=session)
        self.status = b""
        self._request, self._ready, self._data = request, False, b""

    def step(self) -> bool:
        """Goes as far as it can; True when the answer is complete."""
        try:
            if not self._ready:
                self.sock.do_handshake()
                self._ready = True
                self.sock.send(self._request)
            while True:
                piece = self.sock.recv(65536)
                if not piece:
                    raise Broken("closed within an answer")
                self._data += piece
                if b"\r\n\r\n" in self._data:
                    self.status, head, body = parse_head(self._data)
                    if len(self._data) >= head + body:
                        return True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False


# ---------------------------------------------------------------- the process


def run(arguments: argparse.Namespace) -> Loaded:
    url = urlsplit(arguments.url)
    if arguments.what == "shake":
        request = get_request(url, arguments.header)
        pid, at_once = arguments.server_pid, arguments.connections
        return shake(url, request, seconds=arguments.seconds, at_once=at_once, resume=arguments.resume, server_pid=pid)
    loaded, buffer = Loaded(), memoryview(bytearray(READ_BYTES))
    if arguments.what == "put":
        endless = put_requests(url, arguments.header, arguments.size)
        requests: Requests = lambda: next(endless)  # noqa: E731
        asked = [requests] * arguments.connections
    else:
        fixed = [get_request(urlsplit(one), arguments.header) for one in (arguments.url, *arguments.also)]
        asked = [in_turn(fixed, number) for number in range(arguments.connections)]
        if arguments.turns:
            lines = Path(arguments.turns).read_text().splitlines()
            asked = [in_turn([get_request(url, [*arguments.header, line]) for line in lines], arguments.turn)]
            asked *= arguments.connections
    context = untrusting()
    connections: list[Connection] = [
        Tls(url, requests, loaded, buffer, context) if url.scheme == "https" else Plain(url, requests, loaded, buffer)
        for requests in asked
    ]
    drive(connections, loaded, seconds=arguments.seconds, once=arguments.once, server_pid=arguments.server_pid)
    return loaded


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.splitlines()[0] if __doc__ else "")
    made.add_argument("what", choices=["fetch", "put", "shake"])
    made.add_argument("url")
    made.add_argument("--also", action="append", default=[], help="more to fetch in turn, from the same server")
    made.add_argument("--turns", default="", help="a file of headers: each request bears the next one")
    made.add_argument("--turn", type=int, default=0, help="the number of the one that is borne first")
    made.add_argument("--connections", type=int, default=1)
    made.add_argument("--seconds", type=float, default=2.0)
    made.add_argument("--header", action="append", default=[], help='"Name: value", any number')
    made.add_argument("--size", type=int, default=1024, help="bytes of each publish")
    made.add_argument("--once", action="store_true", help="one request for each connection")
    made.add_argument("--resume", action="store_true", help="resume TLS sessions")
    made.add_argument(
        "--server-pid", type=int, default=0, help="also tell the CPU seconds of this process and its children"
    )
    made.add_argument("--latencies", action="store_true", help="print every time to first byte, too")
    return made


def main() -> None:
    arguments = parser().parse_args()
    loaded = asdict(run(arguments))
    if not arguments.latencies:
        del loaded["first_byte_ms"]
    print(json.dumps(loaded))


if __name__ == "__main__":
    main()
