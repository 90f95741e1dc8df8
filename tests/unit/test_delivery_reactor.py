"""Does the delivery loop answer on real sockets as declared, from memory, from files and from tasks?"""

import os
import random
import socket
import struct
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import monotonic

import pytest
import trio

from gateway.delivery.loop import deadlines, sending
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head
from gateway.delivery.messages.memo import Entry, Memo, entry_of
from gateway.delivery.requests.request import OWN_RUNNING_MAX, Request
from gateway.insight.metrics import Metrics
from tests.harness.loops import LARGE, SMALL, Client, Fake, started
from tests.harness.waiting import comes

HIT = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"


def stream_of(client: Client) -> trio.SocketStream:
    assert isinstance(client.stream, trio.SocketStream)
    return client.stream


# ---------------------------------------------------------------- the hot path


async def test_pipelined_hits_tasks_and_uploads_come_back_in_order(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    await client.send(
        HIT
        + b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345"
        + b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
        + b"PUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        + HIT
    )
    assert [(await client.response()).body for _ in range(5)] == [SMALL, b"5", b"slow", b"3", SMALL]
    assert loop.fake.looked == 2  # /small once, the second is remembered; /slow


async def test_a_long_pipeline_is_answered_whole(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    nursery.start_soon(client.send, HIT * 3_000)
    for _ in range(3_000):
        assert (await client.response()).body == SMALL


async def test_a_head_in_two_parts_and_a_hit_behind_it(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    for cut in range(1, len(HIT)):
        await client.send(HIT[:cut])
        await trio.lowlevel.checkpoint()
        await client.send(HIT[cut:] + HIT)
        assert (await client.response()).body == SMALL
        assert (await client.response()).body == SMALL


async def test_half_close_behind_a_request_is_answered_and_ended(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    for ask, expected in (
        (HIT, SMALL),
        (b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", LARGE),
        (b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", b"slow"),
        (b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", b"2"),
    ):
        client = await loop.client()
        await client.send(ask)
        await stream_of(client).send_eof()
        assert (await client.response()).body == expected
        assert await client.rest() == b""
    await comes(lambda: not loop.reactor.busy)


async def test_a_remembered_answer_is_asked_again_when_the_moment_moves(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    for at, true, looked in ((1, True, 1), (1, True, 1), (2, True, 1), (2, False, 1), (3, False, 2), (3, False, 2)):
        loop.fake.at, loop.fake.true = at, true
        await client.get("/small")
        assert loop.fake.looked == looked


async def test_what_a_task_changed_is_seen_by_the_request_pipelined_behind_it(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    """Read your own write, also within one packet."""
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    await client.get("/small")

    async def change(request: Request) -> None:
        loop.fake.pages["/small"] = Answer(body=b"changed")
        loop.fake.at, loop.fake.true = 2, False
        await request.reply(200, ())

    loop.fake.tasks["/change"] = change
    await client.send(b"POST /change HTTP/1.1\r\nHost: a\r\n\r\n" + HIT)
    await client.response()
    assert (await client.response()).body == b"changed"


async def test_an_answer_is_not_served_past_its_time(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    loop.fake.pages["/small"].until_s = monotonic() - 1
    await client.get("/small")
    await client.get("/small")
    assert loop.fake.looked == 2
    assert Answer(body=b"").until_s == inf


async def test_b1_no_credential_gets_the_answer_of_another(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    for _ in range(2):
        for name in ("one", "two", "three"):
            assert (await client.get("/whoami", f"Authorization: Bearer {name}")).body == name.encode()
        assert (await client.get("/whoami")).body == b"nobody"
    assert loop.fake.looked == 4


async def test_conditions_and_ranges_are_answered_from_memory_too(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    for _ in range(3):
        assert (await client.get("/large", 'If-None-Match: "two"')).status == 304
        assert (await client.get("/large", "Range: bytes=69990-70010")).body == LARGE[69_990:70_011]
        assert (await client.get("/large", "Range: bytes=6000000-")).status == 416
        assert (await client.get("/large", method="HEAD")).headers["content-length"] == str(len(LARGE))
        assert (await client.get("/large")).body == LARGE
    assert loop.fake.looked == 5


async def test_every_answer_has_a_date(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    for path in ("/small", "/slow", "/large"):
        assert (await client.get(path)).headers["date"].endswith(" GMT")


async def test_a10_a_range_on_the_wire_is_the_slice(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    client = await loop.client()
    chosen = random.Random(10)
    for _ in range(100):
        first, length = chosen.randrange(len(LARGE) + 1000), chosen.randrange(1, chosen.choice((100, len(LARGE))))
        got = await client.get("/large", f"Range: bytes={first}-{first + length - 1}")
        assert got.status == (206 if first < len(LARGE) else 416)
        assert got.body == LARGE[first : first + length]


# ---------------------------------------------------------------- files


async def test_large_answers_are_shared_out_between_readers(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    done = []

    async def one(number: int) -> None:
        client = await loop.client()
        for _ in range(3):
            assert (await client.get("/large")).body == LARGE
        done.append(number)

    async with trio.open_nursery() as readers:
        for number in range(8):
            readers.start_soon(one, number)
    assert len(done) == 8


async def test_a_file_in_many_extents_is_corked_until_its_last(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Of any length, from two files by turns, and asked for again and again: no answer leaves a cork behind, which
    would hold up the end of it, and the next one on the connection."""
    loop = await started(nursery, tmp_path)
    chosen, other = random.Random(4), os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.write(other, LARGE[::-1])
    extents, body = [], b""
    while len(body) < 4 << 20:
        length = min(chosen.choice((1, 64, 5_000, 70_000, 300_000)), len(LARGE))
        at = chosen.randrange(len(LARGE) - length + 1)
        which = len(extents) % 2
        extents.append(((loop.fake.file, other)[which], at, length))
        body += (LARGE, LARGE[::-1])[which][at : at + length]
    loop.fake.pages["/cut"] = Answer(extents=tuple(extents))
    client = await loop.client()
    for _ in range(3):
        assert (await client.get("/cut")).body == body
        assert (await client.get("/cut", "Range: bytes=60000-3999999")).body == body[60_000:4_000_000]
        assert await client.is_kept()
    (one,) = loop.reactor._connections.values()
    assert not one.corked
    assert not one.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)
    os.close(other)


async def test_a_small_file_is_kept_in_memory_and_a_large_one_is_not(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, small_body_bytes_max=950)
    loop.fake.pages["/little"] = Answer(extents=((loop.fake.file, 10, 400), (loop.fake.file, 600, 600)))
    loop.fake.pages["/less"] = Answer(extents=((loop.fake.file, 10, 400), (loop.fake.file, 600, 500)))
    client = await loop.client()
    assert (await client.get("/little")).body == LARGE[10:410] + LARGE[600:1200]
    assert (await client.get("/less")).body == LARGE[10:410] + LARGE[600:1100]
    os.ftruncate(loop.fake.file, 0)
    assert (await client.get("/less")).body == LARGE[10:410] + LARGE[600:1100]
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.get("/little")


async def test_a_file_shorter_than_its_index_says_cuts_the_connection(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    loop.fake.pages["/torn"] = Answer(extents=((loop.fake.file, len(LARGE) - 50_000, 100_000),))
    client = await loop.client()
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.get("/torn")
    assert await (await loop.client()).is_kept()


async def test_cold_bytes_are_read_by_a_thread_and_hold_up_nobody(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is made so slow that it never answers until another client was served."""
    loop = await started(nursery, tmp_path)
    cold, read = {loop.fake.file}, trio.Event()
    gate = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def in_memory(self: sending.Sender, descriptor: int, low: int, high: int) -> bool:
        return descriptor not in cold

    def slow(descriptor: int, offset: int, n: int) -> None:
        trio.from_thread.run_sync(read.set, trio_token=token)
        trio.from_thread.run(gate.wait, trio_token=token)

    monkeypatch.setattr(sending.Sender, "_in_memory", in_memory)
    monkeypatch.setattr(sending, "read_ahead", slow)
    waiting, other = await loop.client(), await loop.client()
    await waiting.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await read.wait()
    assert await other.is_kept()
    gate.set()
    assert (await waiting.response()).body == LARGE


async def test_a_reader_that_leaves_while_the_disk_is_asked_harms_nobody(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = await started(nursery, tmp_path)
    read, gate = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(descriptor: int, offset: int, n: int) -> None:
        trio.from_thread.run_sync(read.set, trio_token=token)
        trio.from_thread.run(gate.wait, trio_token=token)

    monkeypatch.setattr(sending.Sender, "_in_memory", lambda *_: False)
    monkeypatch.setattr(sending, "read_ahead", slow)
    client = await loop.client()
    await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await read.wait()
    reset(stream_of(client))
    await comes(lambda: not loop.reactor.busy)
    gate.set()
    assert await (await loop.client()).is_kept()


def reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def test_a_closed_client_does_not_stay(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path)
    for _ in range(20):
        client = await loop.client()
        await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        reset(stream_of(client))
    assert await (await loop.client()).is_kept()
    await comes(lambda: len(loop.reactor._connections) == 1)


# ---------------------------------------------------------------- time and number


async def test_a8_a_head_that_dribbles_is_ended(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, head_seconds_max=0.3)
    client = await loop.client()
    await client.get("/small")
    await client.send(b"GET /small HTTP/1.1\r\nHos")
    assert (await client.response()).status == 408
    assert await client.rest() == b""


async def test_a_head_has_its_own_time_after_each_answer(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Heads in two packets for longer than a head may take, each of them in time."""
    loop = await started(nursery, tmp_path, head_seconds_max=0.4)
    client = await loop.client()
    for _ in range(8):
        await client.send(HIT[:10])
        await trio.sleep(0.1)
        await client.send(HIT[10:])
        assert (await client.response()).body == SMALL


async def test_a8_idle_and_silent_connections_are_ended(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, idle_seconds_max=0.2, head_seconds_max=0.2)
    silent, idle = await loop.client(), await loop.client()
    await idle.get("/small")
    assert await silent.rest() == b""
    assert await idle.rest() == b""


async def test_a8_a_reader_below_the_rate_is_cut(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "SEND_WINDOW_SECONDS", 0.2)
    loop = await started(nursery, tmp_path, head_seconds_max=0.4, send_rate_min_bytes_s=1 << 30)
    loop.fake.pages["/huge"] = Answer(extents=((loop.fake.file, 0, len(LARGE)),) * 20)
    client = await loop.client()
    await client.send(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
    await comes(lambda: loop.reactor.busy)
    await comes(lambda: not loop.reactor.busy)
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.response()


async def test_a8_a_slow_task_and_a_slow_but_steady_reader_are_not(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "SEND_WINDOW_SECONDS", 0.2)
    loop = await started(nursery, tmp_path, head_seconds_max=0.2, idle_seconds_max=0.2, send_rate_min_bytes_s=1)

    async def slow(request: Request) -> None:
        out = await request.start(200, (), None)
        for _ in range(3):
            await out.write(LARGE)  # more than the socket takes at once, so that a deadline is set
            await trio.sleep(0.4)
        await out.finish()

    loop.fake.tasks["/stream"] = slow
    client = await loop.client()
    assert (await client.get("/stream")).body == LARGE * 3


async def test_a9_one_connection_too_many_is_told_so(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, connections_max=2)
    kept = [await loop.client() for _ in range(2)]
    for client in kept:
        await client.get("/small")
    third = await loop.client()
    assert (await third.response()).status == 503
    assert await third.rest() == b""
    assert await kept[0].is_kept()


async def test_one_task_too_many_is_told_so(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, requests_running_max=1)
    gate = trio.Event()

    async def wait(request: Request) -> None:
        await gate.wait()
        await request.reply(200, ())

    loop.fake.tasks["/wait"] = wait
    first, second = await loop.client(), await loop.client()
    await first.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    await comes(lambda: "/wait" in loop.fake.seen)
    shed = await second.get("/wait")
    assert (shed.status, shed.headers["retry-after"]) == (503, "1")
    third = await loop.client()
    assert (await third.get("/-/health")).body == b"slow", "what looks after the node has room of its own"
    gate.set()
    assert (await first.response()).status == 200


async def test_what_is_below_our_own_path_is_shed_too_in_the_end(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, requests_running_max=1)
    gate = trio.Event()

    async def wait(request: Request) -> None:
        await gate.wait()
        await request.reply(200, ())

    loop.fake.tasks["/-/wait"] = wait
    clients = [await loop.client() for _ in range(1 + OWN_RUNNING_MAX)]
    for client in clients:
        await client.send(b"GET /-/wait HTTP/1.1\r\nHost: a\r\n\r\n")
    await comes(lambda: loop.fake.seen.count("/-/wait") == len(clients))
    assert (await (await loop.client()).get("/-/wait")).status == 503
    gate.set()
    assert [(await client.response()).status for client in clients] == [200] * len(clients)


async def test_e9_no_descriptor_left_lets_the_next_one_in_later(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = await started(nursery, tmp_path)
    refusals = 3
    accept = socket.socket.accept

    def starved(self: socket.socket) -> object:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise OSError(24, "too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", starved)
    assert await (await loop.client()).is_kept()
    assert refusals == 0


# ---------------------------------------------------------------- the end


async def test_a_drain_finishes_what_runs_and_closes_what_idles(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, drain_seconds_max=10)
    gate = trio.Event()

    async def wait(request: Request) -> None:
        await gate.wait()
        assert request.draining
        await request.reply(200, (), b"done")

    loop.fake.tasks["/wait"] = wait
    idle, busy = await loop.client(), await loop.client()
    await idle.get("/small")
    await busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    await comes(lambda: "/wait" in loop.fake.seen)
    loop.reactor.drain()
    assert await idle.rest() == b""
    with pytest.raises(OSError):
        await loop.client()
    gate.set()
    got = await busy.response()
    assert (got.body, got.headers["connection"]) == (b"done", "close")
    await busy.stream.aclose()
    with trio.fail_after(5):
        await loop.reactor.ended.wait()


async def test_a_drain_does_not_wait_for_ever(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, drain_seconds_max=0.2)

    async def wait(request: Request) -> None:
        await trio.sleep_forever()

    loop.fake.tasks["/wait"] = wait
    busy = await loop.client()
    await busy.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    await comes(lambda: "/wait" in loop.fake.seen)
    loop.reactor.drain()
    with trio.fail_after(5):
        await loop.reactor.ended.wait()


async def test_a_cancelled_loop_drains_first(tmp_path: Path) -> None:
    answered = False
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as nursery:
            loop = await started(nursery, tmp_path, drain_seconds_max=10)

            async def wait(request: Request) -> None:
                await trio.sleep(0.1)
                await request.reply(200, (), b"done")

            loop.fake.tasks["/wait"] = wait
            stream = await trio.open_tcp_stream(*loop.address)

            async def ask() -> None:
                nonlocal answered
                async with stream:
                    answered = (await Client(stream).get("/wait")).body == b"done"

            clients.start_soon(ask)
            await comes(lambda: "/wait" in loop.fake.seen)
            nursery.cancel_scope.cancel()
    assert answered


# ---------------------------------------------------------------- bugs of a handler


@pytest.mark.parametrize("bug", [ValueError("secret"), OSError("disk"), KeyError("x")])
async def test_a_bug_in_a_read_costs_one_answer(
    nursery: trio.Nursery, tmp_path: Path, bug: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Broken(tmp_path, bug)
    loop = await started(nursery, tmp_path, handler=fake)
    client = await loop.client()
    got = await client.get("/broken")
    assert (got.status, b"secret" in got.body) == (500, False)
    assert caplog.records
    assert await (await loop.client()).is_kept()


class Broken(Fake):
    def __init__(self, folder: Path, bug: Exception) -> None:
        super().__init__(folder)
        self.bug = bug

    def look(self, head: Head) -> Answer | None:
        if head.raw_path == "/broken":
            raise self.bug
        return super().look(head)


async def test_a5_a_header_that_splits_becomes_a_500(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = await started(nursery, tmp_path)
    loop.fake.pages["/split"] = Answer(body=b"x", headers=(("Content-Disposition", "a\r\nSet-Cookie: b"),))
    got = await (await loop.client()).get("/split")
    assert got.status == 500
    assert "set-cookie" not in got.headers


# ---------------------------------------------------------------- the memo


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., Entry]:
    metrics = Metrics(tmp_path / "metrics", 9)
    return lambda size=10: entry_of(Answer(body=b"x" * size), Head(), True, 1, metrics)


def test_the_memo_is_bounded_in_entries_and_keeps_what_is_used(entry: Callable[..., Entry]) -> None:
    memo = Memo(100)
    memo.keep(b"hot", entry())
    for number in range(10_000):
        memo.keep(b"%d" % number, entry())
        if number % 20 == 0:
            assert memo.find(b"hot") is not None
        assert len(memo) <= 102
    assert memo.find(b"1") is None


def test_the_memo_is_bounded_in_bytes_and_heads(entry: Callable[..., Entry]) -> None:
    memo = Memo(1_000_000, bytes_max=1 << 20)
    for number in range(1_000):
        memo.keep(b"%d" % number, entry(10_000))
    assert len(memo) < 110
    memo.keep(b"x" * 5_000, entry())
    assert memo.find(b"x" * 5_000) is None


def test_an_entry_that_is_asked_for_in_two_generations_is_in_use_once_in_each(tmp_path: Path) -> None:
    used: list[Answer] = []
    memo = Memo(100, in_use=used.append)
    metrics = Metrics(tmp_path / "metrics", 9)
    cached = Answer(body=b"x", forgettable=(b"1" * 32,))
    memo.keep(b"cached", entry_of(cached, Head(), True, 1, metrics))
    memo.keep(b"hosted", entry_of(Answer(body=b"x"), Head(), True, 1, metrics))
    for generation in range(3):
        assert len(used) == generation
        memo.age()
        for _ in range(5):
            assert memo.find(b"cached") is not None
            assert memo.find(b"hosted") is not None
    assert used == [cached] * 3


def test_the_memo_forgets(entry: Callable[..., Entry]) -> None:
    memo = Memo(100)
    memo.keep(b"a", entry())
    memo.age()
    memo.drop(b"a")
    assert memo.find(b"a") is None
    memo.keep(b"b", entry())
    memo.age()
    memo.age()
    assert memo.find(b"b") is None
    memo.keep(b"c", entry())
    memo.clear()
    assert len(memo) == 0
