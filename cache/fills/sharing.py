"""How do any number of requests share one fetch of what has no room on the disk?

A thread brings the bytes into a ring in memory, and each request reads them there at its own pace; whoever is fastest
says when the next come. The ring keeps what came last: who is too slow for that falls out, and goes on by a range of
its own where the source can tell that it is still the same, else its answer ends as broken. What came whole stays a
few seconds for those who come a moment later. All of it is bounded, and belongs to one process: the others of a node
fetch for themselves.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import trio

from cache.asking.bodies import Source
from storage.errors import Absent, Problem, Unavailable, UpstreamFailed

RING_BYTES_MAX = 8 << 20
RINGS_MAX = 8
"""So many fetches are shared at a time, those that stay a moment counted; whoever comes beyond fetches alone."""
LONE_BYTES_MAX = 2 << 20
AHEAD_BYTES_MAX = 1 << 20
"""So far a fetch is ahead of its fastest reader."""
STAY_SECONDS = 5.0
PIECE_BYTES = 128 << 10
log = logging.getLogger("entrepot.cache")


class Opened(NamedTuple):
    """A source that begins where it was asked to, and what is known of the object; `same` tells one state of it from
    another, "" = nothing does."""

    source: Source
    about: Any
    same: str


Opener = Callable[[int], Opened]
"""Opens the object from an offset on. Blocking. Raises Problem."""


class Alone(Protocol):
    """A range for one reader (cache.fills.flight.Bypass)."""

    async def read(self, bytes_max: int) -> bytes: ...
    def close(self) -> None: ...


class Lone(Protocol):
    """How many go past the cache at a time (cache.fills.flight)."""

    threads: trio.CapacityLimiter

    def enter(self) -> bool: ...
    def leave(self) -> None: ...
    async def one(self, opener: Callable[[], Source], offset: int, length: int) -> Alone | None: ...


class Ring:
    """One fetch, in the loop's own hands: pieces by number, of which the oldest go."""

    def __init__(self, opener: Opener, bytes_max: int = RING_BYTES_MAX) -> None:
        self.opener = opener
        self.bytes_max = bytes_max
        self.about: Any = None
        self.same = ""
        self.length = -1
        self.pieces: dict[int, bytes] = {}
        self.first = self.next = 0
        self.held_bytes = self.written = 0
        self.readers: set[Shared] = set()
        self.is_open = self.over = False
        self.problem: Problem | None = None
        self._changed = trio.Event()
        self.moved = trio.Event()

    def opened(self, told: Opened) -> None:
        self.about, self.same, self.length, self.is_open = told.about, told.same, told.source.length, True
        self.changed()

    def add(self, piece: bytes) -> None:
        """Behind the others; of which no more stay than a ring holds."""
        self.pieces[self.next] = piece
        self.next += 1
        self.written += len(piece)
        self.held_bytes += len(piece)
        while self.held_bytes > self.bytes_max:
            self.held_bytes -= len(self.pieces.pop(self.first))
            self.first += 1
        self.changed()

    def end(self, problem: Problem | None = None) -> None:
        if not self.over:
            self.over, self.problem = True, problem
            self.changed()

    def changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def news(self) -> None:
        await self._changed.wait()

    @property
    def is_whole(self) -> bool:
        """Can somebody still begin to read it?"""
        return not self.first and self.problem is None

    @property
    def waits(self) -> bool:
        """Has even the fastest enough to do?"""
        return bool(self.readers) and self.written - max(one.at for one in self.readers) >= AHEAD_BYTES_MAX

    def check(self) -> None:
        if self.problem is not None:
            known = self.problem
            raise type(known)(known.message, known.remedy, retry_after_s=known.retry_after_s)


