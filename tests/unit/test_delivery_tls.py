"""Does TLS in the loop give each client its own bytes, whole, and nobody else's?"""

import random
import socket
import ssl
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.delivery.connections.tls import Certificates
from gateway.delivery.loop import reactor as reactor_module
from gateway.delivery.messages.answers import Answer
from gateway.delivery.requests.request import Request
from tests.harness.certificates import certificate
from tests.harness.loops import LARGE, SMALL, Client, Loop, started


def client_context(*, http2: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context


async def secured(nursery: trio.Nursery, folder: Path, *names: str, **limits: float) -> Loop:
    certificates = Certificates([certificate(folder, name) for name in names or ("a.test",)])
    return await started(nursery, folder, context=certificates.context, **limits)


async def connected(
    loop: Loop, name: str = "a.test", context: ssl.SSLContext | None = None
) -> tuple[Client, trio.SSLStream[trio.SocketStream]]:
    plain = await loop.client()
    assert isinstance(plain.stream, trio.SocketStream)
    stream = trio.SSLStream(plain.stream, context or client_context(), server_hostname=name, https_compatible=True)
    with trio.fail_after(10):
        await stream.do_handshake()
    return Client(stream), stream


async def test_a_round_of_everything(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path)
    client, stream = await connected(loop, context=client_context(http2=True))
    assert stream.selected_alpn_protocol() == "http/1.1"
    for _ in range(2):
        assert (await client.get("/small")).body == SMALL
        assert (await client.get("/large")).body == LARGE
        assert (await client.get("/large", "Range: bytes=69990-3000010")).body == LARGE[69_990:3_000_011]
        assert (await client.get("/slow")).body == b"slow"
    loop.fake.pages["/rendered"] = Answer(body=LARGE[:1_000_000])
    assert (await client.get("/rendered")).body == LARGE[:1_000_000]


@pytest.mark.parametrize("size", [1, 16_384, 70_000, 3_000_000])
async def test_uploads(nursery: trio.Nursery, tmp_path: Path, size: int) -> None:
    loop = await secured(nursery, tmp_path)
    client, _ = await connected(loop)
    await client.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + LARGE[:size])
    assert (await client.response()).body == str(size).encode()
    assert loop.fake.received == LARGE[:size]
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(p), p) for p in (LARGE[:size][n : n + 9_999] for n in range(0, size, 9_999))
    )
    await client.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert (await client.response()).body == str(size).encode()
    assert await client.is_kept()


async def test_pipelines_behind_a_large_answer_come_back_in_order(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path)
    client, _ = await connected(loop)
    ask = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
    await client.send(b"".join(ask % name for name in (b"large", b"small", b"slow", b"large", b"small")))
    assert [(await client.response()).body for _ in range(5)] == [LARGE, SMALL, b"slow", LARGE, SMALL]


async def test_the_credential_and_the_scheme_are_seen(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path)

    async def tell(request: Request) -> None:
        await request.reply(200, (), f"{request.head.scheme} {request.head.secret}".encode())

    loop.fake.tasks["/tell"] = tell
    client, _ = await connected(loop)
    assert (await client.get("/tell", "Authorization: Bearer x")).body == b"https x"


