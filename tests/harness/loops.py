"""How does a test get a delivery loop on a real socket, with a handler that it can look into?"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.config import Delivery
from gateway.delivery.connections.listening import Listener, listen
from gateway.delivery.connections.proxies import DIRECT, Proxies
from gateway.delivery.loop.reactor import Reactor
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head
from gateway.delivery.processes.serving import serve
from gateway.delivery.requests.request import Request
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import RequestLog

LARGE = bytes(range(256)) * 20_000
SMALL = b"hello"
PATIENCE_S = 10.0


class Fake:
    """Two pages and a large file for the hot path; uploads and everything else in request tasks.

    `seen` lists the paths asked for, in the order of look and handle. `at` is the moment, `true` what holds() says,
    `recalled` the leaves that stand no more. `tasks` are own answers of handle() by path.
    """

    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        self.looked = 0
        self.used: list[Answer] = []
        self.at = 1
        self.true = True
        self.recalled: set[object] = set()
        self.tasks: dict[str, Callable[[Request], Any]] = {}
        self.pages: dict[str, Answer] = {}
        self.failures: list[BaseException] = []
        self.received = b""
        self.file = os.open(folder / "large", os.O_RDWR | os.O_CREAT)
        os.write(self.file, LARGE)
        self.pages["/small"] = Answer(media="text/plain", etag='"one"', body=SMALL, outcome="HIT", repository="w/r")
        self.pages["/large"] = Answer(
            media="application/octet-stream", etag='"two"', modified_s=1_700_000_000, extents=self.extents()
        )

    def extents(self) -> tuple[tuple[int, int, int], ...]:
        """The large file in three unequal runs."""
        cuts = (0, 70_001, 3_000_000, len(LARGE))
        return tuple((self.file, low, high - low) for low, high in pairwise(cuts))

    def moment(self) -> int:
        return self.at

    def holds(self, answer: Answer) -> bool:
        return self.true

    def standing(self) -> object:
        return self.at, len(self.recalled)

    def stands(self, leave: object) -> bool:
        return leave not in self.recalled

    def in_use(self, answer: Answer) -> None:
        self.used.append(answer)

    def look(self, head: Head) -> Answer | None:
        self.looked += 1
        page = self.pages.get(head.raw_path)
        if page is not None:
            self.seen.append(head.raw_path)
        elif head.raw_path == "/whoami":
            return Answer(body=(head.secret or "nobody").encode())
        elif head.raw_path == "/where":
            where = Answer(body=f"{head.peer} {head.scheme} {head.host}".encode())
            where.by_address = True
            return where
        return page

    async def handle(self, request: Request) -> None:
        self.seen.append(request.head.raw_path)
        task = self.tasks.get(request.head.raw_path)
        if task is not None:
            try:
                await task(request)
            except BaseException as failure:
                self.failures.append(failure)
                raise
        elif request.head.method in ("PUT", "POST", "PATCH"):
            self.received = await request.body.whole(1 << 30)
            await request.reply(201, (), str(len(self.received)).encode())
        else:
            await request.reply(200, (), b"slow")


@dataclass
class Response:
    """One answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Client:
    """One connection of a client that reads answers one by one. Every wait has an end."""

    stream: trio.abc.Stream
    buf: bytes = b""

    async def send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE_S):
            await self.stream.send_all(data)

    async def get(self, path: str, *lines: str, method: str = "GET") -> Response:
        await self.send(
            f"{method} {path} HTTP/1.1\r\nHost: a\r\n{''.join(x + chr(13) + chr(10) for x in lines)}\r\n".encode()
        )
        return await self.response(head=method == "HEAD")

    async def response(self, *, head: bool = False) -> Response:
        """The next answer; its body by Content-Length, chunks, or the end of the connection."""
        block = await self._until(b"\r\n\r\n")
        line, *fields = block.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        got = Response(int(line.split()[1]), headers)
        if head or got.status in (204, 304) or got.status < 200:
            return got
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self._until(b"\r\n"), 16):
                got.body += await self._take(size)
                assert await self._take(2) == b"\r\n"
            assert await self._take(2) == b"\r\n"
        elif "content-length" in headers:
            got.body = await self._take(int(headers["content-length"]))
        else:
            got.body = await self.rest()
        return got

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        while await self._more():
            pass
        data, self.buf = self.buf, b""
        return data

    async def is_kept(self) -> bool:
        """Does the server answer another request on this connection?"""
        try:
            return (await self.get("/small")).body == SMALL
        except (EOFError, trio.BrokenResourceError, AssertionError, ValueError):
            return False

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self.buf:
            if not await self._more():
                raise EOFError(self.buf)
        part, _, self.buf = self.buf.partition(mark)
        return part

    async def _take(self, n: int) -> bytes:
        while len(self.buf) < n:
            if not await self._more():
                raise EOFError(f"{len(self.buf)} bytes of {n}")
        part, self.buf = self.buf[:n], self.buf[n:]
        return part

    async def _more(self) -> bool:
        with trio.fail_after(PATIENCE_S):
            data = await self.stream.receive_some(1 << 20)
        self.buf += data
        return bool(data)


@dataclass
class Loop:
    """A running loop. `log` and `metrics` are its own."""

    nursery: trio.Nursery
    folder: Path
    fake: Fake
    reactor: Reactor
    address: tuple[str, int]
    log: RequestLog
    metrics: Metrics
    clients: list[trio.SocketStream] = field(default_factory=list)

    async def client(self, source: str | None = None) -> Client:
        """A new connection, from the address `source`, closed with the test."""
        self.clients.append(await trio.open_tcp_stream(*self.address, local_address=source))
        return Client(self.clients[-1])

    async def close_clients_at_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            for stream in self.clients:
                stream.socket.close()


async def started(
    nursery: trio.Nursery,
    folder: Path,
    *,
    handler: Fake | None = None,
    context: Any = None,
    log_path: Path | None = None,
    workers: int = 1,
    proxies: Proxies = DIRECT,
    **limits: float,
) -> Loop:
    """A loop on a free port of loopback; `limits` replace those of the configuration."""
    fake = handler or Fake(folder)
    sock = listen("127.0.0.1", 0)
    address = sock.getsockname()
    config = msgspec.structs.replace(Delivery(), **({"drain_seconds_max": 1.0} | limits))
    log, metrics = RequestLog(log_path), Metrics(folder / "metrics", 0)

    async def run(task_status: trio.TaskStatus[Reactor]) -> None:
        await serve(
            fake,
            [Listener(sock, context)],
            config,
            log=log,
            metrics=metrics,
            workers=workers,
            proxies=proxies,
            task_status=task_status,
        )

    reactor: Reactor = await nursery.start(run)
    loop = Loop(nursery, folder, fake, reactor, address, log, metrics)
    nursery.start_soon(loop.close_clients_at_the_end)
    return loop
