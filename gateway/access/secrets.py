"""Where does an origin keep the credentials of its upstreams?

In `secrets.json` (0600) in its data directory, and nowhere else: the journal goes to every edge, and upstream
credentials must not. The file is small, replaced as a whole by rename, and written under a lock, so any worker may
change it and every worker sees the change at its next look.

A Credential is bound to the address it was given for: an upstream that is made again under the same name with another
url never gets the old one's secret.
"""

import base64
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from storage.errors import Damaged, Full

FILE_NAME = "secrets.json"
FILE_BYTES_MAX = 16 << 20


class Place(NamedTuple):
    """Which upstream a Credential is for. No part holds a slash."""

    workspace: str
    repository: str
    format: str
    name: str

    def key(self) -> str:
        return "/".join(self)


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is shown to one upstream: Basic with a `username`, Bearer without."""

    url: str
    password: str
    username: str = ""

    def authorization(self) -> str:
        """The value of the Authorization header."""
        if not self.username:
            return f"Bearer {self.password}"
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    def __repr__(self) -> str:
        return f"Credential(url={self.url!r}, password=hidden)"


_Known = dict[str, Credential]


class Secrets:
    """The credentials in `path`. Calls are synchronous; `set` and `remove` wait for the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread_lock = threading.Lock()
        self._seen: tuple[tuple[int, int, int] | None, _Known] = (None, {})

    def get(self, place: Place, url: str) -> Credential | None:
        """The Credential of an upstream whose address is `url` now; None where none was given for that address.

        Raises Damaged where the file cannot be trusted.
        """
        found = self._current().get(place.key())
        return found if found is not None and found.url == url else None

    def set(self, place: Place, credential: Credential) -> None:
        """Keep a Credential, in place of what was there. Raises Full, Damaged."""
        self._change(lambda known: known | {place.key(): credential})

    def remove(self, place: Place) -> None:
        """Forget the Credential of one upstream; nothing happens where there is none."""
        self._change(lambda known: {key: value for key, value in known.items() if key != place.key()})

    def remove_repository(self, workspace: str, repository: str) -> None:
        """Forget the Credentials of all upstreams of a Repository."""
        gone = f"{workspace}/{repository}/"
        self._change(lambda known: {key: value for key, value in known.items() if not key.startswith(gone)})

    def _current(self) -> _Known:
        try:
            seen = os.stat(self._path)
        except FileNotFoundError:
            return {}
        mark = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
        if self._seen[0] != mark:
            self._seen = (mark, _read(self._path))
        return self._seen[1]

    def _change(self, edit: Callable[[_Known], _Known]) -> None:
        with self._thread_lock, _locked(self._path.with_suffix(".lock")):
            before = _read(self._path)
            after = edit(before)
            if after != before:
                _replace(self._path, msgspec.json.format(msgspec.json.encode(after), indent=1) + b"\n")


def _read(path: Path) -> _Known:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    with open(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise Damaged(f"{FILE_NAME} can be read by other users of this machine.", f"Run: chmod 600 {FILE_NAME}")
        raw = file.read(FILE_BYTES_MAX)
    try:
        return msgspec.json.decode(raw, type=_Known)
    except msgspec.MsgspecError:
        # the decoder's own words could quote the file
        raise Damaged(f"{FILE_NAME} is not what was written to it.", "Remove it and set it again.") from None


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
        raise Full(f"{FILE_NAME} could not be written: {error.strerror}.", "Make room, then try again.") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
