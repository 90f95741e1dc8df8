"""What runs inside the sandbox? One job after the other from a socket, under limits that were set before the first."""

import ctypes
import importlib
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

import msgspec

from formats.kit.contract import Ask, Blob, Received, Room
from storage.errors import Problem

_LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1
DESCRIPTORS_MAX = 64
PROCESSES = 0x10000000 | 0x40000000
"""CLONE_NEWUSER | CLONE_NEWNET: without a network, where the kernel lets us."""


class Job(msgspec.Struct):
    """As gateway.sandbox.Job, which this process does not import: it needs none of the gateway."""

    kind: str
    room: str
    ask: Ask | None = None
    fields: dict[str, list[str]] = {}
    filename: str = ""
    start: int = 0
    blob: Blob | None = None
    directory: str = ""
    context: Any = None
    package: str = ""
    raw: bytes = b""
    url: str = ""


def confine(memory_bytes: int, file_bytes: int) -> None:
    """Give up what the work does not need."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        os.unshare(PROCESSES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_MAX, DESCRIPTORS_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def serve(channel: socket.socket, rooms: dict[str, Room], seconds: int) -> None:
    """Until the other end is closed."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
        if not head:
            return
        message = _exactly(channel, _LENGTH.unpack(head)[0])
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        answer = msgspec.msgpack.encode(_answer(message, rooms, descriptors[0] if descriptors else -1))
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(_LENGTH.pack(len(answer)) + answer)


def _answer(message: bytes, rooms: dict[str, Room], descriptor: int) -> dict[str, object]:
    try:
        return {"result": _do(msgspec.msgpack.decode(message, type=Job), rooms, descriptor)}
    except Problem as problem:
        return {"problem": (type(problem).__name__, problem.message, problem.remedy)}
    except Exception as error:
        return {"fault": type(error).__name__}


def _do(job: Job, rooms: dict[str, Room], descriptor: int) -> bytes:
    room = rooms[job.room]
    if job.kind == "learn":
        return msgspec.msgpack.encode(room.learn(job.package, job.raw, job.url))
    assert job.ask is not None
    assert job.blob is not None
    received = Received(
        job.fields, job.filename, descriptor, job.blob, job.directory, job.context, job.start
    )
    return msgspec.msgpack.encode(room.unpack(job.ask, received))


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = channel.recv(min(1 << 20, size - len(data)))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def main(arguments: list[str]) -> None:
    """descriptor, module of the rooms, memory bytes, file bytes, seconds a job."""
    number, module, memory_bytes, file_bytes, seconds = arguments
    rooms: dict[str, Room] = importlib.import_module(module).ROOMS
    confine(int(memory_bytes), int(file_bytes))
    with socket.socket(fileno=int(number)) as channel, suppress(EOFError):
        serve(channel, rooms, int(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
