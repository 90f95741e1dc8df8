"""How do segments come to be, and to the origin? One worker of each node takes, sends and lets go, beside all else.

An edge sends each segment to its parent until that says it has it, and a parent keeps a name once: at least once on
the wire, once in what is counted. Nothing here is on the way of a request.
"""

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from threading import get_native_id

import lmdb
import msgspec
import trio

from gateway.config import Logs as Limits
from gateway.insight.errorlog import report
from gateway.insight.requestlog import FILE_BYTES_MAX, FILES_MAX
from gateway.logs import durable, segments
from gateway.logs.jobs import Folders, carry_out
from gateway.logs.losses import Interval, Losses
from gateway.logs.pace import EQUAL, LOWEST, Waiting, priority
from gateway.logs.register import Identity, Mark, Register
from gateway.logs.segments import NODE, OWN, SUFFIX, Slice
from gateway.logs.shipping import Shipping, Way
from gateway.logs.tasks import Build, Built
from storage.errors import Invalid

LOOK_SECONDS = 2.0
BUILD_SECONDS_MAX = 60.0
PATIENCE_SECONDS = 3.0
"""For a segment at a low priority. Where a core does nothing but deliver, the files of a log turn in twice as many."""
SEGMENT_BYTES_MAX = 64 << 20
MAGIC = b"PAR1"
PACE_SECONDS_MIN = 0.5
"""Lines come to the file in batches: over less time they seem to stand still, or to race."""
ROOM_BYTES = FILE_BYTES_MAX * (FILES_MAX - 1)
"""What a worker's log holds at least: the oldest file goes as a new one begins."""
FLUSH_MS = 5000
"""A line is in its log file within this time."""
AHEAD_MS_MAX = 60_000
MARK_BYTES_MAX = 1 << 20


