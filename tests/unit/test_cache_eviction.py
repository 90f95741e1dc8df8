"""Does the cache stay below its share, keep what is asked for, and find room to forget on a full disk?"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
import trio

from cache.keeping import eviction
from cache.keeping.eviction import BALLAST_BYTES, Evictor
from cache.keeping.pins import Pins, parse
from storage import disk
from storage.blobs.intake import Intake
from storage.blobs.shelf import BlobShelf
from storage.digest import sha256
from storage.nouns import Draft, File, Package, PutFile, PutPackage
from tests.harness.caches import cache_at
from tests.harness.ledgers import Ledger
from tests.harness.upstreams import noise
from tests.harness.waiting import comes

LARGE = 1 << 20


class Cache:
    """A shelf with a staging room."""

    def __init__(self, shelf: BlobShelf, root: Path) -> None:
        self.shelf = shelf
        self.root = root
        self._intake = Intake(root / "staging")

    def add(self, size: int, seed: int, place: str = "", evictor: Evictor | None = None) -> bytes:
        """As `cache.fills.keeper` does it."""
        body = noise(size, seed)
        with self._intake.stage() as staged:
            staged.write(body)
            staged.seal()
            self.shelf.put(staged, evictor.charge(staged.sha256, place) if evictor is not None else None)
        return sha256(body)

    def has(self, one: bytes) -> bool:
        return self.shelf.find(one) is not None

    @property
    def used(self) -> int:
        return sum(pack.bytes for pack in self.shelf.packs())


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        yield Cache(shelf, tmp_path / "cache")


def test_what_is_pinned_stays_however_little_it_is_asked_for(cache: Cache) -> None:
    """Large and small ones; and where nothing else is left, nothing goes."""
    kept = {cache.add(LARGE, 0), cache.add(1000, 1)}
    evictor = Evictor(cache.shelf, 8 * LARGE, pinned=lambda: kept)
    for seed in range(2, 40):
        cache.add(LARGE if seed % 2 else LARGE // 3, seed)
        evictor.make_room({})
    assert cache.used <= 9 * LARGE
    assert all(cache.has(one) for one in kept)
    everything = {one for pack in cache.shelf.packs() for one, _ in cache.shelf.members(pack.id)}
    full = Evictor(cache.shelf, LARGE, pinned=lambda: everything)
    full.make_room({})
    assert all(cache.has(one) for one in everything)


def test_pins_name_places_and_follow_what_is_published(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for name in ("one", "two"):
        file = File("f", "1", sha256(name.encode()), 3)
        ledger.write(
            Draft("acme", "main", "me", "test", (PutPackage("npm", Package(name)), PutFile("npm", name, file)))
        )
    found = {
        text: Pins(ledger.catalog, [parse(text)], ("npm", "pypi")).blobs()
        for text in ("acme/main", "acme/main/npm/two", "acme/main/pypi", "acme/other")
    }
    assert found["acme/main"] == {sha256(b"one"), sha256(b"two")}
    assert found["acme/main/npm/two"] == {sha256(b"two")}
    assert not found["acme/main/pypi"]
    assert not found["acme/other"]
    pins = Pins(ledger.catalog, [parse("acme/main/npm/two")], ("npm",))
    assert pins.blobs() == {sha256(b"two")}
    ledger.write(Draft("acme", "main", "me", "test", (PutFile("npm", "two", File("g", "2", sha256(b"new"), 3)),)))
    assert pins.blobs() == {sha256(b"two"), sha256(b"new")}
    for wrong in ("acme", "acme/", "", "acme/main/"):
        with pytest.raises(ValueError, match="is no pin"):
            parse(wrong)
    ledger.index.close()


def test_the_share_is_kept_and_what_was_asked_for_stays(cache: Cache) -> None:
    evictor = Evictor(cache.shelf, 8 * LARGE)
    blobs = [cache.add(LARGE, seed) for seed in range(20)]
    assert evictor.make_room({blobs[0]: 1, blobs[1]: 2}) > 0
    assert cache.used <= 8 * LARGE
    assert cache.has(blobs[0])
    assert cache.has(blobs[1])
    assert cache.has(blobs[19])
    assert not cache.has(blobs[2])
    assert evictor.make_room({}) == 0


def test_small_objects_that_were_hit_outlive_their_pack(cache: Cache) -> None:
    evictor = Evictor(cache.shelf, 4 * LARGE)
    small = [cache.add(50_000, seed) for seed in range(200)]
    first = [sha for sha, _ in cache.shelf.members(cache.shelf.packs()[0].id)]
    kept = [one for one in small if one in first][:3]
    evictor.make_room(dict.fromkeys(kept, 1))
    assert all(cache.has(one) for one in kept)
    assert [one for one in first if cache.has(one)] == [one for one in first if one in kept]
    assert cache.used <= 4 * LARGE + 2 * LARGE  # the current pack is still being written


def test_a_share_smaller_than_a_pack_is_kept_too(cache: Cache) -> None:
    evictor = Evictor(cache.shelf, 100_000)
    for seed in range(10):
        cache.add(50_000, seed)
    evictor.make_room({})
    assert cache.used == 0


def test_a_full_disk_is_relieved_although_the_share_is_not_used_up(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    evictor = Evictor(cache.shelf, 100 * LARGE, free_bytes_min=5 * LARGE)
    for seed in range(10):
        cache.add(LARGE, seed)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 2 * LARGE)
    before = cache.used
    assert 3 * LARGE <= evictor.make_room({}) < 5 * LARGE
    assert cache.used < before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), lmdb.DiskError("full")])
def test_e5_forgetting_on_a_full_disk_uses_the_ballast(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    evictor = Evictor(cache.shelf, 8 * LARGE)
    evictor.make_room({})
    ballast = cache.root / "ballast"
    assert ballast.stat().st_size == BALLAST_BYTES
    for seed in range(12):
        cache.add(LARGE, seed)
    real = cache.shelf.drop

    def drop(pack: int) -> None:
        if ballast.exists():
            raise error
        real(pack)

    monkeypatch.setattr(cache.shelf, "drop", drop)
    evictor.make_room({})
    assert cache.used <= 8 * LARGE
    assert not ballast.exists()
    evictor.make_room({})
    assert ballast.exists(), "it is laid again when there is room"


def test_hits_of_the_other_workers_count(cache: Cache) -> None:
    one, other = Evictor(cache.shelf, 4 * LARGE), Evictor(cache.shelf, 4 * LARGE)
    blobs = [cache.add(LARGE, seed) for seed in range(8)]
    other.hand_over({blobs[0]: 5})
    one.make_room({})
    assert cache.has(blobs[0])
    assert not cache.has(blobs[1])
    assert list((cache.root / "heat").glob("*.hits")) == []


def test_touches_are_bounded(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "TOUCHED_MAX", 3)
    evictor = Evictor(cache.shelf, LARGE)
    for number in range(10):
        evictor.touch(bytes((number,)) * 32)
        evictor.touch(bytes(32))
    assert evictor._touched == {bytes(32): 11, b"\1" * 32: 1, b"\2" * 32: 1}


async def test_one_worker_evicts_when_it_is_urged(cache: Cache) -> None:
    one, other = Evictor(cache.shelf, 4 * LARGE), Evictor(cache.shelf, 4 * LARGE)
    for seed in range(8):
        cache.add(LARGE, seed)
    with trio.fail_after(20):
        async with trio.open_nursery() as workers:
            workers.start_soon(one.run)
            workers.start_soon(other.run)
            await trio.testing.wait_all_tasks_blocked()
            one.urge()
            other.urge()
            for _ in range(1000):
                if cache.used <= 4 * LARGE:
                    break
                await trio.sleep(0.01)
            workers.cancel_scope.cancel()
    assert cache.used <= 4 * LARGE


async def test_whoever_finds_the_disk_full_is_heard_by_the_one_that_evicts(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eviction, "LOOK_SECONDS", 3600.0)
    one, other = Evictor(cache.shelf, 4 * LARGE), Evictor(cache.shelf, 4 * LARGE)
    descriptor = os.open(cache.root / "heat" / "lock", os.O_RDWR | os.O_CREAT)
    assert disk.lock(descriptor)  # neither evicts until it is let go
    with trio.fail_after(20):
        async with trio.open_nursery() as workers:
            workers.start_soon(one.run)
            workers.start_soon(other.run)
            await trio.testing.wait_all_tasks_blocked()
            for seed in range(8):
                cache.add(LARGE, seed)
            await trio.to_thread.run_sync(other.grew, LARGE)
            call = cache.root / "heat" / "urgent"
            await comes(call.exists)
            os.close(descriptor)
            await comes(lambda: cache.used <= 4 * LARGE and not call.exists())
            workers.cancel_scope.cancel()


async def test_a_little_growth_is_no_reason_to_look(cache: Cache) -> None:
    evictor = Evictor(cache.shelf, 1 << 30)
    calls: list[int] = []
    evictor.urge = lambda: calls.append(1)  # type: ignore[method-assign]
    for _ in range(16):
        evictor.grew(LARGE)
    assert calls == []
    evictor.grew(1)
    assert calls == [1]
