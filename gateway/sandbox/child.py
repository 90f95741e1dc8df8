"""What runs inside the sandbox? One job after the other from a socket, behind walls that stood before the first.

The wire, both ways: a u32 length, then that many bytes of msgpack. The length of a job is sent together with the
descriptor of what it is about. This process imports the rooms, or the readers, and nothing of the gateway but its own
walls.
"""

import importlib
import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

from formats.kit.contract import Ask, Blob, Finds, Foreign, Received, Room
from gateway.sandbox import walls
from storage.errors import Problem

LENGTH = struct.Struct("<I")
SPENT_KIB = 256 << 10
"""A child that ever was so large in memory is not kept: Python gives little of it back."""
FRAMES_MAX = 12
Readers = Mapping[str, Callable[[Any, bytes], object]]
"""Who reads a document, by name: what is asked about it, and its bytes, become the result."""


class Job(msgspec.Struct):
    """One piece of work. For `unpack` the descriptor is the upload, for `learn` the upstream's answer, for `read` a
    document, whose reader `room` is."""

    kind: Literal["unpack", "learn", "read"]
    room: str
    ask: Ask | None = None
    fields: dict[str, list[str]] = {}
    filename: str = ""
    start: int = 0
    blob: Blob | None = None
    directory: str = ""
    context: Any = None
    package: str = ""
    url: str = ""


class Outcome(msgspec.Struct):
    """What became of a job: the result as msgpack, or a Problem (its class, message, remedy and retry_after_s), or a
    fault of ours: the exception's class and where it was raised, without its message, which may quote the package."""

    result: bytes = b""
    problem: tuple[str, str, str, int | None] | None = None
    fault: str = ""
    frames: list[str] = []
    spent: bool = False


def serve(channel: socket.socket, rooms: Mapping[str, Room], readers: Readers, seconds: int) -> None:
    """Until the other end is closed."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(channel, LENGTH.size, 1)
        if not head:
            return
        head += _exactly(channel, LENGTH.size - len(head))
        message = _exactly(channel, LENGTH.unpack(head)[0])
        walls.allow_seconds(seconds)
        outcome = _outcome(message, rooms, readers, descriptors[0])
        del message
        os.close(descriptors[0])
        outcome.spent = bool(outcome.fault) or most_memory_kib() > SPENT_KIB
        answer = msgspec.msgpack.encode(outcome)
        channel.sendall(LENGTH.pack(len(answer)))
        channel.sendall(answer)


def most_memory_kib() -> int:
    """The most memory that this program has had. Not getrusage: its maximum is inherited from who started us, so that
    the children of a large process would all look spent."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)


def _outcome(message: bytes, rooms: Mapping[str, Room], readers: Readers, descriptor: int) -> Outcome:
    try:
        job = msgspec.msgpack.decode(message, type=Job)
        if job.kind == "read":
            with open(descriptor, "rb", closefd=False) as file:
                return Outcome(msgspec.msgpack.encode(readers[job.room](job.context, file.read())))
        return Outcome(msgspec.msgpack.encode(_do(job, rooms[job.room], descriptor)))
    except Problem as problem:
        return Outcome(problem=(type(problem).__name__, problem.message, problem.remedy, problem.retry_after_s))
    except Exception as error:
        steps = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
        frames = [f"{step.filename}:{step.lineno} {step.name}" for step in steps]
        return Outcome(fault=type(error).__name__, frames=frames)


def _do(job: Job, room: Room, descriptor: int) -> Finds | Foreign:
    if job.kind == "learn":
        with open(descriptor, "rb", closefd=False) as file:
            return room.learn(job.package, file.read(), job.url)
    assert job.ask is not None
    assert job.blob is not None
    received = Received(job.fields, job.filename, descriptor, job.blob, job.directory, job.context, job.start)
    return room.unpack(job.ask, received)


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


def main(arguments: list[str]) -> None:
    """descriptor of the socket, process id of the parent, module of the rooms or readers, bytes of memory, bytes of a
    file, seconds of a job."""
    number, parent, name, memory_bytes, file_bytes, seconds = arguments
    module = importlib.import_module(name)
    rooms: Mapping[str, Room] = getattr(module, "ROOMS", {})
    readers: Readers = getattr(module, "READERS", {})
    walls.enclose(int(memory_bytes), int(file_bytes), int(parent))
    with socket.socket(fileno=int(number)) as channel, suppress(EOFError, ConnectionError):
        serve(channel, rooms, readers, int(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
