"""Does every request outside the hot path get exactly one answer, and is the connection kept or closed by rule?"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from gateway.delivery.connections.connection import Gone
from gateway.delivery.messages.answers import Answer
from gateway.delivery.requests.request import Request
from storage.errors import Conflict
from tests.harness.loops import LARGE, Client, Loop, started

Task = Callable[[Request], Awaitable[None]]


async def of(nursery: trio.Nursery, folder: Path, task: Task, **limits: float) -> tuple[Loop, Client]:
    loop = await started(nursery, folder, **limits)
    loop.fake.tasks["/task"] = task
    return loop, await loop.client()


async def refuse(request: Request) -> None:
    await request.reply(401, (("WWW-Authenticate", "Basic"),), b"no")


async def accept(request: Request) -> None:
    body = await request.body.whole(1 << 30)
    await request.reply(201, (), str(len(body)).encode())


# ---------------------------------------------------------------- Expect


async def test_100_is_sent_at_the_first_read_and_not_before(nursery: trio.Nursery, tmp_path: Path) -> None:
    read = trio.Event()

    async def later(request: Request) -> None:
        await read.wait()
        await accept(request)

    _, client = await of(nursery, tmp_path, later)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    with trio.move_on_after(0.1) as waited:
        await client.response()
    assert waited.cancelled_caught
    read.set()
    assert (await client.response()).status == 100
    await client.send(b"hello")
    assert (await client.response()).body == b"5"
    assert await client.is_kept()


async def test_a_refused_expectation_gets_no_100_and_is_closed(nursery: trio.Nursery, tmp_path: Path) -> None:
    _, client = await of(nursery, tmp_path, refuse)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    got = await client.response()
    assert (got.status, got.headers["connection"]) == (401, "close")
    assert await client.rest() == b""


async def test_a_body_that_came_in_spite_of_the_expectation_is_read(nursery: trio.Nursery, tmp_path: Path) -> None:
    _, client = await of(nursery, tmp_path, accept)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
    assert (await client.response()).status == 100
    assert (await client.response()).body == b"5"
    assert await client.is_kept()


async def test_an_expectation_without_a_body_is_none(nursery: trio.Nursery, tmp_path: Path) -> None:
    _, client = await of(nursery, tmp_path, accept)
    assert (await client.get("/task", "Expect: 100-continue", "Content-Length: 0", method="PUT")).status == 201


# ---------------------------------------------------------------- early answers


async def test_a4_a_small_unread_body_is_drained_and_never_read_as_a_request(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    loop, client = await of(nursery, tmp_path, refuse)
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    assert (await client.response()).status == 401
    assert await client.is_kept()
    assert "/smuggled" not in loop.fake.seen


async def test_a_small_unread_body_may_come_after_the_answer(nursery: trio.Nursery, tmp_path: Path) -> None:
    _, client = await of(nursery, tmp_path, refuse)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
    assert (await client.response()).status == 401
    await client.send(b"x" * 10_000)
    assert await client.is_kept()


async def test_a_small_unread_body_that_never_comes_is_not_waited_for_long(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    _, client = await of(nursery, tmp_path, refuse, body_idle_seconds_max=0.2)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nxxx")
    assert (await client.response()).status == 401
    assert await client.rest() == b""


@pytest.mark.parametrize("size", [1_000_000, 50_000_000])
async def test_a4_a_client_that_writes_a_large_body_first_still_reads_the_refusal(
    nursery: trio.Nursery, tmp_path: Path, size: int
) -> None:
    """What is unread is swallowed for a while: a reset would overtake the answer."""
    loop, client = await of(nursery, tmp_path, refuse)
    await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(0, size, 1_000_000):
        await client.send(LARGE[:1_000_000])
    got = await client.response()
    assert (got.status, got.headers["connection"]) == (401, "close")
    assert await client.rest() == b""
    assert "/smuggled" not in loop.fake.seen


async def test_late_answers_with_unread_bodies_leave_nothing_behind(nursery: trio.Nursery, tmp_path: Path) -> None:
    gate = trio.Event()

    async def late(request: Request) -> None:
        await gate.wait()
        await refuse(request)

    loop, first = await of(nursery, tmp_path, late)
    clients = [first, *[await loop.client() for _ in range(19)]]
    for client in clients:
        await client.send(b"PUT /task HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 10_000)
    gate.set()
    for client in clients:
        assert (await client.response()).status == 401
        await client.stream.aclose()
    with trio.fail_after(10):
        while loop.reactor.busy:  # noqa: ASYNC110
            await trio.sleep(0.02)


# ---------------------------------------------------------------- replies and streams


async def test_replies_say_what_was_given(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def reply(request: Request) -> None:
        request.outcome = "MADE"
        await request.reply(202, (("X-A", "1"), ("X-A", "2")), b"body")

    _, client = await of(nursery, tmp_path, reply)
    got = await client.get("/task")
    assert (got.status, got.body, got.headers["entrepot-outcome"]) == (202, b"body", "MADE")
    got = await client.get("/task", method="HEAD")
    assert (got.status, got.body, got.headers["content-length"]) == (202, b"", "4")
    assert await client.is_kept()


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_has_no_framing(nursery: trio.Nursery, tmp_path: Path, status: int) -> None:
    async def reply(request: Request) -> None:
        if request.head.query:
            out = await request.start(status, (), None)
            await out.write(b"ignored")
            await out.finish()
        else:
            await request.reply(status, (), b"ignored")

    _, client = await of(nursery, tmp_path, reply)
    for path in ("/task", "/task?stream=1"):
        got = await client.get(path)
        assert got.status == status
        assert not {"content-length", "transfer-encoding"} & set(got.headers)
        assert await client.is_kept()


async def test_an_answer_from_a_task_is_the_answer_of_the_hot_path(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def answer(request: Request) -> None:
        await request.answer(Answer(etag='"t"', extents=loop.fake.extents(), outcome="FILL"))

    loop, client = await of(nursery, tmp_path, answer)
    assert (await client.get("/task")).body == LARGE
    assert (await client.get("/task", "Range: bytes=5-9")).body == LARGE[5:10]
    assert (await client.get("/task", 'If-None-Match: "t"')).status == 304
    assert (await client.get("/task", method="HEAD")).headers["content-length"] == str(len(LARGE))
    assert await client.is_kept()


async def stream(request: Request) -> None:
    out = await request.start(200, (), 3_000_010 if request.head.query else None)
    await out.write(b"0123456789")
    await out.write(b"")
    await out.sendfile(FILES[0], 100, 3_000_000)
    await out.finish()


FILES: list[int] = []


async def test_streams_are_framed_for_who_asks(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop, client = await of(nursery, tmp_path, stream)
    FILES[:] = [loop.fake.file]
    expected = b"0123456789" + LARGE[100:3_000_100]
    got = await client.get("/task")
    assert (got.headers["transfer-encoding"], got.body) == ("chunked", expected)
    got = await client.get("/task?length=1")
    assert (got.headers["content-length"], got.body) == ("3000010", expected)
    assert (await client.get("/task", method="HEAD")).body == b""
    assert await client.is_kept()
    await client.send(b"GET /task HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    got = await client.response()
    assert (got.headers["connection"], "transfer-encoding" in got.headers, got.body) == ("close", False, expected)


async def test_first_bytes_leave_with_the_head_and_are_counted(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def begun(request: Request) -> None:
        out = await request.start(200, (), 3_000_000, ((loop.fake.file, 100, 1_000),))
        assert request.head.method == "HEAD" or out.written == 1_000
        await out.sendfile(loop.fake.file, 1_100, 2_999_000)
        await out.finish()

    loop, client = await of(nursery, tmp_path, begun)
    assert (await client.get("/task")).body == LARGE[100:3_000_100]
    assert (await client.get("/task", method="HEAD")).body == b""
    assert await client.is_kept()


@pytest.mark.parametrize("head", ["GET /task HTTP/1.1", "GET /task?length=1 HTTP/1.1", "GET /task HTTP/1.0"])
async def test_b7_a_stream_that_is_not_finished_is_seen_as_cut_off(
    nursery: trio.Nursery, tmp_path: Path, head: str
) -> None:
    async def unfinished(request: Request) -> None:
        out = await request.start(200, (), 100 if request.head.query else None)
        await out.write(b"0123456789")
        await sent.wait()

    sent = trio.Event()
    _, client = await of(nursery, tmp_path, unfinished)
    await client.send(f"{head}\r\nHost: a\r\n\r\n".encode())
    sent.set()
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.response()


async def test_b7_a_stream_of_another_length_is_a_bug_and_cut_off(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def short(request: Request) -> None:
        out = await request.start(200, (), 100)
        await out.write(b"0123456789")
        await out.finish()

    async def long(request: Request) -> None:
        out = await request.start(200, (), 5)
        await out.write(b"0123456789")

    for task in (short, long):
        _, client = await of(nursery, tmp_path, task)
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await client.get("/task")
    assert len(caplog.records) == 2


# ---------------------------------------------------------------- failures and departures


@pytest.mark.parametrize("bug", [OSError("disk"), ValueError("secret"), ExceptionGroup("x", [KeyError("y")])])
async def test_a_bug_becomes_a_logged_500_also_when_it_is_an_oserror(
    nursery: trio.Nursery, tmp_path: Path, bug: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: Request) -> None:
        raise bug

    _, client = await of(nursery, tmp_path, fail)
    got = await client.get("/task")
    assert (got.status, b"secret" in got.body) == (500, False)
    assert caplog.records
    assert await client.is_kept()


async def test_a_problem_that_is_let_through_is_told(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def conflict(request: Request) -> None:
        raise Conflict("It is there.", "Choose another name.")

    _, client = await of(nursery, tmp_path, conflict)
    got = await client.get("/task")
    assert (got.status, got.body) == (409, b"It is there. Choose another name.\n")


async def test_no_answer_is_a_bug_and_a_second_one_too(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(request: Request) -> None:
        pass

    async def twice(request: Request) -> None:
        await request.reply(200, (), b"one")
        await request.reply(200, (), b"two")

    _, client = await of(nursery, tmp_path, silent)
    assert (await client.get("/task")).status == 500
    _, client = await of(nursery, tmp_path, twice)
    assert (await client.get("/task")).body == b"one"
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.response()
    assert len(caplog.records) == 2


async def test_a_reset_ends_the_handler_at_once(nursery: trio.Nursery, tmp_path: Path) -> None:
    ended, begun = trio.Event(), trio.Event()

    async def wait(request: Request) -> None:
        assert not request.disconnected()
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            assert request.disconnected()
            ended.set()

    loop, client = await of(nursery, tmp_path, wait)
    await client.send(b"GET /task HTTP/1.1\r\nHost: a\r\n\r\n")
    await begun.wait()
    assert isinstance(client.stream, trio.SocketStream)
    client.stream.socket.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER
    client.stream.socket.close()
    with trio.fail_after(5):
        await ended.wait()
    assert await (await loop.client()).is_kept()


async def test_a_writer_learns_that_its_reader_left(nursery: trio.Nursery, tmp_path: Path) -> None:
    left = trio.Event()

    async def endless(request: Request) -> None:
        out = await request.start(200, (), None)
        try:
            while True:
                await out.write(LARGE[:100_000])
        except (Gone, trio.Cancelled):
            left.set()
            raise

    loop, client = await of(nursery, tmp_path, endless)
    await client.send(b"GET /task HTTP/1.1\r\nHost: a\r\n\r\n")
    await client._more()
    await client.stream.aclose()
    with trio.fail_after(5):
        await left.wait()
    assert await (await loop.client()).is_kept()


async def test_a_client_that_only_stopped_sending_still_gets_its_answer(nursery: trio.Nursery, tmp_path: Path) -> None:
    async def later(request: Request) -> None:
        await trio.sleep(0.1)
        assert not request.disconnected()
        await request.reply(200, (), b"late")

    _, client = await of(nursery, tmp_path, later)
    await client.send(b"GET /task HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(client.stream, trio.SocketStream)
    await client.stream.send_eof()
    assert (await client.response()).body == b"late"
    assert await client.rest() == b""
