"""What was drawn from foreign registries, through this node or through any edge behind it, and in which order?

Such files have no nouns, so no journal tells of them. An origin writes a row for each that came, whoever asked for it;
an edge keeps the rows of the Repositories that its region's policies hold eagerly, under the same numbers. A row says
how a client asks for the file, so that an edge can ask in the same way; it gives nobody any right.

Tables in the cache's LMDB environment, as forgettable as the rest of it:

    drawn        workspace NUL repository NUL number (8)    -> Row
    drawn_at     sha256 of the place and the request        -> the key above
    drawn_age    number (8)                                 -> the key above, at an origin
    drawn_state  "life", "next", "mark", "many"             -> see below
                 "after" NUL workspace NUL repository       -> life (8), number (8): how far an edge has heard

Numbers are big-endian and grow with each row of the node; a file that is drawn anew has a new one. A "life" (8 random
bytes) begins with the tables: numbers of another life mean other things. "mark" moves with every change.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import lmdb
import msgspec

from storage.errors import Full
from storage.index.gate import Gate
from storage.index.tables import Txn

TOLD_MAX = 1_000
TARGET_CHARACTERS_MAX = 4_000
DAY_MS = 24 * 3600 * 1000
NEVER = b"\0" * 8
_NUMBER = struct.Struct(">Q")
_AFTER = struct.Struct(">8sQ")
_DROPS_MAX = 256


class Place(NamedTuple):
    """A Repository."""

    workspace: str
    repository: str


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One file. `target` is the path of the request with its query, whole, without a slash ahead; `accept` goes with
    it. `version` is "" where the format does not tell. `since` is the Serial of the last purge of its package.

    An edge's own: `here` = it was drawn, `needs` are the names of files that it is nothing without."""

    number: int
    format: str
    target: str
    accept: str
    version: str
    sha256: bytes
    size: int
    at_ms: int
    since: int = 0
    here: bool = False
    needs: tuple[str, ...] = ()


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Some rows behind a number, and up to where they are all. `more`: there may be others behind `upto`."""

    life: bytes
    upto: int
    more: bool
    rows: tuple[Row, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Drawn:
    """The rows of one node. Synchronous; every method may be called from any thread, and by any of its processes."""

    def __init__(self, env: lmdb.Environment, *, many_max: int = 100_000, days_max: int = 30) -> None:
        self._env = env
        self._gate = Gate(env)
        self.many_max = many_max
        self._age_max_ms = days_max * DAY_MS
        self._rows = env.open_db(b"drawn")
        self._at = env.open_db(b"drawn_at")
        self._age = env.open_db(b"drawn_age")
        self._state = env.open_db(b"drawn_state")

    def close(self) -> None:
        """Before its environment is closed: nothing is written any more."""
        self._gate.close()

    def __repr__(self) -> str:
        return f"<Drawn {self.mark()}>"

    def mark(self) -> int:
        """Another one whenever a row came, changed or went."""
        with self._env.begin(db=self._state) as reading:
            return _number(reading.get(b"mark"))

    # ------------------------------------------------------------ an origin's

    def add(self, place: Place, row: Row) -> None:
        """A file came; its number is given here. Above `many_max` the oldest are forgotten. Raises Full."""
        if len(row.target) > TARGET_CHARACTERS_MAX:
            return
        with self._writing() as writing:
            number = _number(writing.get(b"next", db=self._state)) + 1
            writing.put(b"next", _NUMBER.pack(number), db=self._state)
            key = self._put(writing, place, msgspec.structs.replace(row, number=number))
            writing.put(_NUMBER.pack(number), key, db=self._age)
            for _ in range(_DROPS_MAX):
                if _number(writing.get(b"many", db=self._state)) <= self.many_max:
                    break
                with writing.cursor(db=self._age) as cursor:
                    if not cursor.first():
                        break
                    oldest = cursor.value()
                self._forget(writing, oldest)

    def tell(self, place: Place, life: bytes, after: int, now_ms: int, here: Callable[[bytes], bool]) -> Told:
        """What came behind a number of a life, at most TOLD_MAX rows: those whose bytes are `here` still and that are
        not too old. Of another life everything is told."""
        rows: list[Row] = []
        with self._env.begin() as reading:
            own = reading.get(b"life", db=self._state) or NEVER
            upto = after if life == own else 0
            looked = 0
            for _, row in self._behind(reading, place, upto):
                upto, looked = row.number, looked + 1
                if now_ms - row.at_ms <= self._age_max_ms and here(row.sha256):
                    rows.append(row)
                if looked == TOLD_MAX:
                    break
        return Told(own, upto, looked == TOLD_MAX, tuple(rows))

    # ------------------------------------------------------------ an edge's

    def heard(self, place: Place) -> tuple[bytes, int]:
        """The life and the number up to which everything is here."""
        with self._env.begin(db=self._state) as reading:
            raw = reading.get(_after(place))
        return _AFTER.unpack(raw) if raw is not None else (NEVER, 0)

    def take(self, place: Place, told: Told) -> None:
        """Keep what was told. A file that is here already stays so while it is the same one. Raises Full."""
        before = self.heard(place)
        if before == (told.life, told.upto):
            return
        with self._writing() as writing:
            if before[0] != told.life:
                self._clear(writing, place)
            for row in told.rows:
                self._put(writing, place, self._continued(writing, place, row))
            writing.put(_after(place), _AFTER.pack(told.life, told.upto), db=self._state)

    def rows(self, place: Place) -> list[Row]:
        """All that is known of a Repository, the first that came first."""
        with self._env.begin() as reading:
            return [row for _, row in self._behind(reading, place, 0)]

    def places(self) -> list[Place]:
        """The Repositories of which something was heard."""
        found: list[Place] = []
        with self._env.begin(db=self._state) as reading, reading.cursor() as cursor:
            going = cursor.set_range(b"after\0")
            while going and cursor.key().startswith(b"after\0"):
                workspace, repository = cursor.key()[len(b"after\0") :].decode().split("\0")
                found.append(Place(workspace, repository))
                going = cursor.next()
        return found

    def came(self, place: Place, row: Row, needs: Sequence[str] = ()) -> None:
        """A row's file was drawn. Nothing happens where the row is another one by now. Raises Full."""
        with self._writing() as writing:
            key = _key(place, row.number)
            raw = writing.get(key, db=self._rows)
            if raw is not None and _decode(raw).sha256 == row.sha256:
                done = msgspec.structs.replace(row, here=True, needs=tuple(needs))
                writing.put(key, _encode(done), db=self._rows)

    def forget(self, place: Place, row: Row) -> None:
        """It cannot be had any more. Raises Full."""
        with self._writing() as writing:
            self._forget(writing, _key(place, row.number))

    def clear(self, place: Place) -> None:
        """Nothing of this Repository is wanted any more. Raises Full."""
        with self._writing() as writing:
            self._clear(writing, place)
            writing.delete(_after(place), db=self._state)

    # ------------------------------------------------------------ within a transaction

    @contextmanager
    def _writing(self) -> Iterator[Txn]:
        """A write transaction that moves the mark, and whose foreign errors are Problems."""
        try:
            with self._gate.writing() as writing:
                yield writing
                if writing.get(b"life", db=self._state) is None:
                    writing.put(b"life", os.urandom(8), db=self._state)
                mark = _number(writing.get(b"mark", db=self._state))
                writing.put(b"mark", _NUMBER.pack(mark + 1), db=self._state)
        except (lmdb.MapFullError, lmdb.DiskError) as error:
            raise Full("There is no room left for the cache's records.", "Free disk space.") from error

    def _behind(self, reading: Txn, place: Place, number: int) -> Iterator[tuple[bytes, Row]]:
        prefix = _prefix(place)
        with reading.cursor(db=self._rows) as cursor:
            going = cursor.set_range(_key(place, number + 1))
            while going and cursor.key().startswith(prefix):
                yield cursor.key(), _decode(cursor.value())
                going = cursor.next()

    def _put(self, writing: Txn, place: Place, row: Row) -> bytes:
        request, key = _request(place, row), _key(place, row.number)
        before = writing.get(request, db=self._at)
        if before is not None:
            self._forget(writing, before)
        writing.put(key, _encode(row), db=self._rows)
        writing.put(request, key, db=self._at)
        self._count(writing, 1)
        return key

    def _continued(self, writing: Txn, place: Place, row: Row) -> Row:
        """A row that was told, with what this node has done for the one of the same request before."""
        bare = msgspec.structs.replace(row, here=False, needs=())
        key = writing.get(_request(place, row), db=self._at)
        raw = writing.get(key, db=self._rows) if key is not None else None
        before = _decode(raw) if raw is not None else None
        if before is None or before.sha256 != row.sha256 or before.since != row.since:
            return bare
        return msgspec.structs.replace(bare, here=before.here, needs=before.needs)

    def _forget(self, writing: Txn, key: bytes) -> None:
        raw = writing.get(key, db=self._rows)
        writing.delete(key[-8:], db=self._age)
        if raw is not None:
            workspace, repository = key[:-9].decode().split("\0")
            writing.delete(_request(Place(workspace, repository), _decode(raw)), db=self._at)
            writing.delete(key, db=self._rows)
            self._count(writing, -1)

    def _clear(self, writing: Txn, place: Place) -> None:
        for key in [key for key, _ in self._behind(writing, place, 0)]:
            self._forget(writing, key)

    def _count(self, writing: Txn, by: int) -> None:
        many = _number(writing.get(b"many", db=self._state)) + by
        writing.put(b"many", _NUMBER.pack(max(0, many)), db=self._state)


def _number(raw: bytes | None) -> int:
    return int(_NUMBER.unpack(raw)[0]) if raw is not None else 0


def _prefix(place: Place) -> bytes:
    return "\0".join(place).encode() + b"\0"


def _key(place: Place, number: int) -> bytes:
    return _prefix(place) + _NUMBER.pack(number)


def _after(place: Place) -> bytes:
    return b"after\0" + "\0".join(place).encode()


def _request(place: Place, row: Row) -> bytes:
    parts = (*place, row.target, row.accept)
    return hashlib.sha256(b"".join(len(one.encode()).to_bytes(4) + one.encode() for one in parts)).digest()
