"""Does a request go nowhere but to a judged address, is it followed nowhere, and does it always end (D2, D14)?"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from gateway.webhooks.lines import ANSWER_BYTES_MAX
from gateway.webhooks.sending import Answer, Sender, receiver
from storage.errors import Invalid

HEADERS = {"content-type": "application/json", "webhook-id": "msg_1"}


@asynccontextmanager
async def speaking(*pieces: bytes, endless: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers anything with these bytes; what it was sent."""
    came: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                got = b""
                while b"}" not in got:
                    got += await stream.receive_some(4096)
                came.append(got)
                for piece in pieces:
                    await stream.send_all(piece)
                while endless:
                    await stream.send_all(b"x" * 4096)
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}/hook?a=b", came
        nursery.cancel_scope.cancel()


async def post(url: str, *, private_network: bool = True, resolved: str = "", seconds_max: float = 5.0) -> Answer:
    def resolve(host: str, port: int) -> list[str]:
        return [resolved or host]

    sender = Sender("entrepot/test", resolve=resolve, seconds_max=seconds_max)
    return await sender.post(url, dict(HEADERS), b"{}", private_network=private_network)


async def test_a_request_is_sent_once_whole_and_its_answer_told() -> None:
    reply = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\nserver: x\r\nset-cookie: a=b\r\n\r\nok"
    async with speaking(reply) as (url, came):
        answer = await post(url)
    assert (answer.status, answer.delivered, answer.read_bytes, answer.problem) == (202, True, 2, "")
    assert dict(answer.head) == {"content-length": "2", "server": "x"}, "cookies are nobody's business"
    assert len(came) == 1
    head, _, body = came[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert b"\r\nwebhook-id: msg_1\r\n" in head.lower() + b"\r\n"
    assert body == b"{}"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "fd00::1",
        "100.64.0.1",
        "0.0.0.0",
        "fe80::1",
    ],
)
async def test_d2_no_address_inside_is_dialled(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = []

    async def dial(address: str, port: int) -> trio.SocketStream:
        dialled.append(address)
        raise OSError

    monkeypatch.setattr("gateway.webhooks.sending._dialled", dial)
    answer = await post("https://receiver.example/x", private_network=False, resolved=address)
    assert answer.status == 0
    assert "is not on the public Internet" in answer.problem
    assert dialled == []


async def test_d2_metadata_services_are_not_dialled_even_in_the_private_network() -> None:
    answer = await post("http://169.254.169.254/latest", private_network=True)
    assert (answer.status, "public Internet" in answer.problem) == (0, True)


async def test_d2_the_address_that_was_judged_is_the_one_that_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere when it is asked a second time is not asked a second time."""
    asked, dialled = [], []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    async def dial(address: str, port: int) -> trio.SocketStream:
        dialled.append(address)
        raise OSError

    monkeypatch.setattr("gateway.webhooks.sending._dialled", dial)
    answer = await Sender("t", resolve=resolve).post("https://rebinding.example/", {}, b"", private_network=False)
    assert (asked, dialled, answer.status) == (["rebinding.example"], ["93.184.216.34"], 0)


async def test_d2_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with speaking(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (inner, seen):
        reply = f"HTTP/1.1 307 Moved\r\nlocation: {inner}\r\ncontent-length: 0\r\n\r\n".encode()
        async with speaking(reply) as (url, came):
            answer = await post(url)
    assert (answer.status, answer.delivered) == (307, False)
    assert (len(came), seen) == (1, [])


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "https://user:pw@receiver.example/",
        "https://receiver.example:25/",
        "https://receiver.example:0/",
        "https://receiver.example/\r\nx: y",
        "https:///x",
    ],
)
def test_d2_some_addresses_are_none(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        receiver(url, private_network=False)
    assert "pw" not in str(refused.value)


async def test_d14_an_answer_without_end_is_let_go() -> None:
    async with speaking(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", endless=True) as (url, _):
        answer = await post(url)
    assert answer.status == 200
    assert answer.read_bytes < ANSWER_BYTES_MAX + (64 << 10)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9999]
)
async def test_d14_what_is_no_answer_is_told_as_none(said: bytes) -> None:
    async with speaking(said) as (url, _):
        answer = await post(url)
    assert answer.status == 0
    assert answer.problem


async def test_d14_a_receiver_that_says_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    """Its port takes the connection and that is all."""
    quiet = socket.create_server(("127.0.0.1", 0))
    with quiet:
        answer = await post(f"http://127.0.0.1:{quiet.getsockname()[1]}/", seconds_max=3.0)
    assert (answer.status, answer.problem) == (0, "The receiver did not answer in time.")


async def test_a_receiver_that_asks_for_time_is_heard() -> None:
    async with speaking(b"HTTP/1.1 429 Slow\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n") as (url, _):
        assert (await post(url)).wait_s == 120.0
    async with speaking(b"HTTP/1.1 429 Slow\r\nretry-after: 9e9\r\ncontent-length: 0\r\n\r\n") as (url, _):
        assert (await post(url)).wait_s == 0.0


async def test_nobody_there_is_told() -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    answer = await post(f"http://127.0.0.1:{port}/")
    assert (answer.status, "cannot be connected to" in answer.problem) == (0, True)
