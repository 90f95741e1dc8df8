"""Is a foreign file by its path asked for as seldom as possible, streamed, judged, and masked when its owner fails?

THREATS B1 (one repository's), B5 (errors are not kept), B6 (one fetch), B7 (broken means broken), D1 (digests).
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lmdb
import msgspec
import pytest
import trio

from cache.asking.upstream import Remote
from cache.fills.filling import HOLD_BYTES
from cache.fills.flight import Flights
from cache.fills.keeper import Keeper
from cache.foreign.files import ForeignFiles, Usable, Where
from cache.keeping.shelf import Shelf
from formats.kit.contract import Pull
from storage.blobs.shelf import BlobShelf
from storage.errors import Absent, Unavailable, UpstreamFailed
from storage.nouns import Upstream as Source
from tests.harness.caches import cache_at, drain
from tests.harness.upstreams import Item, Upstream, noise, upstream

JAR = Pull("a/x.jar", immutable=True, also=("sha1", "md5"))
INDEX = Pull("dists/InRelease")
BODY = noise(300_000)


class World:
    """One node with a clock of its own, and two upstreams."""

    def __init__(self, root: Path, shelf: Shelf, blobs: BlobShelf, keeper: Keeper, servers: list[Upstream]) -> None:
        self.one, self.two = servers
        self.shelf = shelf
        self.blobs = blobs
        self.fills = root / "fills"
        self.keeper = keeper
        self.clock_ms = 1_800_000_000_000
        self.remote = Remote(connect_seconds_max=2, silence_seconds_max=2)
        self.where = Where("acme", "main", "maven", "acme/main/maven/a/x.jar", (self.source(self.one),))

    def source(self, server: Upstream) -> Source:
        return Source("maven", f"{server.url}/", fresh_s=300, negative_s=60, private_network=True)

    def later(self, seconds: float) -> None:
        self.clock_ms += int(seconds * 1000)

    def files(self, nursery: trio.Nursery, **more: object) -> ForeignFiles:
        settings: dict[str, object] = {
            "secret_of": lambda workspace, repository, one: f"secret of {one.url}",
            "stale_seconds_max": 3600,
            "now_ms": lambda: self.clock_ms,
        }
        flights = Flights(nursery, self.keeper, self.fills)
        here = lambda sha256: self.blobs.find(sha256) is not None  # noqa: E731
        return ForeignFiles(self.shelf, self.remote, flights, here, **(settings | more))  # type: ignore[arg-type]

    def bytes_of(self, usable: Usable) -> bytes:
        located = self.blobs.find(usable.record.sha256)
        assert located is not None
        return b"".join(os.pread(fd, length, offset) for fd, offset, length in located.extents)

    async def got(self, files: ForeignFiles, pull: Pull, where: Where | None = None) -> bytes:
        """What a client gets in the end."""
        arriving = await files.of(where or self.where, pull)
        if arriving is None:
            return self.bytes_of(self.peek(files, pull, where))
        body = await drain(arriving.fill)
        await arriving.fill.done()
        return body

    def peek(self, files: ForeignFiles, pull: Pull, where: Where | None = None) -> Usable:
        usable = files.peek(where or self.where, pull)
        assert usable is not None
        return usable


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    env = lmdb.open(str(tmp_path / "records"), map_size=64 << 20, max_dbs=16, sync=False)
    with upstream() as one, upstream() as two, cache_at(tmp_path / "cache") as (blobs, keeper):
        made = World(tmp_path, Shelf(env), blobs, keeper, [one, two])
        yield made
        made.remote.close()
        made.shelf.close()
    env.close()


async def test_what_never_changes_is_asked_for_once(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/a/x.jar"] = Item(BODY, headers={"Content-Type": "application/java-archive", "ETag": '"up"'})
    files = world.files(nursery)
    assert files.peek(world.where, JAR) is None
    assert await world.got(files, JAR) == BODY
    assert world.one.asked[-1].headers["authorization"] == f"secret of {world.one.url}/"
    world.later(10_000_000)
    usable = world.peek(files, JAR)
    assert usable.until_s == float("inf")
    assert (usable.record.media, usable.record.size, usable.record.etag) == (
        "application/java-archive",
        len(BODY),
        '"up"',
    )
    assert usable.record.digests == {
        "sha1": hashlib.sha1(BODY).hexdigest(),
        "md5": hashlib.md5(BODY).hexdigest(),
    }
    assert await files.of(world.where, JAR) is None
    assert world.one.count("/a/x.jar") == 1


async def test_o4_bytes_come_while_the_upstream_still_sends(world: World, nursery: trio.Nursery) -> None:
    item = world.one.items["/a/x.jar"] = Item(BODY, pause_at=200_000, headers={"X-Kept": "yes"})
    files = world.files(nursery)
    arriving = await files.of(world.where, replaced(JAR, headers=("x-kept",)))
    assert arriving is not None
    assert arriving.record.headers == (("x-kept", "yes"),)
    assert arriving.fill.size == len(BODY)
    assert await arriving.fill.wait(0) > 0
    assert files.peek(world.where, JAR) is None
    item.gate.set()
    assert await drain(arriving.fill) == BODY


def read_out(world: World, files: ForeignFiles, pull: Pull) -> bytes:
    """What goes past the cache, to its end."""
    passing = files.passing(world.where, pull)
    assert passing is not None
    buffer, found = memoryview(bytearray(65_536)), b""
    try:
        while count := passing.source.readinto(buffer):
            found += buffer[:count]
    finally:
        passing.source.close()
    return found


async def test_e5_what_passes_without_a_told_length_is_counted_and_judged(world: World, nursery: trio.Nursery) -> None:
    """Larger than it may be, and other than its own header announces: neither is known before its end."""
    files = world.files(nursery)
    item = world.one.items["/a/x.jar"] = Item(BODY, chunked=True)
    announced = replaced(JAR, announced=(("x-checksum-sha1", "sha1"),))
    assert read_out(world, files, JAR) == BODY
    with pytest.raises(UpstreamFailed, match="larger than it may be"):
        read_out(world, files, replaced(JAR, bytes_max=len(BODY) - 1))
    item.headers = {"X-Checksum-Sha1": hashlib.sha1(BODY).hexdigest()}
    assert read_out(world, files, announced) == BODY
    item.headers = {"X-Checksum-Sha1": "0" * 40}
    with pytest.raises(UpstreamFailed, match="its own answer"):
        read_out(world, files, announced)
    item.headers = {}
    item.cut_at = 200_000
    with pytest.raises(UpstreamFailed):
        read_out(world, files, JAR)
    assert files.peek(world.where, JAR) is None


async def test_b6_many_waiters_share_one_question(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/a/x.jar"] = Item(BODY, chunked=True)
    files, other = world.files(nursery), world.files(nursery)
    found: list[bytes] = []

    async def ask(whom: ForeignFiles) -> None:
        found.append(await world.got(whom, JAR))

    async with trio.open_nursery() as asking:
        for number in range(40):
            asking.start_soon(ask, other if number % 2 else files)
    assert found == [BODY] * 40
    assert world.one.count("/a/x.jar") == 1


async def test_o9_what_may_change_is_renewed_by_its_validator(world: World, nursery: trio.Nursery) -> None:
    stamp = "Tue, 24 Nov 2026 08:00:00 GMT"
    world.one.items["/dists/InRelease"] = Item(b"one", headers={"ETag": '"a"', "Last-Modified": stamp})
    files = world.files(nursery)
    assert await world.got(files, INDEX) == b"one"
    world.later(299)
    assert not world.peek(files, INDEX).stale
    world.later(2)
    assert files.peek(world.where, INDEX) is None
    world.one.items["/dists/InRelease"] = Item(status=304)
    assert await files.of(world.where, INDEX) is None
    asked = world.one.asked[-1].headers
    assert (asked["if-none-match"], asked["if-modified-since"]) == ('"a"', stamp)
    assert world.bytes_of(world.peek(files, INDEX)) == b"one"
    world.later(301)
    world.one.items["/dists/InRelease"] = Item(b"two", headers={"ETag": '"b"'})
    assert await world.got(files, INDEX) == b"two"
    assert world.peek(files, INDEX).record.etag == '"b"'


@pytest.mark.parametrize("status", [404, 410])
async def test_b5_absence_is_remembered_for_its_time(world: World, nursery: trio.Nursery, status: int) -> None:
    world.one.items["/a/x.jar"] = Item(b"no", status)
    files = world.files(nursery)
    for _ in range(3):
        with pytest.raises(Absent):
            await files.of(world.where, JAR)
        with pytest.raises(Absent):
            files.peek(world.where, JAR)
    assert world.one.count("/a/x.jar") == 1
    world.later(61)
    world.one.items["/a/x.jar"] = Item(BODY)
    assert await world.got(files, JAR) == BODY


BROKEN = {
    "500": Item(b"x", 500),
    "503": Item(b"x", 503, headers={"Retry-After": "7"}),
    "429": Item(b"x", 429),
    "401": Item(b"x", 401),
    "unasked 304": Item(b"", 304),
    "no answer": Item(raw=b"nonsense\r\n\r\n"),
    "a web page": Item(b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"}),
    "encoded": Item(b"x", headers={"Content-Encoding": "br"}),
    "cut": Item(BODY, cut_at=100_000),
    "too large": Item(b"x" * 1_000_001),
    "too large, untold": Item(b"x" * 1_000_001, chunked=True),
    "announced otherwise": Item(BODY, headers={"X-Checksum-Sha1": "0" * 40}),
    "wrong at the end": Item(BODY, wrong_last=True, headers={"X-Checksum-Sha1": hashlib.sha1(BODY).hexdigest()}),
    "wrong sha256": Item(BODY, headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}),
}
STRICT = Pull(
    "a/x.jar",
    bytes_max=1_000_000,
    announced=(("x-checksum-sha1", "sha1"), ("docker-content-digest", "sha256")),
)


@pytest.mark.parametrize("kind", BROKEN)
async def test_b5_b7_d1_what_is_no_whole_file_is_not_kept(world: World, nursery: trio.Nursery, kind: str) -> None:
    item = world.one.items["/a/x.jar"] = BROKEN[kind]
    world.two.items["/a/x.jar"] = Item(b"a stranger's")
    files = world.files(nursery)
    both = replace(world.where, upstreams=(world.source(world.one), world.source(world.two)))
    with pytest.raises((UpstreamFailed, Unavailable)):
        await world.got(files, STRICT, both)
    assert files.peek(both, STRICT) is None
    assert world.blobs.find(hashlib.sha256(item.body).digest()) is None
    assert world.two.asked == [], "one that fails is not passed over"
    world.one.items["/a/x.jar"] = Item(BODY, headers={"X-Checksum-Sha1": hashlib.sha1(BODY).hexdigest().upper()})
    assert await world.got(files, STRICT, both) == BODY


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind != "unasked 304"])
async def test_o8_the_kept_copy_masks_a_failure(world: World, nursery: trio.Nursery, kind: str) -> None:
    world.one.items["/a/x.jar"] = Item(b"good")
    files = world.files(nursery)
    assert await world.got(files, STRICT) == b"good"
    world.later(301)
    world.one.items["/a/x.jar"] = BROKEN[kind]
    asked = world.one.count("/a/x.jar")
    for _ in range(3):
        assert await world.got(files, STRICT) == b"good"
        assert world.peek(files, STRICT).stale
    assert world.one.count("/a/x.jar") - asked <= 4, "the upstream is left alone for a while"
    world.later(4000)
    with pytest.raises((UpstreamFailed, Unavailable)):
        await world.got(files, STRICT)


async def test_a_slow_upstream_is_waited_for_only_so_long(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/dists/InRelease"] = Item(b"one")
    files = world.files(nursery, patience_s=0.05)
    assert await world.got(files, INDEX) == b"one"
    world.later(301)
    item = world.one.items["/dists/InRelease"] = Item(silent=True)
    assert await world.got(files, INDEX) == b"one"
    assert world.peek(files, INDEX).stale
    item.gate.set()


async def test_b7_a_break_reaches_who_reads(world: World, nursery: trio.Nursery) -> None:
    size = 3_000_000
    world.one.items["/a/x.jar"] = Item(noise(size), cut_at=2_000_000)
    arriving = await world.files(nursery).of(world.where, JAR)
    assert arriving is not None
    with pytest.raises(UpstreamFailed):
        await drain(arriving.fill)
    assert arriving.fill.available <= size - HOLD_BYTES


async def test_the_next_upstream_is_asked_where_the_first_has_none(world: World, nursery: trio.Nursery) -> None:
    world.two.items["/a/x.jar"] = Item(BODY)
    both = replace(world.where, upstreams=(world.source(world.one), world.source(world.two)))
    files = world.files(nursery)
    assert await world.got(files, JAR, both) == BODY
    assert await files.of(both, JAR) is None
    assert (world.one.count("/a/x.jar"), world.two.count("/a/x.jar")) == (1, 1)


async def test_known_digests_must_hold_and_allow_to_go_on(world: World, nursery: trio.Nursery) -> None:
    pull = Pull("a/x.jar", immutable=True, digests={"sha256": hashlib.sha256(BODY).hexdigest()})
    world.one.items["/a/x.jar"] = Item(BODY, wrong_last=True)
    files = world.files(nursery)
    with pytest.raises(UpstreamFailed):
        await world.got(files, pull)
    world.one.items["/a/x.jar"] = Item(BODY)
    assert await world.got(files, pull) == BODY
    assert world.peek(files, pull).record.size == len(BODY)


async def test_evicted_bytes_are_fetched_again_without_condition(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/a/x.jar"] = Item(BODY, headers={"ETag": '"a"'})
    gone: set[bytes] = set()
    flights = Flights(nursery, world.keeper, world.fills)
    files = ForeignFiles(
        world.shelf, world.remote, flights, lambda one: one not in gone and world.blobs.find(one) is not None
    )
    assert await world.got(files, JAR) == BODY
    gone.add(hashlib.sha256(BODY).digest())
    assert files.peek(world.where, JAR) is None
    arriving = await files.of(world.where, JAR)
    assert arriving is not None
    assert await drain(arriving.fill) == BODY
    assert "if-none-match" not in world.one.asked[-1].headers


async def test_an_edge_asks_its_parent_by_the_clients_path(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/acme/main/maven/a/x.jar"] = Item(b"one", headers={"X-Kept": "yes"})
    edge = world.files(nursery, parent=world.one.url + "/", token="canary")
    pull = Pull("ignored/here", headers=("x-kept",))
    assert await world.got(edge, pull) == b"one"
    assert world.one.asked[-1].headers["authorization"] == "Bearer canary"
    world.later(31)
    world.one.items["/acme/main/maven/a/x.jar"] = Item(status=304)
    assert await world.got(edge, pull) == b"one"
    assert world.one.asked[-1].headers["if-none-match"] == f'"{hashlib.sha256(b"one").hexdigest()}"'
    assert world.peek(edge, pull).record.headers == (("x-kept", "yes"),)


async def test_b1_a_file_is_one_repositorys(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/a/x.jar"] = Item(BODY)
    files = world.files(nursery)
    await world.got(files, JAR)
    for other in (
        replace(world.where, repository="other"),
        replace(world.where, workspace="other"),
        replace(world.where, format="deb"),
        replace(world.where, upstreams=(world.source(world.two),)),
    ):
        assert files.peek(other, JAR) is None
    assert files.peek(world.where, replaced(JAR, accept="text/plain")) is None


async def test_a_header_that_could_harm_is_not_passed_on(world: World, nursery: trio.Nursery) -> None:
    odd = {"Content-Type": "no media type", "ETag": 'W/"weak"', "X-Long": "x" * 2001, "X-Odd": "a\x7fb"}
    world.one.items["/a/x.jar"] = Item(b"x", headers=odd)
    files = world.files(nursery)
    pull = replaced(JAR, headers=("x-long", "x-odd"))
    await world.got(files, pull)
    record = world.peek(files, pull).record
    assert (record.media, record.headers) == ("application/octet-stream", ())
    assert record.etag == f'"{hashlib.sha256(b"x").hexdigest()}"'


def replaced(pull: Pull, **changes: object) -> Pull:
    return msgspec.structs.replace(pull, **changes)


# ---------------------------------------------------------------- registries that count requests (OCI)

TAG = Pull("v2/app/manifests/1", "x/y", looked="docker-content-digest", lies_at="v2/app/manifests/sha256:")


async def test_o8_a_file_that_came_by_its_tag_is_there_by_its_digest(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/v2/app/manifests/1"] = Item(b"manifest")
    files = world.files(nursery)
    assert await world.got(files, TAG) == b"manifest"
    text = hashlib.sha256(b"manifest").hexdigest()
    lasting = Pull(TAG.lies_at + text, "x/y", immutable=True, digests={"sha256": text})
    assert world.peek(files, lasting).until_s == float("inf")
    assert len(world.one.asked) == 1
    assert files.peek(world.where, replaced(lasting, accept="z")) is None
    elsewhere = replace(world.where, repository="other")
    assert files.peek(elsewhere, lasting) is None, "only where it was pulled"


async def test_o8_one_that_answers_no_more_is_left_alone_for_all_its_files(world: World, nursery: trio.Nursery) -> None:
    world.one.items["/v2/app/manifests/1"] = Item(b"manifest")
    files = world.files(nursery)
    assert await world.got(files, TAG) == b"manifest"
    world.later(301)
    world.one.items["/v2/app/manifests/1"] = Item(status=429, headers={"Retry-After": "60"})
    assert await world.got(files, TAG) == b"manifest", "masked by the copy"
    asked = len(world.one.asked)
    for pull in (JAR, INDEX):
        with pytest.raises(Unavailable) as refused:
            await world.got(files, pull)
        assert 0 < (refused.value.retry_after_s or 0) <= 61
    assert len(world.one.asked) == asked


async def test_c1_bytes_that_are_here_for_one_place_are_no_answer_for_another(
    world: World, nursery: trio.Nursery
) -> None:
    """A digest that is known beforehand names bytes that another repository has: their owner is asked all the same."""
    files, known = (
        world.files(nursery),
        msgspec.structs.replace(JAR, digests={"sha256": hashlib.sha256(BODY).hexdigest()}),
    )
    world.one.items["/a/x.jar"] = Item(BODY)
    assert await world.got(files, known) == BODY
    other = replace(world.where, repository="other", target="acme/other/maven/a/x.jar")
    assert await world.got(files, known, other) == BODY
    assert world.one.count("/a/x.jar") == 2
    strangers = replace(other, repository="third", upstreams=(world.source(world.two),))
    with pytest.raises(Absent):
        await world.got(files, known, strangers)
