"""How is a hostile package taken apart without harm? In a child process with limits, spoken to over a socket pair.

Children are started when first needed and kept; one that takes too long, dies or answers nonsense is killed.
What goes in is a descriptor and the request, what comes out is checked against the schema. A Problem that a room
raises there is raised here as the same Problem; anything else is a package that could not be taken apart, or an
upstream that cannot be understood.
"""

import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import trio

from formats.kit.contract import Ask, Blob, Finds, Foreign
from gateway.config import Sandbox as Limits
from gateway.insight.errorlog import report
from gateway.sandbox.child import LENGTH, Job, Outcome
from storage import errors
from storage.errors import Invalid, Problem, TooLarge, Unavailable, UpstreamFailed
from storage.spans import note, step

ANSWER_BYTES_MAX = 256 << 20
INLINE_BYTES_MAX = 1 << 20
"""What is larger is written and decoded in a thread."""
ATTEMPTS_MAX = 3

_PROBLEMS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Problem)
}


class Lost(Exception):
    """A child gave no answer; the text says why, for the log."""


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
    """One child process and our end of its socket.

    It is started by the thread that runs the loop: the kernel ends it together with the thread that started it, and a
    helper thread is gone after some seconds without work.
    """

    def __init__(self, limits: Limits, rooms: str) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        with theirs:
            numbers = (theirs.fileno(), os.getpid())
            bounds = (limits.memory_bytes_max, limits.derived_bytes_max, math.ceil(limits.seconds_max))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.sandbox.child", *map(str, numbers), rooms, *map(str, bounds)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
                start_new_session=True,
            )

    def alive(self) -> bool:
        # Without reaping: until kill() its process id, which is also its group's, belongs to nobody else.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    async def send(self, message: bytes, descriptor: int) -> None:
        """Raises OSError where nobody listens any more."""
        await self._when(trio.lowlevel.wait_writable, self._send_head, LENGTH.pack(len(message)), descriptor)
        rest = memoryview(message)
        while rest:
            rest = rest[await self._when(trio.lowlevel.wait_writable, self._socket.send, rest) :]

    def _send_head(self, head: bytes, descriptor: int) -> None:
        sent = socket.send_fds(self._socket, [head], [descriptor])
        assert sent == len(head), "the first bytes into an empty socket are taken whole"

    async def answer(self) -> bytes:
        """Raises EOFError or OSError where the child ends, EOFError where it says too much."""
        (size,) = LENGTH.unpack(await self._exactly(LENGTH.size))
        if size > ANSWER_BYTES_MAX:
            raise EOFError("too large an answer")
        return await self._exactly(size)

    async def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await self._when(trio.lowlevel.wait_readable, self._socket.recv, min(1 << 20, size - len(data)))
            if not part:
                raise EOFError("the process ended")
            data += part
        return bytes(data)

    async def _when(self, ready: Any, call: Any, *arguments: Any) -> Any:
        while True:
            try:
                return call(*arguments)
            except BlockingIOError:
                await ready(self._socket)

    def kill(self) -> None:
        """End it with whatever it may have started."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class _Lane:
    """The children for one kind of work, and how many of them may be at work: one kind never waits for the other."""

    def __init__(self, processes: int) -> None:
        self.limiter = trio.CapacityLimiter(processes)
        self.idle: list[_Child] = []


class Sandbox:
    """The children of one worker. `rooms` names the module whose ROOMS, or READERS, they serve, `directory` is its own
    alone."""

    def __init__(self, config: Limits, directory: Path, rooms: str = "formats") -> None:
        self._config = config
        self._directory = directory
        self._rooms = rooms
        # an upload may take its whole time to be taken apart; who reads a foreign page does not stand behind it
        self._lanes = {kind: _Lane(config.processes) for kind in ("unpack", "learn", "read")}
        shutil.rmtree(directory, ignore_errors=True)  # what a killed worker left

    def close(self) -> None:
        """End the children."""
        for lane in self._lanes.values():
            while lane.idle:
                lane.idle.pop().kill()

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
        try:
            job = Job("unpack", room, ask, fields, filename, start, blob, str(workdir.path), context)
            with _readable(descriptor) as readable:
                finds = await self._do(job, readable, Finds)
            if sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(workdir.path)) > (
                self._config.derived_bytes_max
            ):
                raise TooLarge(f"More than {self._config.derived_bytes_max} bytes come out of the package.")
            return finds, workdir
        except BaseException:
            workdir.__exit__(None, None, None)
            raise

    async def learn(self, room: str, package: str, raw: bytes, url: str) -> Foreign:
        """What a foreign registry's answer says. Raises Problem."""
        return await self._told(Job("learn", room, package=package, url=url), raw, Foreign)

    async def read[Result](self, reader: str, asked: Any, raw: bytes, wanted: type[Result]) -> Result:
        """What a reader makes of a document, asked this about it. Raises Problem."""
        return await self._told(Job("read", reader, context=asked), raw, wanted)

    async def _told[Result](self, job: Job, raw: bytes, wanted: type[Result]) -> Result:
        descriptor = os.memfd_create("answer", os.MFD_CLOEXEC)
        try:
            if len(raw) > INLINE_BYTES_MAX:
                await trio.to_thread.run_sync(_write_all, descriptor, raw)
            else:
                _write_all(descriptor, raw)
            with _readable(descriptor) as readable:
                return await self._do(job, readable, wanted)
        finally:
            os.close(descriptor)

    async def _do[Result](self, job: Job, descriptor: int, wanted: type[Result]) -> Result:
        """Have a job done in a child, alone there; what comes back is a `wanted` or a Problem."""
        message, lane = msgspec.msgpack.encode(job), self._lanes[job.kind]
        try:
            with step(f"sandbox {job.kind}"):
                note("entrepot.room", job.room)
                note("entrepot.bytes", os.fstat(descriptor).st_size - job.start)
                outcome = await self._had_done(lane, message, descriptor)
            if outcome.problem is not None:
                name, text, remedy, retry_after_s = outcome.problem
                raise _PROBLEMS.get(name, Invalid)(text, remedy, retry_after_s=retry_after_s)
            if outcome.fault:
                raise Lost(" < ".join([outcome.fault, *reversed(outcome.frames)]))
            return await _decode(outcome.result, wanted)
        except (Lost, msgspec.DecodeError, trio.TooSlowError) as error:
            report("warning", f"{job.kind} failed", room=job.room, why=f"{type(error).__name__} {error}".strip())
            raise _lament(job, slow=isinstance(error, trio.TooSlowError)) from None

    async def _had_done(self, lane: _Lane, message: bytes, descriptor: int) -> Outcome:
        async with AsyncExitStack() as stack:
            with step("wait for a process"):
                await stack.enter_async_context(lane.limiter)
                child = await stack.enter_async_context(self._child(lane, message, descriptor))
            outcome = await self._outcome(child)
            if not outcome.spent and not outcome.fault:
                lane.idle.append(child)
            return outcome

    async def _outcome(self, child: _Child) -> Outcome:
        with trio.fail_after(self._config.seconds_max):
            try:
                answer = await child.answer()
            except (OSError, EOFError) as error:
                raise Lost(str(error) or type(error).__name__) from None
        return await _decode(answer, Outcome)

    @contextlib.asynccontextmanager
    async def _child(self, lane: _Lane, message: bytes, descriptor: int) -> AsyncIterator[_Child]:
        """A child that took the job. It is killed at the end unless it is back among the idle ones."""
        child = await self._started(lane, message, descriptor)
        try:
            yield child
        finally:
            if child not in lane.idle:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(child.kill)

    async def _started(self, lane: _Lane, message: bytes, descriptor: int) -> _Child:
        """An idle child may have died in the meantime: then the job was not begun, and goes to the next."""
        for _ in range(ATTEMPTS_MAX):
            try:
                child = lane.idle.pop() if lane.idle else _Child(self._config, self._rooms)
            except OSError as error:
                raise Unavailable("No process could be started to look into this.", retry_after_s=5) from error
            given = False
            try:
                if child.alive():
                    with trio.fail_after(self._config.seconds_max):
                        await child.send(message, descriptor)
                    given = True
                    return child
            except OSError:
                continue
            finally:
                if not given:
                    child.kill()
        raise Lost("no process took it")


def _lament(job: Job, *, slow: bool) -> Problem:
    if job.kind == "learn":
        return UpstreamFailed("The upstream's answer could not be understood.", "Try again later.")
    if job.kind == "read":
        return Invalid("This document could not be read.", "Check that it is what it should be.")
    if slow:
        return Invalid("The package took too long to take apart.", "Send one that is simpler or smaller.")
    return Invalid("The package could not be taken apart.", "It is damaged, or not what its name says.")


async def _decode[Result](data: bytes, wanted: type[Result]) -> Result:
    if len(data) > INLINE_BYTES_MAX:
        return await trio.to_thread.run_sync(lambda: msgspec.msgpack.decode(data, type=wanted))
    return msgspec.msgpack.decode(data, type=wanted)


@contextlib.contextmanager
def _readable(descriptor: int) -> Iterator[int]:
    """The same bytes behind a descriptor that cannot write them, and whose position nobody shares."""
    own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield own
    finally:
        os.close(own)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
