"""How do many small segments become few large ones, while they are asked, and when do these go?

Segments of one node and day become a folder, `DAY-HASH.merged`: `rows.parquet`, the rollups, and `made.json`, which
names what it replaces. The folder gets its name in one move; whoever looks from then on sees it instead of what it
replaces, which is removed when no question can read it any more. A crash at any point leaves each row seen once.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import lmdb
import msgspec
import trio
from xxhash import xxh3_64_hexdigest

from gateway.access.tokens import ID_PREFIX
from gateway.config import Logs as Limits
from gateway.insight.errorlog import report
from gateway.logs import durable, segments
from gateway.logs.jobs import Folders, carry_out
from gateway.logs.pace import EQUAL, LOWEST
from gateway.logs.register import Register
from gateway.logs.rollups import Held
from gateway.logs.tasks import Latest, Made, Merge, Pulled, Tally, Used

LOOK_SECONDS = 5.0
MERGED = ".merged"
SMALL_BYTES = 32 << 20
MERGE_BYTES_MAX = 128 << 20
SMALL_MAX = 8
"""So many small segments of a day that goes on become one."""
CLOSED_HOURS = 1
"""A day is over so long after its end."""
COUNT_FILES_MAX = 64
OF_THE_FILE = {
    "ValueError": 1, "InvalidInputException": 1, "ConversionException": 1, "SerializationException": 1,
    "Error": 1, "BinderException": 1, "OutOfRangeException": 1, "OutOfMemoryException": 3,
}  # fmt: skip
"""Failures that are about what is read, and how often they must be seen; others are about this machine."""
UNREADABLE_MAX = 100
"""So many segments that cannot be read are kept to be looked at."""
SECONDS_MAX = 300.0
THREADS = 2


class Believes(Protocol):
    """What a node may tell of: gateway.access.peers.believing."""

    def workspaces(self, node: str, names: frozenset[str]) -> frozenset[str]: ...
    def tokens(self, node: str, ids: frozenset[str]) -> frozenset[str]: ...
    def born(self, places: frozenset[tuple[str, str]]) -> dict[tuple[str, str], int]: ...


class Note(msgspec.Struct, frozen=True):
    """made.json: what a merged segment holds, and which it replaces."""

    made: Made
    replaces: tuple[str, ...]


class Merged(NamedTuple):
    """A merged segment."""

    path: Path
    note: Note

    def held(self) -> Held:
        made = self.note.made
        return Held(str(self.path), made.from_ms, made.until_ms, self.rows.exists(), made.gaps)

    @property
    def rows(self) -> Path:
        return self.path / "rows.parquet"


class Listing(NamedTuple):
    """What counts of one node: fresh segments and merged ones."""

    fresh: list[Path]
    merged: list[Merged]


def listed(folder: Path) -> Listing:
    """Of one node's folder."""
    there = sorted(folder.iterdir(), key=lambda path: path.name)
    merged = [Merged(path, _note(path)) for path in there if path.name.endswith(MERGED)]
    over = {name for one in merged for name in one.note.replaces}
    fresh = [path for path in there if segments.is_name(path.name) and path.name not in over]
    return Listing(fresh, [one for one in merged if one.path.name not in over])


def due(files: list[tuple[str, int, bool]], *, closed: bool) -> list[str]:
    """Which of a day's segments (name, bytes, is it merged) become one now; [] = none."""
    small = [one for one in files if one[1] < SMALL_BYTES or not one[2]]
    if len(small) < SMALL_MAX and not (closed and (len(small) > 1 or any(not merged for _, _, merged in small))):
        return []
    taken, total = list[str](), 0
    for name, size, _ in small:
        if taken and total + size > MERGE_BYTES_MAX:
            break
        taken.append(name)
        total += size
    return taken


