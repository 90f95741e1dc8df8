"""How do the worker processes of a node share one fetch, and survive the death of whoever does it?

A fetch has two files in one directory, named by the digest of its key:

    NAME.flight   128 + 384 bytes of state, locked (flock) by the process that fetches
    NAME.N.part   what has arrived, after `header_bytes` of room for a pack's header; N is the generation

The lock is the kernel's: it ends with its holder, however that ends. Whoever gets it while the state says "filling"
takes over where the part stops. The size of the part is the watermark; it only grows. A terminal state is written
before the files are unlinked, so that a process which still has them open learns how it ended. A generation is
given up, never rewritten, when its bytes cannot be continued.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from storage import disk, errors
from storage.errors import Full, Problem, Unavailable, UpstreamFailed

SLOW_REMOVAL_BYTES = 32 << 20
STATE_BYTES = 512
_STATE = struct.Struct(">4sBIq32sH")
_MAGIC = b"EFL1"
_TEXT_BYTES_MAX = STATE_BYTES - _STATE.size - 4
_OPEN_TRIES_MAX = 200
_PROBLEMS = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Problem)}


class Phase(IntEnum):
    """How far a fetch is: nobody began, the source was asked, it answered. The last two are terminal."""

    NEW = 0
    ASKING = 1
    FILLING = 2
    DONE = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class State:
    """What every process may know of a fetch. `size` -1 = not yet known; `sha256` only when DONE."""

    phase: Phase
    generation: int = 0
    size: int = -1
    sha256: bytes = b""
    problem: str = ""
    """code NUL retry_after_s NUL message NUL remedy, only when FAILED."""

    @property
    def terminal(self) -> bool:
        return self.phase >= Phase.DONE


def encode(state: State) -> bytes:
    """STATE_BYTES with a checksum: a reader that meets a half-written one sees that."""
    text = state.problem.encode()[:_TEXT_BYTES_MAX]
    fixed = _STATE.pack(_MAGIC, state.phase, state.generation, state.size, state.sha256.ljust(32, b"\0"), len(text))
    body = (fixed + text).ljust(STATE_BYTES - 4, b"\0")
    return body + zlib.crc32(body).to_bytes(4, "big")


def decode(raw: bytes) -> State | None:
    """The state, or None where the bytes are no whole one."""
    if len(raw) != STATE_BYTES or zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "big"):
        return None
    magic, phase, generation, size, sha256, length = _STATE.unpack_from(raw)
    if magic != _MAGIC or phase not in tuple(Phase):
        return None
    text = raw[_STATE.size : _STATE.size + length].decode(errors="replace")
    return State(Phase(phase), generation, size, sha256 if phase == Phase.DONE else b"", text)


def told(problem: Problem) -> str:
    """A Problem as text that `retold` makes the same Problem of in another process."""
    return "\0".join((problem.code, str(problem.retry_after_s or ""), problem.message, problem.remedy))


def retold(text: str) -> Problem:
    code, _, rest = text.partition("\0")
    after, _, rest = rest.partition("\0")
    message, _, remedy = rest.partition("\0")
    kind = _PROBLEMS.get(code, UpstreamFailed)
    return kind(message or "The fetch failed.", remedy, retry_after_s=int(after) if after.isdigit() else None)


class Descriptor:
    """An open file that closes when nobody refers to it any more: waiters send from it long after the fetch."""

    __slots__ = ("number",)

    def __init__(self, path: Path, flags: int) -> None:
        self.number = -1
        self.number = os.open(path, flags | os.O_CLOEXEC, 0o640)

    def __del__(self) -> None:
        if self.number >= 0:
            with contextlib.suppress(OSError):
                _close(self.number)


class Slot:
    """This process's hold on one fetch. Blocking file calls, all short; not for two threads at once."""

    def __init__(self, directory: Path, key: bytes, header_bytes: int) -> None:
        name = hashlib.sha256(key).hexdigest()[:40]
        self.start = header_bytes
        self._directory = directory
        self._name = name
        self._path = directory / f"{name}.flight"
        self._file, self._last = self._opened()
        self.leads = False

    def _opened(self) -> tuple[Descriptor, State]:
        """The state file of a fetch that has not ended; one that ended, and was left behind, is cleared away."""
        for _ in range(_OPEN_TRIES_MAX):
            file = Descriptor(self._path, os.O_RDWR | os.O_CREAT)
            state = _read(file)
            if not state.terminal:
                return file, state
            if _locked(file):
                self._unlink(file)
            else:
                time.sleep(0.001)
        raise Unavailable("A finished fetch is not cleared away.", "Try again.", retry_after_s=2)

    def state(self) -> State:
        """The newest whole state."""
        self._last = _read(self._file, self._last)
        return self._last

    def lead(self) -> bool:
        """Take the lock if nobody has it. False: somebody leads, or it has ended (see `state`)."""
        if self.leads:
            return True
        if not _locked(self._file):
            return False
        if self.state().terminal:
            self.yield_lead()
            return False
        if not os.fstat(self._file.number).st_nlink:
            self._file, self._last = self._opened()
            return self.lead()
        self.leads = True
        return True

    def yield_lead(self) -> None:
        """Let another process take over."""
        self.leads = False
        with contextlib.suppress(OSError):
            fcntl.flock(self._file.number, fcntl.LOCK_UN)

    def write(self, state: State) -> None:
        """Only the leader may."""
        assert self.leads
        with disk.room("to fetch into"):
            count = os.pwrite(self._file.number, encode(state), 0)
        if count != STATE_BYTES:
            raise Full("There is no room left to fetch into.", "Free disk space.")
        self._last = state

    def hurry(self) -> None:
        """Tell the leader that a client waits for this in another process."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file.number, b"\1", STATE_BYTES)

    def hurried(self) -> bool:
        """Did another process say so?"""
        return bool(os.pread(self._file.number, 1, STATE_BYTES))

    def part_path(self, generation: int) -> Path:
        return self._directory / f"{self._name}.{generation}.part"

    def part(self, generation: int, *, create: bool = False) -> Descriptor | None:
        """The part of a generation; None where it is not (or no longer) there. A new one has its header's room."""
        try:
            file = Descriptor(self.part_path(generation), os.O_RDWR | (os.O_CREAT if create else 0))
        except FileNotFoundError:
            return None
        if create and os.fstat(file.number).st_size < self.start:
            os.ftruncate(file.number, self.start)
        return file

    def written(self, part: Descriptor) -> int:
        """The watermark: bytes of the object that are in the file."""
        return max(0, os.fstat(part.number).st_size - self.start)

    def finish(self, state: State) -> None:
        """Tell how it ended and clear away. The part of a success may have been adopted: then it is not here."""
        assert state.terminal
        assert self.leads
        with contextlib.suppress(Full, OSError):  # on a full disk the followers see the files go, and take over
            self.write(state)
        with contextlib.suppress(FileNotFoundError):
            self.part_path(state.generation).unlink()
        self._unlink(self._file)
        self.yield_lead()

    def discard(self, generation: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.part_path(generation).unlink()

    def _unlink(self, file: Descriptor) -> None:
        """Remove the state file, if the name still means the file that we hold locked."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == os.fstat(file.number).st_ino:
                self._path.unlink()


def write_whole(descriptor: int, data: memoryview, offset: int) -> None:
    """Every byte or Full."""
    try:
        while len(data):
            count = os.pwrite(descriptor, data, offset)
            data, offset = data[count:], offset + count
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Full("There is no room left to fetch into.", "Free disk space.") from error
        raise


def sweep(directory: Path, age_seconds_min: float) -> int:
    """Remove what fetches left behind that nobody continues, untouched for so long. Returns how many files."""
    removed = 0
    oldest = time.time() - age_seconds_min
    for path in directory.glob("*.flight"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime > oldest:
                continue
            file = Descriptor(path, os.O_RDWR)
            if _locked(file):
                for part in directory.glob(f"{path.stem}.*.part"):
                    part.unlink(missing_ok=True)
                    removed += 1
                path.unlink(missing_ok=True)
                removed += 1
    for path in directory.glob("*.part"):
        orphan = not (directory / f"{path.name.partition('.')[0]}.flight").exists()
        with contextlib.suppress(FileNotFoundError):
            if orphan and path.stat().st_mtime <= oldest:
                path.unlink()
                removed += 1
    return removed


def _close(number: int) -> None:
    """The last close of an unlinked file frees its blocks, about 0.2 s for each GB: no loop should wait for that."""
    state = os.fstat(number)
    if not state.st_nlink and state.st_size >= SLOW_REMOVAL_BYTES:
        with contextlib.suppress(RuntimeError):  # no thread begins while the interpreter ends
            threading.Thread(target=os.close, args=(number,), name="close", daemon=True).start()
            return
    os.close(number)


def _locked(file: Descriptor) -> bool:
    try:
        fcntl.flock(file.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: Descriptor, otherwise: State | None = None) -> State:
    """A state that is being written is read again; an empty file is a fetch that nobody has begun."""
    for _ in range(5):
        raw = os.pread(file.number, STATE_BYTES, 0)
        if not raw:
            break
        state = decode(raw)
        if state is not None:
            return state
    return otherwise or State(Phase.NEW)