async def test_connections_interleaved_at_random_never_see_each_others_bytes(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    """Every client asks for its own pages in scattered packets; a byte of another would break its TLS or its text."""
    loop = await secured(nursery, tmp_path)
    chosen = random.Random(5)

    async def one(number: int) -> None:
        text = f"client {number} ".encode()
        loop.fake.pages[f"/{number}"] = Answer(body=text * 20_000)
        client, _ = await connected(loop)
        for turn in range(12):
            data = f"GET /{number} HTTP/1.1\r\nHost: a\r\nX-Turn: {turn}\r\n\r\n".encode()
            for at in range(0, len(data), 17):
                await client.send(data[at : at + 17])
                if chosen.random() < 0.5:
                    await trio.lowlevel.checkpoint()
            assert (await client.response()).body == text * 20_000

    async with trio.open_nursery() as clients:
        for number in range(8):
            clients.start_soon(one, number)
    assert loop.reactor._seal.is_empty


async def test_the_shared_buffers_are_empty_after_every_step(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    turn = reactor_module.Reactor._turn

    def watched(self: reactor_module.Reactor) -> int:
        nonlocal steps
        steps += 1
        assert self._seal.is_empty
        done = turn(self)
        assert self._seal.is_empty
        return done

    monkeypatch.setattr(reactor_module.Reactor, "_turn", watched)
    loop = await secured(nursery, tmp_path)
    for _ in range(3):
        client, _ = await connected(loop)
        await client.get("/large")
        await client.get("/slow")
        await client.stream.aclose()
    assert steps


async def test_a_client_that_breaks_tls_harms_nobody(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path)
    good, _ = await connected(loop)
    for junk in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    ):
        bad = await loop.client()
        await bad.send(junk)
        assert await good.is_kept()
        await bad.stream.aclose()
    broken, stream = await connected(loop)
    await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with pytest.raises((EOFError, trio.BrokenResourceError)):
        await broken.response()
    assert await good.is_kept()
    assert loop.reactor._seal.is_empty


async def test_a_handshake_that_does_not_go_on_is_ended(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path, head_seconds_max=0.2)
    silent, half = await loop.client(), await loop.client()
    await half.send(b"\x16\x03\x01\x02\x00\x01\x00")
    assert await silent.rest() == b""
    assert await half.rest() == b""


async def test_more_handshakes_than_a_turn_may_do(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path)
    done = []

    async def one() -> None:
        client, _ = await connected(loop)
        done.append((await client.get("/small")).body)

    async with trio.open_nursery() as clients:
        for _ in range(24):
            clients.start_soon(one)
    assert done == [SMALL] * 24


async def test_a_goodbye_ends_the_connection_on_both_sides(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path)
    client, _ = await connected(loop)
    got = await client.get("/small", "Connection: close")
    assert got.body == SMALL
    assert await client.rest() == b""  # a close_notify, since an end without one would raise here
    await client.stream.aclose()
    other, stream = await connected(loop)
    await other.get("/small")
    await stream.aclose()
    with trio.fail_after(5):
        while loop.reactor.busy:  # noqa: ASYNC110
            await trio.sleep(0.02)


def name_of(stream: trio.SSLStream[trio.SocketStream]) -> str:
    told = stream.getpeercert(binary_form=True)
    assert told is not None
    subject = x509.load_der_x509_certificate(told).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def test_the_certificate_is_chosen_by_the_name(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await secured(nursery, tmp_path, "a.test", "b.test", "*.c.test")
    for asked, got in (
        ("a.test", "a.test"), ("b.test", "b.test"), ("B.TEST", "b.test"), ("x.c.test", "*.c.test"),
        ("x.y.c.test", "a.test"), ("unknown.test", "a.test"),
    ):  # fmt: skip
        client, stream = await connected(loop, asked)
        assert name_of(stream) == got
        assert await client.is_kept()


async def test_certificates_are_read_again_without_a_restart(nursery: trio.Nursery, tmp_path: Path) -> None:
    listed = [certificate(tmp_path, "a.test"), certificate(tmp_path, "b.test")]
    certificates = Certificates(listed)
    loop = await started(nursery, tmp_path, context=certificates.context)

    async def serial(name: str) -> int:
        _, stream = await connected(loop, name)
        told = stream.getpeercert(binary_form=True)
        assert told is not None
        return x509.load_der_x509_certificate(told).serial_number

    before = [await serial("a.test"), await serial("b.test"), await serial("other.test")]
    certificate(tmp_path, "a.test")
    listed[1][1].write_text("broken")
    with pytest.raises(ssl.SSLError, match=str(listed[1][1])):
        certificates.reload()
    assert [await serial("a.test"), await serial("b.test"), await serial("other.test")] == before
    certificate(tmp_path, "b.test")
    certificates.reload()
    after = [await serial("a.test"), await serial("b.test"), await serial("other.test")]
    assert not set(after) & set(before)
    assert after[0] == after[2]


def test_tls_without_a_certificate_is_an_error() -> None:
    with pytest.raises(ValueError):
        Certificates([])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_and_resumption(nursery: trio.Nursery, tmp_path: Path, version: ssl.TLSVersion) -> None:
    loop = await secured(nursery, tmp_path)
    context = client_context()
    context.minimum_version = context.maximum_version = version

    def twice() -> list[bool]:
        resumed = []
        session = None
        for _ in range(2):
            with socket.create_connection(loop.address) as plain:
                with context.wrap_socket(plain, server_hostname="a.test", session=session) as sock:
                    sock.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    while sock.recv(4096):
                        pass
                    session = sock.session
                    resumed.append(bool(sock.session_reused))
        return resumed

    assert await trio.to_thread.run_sync(twice) == [False, True]
