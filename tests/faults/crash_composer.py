"""Publishes versions, cuts them, drops all but the last and sweeps, until it is killed. Run by the crash tests.

    python -m tests.faults.crash_composer ROOT

Says the name of each version that was acknowledged. The sizes from which on blobs are cut are small, so that a whole
run takes a second.
"""

import os
import sys
from pathlib import Path
from typing import Any

import trio

from storage.blobs import chunker, ledger
from storage.nouns import DropFile
from storage.open import Store
from storage.upkeep.composing import Composer
from tests.harness.stores import opened, publish, write
from tests.harness.sweeping import swept
from tests.harness.versions import model

LIMITS: dict[str, Any] = {"memory_bytes_max": 4096}
VERSIONS = 4
_PARTS, _PART_BYTES = 5, 500_000


def smaller() -> None:
    """Cut from 256 KB on."""
    chunker.ARCHIVE_BYTES_MIN = ledger.ARCHIVE_BYTES_MIN = chunker.CONTENT_BYTES_MIN = 256 << 10


def data_of(number: int) -> bytes:
    """Each version has all parts of its predecessor but the first, and one of its own."""
    return b"".join(model(part, _PART_BYTES) for part in range(number, number + _PARTS))


def cut_all(store: Store) -> None:
    while Composer(store.blobs).work():
        pass


async def work(store: Store) -> None:
    for number in range(VERSIONS):
        await publish(store, f"v{number}", data_of(number))
        os.write(1, f"v{number}\n".encode())
        await trio.to_thread.run_sync(cut_all, store)
    await write(store, *(DropFile("generic", "pkg", f"v{number}") for number in range(VERSIONS - 1)))
    os.write(1, b"dropped\n")
    await trio.to_thread.run_sync(swept, store)


def main(root: str) -> None:
    smaller()
    with opened(Path(root), **LIMITS) as store:
        trio.run(work, store)


if __name__ == "__main__":
    main(sys.argv[1])
