"""Publishes into a store and says what was acknowledged, until it is killed. Run by the crash tests, as a process.

    python -m tests.faults.crash_writer ROOT COUNT PREFIX [control]

Limits are small, so that few publishes meet every kind of step: shared packs that are sealed, large uploads that become
packs of their own, new segments. `control` breaks the order on purpose (packs are not synced): the tests must notice.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import trio

from storage import disk
from storage.open import Store
from tests.harness.stores import opened, publish

LIMITS: dict[str, Any] = {"memory_bytes_max": 4096, "pack_bytes_max": 8192, "segment_bytes_max": 2048}
TASKS = 4


def data_of(name: str) -> bytes:
    """The bytes of a file, known from its name; every third is large."""
    seed = hashlib.sha256(name.encode()).digest()
    return seed * (400 if seed[0] % 3 == 0 else 20)


async def publish_all(store: Store, count: int, prefix: str) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for n in numbers:
            name = f"{prefix}{n}"
            await publish(store, name, data_of(name))
            os.write(1, f"{name}\n".encode())

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(work)


def main(root: str, count: str, prefix: str, control: str = "") -> None:
    if control:
        real = disk.settle
        disk.settle = lambda fd, name: None if name == "a pack" else real(fd, name)  # type: ignore[assignment]
    with opened(Path(root), **LIMITS) as store:
        trio.run(publish_all, store, int(count), prefix)


if __name__ == "__main__":
    main(*sys.argv[1:])
