"""Kill a sweep at any durable call, or cut the power: what is named is whole, the next one finishes (E1, E3, E11).

ENTREPOT_CRASH_POINTS says how many points are tried.
"""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from storage.nouns import DropFile
from storage.open import rebuild_index
from storage.upkeep.verify import verify
from tests.faults import powercut
from tests.faults.crash_writer import LIMITS, data_of
from tests.harness.stores import content, opened, publish, write
from tests.harness.sweeping import swept

ROOT = Path(__file__).resolve().parents[2]
POINTS = int(os.environ.get("ENTREPOT_CRASH_POINTS", "8"))
COUNT = 40
KEPT = [f"f{n}" for n in range(0, COUNT, 3)]

pytestmark = pytest.mark.faults


async def filled(root: Path) -> None:
    with opened(root, **LIMITS) as store:
        for n in range(COUNT):
            await publish(store, f"f{n}", data_of(f"f{n}"))
        for n in range(COUNT):
            if n % 3:
                await write(store, DropFile("generic", "pkg", f"f{n}"))


def run(root: Path, inject: str = "") -> tuple[int, str]:
    """The sweep under strace: how it ended, and the trace."""
    log = root.with_name(f"{root.name}.trace")
    command = powercut.traced(log, inject)
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.faults.crash_sweeper", str(root)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode, log.read_text()


async def check(root: Path) -> None:
    """Whole as it lies; whole after a rebuild; and the next sweep gives the room back."""
    with opened(root, **LIMITS) as store, store.catalog.read() as reading:
        for name in KEPT:
            assert content(store, reading, name) == data_of(name), name
    assert verify(root, deep=True).problems == []
    again = root.with_name(f"{root.name}-again")
    shutil.copytree(root, again)
    assert rebuild_index(again)[1] == 0
    for place in (root, again):
        with opened(place, **LIMITS) as store:
            swept(store)
            with store.catalog.read() as reading:
                for name in KEPT:
                    assert content(store, reading, name) == data_of(name), name
            live = sum(len(data_of(name)) for name in KEPT)
            assert sum(one.live_bytes for one in store.blobs.packs()) == live
            assert sum(path.stat().st_size for path in store.blobs.root.glob("*.pack")) < 2 * live + 200_000
        assert verify(place, deep=True).problems == []


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power cut"])
async def test_e11_a_sweep_killed_anywhere_loses_nothing(tmp_path: Path, power: bool) -> None:
    made = tmp_path / "made"
    await filled(made)
    whole = tmp_path / "whole"
    shutil.copytree(made, whole)
    status, trace = run(whole)
    assert status == 0
    await check(whole)
    counts = Counter((thread, call) for thread, call, _ in powercut.calls(trace))
    most = {call: max(n for (_, one), n in counts.items() if one == call) for _, call in counts}
    points = [(call, n + 1) for call in sorted(most) for n in range(most[call])]
    assert {"fdatasync", "unlink"} <= set(most)
    for call, n in sorted(random.Random(11).sample(points, min(POINTS, len(points)))):
        root = tmp_path / f"{call}-{n}"
        shutil.copytree(made, root)
        _, trace = run(root, f"{call}:signal=KILL:when={n}")
        if power:
            cut = powercut.Disk(trace)
            for path in (made / "packs").iterdir():  # these were durable before it began
                name = str(root / "packs" / path.name)
                cut.synced[name] = max(cut.synced.get(name, 0), path.stat().st_size)
                cut.named.add(name)
            cut.cut_power(root / "packs")
        await check(root)
