"""Does a relayed request arrive as it was sent, once, and does its answer come back as it was given?"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from cache.asking.parents import Parents
from cache.following.relay import Relay, await_serial, parse_seen, passed_on, seen_at
from storage.errors import Unavailable, UpstreamFailed
from storage.index.catalog import Catalog


class Body:
    """A request body in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads = 0

    async def read(self, mv: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        count = min(len(mv), len(self._data))
        mv[:count], self._data = self._data[:count], self._data[count:]
        return count


class Origin:
    """A parent that answers what it is told to, one connection after the other; keeps what came."""

    def __init__(self, answer: bytes, *, early: bool = False) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._answer = answer
        self._early = early
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                head, body = self._head(connection)
                self.heads.append(head)
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
                )
                while not self._early and len(body) < length:
                    body += connection.recv(1 << 16)
                self.bodies.append(body)
                connection.sendall(self._answer)

    def _head(self, connection: socket.socket) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data and (piece := connection.recv(1 << 16)):
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@contextmanager
def origin(answer: bytes, *, early: bool = False) -> Iterator[Origin]:
    one = Origin(answer, early=early)
    try:
        yield one
    finally:
        one.close()


GOOD = (
    b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nEntrepot-Serial: w=7\r\n"
    b"Connection: close, X-Hop\r\nX-Hop: 1\r\n\r\nok"
)


async def test_a_write_arrives_whole_and_its_answer_comes_back() -> None:
    with origin(GOOD) as parent:
        relay, sent = Relay(Parents([parent.url + "/"])), b"x" * 700_000
        headers = {
            "authorization": "Bearer mine",
            "x-entrepot-peer": "forged",
            "te": "trailers",
            "expect": "100-continue",
        }
        answer = await relay.forward("PUT", b"/w/r/generic/a%20b?x=1", headers, "edge.test", len(sent), Body(sent))
        async with answer:
            assert (answer.status, answer.length, answer.header("Entrepot-Serial")) == (201, 2, "w=7")
            assert b"".join([chunk async for chunk in answer.chunks()]) == b"ok"
        await relay.close()
    assert parent.bodies == [sent]
    head = parent.heads[0].lower()
    assert head.startswith(b"put /w/r/generic/a%20b?x=1 http/1.1\r\n")
    assert b"authorization: bearer mine" in head
    assert b"host: edge.test" in head
    assert b"content-length: 700000" in head
    for never in (b"forged", b"trailers", b"100-continue", b"transfer-encoding"):
        assert never not in head
    assert [name.lower() for name, _ in answer.headers] == ["entrepot-serial"]


async def test_c13_a_cookie_that_one_client_is_given_is_not_sent_with_the_request_of_another() -> None:
    """The one way to every origin is shared by all clients of an edge; what their browsers keep is not."""
    given = b"HTTP/1.1 204 No Content\r\nSet-Cookie: entrepot=ens_mine; Path=/; HttpOnly\r\nConnection: close\r\n\r\n"
    with origin(given) as parent:
        relay = Relay(Parents([parent.url]))
        for sent in ({}, {}, {"cookie": "entrepot=ens_other"}):
            async with await relay.forward("POST", b"/-/sign-in", sent, "127.0.0.1", 0, Body(b"")) as answer:
                assert [value for name, value in answer.headers if name.lower() == "set-cookie"]
        await relay.close()
    assert [b"ens_mine" in head for head in parent.heads] == [False] * 3
    assert b"cookie: entrepot=ens_other" in parent.heads[2].lower()


async def test_an_early_answer_is_the_answer() -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with origin(refusal, early=True) as parent:
        relay = Relay(Parents([parent.url]))
        try:
            answer = await relay.forward("PUT", b"/f", {}, "edge.test", 100, Body(b"x" * 100))
            async with answer:
                assert answer.status == 401
        finally:
            await relay.close()


async def test_f2_an_origin_that_is_away_is_told_with_a_time_to_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    relay, body = Relay(Parents([f"http://127.0.0.1:{port}"])), Body(b"x")
    with pytest.raises(Unavailable) as away:
        await relay.forward("PUT", b"/f", {}, "edge.test", 1, body)
    assert away.value.retry_after_s == 2
    assert body.reads == 0, "what was not sent is still the client's"
    await relay.close()


async def test_a_write_that_may_have_arrived_is_not_sent_again() -> None:
    with origin(b"") as parent:
        relay = Relay(Parents([parent.url]))
        with pytest.raises(Unavailable):
            await relay.forward("PUT", b"/f", {}, "edge.test", 1, Body(b"x"))
        await relay.close()
    assert len(parent.heads) == 1


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with origin(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort") as parent:
        relay = Relay(Parents([parent.url]))
        async with await relay.forward("GET", b"/f", {}, "edge.test", 0, Body(b"")) as answer:
            with pytest.raises(UpstreamFailed):
                [chunk async for chunk in answer.chunks()]
        await relay.close()


def test_what_is_passed_on() -> None:
    pairs = [
        ("Connection", "X-One, keep-alive"),
        ("X-One", "1"),
        ("X-Two", "2"),
        ("Upgrade", "h2c"),
        ("X-Entrepot-P", "1"),
    ]
    assert passed_on(pairs) == [("X-Two", "2")]


# ---------------------------------------------------------------- read your own write


class Growing:
    """A catalog whose Serial grows with the mocked clock: one a second."""

    def moment(self) -> int:
        return int(trio.current_time())

    def read(self) -> "Growing":
        return self

    def __enter__(self) -> "Growing":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def serial(self, workspace: str) -> int:
        return int(trio.current_time()) if workspace == "w" else 0


async def test_a_write_is_told_when_this_edge_has_seen_it(autojump_clock: MockClock) -> None:
    start_s = trio.current_time()
    catalog = cast(Catalog, Growing())
    target = int(start_s) + 5
    assert await await_serial(catalog, "w", target, 10)
    assert trio.current_time() - start_s <= 5.01
    assert not await await_serial(catalog, "w", target + 100, 3)
    assert not await await_serial(catalog, "other", 1, 3)


async def test_f3_serials_of_another_history_are_none(autojump_clock: MockClock) -> None:
    catalog, start_s = cast(Catalog, Growing()), trio.current_time()
    assert await await_serial(catalog, "w", 0, 10, lambda: trio.current_time() >= start_s + 5)
    assert trio.current_time() - start_s >= 5
    assert not await await_serial(catalog, "w", 0, 3, lambda: False)


def test_what_a_node_says_that_it_knows_is_read_strictly() -> None:
    assert parse_seen(seen_at("acme", 12)) == ("acme", 12)
    assert parse_seen(seen_at("", 12)) == ("", 12)
    for wrong in ("", "acme", "acme=", "acme=-1", "acme=1.0", "acme=٣", "acme=99999999999999999999"):
        assert parse_seen(wrong) is None
