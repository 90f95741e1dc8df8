"""How is a file kept that only this node's own user may read, and that every worker may change?

It is small, replaced as a whole by rename, and written under a lock, so every worker sees a change at its next look.
"""

import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from storage.errors import Damaged, Full

IsThere = Callable[[str, str], bool]
"""Is there a Repository of this name in the Workspace of this name?"""
FILE_BYTES_MAX = 16 << 20


class SecretFile[Known]:
    """A JSON document of a type that has an empty value, which it is as long as there is no file.

    Calls are synchronous; `change` waits for the disk.
    """

    def __init__(self, path: Path, kind: type[Known]) -> None:
        self._path = path
        self._kind = kind
        self._thread_lock = threading.Lock()
        self._seen: tuple[tuple[int, int, int], Known] | None = None

    def read(self) -> Known:
        """What it holds. Raises Damaged where it cannot be trusted."""
        try:
            seen = os.stat(self._path)
        except FileNotFoundError:
            return self._empty()
        mark = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, self._load())
        return self._seen[1]

    def change(self, edit: Callable[[Known], Known]) -> Known:
        """Replace what it holds by `edit` of it, and tell that. Raises Full, Damaged."""
        with self._thread_lock, _locked(self._path.with_suffix(".lock")):
            before = self._load()
            after = edit(before)
            if after != before:
                _replace(self._path, msgspec.json.format(msgspec.json.encode(after), indent=1) + b"\n")
            return after

    def _empty(self) -> Known:
        return msgspec.json.decode(b"{}", type=self._kind)

    def _load(self) -> Known:
        name = self._path.name
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return self._empty()
        with open(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise Damaged(f"{name} can be read by other users of this machine.", f"Run: chmod 600 {name}")
            raw = file.read(FILE_BYTES_MAX)
        try:
            return msgspec.json.decode(raw, type=self._kind)
        except msgspec.MsgspecError:
            # the decoder's own words could quote the file
            raise Damaged(f"{name} is not what was written to it.", "Remove it and set it again.") from None


def _replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of `path`, whole or not at all, durable when this returns."""
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(fresh, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise Full(f"{path.name} could not be written: {error.strerror}.", "Make room, then try again.") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
