"""The program that the tests of a killed sweep kill: sweeps a store, twice."""

import sys
from pathlib import Path

from storage.open import now_ms
from storage.upkeep.sweep import Rules, Sweep
from tests.faults.crash_writer import LIMITS
from tests.harness.stores import opened


def main(root: Path) -> None:
    with opened(root, **LIMITS) as store:
        assert store.journal is not None
        for _ in range(2):
            rules = Rules(grace_ms=0, garbage_share_min=0.1, waste_bytes_min=0)
            for _ in Sweep(store.index, store.journal, store.blobs, now_ms, rules).steps():
                pass
    print("swept", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
