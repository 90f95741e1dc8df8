"""Does what is stored still hold what it held?

Reads all of it, bit by bit, and compares: every frame of the journal with its checksum and its chain, every row of the
index, every stored byte with the sha256 that names it. At an origin what does not match is told, with the files that it
is missing to; on a cache it is forgotten, and fetched again by whoever asks for it next. `mark` lets a scrub of many
hours go on after a restart.
"""

import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import lmdb
import msgspec

from storage import disk
from storage.blobs.shelf import BlobShelf
from storage.digest import Hasher
from storage.errors import Damaged
from storage.index.bins import files_of, held
from storage.index.index import Index
from storage.index.keys import split, unseal
from storage.index.tables import BLOB_TABLES, FOLD_TABLES, WORK_TABLES, Table, rows_below
from storage.journal.frames import HEADER_BYTES
from storage.journal.journal import End, Journal
from storage.nouns import SYSTEM, File

STEP_BYTES = 8 << 20
STEP_ROWS = 2_000
DAMAGED_MAX = 1_000
NAMED_MAX = 10
_READ_BYTES = 1 << 20
_FILE = msgspec.msgpack.Decoder(File)
_PLACE = struct.Struct("<IQ")
_OF_WORKSPACES = frozenset((
    "workspaces", "repositories", "outlines", "memberships", "teams", "teammates", "mates", "groups", "roles",
    "bindings", "providers", "entitled", "webhooks", "notices", "packages", "versions", "published", "files", "tags",
    "gone", "claims", "quarantines", "purges", "touched", "usage", "bins", "bin_usage", "leaving",
))  # fmt: skip
"""The tables whose keys begin with a Workspace."""


def _workspace_of(table: str, key: bytes) -> str:
    """Whose row this is; "" where it is of none alone, or does not say."""
    parts = key.split(b"\0")
    if table == "labels" and parts[0] in (b"p", b"f", b"r", b"w", b"a"):
        parts = parts[1:]
    elif table not in _OF_WORKSPACES:
        return ""
    return parts[0].decode(errors="replace")


@dataclass(slots=True)
class Progress:
    """How far a scrub is, and what it found. `forgotten` are blobs of the cache that were damaged; `rotten` counts rows
    and entries that were, by Workspace and what they are of ("acme/files", "acme/journal"; "/tokens" = of none alone).
    """

    phase: str = "journal"
    journal_bytes: int = 0
    rows: int = 0
    blobs: int = 0
    bytes: int = 0
    forgotten: int = 0
    rotten: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def told(self) -> dict[str, object]:
        return asdict(self)

    def say(self, text: str) -> None:
        if len(self.damaged) < DAMAGED_MAX:
            self.damaged.append(text)

    def rots(self, workspace: str, of: str) -> None:
        key = f"{workspace}/{of}"
        if key in self.rotten or len(self.rotten) < DAMAGED_MAX:
            self.rotten[key] = self.rotten.get(key, 0) + 1


