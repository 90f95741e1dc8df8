"""Which segments have come, each once; what do they say of each version; and up to when does that hold?

An origin's register, an LMDB environment beside its segments. It is written when segments come and when they are
counted, never while anybody is served. What it holds is not in the journal and outlives the segments: downloads of
years are counted from lines that are kept for months. Synchronous: write in a thread.

- `seen`: node, file of its log → intervals of bytes that have come. A segment is known by the bytes of the log that it
  holds, so one that comes again, by whatever way, also after it was merged, is told apart.
- `counted`: path of a segment that is in `pulls`, until it is merged.
- `pulls`: workspace, repository, format, package, version, tag → downloads, time of the last pull (u64 each). A row
  whose last pull is older than the repository is of a predecessor of its name: it is not told, and begun anew.
- `uses`: token id → its last use, at whichever node. The later one counts, so it makes no difference how often and in
  which order segments are seen.
- `marks`: node → a Mark of it that waits, and the time up to which all that it did is counted.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgspec
from xxhash import xxh3_128_hexdigest

from gateway.logs.durable import moved
from gateway.logs.tasks import Pulled, Used

MAP_BYTES = 64 << 30
FOLDER = "register"
KEY_BYTES_MAX = 511
PART_BYTES_MAX = 96
PATIENCE_MS = 3600 * 1000
"""A mark that did not come true for so long makes room for a later one."""
_ROW = struct.Struct("<QQ")
_USED = msgspec.msgpack.Decoder(Used)
Interval = tuple[int, int]
Raw = bytes | memoryview | None


class Identity(NamedTuple):
    """The bytes that a segment holds: of which node's which log file (worker and mark), from and to."""

    node: str
    file: str
    start: int
    stop: int


