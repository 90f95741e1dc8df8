"""A cache shelf with its keeper in a directory, as a node has it, and a process that fetches into the same one."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from cache.asking.upstream import Remote
from cache.fills.flight import Fill, Flights
from cache.fills.keeper import Keeper, ShelfKeeper
from storage.blobs.shelf import BlobShelf
from storage.errors import Problem
from storage.index.index import open_environment
from storage.index.tables import BlobTables


@contextmanager
def cache_at(root: Path, *, pack_bytes_max: int = 64 << 20) -> Iterator[tuple[BlobShelf, Keeper]]:
    """The cache of a node; several processes may have it open at the same root, one of them only once."""
    (root / "index").mkdir(parents=True, exist_ok=True)
    env = open_environment(root / "index", durable=False)
    shelf = BlobShelf(root / "packs", env, BlobTables.of(env), bytes(16), durable=False, pack_bytes_max=pack_bytes_max)
    try:
        yield shelf, ShelfKeeper(shelf)
    finally:
        shelf.close()
        env.close()


async def drain(fill: Fill) -> bytes:
    """Everything a waiter gets, in order, as it is released."""
    found = bytearray()
    while ready := await fill.wait(len(found)):
        found += os.pread(fill.descriptor, min(ready, 1 << 20), fill.start + len(found))
    return bytes(found)


async def _fetch(root: Path, url: str, key: bytes, size: int, sha256: str) -> None:
    """What the other process does: join, tell when it is open, then tell how it ended."""
    remote = Remote(silence_seconds_max=10)
    with cache_at(root) as (_, keeper):
        async with trio.open_nursery() as nursery:
            flights = Flights(nursery, keeper, root / "fills")
            try:
                fill = await flights.join(
                    key, size, {"sha256": sha256}, lambda at: remote.open_stream(url, offset=at, private_network=True)
                )
                print("open", fill.size, flush=True)
                body = await drain(fill)
                print("done", hashlib.sha256(body).hexdigest(), (await fill.done()).hex(), flush=True)
            except Problem as problem:
                print("failed", problem.code, flush=True)
            nursery.cancel_scope.cancel()
    remote.close()


def spawn_fetch(root: Path, url: str, key: bytes, size: int, sha256: str) -> "subprocess.Popen[str]":
    """Another worker process that asks for the same object; it prints "open", then "done" or "failed"."""
    arguments = [str(root), url, key.hex(), str(size), sha256]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.harness.caches", *arguments], stdout=subprocess.PIPE, text=True, bufsize=1
    )


if __name__ == "__main__":
    trio.run(_fetch, Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
