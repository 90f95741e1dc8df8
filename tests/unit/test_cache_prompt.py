"""Is a part of a file asked for on the loop where that goes, and left to the ordinary way where anything is unusual?"""

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from cache.asking.addresses import place
from cache.asking.openness import LOOK_SECONDS, REST_SECONDS, RETRY_SECONDS, Openness
from cache.asking.parenting import HERE, ParentRemote
from cache.asking.parents import Parents
from cache.asking.prompt import HEAD_BYTES_MAX, part_of, request_of
from cache.fills.flight import Flights
from cache.fills.keeper import Keeper
from storage.errors import UpstreamFailed
from tests.harness.caches import cache_at
from tests.harness.certificates import certificate
from tests.harness.upstreams import Item, Upstream, noise, upstream

BODY = noise(400_000)
AT, SIZE = 100_000, 300_000


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    with cache_at(tmp_path / "cache") as (_, made):
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[Upstream, Upstream]]:
    with upstream() as one, upstream() as two:
        for server in (one, two):
            server.items["/f"], server.items[HERE] = Item(BODY), Item(status=204)
        yield one, two


def remote_of(*servers: Upstream, silence_s: float = 5.0) -> ParentRemote:
    return ParentRemote(Parents([one.url for one in servers]), "", connect_seconds_max=2, silence_seconds_max=silence_s)


async def read(flights: Flights, remote: ParentRemote, url: str) -> bytes | None:
    """The part as a client would get it; None where it cannot be had alone."""
    opener = partial(remote.open_stream, f"{url}/f", offset=AT, length=SIZE, private_network=True)
    at_once = partial(remote.at_once, f"{url}/f", {}, AT, SIZE)
    bypass = await flights.pass_by(opener, AT, SIZE, at_once)
    if bypass is None:
        return None
    found = b""
    async with bypass:
        while len(found) < SIZE:
            found += await bypass.read(SIZE - len(found))
    return found


# ---------------------------------------------------------------- on the loop


async def test_a_part_comes_on_the_loop_over_the_open_connection(pair: tuple[Upstream, Upstream]) -> None:
    one, _ = pair
    remote = remote_of(one)
    assert await remote.at_once(f"{one.url}/f", {}, AT, SIZE) is None, "nothing is open"
    remote.greet(one.url)
    for _ in range(3):
        body = await remote.at_once(f"{one.url}/f", {"authorization": "theirs"}, AT, SIZE)
        assert body is not None
        assert (body.status, body.offset, body.length) == (206, AT, SIZE)
        assert body.ready(0), "its first bytes are here"
        found, buffer = b"", memoryview(bytearray(50_000))
        while count := body.readinto(buffer):
            found += buffer[:count]
        assert found == BODY[AT:]
        body.close()
    assert one.connections == 1
    assert "authorization" not in one.asked[-1].headers, "an edge shows its own credential or none"
    remote.close()


async def test_a_part_comes_over_tls_too_and_the_connection_is_used_in_both_ways(
    keeper: Keeper, tmp_path: Path, nursery: trio.Nursery
) -> None:
    name, chain, key = certificate(tmp_path, "parent.test")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(chain, key)
    client_side = ssl.create_default_context(cafile=str(chain))
    with upstream(server_side) as one:
        one.items["/f"], one.items[HERE] = Item(BODY), Item(status=204)
        url = one.url.replace("http:", "https:")
        remote = ParentRemote(
            Parents([url]), "", tls=client_side, tls_name=name, connect_seconds_max=5, silence_seconds_max=5
        )
        flights = Flights(nursery, keeper, tmp_path / "fills")
        remote.greet(url)
        assert await read(flights, remote, url) == BODY[AT:]
        assert remote.fetch_document(f"{url}/f", private_network=True).body == BODY
        assert await read(flights, remote, url) == BODY[AT:]
        assert one.connections == 1
        remote.close()


