"""Kill the writer at any durable call: what was acknowledged is there, the rest is absent or whole (THREATS E1-E5, and
of F7 what an origin of one machine can meet).

ENTREPOT_CRASH_POINTS says how many points are tried (8 by default, a sample that is the same each time).
"""

import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from storage.disk import EXIT_FSYNC
from storage.errors import Full
from storage.nouns import DropFile
from storage.open import rebuild_index
from storage.upkeep.verify import verify
from tests.faults import powercut
from tests.faults.crash_writer import LIMITS, data_of
from tests.harness.stores import content, opened, publish, write

ROOT = Path(__file__).resolve().parents[2]
POINTS = int(os.environ.get("ENTREPOT_CRASH_POINTS", "8"))
COUNT = 24

pytestmark = pytest.mark.faults


def run(root: Path, *, inject: str = "", prefix: str = "f", control: str = "") -> tuple[int, list[str], str]:
    """The writer under strace: how it ended, what it acknowledged, and the trace."""
    log = root.with_name(f"{root.name}.trace")
    command = powercut.traced(log, inject)
    command += [sys.executable, "-m", "tests.faults.crash_writer", str(root), str(COUNT), prefix]
    done = subprocess.run([*command, *([control] if control else [])], cwd=ROOT, capture_output=True, check=False)
    trace = log.read_text()
    assert trace, done.stderr.decode()
    return done.returncode, done.stdout.decode().split(), trace


