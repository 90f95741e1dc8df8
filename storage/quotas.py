"""May this much more come into a Workspace or a Repository?

A quota bounds the logical size: the sum of the sizes of the files that are visible or in the bin, whoever shares their
bytes. What is on its way counts too: before a body is read its room is reserved, in an environment of its own that all
processes share and that is not synced, so reserving costs microseconds. What is visible is in the index. The two are
never added wrong, because the transaction that makes a file visible also says, in the index, that its reservation is
`settled`: who adds looks at one moment of the index, and leaves out the reservations that are settled in it.

A reservation belongs to a process, and is void when that is gone; or to a Session, and lasts as long as that. The
commit has the last word, under the write lock: what a place holds never exceeds a quota.
"""

import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import lmdb

from storage import disk
from storage.errors import OverQuota
from storage.index.bins import size_of
from storage.index.catalog import Reading
from storage.index.index import Index, open_environment
from storage.index.keys import join, seal
from storage.index.tables import Table, Txn
from storage.nouns import Draft, DropBinned, DropFile, DropPackage, DropVersion, File, PutBinned, PutFile

GROW_BYTES = 1 << 20
REFUSALS_MAX = 1_000
_SUM = struct.Struct("<Q")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Refusal(NamedTuple):
    """An upload that had no room: the quota in bytes, what was used of it, and the upload's own size."""

    limit: int
    used: int
    size: int


class Reservation:
    """Room for one upload. Growing raises OverQuota; releasing it does nothing once it is settled."""

    __slots__ = ("_quotas", "id", "place", "size")

    def __init__(self, quotas: "Quotas", id: bytes, place: tuple[str, str]) -> None:
        self._quotas = quotas
        self.id = id
        self.place = place
        self.size = 0

    def resize(self, size: int) -> None:
        """Reserve `size` bytes in all. Raises OverQuota; then it stays as it was."""
        self._quotas.resize(self, size)

    def reach(self, received: int) -> None:
        """So many bytes have come: reserve on behind them, in steps. Raises OverQuota."""
        if received >= self.size + GROW_BYTES:
            self.resize(received)

    def release(self) -> None:
        """Give the room back."""
        self._quotas.release(self)


