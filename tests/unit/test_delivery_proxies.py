"""Is a listed proxy believed, and nobody else? THREATS B2: what clients write into X-Forwarded-* means nothing."""

import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Proxies as Settings
from gateway.delivery.connections.proxies import V2_MARK, Arrivals, Proxies, introduction
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head, Refused
from gateway.delivery.messages.memo import CLIENTS_MAX, Entry, Memos, entry_of
from gateway.insight.metrics import Metrics
from tests.harness.loops import Client, started

LISTED = Proxies(Settings(("127.0.0.9/32", "10.0.0.0/8", "2001:db8:9::/48")))
INTRODUCING = Proxies(Settings(("127.0.0.9/32",), protocol=True))


def client_of(said: str) -> str:
    head = Head(headers={"x-forwarded-for": said}, peer="127.0.0.9")
    LISTED.resolve(head)
    return head.peer


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("1.1.1.1, 203.0.113.5", "203.0.113.5"),
        ("garbage, 203.0.113.5,10.1.1.1", "203.0.113.5"),
        ("203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db8::5]:4711", "2001:db8::5"),
        ("2001:DB8::5, 2001:db8:9::1", "2001:db8::5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
    ],
)
def test_b2_the_client_is_the_last_address_that_is_no_proxy(said: str, client: str) -> None:
    assert client_of(said) == client


@pytest.mark.parametrize(
    "said", ["unknown", "203.0.113.5, _hidden", "a.example, 10.1.1.1", "1.1.1.1,,", "10.0.0.1," * 40]
)
def test_b2_a_proxy_that_does_not_tell_is_refused_not_taken_for_the_client(said: str) -> None:
    with pytest.raises(Refused):
        client_of(said)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20), max_size=5))
def test_b2_nothing_that_a_client_writes_changes_who_it_is(words: list[str]) -> None:
    assert client_of(", ".join([*words, "203.0.113.5", "10.1.1.1"])) == "203.0.113.5"


async def test_b2_headers_count_from_listed_proxies_alone(nursery: trio.Nursery, tmp_path: Path) -> None:
    loop = await started(nursery, tmp_path, proxies=LISTED, log_path=tmp_path / "log")
    lines = ("X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: pkgs.example")
    direct, proxy = await loop.client("127.0.0.8"), await loop.client("127.0.0.9")
    for _ in range(3):  # the second time it is remembered, by the same bytes
        assert (await direct.get("/where", *lines)).body == b"127.0.0.8 http a"
        assert (await proxy.get("/where", *lines)).body == b"203.0.113.5 https pkgs.example"
    assert loop.fake.looked == 2
    assert (await proxy.get("/where", "X-Forwarded-For: 203.0.113.6")).body == b"203.0.113.6 http a"
    for _ in range(2):  # what a proxy asks for itself is not remembered: the next one sends the same bytes
        assert (await proxy.get("/where")).body == b"127.0.0.9 http a"
    assert loop.fake.looked == 5
    assert (await proxy.get("/where", "X-Forwarded-For: unknown")).status == 400
    proxy = await loop.client("127.0.0.9")
    assert (await proxy.get("/where", "X-Forwarded-Host: a b")).status == 400
    loop.log.flush()
    loop.log.close()
    told = (tmp_path / "log").read_text().splitlines()
    peers = [line.partition('"peer":"')[2].partition('"')[0] for line in told]
    assert peers[:7] == ["127.0.0.8", "203.0.113.5"] * 3 + ["203.0.113.6"]
    assert all(line.count('"peer"') == 1 for line in told)


async def test_what_hangs_on_the_address_is_remembered_for_it_alone(nursery: trio.Nursery, tmp_path: Path) -> None:
    """C: the same bytes from two addresses are two clients, in whichever order and on however many connections."""
    loop = await started(nursery, tmp_path)
    for source in ("127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"):
        client = await loop.client(source)
        for _ in range(3):
            assert (await client.get("/where")).body == f"{source} http a".encode()
    assert loop.fake.looked == 2
    await client.get("/small")
    other = await loop.client("127.0.0.4")
    await other.get("/small")
    await other.get("/small")
    assert loop.fake.looked == 4


