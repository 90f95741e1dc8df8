"""Kill a node at any durable call while it clears away what was deleted: nothing of others goes, the next one goes on,
and at the end all is as if nobody had been killed (E1, E11).

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

from storage.index import leaving
from storage.index.index import Dump
from storage.nouns import SYSTEM, DropRepository, DropWorkspace, PutRepository, PutWorkspace, Repository, Workspace
from storage.open import rebuild_index
from storage.upkeep.clearing import Clearing, is_due
from storage.upkeep.verify import verify
from tests.faults import powercut
from tests.faults.crash_writer import LIMITS, data_of
from tests.harness.stores import content, opened, publish, write

ROOT = Path(__file__).resolve().parents[2]
POINTS = int(os.environ.get("ENTREPOT_CRASH_POINTS", "8"))
COUNT = 60

pytestmark = pytest.mark.faults


async def filled(root: Path, *, workspace: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is in acme/main is named by left/main too."""
    monkeypatch.setattr(leaving, "ROWS_AT_ONCE", 30)
    with opened(root, **LIMITS) as store:
        made = [PutWorkspace(Workspace(name)) for name in ("acme", "left")]
        await write(store, *made, workspace=SYSTEM, repository="")
        for name in ("acme", "left"):
            await write(store, PutRepository(Repository(name, "main")), workspace=name, repository="")
        for n in range(COUNT):
            told = await publish(store, f"f{n}", data_of(f"f{n}"), package=f"p{n}")
            assert told.entry is not None
            if n % 2:
                await write(store, *told.entry.changes, workspace="left")
        if workspace:
            await write(store, DropWorkspace("acme"), workspace=SYSTEM, repository="")
        else:
            await write(store, DropRepository("acme", "main"), repository="")
        assert is_due(store.index)


def run(root: Path, inject: str = "") -> tuple[int, str]:
    log = root.with_name(f"{root.name}.trace")
    command = powercut.traced(log, inject)
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.faults.crash_clearer", str(root)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode, log.read_text()


def check(root: Path) -> Dump:
    """Whole as it lies, whole when the next one has gone on, and whole after a rebuild."""
    assert verify(root, deep=True).problems == []
    with opened(root, **LIMITS) as store:
        for _ in Clearing(store.index, store.journal, store.blobs).steps():
            pass
        assert not is_due(store.index)
        with store.catalog.read() as reading:
            names = [one.name for one in reading.view("left", "main", "generic").packages()]
            assert len(names) == COUNT // 2
            assert list(reading.view("acme", "main", "generic").packages()) == []
            assert content(store, reading, "f1", package="p1", workspace="left") == data_of("f1")
        found = store.index.dump()
    assert verify(root, deep=True).problems == []
    rebuild_index(root)
    with opened(root, **LIMITS) as store:
        for _ in Clearing(store.index, store.journal, store.blobs).steps():
            pass
        assert store.index.dump() == found
    return found


@pytest.mark.parametrize("workspace", [False, True], ids=["repository", "workspace"])
async def test_e11_a_node_killed_anywhere_goes_on_clearing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: bool
) -> None:
    made = tmp_path / "made"
    await filled(made, workspace=workspace, monkeypatch=monkeypatch)
    whole = tmp_path / "whole"
    shutil.copytree(made, whole)
    status, trace = run(whole)
    assert status == 0
    wanted = check(whole)
    counts = Counter((thread, call) for thread, call, _ in powercut.calls(trace))
    most = {call: max(n for (_, one), n in counts.items() if one == call) for _, call in counts}
    points = [(call, n + 1) for call in sorted(most) for n in range(most[call])]
    assert "fdatasync" in most
    left = 0
    for call, n in sorted(random.Random(12).sample(points, min(POINTS, len(points)))):
        root = tmp_path / f"{call}-{n}"
        shutil.copytree(made, root)
        run(root, f"{call}:signal=KILL:when={n}")
        with opened(root, **LIMITS) as store:
            left += is_due(store.index)
        assert check(root) == wanted
    assert left, "some were killed with rows left"