class Mark(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a node says of itself: all that it did before `at_ms` lies ahead of `stops` in its log files, by file.
    `lost` are intervals that it had to let go; `lost_ms` is up to when it lost lines, 0 = never."""

    at_ms: int
    stops: dict[str, int]
    lost: tuple[tuple[str, int, int], ...] = ()
    lost_ms: int = 0


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Of one node: the mark that waits, the latest behind it, and what is settled."""

    waiting: Mark | None = None
    latest: Mark | None = None
    until_ms: int = 0
    lost_ms: int = 0


class Pull(NamedTuple):
    """`last_ms` 0 = never."""

    downloads: int
    last_ms: int


class Known(NamedTuple):
    """`until_ms`: all that was pulled before this is in the counts, wherever; 0 = nothing is known. `lost_ms`: up to
    here some lines were lost, 0 = none ever."""

    until_ms: int
    lost_ms: int


NEVER = Pull(0, 0)


class Register:
    """Opened by every worker of an origin, after the fork; one worker counts."""

    def __init__(self, own: Path) -> None:
        path = own / FOLDER
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._env = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=5, max_readers=256, readahead=False)
        with self._env.begin(write=True) as txn:
            self._seen = self._env.open_db(b"seen", txn=txn)
            self._counted = self._env.open_db(b"counted", txn=txn)
            self._pulls = self._env.open_db(b"pulls", txn=txn)
            self._marks = self._env.open_db(b"marks", txn=txn)
            self._uses = self._env.open_db(b"uses", txn=txn)

    def close(self) -> None:
        self._env.close()

    # ------------------------------------------------------------ what has come

    def take(self, one: Identity, place: Path, fresh: Path) -> bool:
        """Give the segment in `fresh` its `place`, once: False where its bytes have come before, all or in part."""
        key = _key(one.node, one.file)
        with self._env.begin(write=True) as txn:
            seen = _intervals(txn.get(key, db=self._seen))
            if any(start < one.stop and one.start < stop for start, stop in seen):
                return False
            moved(fresh, place)  # before it is called seen, so that it is never that and gone
            txn.put(key, msgspec.msgpack.encode(joined([*seen, (one.start, one.stop)])), db=self._seen)
        return True

    def has_seen(self, one: Identity) -> bool:
        with self._env.begin() as txn:
            seen = _intervals(txn.get(_key(one.node, one.file), db=self._seen))
        return any(start < one.stop and one.start < stop for start, stop in seen)

    def stops(self, node: str) -> dict[str, int]:
        """How far the files of a node's log have come, by file."""
        head = _key(node, "")
        with self._env.begin() as txn:
            return {
                key[len(head) :].decode(): max(stop for _, stop in _intervals(value))
                for key, value in _from(txn, self._seen, head)
            }

    # ------------------------------------------------------------ what is counted

    def uncounted(self, paths: Iterable[str]) -> list[str]:
        """Those of these segments that are not in the counts."""
        with self._env.begin() as txn:
            return [path for path in paths if txn.get(_short(path), db=self._counted) is None]

    def count(self, paths: Iterable[str], found: Iterable[Pulled], born: Mapping[tuple[str, str], int]) -> None:
        """Add what these segments say; all of it, or nothing. `born`: when each Repository (workspace, name) was made;
        what is of none of these, or was pulled before, is of one that is gone."""
        with self._env.begin(write=True) as txn:
            for path in paths:
                if not txn.put(_short(path), b"", overwrite=False, db=self._counted):
                    raise RuntimeError("this segment was counted before")  # which undoes the rest
            for one in found:
                since_ms = born.get((one.workspace, one.repository))
                if since_ms is None or one.last_ms < since_ms:
                    continue
                key = _key(one.workspace, one.repository, one.format, one.package, one.version, one.tag)
                before = _pull(txn.get(key, db=self._pulls), since_ms)
                row = _ROW.pack(before.downloads + one.downloads, max(before.last_ms, one.last_ms))
                txn.put(key, row, db=self._pulls)

    def forget(self, paths: Iterable[str]) -> None:
        """These segments are gone: merged, or too old."""
        with self._env.begin(write=True) as txn:
            for path in paths:
                txn.delete(_short(path), db=self._counted)

    def use(self, found: Iterable[Used]) -> None:
        """Keep the last uses of tokens."""
        with self._env.begin(write=True) as txn:
            for one in found:
                before = txn.get(one.token_id.encode(), db=self._uses)
                if before is None or _USED.decode(before).at_ms < one.at_ms:
                    txn.put(one.token_id.encode(), msgspec.msgpack.encode(one), db=self._uses)

    def uses(self, token_ids: Iterable[str]) -> dict[str, Used]:
        """The last use of each token, where one is known."""
        with self._env.begin() as txn:
            rows = {id: txn.get(id.encode(), db=self._uses) for id in token_ids}
            return {id: _USED.decode(row) for id, row in rows.items() if row is not None}

    # ------------------------------------------------------------ up to when

    def mark(self, node: str, mark: Mark) -> None:
        """Keep what a node says; it holds once all of it has come and is counted."""
        with self._env.begin(write=True) as txn:
            told = _told(txn.get(node.encode(), db=self._marks))
            told = msgspec.structs.replace(told, latest=mark, lost_ms=max(told.lost_ms, mark.lost_ms))
            if told.waiting is None or told.waiting.at_ms < mark.at_ms - PATIENCE_MS:
                told = msgspec.structs.replace(told, waiting=mark, latest=None)
            txn.put(node.encode(), msgspec.msgpack.encode(told), db=self._marks)

    def lose(self, node: str, at_ms: int) -> None:
        """Lines that this node sent cannot be read; it is told as lost up to then."""
        with self._env.begin(write=True) as txn:
            told = _told(txn.get(node.encode(), db=self._marks))
            told = msgspec.structs.replace(told, lost_ms=max(told.lost_ms, at_ms))
            txn.put(node.encode(), msgspec.msgpack.encode(told), db=self._marks)

    def come(self) -> dict[str, int]:
        """The nodes all of whose lines before their waiting mark have come, or before the latest, which may know more
        of what was lost, and the marks' times. It holds as soon as all is counted that is there after this."""
        found: dict[str, int] = {}
        with self._env.begin() as txn:
            told = {bytes(key).decode(): _told(value) for key, value in txn.cursor(db=self._marks)}
            for node, one in told.items():
                for mark in (one.waiting, one.latest):
                    if mark is not None and node not in found and self._is_here(txn, node, mark):
                        found[node] = mark.at_ms
        return found

    def settle(self, until_ms: dict[str, int]) -> None:
        """What `come` gave is counted by now."""
        with self._env.begin(write=True) as txn:
            for node, at_ms in until_ms.items():
                told = _told(txn.get(node.encode(), db=self._marks))
                until = max(told.until_ms, at_ms)
                settled = msgspec.structs.replace(told, until_ms=until, waiting=told.latest, latest=None)
                txn.put(node.encode(), msgspec.msgpack.encode(settled), db=self._marks)

    def known(self, nodes: Iterable[str]) -> dict[str, Known]:
        """Of each of these nodes. A node that never said anything has 0."""
        with self._env.begin() as txn:
            told = {node: _told(txn.get(node.encode(), db=self._marks)) for node in nodes}
        return {node: Known(one.until_ms, one.lost_ms) for node, one in told.items()}

    def _is_here(self, txn: lmdb.Transaction, node: str, mark: Mark) -> bool:
        lost: dict[str, list[Interval]] = {}
        for file, start, stop in mark.lost:
            lost.setdefault(file, []).append((start, stop))
        for file, stop in mark.stops.items():
            seen = _intervals(txn.get(_key(node, file), db=self._seen))
            whole = joined([*seen, *lost.get(file, [])])
            if stop and not any(begin == 0 and end >= stop for begin, end in whole):
                return False
        return True

    # ------------------------------------------------------------ what is told

    def package(self, workspace: str, repository: str, format: str, package: str, *, since_ms: int) -> dict[str, Pull]:
        """Of each version of a package; "" is what no version is known of. `since_ms`: when the Repository was made."""
        found: dict[str, Pull] = {}
        for version, _, pull in self._rows(since_ms, workspace, repository, format, package):
            before = found.get(version, NEVER)
            found[version] = Pull(before.downloads + pull.downloads, max(before.last_ms, pull.last_ms))
        return found

    def tags(self, workspace: str, repository: str, format: str, package: str, *, since_ms: int) -> dict[str, Pull]:
        """Of what was pulled by each tag, wherever it pointed."""
        found: dict[str, Pull] = {}
        for _, tag, pull in self._rows(since_ms, workspace, repository, format, package):
            if tag:
                before = found.get(tag, NEVER)
                found[tag] = Pull(before.downloads + pull.downloads, max(before.last_ms, pull.last_ms))
        return found

    def _rows(self, since_ms: int, *place: str) -> Iterator[tuple[str, str, Pull]]:
        head = _key(*place, "")
        with self._env.begin() as txn:
            for key, value in _from(txn, self._pulls, head):
                version, _, tag = key[len(head) :].decode(errors="replace").partition("\0")
                if (pull := _pull(value, since_ms)) != NEVER:
                    yield version, tag, pull