HEAD = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100000-399999/400000\r\nContent-Length: 300000\r\n"
UNUSUAL = {
    "another range": HEAD.replace(b"100000-", b"100001-"),
    "two lengths": HEAD + b"Content-Length: 300000\r\n",
    "no length": HEAD.replace(b"Content-Length", b"X-Length"),
    "chunked": HEAD + b"Transfer-Encoding: chunked\r\n",
    "encoded": HEAD + b"Content-Encoding: gzip\r\n",
    "the last answer": HEAD + b"Connection: close\r\n",
    "all of it": HEAD.replace(b"206", b"200"),
    "overloaded": b"HTTP/1.1 503 No\r\nContent-Length: 300000\r\n",
    "an old version": HEAD.replace(b"1.1", b"1.0", 1),
    "no head": b"\0" * 100 + b"\r\n",
    "folded": HEAD + b"X: a\r\n b\r\n",
    "a bare line end": HEAD + b"X: a\nY: b\r\n",
    "a head without end": b"HTTP/1.1 206 Partial Content\r\nX: " + b"x" * 2 * HEAD_BYTES_MAX,
    "nothing": b"",
}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_d1_whatever_is_unusual_is_left_to_the_ordinary_way(
    pair: tuple[Upstream, Upstream], keeper: Keeper, tmp_path: Path, nursery: trio.Nursery, name: str
) -> None:
    """What that makes of it is what it always made of it: here the second answer is a good one."""
    one, _ = pair
    remote = remote_of(one)
    remote.greet(one.url)
    raw = UNUSUAL[name] + b"\r\n" + BODY[AT:] if UNUSUAL[name] else b"\r\n\r\n"
    item = one.items["/f"] = Item(raw=raw)
    assert await remote.at_once(f"{one.url}/f", {}, AT, SIZE) is None
    assert one.connections == 1
    assert not remote.open_to(one.url, 100), "and its connection is not used again"
    item.raw, item.body = b"", BODY
    assert await read(Flights(nursery, keeper, tmp_path / "fills"), remote, one.url) == BODY[AT:]
    remote.close()


@pytest.mark.parametrize("falls", ["closed", "silent", "told silent"])
async def test_f2_a_parent_that_is_gone_costs_the_part_nothing_but_time(
    pair: tuple[Upstream, Upstream], keeper: Keeper, tmp_path: Path, nursery: trio.Nursery, falls: str
) -> None:
    one, two = pair
    remote = remote_of(one, two, silence_s=0.3 if falls == "silent" else 30)
    remote.greet(one.url)
    flights = Flights(nursery, keeper, tmp_path / "fills")
    if falls == "closed":
        for connection in list(one._open):
            connection.shutdown(socket.SHUT_RDWR)
    else:
        one.items["/f"].silent = True
    got: list[bytes | None] = []

    async def ask() -> None:
        got.append(await read(flights, remote, one.url))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        if falls == "told silent":
            while not one.count("/f"):  # noqa: ASYNC110 - the server's thread has no event for us
                await trio.sleep(0.01)
            remote._parents.silent(one.url)
    assert got == [BODY[AT:]]
    assert (one.connections, two.count("/f")) == ((2, 0) if falls == "closed" else (1, 1))
    remote.close()


async def test_who_leaves_while_a_part_is_asked_for_takes_the_connection_along(pair: tuple[Upstream, Upstream]) -> None:
    one, _ = pair
    remote = remote_of(one)
    remote.greet(one.url)
    one.items["/f"].silent = True
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(remote.at_once, f"{one.url}/f", {}, AT, SIZE)
            while not one.count("/f"):  # noqa: ASYNC110 - the server's thread has no event for us
                await trio.sleep(0.01)
            scope.cancel()
    assert not remote.open_to(one.url, 100)
    assert not remote._asked
    remote.close()


@pytest.mark.parametrize("bad", ["a b", "a\r\nX: y", "a\nb", "", "ä"])
def test_a5_what_could_be_read_as_more_than_one_request_is_not_sent(bad: str) -> None:
    here = place("http://127.0.0.1:80/f")
    assert request_of(here, {"x": "a b"}, "entrepot") is not None
    if bad != "a b":
        assert request_of(here, {"x": bad}, "entrepot") is None
    assert request_of(replace(here, target=bad), {}, "entrepot") is None


def test_a_head_as_nodes_write_it_is_read() -> None:
    raw = HEAD + b'ETag: "x"\r\nX-Empty:\r\nConnection: keep-alive\r\n\r\nfirst'
    part = part_of(raw, raw.index(b"\r\n\r\n"))
    assert part is not None
    assert part.early == b"first"
    assert ("Content-Length", "300000") in part.getheaders()
    assert ("X-Empty", "") in part.getheaders()


# ---------------------------------------------------------------- the way is kept open


async def at_once(call: object, *arguments: object) -> object:
    """In the place of a thread."""
    assert callable(call)
    return call(*arguments)


