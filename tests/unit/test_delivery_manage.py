"""Does the management application get only what passed the strict front, and the client only whole answers?"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

from gateway.delivery.messages.heads import Head, parse
from gateway.delivery.requests.manage import BODY_BYTES_MAX, Management, forwarded
from gateway.delivery.requests.request import Request
from tests.harness.loops import Client, Fake, Loop, started


def make_app() -> QuartTrio:
    app = QuartTrio("manage")

    @app.route("/-/echo", methods=["GET", "POST", "DELETE"])
    async def echo() -> dict[str, object]:
        return {
            "method": request.method,
            "path": request.full_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "size": len(await request.get_data()),
        }

    @app.route("/-/stream")
    async def stream() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d" % number * 10_000

        return Response(parts())

    @app.route("/-/broken")
    async def broken() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"x" * 10_000
            raise RuntimeError("in the middle")

        return Response(parts())

    @app.route("/-/nothing", methods=["DELETE"])
    async def nothing() -> tuple[str, int]:
        return "", 204

    @app.route("/-/refused")
    async def refused() -> tuple[str, int, dict[str, str]]:
        return "no", 401, {"WWW-Authenticate": "Basic"}

    return app


class Front(Fake):
    def __init__(self, folder: Path, management: Management) -> None:
        super().__init__(folder)
        self.management = management

    async def handle(self, request: Request) -> None:
        if request.head.segments[0] == "-":
            self.seen.append(request.head.raw_path)
            await self.management.proxy(request)
        else:
            await super().handle(request)


async def managed(nursery: trio.Nursery, folder: Path, socket_path: Path) -> tuple[Loop, Client]:
    management = Management(make_app(), socket_path)
    await nursery.start(management.run)
    loop = await started(nursery, folder, handler=Front(folder, management))
    return loop, await loop.client()


@pytest.fixture
async def client(nursery: trio.Nursery, tmp_path: Path) -> Client:
    return (await managed(nursery, tmp_path, tmp_path / "m.sock"))[1]


async def test_requests_of_all_kinds_on_one_connection(client: Client) -> None:
    got = await client.get("/-/echo?a=1&b=%20", "X-A: 1")
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    assert b'"/-/echo?a=1&b=%20"' in got.body or b"/-/echo?a=1&b= " in got.body
    assert (await client.get("/-/stream")).body == b"".join(b"%d" % number * 10_000 for number in range(3))
    assert (await client.get("/-/nothing", method="DELETE")).status == 204
    assert (await client.get("/-/refused")).headers["www-authenticate"] == "Basic"
    assert (await client.get("/-/absent")).status == 404
    assert int((await client.get("/-/echo", method="HEAD")).headers["content-length"]) > 10
    assert await client.is_kept()


@pytest.mark.parametrize("size", [0, 5_000, 200_000])
async def test_bodies_arrive_whole_however_they_are_framed(client: Client, size: int) -> None:
    await client.send(b"POST /-/echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert f'"size":{size}'.encode() in (await client.response()).body.replace(b" ", b"")
    await client.send(b"POST /-/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send((b"%x\r\n" % size + b"x" * size + b"\r\n" if size else b"") + b"0\r\n\r\n")
    assert f'"size":{size}'.encode() in (await client.response()).body.replace(b" ", b"")
    assert await client.is_kept()


async def test_a11_a_body_over_the_cap_is_refused(client: Client) -> None:
    await client.send(b"POST /-/echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1))
    assert (await client.response()).status == 413


async def test_what_the_application_trusts_cannot_be_sent_by_a_client(client: Client) -> None:
    got = await client.get("/-/echo", "X-Entrepot-Peer: 6.6.6.6", "X-Entrepot-Scheme: gopher", "X-Entrepot-Admin: 1")
    text = got.body.replace(b" ", b"")
    assert b'"x-entrepot-peer":"127.0.0.1"' in text
    assert b'"x-entrepot-scheme":"http"' in text
    assert b"admin" not in text


async def test_an_answer_that_breaks_off_is_broken_off_for_the_client(client: Client) -> None:
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await client.get("/-/broken")


@pytest.mark.parametrize(
    ("shape", "status"),
    [
        (b"POST /-/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /-/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400),
        (b"POST /-/echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /-/echo HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /-/echo HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET /-/echo HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400),
        (b"GET /-/../echo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /-/%2e%2e/echo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"POST /-/echo HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 1\r\n\r\n", 417),
        (b"POST /-/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
    ],
)
async def test_a1_a2_a3_a6_the_strict_front_stands_before_the_application_too(
    nursery: trio.Nursery, tmp_path: Path, shape: bytes, status: int
) -> None:
    loop, client = await managed(nursery, tmp_path, tmp_path / "m.sock")
    await client.send(shape + b"GET /-/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.response()).status == status
    assert await client.rest() == b""
    assert "/-/smuggled" not in loop.fake.seen


async def test_a3_an_upgrade_is_never_taken_up(client: Client) -> None:
    got = await client.get("/-/echo", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    assert got.status == 200
    assert b"upgrade" not in got.body.lower()
    assert b"http2" not in got.body.lower()
    assert await client.is_kept()


def test_what_goes_on_is_written_anew() -> None:
    head = parse(
        b"GET http://a/-/x?q=%2F HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
        b"X-Keep: 2\r\nX-Entrepot-Peer: 6.6.6.6\r\n\r\n",
        peer="192.0.2.1",
    )
    sent = forwarded(head, 7)
    assert sent.target == b"/-/x?q=%2F"
    assert dict(sent.headers) == {
        b"x-keep": b"2", b"host": b"a", b"connection": b"close", b"content-length": b"7",
        b"x-entrepot-peer": b"192.0.2.1", b"x-entrepot-scheme": b"http",
    }  # fmt: skip
    assert dict(forwarded(Head(), 0).headers)[b"host"] == b"localhost"


async def test_a_socket_deep_down_the_tree_only_its_owner_may_open(nursery: trio.Nursery, tmp_path: Path) -> None:
    """A socket address holds 108 bytes; the directory of a node may be longer."""
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    _, client = await managed(nursery, tmp_path, deep / "m.sock")
    assert (await client.get("/-/refused")).status == 401
    assert (deep / "m.sock").stat().st_mode & 0o077 == 0


async def test_before_it_runs_it_is_unavailable(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, handler=Front(tmp_path, Management(make_app(), tmp_path / "m.sock")))
    assert (await (await loop.client()).get("/-/echo")).status == 503
