"""How does a node come to hold what its region's policies want? One worker of it fetches what is missing, unasked.

It walks what is wanted, fetches what is not here through the same Flights as clients do, and walks again when the
index moved. Nothing is remembered that matters: what is here is in the cache, so a restart goes on where it was. A
parent that fails is tried again later and later; a full disk stops the work, and is told.
"""

import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import lmdb
import msgspec
import trio

from cache.asking.bodies import Source
from cache.asking.pacing import Bucket, Paced
from cache.fills.filling import Opener
from cache.fills.flight import Flights
from cache.foreign.files import Pace
from cache.keeping.board import Board
from cache.replication.holding import Holding, Wish
from storage import disk
from storage.blobs.shelf import BlobShelf
from storage.errors import Full, Problem
from storage.index.catalog import Catalog

FILE_NAME = "replication.json"
LOOK_SECONDS = 60.0
GLANCE_SECONDS = 0.2
LOCK_LOOK_SECONDS = 0.5
TELL_SECONDS = 0.5
RETRY_SECONDS = (0.5, 60.0)
FULL_SECONDS = 30.0
WALK_SHARE = 10
"""Between two walks this many times as long as one takes goes by."""
MISSING_MAX = 1_000
FAILURES_MAX = 3
"""So many in a row, and the parent is left alone for a while."""
log = logging.getLogger("entrepot.cache")


class Held(msgspec.Struct):
    """How far one Repository is. `serial` is that of its Workspace, `whole_serial` the last one at which all that was
    wanted was here; `behind_ms` is the time since when it is not, 0 while it is. `left_out_bytes` do not fit. Foreign
    files, which others drew, are counted among all, and by themselves too."""

    workspace: str
    repository: str
    files: int = 0
    bytes: int = 0
    here_files: int = 0
    here_bytes: int = 0
    left_out_bytes: int = 0
    foreign_files: int = 0
    foreign_bytes: int = 0
    foreign_here_files: int = 0
    foreign_here_bytes: int = 0
    serial: int = 0
    whole_serial: int = 0
    behind_ms: int = 0
    problem: str = ""

    def told(self, now_ms: int) -> dict[str, object]:
        """For programs."""
        told = msgspec.structs.asdict(self)
        del told["behind_ms"]
        return told | {"lag_ms": self.lag_ms(now_ms)}

    def lag_ms(self, now_ms: int) -> int:
        """For how long something has been missing."""
        return max(0, now_ms - self.behind_ms) if self.behind_ms else 0


class Progress(Board[Held]):
    """The file in which the worker that replicates tells the others how far it is."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Held)


class Room(Protocol):
    """Who makes room on the disk: cache.keeping.eviction.Evictor."""

    def has_room(self, size: int) -> bool: ...


class Foreign(Protocol):
    """Who hears of foreign files that were drawn elsewhere, and draws them."""

    async def run(self) -> None:
        """Hear of them, until cancelled."""
        ...

    async def draw(self, wish: Wish, pace: Pace | None) -> bool:
        """Have one here; False where it cannot be had any more. Raises Problem."""
        ...


class Retries:
    """Which files are left alone for now, since fetching them failed. Pure but for the clock."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._failed: dict[bytes, tuple[int, float]] = {}

    def failed(self, sha256: bytes) -> None:
        times = self._failed.get(sha256, (0, 0.0))[0] + 1
        pause_s = min(RETRY_SECONDS[0] * 2 ** min(times, 20), RETRY_SECONDS[1])
        self._failed[sha256] = times, self._now_s() + pause_s * random.uniform(0.5, 1.0)  # noqa: S311
        while len(self._failed) > MISSING_MAX:
            del self._failed[next(iter(self._failed))]

    def worked(self, sha256: bytes) -> None:
        self._failed.pop(sha256, None)

    def resting(self, sha256: bytes) -> bool:
        return sha256 in self._failed and self._failed[sha256][1] > self._now_s()

    def soonest_s(self) -> float:
        """In how many seconds one of them is to be tried again; infinite where none rests."""
        now_s = self._now_s()
        return min((until_s - now_s for _, until_s in self._failed.values() if until_s > now_s), default=float("inf"))