class Scrub:
    """One time through the store. `mark` is the shelf and the blob to go on behind, as `name:hex`. Blocking."""

    def __init__(
        self, index: Index, journal: Journal | None, hosted: BlobShelf | None, cached: BlobShelf, mark: str = ""
    ) -> None:
        self._index = index
        self._journal = journal
        self._shelves = [(name, one) for name, one in (("hosted", hosted), ("cached", cached)) if one is not None]
        self.mark = mark
        self.progress = Progress()

    def steps(self) -> Iterator[int]:
        """Read on, one bounded piece at a time; each yields how many bytes it read."""
        name, _, at = self.mark.partition(":")
        if not name:
            yield from self._frames()
            yield from self._rows()
        names = [one for one, _ in self._shelves]
        begun = names.index(name) if name in names else 0
        for number, (name, shelf) in enumerate(self._shelves[begun:]):
            yield from self._blobs(name, shelf, bytes.fromhex(at) if number == 0 else b"")
        self.progress.phase = "done"

    # ------------------------------------------------------------ journal and index

    def _frames(self) -> Iterator[int]:
        if self._journal is None:
            return
        stop = at = self._index.committed()
        try:
            segments = self._journal.segments()
            at = End(segments[0], HEADER_BYTES) if segments else stop
        except Damaged as problem:
            self.progress.say(problem.text())
            self.progress.rots("", "journal")
        while at < stop:
            size = 0
            try:
                bodies, at = self._journal.read(at, stop, STEP_BYTES)
                size = sum(map(len, bodies))
            except Damaged as problem:
                self.progress.say(problem.text())
                self._entries_from(self._journal, at)
                at = End(at.segment + 1, HEADER_BYTES)
            self.progress.journal_bytes += size
            yield size

    def _entries_from(self, journal: Journal, start: End) -> None:
        """Whose entries are damaged, from a place in a segment on? Walks all places: damage is rare."""
        found = False
        with self._index.env.begin() as txn:
            places = rows_below(txn, self._index.tables.places, "places", b"")
            for key, payload in places:
                at = End(*_PLACE.unpack(payload))
                if at.segment == start.segment and at >= start:
                    try:
                        journal.entry_at(at)
                    except Damaged:
                        found = True
                        self.progress.rots(key.partition(b"\0")[0].decode().replace(SYSTEM, ""), "journal")
        if not found:  # it lies between them
            self.progress.rots("", "journal")

    def _rows(self) -> Iterator[int]:
        self.progress.phase = "index"
        tables = self._index.tables
        for name in FOLD_TABLES + WORK_TABLES:
            yield from self._table(self._index.env, getattr(tables, name), name)
        for name in BLOB_TABLES:
            yield from self._table(self._index.env, getattr(tables.shelf, name), name)

    def _table(self, env: lmdb.Environment, table: Table, name: str) -> Iterator[int]:
        after: bytes | None = b""
        while after is not None:
            size, after = self._some_rows(env, table, name, after)
            yield size

    def _some_rows(self, env: lmdb.Environment, table: Table, name: str, after: bytes) -> tuple[int, bytes | None]:
        size = 0
        with env.begin() as txn, txn.cursor(db=table) as cursor:
            going = cursor.set_range(after + b"\0") if after else cursor.first()
            for _ in range(STEP_ROWS):
                if not going:
                    return size, None
                after, value = bytes(cursor.key()), cursor.value()
                size += len(after) + len(value)
                self.progress.rows += 1
                if value and name != "chunks":  # hints: whoever asks for one finds out
                    try:
                        unseal(value, name)
                    except Damaged as problem:
                        self.progress.say(problem.text())
                        self.progress.rots(_workspace_of(name, after), name)
                going = cursor.next()
        return size, after

    # ------------------------------------------------------------ stored bytes

    def _blobs(self, name: str, shelf: BlobShelf, after: bytes) -> Iterator[int]:
        self.progress.phase = name
        read = 0
        while (identity := shelf.after(after)) is not None:
            for size in self._blob(shelf, identity):
                read += size
                if read >= STEP_BYTES:
                    yield read
                    read = 0
            after, self.mark = identity, f"{name}:{identity.hex()}"
        yield read

    def _blob(self, shelf: BlobShelf, identity: bytes) -> Iterator[int]:
        """Read one blob, and judge it."""
        self.progress.blobs += 1
        hasher = Hasher()
        before = shelf.holds(identity)
        try:
            located = shelf.find(identity, even_damaged=True)
            for fd, start, length in located.extents if located is not None else ():
                for offset in range(start, start + length, _READ_BYTES):
                    data = disk.read_all(fd, min(_READ_BYTES, start + length - offset), offset)
                    hasher.update(data)
                    self.progress.bytes += len(data)
                    yield len(data)
        except Damaged:
            located = None
        if located is None and not shelf.durable:
            self.progress.forgotten += before is not None  # finding it was enough
        elif shelf.holds(identity) is not None and (located is None or hasher.sha256 != identity):
            self._found_damaged(shelf, identity)
        elif shelf.durable:
            shelf.mark_damaged(identity, False)

    def _found_damaged(self, shelf: BlobShelf, identity: bytes) -> None:
        if not shelf.durable:
            shelf.forget(identity)
            self.progress.forgotten += 1
            return
        shelf.mark_damaged(identity, True)
        named = self._named(identity)
        files = f", which {' and '.join(named)} need" if named else ", which no file needs"
        self.progress.say(f"The stored bytes of {identity.hex()} are damaged{files}. Publish them again.")

    def _named(self, identity: bytes) -> list[str]:
        """Some of the files that name a blob. Walks all files, which damage is rare enough for."""
        named: list[str] = []
        with self._index.env.begin() as txn:
            for key, value in txn.cursor(db=self._index.tables.files):
                if identity in value and _FILE.decode(unseal(value, "files")).sha256 == identity:
                    named.append("/".join(split(key)))
                    if len(named) == NAMED_MAX:
                        return named
            for ws, repo, binned in held(txn, self._index.tables):
                if any(file.sha256 == identity for _, file in files_of(binned)):
                    named.append(f"{ws}/{repo}/{binned.format}/{binned.package}, in the bin")
        return named[:NAMED_MAX]