class Shared:
    """One reader of a Ring. `length` -1 = its source does not tell how much there is."""

    def __init__(self, ring: Ring, lone: Lone) -> None:
        self._ring = ring
        self._lone = lone
        self._number = self._inside = self.at = 0
        self._alone: Alone | None = None
        ring.readers.add(self)

    @property
    def length(self) -> int:
        return self._ring.length

    @property
    def about(self) -> Any:
        return self._ring.about

    async def __aenter__(self) -> "Shared":
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    async def read(self, bytes_max: int) -> bytes:
        """The next bytes, b"" after the last. Raises UpstreamFailed where they stop early, or are gone."""
        ring = self._ring
        while self._alone is None and self._number >= ring.first:
            piece = ring.pieces.get(self._number)
            if piece is not None:
                return self._taken(piece, bytes_max)
            ring.check()
            if ring.over:
                return b""
            await ring.news()
        if self._alone is None:
            self._alone = await self._fall_out()
        data = await self._alone.read(bytes_max)
        self.at += len(data)
        return data

    def _taken(self, piece: bytes, bytes_max: int) -> bytes:
        data = piece[self._inside : self._inside + bytes_max]
        self._inside += len(data)
        self.at += len(data)
        if self._inside == len(piece):
            self._number, self._inside = self._number + 1, 0
        self._ring.moved.set()
        return data

    async def _fall_out(self) -> Alone:
        """A range of its own from here on. Raises UpstreamFailed where it might be of something else."""
        ring, at = self._ring, self.at
        ring.readers.discard(self)
        ring.moved.set()
        alone: Alone | None = None
        if ring.same and ring.length >= 0:

            def opener() -> Source:
                told = ring.opener(at)
                if told.same == ring.same:
                    return told.source
                told.source.close()
                raise UpstreamFailed("The file has changed meanwhile.")

            alone = await self._lone.one(opener, at, ring.length - at)
        if alone is None:
            raise UpstreamFailed("This connection is too slow for a file that has no room on the disk.", "Try again.")
        return alone

    def close(self) -> None:
        self._ring.readers.discard(self)
        self._ring.moved.set()
        if self._alone is not None:
            self._alone.close()


class Sharing:
    """The Rings of one process. `nursery` outlives the requests."""

    def __init__(self, nursery: trio.Nursery, lone: Lone) -> None:
        self._nursery = nursery
        self._lone = lone
        self._rings: dict[bytes, Ring] = {}

    async def join(self, key: bytes, opener: Opener) -> Shared | None:
        """Read what `opener` opens, or what it opened for another who came with this key. None where that cannot be
        had. Raises Absent."""
        ring = self._rings.get(key)
        if ring is None or not ring.is_whole:
            if not self._lone.enter():
                return None
            ring = self._new(key, opener)
            reader = Shared(ring, self._lone)  # before it begins, which ends without any
            self._nursery.start_soon(self._run, key, ring)
        else:
            reader = Shared(ring, self._lone)
        try:
            while not ring.is_open and not ring.over:
                await ring.news()
            if not ring.is_open:
                ring.check()
        except Absent:
            reader.close()
            raise
        except Problem:
            reader.close()
            return None
        except BaseException:
            reader.close()
            raise
        return reader

    def _new(self, key: bytes, opener: Opener) -> Ring:
        """In the place of one that only stayed a moment, where there are too many; else not to be shared."""
        if key not in self._rings and len(self._rings) >= RINGS_MAX:
            over = next((other for other, one in self._rings.items() if one.over), None)
            if over is None:
                return Ring(opener, LONE_BYTES_MAX)
            del self._rings[over]
        ring = self._rings[key] = Ring(opener)
        return ring

    async def _run(self, key: bytes, ring: Ring) -> None:
        try:
            try:
                await self._bring(ring)
            except Problem as problem:
                ring.end(problem)
            except Exception:  # a fault in one fetch costs that fetch, and not the process with all its clients
                log.exception("a shared fetch failed by a fault of this server")
                ring.end(UpstreamFailed("The fetch failed by a fault of this server."))
            finally:
                ring.end(Unavailable("The server is stopping.", "Try again.", retry_after_s=1))
                self._lone.leave()
            if ring.is_whole and self._rings.get(key) is ring:
                await trio.sleep(STAY_SECONDS)
        finally:
            if self._rings.get(key) is ring:
                del self._rings[key]

    async def _bring(self, ring: Ring) -> None:
        told = await trio.to_thread.run_sync(ring.opener, 0, limiter=self._lone.threads)
        source = told.source
        try:
            ring.opened(told)
            buffer = memoryview(bytearray(PIECE_BYTES))
            while count := await self._some(source, buffer):
                ring.add(bytes(buffer[:count]))
                await self._wait(ring)
                if not ring.readers:
                    raise Unavailable("Nobody waits for it any more.")
            if ring.written != ring.length >= 0:
                raise UpstreamFailed("The upstream's file ended too early.", "Try again.")
            ring.end()
        finally:
            source.close()

    async def _some(self, source: Source, buffer: memoryview) -> int:
        try:
            return await trio.to_thread.run_sync(
                source.readinto, buffer, limiter=self._lone.threads, abandon_on_cancel=True
            )
        except trio.Cancelled:
            source.abort()  # the thread wakes at once
            raise

    @staticmethod
    async def _wait(ring: Ring) -> None:
        while ring.waits:
            ring.moved = trio.Event()
            await ring.moved.wait()
