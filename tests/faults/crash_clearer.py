"""The program that the tests of a killed clearing kill: clears away what was deleted, few rows at a time."""

import sys
from pathlib import Path

from storage.upkeep import clearing
from storage.upkeep.clearing import Clearing
from tests.faults.crash_writer import LIMITS
from tests.harness.stores import opened


def main(root: Path) -> None:
    clearing.ROWS_FIRST = clearing.ROWS_MAX = clearing.ROWS_MIN = 40
    with opened(root, **LIMITS) as store:
        for _ in Clearing(store.index, store.journal, store.blobs).steps():
            pass
    print("cleared", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
