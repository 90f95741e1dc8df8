"""How is the room of what nothing names any more given back, while everything goes on?

The index tells what is cited (references.py), so nothing is searched for. First the rows of blobs go that nothing
has named for longer than the grace. Then packs that are mostly dead are emptied: what lives in them is written into a
new pack, made durable, and one transaction a batch lets the rows point there. A pack in which nothing lives any more
loses its name. Whoever reads from it has it open, and reads on; whoever has only looked up its row looks again.

Nothing is remembered between two steps: the tables say what is left to do. So it may be killed at any point, and the
next run goes on from there. Every step takes the write lock for a bounded batch, under which what other processes left
is caught up with first, as with every write: what is cited at that moment stays. Uploads that are not committed are
files of their own, and sessions too, so no step sees them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import lmdb

from storage import disk
from storage.blobs.ledger import BlobRow, PackRow
from storage.blobs.packs import PackWriter
from storage.blobs.shelf import BlobShelf
from storage.errors import Damaged
from storage.index.index import Index
from storage.index.references import count_of, loose_since
from storage.index.tables import Txn
from storage.journal.journal import Journal
from storage.recovery import catch_up
from storage.upkeep.evacuating import Evacuation

GRACE_SECONDS = 24 * 3600
GARBAGE_SHARE_MIN = 0.5
GARBAGE_SHARE_LEAST = 0.05
"""Below this a pack is never emptied: headers and alignment alone are some percent of it."""

MEMBER_BYTES = 160
"""What a blob of a shared pack takes beside its body: header, alignment, its line in the closing record."""

BATCH_BYTES = 8 << 20
BATCH_BLOBS = 256
DAMAGED_MAX = 1000
WASTE_BYTES_MIN = 1 << 20
"""A pack that is still written to is only closed for sweeping where this much of it is dead."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is swept: blobs that nothing has named for `grace_ms`, packs of which `garbage_share_min` is dead."""

    grace_ms: int = GRACE_SECONDS * 1000
    garbage_share_min: float = GARBAGE_SHARE_MIN
    waste_bytes_min: int = WASTE_BYTES_MIN
    pack_bytes_max: int = 256 << 20


@dataclass(slots=True)
class Progress:
    """How far a run is. Bytes are those of bodies, but `reclaimed_bytes`, which are those of files."""

    phase: str = "looking"
    loose: int = 0
    waiting: int = 0
    forgotten: int = 0
    forgotten_bytes: int = 0
    packs: int = 0
    packs_todo: int = 0
    packs_done: int = 0
    packs_held: int = 0
    copied: int = 0
    copied_bytes: int = 0
    reclaimed_bytes: int = 0
    damaged: list[str] = field(default_factory=list)

    def told(self) -> dict[str, object]:
        return asdict(self)


