"""How does an upload in parts survive a lost connection, a restart, and a change of worker?

A Session is a data file with room for the headers of a pack at its front, and a small file that says whose it is.
The file's length is the offset, so there is nothing to disagree with. An exclusive lock keeps two writers apart.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from storage import disk
from storage.blobs.intake import Staged
from storage.blobs.packs import SINGLE_START
from storage.errors import Absent, Conflict, Invalid, RangeRefused, TooMany

BEGUN_SECONDS_MAX = 3600
_ID = re.compile(r"[A-Za-z0-9_-]{32}")


Ended = Callable[[str, str, str], None]
"""Told the workspace, the repository and the id of a session that is gone."""


class Session(msgspec.Struct, frozen=True):
    """A resumable upload: who began it, for which place, `length` (-1 = not announced), and the plan's context."""

    id: str
    owner: str
    workspace: str
    repository: str
    created_ms: int
    length: int = -1
    digests: tuple[str, ...] = ()
    context: Any = None


class Sessions:
    """All sessions of a store. Synchronous; `finish` reads the whole file, so call it in a thread."""

    def __init__(
        self,
        folder: Path,
        *,
        seconds_max: int = 7 * 24 * 3600,
        sessions_max: int = 10_000,
        ended: Ended = lambda workspace, repository, id: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ended = ended
        self._folder = folder
        self.seconds_max = seconds_max
        self._sessions_max = sessions_max

    def start(
        self,
        owner: str,
        workspace: str,
        repository: str,
        length: int = -1,
        digests: tuple[str, ...] = (),
        context: Any = None,
    ) -> Session:
        """A new, empty session. Raises TooMany, Full."""
        if sum(1 for _ in self._folder.glob("*.json")) >= self._sessions_max:
            raise TooMany("Too many uploads are unfinished here.", "Finish or cancel some.", retry_after_s=60)
        id = secrets.token_urlsafe(24)
        session = Session(id, owner, workspace, repository, time.time_ns() // 1_000_000, length, digests, context)
        with disk.room("for this upload"):
            self._data(id).touch(mode=0o600, exist_ok=False)
            os.truncate(self._data(id), SINGLE_START)
            disk.replace_file(self._meta(id), msgspec.json.encode(session))
        return session

    def get(self, id: str) -> Session:
        """Raises Absent for an id that is none or has expired."""
        if not _ID.fullmatch(id):
            raise Absent("There is no such upload.", "Start it again.")
        try:
            session = msgspec.json.decode(self._meta(id).read_bytes(), type=Session)
        except FileNotFoundError:
            raise Absent("There is no such upload.", "Start it again.") from None
        if self.seconds_left(session) <= 0:
            raise Absent("This upload has expired.", "Start it again.")
        return session

    def seconds_left(self, session: Session) -> int:
        return session.created_ms // 1000 + self.seconds_max - int(time.time())

    def offset(self, session: Session) -> int:
        """How many bytes are kept."""
        return self._data(session.id).stat().st_size - SINGLE_START

    @contextmanager
    def append(self, session: Session, offset: int) -> Iterator["Appending"]:
        """Write behind what is there; `offset` -1 = wherever it stands. Leaving makes it durable, which takes a sync.

        Raises Conflict, RangeRefused.
        """
        fd = self._locked(session)
        try:
            at = os.fstat(fd).st_size - SINGLE_START
            if offset not in (-1, at):
                raise RangeRefused(f"This upload stands at {at}, not at {offset}.", "Ask where it stands, go on there.")
            appending = Appending(fd, at)
            try:
                yield appending
            finally:
                disk.settle(fd, "an upload")
        finally:
            os.close(fd)

    def finish(self, session: Session, digests: tuple[str, ...] = ()) -> Staged:
        """The whole upload as a sealed Staged, with `digests` beside those wanted at the start; the session stays until
        `remove`. Reads everything once."""
        fd = self._locked(session)
        size = os.fstat(fd).st_size - SINGLE_START
        if session.length not in (-1, size):
            os.close(fd)
            raise Invalid(f"This upload announced {session.length} bytes and has {size}.", "Send the rest first.")
        return Staged.of_file(self._data(session.id), fd, tuple(dict.fromkeys((*session.digests, *digests))))

    def remove(self, session: Session) -> None:
        self._meta(session.id).unlink(missing_ok=True)
        self._data(session.id).unlink(missing_ok=True)
        self._ended(session.workspace, session.repository, session.id)

    def held(self) -> Iterator[tuple[str, str, str, int]]:
        """Workspace, repository and id of every session, and how many bytes it has room for: what it announced, else
        what it has."""
        for path in list(self._folder.glob("*.json")):
            with suppress(FileNotFoundError, msgspec.DecodeError):
                session = msgspec.json.decode(path.read_bytes(), type=Session)
                size = max(session.length, self.offset(session))
                yield session.workspace, session.repository, session.id, size

    def expire(self) -> int:
        """Remove what is too old or was never wholly begun, unless it is in use; returns how many."""
        count = 0
        for path in self._folder.glob("*.data"):
            if not path.with_suffix(".json").exists() and time.time() - path.stat().st_mtime > BEGUN_SECONDS_MAX:
                path.unlink(missing_ok=True)
                count += 1
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError, msgspec.DecodeError):
                session = msgspec.json.decode(path.read_bytes(), type=Session)
                if self.seconds_left(session) <= 0 and not self._in_use(session):
                    self.remove(session)
                    count += 1
        return count

    def _in_use(self, session: Session) -> bool:
        try:
            os.close(self._locked(session))
        except Conflict:
            return True
        except Absent:
            return False
        return False

    def _locked(self, session: Session) -> int:
        try:
            fd = os.open(self._data(session.id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Absent("There is no such upload.", "Start it again.") from None
        if not disk.lock(fd):
            os.close(fd)
            raise Conflict("This upload is being written to by another request.", "Wait for that one to end.")
        if os.fstat(fd).st_nlink != 1:  # its bytes became a pack, and whoever did that did not live to remove it
            os.close(fd)
            self.remove(session)
            raise Absent("This upload was finished.", "Look whether it is there, else start it again.")
        return fd

    def _meta(self, id: str) -> Path:
        return self._folder / f"{id}.json"

    def _data(self, id: str) -> Path:
        return self._folder / f"{id}.data"


class Appending:
    """Where the next bytes of a session go."""

    def __init__(self, fd: int, at: int) -> None:
        self._fd = fd
        self.offset = at
        self._writeback = disk.Writeback(SINGLE_START + at)

    def write(self, data: memoryview | bytes) -> None:
        """Keep `data`. Raises Full; what was kept before stays."""
        with disk.room("for this upload"):
            disk.write_all(self._fd, data, SINGLE_START + self.offset)
        self.offset += len(data)
        self._writeback.reach(self._fd, SINGLE_START + self.offset)
