"""The cache shelf: put, find, move, drop, and what happens to bytes that rot (THREATS E5, E8, E9)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_64_digest

from storage.blobs.intake import Staged
from storage.blobs.packs import SINGLE_START, PackWriter
from storage.blobs.shelf import HANDLES_MAX, BlobShelf
from storage.digest import sha256
from storage.errors import Conflict, Damaged, Full
from storage.index.tables import BlobTables
from storage.open import Store
from tests.harness.stores import opened, publish

LIMITS: dict[str, Any] = {"memory_bytes_max": 2000, "cache_pack_bytes_max": 4000}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path, role="edge", **LIMITS) as store:
        yield store


def put(store: Store, data: bytes) -> bytes:
    with store.cache_intake.stage() as staged:
        staged.write(data)
        staged.seal()
        store.cached.put(staged)
        return staged.sha256


def bytes_of(shelf: BlobShelf, identity: bytes) -> bytes | None:
    located = shelf.find(identity)
    return None if located is None else located.read()


@pytest.mark.parametrize("size", [0, 1, 1999, 2001, 50_000])
def test_what_is_put_is_found(store: Store, size: int) -> None:
    data = os.urandom(size)
    identity = put(store, data)
    assert bytes_of(store.cached, identity) == data
    assert store.cached.holds(identity) == size
    assert store.cached.verify(identity)
    assert list(store.cache_intake.folder.iterdir()) == []
    assert store.cached.find(bytes(32)) is None
    assert store.cached.holds(bytes(32)) is None


def test_small_ones_share_packs_that_are_sealed_when_full(store: Store) -> None:
    stored = {put(store, b"%d" % n * 300): b"%d" % n * 300 for n in range(20)}
    packs = store.cached.packs()
    assert len(packs) > 2
    assert [pack.sealed for pack in packs] == [True] * (len(packs) - 1) + [False]
    assert sum(pack.live_bytes for pack in packs) == sum(map(len, stored.values()))
    members = {identity: size for pack in packs for identity, size in store.cached.members(pack.id)}
    assert members == {identity: len(data) for identity, data in stored.items()}
    for identity, data in stored.items():
        assert bytes_of(store.cached, identity) == data


def test_putting_twice_stores_once(store: Store) -> None:
    for data in (b"small", bytes(9000)):
        assert put(store, data) == put(store, data)
    assert sum(pack.live_bytes for pack in store.cached.packs()) == 9005
    assert len(list(store.cached.root.iterdir())) == 2


def test_dropping_a_pack_forgets_its_blobs_and_frees_the_disk(store: Store) -> None:
    large, small = put(store, bytes(9000)), put(store, b"small")
    lent = store.cached.find(large)
    pack = next(pack for pack in store.cached.packs() if pack.live_bytes == 9000)
    store.cached.drop(pack.id)
    assert store.cached.find(large) is None
    assert not store.cached.path(pack.id).exists()
    assert lent is not None
    assert lent.read() == bytes(9000), "who is sending it still can"
    assert bytes_of(store.cached, small) == b"small"
    store.cached.drop(pack.id)
    current = store.cached.packs()[0]
    assert not current.sealed
    store.cached.drop(current.id)
    assert store.cached.packs() == []
    assert bytes_of(store.cached, put(store, b"again")) == b"again"


def test_a_pack_that_another_process_writes_to_is_not_dropped(store: Store) -> None:
    put(store, b"small")
    pack = store.cached.packs()[0]
    store.cached.close()
    other = PackWriter.adopt(store.cached.path(pack.id), pack.bytes, durable=False)
    assert other is not None
    env = store.cache_env
    store.cached = BlobShelf(store.cached.root, env, BlobTables.of(env), store.cached.store, durable=False)
    with pytest.raises(Conflict):
        store.cached.drop(pack.id)
    assert put(store, b"more")
    assert len(store.cached.packs()) == 2, "nor appended to"
    other.close()
    store.cached.drop(pack.id)


def test_what_is_hot_is_moved_out_of_a_pack_before_it_is_dropped(store: Store) -> None:
    names = [put(store, b"%d" % n * 300) for n in range(20)]
    first = store.cached.packs()[0]
    hot = store.cached.members(first.id)[0][0]
    assert store.cached.move(hot)
    assert hot not in dict(store.cached.members(first.id))
    assert store.cached.packs()[0].live_bytes == first.live_bytes - 300 or len(names) > 10
    store.cached.drop(first.id)
    assert store.cached.verify(hot)
    assert not store.cached.move(bytes(32))
    assert not store.cached.move(put(store, bytes(9000))), "what has its own pack stays"


def test_handles_are_bounded_and_a_lent_one_outlives_its_turn(tmp_path: Path) -> None:
    with opened(tmp_path, role="edge", **LIMITS) as store:
        shelf = BlobShelf(store.cached.root, store.cached.env, store.index.tables.shelf, b"", durable=False)
        assert shelf is not None
        store.cached._handles_max = 3
        stored = [put(store, bytes([n]) * 5000) for n in range(10)]
        lent = store.cached.find(stored[0])
        before = len(os.listdir("/proc/self/fd"))
        for identity in stored * 2:
            assert store.cached.find(identity) is not None
        assert len(os.listdir("/proc/self/fd")) <= before + 3
        assert lent is not None
        assert lent.read() == bytes(5000)
    assert HANDLES_MAX == 256


def test_packs_gone_from_the_disk_are_let_go(store: Store) -> None:
    identity = put(store, bytes(9000))
    assert store.cached.find(identity) is not None
    assert store.cached.trim() == 0
    for path in store.cached.root.iterdir():
        path.unlink()
    assert store.cached.trim() == 1
    assert store.cached.find(identity) is None
    assert store.cached.holds(identity) is None, "a row without bytes is forgotten"


@pytest.mark.parametrize("size", [500, 9000])
def test_e8_a_rotten_cached_blob_is_forgotten_not_served(store: Store, size: int) -> None:
    identity = put(store, os.urandom(size))
    rot(store.cached, identity)
    assert store.cached.find(identity) is None
    assert store.cached.holds(identity) is None


def test_e8_larger_ones_are_found_out_by_verify(store: Store) -> None:
    identity = put(store, os.urandom(100_000))
    rot(store.cached, identity)
    assert store.cached.find(identity) is not None
    assert not store.cached.verify(identity)
    assert store.cached.find(identity) is None


async def test_e8_a_rotten_hosted_blob_is_damaged_not_served(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"data")
        identity = sha256(b"data")
        rot(store.blobs, identity)
        with pytest.raises(Damaged):
            store.blobs.find(identity)
        assert not store.blobs.verify(identity)
        assert store.blobs.holds(identity) == 4, "the row stays: an operator may restore the pack"


def rot(shelf: BlobShelf, identity: bytes) -> None:
    with shelf.env.begin() as txn:
        row = shelf.ledger.blob(txn, identity)
    assert row is not None
    extent = row.extents[0]
    with shelf.path(extent.pack).open("r+b") as file:
        file.seek(extent.offset + extent.length // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 8]))


def test_a_file_that_was_filled_elsewhere_is_kept_without_a_copy(store: Store, tmp_path: Path) -> None:
    for data in (b"tiny", os.urandom(5 << 20)):
        path = tmp_path / "flight.part"
        path.write_bytes(bytes(SINGLE_START) + data)
        inode = path.stat().st_ino
        fd = os.open(path, os.O_RDWR)
        with Staged.of_verified(path, fd, sha256(data), len(data), xxh3_64_digest(data), 1 << 20) as staged:
            store.cached.put(staged)
        assert store.cached.verify(sha256(data))
        assert not path.exists()
        assert (inode in {one.stat().st_ino for one in store.cached.root.iterdir()}) is (len(data) > 1 << 20)


def test_e5_a_full_disk_is_told_and_passes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = put(store, b"before")
    real = os.pwrite

    def stingy(fd: int, data: Any, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", stingy)
        with pytest.raises(Full):
            put(store, b"small")
    assert os.pwrite is real
    assert bytes_of(store.cached, kept) == b"before"
    assert bytes_of(store.cached, put(store, b"small")) == b"small"
