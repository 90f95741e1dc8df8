"""Kill the composer at any durable call, or cut the power: every version is whole, and none is lost (THREATS E1, E3).

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

from storage.open import rebuild_index
from storage.upkeep.verify import verify
from tests.faults import powercut
from tests.faults.crash_composer import LIMITS, VERSIONS, cut_all, data_of
from tests.harness.stores import content, opened
from tests.harness.sweeping import swept

ROOT = Path(__file__).resolve().parents[2]
POINTS = int(os.environ.get("ENTREPOT_CRASH_POINTS", "8"))

ALL = tuple(f"v{number}" for number in range(VERSIONS))

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("storage.blobs.chunker.ARCHIVE_BYTES_MIN", "storage.blobs.ledger.ARCHIVE_BYTES_MIN"):
        monkeypatch.setattr(place, 256 << 10)
    monkeypatch.setattr("storage.blobs.chunker.CONTENT_BYTES_MIN", 256 << 10)


def run(root: Path, *, inject: str = "") -> tuple[list[str], str]:
    """What was acknowledged, and the trace."""
    log = root.with_name(f"{root.name}.trace")
    command = powercut.traced(log, inject)
    command += [sys.executable, "-m", "tests.faults.crash_composer", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    trace = log.read_text()
    assert trace, done.stderr.decode()
    assert inject or done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split(), trace


@cache
def all_points() -> tuple[tuple[str, int], ...]:
    """Every (call, n) of a whole run: strace counts the calls of each thread by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        acknowledged, trace = run(Path(folder) / "s")
    assert acknowledged == [*ALL, "dropped"]
    counts = Counter((thread, call) for thread, call, _ in powercut.calls(trace))
    most = {call: max(n for (_, one), n in counts.items() if one == call) for _, call in counts}
    return tuple((call, n + 1) for call in sorted(most) for n in range(most[call]))


def sample(seed: int) -> list[tuple[str, int]]:
    points = all_points()
    return sorted(random.Random(seed).sample(points, min(POINTS, len(points))))


def check(root: Path, acknowledged: list[str]) -> None:
    """What was acknowledged is whole, before what was begun is gone on with and after; and packs alone tell it too."""
    wanted = [name for name in acknowledged if name in (("v3",) if "dropped" in acknowledged else ALL)]
    may_be_gone = set(ALL[:-1]) if "v3" in acknowledged else set[str]()  # its removal was decided, and not acknowledged
    for again in (False, True, True):
        with opened(root, **LIMITS) as store, store.catalog.read() as reading:
            if again:
                cut_all(store)
                assert swept(store).damaged == []
            for name in wanted:
                found = content(store, reading, name)
                if found is None and name in may_be_gone:
                    continue
                assert found == data_of(int(name[1:])), f"{name} was acknowledged"
        report = verify(root, deep=True)
        assert report.problems == []
    assert rebuild_index(root)[1] == 0
    assert verify(root, deep=True).problems == []
    with opened(root, **LIMITS) as store, store.catalog.read() as reading:
        for name in wanted:
            found = content(store, reading, name)
            assert found == data_of(int(name[1:])) or (found is None and name in may_be_gone)


def test_versions_share_bytes_and_a_pack_is_emptied(tmp_path: Path) -> None:
    """The run meets what it is to be killed in: composed blobs, and a pack that others still need."""
    run(tmp_path / "s")
    with opened(tmp_path / "s", **LIMITS) as store, store.index.env.begin() as txn:
        rows = [row for _, row in store.blobs.ledger.blobs(txn)]
        (row,) = rows
        assert row.saved > 0.6 * row.size
        assert 1 not in dict(store.blobs.ledger.packs(txn))
    check(tmp_path / "s", [*ALL, "dropped"])


def test_e1_killed_at_any_durable_call(tmp_path: Path) -> None:
    for call, n in sample(3):
        root = tmp_path / f"{call}-{n}"
        acknowledged, _ = run(root, inject=f"{call}:signal=KILL:when={n}")
        check(root, acknowledged)


def test_e3_the_power_goes_at_any_durable_call(tmp_path: Path) -> None:
    for call, n in sample(4):
        root = tmp_path / f"{call}-{n}"
        acknowledged, trace = run(root, inject=f"{call}:signal=KILL:when={n}")
        if (root / "packs").exists() and (root / "journal").exists():
            powercut.Disk(trace).cut_power(root / "packs", root / "journal")
        check(root, acknowledged)
