"""How is a hostile package taken apart without harm? In a child process with limits, spoken to over a socket pair.

Children are started when first needed and kept; one that takes too long, dies or answers nonsense is killed.
What goes in is a descriptor and the request, what comes out is checked against the schema. A Problem that a room
raises there is raised here as the same Problem; anything else is a package that could not be taken apart.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import trio

from formats.kit.contract import Ask, Blob, Finds, Foreign
from gateway.config import Sandbox as Limits
from gateway.insight.errorlog import report
from storage import errors
from storage.errors import Invalid, Problem, Unavailable

ANSWER_BYTES_MAX = 512 << 20
_LENGTH = struct.Struct("<I")
_PROBLEMS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Problem)
}


class Job(msgspec.Struct):
    """One piece of work for a child. `kind` is unpack or learn."""

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


class Outcome(msgspec.Struct):
    """What a child says: the result as msgpack, or a Problem's class, message and remedy, or the name of a fault."""

    result: bytes = b""
    problem: tuple[str, str, str] | None = None
    fault: str = ""


class Workdir:
    """A directory for derived files; removed when its `with` block ends."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(dir=root))

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class _Child:
    """One child process and our end of its socket."""

    def __init__(self, limits: Limits, rooms: str) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.sandbox_child", str(theirs.fileno()), rooms,
                 str(limits.memory_bytes_max), str(limits.derived_bytes_max), str(int(limits.seconds_max))],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
                start_new_session=True,
            )  # fmt: skip

    def exchange(self, message: bytes, descriptor: int, seconds: float) -> bytes:
        """Send a job, read the answer; OSError, EOFError or TimeoutError where there is none."""
        self.socket.settimeout(seconds)
        head = _LENGTH.pack(len(message))
        if descriptor >= 0:
            socket.send_fds(self.socket, [head], [descriptor])
        else:
            self.socket.sendall(head)
        self.socket.sendall(message)
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if size > ANSWER_BYTES_MAX:
            raise EOFError("the answer is too large")
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(min(1 << 20, size - len(data)))
            if not part:
                raise EOFError("the child ended")
            data += part
        return bytes(data)

    def kill(self) -> None:
        self.socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Sandbox:
    """The children of one worker. `rooms` names the module whose ROOMS they serve."""

    def __init__(self, config: Limits, directory: Path, rooms: str = "formats") -> None:
        self._config = config
        self._directory = directory
        self._rooms = rooms
        self._idle: list[_Child] = []
        self._limiter = trio.CapacityLimiter(config.processes)

    def close(self) -> None:
        """End the children."""
        while self._idle:
            self._idle.pop().kill()

    async def unpack(
        self,
        room: str,
        ask: Ask,
        fields: dict[str, list[str]],
        filename: str,
        descriptor: int,
        start: int,
        blob: Blob,
        context: Any,
    ) -> tuple[Finds, Workdir]:
        """What a room finds in an upload, and the derived files' directory, the caller's to close. Raises Problem."""
        workdir = Workdir(self._directory)
        job = Job("unpack", room, ask, fields, filename, start, blob, str(workdir.path), context)
        try:
            result = await self._do(job, descriptor)
            return await trio.to_thread.run_sync(_finds, result), workdir
        except BaseException:
            workdir.__exit__(None, None, None)
            raise

    async def learn(self, room: str, package: str, raw: bytes, url: str) -> Foreign:
        """What a foreign registry's answer says. Raises Problem."""
        result = await self._do(Job("learn", room, package=package, raw=raw, url=url), -1)
        return await trio.to_thread.run_sync(_foreign, result)

    async def _do(self, job: Job, descriptor: int) -> bytes:
        message = msgspec.msgpack.encode(job)
        outcome = await trio.to_thread.run_sync(self._work, message, descriptor, limiter=self._limiter)
        if outcome.problem is not None:
            name, text, remedy = outcome.problem
            raise _PROBLEMS.get(name, Invalid)(text, remedy)
        if outcome.fault:
            report("warning", "taking a package apart failed", fault=outcome.fault, room=job.room)
            raise Invalid("The package could not be taken apart.", "It is damaged, or not what its name says.")
        return outcome.result

    def _work(self, message: bytes, descriptor: int) -> Outcome:
        try:
            child = self._idle.pop() if self._idle else _Child(self._config, self._rooms)
        except OSError as error:
            raise Unavailable("No process could be started to look into the package.", retry_after_s=5) from error
        try:
            outcome = msgspec.msgpack.decode(
                child.exchange(message, descriptor, self._config.seconds_max), type=Outcome
            )
        except TimeoutError:
            child.kill()
            return Outcome(fault="took too long")
        except (OSError, EOFError, msgspec.DecodeError) as error:
            child.kill()
            return Outcome(fault=f"the process ended: {type(error).__name__}")
        if outcome.fault:
            child.kill()  # whatever it left in that process is not trusted
        else:
            self._idle.append(child)
        return outcome


def _finds(result: bytes) -> Finds:
    return msgspec.msgpack.decode(result, type=Finds)


def _foreign(result: bytes) -> Foreign:
    return msgspec.msgpack.decode(result, type=Foreign)
