"""When is a connection to a receiver used again, and is nothing of one request left for another (D2, D14)?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from gateway.webhooks.lines import AGE_SECONDS_MAX, IDLE_MAX, IDLE_SECONDS_MAX, USES_MAX
from gateway.webhooks.sending import Answer, Sender

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Speaker:
    """A receiver on loopback: `answers` are those to the requests of each connection, which then ends."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.connections = 0
        self.requests: list[tuple[int, bytes]] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        number = self.connections
        async with stream:
            for answer in self.answers:
                got = b""
                while b"}" not in got:
                    try:
                        more = bytes(await stream.receive_some(4096))
                    except trio.BrokenResourceError:
                        return
                    if not more:
                        return
                    got += more
                self.requests.append((number, got))
                await stream.send_all(answer)


class Names:
    """Resolves; `at` is where every name leads."""

    def __init__(self) -> None:
        self.at = "127.0.0.1"
        self.asked = 0

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return [self.at]


@asynccontextmanager
async def speaking(speaker: Speaker, names: Names | None = None) -> AsyncIterator[tuple[str, Sender]]:
    """Its address, and who sends to it."""
    sender = Sender("t", resolve=(names or Names()).resolve)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, speaker.serve, 0, host="127.0.0.1"))
        yield f"http://receiver.example:{listener.socket.getsockname()[1]}/", sender
        sender.lines.close()
        nursery.cancel_scope.cancel()


async def post(sender: Sender, url: str, hook: str = "whk_a", *, private_network: bool = True) -> Answer:
    return await sender.post(url, {"webhook-id": "m"}, b"{}", private_network=private_network, hook=hook)


async def test_one_webhook_uses_its_connection_again_and_another_has_its_own() -> None:
    speaker, names = Speaker(*[OK] * 10), Names()
    async with speaking(speaker, names) as (url, sender):
        for hook in ("whk_a", "whk_a", "whk_b", "whk_a"):
            assert (await post(sender, url, hook)).delivered
        assert [number for number, _ in speaker.requests] == [1, 1, 2, 1]
        assert names.asked == 2
        assert (await post(sender, url, "")).delivered, "what is sent by hand leaves nothing behind"
        assert speaker.connections == 3
        assert b"connection: close" in speaker.requests[-1][1].lower()


async def test_a_connection_that_was_ended_meanwhile_costs_no_attempt() -> None:
    speaker = Speaker(OK)
    async with speaking(speaker) as (url, sender):
        for _ in range(5):
            assert (await post(sender, url)).delivered
        assert [number for number, _ in speaker.requests] == [1, 2, 3, 4, 5]


async def test_one_that_breaks_before_any_answer_is_tried_once_more_on_a_fresh_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It looks well when it is taken, and ends as the request comes."""
    speaker = Speaker(OK)
    async with speaking(speaker) as (url, sender):
        assert (await post(sender, url)).delivered
        await trio.testing.wait_all_tasks_blocked(0.01)
        monkeypatch.setattr("gateway.webhooks.lines.Line.is_good", True)
        assert (await post(sender, url)).delivered
        assert [number for number, _ in speaker.requests] == [1, 2]
        speaker.answers = (b"",)
        assert (await post(sender, url)).status == 0, "one fresh connection, and then it has failed"
        assert speaker.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nx",
    ],
    ids=["more-behind-it", "close", "old", "more-behind-chunks"],
)
async def test_a2_what_comes_behind_an_answer_answers_nothing(answer: bytes) -> None:
    """A receiver that answers ahead would have its next event taken for delivered that it was never sent."""
    speaker = Speaker(answer, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
    async with speaking(speaker) as (url, sender):
        assert (await post(sender, url)).delivered
        assert (await post(sender, url)).delivered
        assert [number for number, _ in speaker.requests] == [1, 2]


async def test_d2_a_name_is_asked_again_however_busy_its_connection_is(mock_clock: trio.testing.MockClock) -> None:
    """So one that leads inside by now is not followed for long."""
    speaker, names = Speaker(*[OK] * 1000), Names()
    async with speaking(speaker, names) as (url, sender):
        assert (await post(sender, url)).delivered
        names.at = "169.254.169.254"
        for _ in range(int(AGE_SECONDS_MAX / 4)):
            assert (await post(sender, url)).delivered
            mock_clock.jump(IDLE_SECONDS_MAX * 0.8)
        mock_clock.jump(IDLE_SECONDS_MAX * 0.8)
        refused = await post(sender, url)
        assert (refused.status, "public Internet" in refused.problem) == (0, True)
        assert speaker.connections == 1


async def test_a_connection_belongs_to_the_leave_that_it_was_dialled_with() -> None:
    speaker, names = Speaker(*[OK] * 10), Names()
    async with speaking(speaker, names) as (url, sender):
        assert (await post(sender, url)).delivered
        refused = await post(sender, url.replace("http:", "https:"), private_network=False)
        assert (refused.status, "public Internet" in refused.problem) == (0, True)


async def test_idle_connections_end_and_have_a_bound(mock_clock: trio.testing.MockClock) -> None:
    speaker = Speaker(*[OK] * (USES_MAX + 1))
    async with speaking(speaker) as (url, sender):
        for number in range(IDLE_MAX + 3):
            assert (await post(sender, url, f"whk_{number}")).delivered
        assert sum(map(len, sender.lines._idle.values())) == sender.lines._count == IDLE_MAX
        mock_clock.jump(IDLE_SECONDS_MAX)
        sender.lines.tidy()
        assert (sender.lines._count, dict(sender.lines._idle)) == (0, {})
        before = speaker.connections
        for _ in range(USES_MAX + 1):
            assert (await post(sender, url)).delivered
        assert speaker.connections == before + 2
        sender.lines.close()
