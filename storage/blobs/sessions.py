"""How does an upload in parts survive a lost connection, a restart, and a change of worker?

A Session is a data file with room for the headers of a pack at its front, and a small file that says whose it is.
The file's length is the offset, so there is nothing to disagree with. An exclusive lock keeps two writers apart.

A Session may have several parts that are written at the same time, where its length is announced. Then its data file is
as long as that from the start, with holes, and beside it lies an empty file for each part whose length is the offset
within it; who writes a part has that one's lock, and a shared one of the data. A part's offset moves when its bytes are
durable.
"""

import base64
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from storage import disk
from storage.blobs.intake import Staged
from storage.blobs.packs import SINGLE_START
from storage.errors import Absent, Conflict, Invalid, RangeRefused, TooMany

BEGUN_SECONDS_MAX = 3600
PARTS_MAX = 64
_ID = re.compile(r"[A-Za-z0-9_-]{32}")


Ended = Callable[[str, str, str], None]
"""Told the workspace, the repository and the id of a session that is gone."""


class Session(msgspec.Struct, frozen=True):
    """A resumable upload: who began it, for which place, `length` (-1 = not announced), and the plan's context.

    `parts` > 1 may be written at the same time; all but the last are equally long.
    """

    id: str
    owner: str
    workspace: str
    repository: str
    created_ms: int
    length: int = -1
    digests: tuple[str, ...] = ()
    context: Any = None
    parts: int = 1

    def bounds(self, part: int) -> tuple[int, int]:
        """Where a part begins and ends in the whole. Raises Absent where there is no such part."""
        if not 0 <= part < self.parts or self.parts == 1:
            raise Absent("This upload has no such part.", "Count from 0 to one less than was begun.")
        size = -(-self.length // self.parts)
        return min(part * size, self.length), min((part + 1) * size, self.length)


class Sessions:
    """All sessions of a store. Synchronous; `finish` reads the whole file, so call it in a thread."""

    def __init__(
        self,
        folder: Path,
        *,
        seconds_max: int = 7 * 24 * 3600,
        sessions_max: int = 10_000,
        sessions_workspace_max: int = 2_000,
        ended: Ended = lambda workspace, repository, id: None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ended = ended
        self._folder = folder
        self.seconds_max = seconds_max
        self._sessions_max = sessions_max
        self._workspace_max = sessions_workspace_max

    def start(
        self,
        owner: str,
        workspace: str,
        repository: str,
        length: int = -1,
        digests: tuple[str, ...] = (),
        context: Any = None,
        parts: int = 1,
    ) -> Session:
        """A new, empty session. Raises TooMany, Full, and Invalid for parts of what is not announced."""
        if not 1 <= parts <= PARTS_MAX or (parts > 1 and length < parts):
            raise Invalid("An upload cannot have so many parts.", f"Announce its length, and 1 to {PARTS_MAX} parts.")
        if sum(1 for _ in self._folder.glob("*.json")) >= self._sessions_max:
            raise TooMany("Too many uploads are unfinished here.", "Finish or cancel some.", retry_after_s=60)
        mine = _mark_of(workspace)
        if sum(1 for _ in self._folder.glob(f"{mine}*.json")) >= self._workspace_max:
            raise TooMany(
                "Too many uploads of this workspace are unfinished here.", "Finish or cancel some.", retry_after_s=60
            )
        id = mine + secrets.token_urlsafe(18)
        at_ms = time.time_ns() // 1_000_000
        session = Session(id, owner, workspace, repository, at_ms, length, digests, context, parts)
        with disk.room("for this upload"):
            self._data(id).touch(mode=0o600, exist_ok=False)
            os.truncate(self._data(id), SINGLE_START + (length if parts > 1 else 0))
            for part in range(parts if parts > 1 else 0):
                self._mark(id, part).touch(mode=0o600)
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

    def offset(self, session: Session, part: int = -1) -> int:
        """How many bytes are kept, in all or of one part. Raises Absent."""
        if part >= 0:
            session.bounds(part)
            return self._reached(session, part)
        if session.parts > 1:
            return sum(self._reached(session, one) for one in range(session.parts))
        return self._data(session.id).stat().st_size - SINGLE_START

    @contextmanager
    def append(self, session: Session, offset: int, part: int = -1) -> Iterator["Appending"]:
        """Write behind what is there; `offset` -1 = wherever it stands. Leaving makes it durable, which takes a sync.

        Of a session in parts a `part` is written, and `offset` is within it. Raises Conflict, RangeRefused, Absent.
        """
        if session.parts > 1 or part >= 0:
            with self._append_part(session, offset, part) as appending:
                yield appending
            return
        fd = self._locked(session)
        try:
            at = os.fstat(fd).st_size - SINGLE_START
            _expect(offset, at)
            appending = Appending(fd, at)
            try:
                yield appending
            finally:
                disk.settle(fd, "an upload")
        finally:
            os.close(fd)

    def _reached(self, session: Session, part: int) -> int:
        try:
            return self._mark(session.id, part).stat().st_size
        except FileNotFoundError:
            raise Absent("There is no such upload.", "Start it again.") from None

    @contextmanager
    def _append_part(self, session: Session, offset: int, part: int) -> Iterator["Appending"]:
        if part < 0:
            at = self.offset(session)
            _expect(offset, at)
            yield Appending(-1, at, 0)
            return
        begin, end = session.bounds(part)
        data = self._locked(session, shared=True)
        try:
            self._reached(session, part)
            mark = os.open(self._mark(session.id, part), os.O_RDWR | os.O_CLOEXEC)
            try:
                if not disk.lock(mark):
                    raise Conflict("This part is being written to by another request.", "Wait for that one to end.")
                at = os.fstat(mark).st_size
                _expect(offset, at)
                appending = Appending(data, at, end - begin, begin)
                try:
                    yield appending
                finally:
                    disk.settle(data, "a part of an upload")
                    os.ftruncate(mark, appending.offset)
            finally:
                os.close(mark)
        finally:
            os.close(data)

    def finish(self, session: Session, digests: tuple[str, ...] = ()) -> Staged:
        """The whole upload as a sealed Staged, with `digests` beside those wanted at the start; the session stays until
        `remove`. Reads everything once."""
        fd = self._locked(session)
        try:
            size = os.fstat(fd).st_size - SINGLE_START if session.parts == 1 else self.offset(session)
            if session.length not in (-1, size):
                raise Invalid(f"This upload announced {session.length} bytes and has {size}.", "Send the rest first.")
        except BaseException:
            os.close(fd)
            raise
        return Staged.of_file(self._data(session.id), fd, tuple(dict.fromkeys((*session.digests, *digests))))

    def remove(self, session: Session) -> None:
        self._meta(session.id).unlink(missing_ok=True)
        self._data(session.id).unlink(missing_ok=True)
        for part in range(session.parts if session.parts > 1 else 0):
            self._mark(session.id, part).unlink(missing_ok=True)
        self._ended(session.workspace, session.repository, session.id)

    def held(self) -> Iterator[tuple[str, str, str, int]]:
        """Workspace, repository and id of every session, and how many bytes it has room for: what it announced, else
        what it has."""
        for path in list(self._folder.glob("*.json")):
            with suppress(FileNotFoundError, msgspec.DecodeError, Absent):
                session = msgspec.json.decode(path.read_bytes(), type=Session)
                size = max(session.length, self.offset(session))
                yield session.workspace, session.repository, session.id, size

    def expire(self) -> int:
        """Remove what is too old or was never wholly begun, unless it is in use; returns how many."""
        count = 0
        for path in (*self._folder.glob("*.data"), *self._folder.glob("*.mark")):
            meta = self._folder / f"{path.name.split('.')[0]}.json"
            with suppress(FileNotFoundError):  # another process has just finished it
                if not meta.exists() and time.time() - path.stat().st_mtime > BEGUN_SECONDS_MAX:
                    path.unlink()
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

    def _locked(self, session: Session, *, shared: bool = False) -> int:
        try:
            fd = os.open(self._data(session.id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Absent("There is no such upload.", "Start it again.") from None
        if not disk.lock(fd, shared=shared):
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

    def _mark(self, id: str, part: int) -> Path:
        return self._folder / f"{id}.{part}.mark"


def _mark_of(workspace: str) -> str:
    """What the ids of a Workspace's sessions begin with, so that they can be counted: 8 characters, before 24 of 144
    random bits. No Workspace can take up all the sessions there are."""
    return base64.urlsafe_b64encode(blake2b(workspace.encode(), digest_size=6).digest()).decode()


def _expect(offset: int, at: int) -> None:
    if offset not in (-1, at):
        raise RangeRefused(f"This upload stands at {at}, not at {offset}.", "Ask where it stands, go on there.")


class Appending:
    """Where the next bytes of a session, or of a part that ends at `end` (-1 = none), go."""

    def __init__(self, fd: int, at: int, end: int = -1, begin: int = 0) -> None:
        self._fd = fd
        self.offset = at
        self._end = end
        self._start = SINGLE_START + begin
        self._writeback = disk.Writeback(self._start + at)

    def write(self, data: memoryview | bytes) -> None:
        """Keep `data`. Raises Full, and Invalid for what is no part's any more; what was kept before stays."""
        if self._end >= 0 and self.offset + len(data) > self._end:
            raise Invalid("This is more than the part has room for.", "Send each part to its own address.")
        with disk.room("for this upload"):
            disk.write_all(self._fd, data, self._start + self.offset)
        self.offset += len(data)
        self._writeback.reach(self._fd, self._start + self.offset)