async def test_one_way_is_open_from_the_start_and_the_first_part_takes_it(
    pair: tuple[Upstream, Upstream], keeper: Keeper, tmp_path: Path, nursery: trio.Nursery
) -> None:
    one, two = pair
    remote = remote_of(one, two)
    openness = Openness(remote._parents, remote)
    for _ in range(5):
        await openness.look(at_once)
    assert (one.connections, one.count(HERE), two.connections) == (1, 1, 0), "one, and it is left alone"
    assert await read(Flights(nursery, keeper, tmp_path / "fills"), remote, one.url) == BODY[AT:]
    assert (one.connections, one.count("/f")) == (1, 1), "no handshake"
    remote.close()


async def test_a_way_that_was_closed_is_opened_again_and_after_a_failover_one_to_the_next_parent(
    pair: tuple[Upstream, Upstream],
) -> None:
    one, two = pair
    remote = remote_of(one, two)
    openness = Openness(remote._parents, remote)
    await openness.look(at_once)
    remote._pool.close()
    await openness.look(at_once)
    assert (one.connections, two.connections) == (2, 0)
    remote._parents.silent(one.url)
    await openness.look(at_once)
    await openness.look(at_once)
    assert (one.connections, two.connections) == (2, 1)
    assert remote.open_to(two.url, 100)
    remote.close()


class Clockwork:
    """A way of which it is told whether it is open, and what was asked of it."""

    def __init__(self) -> None:
        self.rested_s = float("inf")
        self.fails = False
        self.greeted: list[str] = []

    def open_to(self, parent: str, age_s: float) -> bool:
        return self.rested_s < age_s

    def greet(self, parent: str) -> None:
        self.greeted.append(parent)
        if self.fails:
            raise UpstreamFailed("It does not answer.")
        self.rested_s = 0.0


async def test_f2_edges_come_back_one_after_the_other_and_ever_more_seldom() -> None:
    """Each has its own chance, and so its own pauses; none asks more often than it may."""
    chances = [0.0, 0.25, 0.5, 0.75, 1.0]
    pauses = []
    for chance in chances:
        way = Clockwork()
        way.fails = True
        openness = Openness(Parents(["http://127.0.0.1:1"]), way, chance=lambda chance=chance: chance)
        pauses.append([await openness.look(at_once) for _ in range(20)])
        assert len(way.greeted) == 20
    assert len({tuple(one) for one in pauses}) == len(chances)
    for number, spread in enumerate(zip(*pauses, strict=True)):
        most = min(RETRY_SECONDS[0] * 2 ** (number + 1), RETRY_SECONDS[1])
        assert min(spread) == most / 2
        assert max(spread) == most


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
async def test_a_way_that_rests_is_asked_before_it_is_too_old_and_not_before(chance: float) -> None:
    way = Clockwork()
    openness = Openness(Parents(["http://127.0.0.1:1"]), way, chance=lambda: chance)
    pause_s = await openness.look(at_once)
    assert LOOK_SECONDS / 2 <= pause_s <= LOOK_SECONDS
    due_s = REST_SECONDS[0] + chance * (REST_SECONDS[1] - REST_SECONDS[0])
    way.rested_s = due_s - 0.001
    await openness.look(at_once)
    assert len(way.greeted) == 1
    way.rested_s = due_s
    await openness.look(at_once)
    assert len(way.greeted) == 2


async def test_a_parent_that_rests_is_not_asked() -> None:
    way = Clockwork()
    parents = Parents(["http://127.0.0.1:1"], now_s=lambda: 100.0)
    parents.failed(parents.urls[0])
    assert await Openness(parents, way).look(at_once) <= LOOK_SECONDS
    assert not way.greeted


def test_the_parents_refusal_is_no_open_way(pair: tuple[Upstream, Upstream]) -> None:
    one, _ = pair
    one.items[HERE] = Item(b"who are you", status=401)
    remote = remote_of(one)
    with pytest.raises(UpstreamFailed, match="401"):
        remote.greet(one.url)
    assert not remote.open_to(one.url, 100)
    remote.close()


def test_the_looks_may_come_from_threads(pair: tuple[Upstream, Upstream]) -> None:
    one, _ = pair
    remote = remote_of(one)
    threads = [threading.Thread(target=remote.greet, args=(one.url,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert remote.open_to(one.url, 100)
    assert one.connections <= 6
    remote.close()