class Keeping:
    """The segments of one node, called `node` in its lines. An origin has a `register`, an edge a `way`."""

    def __init__(self, root: Path, node: str, limits: Limits, way: Way | None, register: Register | None) -> None:
        self.folders = Folders(root)
        self._node = node
        self._limits = limits
        self._register = register
        self._complained = False
        self._seen: Waiting | None = None
        self._nice = LOWEST
        self._sizes: dict[str, int] = {}
        self._looked_s = time.time()
        self._losses = Losses(self.folders.own, self.folders.logs)
        self._shipping = (
            Shipping(self.folders, way, self._losses, self._lose, self._complain) if way is not None else None
        )

    async def run(self) -> None:
        """Until cancelled."""
        await trio.to_thread.run_sync(self.folders.make, OWN)
        taken_s = -inf
        while True:
            await trio.sleep(LOOK_SECONDS)
            try:
                waiting = await trio.to_thread.run_sync(self.look)
                late_s = time.monotonic() - taken_s
                if waiting.all >= self._limits.take_bytes or late_s >= self._limits.take_every_seconds:
                    taken_s = time.monotonic()
                    await trio.to_thread.run_sync(self.take)
                if self._shipping is not None:
                    await self._shipping.send()
                await trio.to_thread.run_sync(self.trim)
                await trio.to_thread.run_sync(self._losses.tell)
            except (OSError, lmdb.Error, subprocess.SubprocessError) as error:
                self._complain("segments of the client log wait", type(error).__name__)
            else:
                self._complained = False

    def look(self) -> Waiting:
        """What is not taken yet, and by when that must be. Blocks."""
        self._sizes |= segments.sizes(self.folders.logs)
        return self._see(self._taken())

    def _see(self, taken: dict[str, int]) -> Waiting:
        now = Waiting(segments.waiting(self.folders.logs, taken), time.monotonic())
        if self._seen is None or now.at_s - self._seen.at_s >= PACE_SECONDS_MIN:
            self._nice = priority(self._seen or now, now, ROOM_BYTES)
            self._seen = now
        return now

    def take(self) -> int:
        """Make segments of all that is new, and a mark that says so; how many. Blocks."""
        at_ms = int(time.time() * 1000) - FLUSH_MS
        folders, made = self.folders, 0
        taken = self._taken()
        self._look_for_lost(taken)
        for part in segments.fresh(folders.logs, taken, self._limits.take_bytes):
            self._see(taken)
            if self._build(part):
                made += 1
                self._seen = self._seen and self._seen.without(part.worker, part.stop - part.start)
                taken[part.file] = part.stop
                taken = segments.write_taken(folders.own, folders.logs, taken)
        self._mark(at_ms, taken)
        return made

    def trim(self) -> None:
        """At an edge, let go what is too much; what it was is told with the next mark."""
        if self._shipping is None:
            return
        gone = segments.trimmed(self.folders.out, self._limits.waiting_bytes_max)
        if gone:
            report("warning", "segments of the client log were let go before the origin had them", count=len(gone))
            since_s = min(segments.taken_s(name) for name in gone) - self._limits.take_every_seconds
            self._losses.add({}, since_s=since_s)
            self._lose(gone)

    def _taken(self) -> dict[str, int]:
        folders = (self.folders.out, self.folders.refused, self.folders.kept / OWN)
        names = [path.name for folder in folders for path in folder.iterdir()]
        taken = segments.read_taken(self.folders.own, names)
        if self._register is not None:
            for file, stop in self._register.stops(self._node).items():
                taken[file] = max(taken.get(file, 0), stop)
        return taken

    def _build(self, part: Slice) -> bool:
        name = part.name(f"{datetime.now(UTC):%Y%m%dT%H%M%S}")
        scratch = self.folders.work / name
        built = self._built(part, scratch)
        if built is None:
            return False
        if built.lost_ms:
            self._losses.add({}, built.lost_ms)
        if self._register is None:
            durable.moved(scratch, self.folders.out / name)
        else:
            one = Identity(self._node, part.file, part.start, part.stop)
            self._register.take(one, self.folders.kept / OWN / name, scratch)
        return True

    def _built(self, part: Slice, scratch: Path) -> Built | None:
        """A segment at `scratch`; None where the lines have gone meanwhile. What gets hardly any of a core at a low
        priority begins anew at the usual one: it cannot be raised while it runs."""
        work = self.folders.work / f"{part.file}.jsonl"
        task = Build(str(self.folders.own), str(work), str(scratch), self._node, self._limits.countries)
        for nice, wall_s in ((self._nice, PATIENCE_SECONDS if self._nice > EQUAL else 0.0), (EQUAL, 0.0)):
            if not segments.copied(part, work):
                return None
            try:
                return carry_out(
                    task, Built, memory_bytes_max=self._limits.memory_bytes_max, seconds_max=BUILD_SECONDS_MAX,
                    nice=nice, wall_s=wall_s,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                if not wall_s:
                    raise
        return None

    # ------------------------------------------------------------ marks, and what was lost

    def _mark(self, at_ms: int, taken: dict[str, int]) -> None:
        lost = self._losses.told()
        mark = Mark(at_ms, taken, lost.intervals.get("", ()), lost.lost_ms)
        if self._register is not None:
            self._register.mark(self._node, mark)
        else:
            durable.write_durably(self.folders.marks / OWN, msgspec.msgpack.encode(mark))

    def _look_for_lost(self, taken: dict[str, int]) -> None:
        """Log files that were gone before all of them was taken."""
        there = segments.sizes(self.folders.logs)
        lost = [
            (file, taken.get(file, 0), size) for file, size in self._sizes.items()
            if file not in there and taken.get(file, 0) < size
        ]  # fmt: skip
        self._sizes = there
        if lost:
            report("warning", "lines of the client log were gone before they were taken", count=len(lost))
            self._losses.add({"": lost}, since_s=self._looked_s)
        self._looked_s = time.time()

    def _lose(self, names: list[str]) -> None:
        """These segments do not come, for now or for ever: whose lines they hold says their name."""
        found: dict[str, list[Interval]] = {}
        for one in (segments.identity(self._node, name) for name in names):
            if one is not None:
                maker = "" if one.node == segments.spelt(self._node) else one.node
                found.setdefault(maker, []).append((one.file, one.start, one.stop))
        self._losses.add(found)

    def _complain(self, message: str, why: str) -> None:
        if not self._complained:
            self._complained = True
            report("warning", message, why=why)


class Receiving:
    """What edges send to this node: kept once at an origin, which has a register; a shield sends it on."""

    def __init__(self, root: Path, *, register: Register | None, now: Callable[[], float] = time.time) -> None:
        self._folders = Folders(root)
        self._register = register
        self._now = now

    def keep(self, node: str, name: str, body: bytes) -> bool:
        """Keep a segment of a node; False where its bytes have come before. Raises Invalid. Blocks."""
        one = segments.identity(node, name)
        if one is None or NODE.fullmatch(node) is None or node == OWN:
            raise Invalid("A segment is not called this.")
        if len(body) < 12 or body[:4] != MAGIC or body[-4:] != MAGIC:
            raise Invalid("This is no segment.")
        ahead = f"{datetime.fromtimestamp(self._now(), UTC) + timedelta(days=1):%Y%m%d}"
        if name[:8] > ahead:
            raise Invalid("This segment is from the future.", "Set the clock of the edge.")
        self._folders.make(OWN)
        if self._register is not None and self._register.has_seen(one):
            return False
        fresh = self._folders.work / f"{node}-{name}-{get_native_id()}{durable.NEW}"
        durable.write_settled(fresh, body)
        if self._register is not None:
            folder = self._folders.kept / node
            if not folder.exists():
                folder.mkdir(exist_ok=True, mode=0o700)
                durable.settle(folder.parent)
            if not self._register.take(one, folder / name, fresh):
                fresh.unlink()
                return False
            return True
        file = self._folders.out / f"{name.removesuffix(SUFFIX)}.{node.replace('.', '-')}{SUFFIX}"
        is_new = not file.exists()
        durable.moved(fresh, file)
        return is_new

    def mark(self, node: str, body: bytes) -> None:
        """Keep what a node says of how far it has sent its lines. Raises Invalid. Blocks."""
        try:
            mark = msgspec.msgpack.decode(body, type=Mark)
        except msgspec.MsgspecError:
            raise Invalid("This is no mark.") from None
        if NODE.fullmatch(node) is None or node == OWN:
            raise Invalid("A node is not called this.")
        if mark.at_ms > self._now() * 1000 + AHEAD_MS_MAX:
            raise Invalid("This mark is from the future.", "Set the clock of the edge.")
        if self._register is not None:
            self._register.mark(segments.spelt(node), mark)
            return
        self._folders.make(OWN)
        durable.write_durably(self._folders.marks / node, body)
