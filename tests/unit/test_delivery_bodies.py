"""Does a body end exactly where it says, however it arrives, and does no client get more than its share by its pace?"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.connections.connection import Gone
from gateway.delivery.requests.bodies import LINES_PER_FEED, Chunked
from gateway.delivery.requests.request import Request
from storage.errors import Invalid, Problem, TooLarge
from tests.harness.loops import LARGE, Client, Loop, started

GOOD = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n"
PUT = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
PUT_CHUNKED = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


# ---------------------------------------------------------------- the decoder alone


def decoded(pieces: list[bytes], room: int = 1 << 16) -> tuple[bytes, bytes]:
    """(payload, what is behind the body) of a chunked body that arrives in `pieces`. EOFError if it is not whole."""
    chunks, out, raw = Chunked(), b"", b""
    for piece in pieces:
        raw += piece
        while not chunks.done:
            mv = memoryview(bytearray(room))
            used, made = chunks.feed(raw, 0, len(raw), mv)
            raw, out = raw[used:], out + bytes(mv[:made])
            if not used and not made:
                break
    if not chunks.done:
        raise EOFError
    return out, raw


@given(st.lists(st.integers(0, len(GOOD) + 9), max_size=6), st.integers(1, 20))
def test_a_body_is_the_same_in_any_slicing(cuts: list[int], room: int) -> None:
    whole, marks = GOOD + b"GET / HTT", sorted({0, *cuts, len(GOOD) + 9})
    pieces = [whole[low:high] for low, high in pairwise(marks)]
    assert decoded(pieces, room) == (b"hello world", b"GET / HTT")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_what_was_chunked_comes_out(parts: list[bytes]) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert decoded([wire + b"X"]) == (b"".join(parts), b"X")


BAD = [
    b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n", b"-1\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b"5_0\r\n", b"\r\n", b";a\r\n", b"5\nhello\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhellooo\r\n",
    b"5\r\nhelloX\r\n", b"12345678901234567\r\n", b"5;a\nb\r\n", b"5;a\rb\r\n", b"5;\0\r\n", b"5;" + b"a" * 300,
    b"5" * 300, b"0\r\nno colon\r\n\r\n", b"0\r\nX: a\n\r\n", b"0\r\n" + b"X: " + b"a" * 300 + b"\r\n\r\n",
    b"0\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 200, b"g\r\n", b"5,5\r\nhello\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", BAD)
def test_a1_a11_broken_framing_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        decoded([data, b"0\r\n\r\n" * 10])


@given(st.lists(st.sampled_from([b"5", b"0", b"\r\n", b"\n", b"\r", b"hello", b";", b"x", b"\0"]), max_size=20))
def test_no_bytes_make_the_decoder_fail_otherwise(pieces: list[bytes]) -> None:
    with suppress(Invalid, EOFError):
        decoded(pieces)


def test_one_feed_does_a_bounded_number_of_lines() -> None:
    wire = b"1\r\nx\r\n" * 10_000
    used, made = Chunked().feed(wire, 0, len(wire), memoryview(bytearray(1 << 16)))
    assert made <= LINES_PER_FEED
    assert 0 < used <= LINES_PER_FEED * 6


# ---------------------------------------------------------------- on the wire


async def put(client: Client, data: bytes, *, chunk: int = 0) -> None:
    if not chunk:
        await client.send(PUT % len(data) + data)
        return
    parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    await client.send(PUT_CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n")


@pytest.mark.parametrize("size", [0, 1, 5_000, 70_000, 1_048_576, 1_048_577, len(LARGE)])
@pytest.mark.parametrize("chunk", [0, 32_768, 1_000_000], ids=["length", "small chunks", "large chunks"])
async def test_uploads_of_every_size_arrive_whole_and_leave_the_connection_usable(
    nursery: trio.Nursery, tmp_path: Path, size: int, chunk: int
) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    await put(client, LARGE[:size], chunk=chunk)
    assert (await client.response()).status == 201
    assert loop.fake.received == LARGE[:size]
    assert await client.is_kept()


async def test_an_upload_that_pauses_goes_on(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Longer pauses than the filling thread waits for: the loop takes over and hands back."""
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    await client.send(PUT % len(LARGE))
    for at in range(0, len(LARGE), 2_000_000):
        await client.send(LARGE[at : at + 2_000_000])
        await trio.sleep(0.3)
    assert (await client.response()).body == str(len(LARGE)).encode()
    assert loop.fake.received == LARGE
    assert await client.is_kept()