def joined(intervals: list[Interval]) -> list[Interval]:
    """The same bytes in as few intervals as there can be, in order."""
    found: list[Interval] = []
    for start, stop in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def _key(*parts: str) -> bytes:
    return b"\0".join(_part(part) for part in parts)[:KEY_BYTES_MAX]


def _part(text: str) -> bytes:
    """As it is, or, of what is long, the beginning and a hash."""
    raw = text.replace("\0", "").encode()
    return raw if len(raw) <= PART_BYTES_MAX else raw[:64] + xxh3_128_hexdigest(raw).encode()


def _short(path: str) -> bytes:
    """Node's folder and file name."""
    return "/".join(Path(path).parts[-2:]).encode()


def _intervals(raw: Raw) -> list[Interval]:
    return [] if raw is None else msgspec.msgpack.decode(raw, type=list[Interval])


def _told(raw: Raw) -> Told:
    return Told() if raw is None else msgspec.msgpack.decode(raw, type=Told)


def _pull(raw: Raw, since_ms: int) -> Pull:
    found = NEVER if raw is None else Pull(*_ROW.unpack(raw))
    return found if found.last_ms >= since_ms else NEVER


def _from(txn: lmdb.Transaction, table: Any, head: bytes) -> Iterator[tuple[bytes, bytes]]:
    with txn.cursor(db=table) as cursor:
        if not cursor.set_range(head):
            return
        for key, value in cursor:
            if not bytes(key).startswith(head):
                return
            yield bytes(key), bytes(value)
