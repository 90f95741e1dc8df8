"""Rooms that misbehave on purpose, for the sandbox to survive."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from formats.kit.contract import Blob, Finds, Foreign, Received
from storage.errors import Conflict, TooMany
from storage.nouns import File, Package


def read(received: Received) -> Finds:
    with open(received.descriptor, "rb", closefd=False) as file:
        file.seek(received.start)
        return Finds(facts=file.read())


def pid(received: Received) -> Finds:
    return Finds(facts=str(os.getpid()).encode())


def derive(received: Received) -> Finds:
    Path(received.directory, "part").write_bytes(b"derived")
    return Finds(blobs={"part": Blob(path="part")}, facts=received.directory.encode(), context=received.context)


def large(received: Received) -> Finds:
    return Finds(facts=bytes(20 << 20))


def loop(received: Received) -> Finds:
    while True:
        pass


def sleep(received: Received) -> Finds:
    time.sleep(3600)
    return Finds()


def memory(received: Received) -> Finds:
    return Finds(facts=bytes(4 << 30))


def leave(received: Received) -> Finds:
    os._exit(3)


def write(received: Received) -> Finds:
    Path(received.directory, "x").write_bytes(b"x" * (2 << 20))
    return Finds()


def write_many(received: Received) -> Finds:
    for number in range(4):
        Path(received.directory, f"x{number}").write_bytes(b"x" * (512 << 10))
    return Finds()


def connect(received: Received) -> Finds:
    socket.create_connection(("127.0.0.1", int(received.context)), 1).close()
    return Finds()


def fork(received: Received) -> Finds:
    if os.fork() == 0:
        time.sleep(3600)
    return Finds()


def execute(received: Received) -> Finds:
    subprocess.run(["/bin/true"], check=True)
    return Finds()


def overwrite(received: Received) -> Finds:
    os.pwrite(received.descriptor, b"other", 0)
    return Finds()


def link(received: Received) -> Finds:
    os.symlink("/etc/passwd", Path(received.directory, "x"))
    return Finds()


def descriptors(received: Received) -> Finds:
    kept = [os.dup(received.descriptor) for _ in range(10_000)]
    return Finds(facts=str(kept).encode())


def nonsense(received: Received) -> Any:
    return {"facts": 5, "blobs": [1, 2]}


def problem(received: Received) -> Finds:
    raise Conflict("It is taken.", "Take another.")


def busy(received: Received) -> Finds:
    raise TooMany("Slowly.", retry_after_s=7)


DEEDS: dict[str, Callable[[Received], Finds]] = {
    deed.__name__: deed
    for deed in (
        read, pid, derive, large, loop, sleep, memory, leave, write, write_many, connect, fork, execute, overwrite,
        link, descriptors, nonsense, problem, busy,
    )
}  # fmt: skip


class Misbehaving:
    """`unpack` does what the upload's file name says, `learn` what its package is called."""

    name = "bad"

    def unpack(self, ask: Any, received: Received) -> Finds:
        try:
            return DEEDS[received.filename](received)
        except KeyError:
            raise KeyError("secret detail") from None

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        if package == "loop":
            loop(Received({}, "", -1, Blob(), ""))
        if package == "unknown":
            raise KeyError("secret detail")
        return Foreign(Package(package), files=(File(url, "", b"", len(raw)),))


ROOMS = {"bad": Misbehaving()}
