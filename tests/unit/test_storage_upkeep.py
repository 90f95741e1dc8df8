"""Chores: at their hour or when asked, one process at a time, at a rate, going on where they were (THREATS E8)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from storage.digest import sha256
from storage.errors import Damaged
from storage.nouns import DropFile, File, PutFile
from storage.open import Store
from storage.upkeep.rounds import Chore
from storage.upkeep.scrub import Scrub
from storage.upkeep.sweep import Progress
from tests.harness.stores import content, opened, publish, write

LIMITS: dict[str, Any] = {"memory_bytes_max": 20_000, "pack_bytes_max": 60_000}


class Counting:
    """A run of ten steps of 100 bytes."""

    def __init__(self, mark: str = "", fail_at: int = -1) -> None:
        self.mark = mark
        self.progress = Progress()
        self.fail_at = fail_at

    def steps(self) -> Iterator[int]:
        for n in range(int(self.mark or 0), 10):
            if n == self.fail_at:
                raise Damaged("Broken.")
            self.progress.copied += 1
            self.mark = str(n + 1)
            yield 100


class Clock:
    """Milliseconds of the virtual clock."""

    def __call__(self) -> int:
        return 1_000_000 + int(trio.current_time() * 1000)


def chore(folder: Path, runs: list[Counting], **more: Any) -> Chore:
    def begin(mark: str) -> Counting:
        runs.append(Counting(mark, more.get("fail_at", -1)))
        return runs[-1]

    async def at_once(step: Callable[[], int | None]) -> int | None:
        await trio.sleep(more.get("step_seconds", 0))
        return step()  # a virtual clock would not wait for a thread

    return Chore(
        "count",
        folder,
        begin,
        Clock(),
        off_the_loop=at_once,
        **{name: more[name] for name in more if name not in ("fail_at", "step_seconds")},
    )


async def test_it_is_done_when_asked_and_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    runs: list[Counting] = []
    one = chore(tmp_path, runs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        await trio.sleep(100)
        assert runs == []
        one.ask()
        assert one.told()["waiting"]
        await trio.sleep(10)
        assert len(runs) == 1
        told = one.told()
        assert (told["running"], told["waiting"], told["runs"]) == (False, False, 1)
        assert one.state().totals["copied"] == 10
        one.ask()
        await trio.sleep(10)
        assert one.state().totals["copied"] == 20
        nursery.cancel_scope.cancel()


async def test_it_is_done_at_its_hours_and_not_at_the_first_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    runs: list[Counting] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chore(tmp_path, runs, every_s=3600).run)
        await trio.sleep(3500)
        assert len(runs) == 0
        await trio.sleep(3600)
        assert len(runs) == 1
        await trio.sleep(36_000)
        assert 9 <= len(runs) <= 11
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rate_bytes_s", [0, 1_000_000])
async def test_it_rests_longer_than_it_works(tmp_path: Path, autojump_clock: MockClock, rate_bytes_s: int) -> None:
    runs: list[Counting] = []
    one = chore(tmp_path, runs, rate_bytes_s=rate_bytes_s, step_seconds=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        one.ask()
        await trio.sleep(105)
        assert 4 <= runs[0].progress.copied <= 5, "ten seconds of work, twelve of rest"
        await trio.sleep(140)
        assert not one.state().running
        nursery.cancel_scope.cancel()


async def test_it_keeps_its_rate(tmp_path: Path, autojump_clock: MockClock) -> None:
    runs: list[Counting] = []
    one = chore(tmp_path, runs, rate_bytes_s=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        one.ask()
        await trio.sleep(52)
        assert one.state().running
        assert 4 <= runs[0].progress.copied <= 7, "100 bytes take ten seconds"
        await trio.sleep(60)
        assert not one.state().running
        nursery.cancel_scope.cancel()


async def test_one_that_is_stopped_goes_on_where_it_was(tmp_path: Path, autojump_clock: MockClock) -> None:
    runs: list[Counting] = []
    with trio.move_on_after(35):
        one = chore(tmp_path, runs, rate_bytes_s=10, every_s=10_000)
        one.ask()
        await one.run()
    assert 2 <= runs[0].progress.copied < 10
    with trio.move_on_after(500):
        await chore(tmp_path, runs, every_s=10_000).run()
    assert runs[0].progress.copied + runs[1].progress.copied == 10


async def test_of_several_processes_one_does_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    runs: list[Counting] = []
    many = [chore(tmp_path, runs, every_s=1000) for _ in range(4)]
    async with trio.open_nursery() as nursery:
        for one in many:
            nursery.start_soon(one.run)
        await trio.sleep(1500)
        assert len(runs) == 1
        assert len({one.state().ended_ms for one in many}) == 1
        nursery.cancel_scope.cancel()


async def test_one_that_fails_tells_and_is_tried_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    runs: list[Counting] = []
    one = chore(tmp_path, runs, every_s=1000, fail_at=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        await trio.sleep(1010)
        assert one.state().problem == "Broken."
        await trio.sleep(100)
        assert len(runs) == 2
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- scrub


def scrubbed(store: Store, mark: str = "") -> Any:
    hosted = store.blobs if store.journal is not None else None
    run = Scrub(store.index, store.journal, hosted, store.cached, mark)
    for _ in run.steps():
        pass
    return run.progress


def rot(root: Path, data: bytes) -> None:
    """Flip one byte of `data` where it lies in a pack."""
    for path in sorted(root.glob("*.pack")):
        at = path.read_bytes().find(data)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + len(data) // 2)
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 1]))
            return
    raise AssertionError("not found")


@pytest.mark.parametrize("size", [3200, 64_000])
async def test_e8_rot_at_an_origin_is_told_with_its_files_and_repaired_by_a_publish(tmp_path: Path, size: int) -> None:
    data = b"x" * 31 + b"y"
    with opened(tmp_path, **LIMITS) as store:
        for n in range(5):
            await publish(store, f"f{n}", bytes([n]) * 32 * (size // 32))
        assert scrubbed(store).damaged == []
        data = bytes([3]) * 32 * (size // 32)
        rot(store.blobs.root, data)
    with opened(tmp_path, **LIMITS) as store:
        told = scrubbed(store)
        assert len(told.damaged) == 1
        assert sha256(data).hex() in told.damaged[0]
        assert "acme/main/generic/pkg/f3" in told.damaged[0]
        assert told.blobs == 5
        await publish(store, "again", data)
        assert scrubbed(store).damaged == []
        with store.catalog.read() as reading:
            assert content(store, reading, "f3") == data


async def test_e8_rot_on_a_cache_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path, role="edge", cache_pack_bytes_max=60_000, memory_bytes_max=20_000) as store:
        for n in range(6):
            with store.cache_intake.stage() as staged:
                staged.write(bytes([n]) * 40_000)
                staged.seal()
                store.cached.put(staged)
        rot(store.cached.root, bytes([2]) * 40_000)
        told = scrubbed(store)
        assert (told.blobs, told.forgotten, told.damaged) == (6, 1, [])
        assert store.cached.holds(sha256(bytes([2]) * 40_000)) is None
        assert store.cached.holds(sha256(bytes([1]) * 40_000)) == 40_000


async def test_e8_rot_in_the_index_and_the_journal_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, **LIMITS) as store:
        await publish(store, "f", b"f" * 4000)
        with store.index.env.begin(write=True) as txn:
            key = next(iter(txn.cursor(db=store.index.tables.usage)))[0]
            value = bytearray(txn.get(key, db=store.index.tables.usage) or b"")
            value[-1] ^= 1
            txn.put(key, bytes(value), db=store.index.tables.usage)
        assert any("'usage'" in line for line in scrubbed(store).damaged)
        assert store.journal is not None
        path = store.journal.path(1)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert any("journal is damaged" in line for line in scrubbed(store).damaged)


async def test_a_scrub_goes_on_behind_its_mark(tmp_path: Path) -> None:
    with opened(tmp_path, **LIMITS) as store:
        for n in range(10):
            await publish(store, f"f{n}", b"%d" % n * 900)
        identities = sorted(sha256(b"%d" % n * 900) for n in range(10))
        assert scrubbed(store, f"hosted:{identities[6].hex()}").blobs == 3


async def test_a_blob_that_is_swept_while_it_is_read_is_no_damage(tmp_path: Path) -> None:
    with opened(tmp_path, **LIMITS) as store:
        await publish(store, "f", b"f" * 4000)
        await write(store, PutFile("generic", "pkg", File("g", "1", sha256(b"f" * 4000), 4000)))
        await write(store, DropFile("generic", "pkg", "g"), DropFile("generic", "pkg", "f"))
        run = Scrub(store.index, store.journal, store.blobs, store.cached)
        for _ in run.steps():
            if run.progress.phase == "index":
                store.blobs.forget(sha256(b"f" * 4000))
        assert run.progress.damaged == []
