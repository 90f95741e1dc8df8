"""When are bytes durable, and what does a failing disk mean?

The one file that turns what the operating system says about the disk into Problems. No room is Full, and passes.
A failed fsync is final: the kernel may have dropped the pages and would report the next fsync as good, so the process
says so and ends (status 70) before it can acknowledge anything that rests on them. It never tries again.
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import lmdb

from storage.errors import Full

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
EXIT_FSYNC = 70
NEARLY_FULL_BYTES = 4 << 20
WRITEBACK_BYTES = 8 << 20
PART_BYTES_MIN = 64 << 10
"""From here on a call of the kernel costs less than one more copy."""

HELD_BYTES = 32 << 20
"""The end of a long upload that stays in memory while it is received."""

_WRITEBACK = 2
"""SYNC_FILE_RANGE_WRITE: start writing, wait for nothing."""

_libc = ctypes.CDLL(None, use_errno=True)


def die(text: str) -> NoReturn:
    """Say why on stderr and end the process at once, without running anything that might acknowledge."""
    with suppress(OSError):
        os.write(2, f"entrepot: {text}\n".encode())
    os._exit(EXIT_FSYNC)


def full(what: str) -> Full:
    return Full(f"There is no room on the disk {what}.", "Free some space, then send it again.", retry_after_s=60)


@contextmanager
def room(what: str) -> Iterator[None]:
    """Turns "no room" from the system into Full; other errors pass as they are."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise full(what) from error
        raise


def free_bytes(fd_or_path: int | Path) -> int:
    """What an ordinary user could still write there."""
    state = os.statvfs(fd_or_path)
    return state.f_bavail * state.f_frsize


def judge_index(error: lmdb.Error, path: Path, *, durable: bool = True) -> Full | None:
    """What a failed LMDB commit means: Full for no room, None for a bug or damage; a failed sync ends the process.

    LMDB reports a short write as EIO, so EIO on a disk without space is taken for no room. Where nothing rests on the
    environment (`durable` False) no failure ends the process.
    """
    code = getattr(error, "code", 0)
    if code in NO_ROOM or isinstance(error, lmdb.MapFullError):
        return full("for the index")
    if code == errno.EIO:
        if free_bytes(path) < NEARLY_FULL_BYTES:
            return full("for the index")
        if not durable:
            return None
        die(f"the index could not be made durable ({error}); stopping, nothing further is acknowledged")
    if isinstance(error, lmdb.PanicError) and durable:
        die(f"the index cannot go on ({error}); stopping, nothing further is acknowledged")
    return None


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write every byte at `offset`. A short write is gone on with, so that its cause shows as an error."""
    left = memoryview(data)
    while left:
        done = os.pwrite(fd, left, offset)
        left = left[done:]
        offset += done


def write_parts(fd: int, parts: Sequence[bytes | bytearray], offset: int) -> None:
    """Write these one behind the other, the first at `offset`. Small ones are joined, large ones are not copied."""
    small: list[bytes | bytearray] = []
    size = 0
    for one in parts:
        if len(one) < PART_BYTES_MIN:
            small.append(one)
            size += len(one)
            continue
        write_all(fd, b"".join(small), offset)
        write_all(fd, one, offset + size)
        offset += size + len(one)
        small, size = [], 0
    write_all(fd, b"".join(small), offset)


def read_all(fd: int, length: int, offset: int) -> bytes:
    """`length` bytes at `offset`, fewer only at the end of the file."""
    data = os.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := os.pread(fd, length - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def settle(fd: int, name: str) -> None:
    """Make what was written to `fd` durable, or end the process."""
    try:
        os.fdatasync(fd)
    except OSError as error:
        die(f"fdatasync of {name} failed ({error.strerror}); stopping, nothing further is acknowledged")


def settle_directory(path: Path) -> None:
    """Make names created in, moved into or removed from `path` durable, or end the process."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        die(f"fsync of a directory failed ({error.strerror}); stopping, nothing further is acknowledged")
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """Give `path` these bytes, durably, such that a crash leaves the old ones or the new ones."""
    fresh = path.with_name(path.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data, 0)
        settle(fd, path.name)
    finally:
        os.close(fd)
    fresh.rename(path)
    settle_directory(path.parent)


def lock(fd: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Take the flock of an open file; False when somebody else has it. It goes with the last copy of the descriptor."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def create_locked(path: Path) -> int:
    """A new file, opened for reading and writing and locked before anybody may take it for abandoned."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if lock(fd) and os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # a cleaner was faster: its unlink is done or about to be
        path.unlink(missing_ok=True)


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing a range out, so that a later settle has little left to wait for. A hint only."""
    _libc.sync_file_range(ctypes.c_int(fd), ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(_WRITEBACK))


class Writeback:
    """Keeps a file that grows in one long stretch from filling the memory: what has come is sent to the disk early, and
    what went there long enough ago is let go. So the last settle has little to wait for, and a large upload neither
    drives out what is being served nor pays for fresh memory all the way. Hints only: durability is `settle` alone.
    """

    def __init__(self, at: int) -> None:
        self._begun = at
        self._dropped = at

    def reach(self, fd: int, offset: int) -> None:
        """The file is written up to `offset` now. Pages that are not clean yet stay, so nothing is waited for."""
        if offset - self._begun < WRITEBACK_BYTES:
            return
        start_writeback(fd, self._begun, offset - self._begun)
        self._begun = offset
        old = offset - HELD_BYTES
        if old - self._dropped >= WRITEBACK_BYTES:
            os.posix_fadvise(fd, self._dropped, old - self._dropped, os.POSIX_FADV_DONTNEED)
            self._dropped = old


def remove_tree(path: Path) -> None:
    """Remove a directory and what it holds; no error if it is not there."""
    if not path.exists():
        return
    for folder, _, names in path.walk(top_down=False):
        for name in names:
            (folder / name).unlink()
        folder.rmdir()