async def test_many_uploads_at_once_with_few_threads(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, fill_threads_max=1)

    async def one() -> None:
        client = await loop.client()
        await put(client, LARGE[:3_000_000])
        assert (await client.response()).body == b"3000000"

    async with trio.open_nursery() as uploads:
        for _ in range(6):
            uploads.start_soon(one)


async def test_pipelined_tiny_chunks_then_a_hit(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    await client.send(PUT_CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n" + b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.response()).body == b"20000"
    assert (await client.response()).body == b"hello"


async def task(loop: Loop, read: Callable[[Request], Awaitable[None]]) -> Client:
    """A client of `/task`, which does `read` and then answers 200."""

    async def handle(request: Request) -> None:
        await read(request)
        await request.reply(200, (), b"read")

    loop.fake.tasks["/task"] = handle
    return await loop.client()


async def whole(request: Request) -> None:
    await request.body.whole(1_000)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 1001\r\n", b"x" * 1001),
        (b"Transfer-Encoding: chunked\r\n", b"3e9\r\n" + b"x" * 1001 + b"\r\n"),
    ],
    ids=["length", "chunked"],
)
async def test_a11_a_body_over_the_limit_is_refused(
    nursery: trio.Nursery, tmp_path: Path, head: bytes, body: bytes
) -> None:
    loop = await started(nursery, tmp_path)
    client = await task(loop, whole)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + body)
    got = await client.response()
    assert got.status == 413
    assert isinstance(loop.fake.failures[0], TooLarge)
    assert await client.is_kept() is (got.headers.get("connection") != "close")


async def test_a11_a_length_over_the_limit_is_refused_before_a_byte_is_read(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    loop = await started(nursery, tmp_path)
    client = await task(loop, whole)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n")
    assert (await client.response()).status == 413
    assert await client.rest() == b""


async def test_a8_a_silent_body_is_ended(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, body_idle_seconds_max=0.2)
    client = await task(loop, whole)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    assert (await client.response()).status == 408
    assert await client.rest() == b""
    assert isinstance(loop.fake.failures[0], Problem)


async def test_a8_a_dribbled_body_is_ended(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Each byte is in time, but the rate is not."""
    loop = await started(nursery, tmp_path, body_idle_seconds_max=0.4)
    client = await task(loop, whole)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    with trio.fail_after(10):
        try:
            while not loop.fake.failures:
                await client.stream.send_all(b"x")
                await trio.sleep(0.05)
        except trio.BrokenResourceError:
            pass
    assert (await client.response()).status == 408


@pytest.mark.parametrize("size", [10, 5_000_000], ids=["inline", "in the thread"])
async def test_a_client_that_leaves_in_the_middle_is_noticed(nursery: trio.Nursery, tmp_path: Path, size: int) -> None:
    loop = await started(nursery, tmp_path)
    left = trio.Event()

    async def read(request: Request) -> None:
        try:
            await request.body.whole(1 << 30)
        except Gone:
            assert request.body.broken
            left.set()
            raise

    client = await task(loop, read)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * (size // 2))
    assert isinstance(client.stream, trio.SocketStream)
    await client.stream.send_eof()
    with trio.fail_after(5):
        await left.wait()
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.response()


async def test_a_handler_that_gives_up_frees_the_filling_thread(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, fill_threads_max=1)

    async def read(request: Request) -> None:
        with trio.move_on_after(0.4) as scope:
            await request.body.fill(lambda data: None, 1 << 40)
        assert scope.cancelled_caught

    client = await task(loop, read)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n")

    async def feed() -> None:
        try:
            while True:
                await client.stream.send_all(LARGE[:500_000])
                await trio.sleep(0.01)
        except trio.BrokenResourceError:
            pass

    nursery.start_soon(feed)
    with trio.fail_after(10):
        while loop.reactor.fillers.borrowed_tokens or not loop.fake.seen or loop.reactor.busy:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_what_a_sink_raises_comes_out(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)

    def sink(data: memoryview) -> None:
        raise Invalid("this is no package")

    async def read(request: Request) -> None:
        await request.body.fill(sink, 1 << 30)

    client = await task(loop, read)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789")
    got = await client.response()
    assert (got.status, got.body) == (400, b"this is no package\n")
    assert await client.is_kept()