class Merging:
    """An origin's work on the segments of all nodes, in one of its workers: count, merge, let go."""

    def __init__(
        self,
        folders: Folders,
        limits: Limits,
        register: Register,
        believes: Believes,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folders = folders
        self._limits = limits
        self._register = register
        self._believes = believes
        self._now = now
        self._tried: dict[str, int] = {}
        self._nice = LOWEST
        self._complained = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            try:
                await trio.to_thread.run_sync(self.round)
                self._complained = False
            except (OSError, lmdb.Error, subprocess.SubprocessError) as error:
                if not self._complained:
                    self._complained = True
                    report("warning", "segments of the client log are not merged", why=type(error).__name__)

    def round(self) -> None:
        """Count what is new, merge what is due, remove what is replaced or too old. Blocks."""
        self.count()
        for node in self._nodes():
            while self._merge(node):
                pass
            self._clear(node)
        self._retain()

    def count(self) -> None:
        """Downloads, last pulls, and last uses of tokens, of what is new."""
        come, is_whole = self._register.come(), True
        for node in self._nodes():
            fresh: dict[str, list[str]] = {}
            for path in self._register.uncounted(str(path) for path in listed(node).fresh):
                fresh.setdefault(_maker(node.name, path), []).append(path)
            for maker, paths in fresh.items():
                for at in range(0, len(paths), COUNT_FILES_MAX):
                    is_whole &= self._count_these(maker, tuple(paths[at : at + COUNT_FILES_MAX]))
        if come and is_whole:
            self._register.settle(come)

    def _count_these(self, maker: str, files: tuple[str, ...]) -> bool:
        """Count them; where that fails, each alone, so that one that cannot be read costs nobody else. False where some
        are to be tried again."""
        try:
            self._count(maker, files)
        except subprocess.CalledProcessError as error:
            if len(files) > 1:
                alone = [self._count_these(maker, (one,)) for one in files]
                return all(alone)
            why = error.stderr.decode(errors="replace")
            if why not in OF_THE_FILE:
                raise
            tried = self._tried[files[0]] = self._tried.get(files[0], 0) + 1
            if tried < OF_THE_FILE[why]:
                return False
            self._put_aside(maker, Path(files[0]))
        self._tried.pop(files[0], None)
        return True

    def _put_aside(self, maker: str, path: Path) -> None:
        """What it holds is lost to every count, and told so."""
        report("error", "a segment of the client log cannot be read and is set aside", node=maker, name=path.name)
        aside = self._folders.unreadable
        path.replace(aside / f"{path.parent.name}-{path.name}")
        self._register.lose(maker, int(self._now() * 1000))
        for old in sorted(aside.iterdir(), key=lambda one: one.stat().st_mtime)[:-UNREADABLE_MAX]:
            old.unlink()

    def _count(self, maker: str, files: tuple[str, ...]) -> None:
        """What one node says of what it may see; the rest is dropped."""
        pulls = self._carry_out(Tally(str(self._folders.own), files), list[Pulled])
        uses = self._carry_out(Latest(str(self._folders.own), files), list[Used])
        seen = self._believes.workspaces(maker, frozenset(one.workspace for one in pulls))
        known = self._believes.tokens(maker, frozenset(one.token_id for one in uses))
        kept = [one for one in pulls if one.workspace in seen]
        used = [msgspec.structs.replace(one, node=_own_name(maker, one.node)) for one in uses if one.token_id in known]
        if (refused := len(pulls) + len(uses) - len(kept) - len(used)) > 0:
            report("warning", "a node tells of what it may not see: not counted", node=maker, count=refused)
        self._register.use(used)
        born = self._believes.born(frozenset((one.workspace, one.repository) for one in kept))
        self._register.count(files, kept, born)

    def _merge(self, node: Path) -> bool:
        """Make one of some; False where nothing is due."""
        there = listed(node)
        waiting = set(self._register.uncounted(str(path) for path in there.fresh))
        days: dict[str, list[tuple[str, int, bool]]] = {}
        for path in there.fresh:
            if str(path) not in waiting:
                days.setdefault(path.name[:8], []).append((path.name, path.stat().st_size, False))
        for one in there.merged:
            if one.rows.exists():
                days.setdefault(one.path.name[:8], []).append((one.path.name, one.rows.stat().st_size, True))
        over = f"{datetime.fromtimestamp(self._now(), UTC) - timedelta(hours=24 + CLOSED_HOURS):%Y%m%d}"
        for day, files in sorted(days.items()):
            if names := due(files, closed=day <= over):
                self._make(node, day, names)
                return True
        return False

    def _make(self, node: Path, day: str, names: list[str]) -> None:
        name = f"{day}-{xxh3_64_hexdigest(' '.join(names).encode())}{MERGED}"
        work = self._folders.work / f"{node.name}-{name}"
        shutil.rmtree(work, ignore_errors=True)
        sources = tuple(str(node / one / "rows.parquet" if one.endswith(MERGED) else node / one) for one in names)
        made = self._carry_out(Merge(str(self._folders.own), sources, str(work)), Made)
        durable.write_durably(work / "made.json", msgspec.json.encode(Note(made, tuple(names))))
        work.rename(node / name)
        durable.settle(node)

    def _clear(self, node: Path) -> None:
        """Remove what is replaced, once no question reads it any more: what was replaced first goes first, since a
        folder's name is what keeps its sources from being seen."""
        for gone in node.glob("*.gone"):
            shutil.rmtree(gone)
        before_s = self._now() - self._limits.seconds_max * 2 - 10
        folders = sorted(node.glob(f"*{MERGED}"), key=lambda path: path.stat().st_mtime)
        removed = []
        for folder in folders:
            if folder.exists() and folder.stat().st_mtime < before_s:
                for path in (folder.with_name(name) for name in _note(folder).replaces):
                    if path.exists():
                        _remove(path)
                        removed.append(str(path))
        self._register.forget(removed)

    def _retain(self) -> None:
        """Rows go after `keep_days`, what is left of them after `keep_rollups_days`, the oldest first where there is
        too much."""
        now = datetime.fromtimestamp(self._now(), UTC)
        rows_from = f"{now - timedelta(days=self._limits.keep_days):%Y%m%d}"
        all_from = f"{now - timedelta(days=max(self._limits.keep_rollups_days, self._limits.keep_days)):%Y%m%d}"
        units = [unit for node in self._nodes() for unit in _units(listed(node))]
        units.sort(key=lambda unit: (unit.whole, unit.day))
        total = sum(unit.size for unit in units)
        for unit in units:
            if unit.day >= (all_from if unit.whole else rows_from) and total <= self._limits.keep_bytes_max:
                continue
            total -= unit.size
            _remove(unit.path)
            self._register.forget([str(unit.path)])

    def _nodes(self) -> list[Path]:
        return sorted(path for path in self._folders.kept.iterdir() if path.is_dir())

    def _carry_out[Result](self, task: Merge | Tally | Latest, shape: type[Result]) -> Result:
        """What got hardly any of a core is tried at the usual priority next."""
        nice, self._nice = self._nice, LOWEST
        try:
            return carry_out(
                task, shape, memory_bytes_max=self._limits.memory_bytes_max, seconds_max=SECONDS_MAX, threads=THREADS,
                nice=nice,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self._nice = EQUAL
            raise


def _maker(sender: str, path: str) -> str:
    """The node whose lines a segment holds, as files spell it: who sent it, or who gave it to him."""
    one = segments.identity(sender, Path(path).name)
    return segments.spelt(sender) if one is None else one.node


def _own_name(maker: str, said: str) -> str:
    """A line says where it was written; nobody's pass as another's. An edge that has a token for a certificate is
    known by that token, and calls itself as it was set up."""
    return said if segments.spelt(said) == maker or maker.startswith(ID_PREFIX) else maker


class Unit(NamedTuple):
    """What goes at once: rows, or (`whole`) all that is left of a merged segment."""

    whole: bool
    day: str
    path: Path
    size: int


def _units(there: Listing) -> list[Unit]:
    found = [Unit(False, path.name[:8], path, path.stat().st_size) for path in there.fresh]
    for one in there.merged:
        day = one.path.name[:8]
        if one.rows.exists():
            found.append(Unit(False, day, one.rows, one.rows.stat().st_size))
        rest = sum(path.stat().st_size for path in one.path.iterdir() if path != one.rows)
        found.append(Unit(True, day, one.path, rest))
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path.rename(path.with_name(f"{path.name}.gone")))
    else:
        path.unlink(missing_ok=True)


@lru_cache(4096)
def _note(path: Path) -> Note:
    return msgspec.json.decode((path / "made.json").read_bytes(), type=Note)
