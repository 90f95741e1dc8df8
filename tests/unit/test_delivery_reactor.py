"""Does the delivery loop answer on real sockets as declared, and leave connections in the declared state?"""

import os
import socket
from collections.abc import Callable
from math import inf
from pathlib import Path

import msgspec
import pytest
import trio

from gateway.config import Delivery
from gateway.delivery.answers import Answer
from gateway.delivery.heads import Head
from gateway.delivery.requests import Request
from gateway.delivery.serving import serve
from gateway.delivery.workers import listen
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import RequestLog

LARGE = os.urandom(5_000_000)


class Fake:
    """A handler with a small page, a large file, and an echo of uploads."""

    def __init__(self, folder: Path) -> None:
        self.looked = 0
        self.at = 1
        self.true = True
        self.file = os.open(folder / "large", os.O_RDWR | os.O_CREAT)
        os.write(self.file, LARGE)

    def moment(self) -> int:
        return self.at

    def holds(self, answer: Answer) -> bool:
        return self.true

    def look(self, head: Head) -> Answer | None:
        self.looked += 1
        if head.raw_path == "/small":
            return Answer(media="text/plain", etag='"one"', body=b"hello", outcome="HIT")
        if head.raw_path == "/large":
            return Answer(media="application/octet-stream", etag='"two"', extents=((self.file, 0, len(LARGE)),))
        return None

    async def handle(self, request: Request) -> None:
        if request.head.method == "PUT":
            size = await request.body.fill(len, 1 << 30)
            await request.reply(201, (), str(size).encode())
        else:
            await request.reply(200, (), b"slow")


Start = Callable[..., "trio.SocketStream"]


async def started(nursery: trio.Nursery, fake: Fake, folder: Path, **limits: float) -> tuple[str, int]:
    listener = listen("127.0.0.1", 0)
    config = msgspec.structs.replace(Delivery(), **limits)
    await nursery.start(
        lambda task_status: serve(
            fake, [listener], config, log=RequestLog(None), metrics=Metrics(folder / "m", 0), task_status=task_status
        )
    )
    return listener.getsockname()


async def spoken(address: tuple[str, int], data: bytes, *, half: bool = True) -> bytes:
    """Everything that comes back until the server closes."""
    stream = await trio.open_tcp_stream(*address)
    async with stream:
        await stream.send_all(data)
        if half:
            await stream.send_eof()
        got = b""
        with trio.fail_after(10):
            while part := await stream.receive_some(65536):
                got += part
        return got


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


async def test_pipelined_hits_tasks_and_uploads_come_back_in_order(
    nursery: trio.Nursery, fake: Fake, tmp_path: Path
) -> None:
    address = await started(nursery, fake, tmp_path)
    asked = (
        b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
        b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345"
        b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
        b"PUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    got = await spoken(address, asked)
    assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"200", b"201", b"200", b"201", b"200"]
    assert got.endswith(b"hello")
    assert fake.looked == 2  # /small once, the second is remembered; /slow


async def test_large_bodies_and_ranges_are_exact(nursery: trio.Nursery, fake: Fake, tmp_path: Path) -> None:
    address = await started(nursery, fake, tmp_path)
    got = await spoken(address, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    assert got.partition(b"\r\n\r\n")[2] == LARGE
    got = await spoken(address, b"GET /large HTTP/1.1\r\nHost: a\r\nRange: bytes=100-4000099\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 206")
    assert got.partition(b"\r\n\r\n")[2] == LARGE[100:4_000_100]
    got = await spoken(address, b'GET /large HTTP/1.1\r\nHost: a\r\nIf-None-Match: "two"\r\n\r\n')
    assert got.startswith(b"HTTP/1.1 304")


async def test_a_large_upload_passes_through_the_filling_thread(
    nursery: trio.Nursery, fake: Fake, tmp_path: Path
) -> None:
    address = await started(nursery, fake, tmp_path)
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
    got = await spoken(address, head + LARGE + b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    assert str(len(LARGE)).encode() in got
    assert got.endswith(b"hello")


async def test_a_remembered_answer_is_asked_again_when_the_moment_moves(
    nursery: trio.Nursery, fake: Fake, tmp_path: Path
) -> None:
    address = await started(nursery, fake, tmp_path)
    ask = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
    await spoken(address, ask)
    fake.at = 2
    await spoken(address, ask)
    assert fake.looked == 1
    fake.at, fake.true = 3, False
    await spoken(address, ask)
    assert fake.looked == 2


SMUGGLING = [
    (b"GET /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (b"PUT /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", b"400"),
    (b"PUT /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", b"400"),
    (b"PUT /small HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (b"PUT /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
    (b"GET /small HTTP/1.1\nHost: a\n\n", b"400"),
    (b"GET /small HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", b"400"),
    (b"GET /small HTTP/1.1\r\nHost : a\r\n\r\n", b"400"),
    (b"GET /small HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
    (b"GET /small HTTP/1.1\r\n\r\n", b"400"),
    (b"GET /small HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
    (b"get /small HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
    (b"GET http://b/small HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"GET /a%2e%2e%5cb HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    (b"PUT /small HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", b"400"),
    (b"PUT /small HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\n", b"417"),
    (b"GET /small HTTP/1.1\r\nHost: a/../b\r\n\r\n", b"400"),
    (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
    (b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", b"400"),
]


@pytest.mark.parametrize(("head", "status"), SMUGGLING)
async def test_a1_a2_a6_refused_heads_are_answered_once_and_closed(
    nursery: trio.Nursery, fake: Fake, tmp_path: Path, head: bytes, status: bytes
) -> None:
    address = await started(nursery, fake, tmp_path)
    got = await spoken(address, head + b"GET /small HTTP/1.1\r\nHost: smuggled\r\n\r\n", half=False)
    assert got.startswith(b"HTTP/1.1 " + status)
    assert got.count(b"HTTP/1.1 ") == 1


async def test_a8_a_head_that_dribbles_is_ended(nursery: trio.Nursery, fake: Fake, tmp_path: Path) -> None:
    address = await started(nursery, fake, tmp_path, head_seconds_max=0.2)
    got = await spoken(address, b"GET /small HTTP/1.1\r\nHos", half=False)
    assert got.startswith(b"HTTP/1.1 408")


async def test_a_closed_client_does_not_stay(nursery: trio.Nursery, fake: Fake, tmp_path: Path) -> None:
    address = await started(nursery, fake, tmp_path)
    for _ in range(20):
        sock = socket.create_connection(address)
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.close()
    got = await spoken(address, b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    assert got.endswith(b"hello")


def test_no_answer_outlives_its_time() -> None:
    assert Answer(body=b"").until_s == inf
