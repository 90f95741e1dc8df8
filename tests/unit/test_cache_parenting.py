"""Does a fetch go on at another parent, wherever the first one breaks or falls silent (THREATS F2, F8), and end where
nobody else has it?
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from cache.asking.bodies import Source
from cache.asking.parenting import LOST_CONNECT_SECONDS, UNREACHED_SECONDS, ParentRemote
from cache.asking.parents import Parents
from cache.asking.upstream import Remote
from cache.fills.filling import HOLD_BYTES
from cache.fills.flight import Flights
from cache.fills.keeper import Keeper
from storage.errors import UpstreamFailed
from tests.harness.caches import cache_at, drain
from tests.harness.upstreams import Item, Upstream, digests_of, noise, upstream

SIZE = 1_500_000


@pytest.fixture
def pair() -> Iterator[tuple[Upstream, Upstream]]:
    with upstream() as one, upstream() as two:
        yield one, two


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    with cache_at(tmp_path / "cache") as (_, made):
        yield made


def opener(remote: Remote, url: str) -> Callable[[int], Source]:
    return lambda offset: remote.open_stream(f"{url}/f", offset=offset, private_network=True)


def parents_of(*servers: Upstream) -> ParentRemote:
    return ParentRemote(Parents([one.url for one in servers]), "", connect_seconds_max=2, silence_seconds_max=1)


@pytest.mark.parametrize("cut_at", [0, 1, HOLD_BYTES, SIZE - 1])
@pytest.mark.parametrize("announced", [True, False])
async def test_f2_a_fetch_goes_on_at_another_parent_wherever_the_first_breaks(
    pair: tuple[Upstream, Upstream], keeper: Keeper, tmp_path: Path, nursery: trio.Nursery, cut_at: int, announced: bool
) -> None:
    """Without a digest only where nothing of it was there yet: two halves could be of two files."""
    body, (one, two) = noise(SIZE), pair
    one.items["/f"], two.items["/f"] = Item(body, cut_at=cut_at), Item(body)
    remote = parents_of(one, two)
    flights = Flights(nursery, keeper, tmp_path / "fills")
    fill = await flights.join(b"key", SIZE, digests_of(body) if announced else {}, opener(remote, one.url))
    if announced or not cut_at:
        assert await drain(fill) == body
        assert (one.count("/f"), two.count("/f")) == (1, 1)
    else:
        with pytest.raises(UpstreamFailed):
            await drain(fill)
    remote.close()


async def test_f2_a_parent_that_falls_silent_before_its_first_byte_is_left(
    pair: tuple[Upstream, Upstream], keeper: Keeper, tmp_path: Path, nursery: trio.Nursery
) -> None:
    body, (one, two) = noise(SIZE), pair
    one.items["/f"], two.items["/f"] = Item(body, pause_at=0), Item(body)
    remote = parents_of(one, two)
    fill = await Flights(nursery, keeper, tmp_path / "fills").join(
        b"key", SIZE, digests_of(body), opener(remote, one.url)
    )
    assert await drain(fill) == body
    one.items["/f"].gate.set()
    remote.close()


async def test_where_nobody_else_has_it_a_fetch_that_brings_nothing_is_not_repeated(
    pair: tuple[Upstream, Upstream], keeper: Keeper, tmp_path: Path, nursery: trio.Nursery
) -> None:
    body, (one, two) = noise(SIZE), pair
    one.items["/f"], two.items["/f"] = Item(body, cut_at=0), Item(body, cut_at=0)
    flights = Flights(nursery, keeper, tmp_path / "fills")
    for number, (remote, asked) in enumerate(
        [(Remote(silence_seconds_max=1), (1, 0)), (parents_of(one), (2, 0)), (parents_of(one, two), (3, 1))]
    ):
        with pytest.raises(UpstreamFailed):
            await drain(await flights.join(b"%d" % number, SIZE, digests_of(body), opener(remote, one.url)))
        assert (one.count("/f"), two.count("/f")) == asked
        remote.close()


def test_f2_while_the_origin_is_lost_nobody_waits_long_for_what_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is told when to come back, and no address of a parent."""
    now_s, dialled, lost = [1000.0], list[tuple[int, float]](), [False]

    def dial(address: str, port: int, seconds: float) -> socket.socket:
        dialled.append((port, seconds))
        raise TimeoutError

    parents = Parents(["http://127.0.0.1:1", "http://127.0.0.1:2"], lambda: now_s[0])
    remote = ParentRemote(parents, "", connect_seconds_max=5.0, lost=lambda: lost[0])
    monkeypatch.setattr(remote, "_dial", dial)
    monkeypatch.setattr("cache.asking.parenting.time.monotonic", lambda: now_s[0])

    def refused() -> list[tuple[int, float]]:
        dialled.clear()
        with pytest.raises(UpstreamFailed) as told:
            remote.open_stream("http://127.0.0.1:1/f", private_network=True)
        assert (told.value.status, told.value.retry_after_s) == (503, 2)
        assert "127.0.0.1" not in told.value.text()
        return sorted(dialled)

    assert refused() == [(1, 5.0), (2, 5.0)]
    lost[0] = True
    assert refused() == [(1, LOST_CONNECT_SECONDS), (2, LOST_CONNECT_SECONDS)]
    assert refused() == []
    now_s[0] += UNREACHED_SECONDS
    assert refused() == [(1, LOST_CONNECT_SECONDS), (2, LOST_CONNECT_SECONDS)]
    lost[0] = False
    assert refused() == [(1, 5.0), (2, 5.0)]


async def test_f2_once_the_origin_is_lost_no_connection_from_before_is_waited_on(
    pair: tuple[Upstream, Upstream],
) -> None:
    (one, _), lost, dialled = pair, [False], list[int]()
    one.items["/f"] = Item(b"here")
    remote = ParentRemote(Parents([one.url]), "", lost=lambda: lost[0])
    by_system = remote._dial

    def dial(address: str, port: int, seconds: float) -> socket.socket:
        dialled.append(port)
        return by_system(address, port, seconds)

    remote._dial = dial

    def read() -> int:
        body = remote.open_stream(f"{one.url}/f", private_network=True)
        assert body.readinto(memoryview(bytearray(9))) == 4
        assert body.readinto(memoryview(bytearray(9))) == 0
        body.close()
        return len(dialled)

    assert [read(), read()] == [1, 1]
    lost[0] = True
    assert [read(), read()] == [2, 2], "the one from before is not believed in, the one from since is"
    lost[0] = False
    assert read() == 2
    remote.close()


async def test_f2_whoever_waits_for_the_answer_of_a_parent_hears_that_it_fell_silent(nursery: trio.Nursery) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        remote = ParentRemote(Parents([url]), "", silence_seconds_max=600)

        async def falls_silent() -> None:
            asking, _ = await trio.to_thread.run_sync(mute.accept)
            with asking:
                assert await trio.to_thread.run_sync(asking.recv, 9)
                remote.silent(url)
                with suppress(ConnectionError):
                    while await trio.to_thread.run_sync(asking.recv, 999):
                        pass

        nursery.start_soon(falls_silent)
        with pytest.raises(UpstreamFailed):
            await trio.to_thread.run_sync(lambda: remote.open_stream(f"{url}/f", private_network=True))
        remote.close()