class Quotas:
    """The reservations of a store. Synchronous and quick, so that it may be asked on the loop."""

    def __init__(self, folder: Path, index: Index) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._index = index
        self._env = open_environment(folder, durable=False)
        self._rows: Table = self._env.open_db(b"rows")
        self._sums: Table = self._env.open_db(b"sums")
        self._tidy: list[bytes] = []
        self._refused: dict[tuple[str, ...], Refusal] = {}

    def close(self) -> None:
        self._env.close()

    # ------------------------------------------------------------ reserving

    def reserve(self, workspace: str, repository: str, size: int, session: str = "") -> Reservation | None:
        """Room for `size` bytes, for as long as this process lives or, with `session`, until that ends. None where no
        quota stands in the way of anything. Raises OverQuota."""
        with self._index.env.begin() as txn:
            if not any(limit for _, limit in limits(Reading(self._index, txn), workspace, repository)):
                return None
        id = session.encode() if session else _owner() + secrets.token_bytes(9)
        reservation = Reservation(self, id, (workspace, repository))
        reservation.resize(size)
        return reservation

    def of_session(self, workspace: str, repository: str, session: str) -> Reservation | None:
        """The room that a Session has; None where it has none."""
        reservation = Reservation(self, session.encode(), (workspace, repository))
        with self._env.begin() as txn:
            value = txn.get(reservation.id, db=self._rows)
        if value is None:
            return self.reserve(workspace, repository, 0, session)
        reservation.size = _size_of(value)
        return reservation

    def resize(self, reservation: Reservation, size: int) -> None:
        """See Reservation.resize."""
        workspace, repository = reservation.place
        with self._writing() as txn:
            before = self._size(txn, reservation.id)
            if size > before:
                with self._index.env.begin() as seen:
                    reading = Reading(self._index, seen)
                    for place, limit in limits(reading, workspace, repository):
                        used = held(reading, place)
                        others = self._reserved(txn, seen, place)
                        if limit and used + others + size - before > limit:
                            self.refuse(place, limit, used, size)
                            raise over(place, limit, used, others - before, size)
            self._set(txn, reservation.id, reservation.place, before, size)
        reservation.size = size

    def release(self, reservation: Reservation) -> None:
        """See Reservation.release."""
        with self._writing() as txn:
            self._set(txn, reservation.id, reservation.place, self._size(txn, reservation.id), 0)

    def forget_session(self, workspace: str, repository: str, session: str) -> None:
        """A Session has ended."""
        self.release(Reservation(self, session.encode(), (workspace, repository)))

    def reserved(self, workspace: str, repository: str = "") -> int:
        """How many bytes are on their way into a Workspace, or into one Repository of it."""
        place = (workspace, repository) if repository else (workspace,)
        with self._env.begin() as txn, self._index.env.begin() as seen:
            return self._reserved(txn, seen, place)

    # ------------------------------------------------------------ what was refused

    def refuse(self, place: tuple[str, ...], limit: int, used: int, size: int) -> None:
        """Remember for whoever tells of it that an upload had no room here; the latest of each place."""
        if len(self._refused) < REFUSALS_MAX or place in self._refused:
            self._refused[place] = Refusal(limit, used, size)

    def hear(self, workspace: str, repository: str, size: int) -> None:
        """Another node says that it refused so many bytes: remember it where they have no room by what is here."""
        with self._index.env.begin() as seen, self._env.begin() as rows:
            reading = Reading(self._index, seen)
            for place, limit in limits(reading, workspace, repository):
                used = held(reading, place)
                if limit and used + self._reserved(rows, seen, place) + size > limit:
                    self.refuse(place, limit, used, size)

    def refusals(self) -> dict[tuple[str, ...], Refusal]:
        """What this process refused, by place: (workspace,) or (workspace, repository)."""
        return dict(self._refused)

    def forget_refusals(self, told: Mapping[tuple[str, ...], Refusal]) -> None:
        """They were told; a later one of the same place was not."""
        for place, one in told.items():
            if self._refused.get(place) == one:
                self._refused.pop(place, None)

    # ------------------------------------------------------------ the commit

    def check(self, txn: Txn, draft: Draft, own: Reservation | None, settled: Iterable[Reservation]) -> None:
        """Would this draft make anything exceed its quota? Within the write transaction; `settled` are reservations
        whose files it already holds. Raises OverQuota."""
        reading = Reading(self._index, txn)
        bounds = [one for one in limits(reading, draft.workspace, draft.repository) if one[1]]
        if not bounds:
            return
        size = growth(reading, draft)
        if size <= 0:
            return
        with self._env.begin() as rows:
            for place, limit in bounds:
                used = held(reading, place)
                others = 0
                if own is None or size > own.size:  # more than was promised: only what nobody else was promised
                    gone = sum(self._size(rows, one.id) for one in settled if _is_within(one.place, place))
                    mine = self._size(rows, own.id) if own is not None else 0
                    others = max(0, self._reserved(rows, txn, place) - gone - mine)
                if used + others + size > limit:
                    self.refuse(place, limit, used, size)
                    raise over(place, limit, used, others, size)

    def settle(self, txn: Txn, settled: Iterable[Reservation]) -> None:
        """Say in the transaction that makes their files visible that these reservations are spent."""
        for id in self._tidy:
            txn.delete(id, db=self._index.tables.settled)
        for one in settled:
            txn.put(one.id, seal(b""), db=self._index.tables.settled)

    def spent(self, settled: Iterable[Reservation]) -> None:
        """That transaction is committed: their rows are not needed any more."""
        self._tidy = []
        for one in settled:
            self.release(one)
            self._tidy.append(one.id)

    # ------------------------------------------------------------ starting, and who died

    def start(self, alone: bool, sessions: Iterable[tuple[str, str, str, int]]) -> None:
        """Void what processes left that are gone. `alone`: none but this one lives, and the folder was empty, so
        `sessions` (workspace, repository, id, size) say all that is reserved."""
        if not alone:
            self.reap()
            return
        with self._index.env.begin(write=True) as txn:
            txn.drop(self._index.tables.settled, delete=False)
        with self._writing() as txn:
            for workspace, repository, id, size in sessions:
                self._set(txn, id.encode(), (workspace, repository), 0, size)

    def reap(self) -> int:
        """Void the reservations of processes that are gone; returns how many."""
        with self._env.begin() as txn:
            dead = [(bytes(id), value) for id, value in txn.cursor(db=self._rows) if _is_dead(bytes(id))]
        if dead:
            with self._writing() as txn:
                for id, value in dead:
                    self._set(txn, id, _place_of(value), self._size(txn, id), 0)
        return len(dead)

    # ------------------------------------------------------------ rows

    def _writing(self) -> "_Writing":
        return _Writing(self._env, self._folder)

    def _size(self, txn: Txn, id: bytes) -> int:
        value = txn.get(id, db=self._rows)
        return 0 if value is None else _size_of(value)

    def _set(self, txn: Txn, id: bytes, place: tuple[str, str], before: int, size: int) -> None:
        if size:
            txn.put(id, _SUM.pack(size) + join(*place), db=self._rows)
        else:
            txn.delete(id, db=self._rows)
        for key in (join(place[0]), join(*place)):
            total = self._sum(txn, key) + size - before
            if total > 0:
                txn.put(key, _SUM.pack(total), db=self._sums)
            else:
                txn.delete(key, db=self._sums)

    def _sum(self, txn: Txn, key: bytes) -> int:
        value = txn.get(key, db=self._sums)
        return 0 if value is None else int(_SUM.unpack(value)[0])

    def _reserved(self, rows: Txn, seen: Txn, place: tuple[str, ...]) -> int:
        """What is reserved and not visible at the moment of the index that `seen` sees."""
        total = self._sum(rows, join(*place))
        if not total:
            return 0
        for id, _ in seen.cursor(db=self._index.tables.settled):
            value = rows.get(id, db=self._rows)
            if value is not None and _is_within(_place_of(value), place):
                total -= _size_of(value)
        return total