@cache
def all_points() -> tuple[tuple[str, int], ...]:
    """Every (call, n) of a whole run: strace counts the calls of each thread by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        status, acknowledged, trace = run(Path(folder) / "s")
    assert (status, len(acknowledged)) == (0, COUNT)
    counts = Counter((thread, call) for thread, call, _ in powercut.calls(trace))
    most = {call: max(n for (_, one), n in counts.items() if one == call) for _, call in counts}
    assert {"fdatasync", "fsync", "pwrite64", "writev", "unlink"} <= set(most)
    return tuple((call, n + 1) for call in sorted(most) for n in range(most[call]))


def sample(seed: int) -> list[tuple[str, int]]:
    points = all_points()
    return sorted(random.Random(seed).sample(points, min(POINTS, len(points))))


def check(root: Path, acknowledged: list[str], prefixes: str = "f") -> None:
    """Nothing acknowledged is lost, nothing half is served, and the store goes on."""
    with opened(root, **LIMITS) as store, store.catalog.read() as reading:
        for name in acknowledged:
            assert content(store, reading, name) == data_of(name), f"{name} was acknowledged"
        for file in reading.view("acme", "main", "generic").files("pkg"):
            assert content(store, reading, file.name) == data_of(file.name)
        dump = store.index.dump()
    report = verify(root, deep=True)
    assert report.problems == []
    assert rebuild_index(root)[1] == 0
    with opened(root, **LIMITS) as store:
        assert store.index.dump() == dump, "the rebuilt index is the same"


async def test_e1_killed_at_any_durable_call(tmp_path: Path) -> None:
    for call, n in sample(1):
        root = tmp_path / f"{call}-{n}"
        _, acknowledged, _ = run(root, inject=f"{call}:signal=KILL:when={n}")
        check(root, acknowledged)
        with opened(root, **LIMITS) as store:
            await publish(store, "after", data_of("after"))


def test_e3_the_power_goes_at_any_durable_call(tmp_path: Path) -> None:
    lost, done = 0, set[tuple[str, int]]()
    for call, n in (*sample(2), *all_points()):
        if (call, n) in done or (len(done) >= POINTS and lost):
            continue  # the sample is over, and something lay between a write and its sync
        done.add((call, n))
        root = tmp_path / f"{call}-{n}"
        _, acknowledged, trace = run(root, inject=f"{call}:signal=KILL:when={n}")
        if (root / "packs").exists() and (root / "journal").exists():
            lost += powercut.Disk(trace).cut_power(root / "packs", root / "journal")
        check(root, acknowledged)
    assert lost, "no point lay between a write and its sync: that proves nothing"


def test_e3_the_power_cut_finds_a_wrong_order(tmp_path: Path) -> None:
    """The control: without syncs of the packs, the same check must fail."""
    root = tmp_path / "s"
    _, acknowledged, trace = run(root, inject="unlink:signal=KILL:when=3", control="control")
    assert acknowledged
    assert powercut.Disk(trace).cut_power(root / "packs", root / "journal")
    with pytest.raises((AssertionError, Exception)):
        check(root, acknowledged)


@pytest.mark.parametrize(
    ("call", "n"), [("fdatasync", 10), ("fdatasync", 11), ("fdatasync", 12), ("fdatasync", 15), ("fsync", 4)]
)
def test_e4_a_failed_sync_ends_the_process_and_acknowledges_nothing_more(tmp_path: Path, call: str, n: int) -> None:
    root = tmp_path / "s"
    status, acknowledged, _ = run(root, inject=f"{call}:error=EIO:when={n}")
    assert status == EXIT_FSYNC
    check(root, acknowledged)


def test_e4_a_failed_sync_while_opening_ends_the_process(tmp_path: Path) -> None:
    status, acknowledged, _ = run(tmp_path / "s", inject="fdatasync:error=EIO:when=3")
    assert status != 0
    assert acknowledged == []
    check(tmp_path / "s", [])


@pytest.mark.parametrize(("call", "n"), [("writev", 9), ("fdatasync", 14), ("pwrite64", 20)])
async def test_e1_a_process_that_lives_finds_what_a_killed_one_journaled(tmp_path: Path, call: str, n: int) -> None:
    root = tmp_path / "s"
    with opened(root, **LIMITS) as store:
        await publish(store, "mine", data_of("mine"))
        _, acknowledged, _ = run(root, inject=f"{call}:signal=KILL:when={n}", prefix="theirs")
        assert len(acknowledged) < COUNT, "killed too late to prove anything"
        await publish(store, "later", data_of("later"))
        with store.catalog.read() as reading:
            for name in ("mine", "later", *acknowledged):
                assert content(store, reading, name) == data_of(name)
        assert store.reap() >= 0
    check(root, ["mine", "later", *acknowledged])


@pytest.mark.parametrize(("call", "n"), [("pwrite64", 25), ("writev", 4), ("writev", 7)])
def test_e5_no_room_at_any_write_is_told_and_nothing_is_half_kept(tmp_path: Path, call: str, n: int) -> None:
    """From the n-th on, one write in seven has no room; the writer stops at the first Full that it is told of."""
    root = tmp_path / "s"
    status, acknowledged, _ = run(root, inject=f"{call}:error=ENOSPC:when={n}+7")
    # LMDB goes no further once its own meta page could not be written; that page is written over in place, so no real
    # disk but a copying one would refuse it. Which write the n-th is depends on how the tasks fall into groups.
    assert status in ({1, EXIT_FSYNC} if call == "pwrite64" else {1}), "told as an error, not as the end of the process"
    check(root, acknowledged)


def test_several_processes_write_one_journal(tmp_path: Path) -> None:
    root = tmp_path / "s"
    command = [sys.executable, "-m", "tests.faults.crash_writer", str(root), str(COUNT)]
    writers = [subprocess.Popen([*command, prefix], cwd=ROOT, stdout=subprocess.PIPE) for prefix in ("a", "b", "c")]
    told = [writer.communicate()[0].decode().split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert [len(names) for names in told] == [COUNT] * 3
    check(root, [name for names in told for name in names])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
async def test_e5_a_full_disk_is_told_and_passes_without_a_restart(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        with opened(small / "s", **LIMITS) as store:
            kept, refused = [], 0
            filler = small / "filler"
            filler.write_bytes(bytes(4 << 20))
            for n in range(2000):
                name = f"n{n}"
                try:
                    await publish(store, name, data_of(name) * 3)
                    kept.append(name)
                except Full:
                    refused += 1
                    if refused > 12:
                        break
            assert refused, "the disk never filled"
            assert kept
            with store.catalog.read() as reading:
                assert all(content(store, reading, name) == data_of(name) * 3 for name in kept)
                assert {file.name for file in reading.view("acme", "main", "generic").files("pkg")} == set(kept)
            filler.unlink()
            await publish(store, "roomy", data_of("roomy"))
            await write(store, DropFile("generic", "pkg", kept[0]))
        report = verify(small / "s", deep=True)
        assert report.problems == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
