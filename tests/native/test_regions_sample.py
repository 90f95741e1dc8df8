"""Do two regions, each on wires of its own, keep what they promise through a crowd, a cut wire, killed nodes and an
origin that was put back in time?

`python -m bench regions` measures it; here the same story is told shortly, and what is no question of time is asserted.
THREATS F2 (partition), F3 and E12 (rollback), and one fetch a region.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 24
SECONDS_MAX = 400
PROMISED = {"0", "1", "503"}

pytestmark = pytest.mark.native


def test_f2_f3_e12_two_regions_through_all_that_can_happen(tmp_path: Path) -> None:
    told = tmp_path / "regions.json"
    command = [sys.executable, "-m", "bench", "regions", "--quick", "--big-bytes", "4M", "--count", str(CLIENTS)]
    done = subprocess.run(
        [*command, "--json", str(told)], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr[-4000:]
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.removeprefix("skipped: ").strip())
    result = json.loads(told.read_text())
    promised = [row for row in result["rows"] if row["goal"] in PROMISED]
    broken = {row["case"]: row["ours"] for row in promised if row["ours"] != [float(row["goal"])]}
    assert broken == {}
    words = "\n".join(row["case"] for row in promised)
    for part in ("upstream", "origin, a region", "public hits", "after it", "a write", "in the other", "seen again"):
        assert part in words, "nothing was left out"
    assert {phase["name"] for phase in result["phases"]} >= {"partition", "origin killed", "origin put back"}
