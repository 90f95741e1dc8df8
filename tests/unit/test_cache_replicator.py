"""Does a node bring what it is to hold, as far as there is room, past what fails, and does it stop where the disk is
full?"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from cache.asking.upstream import Remote
from cache.fills.filling import Opener
from cache.fills.flight import Flights
from cache.fills.keeper import Keeper
from cache.replication.holding import Holding, Wish
from cache.replication.replicator import FILE_NAME, Held, Progress, Replicator, Retries
from storage.blobs.shelf import BlobShelf
from storage.nouns import (
    Draft,
    DropRepository,
    File,
    Package,
    PutFile,
    PutPackage,
    PutQuarantine,
    PutRepository,
    Quarantine,
    Replication,
    Repository,
)
from tests.harness.caches import cache_at
from tests.harness.ledgers import Ledger
from tests.harness.upstreams import Item, Upstream, digests_of, noise, upstream
from tests.harness.waiting import comes

SIZE = 10_000


class Disk:
    """What is known of the disk's room."""

    def __init__(self) -> None:
        self.full = False

    def has_room(self, size: int) -> bool:
        return not self.full


class Edge:
    """A node in asia: an index, a cache, and a parent that has the files."""

    def __init__(self, root: Path, ledger: Ledger, shelf: BlobShelf, keeper: Keeper, parent: Upstream) -> None:
        self.root, self.ledger, self.shelf, self.keeper, self.parent = root, ledger, shelf, keeper, parent
        self.disk = Disk()
        self.remote = Remote(connect_seconds_max=2, silence_seconds_max=5)
        self.progress = Progress(root / FILE_NAME)
        self.now_ms = 1_000_000

    def policy(self, *policies: Replication) -> None:
        self.ledger.write(
            Draft("acme", "main", "t", "t", (PutRepository(Repository("acme", "main", replications=policies)),))
        )

    def publish(self, name: str, *, served: bool = True) -> bytes:
        body = noise(SIZE) + name.encode()
        sha256 = bytes.fromhex(digests_of(body)["sha256"])
        if served:
            self.parent.items[f"/{name}"] = Item(body)
        changes = (
            PutPackage("generic", Package(name)),
            PutFile("generic", name, File(name, "", sha256, len(body))),
        )
        self.ledger.write(Draft("acme", "main", "t", "t", changes))
        return sha256

    def holding(self, bytes_max: int = 1 << 30) -> Holding:
        return Holding(self.ledger.catalog, "asia", ("generic",), bytes_max, lambda: self.now_ms)

    def replicator(self, nursery: trio.Nursery, holding: Holding | None = None) -> Replicator:
        def source(wish: Wish) -> Opener:
            url = f"{self.parent.url}/{wish.file.name}"
            return lambda offset: self.remote.open_stream(url, offset=offset, private_network=True)

        flights = Flights(nursery, self.keeper, self.root / "fills")
        return Replicator(
            self.ledger.catalog,
            holding or self.holding(),
            self.shelf,
            flights,
            source,
            self.disk,
            self.progress,
            lambda: self.now_ms,
        )

    def has(self, sha256: bytes) -> bool:
        return self.shelf.holds(sha256) is not None


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    ledger = Ledger(tmp_path / "ledger")
    with upstream() as parent, cache_at(tmp_path / "cache") as (shelf, keeper):
        one = Edge(tmp_path / "cache", ledger, shelf, keeper, parent)
        one.policy(Replication("asia"))
        yield one
        one.remote.close()
    ledger.close()


def told(edge: Edge) -> Held:
    return next(iter(edge.progress.read()), Held("", ""))


async def test_what_is_wanted_comes_and_one_that_fails_holds_nothing_up(edge: Edge, nursery: trio.Nursery) -> None:
    """O19: the file that the parent lacks is tried again later, and tells why it is not here."""
    good = [edge.publish(f"f{number}") for number in range(5)]
    bad = edge.publish("a-bad", served=False)
    nursery.start_soon(edge.replicator(nursery).run)
    await comes(lambda: told(edge).here_files == 5 and bool(told(edge).problem))
    held = told(edge)
    assert all(edge.has(one) for one in good)
    assert (held.files, held.here_files, held.whole_serial) == (6, 5, 0)
    assert "a-bad" in held.problem
    assert held.lag_ms(edge.now_ms + 500) == 500
    edge.parent.items["/a-bad"] = Item(noise(SIZE) + b"a-bad")
    await comes(lambda: told(edge).whole_serial == told(edge).serial)
    assert edge.has(bad)
    assert told(edge).problem == ""
    assert told(edge).lag_ms(edge.now_ms + 500) == 0


async def test_a_full_disk_stops_the_work_and_is_told(edge: Edge, nursery: trio.Nursery) -> None:
    edge.disk.full = True
    sha256 = edge.publish("f")
    nursery.start_soon(edge.replicator(nursery).run)
    await comes(lambda: bool(told(edge).problem))
    assert "no room" in told(edge).problem
    assert not edge.has(sha256)
    assert edge.parent.count("/f") == 0


async def test_what_does_not_fit_is_left_out_by_the_one_who_fetches_and_the_one_who_evicts(
    edge: Edge, nursery: trio.Nursery
) -> None:
    shas = [edge.publish(f"f{number}") for number in range(3)]
    holding = edge.holding(2 * (SIZE + 10))
    nursery.start_soon(edge.replicator(nursery, holding).run)
    await comes(lambda: told(edge).here_files == 2)
    held = told(edge)
    assert held.left_out_bytes == SIZE + 2
    assert "do not fit" in held.problem
    assert edge.holding(2 * (SIZE + 10)).blobs() == set(shas[:2])
    assert not edge.has(shas[2])


def test_a_policy_that_is_cleared_narrowed_or_overruled_lets_go(edge: Edge) -> None:
    """Quarantined and dropped things are not held either."""
    one, two = edge.publish("one"), edge.publish("two")
    holding = edge.holding()
    assert holding.blobs() == {one, two}
    edge.policy(Replication("asia", packages=("on*",)), Replication("europe"))
    assert holding.blobs() == {one}
    edge.ledger.write(Draft("acme", "main", "t", "t", (PutQuarantine(Quarantine("generic", "one")),)))
    assert holding.blobs() == set()
    edge.policy(Replication("europe"))
    assert holding.blobs() == set()
    edge.policy(Replication("asia"))
    assert holding.blobs() == {two}
    edge.ledger.write(Draft("acme", "main", "t", "t", (DropRepository("acme", "main"),)))
    assert holding.blobs() == set()


def test_retries_come_later_and_later_and_not_all_at_once() -> None:
    now = [0.0]
    retries = Retries(lambda: now[0])
    pauses = []
    for _ in range(12):
        retries.failed(b"x")
        assert retries.resting(b"x")
        pauses.append(retries.soonest_s())
        now[0] += pauses[-1] + 0.001
        assert not retries.resting(b"x")
    assert pauses[0] <= 1.0
    assert 30.0 <= pauses[-1] <= 60.0
    retries.worked(b"x")
    assert retries.soonest_s() == float("inf")
