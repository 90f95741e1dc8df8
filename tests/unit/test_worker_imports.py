"""Does a worker load only what it uses? What a child or a rare request needs would cost each worker its memory."""

import subprocess
import sys

import pytest

SEEN = "import sys, gateway.assembly.worker; print(sorted({one.partition('.')[0] for one in sys.modules}))"


@pytest.mark.parametrize("name", ["duckdb"])
def test_a_worker_does_not_load(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True, timeout=60)
    assert "'trio'" in done.stdout
    assert f"'{name}'" not in done.stdout