def test_the_memos_of_addresses_are_bounded_and_a_retired_one_keeps_nothing(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics", 9)
    memos = Memos(1_000, lambda answer: None)

    def entry() -> Entry:
        made = Answer(body=b"x")
        made.by_address = True
        return entry_of(made, Head(), True, 1, metrics)

    general = memos.at_first("http", "10.0.0.1", proxied=False)
    first = memos.keep(general, "http", "10.0.0.1", b"a", entry())
    assert general.find(b"a") is None
    assert first.find(b"a") is not None
    assert memos.at_first("http", "10.0.0.1", proxied=False) is first
    assert memos.at_first("https", "10.0.0.1", proxied=False).find(b"a") is None
    for number in range(CLIENTS_MAX):
        memos.keep(general, "http", f"10.1.0.{number}", b"a", entry())
    assert first.find(b"a") is None
    again = memos.keep(first, "http", "10.0.0.1", b"a", entry())
    assert again is not first
    assert again.find(b"a") is not None
    memos.clear()
    assert again.find(b"a") is None


# ---------------------------------------------------------------- the PROXY protocol


def v2(command: int, family: int, addresses: bytes) -> bytes:
    return V2_MARK + struct.pack(">BBH", command, family, len(addresses)) + addresses


FOUR = socket.inet_aton("203.0.113.5") + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 4711, 80)
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::5") * 2 + struct.pack(">HH", 4711, 80)
GOOD = {
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4711 80\r\n": "203.0.113.5",
    b"PROXY TCP6 2001:db8::5 2001:db8::1 4711 80\r\n": "2001:db8::5",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": "",
    v2(0x21, 0x11, FOUR): "203.0.113.5",
    v2(0x21, 0x21, SIX + b"\x04\x00\x01x"): "2001:db8::5",
    v2(0x20, 0x00, b""): "",
    v2(0x21, 0x00, b""): "",
}


@pytest.mark.parametrize("data", GOOD)
def test_an_introduction_is_read_to_its_end_and_no_further(data: bytes) -> None:
    for cut in range(len(data)):
        assert introduction(data[:cut]) is None
    assert introduction(data) == (len(data), GOOD[data])
    assert introduction(data + b"GET / HTTP/1.1\r\n") == (len(data), GOOD[data])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 203.0.113.500 10.0.0.1 4711 80\r\n",
        b"PROXY TCP4 203.0.113.5\r\n",
        b"PROXY UNKNOWN" + b"x" * 200,
        v2(0x22, 0x11, FOUR),
        v2(0x21, 0x11, FOUR[:8]),
        v2(0x21, 0x31, FOUR),
        v2(0x21, 0x11, FOUR + b"x" * 1_000),
    ],
)
def test_what_is_no_introduction_lets_nobody_in(data: bytes) -> None:
    told = introduction(data)
    assert told is not None
    assert told[1] is None


async def closed(client: Client) -> bool:
    try:
        return await client.rest() == b""
    except trio.BrokenResourceError:
        return True


async def test_a_listed_proxy_introduces_its_clients_and_nobody_else_does(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    loop = await started(nursery, tmp_path, proxies=INTRODUCING, head_seconds_max=0.3)
    line = b"PROXY TCP4 203.0.113.5 10.0.0.1 4711 80\r\n"
    ask = b"GET /where HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"
    for pieces in ((line + ask,), (line, ask), (line[:9], line[9:] + ask), (v2(0x21, 0x11, FOUR), ask)):
        client = await loop.client("127.0.0.9")
        for piece in pieces:
            await client.send(piece)
            await trio.sleep(0.02)
        assert (await client.response()).body == b"203.0.113.5 http a"
        assert (await client.get("/small")).status == 200
    for source, sent in (("127.0.0.9", ask), ("127.0.0.9", b"PROXY"), ("127.0.0.9", b"")):
        client = await loop.client(source)
        await client.send(sent)
        assert await closed(client)
    stranger = await loop.client("127.0.0.8")
    await stranger.send(line + ask)
    assert (await stranger.response()).status == 400
    plain = await loop.client("127.0.0.8")
    assert (await plain.get("/where")).body == b"127.0.0.8 http a"


def test_a_network_that_is_none_is_told_at_the_start() -> None:
    make: Callable[[], Proxies] = lambda: Proxies(Settings(("10.0.0.1/8",)))  # noqa: E731
    with pytest.raises(ValueError, match="host bits"):
        make()


@dataclass
class _From:
    """What of a connection tells who sent a head."""

    peer: str = "192.0.2.1"
    key: bytes = b""
    proxied: bool = False
    scheme: str = "http"


async def test_b2_the_same_bytes_are_the_same_head_only_from_the_same_client_and_while_they_wait(
    nursery: trio.Nursery,
) -> None:
    """A crowd's heads are parsed and judged once; what another client sends is another's, whatever it looks like."""
    arrivals = Arrivals(Proxies(Settings()), nursery, 1.0, lambda *_: None)
    raw = b"GET /a/b/generic/c HTTP/1.1\r\nHost: a\r\n\r\n"
    head = arrivals.read(_From(), raw)
    assert arrivals.read(_From(), raw) is not head, "it was answered at once"
    head = arrivals.read(_From(), raw)
    head.looked = "in vain"
    assert arrivals.read(_From(), raw) is head
    for other in (_From("192.0.2.2"), _From(key=b"k" * 32), _From(scheme="https"), _From(proxied=True)):
        if other.proxied:
            with contextlib.suppress(Refused):
                assert arrivals.read(other, raw) is not head
            continue
        told = arrivals.read(other, raw)
        assert told is not head
        assert (told.peer, told.key, told.scheme) == (other.peer, other.key, other.scheme)
        head = arrivals.read(_From(), raw)
        head.looked = "in vain"
    assert arrivals.read(_From(), raw.replace(b"/c", b"/d")) is not head
