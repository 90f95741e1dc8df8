"""Blobs that share bytes: composed, read, verified, deleted beside each other, made anew from packs (THREATS E8)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.messages.answers import cut
from storage.blobs.chunker import Cut
from storage.blobs.ledger import BlobRow, PackRow
from storage.blobs.shelf import BlobShelf
from storage.digest import sha256
from storage.nouns import DropFile
from storage.open import Store, rebuild_index
from storage.upkeep.composing import Composer
from storage.upkeep.verify import verify
from tests.harness.stores import content, opened, publish, write
from tests.harness.sweeping import swept
from tests.harness.versions import edited, layer, model, wheel

OLD = model(size=17 << 20)
NEW = edited(OLD, 6 << 20, 2 << 20)
THIRD = edited(NEW, 12 << 20, 1 << 20, seed=5)


def cut_all(shelf: BlobShelf) -> None:
    composer = Composer(shelf)
    while composer.work():
        pass


def row_of(shelf: BlobShelf, data: bytes) -> BlobRow | None:
    with shelf.env.begin() as txn:
        return shelf.ledger.blob(txn, sha256(data))


def packs_of(shelf: BlobShelf) -> dict[int, PackRow]:
    with shelf.env.begin() as txn:
        return dict(shelf.ledger.packs(txn))


def on_disk(shelf: BlobShelf) -> int:
    return sum(path.stat().st_size for path in shelf.root.glob("*.pack"))


def bytes_of(shelf: BlobShelf, data: bytes) -> bytes:
    located = shelf.find(sha256(data))
    assert located is not None
    return located.read()


def is_whole(root: Path) -> None:
    report = verify(root, deep=True)
    assert report.problems == []


async def versions(store: Store, *datas: bytes) -> None:
    for number, data in enumerate(datas):
        await publish(store, f"v{number}", data)
        cut_all(store.blobs)


async def test_a_next_version_is_stored_as_what_is_new(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD, NEW)
        first, second = row_of(store.blobs, OLD), row_of(store.blobs, NEW)
        assert first is not None
        assert second is not None
        assert (first.cut, first.saved, len(first.extents)) == (Cut.CONTENT, 0, 1)
        assert second.cut is Cut.CONTENT
        assert second.saved > 0.8 * len(NEW)
        assert on_disk(store.blobs) < len(OLD) + len(NEW) - second.saved + (64 << 10)
        assert len(second.extents) < 8
        shared = [extent.length for extent in second.extents if extent.pack == first.extents[0].pack]
        assert min(shared) >= 32 << 10
        assert len(NEW) / len(second.extents) > 128 << 10
        assert bytes_of(store.blobs, OLD) == OLD
        assert bytes_of(store.blobs, NEW) == NEW
        live = sum(row.live for row in packs_of(store.blobs).values())
        assert live == len(OLD) + len(NEW) - second.saved
        assert len(list(store.blobs.root.glob("*.pack"))) == 2
    is_whole(tmp_path)


SEEDS = [*range(20)]
PAIRS = {
    "wheel": (wheel(SEEDS), wheel([99, *SEEDS[1:]])),
    "tar": (layer(SEEDS), layer([99, *SEEDS[1:]], mtime=77)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_archives_too(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    with opened(tmp_path) as store:
        await versions(store, *pair)
        row = row_of(store.blobs, pair[1])
        assert row is not None
        assert row.saved > 0.8 * len(pair[1])
        assert bytes_of(store.blobs, pair[1]) == pair[1]
    is_whole(tmp_path)


async def test_what_shares_nothing_stays_whole_and_costs_little(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD, model(9, 17 << 20))
        rows = [row_of(store.blobs, data) for data in (OLD, model(9, 17 << 20))]
        assert [len(row.extents) if row else 0 for row in rows] == [1, 1]
        assert on_disk(store.blobs) < 1.001 * 2 * (17 << 20)
    is_whole(tmp_path)


async def test_deleted_beside_another_that_shares_its_chunks(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD, NEW, THIRD)
        old = row_of(store.blobs, OLD)
        assert old is not None
        before = packs_of(store.blobs)[old.extents[0].pack].live
        with store.index.env.begin(write=True) as txn:
            store.blobs.ledger.remove(txn, sha256(OLD))
        after = packs_of(store.blobs)[old.extents[0].pack].live
        assert before == len(OLD)
        assert len(OLD) - (4 << 20) < after < len(OLD)
        assert row_of(store.blobs, OLD) is None
        assert bytes_of(store.blobs, NEW) == NEW
        assert bytes_of(store.blobs, THIRD) == THIRD
        with store.index.env.begin(write=True) as txn:
            store.blobs.ledger.remove(txn, sha256(NEW))
            store.blobs.ledger.remove(txn, sha256(THIRD))
        assert [row.live for row in packs_of(store.blobs).values()] == [0, 0, 0]


async def test_a_pack_that_others_still_need_is_emptied_by_its_chunks(tmp_path: Path) -> None:
    """O2, E11: after the first version is deleted, its pack is swept; what the next ones share moves."""
    first, second = model(31, 20 << 20), model(32, 20 << 20)
    mixed = first[: 4 << 20] + second[: 14 << 20]
    later = first[1 << 20 : 3 << 20] + second[2 << 20 : 18 << 20]
    with opened(tmp_path) as store:
        await versions(store, first, second, mixed, later)
        rows = [row_of(store.blobs, data) for data in (mixed, later)]
        assert all(row is not None and row.saved > 0.9 * row.size for row in rows)
        before = store.blobs.find(sha256(mixed))
        await write(store, DropFile("generic", "pkg", "v0"))
        told = swept(store)
        assert told.damaged == []
        assert told.reclaimed_bytes > len(first)
        assert on_disk(store.blobs) < len(second) + (6 << 20)
        assert before is not None
        assert before.read() == mixed
        assert bytes_of(store.blobs, mixed) == mixed
        assert bytes_of(store.blobs, later) == later
        again = model(33, 1 << 20) + first[: 4 << 20] + second
        await publish(store, "again", again)
        cut_all(store.blobs)
        row = row_of(store.blobs, again)
        assert row is not None
        assert row.saved > 0.9 * (len(again) - (1 << 20))
        assert swept(store).reclaimed_bytes == 0
        await write(store, DropFile("generic", "pkg", "v1"))
        assert swept(store).damaged == []
    is_whole(tmp_path)
    assert rebuild_index(tmp_path)[1] == 0
    is_whole(tmp_path)
    with opened(tmp_path) as store:
        for data in (mixed, later, again):
            assert bytes_of(store.blobs, data) == data


async def test_a_damaged_pack_is_left_as_it_is_by_sweep(tmp_path: Path) -> None:
    first, second = model(31, 20 << 20), model(32, 20 << 20)
    mixed = first[: 4 << 20] + second[: 14 << 20]
    with opened(tmp_path) as store:
        await versions(store, first, second, mixed)
        row = row_of(store.blobs, first)
        assert row is not None
        with store.blobs.path(row.extents[0].pack).open("r+b") as file:
            file.seek(row.extents[0].offset + (1 << 20))
            file.write(b"rot")
        await write(store, DropFile("generic", "pkg", "v0"))
        assert len(swept(store).damaged) == 1
        assert store.blobs.path(row.extents[0].pack).exists()
        assert not store.blobs.verify(sha256(mixed))


async def test_a_dropped_pack_takes_its_chunks_along(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD)
        row = row_of(store.blobs, OLD)
        assert row is not None
        with store.index.env.begin() as txn:
            assert store.blobs.ledger.chunks(txn) > 100
        store.blobs.drop(row.extents[0].pack)
        with store.index.env.begin() as txn:
            assert store.blobs.ledger.chunks(txn) == 0


async def test_nothing_is_built_on_a_rotten_chunk(tmp_path: Path) -> None:
    """E8: the new version keeps its own copy, and later ones build on that."""
    with opened(tmp_path) as store:
        await versions(store, OLD)
        old = row_of(store.blobs, OLD)
        assert old is not None
        with store.blobs.path(old.extents[0].pack).open("r+b") as file:
            file.seek(old.extents[0].offset + (15 << 20))
            file.write(b"rot")
        await publish(store, "new", NEW)
        cut_all(store.blobs)
        row = row_of(store.blobs, NEW)
        assert row is not None
        assert len(row.extents) == 1
        assert row.recipe is not None
        assert bytes_of(store.blobs, NEW) == NEW
        await publish(store, "third", THIRD)
        cut_all(store.blobs)
        third = row_of(store.blobs, THIRD)
        assert third is not None
        assert third.saved > 0.8 * len(THIRD)
        assert bytes_of(store.blobs, THIRD) == THIRD
        assert not store.blobs.verify(sha256(OLD))


async def test_rebuilt_from_packs_and_journal(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD, NEW, THIRD)
        rows = [row_of(store.blobs, data) for data in (OLD, NEW, THIRD)]
        with store.index.env.begin() as txn:
            chunks = store.blobs.ledger.chunks(txn)
    assert rebuild_index(tmp_path) == (3, 0)
    is_whole(tmp_path)
    with opened(tmp_path) as store:
        again = [row_of(store.blobs, data) for data in (OLD, NEW, THIRD)]
        assert [(row.size, row.sum, row.cut, row.recipe) for row in again if row] == [
            (row.size, row.sum, row.cut, row.recipe) for row in rows if row
        ]
        for number, data in enumerate((OLD, NEW, THIRD)):
            with store.catalog.read() as reading:
                assert content(store, reading, f"v{number}") == data
        with store.index.env.begin() as txn:
            assert store.blobs.ledger.chunks(txn) == chunks


async def test_a_composed_blob_whose_chunks_are_gone_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD, NEW)
        row = row_of(store.blobs, OLD)
        assert row is not None
        path = store.blobs.path(row.extents[0].pack)
    path.unlink()
    assert not verify(tmp_path).is_whole
    assert rebuild_index(tmp_path) == (2, 2)


async def test_a_reader_goes_on_while_its_blob_is_laid_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await versions(store, OLD)
        await publish(store, "new", NEW)
        before = store.blobs.find(sha256(NEW))
        cut_all(store.blobs)
        assert before is not None
        assert before.read() == NEW
        after = store.blobs.find(sha256(NEW))
        assert after is not None
        assert len(after.extents) > 1


class Beaten(Composer):
    """Eviction is quicker than this one."""

    def _opened(self, pack: int) -> int:
        self._shelf.drop(pack)
        return super()._opened(pack)


async def test_what_is_forgotten_while_it_is_cut_holds_nobody_up(tmp_path: Path) -> None:
    with opened(tmp_path, role="edge") as store:

        def put(data: bytes) -> None:
            with store.cache_intake.stage() as staged:
                staged.write(data)
                staged.seal()
                store.cached.put(staged)

        put(OLD)
        assert Beaten(store.cached).work() == 1
        assert store.cached.find(sha256(OLD)) is None
        put(NEW)
        cut_all(store.cached)
        row = row_of(store.cached, NEW)
        assert row is not None
        assert row.cut is Cut.CONTENT


async def test_a_pack_that_is_lost_is_settled_and_holds_nobody_up(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "v1", OLD)
        row = row_of(store.blobs, OLD)
        assert row is not None
        store.blobs.path(row.extents[0].pack).unlink()
        await publish(store, "v2", THIRD)
        cut_all(store.blobs)
        assert [one.cut for data in (OLD, THIRD) if (one := row_of(store.blobs, data))] == [Cut.UNDECIDED, Cut.CONTENT]


async def test_on_a_cache_chunks_become_known_and_nothing_is_shared(tmp_path: Path) -> None:
    with opened(tmp_path, role="edge") as store:
        for data in (OLD, NEW):
            with store.cache_intake.stage() as staged:
                staged.write(data)
                staged.seal()
                store.cached.put(staged)
        cut_all(store.cached)
        rows = [row_of(store.cached, data) for data in (OLD, NEW)]
        assert [len(row.extents) if row else 0 for row in rows] == [1, 1]
        with store.cache_env.begin() as txn:
            assert store.cached.ledger.chunks(txn) > 250
        for row in rows:
            assert row is not None
            store.cached.drop(row.extents[0].pack)
        with store.cache_env.begin() as txn:
            assert store.cached.ledger.chunks(txn) == 0


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with opened(tmp_path_factory.mktemp("composed")) as store:
        trio.run(versions, store, OLD, NEW, THIRD)
        yield store


@settings(max_examples=400, deadline=None)
@given(
    blob=st.sampled_from((OLD, NEW, THIRD)),
    start=st.integers(0, len(OLD) + 100),
    length=st.integers(0, 3 << 20),
)
def test_any_range_is_the_slice(composed: Store, blob: bytes, start: int, length: int) -> None:
    located = composed.blobs.find(sha256(blob))
    assert located is not None
    assert located.pread(start, length) == blob[start : start + length]
    sent = cut(located.extents, min(start, len(blob)), min(start + length, len(blob)))
    assert b"".join(os.pread(fd, held, at) for fd, at, held in sent) == blob[start : start + length]
