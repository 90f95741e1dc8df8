"""Sweep: what nothing names goes after its grace, what is named stays, and its room is given back (THREATS E11, O2)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.digest import sha256
from storage.errors import Damaged
from storage.nouns import DropFile, DropPackage, DropRepository, File, Package, PutFile, PutPackage
from storage.open import Store, rebuild_index
from storage.upkeep.sweep import Rules, keeping_packs, only_one
from storage.upkeep.verify import verify
from tests.harness.stores import content, opened, publish, write
from tests.harness.sweeping import sweeping, swept

LIMITS: dict[str, Any] = {"memory_bytes_max": 20_000, "pack_bytes_max": 60_000}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "s", **LIMITS) as store:
        yield store


def data_of(name: str, size: int = 3000) -> bytes:
    return sha256(name.encode()) * (size // 32)


async def filled(store: Store, count: int, size: int = 3000) -> list[str]:
    names = [f"f{n}" for n in range(count)]
    for name in names:
        await publish(store, name, data_of(name, size))
    return names


def on_disk(store: Store) -> int:
    return sum(path.stat().st_size for path in store.blobs.root.glob("*.pack"))


def check(store: Store, names: list[str], size: int = 3000) -> None:
    with store.catalog.read() as reading:
        for name in names:
            assert content(store, reading, name) == data_of(name, size)
        assert [one.name for one in reading.view("acme", "main", "generic").files("pkg")] == sorted(names)


async def test_what_nothing_names_is_forgotten_and_its_room_is_given_back(store: Store) -> None:
    names = await filled(store, 60)
    before = on_disk(store)
    for name in names[:45]:
        await write(store, DropFile("generic", "pkg", name))
    told = swept(store)
    assert told.forgotten == 45
    assert told.forgotten_bytes == 45 * len(data_of("f0"))
    assert told.damaged == []
    assert told.reclaimed_bytes >= 0.6 * before
    assert on_disk(store) < 0.5 * before
    check(store, names[45:])
    again = swept(store)
    assert (again.forgotten, again.copied, again.reclaimed_bytes) == (0, 0, 0)


async def test_a_large_file_goes_with_its_pack_and_nothing_is_copied(store: Store) -> None:
    names = await filled(store, 4, 50_000)
    await write(store, DropFile("generic", "pkg", names[0]))
    told = swept(store)
    assert told.copied == 0
    assert told.reclaimed_bytes > 50_000 * 0.9
    check(store, names[1:], 50_000)


async def test_the_grace_is_kept_and_begins_anew(store: Store) -> None:
    await publish(store, "f", data_of("f"))
    await write(store, DropFile("generic", "pkg", "f"))
    rules = Rules(grace_ms=3_600_000, waste_bytes_min=0)
    told = swept(store, rules)
    assert (told.loose, told.waiting, told.forgotten) == (1, 1, 0)
    assert store.blobs.holds(sha256(data_of("f"))) is not None


async def test_e11_what_another_repository_names_stays(store: Store) -> None:
    data = data_of("f")
    await publish(store, "f", data)
    file = File("g", "1", sha256(data), len(data))
    await write(store, PutPackage("generic", Package("pkg")), PutFile("generic", "pkg", file), repository="other")
    await write(store, DropPackage("generic", "pkg"))
    assert swept(store).forgotten == 0
    assert store.blobs.find(sha256(data)) is not None
    await write(store, DropRepository("acme", "other"), repository="")
    assert swept(store).forgotten == 1
    assert store.blobs.find(sha256(data)) is None


async def test_e11_what_is_published_again_stays_and_lies_where_it_lay(store: Store) -> None:
    await publish(store, "f", data_of("f"))
    await write(store, DropFile("generic", "pkg", "f"))
    await publish(store, "f", data_of("f"))
    assert swept(store).forgotten == 0
    check(store, ["f"])


async def test_e11_who_reads_while_it_is_swept_reads_on(store: Store) -> None:
    names = await filled(store, 40)
    located = [store.blobs.find(sha256(data_of(name))) for name in names]
    for name in names[:30]:
        await write(store, DropFile("generic", "pkg", name))
    assert swept(store).reclaimed_bytes > 0
    assert [one.read() for one in located if one is not None] == [data_of(name) for name in names]


async def test_e11_who_looked_a_row_up_before_it_moved_looks_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await filled(store, 20)
    for name in names[1:]:
        await write(store, DropFile("generic", "pkg", name))
    locate = type(store.blobs).located
    done = []

    def moved_behind_my_back(shelf: Any, *row: Any) -> Any:
        if not done:
            done.append(swept(store))
            shelf._handles.clear()
        return locate(shelf, *row)

    store.blobs._handles.clear()
    monkeypatch.setattr(type(store.blobs), "located", moved_behind_my_back)
    located = store.blobs.find(sha256(data_of(names[0])))
    assert located is not None
    assert located.read() == data_of(names[0])


async def test_a_pack_whose_file_is_really_gone_is_damaged(store: Store) -> None:
    await filled(store, 1)
    for path in store.blobs.root.glob("*.pack"):
        path.unlink()
    store.blobs._handles.clear()
    with pytest.raises(Damaged):
        store.blobs.find(sha256(data_of("f0")))


async def test_e11_the_writer_of_a_pack_that_was_swept_begins_another(store: Store) -> None:
    await filled(store, 10)
    for n in range(10):
        await write(store, DropFile("generic", "pkg", f"f{n}"))
    assert swept(store).packs_done == 1
    assert on_disk(store) == 0
    await publish(store, "after", data_of("after"))
    check(store, ["after"])


async def test_a_dry_run_tells_what_a_run_then_does_and_changes_nothing(store: Store) -> None:
    names = await filled(store, 60)
    for name in names[:40]:
        await write(store, DropFile("generic", "pkg", name))
    before = on_disk(store)
    told = sweeping(store).look()
    assert on_disk(store) == before
    done = swept(store)
    assert (told.forgotten, told.forgotten_bytes) == (done.forgotten, done.forgotten_bytes)
    assert told.packs_todo == done.packs_todo
    assert told.copied_bytes == done.copied_bytes


async def test_it_stops_anywhere_and_the_next_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.upkeep.sweep.BATCH_BLOBS", 5)
    names = await filled(store, 60)
    for name in names[:40]:
        await write(store, DropFile("generic", "pkg", name))
    runs, going = 0, True
    while going:
        runs += 1
        steps = sweeping(store).steps()
        going = sum(1 for _ in zip(range(2), steps, strict=False)) == 2
        steps.close()
        check(store, names[40:])
        assert runs < 50
    assert runs > 2
    assert sum(one.live_bytes for one in store.blobs.packs()) == 20 * len(data_of("f0"))
    assert on_disk(store) < 150_000


async def test_damaged_bytes_are_told_and_their_pack_stays(store: Store) -> None:
    names = await filled(store, 20)
    for name in names[:15]:
        await write(store, DropFile("generic", "pkg", name))
    row = store.blobs.find(sha256(data_of(names[19])))
    assert row is not None
    pack = next(path for path in sorted(store.blobs.root.glob("*.pack")) if data_of(names[19]) in path.read_bytes())
    with pack.open("r+b") as file:
        file.seek(row.extents[0][1])
        file.write(b"rot")
    told = swept(store)
    assert len(told.damaged) == 1
    assert sha256(data_of(names[19])).hex() in told.damaged[0]
    assert pack.exists()


async def test_tiny_files_are_not_copied_again_and_again(store: Store) -> None:
    """Most of such a pack is headers: that is no waste."""
    for n in range(200):
        await publish(store, f"f{n}", b"%d" % n)
    for n in range(190):
        await write(store, DropFile("generic", "pkg", f"f{n}"))
    assert swept(store).copied == 10
    again = swept(store)
    assert (again.copied, again.packs_todo) == (0, 0)


async def test_no_pack_is_unlinked_under_who_walks_the_files(store: Store) -> None:
    await filled(store, 20)
    for n in range(20):
        await write(store, DropFile("generic", "pkg", f"f{n}"))
    with keeping_packs(store.root):
        told = swept(store)
        assert told.packs_held == told.packs_todo > 0
        assert on_disk(store) > 0
    swept(store)
    assert on_disk(store) == 0


def test_one_sweeps_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path) as mine, only_one(tmp_path) as other:
        assert (mine, other) == (True, False)
    with only_one(tmp_path) as again:
        assert again


async def test_after_a_sweep_the_index_is_still_what_the_journal_says(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with opened(root, **LIMITS) as store:
        names = await filled(store, 30)
        for name in names[:20]:
            await write(store, DropFile("generic", "pkg", name))
        swept(store)
        dump = store.index.dump()
    assert verify(root, deep=True).problems == []
    assert rebuild_index(root)[1] == 0, "what was swept is not missed"
    with opened(root, **LIMITS) as again:
        assert again.index.dump() == dump
        check(again, names[20:])
        swept(again)
        check(again, names[20:])
    assert verify(root, deep=True).problems == []