class _Writing:
    """A write transaction of the reservations; a disk without room is Full."""

    def __init__(self, env: lmdb.Environment, folder: Path) -> None:
        self._folder = folder
        self._txn = env.begin(write=True)

    def __enter__(self) -> Txn:
        return self._txn

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._txn.abort()
            return
        try:
            self._txn.commit()
        except lmdb.Error as failure:
            raise disk.judge_index(failure, self._folder, durable=False) or failure from failure


# ---------------------------------------------------------------- what bounds what


def limits(reading: Reading, workspace: str, repository: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """The places that a file of this Repository counts in, each with its quota in bytes, 0 = none."""
    ws = reading.workspace(workspace)
    yield (workspace,), ws.quota_bytes if ws is not None else 0
    if repository:
        repo = reading.repository(workspace, repository)
        yield (workspace, repository), repo.quota_bytes if repo is not None else 0


def growth(reading: Reading, draft: Draft) -> int:
    """By how many bytes a draft makes its Repository larger; below 0 = smaller."""
    sizes: dict[tuple[str, str, str], File | None] = {}
    binned: dict[str, int] = {}

    def before(key: tuple[str, str, str]) -> File | None:
        if key in sizes:
            return sizes[key]
        format, package, name = key
        return reading.view(draft.workspace, draft.repository, format).file(package, name)

    total = 0
    for change in draft.changes:
        gone: list[tuple[str, str, str]] = []
        match change:
            case PutFile(format, package, file):
                key = (format, package, file.name)
                total += _weight(file) - _weight(before(key))
                sizes[key] = file
            case DropFile(format, package, name):
                gone = [(format, package, name)]
            case PutBinned(into):
                total += size_of(into) - (binned[into.id] if into.id in binned else _binned(reading, draft, into.id))
                binned[into.id] = size_of(into)
            case DropBinned(id):
                total -= binned[id] if id in binned else _binned(reading, draft, id)
                binned[id] = 0
            case DropVersion(format, package, _) | DropPackage(format, package):
                stored = reading.view(draft.workspace, draft.repository, format).files(package)
                keys = {(format, package, one.name) for one in stored} | {
                    key for key in sizes if key[:2] == (format, package)
                }
                version = change.version if isinstance(change, DropVersion) else None
                gone = [key for key in keys if (one := before(key)) is not None and version in (None, one.version)]
        for key in gone:
            total -= _weight(before(key))
            sizes[key] = None
    return total


def held(reading: Reading, place: tuple[str, ...]) -> int:
    """The bytes that count in a place: what is visible, and what is in a bin."""
    return reading.usage(*place).bytes + reading.bin_usage(*place).bytes


def _binned(reading: Reading, draft: Draft, id: str) -> int:
    before = reading.binned(draft.workspace, draft.repository, id)
    return size_of(before) if before is not None else 0


def over(place: tuple[str, ...], limit: int, used: int, reserved: int, size: int) -> OverQuota:
    """Which quota stands in the way, and by how much."""
    kind = "repository" if len(place) == 2 else "workspace"
    coming = f", {in_words(reserved)} are on their way" if reserved > 0 else ""
    return OverQuota(
        f"The {kind} {'/'.join(place)} may hold {in_words(limit)}: {in_words(used)} are used{coming}, and this needs "
        f"{in_words(size)}.",
        "Delete what is not needed, empty the bin, or have the quota raised.",
    )


def in_words(count: int) -> str:
    """A number of bytes, exact where it is small."""
    size, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _weight(file: File | None) -> int:
    return max(file.size, 0) if file is not None and file.sha256 else 0


def _is_within(place: tuple[str, str], bound: tuple[str, ...]) -> bool:
    return place[: len(bound)] == bound


def _size_of(value: bytes) -> int:
    return int(_SUM.unpack_from(value)[0])


def _place_of(value: bytes) -> tuple[str, str]:
    workspace, repository = bytes(value[_SUM.size :]).decode().split("\0")
    return workspace, repository


def _began(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 where there is none. Tells it from a later one."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _owner() -> bytes:
    return b"%d.%d." % (os.getpid(), _began(os.getpid()))


def _is_dead(id: bytes) -> bool:
    """Does it belong to a process that is gone? A Session's id has no dot."""
    pid, dot, rest = id.partition(b".")
    began = rest.partition(b".")[0]
    return bool(dot) and pid.isdigit() and began.isdigit() and _began(int(pid)) != int(began)