class Survey:
    """What a walk found: how far each Repository is, and at most MISSING_MAX files to fetch."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Held] = {}
        self.missing: list[Wish] = []
        self.waiting = False
        """Is anything that is wanted, and fits, not here?"""


class Replicator:
    """One a worker; whoever holds the lock works. `source` opens a wish at the parent."""

    def __init__(
        self,
        catalog: Catalog,
        holding: Holding,
        cached: BlobShelf,
        flights: Flights,
        source: Callable[[Wish], Opener],
        room: Room,
        progress: Progress,
        now_ms: Callable[[], int],
        *,
        rate_max_bytes_s: int = 0,
        files_at_a_time_max: int = 2,
        fill_seconds_max: float = 3600.0,
        foreign: Foreign | None = None,
    ) -> None:
        self._foreign = foreign
        self._catalog = catalog
        self._holding = holding
        self._cached = cached
        self._flights = flights
        self._source = source
        self._room = room
        self.progress = progress
        self._lock = progress.path.with_suffix(".lock")
        self._now_ms = now_ms
        self._rate = Bucket(rate_max_bytes_s) if rate_max_bytes_s else None
        self._rates: dict[tuple[str, str, int], Bucket] = {}
        self._at_a_time = files_at_a_time_max
        self._paced_s = fill_seconds_max / 2
        self._retries = Retries()
        self._survey = Survey()
        self._told_s = 0.0

    def __repr__(self) -> str:
        return f"<Replicator {self._holding.region or 'without a region'}>"

    async def run(self) -> None:
        """Until cancelled. A node without a region has nothing to do."""
        if not self._holding.region:
            return
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not disk.lock(fd):  # noqa: ASYNC110 - another process has no event for us
                await trio.sleep(LOCK_LOOK_SECONDS)
            async with trio.open_nursery() as nursery:
                if self._foreign is not None:
                    nursery.start_soon(self._foreign.run)
                while True:
                    await self._turn()
        finally:
            os.close(fd)

    async def _turn(self) -> None:
        """Look, fetch what is missing, wait until there is something to look for."""
        moment, began_s = self._catalog.moment(), trio.current_time()
        wanted = self._holding.moment()
        try:
            survey = await trio.to_thread.run_sync(self.look)
        except (Problem, lmdb.Error) as problem:
            log.error("what this node is to hold cannot be told: %s", problem)
            await trio.sleep(LOOK_SECONDS)
            return
        walk_s = trio.current_time() - began_s
        self._take(survey)
        brought = await self._bring(survey.missing, moment, walk_s) if survey.missing else 0
        self._tell()
        await trio.sleep(max(GLANCE_SECONDS, WALK_SHARE * walk_s))
        if not brought:
            await self._until_news(wanted)

    async def _until_news(self, wanted: object) -> None:
        end_s = trio.current_time() + min(LOOK_SECONDS, self._retries.soonest_s())
        while trio.current_time() < end_s and self._holding.moment() == wanted:  # noqa: ASYNC110 - a look is cheap
            await trio.sleep(GLANCE_SECONDS)

    # ------------------------------------------------------------ what is wanted and what is here

    def look(self) -> Survey:
        """Walk all that is wanted. Blocking."""
        survey = Survey()
        with self._catalog.read() as reading:
            for repository, _ in self._holding.policies(reading):
                at = (repository.workspace, repository.name)
                survey.held[at] = Held(*at, serial=reading.serial(repository.workspace))
            for wish in self._holding.wishes(reading):
                self._count(survey, wish)
        return survey

    def _count(self, survey: Survey, wish: Wish) -> None:
        held = survey.held[wish.repository.workspace, wish.repository.name]
        file = wish.file
        held.files += 1
        held.bytes += file.size
        if wish.drawn is not None:
            held.foreign_files += 1
            held.foreign_bytes += file.size
        if self._is_here(wish):
            self._arrived(held, wish)
        elif not wish.fits:
            held.left_out_bytes += file.size
        elif len(survey.missing) < MISSING_MAX and not self._retries.resting(file.sha256):
            survey.missing.append(wish)

    def _is_here(self, wish: Wish) -> bool:
        drawn = wish.drawn is None or wish.drawn.here
        return drawn and self._cached.holds(wish.file.sha256) is not None

    @staticmethod
    def _arrived(held: Held, wish: Wish) -> None:
        held.here_files += 1
        held.here_bytes += wish.file.size
        if wish.drawn is not None:
            held.foreign_here_files += 1
            held.foreign_here_bytes += wish.file.size

    def _take(self, survey: Survey) -> None:
        """What was known before of how far it is goes on."""
        before = {(one.workspace, one.repository): one for one in self.progress.read()}
        for at, held in survey.held.items():
            known = before.get(at)
            if known is not None and known.whole_serial <= held.serial:
                held.whole_serial, held.behind_ms, held.problem = known.whole_serial, known.behind_ms, known.problem
            self._judge(held)
        self._survey = survey
        self._tell()

    def _judge(self, held: Held) -> None:
        if held.here_files == held.files:
            held.whole_serial, held.behind_ms, held.problem = held.serial, 0, ""
        else:
            held.behind_ms = held.behind_ms or self._now_ms()
            if held.left_out_bytes and not held.problem:
                held.problem = f"{held.left_out_bytes} bytes do not fit into this node's share of the disk."

    def _tell(self) -> None:
        self._told_s = trio.current_time()
        self.progress.write(list(self._survey.held.values()))

    # ------------------------------------------------------------ fetching

    async def _bring(self, missing: Sequence[Wish], moment: int, walk_s: float) -> int:
        """Fetch these, a few at a time; how many came. Where the index moves it ends early, to look again."""
        round = _Round(missing, until_s=trio.current_time() + max(1.0, WALK_SHARE * walk_s))
        async with trio.open_nursery() as nursery:
            for _ in range(self._at_a_time):
                nursery.start_soon(self._work, round, moment)
        return round.brought

    async def _work(self, round: "_Round", moment: int) -> None:
        for wish in round.left:
            await self._one(round, wish)
            if trio.current_time() - self._told_s > TELL_SECONDS:
                self._tell()
            if round.stopped or (self._catalog.moment() != moment and trio.current_time() > round.until_s):
                return

    async def _one(self, round: "_Round", wish: Wish) -> None:
        held = self._survey.held[wish.repository.workspace, wish.repository.name]
        try:
            if not await self._fetch(wish):
                return
        except Full as problem:
            held.problem, round.stopped = problem.message, True
            log.error("replication waits: %s", problem.message)
            self._tell()
            await trio.sleep(FULL_SECONDS)
        except Problem as problem:
            self._retries.failed(wish.file.sha256)
            held.problem = f"{wish.package} {wish.file.name}: {problem.message}"
            round.failures += 1
            round.stopped = round.stopped or round.failures >= FAILURES_MAX
        else:
            self._retries.worked(wish.file.sha256)
            round.brought += 1
            round.failures = 0
            if self._retries.soonest_s() == float("inf"):  # else what is told is of a file that still fails
                held.problem = ""
            self._arrived(held, wish)
            self._judge(held)

    async def _fetch(self, wish: Wish) -> bool:
        """False where it cannot be had any more. Raises Problem."""
        file = wish.file
        if self._is_here(wish):
            return True
        if not self._room.has_room(file.size):
            raise Full("There is no room on the disk for what is to be held here.", "Free disk space.")
        pace = self._pace(wish)
        if wish.drawn is not None:
            return self._foreign is not None and await self._foreign.draw(wish, pace)
        key = b"blob\0" + file.sha256
        opener = self._source(wish)

        digests = {"sha256": file.sha256.hex()}
        paced = opener if pace is None else lambda offset: pace(opener(offset), key)
        place = f"{wish.repository.workspace}/{wish.repository.name}"
        fill = await self._flights.join(key, file.size, digests, paced, place=place)
        await fill.done()
        return True

    def _pace(self, wish: Wish) -> Pace | None:
        """As fast as the policy and the node let it; None = as fast as it goes."""
        buckets = self._buckets(wish)
        unpaced_s = time.monotonic() + self._paced_s

        def pace(source: Source, key: bytes) -> Source:
            return Paced(source, buckets, lambda: self._flights.hurried(key), unpaced_s)

        return pace if buckets else None

    def _buckets(self, wish: Wish) -> list[Bucket]:
        found = [self._rate] if self._rate is not None else []
        if rate_bytes_s := wish.policy.rate_max_bytes_s:
            at = (wish.repository.workspace, wish.repository.name, rate_bytes_s)
            if at not in self._rates:
                self._rates = {one: bucket for one, bucket in self._rates.items() if one[:2] != at[:2]}
                self._rates[at] = Bucket(rate_bytes_s)
            found.append(self._rates[at])
        return found


class _Round:
    """One list of files being fetched by several tasks."""

    def __init__(self, missing: Sequence[Wish], until_s: float) -> None:
        self.left: Iterator[Wish] = iter(missing)
        self.until_s = until_s
        self.brought = 0
        self.failures = 0
        self.stopped = False