class Weight(NamedTuple):
    """Some blobs of a pack."""

    bytes: int
    blobs: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pack worth emptying: `bytes` of its file, `live` of it cited."""

    id: int
    bytes: int
    live: int
    sealed: bool


class Sweep:
    """One run over an origin's shelf. Blocking; `steps` yields after each bounded piece, for pacing and for stopping.

    For one at a time: `lock` first.
    """

    def __init__(
        self, index: Index, journal: Journal, shelf: BlobShelf, now_ms: Callable[[], int], rules: Rules
    ) -> None:
        self._index = index
        self._journal = journal
        self._shelf = shelf
        self._now_ms = now_ms
        self._rules = rules
        self._writer: PackWriter | None = None
        self._avoid: set[int] = set()
        self.progress = Progress()
        self.mark = ""

    # ------------------------------------------------------------ what would be done

    def look(self) -> Progress:
        """What a run would do now; changes nothing."""
        told = Progress("dry run")
        dead: dict[int, Weight] = {}
        for _, row, due in self._loose():
            told.loose += 1
            if not due:
                told.waiting += 1
            elif row is not None:
                told.forgotten += 1
                told.forgotten_bytes += row.size
                for extent in row.extents:
                    before = dead.get(extent.pack, Weight(0, 0))
                    dead[extent.pack] = Weight(before.bytes + extent.length, before.blobs + 1)
        for one in self._candidates(told, dead):
            told.packs_todo += 1
            told.copied_bytes += one.live
            told.reclaimed_bytes += one.bytes - one.live
        return told

    def _loose(self) -> Iterator[tuple[bytes, BlobRow | None, bool]]:
        """Every blob that nothing names: its row, and whether its grace is over."""
        before_ms = self._now_ms() - self._rules.grace_ms
        with self._index.env.begin() as txn:
            for sha256, _ in txn.cursor(db=self._index.tables.loose):
                if count_of(txn, self._index.tables, sha256):
                    continue
                since_ms = loose_since(txn, self._index.tables, sha256) or 0
                yield sha256, self._shelf.ledger.blob(txn, sha256), since_ms <= before_ms

    def _candidates(self, told: Progress, dead: dict[int, Weight]) -> list[Candidate]:
        """Packs worth emptying, where what is `dead` by pack does not live; those with the least to copy first."""
        found = []
        with self._index.env.begin() as txn:
            for id, row in self._shelf.ledger.packs(txn):
                told.packs += 1
                if (one := self._candidate(txn, id, row, dead.get(id, Weight(0, 0)))) is not None:
                    found.append(one)
        return sorted(found, key=lambda one: one.live)

    def _candidate(self, txn: Txn, id: int, row: PackRow, dead: Weight) -> Candidate | None:
        """A pack, if emptying it is worth it. The headers of what lives are no waste: they would be copied too."""
        live = row.live - dead.bytes
        share = max(self._rules.garbage_share_min, GARBAGE_SHARE_LEAST)
        if row.length - live < share * row.length or self._writes_to(id):
            return None
        blobs = len(self._shelf.ledger.members(txn, id)) - dead.blobs
        waste = row.length - live - blobs * MEMBER_BYTES
        if not row.sealed and waste < self._rules.waste_bytes_min:
            return None
        return Candidate(id, row.length, live, row.sealed) if not blobs or waste >= share * row.length else None

    def _writes_to(self, pack: int) -> bool:
        return self._writer is not None and self._writer.header.id == pack

    # ------------------------------------------------------------ the run

    def steps(self) -> Iterator[int]:
        """Do it, one bounded piece at a time; each yields how many bytes of the disk it read, wrote or gave back."""
        try:
            yield from self._forget()
            self.progress.phase = "reclaiming"
            todo = self._candidates(self.progress, {})
            self.progress.packs_todo = len(todo)
            self._avoid = {one.id for one in todo}
            for one in todo:
                yield from self._empty(one)
                self.progress.packs_done += 1
            self.progress.phase = "done"
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _locked(self) -> Txn:
        """The write lock, with everything applied that a dead process journaled: only then is it known what is cited.
        Commit or abort it."""
        while True:
            txn = self._index.env.begin(write=True)
            try:
                if not catch_up(txn, self._index, self._journal, self._shelf):
                    return txn
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    def _change(self, act: Callable[[Txn], int]) -> int:
        """One transaction under the write lock. Raises Full; then nothing has changed."""
        with disk.room("for sweeping"):
            txn = self._locked()
            try:
                done = act(txn)
                txn.commit()
            except lmdb.Error as error:
                txn.abort()
                raise disk.judge_index(error, self._index.path) or error from error
            except BaseException:
                txn.abort()
                raise
        return done

    # ------------------------------------------------------------ rows of what nothing names

    def _forget(self) -> Iterator[int]:
        self.progress.phase = "forgetting"
        after = b""
        while batch := self._batch_of_loose(after):
            after = batch[-1]
            yield self._change(lambda txn, batch=batch: sum(self._forget_one(txn, one) for one in batch))  # type: ignore[misc]

    def _batch_of_loose(self, after: bytes) -> list[bytes]:
        batch: list[bytes] = []
        with self._index.env.begin() as txn, txn.cursor(db=self._index.tables.loose) as cursor:
            going = cursor.set_range(after + b"\0")
            while going and len(batch) < BATCH_BLOBS:
                batch.append(bytes(cursor.key()))
                going = cursor.next()
        return batch

    def _forget_one(self, txn: Txn, sha256: bytes) -> int:
        """The row goes where nothing has named it for long enough; decided by what this very transaction sees."""
        tables, ledger = self._index.tables, self._shelf.ledger
        self.progress.loose += 1
        if not count_of(txn, tables, sha256):
            since_ms = loose_since(txn, tables, sha256)
            if since_ms is not None and since_ms > self._now_ms() - self._rules.grace_ms:
                self.progress.waiting += 1
                return 0
            row = ledger.blob(txn, sha256)
            if row is not None:
                ledger.remove(txn, sha256)
                self.progress.forgotten += 1
                self.progress.forgotten_bytes += row.size
        txn.delete(sha256, db=tables.loose)
        return 0

    # ------------------------------------------------------------ packs

    def _empty(self, one: Candidate) -> Iterator[int]:
        """Take what lives out of a pack, then its name away. What is damaged stays where it is, and the pack too."""
        try:
            if not one.sealed and not self._change(lambda txn: self._close(txn, one.id)):
                return
            yield from Evacuation(self._shelf, one.id, self._change).steps(self.progress)
            while batch := self._batch_of(one.id):
                yield self._move(one.id, batch)
        except Damaged as problem:
            if len(self.progress.damaged) < DAMAGED_MAX:
                self.progress.damaged.append(problem.message)
        else:
            yield self._unlink(one.id)

    def _close(self, txn: Txn, pack: int) -> int:
        """Nobody appends to this pack any more."""
        row = self._shelf.ledger.pack(txn, pack)
        if row is None:
            return 0
        if not row.sealed:
            self._shelf.seal(txn, pack)
        return 1

    def _batch_of(self, pack: int) -> list[tuple[bytes, BlobRow]]:
        """Some of what still lives in a pack, as it lies there."""
        batch: list[tuple[bytes, BlobRow]] = []
        size = 0
        with self._index.env.begin() as txn:
            rows = [(one, self._shelf.ledger.blob(txn, one)) for one, _ in self._shelf.ledger.members(txn, pack)]
        for sha256, row in sorted(rows, key=lambda one: one[1].extents[0].offset if one[1] is not None else 0):
            if row is None or row.recipe is not None:
                continue
            if (not batch or size + row.size <= BATCH_BYTES) and len(batch) < BATCH_BLOBS:
                batch.append((sha256, row))
                size += row.size
        return batch

    def _move(self, pack: int, batch: list[tuple[bytes, BlobRow]]) -> int:
        """Copy bodies, make them durable, and let their rows point there. Raises Damaged for a body that is."""
        bodies = self._shelf.bodies(pack, batch)
        writer = self._writing()
        with disk.room("for sweeping"):
            records, stop = writer.append(bodies, self._now_ms())
        size = sum(len(body) for _, body in bodies)

        def point(txn: Txn) -> int:
            """Only what lies where it was copied from: it may have been forgotten meanwhile."""
            ledger = self._shelf.ledger
            still = [new for new, (sha256, row) in zip(records, batch, strict=True) if ledger.blob(txn, sha256) == row]
            ledger.point(txn, pack, writer.header.id, still)
            ledger.grow(txn, writer.header.id, stop)
            return len(still)

        self.progress.copied += self._change(point)
        self.progress.copied_bytes += size
        return 2 * size

    def _writing(self) -> PackWriter:
        """The pack that living bodies are copied into: this run's own, as long as the index says, and known to it."""
        if self._writer is not None:
            id = self._writer.header.id
            with self._index.env.begin() as txn:
                row = self._shelf.ledger.pack(txn, id)
            assert row is not None, "nobody else drops it: this run has the lock"
            self._writer.length = row.length
            if row.length < self._rules.pack_bytes_max:
                return self._writer
            self._change(lambda txn: self._close(txn, id))
            self._writer.close()
            self._writer = None
        made: list[PackWriter] = []

        def begin(txn: Txn) -> int:
            made.append(self._shelf.begin(txn, self._avoid))
            return 1

        try:
            self._change(begin)
        except BaseException:
            for one in made:
                one.close()
            raise
        self._writer = made[0]
        return self._writer

    def _unlink(self, pack: int) -> int:
        """Forget an empty pack and take its name; the blocks are given back when the last who has it open lets go."""
        path = self._shelf.path(pack)
        self._shelf.forget_chunks(pack)
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return self._unlinked(pack, path, os.fstat(fd).st_size)
            finally:
                os.close(fd)  # frees the blocks, which may take long: outside the lock
        return self._unlinked(pack, path, 0)

    def _unlinked(self, pack: int, path: Path, size: int) -> int:
        hold = unheld(self._shelf.root.parent)
        if hold < 0:
            self.progress.packs_held += 1
            return 0

        def act(txn: Txn) -> int:
            row = self._shelf.ledger.pack(txn, pack)
            if row is None or not row.sealed or self._shelf.ledger.members(txn, pack):
                return 0
            path.unlink(missing_ok=True)
            self._shelf.ledger.drop_pack(txn, pack)
            return 1

        try:
            if not self._change(act):
                return 0
        finally:
            os.close(hold)
        self._shelf.let_go(pack)
        self.progress.reclaimed_bytes += size
        return size


# ---------------------------------------------------------------- one at a time


@contextmanager
def only_one(root: Path) -> Iterator[bool]:
    """For a block, the right to sweep the store at `root`; False where another process has it. Ends with it."""
    fd = os.open(root / "sweep.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield disk.lock(fd)
    finally:
        os.close(fd)


@contextmanager
def keeping_packs(root: Path) -> Iterator[None]:
    """For a block, no pack of the store at `root` loses its name, whoever sweeps: for who walks the files."""
    fd = os.open(root / "hold.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        disk.lock(fd, shared=True, wait=True)
        yield
    finally:
        os.close(fd)


def unheld(root: Path) -> int:
    """A descriptor that keeps others from walking the files, for a moment; -1 where somebody does."""
    fd = os.open(root / "hold.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if disk.lock(fd):
        return fd
    os.close(fd)
    return -1
