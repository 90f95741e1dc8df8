"""How does a repository come to a hundred thousand Debian packages within a minute, or to a million files in some?

    python -m bench.filling DATA WORKSPACE REPOSITORY WHAT FROM TO WORKER

WHAT is `generic`, or `deb/SUITE`. Through the store's own commit path, in processes of its own while the node is
stopped: each package is staged, taken apart and decided by the room's own code and committed as an entry of its own.
What is left out is HTTP and the sandbox.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from bench.hostile.archives import END, member
from bench.machine import use_all_cores
from formats import ROOMS
from formats.kit.contract import Ask, Blob, Received
from storage.commit import Decided
from storage.index.catalog import Reading
from storage.nouns import Draft
from storage.open import Store, now_ms, open_store

TASKS = 200
PROCESSES = 2
ROOT = Path(__file__).resolve().parents[1]
WORDS = [
    "access",
    "archive",
    "build",
    "client",
    "common",
    "configuration",
    "daemon",
    "data",
    "development",
    "documentation",
    "driver",
    "engine",
    "files",
    "for",
    "format",
    "framework",
    "graphics",
    "headers",
    "interface",
    "library",
    "manager",
    "network",
    "of",
    "parser",
    "protocol",
    "runtime",
    "server",
    "shared",
    "simple",
    "static",
    "support",
    "system",
    "the",
    "to",
    "tool",
    "utilities",
    "version",
    "with",
]


def ar(*members: tuple[str, bytes]) -> bytes:
    """An ar archive."""
    out = bytearray(b"!<arch>\n")
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        out += b"\n" * (len(data) & 1)
    return bytes(out)


def deb(number: int, version: str = "1.0-1") -> bytes:
    """A small package with a paragraph as long as a usual one (about 700 bytes), of architecture amd64."""
    dice = random.Random(f"{number} {version}")
    name = name_of(number)
    text = "".join(f"\n {' '.join(dice.choices(WORDS, k=10))}" for _ in range(5))
    control = (
        f"Package: {name}\nSource: {name}-source\nVersion: {version}\nArchitecture: amd64\n"
        f"Installed-Size: {number % 9999}\n"
        f"Maintainer: Team {number % 97} <team-{number % 97}@acme.example>\nSection: misc\nPriority: optional\n"
        f"Depends: libc6 (>= 2.{number % 40}), {name_of(number // 2)} (>= 1.0), {name_of(number // 3)}\n"
        f"Homepage: https://acme.example/{name}\nDescription: {' '.join(dice.choices(WORDS, k=6))}{text}\n"
    ).encode()
    data = b"".join(
        member(f"./usr/{place}/{name}{ending}".encode(), b"%d" % number)
        for place, ending in (("bin", ""), ("share/doc", ".README"), ("share/man/man1", ".1.gz"))
    )
    return ar(
        ("debian-binary", b"2.0\n"), ("control.tar", member(b"./control", control) + END), ("data.tar", data + END)
    )


def name_of(number: int) -> str:
    """As many names as there are numbers, spread over the alphabet as names are."""
    mixed = number * 7919 % 1_000_003
    return f"{'abcdefghijklmnopqrstuvwxyz'[mixed % 26]}{WORDS[mixed // 26 % len(WORDS)]}-{number}"


class Upload(NamedTuple):
    """One package as it is sent: the path within its room, the bytes, and what the room knows of the request."""

    path: str
    data: bytes
    context: dict[str, Any]


def deb_upload(suite: str, number: int) -> Upload:
    context = {"action": "publish", "file": f"{number}.deb", "distribution": suite, "component": "main"}
    return Upload(f"upload/{suite}/main/{number}.deb", deb(number), context)


def file_upload(_: str, number: int) -> Upload:
    path = f"{name_of(number)}/1.0/data.bin"
    return Upload(path, b"%020d" % number * 12, {"do": "put", "path": path, "media": "application/octet-stream"})


UPLOADS: dict[str, Callable[[str, int], Upload]] = {"deb": deb_upload, "generic": file_upload}


class Filling:
    """Packages from one number to the next into one repository."""

    def __init__(self, store: Store, workspace: str, repository: str, what: str) -> None:
        self._store = store
        self._at = workspace, repository
        self._format, _, self._suite = what.partition("/")
        self._room = ROOMS[self._format]
        self._upload = UPLOADS[self._format]

    async def one(self, number: int) -> None:
        assert self._store.committer is not None
        path, data, context = self._upload(self._suite, number)
        base = f"http://127.0.0.1/{'/'.join(self._at)}/{self._format}"
        ask = Ask("PUT", path, path, (), {}, base, *self._at, at_ms=now_ms(), format=self._format)
        with self._store.intake.stage() as staged:
            staged.write(data)
            staged.seal()
            blob = Blob(sha256=staged.sha256, size=staged.size)
            found = self._room.unpack(ask, Received({}, "", staged.descriptor(), blob, "", context, staged.start))
            finds = msgspec.structs.replace(found, blobs={"file": blob}, context=context)

            def decide(reading: Reading) -> Decided:
                made = self._room.decide(ask, finds, reading.view(*self._at, self._format))
                return Decided(Draft(*self._at, "bench", made.action, made.changes), None)

            await self._store.committer.commit(decide, [staged])

    async def all(self, numbers: range) -> None:
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await self.one(number)

        async with trio.open_nursery() as nursery:
            for _ in range(min(TASKS, len(numbers))):
                nursery.start_soon(work)


def fill(data: Path, repository: str, what: str, count: int) -> None:
    """`count` packages into workspace/repository of a store that nobody has open. Raises RuntimeError."""
    affinity = os.sched_getaffinity(0)
    use_all_cores()
    share = -(-count // PROCESSES)
    command = [sys.executable, "-m", "bench.filling", str(data), *repository.split("/"), what]
    running = [
        subprocess.Popen([*command, str(at), str(min(at + share, count)), str(worker)], cwd=ROOT)
        for worker, at in enumerate(range(0, count, share))
    ]
    codes = [one.wait() for one in running]
    os.sched_setaffinity(0, affinity)
    if any(codes):
        raise RuntimeError(f"{repository} could not be filled")


def main(data: str, workspace: str, repository: str, what: str, first: str, last: str, worker: str) -> None:
    store = open_store(Path(data), role="origin", worker=int(worker))
    try:
        trio.run(Filling(store, workspace, repository, what).all, range(int(first), int(last)))
    finally:
        store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
