"""How do any number of requests share one fetch, and see its bytes while they arrive?

A Flight is the fetch of one object for the whole node. It belongs to the server: it is run by a nursery that outlives
every request, so a client that goes away takes nothing with it. Within a process there is one Fill per key; among the
processes the lock of the spool decides who fetches, and the others follow the growing file. Bytes are released to the
waiters as they are written, except the last, which stay until every announced digest holds. A failed fetch fails all
of its waiters and stores nothing; the next request begins anew.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from cache.asking.bodies import Source
from cache.fills.filling import BUFFER_BYTES, Filling, Opener, Remember, close_quietly, released
from cache.fills.keeper import Keeper
from cache.fills.sharing import Sharing
from cache.fills.spool import Descriptor, Phase, Slot, State, retold, sweep
from cache.fills.turns import Turn, Turns
from storage.blobs.shelf import Located
from storage.errors import Problem, Unavailable, UpstreamFailed
from storage.spans import step

FAR_BYTES = 8 << 20
"""A range this far ahead of the watermark does better with a connection of its own (`Fill.bypass`)."""

AtOnce = Callable[[], Awaitable[Source | None]]
"""Asks for a range on the loop; None where only a thread can. What it brings has its first bytes already."""

_POLL_S = 0.005
_POLL_FIRST_S = 0.001
_FIRST_SECONDS_MAX = 0.02
_FIRST_BYTES_MAX = 64 << 10
_CROWD = 16
_ASKED_MAX = 1000
_ABANDONED_SECONDS = 24 * 3600.0
_LEAVE_SECONDS_MAX = 5.0
log = logging.getLogger("entrepot.cache")


class Fill:
    """One fetch as the requests of this process see it.

    `size` is None until it is known; it is known when `opened` returns, except where the upstream does not tell.
    `descriptor` and `start` say where the bytes are: byte n of the object is at start + n, if n is below what `wait`
    released. Both stay good for as long as the Fill is referred to.
    """

    def __init__(self, key: bytes, start: int, opener: Opener, bypasses: "_Bypasses") -> None:
        self.key = key
        self.start = start
        self.size: int | None = None
        self.written = 0
        self.stopping = False
        self.ask_owner = False
        self.place = ""
        self.source: Source | None = None
        self.joined = 0
        self.slot: Slot | None = None
        self._opener = opener
        self._bypasses = bypasses
        self._token = trio.lowlevel.current_trio_token()
        self._part: Descriptor | None = None
        self._located: Located | None = None
        self._released = 0
        self._news: tuple[int, Descriptor | None] = (-1, None)
        self._telling = False
        self._heard = threading.Event()
        self._end: State | None = None
        self._problem: Problem | None = None
        self._changed = trio.Event()
        self._turns = Turns()

    def __repr__(self) -> str:
        state = "failed" if self._problem else "done" if self._end else "filling"
        return f"<Fill {state} {self._released} of {self.size}>"

    @property
    def descriptor(self) -> int:
        """Of the growing file; -1 before `opened`."""
        if self._part is not None:
            return self._part.number
        return self._located.extents[0][0] if self._located is not None and self._located.extents else -1

    @property
    def available(self) -> int:
        """The released prefix, in bytes."""
        return self._released

    async def opened(self) -> None:
        """Until the source has answered. Raises what it failed with."""
        while self._part is None and self._end is None:
            self._raise()
            await self._changed.wait()
        self._raise()

    async def wait(self, offset: int) -> int:
        """How many bytes behind `offset` may be sent now: at least one, or 0 at the object's end.

        Raises the Problem that the fetch failed with; then the client's answer must end as broken, not as whole.
        """
        while True:
            self._raise()
            if self._released > offset:
                return self._released - offset
            if self._end is not None:
                return 0
            await self._changed.wait()

    async def first(self, offset: int, send: Callable[[], None]) -> None:
        """Until there are bytes behind `offset`: `send` is called then, once, in the pass that serves all who wait; not
        where the object ends before.

        Raises what `send` raised, or the Problem that the fetch failed with before: then it was not called.
        """
        self._raise()
        turn = Turn(offset, send)
        if self._released > offset:
            turn.take()
        else:
            self._turns.add(turn)
        try:
            while not turn.over:
                if self._end is not None:
                    return
                await self._changed.wait()
                if not turn.over:
                    self._raise()
        finally:
            self._turns.leave(turn)
        if turn.error is not None:
            raise turn.error

    async def done(self) -> bytes:
        """The sha256 (32 bytes), once the object is verified and stored."""
        while self._end is None:
            self._raise()
            await self._changed.wait()
        return self._end.sha256

    def far(self, offset: int) -> bool:
        """Is it better to `bypass` than to wait for this offset?"""
        return self._end is None and offset > self._released + FAR_BYTES

    async def bypass(self, offset: int, length: int) -> "Bypass | None":
        """A connection of its own for one waiter's range, where the source honours ranges and there are few such.

        Its bytes are passed through as they come: like the released prefix they are not yet verified, and unlike it
        they never will be by us.
        """
        return await self._bypasses.one(lambda: self._opener(offset), offset, length)

    def told_open(self, size: int, part: Descriptor, *, soon: bool) -> None:
        """From the filling thread, as are the next two."""
        self._news = (size, part)
        if soon:
            self.told_progress()

    def told_progress(self) -> None:
        if not self._telling:
            self._telling = True
            self._soon(self._hear)

    def told_first(self) -> None:
        # Beside this thread the loop would compete for a core and for the interpreter with what it is to send.
        self.told_progress()
        self._heard.wait(_FIRST_SECONDS_MAX)

    def _hear(self) -> None:
        self._telling = False  # before the look: what is written later is told again
        size, part = self._news
        self.advance(self.written, size, part)
        if not self._heard.is_set():
            self._soon(self._heard.set)  # in the next turn, when those who waited have sent

    def _soon(self, step: Callable[[], object]) -> None:
        try:
            self._token.run_sync_soon(step)
        except trio.RunFinishedError:
            self.stopping = True

    def advance(self, written: int, size: int = -1, part: Descriptor | None = None) -> bool:
        """A step of the state, in the loop: what is known now. Returns whether it changed anything for a waiter."""
        if self._end is not None or self._problem is not None:
            return False
        opened = part is not None and self._part is None
        if part is not None and self._part is None:
            self._part = part
        if size >= 0 and self.size is None:
            self.size = size
        self.written = max(self.written, written)
        now = released(self.written, -1 if self.size is None else self.size)
        moved = now > self._released and self._part is not None
        if moved:
            self._released = now
        if moved or opened:
            self._wake()
        return moved or opened

    def end(self, state: State, located: Located | None = None) -> None:
        """The last step: all of it may leave, or nothing more. `located` is the stored blob, needed where the object
        was stored before this process saw a part of it."""
        if self._end is not None or self._problem is not None:
            return
        if state.phase != Phase.DONE:
            self._problem = retold(state.problem)
        elif self._part is None and not self._take_over(located):
            self._problem = Unavailable("The object came and went again.", "Try again.", retry_after_s=1)
        else:
            self.size = self._released = state.size
            self._end = state
        self._wake()

    def _take_over(self, located: Located | None) -> bool:
        if located is None or len(located.extents) > 1:
            return False
        self._located = located
        if located.extents:
            self.start = located.extents[0][1]
        return True

    def fail(self, problem: Problem) -> None:
        if self._end is None and self._problem is None:
            self._problem = problem
            self._wake()

    @property
    def over(self) -> bool:
        return self._end is not None or self._problem is not None

    def _wake(self) -> None:
        if self._turns and self._problem is None and self._turns.serve(self._released):
            self._soon(self._wake)
        self._changed.set()
        self._changed = trio.Event()

    def _raise(self) -> None:
        if self._problem is not None:
            known = self._problem
            raise type(known)(known.message, known.remedy, retry_after_s=known.retry_after_s)


class _Thread:
    """A step in a thread that may be left behind, and is waited for a while: what it writes in belongs to those who
    may be about to close it."""

    def __init__(self, step: Callable[[], tuple[Slot, State | None]]) -> None:
        self._step = step
        self._begun = False
        self._ended = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def run(self) -> tuple[Slot, State | None]:
        self._begun = True
        try:
            return self._step()
        finally:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ended.set)

    async def left(self) -> None:
        """Until it has ended, if it ever began; no longer than a connection that cannot be broken may take."""
        with trio.move_on_after(_LEAVE_SECONDS_MAX, shield=True):
            if self._begun:
                await self._ended.wait()


class _Bypasses:
    """How many ranges go past the cache at a time, and the threads that read them."""

    def __init__(self, many_max: int) -> None:
        self._free = many_max
        self.threads = trio.CapacityLimiter(max(1, many_max))

    def enter(self) -> bool:
        if not self._free:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        self._free += 1

    async def one(
        self, opener: Callable[[], Source], offset: int, length: int, at_once: AtOnce | None = None
    ) -> "Bypass | None":
        """A range of its own from what `at_once` brings, or else `opener` opens; None where it cannot be had now, or
        not from there on. `length` -1: all of it, as its source tells, or to its end where that does not tell."""
        if not self.enter():
            return None
        bypass: Bypass | None = None
        try:
            source = await at_once() if at_once is not None else None
            begun = _begun(lambda: source, offset, length) if source is not None else None
            if begun is None:
                begun = await trio.to_thread.run_sync(_begun, opener, offset, length, limiter=self.threads)
            if begun is not None:
                bypass = Bypass(*begun, begun[0].length if length < 0 else length, self)
            return bypass
        except Problem:
            return None
        finally:
            if bypass is None:
                self.leave()


def _begun(opener: Callable[[], Source], offset: int, length: int) -> tuple[Source, bytes] | None:
    """The source with what came together with its head, so that both go on at once; None where it has another range.

    Nothing is waited for here: who leaves could not end it.
    """
    source = opener()
    try:
        if source.offset == offset and (length < 0 or source.length < 0 or source.length >= length):
            most = source.length if length < 0 else length
            most = _FIRST_BYTES_MAX if most < 0 else min(most, _FIRST_BYTES_MAX)
            first = bytearray(most if source.ready(0) else 0)
            count = source.readinto(memoryview(first)) if first else 0
            return source, bytes(first[:count])
    except BaseException:
        source.close()
        raise
    source.close()
    return None


class Bypass:
    """A range that goes past the cache to one waiter. `length` -1 = its source does not tell how much there is."""

    def __init__(self, source: Source, first: bytes, length: int, bypasses: _Bypasses) -> None:
        self._source = source
        self._first = first
        self.length = self._left = length
        self._bypasses = bypasses
        self._buffer = memoryview(b"")
        self._closed = False

    async def __aenter__(self) -> "Bypass":
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    async def read(self, bytes_max: int) -> bytes:
        """The next bytes, b"" after the last. Raises UpstreamFailed where they stop early."""
        if not self._left:
            return b""
        if self._first:
            data, self._first = self._first[:bytes_max], self._first[bytes_max:]
            self._took(len(data))
            return data
        most = bytes_max if self._left < 0 else min(self._left, bytes_max)
        if not self._buffer:  # fresh memory is dear: not before the first bytes are on their way
            self._buffer = memoryview(bytearray(BUFFER_BYTES if self._left < 0 else min(self._left, BUFFER_BYTES)))
        want = self._buffer[:most]
        try:
            count = await trio.to_thread.run_sync(
                self._source.readinto, want, limiter=self._bypasses.threads, abandon_on_cancel=True
            )
        except trio.Cancelled:
            self._source.abort()  # the thread wakes at once
            self.close()
            raise
        if not count and self._left > 0:
            raise UpstreamFailed("The upstream's range ended too early.", "Try again.")
        self._took(count)
        return bytes(want[:count])

    def _took(self, count: int) -> None:
        self._left = 0 if not count else self._left if self._left < 0 else self._left - count

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._source.close()
            self._bypasses.leave()


class Flights:
    """All fetches of one process. `directory` is shared by the processes of the node, and on the disk of the cache.

    `nursery` must outlive the requests. Limits: `flights_max` fetches at a time, each of at most `fill_seconds_max`,
    given up by those who only follow it after `silence_seconds_max` without a byte.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        keeper: Keeper,
        directory: Path,
        *,
        flights_max: int = 256,
        bypasses_max: int = 32,
        fill_seconds_max: float = 3600.0,
        silence_seconds_max: float = 20.0,
    ) -> None:
        self._nursery = nursery
        self._keeper = keeper
        self._directory = directory
        self._flights_max = flights_max
        self._fill_s = fill_seconds_max
        # The leader notices silence first, continues or fails; a follower only doubts a leader that is itself stuck.
        self._stuck_s = 3 * silence_seconds_max
        self._running: dict[bytes, Fill] = {}
        self._asked: dict[bytes, int] = {}
        self._threads = trio.CapacityLimiter(flights_max)
        self._bypasses = _Bypasses(bypasses_max)
        self.sharing = Sharing(nursery, self._bypasses)
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory, _ABANDONED_SECONDS)

    def __repr__(self) -> str:
        return f"<Flights {len(self._running)} of {self._flights_max}>"

    def running(self, key: bytes) -> Fill | None:
        """The fetch of this key that is under way in this process, if any."""
        return self._running.get(key)

    def alone(self, key: bytes, size: int, length: int, least: int) -> bool:
        """Is a range of so many bytes of an object better fetched alone? Not of one that is smaller than `least` or on
        its way already, and not any more once ranges of half of it were asked for: then it is wanted as a whole."""
        if size < least or key in self._running:
            return False
        asked = self._asked.pop(key, 0) + length
        if 2 * asked > size:
            return False
        self._asked[key] = asked
        if len(self._asked) > _ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return True

    def hurried(self, key: bytes) -> bool:
        """Does anybody else wait for the fetch of this key, here or in another process? From the filling thread."""
        fill = self._running.get(key)
        if fill is None:
            return True
        return fill.joined > 1 or (fill.slot is not None and fill.slot.hurried())

    async def pass_by(
        self, opener: Callable[[], Source], offset: int, length: int, at_once: AtOnce | None = None
    ) -> "Bypass | None":
        """A range that is fetched alone and not kept; None where it cannot be had so. `at_once` asks for it on the
        loop, where that goes; `opener` in a thread. `length` -1: the whole, whose length its source tells, or not."""
        return await self._bypasses.one(opener, offset, length, at_once)

    async def join(
        self,
        key: bytes,
        size: int,
        digests: Mapping[str, str],
        source: Opener,
        remember: Remember | None = None,
        *,
        place: str = "",
        ask_owner: bool = False,
    ) -> Fill:
        """As `begin`; returns when the source has answered. Raises what it raised, UpstreamFailed or Full."""
        fill = self.begin(key, size, digests, source, remember, place=place, ask_owner=ask_owner)
        with step("join flight") as span:
            if span is not None:
                span.attributes["entrepot.flight.joined"] = fill.joined > 1
            await fill.opened()
        return fill

    def begin(
        self,
        key: bytes,
        size: int,
        digests: Mapping[str, str],
        source: Opener,
        remember: Remember | None = None,
        *,
        place: str = "",
        ask_owner: bool = False,
    ) -> Fill:
        """Take part in the fetch of one object, beginning it if nobody has.

        `key` names the object for the whole node; `size` is -1 where it was not announced; `digests` are hex by
        algorithm, and all of them must hold. `source` is called in a thread with the offset to begin at, `remember` in
        a thread once the object is stored, by the process that fetched it. It is stored for `place`, that of whoever
        asked first (workspace/repository). `ask_owner`: bytes that are here already do not do, since whether this
        place has them is for their owner to say (THREATS C1). Raises Unavailable where too many fetches are under way.
        """
        fill = self._running.get(key)
        if fill is None:
            if len(self._running) >= self._flights_max:
                raise Unavailable("Too many fetches are under way.", "Try again in a moment.", retry_after_s=2)
            fill = Fill(key, self._keeper.header_bytes, source, self._bypasses)
            if size >= 0:
                fill.size = size
            self._running[key] = fill
            fill.place, fill.ask_owner = place, ask_owner
            self._nursery.start_soon(self._conduct, fill, size, dict(digests), remember)
        fill.joined += 1
        return fill

    async def _conduct(self, fill: Fill, size: int, digests: dict[str, str], remember: Remember | None) -> None:
        """As `_brought`, a step in the trace of whoever asked first."""
        with step("fill") as span:
            await self._brought(fill, size, digests, remember)
            if span is not None:
                span.attributes["entrepot.bytes"] = fill.available
                span.failed = type(fill._problem).__name__ if fill._problem is not None else ""

    async def _brought(self, fill: Fill, size: int, digests: dict[str, str], remember: Remember | None) -> None:
        """Bring one Fill to its end: by fetching, or by following whoever fetches."""
        slot: Slot | None = None
        try:
            while not fill.over:
                slot, end = await self._lead(fill, slot, size, digests, remember)
                if end is None:
                    await self._follow(fill, slot)
                elif end.terminal:
                    fill.end(end, self._located(end))
        except Problem as problem:
            fill.fail(problem)
        except OSError as error:
            log.exception("a fetch cannot begin")
            fill.fail(Unavailable(f"The cache cannot write: {error.strerror}.", retry_after_s=5))
        except Exception:  # a fault in one fetch costs that fetch, and not the process with all its clients
            log.exception("a fetch failed by a fault of this server")
            fill.fail(UpstreamFailed("The fetch failed by a fault of this server."))
        except BaseException:
            fill.fail(Unavailable("The server is stopping.", "Try again.", retry_after_s=1))
            raise
        finally:
            self._running.pop(fill.key, None)

    async def _lead(
        self, fill: Fill, slot: Slot | None, size: int, digests: dict[str, str], remember: Remember | None
    ) -> tuple[Slot, State | None]:
        """Fetch if nobody else does, all in one thread; the state is None where another process leads."""
        buffer_bytes = BUFFER_BYTES // 8 if self._threads.borrowed_tokens > _CROWD else BUFFER_BYTES

        def fetch() -> tuple[Slot, State | None]:
            own = slot or Slot(self._directory, fill.key, self._keeper.header_bytes)
            if not own.lead():
                return own, None
            fill.slot = own
            filling = Filling(
                own,
                fill,
                fill._opener,
                size,
                digests,
                self._keeper,
                remember,
                place=fill.place,
                ask_owner=fill.ask_owner,
                seconds_max=self._fill_s,
                buffer_bytes=buffer_bytes,
            )
            return own, filling.run()

        thread = _Thread(fetch)
        try:
            return await trio.to_thread.run_sync(thread.run, limiter=self._threads, abandon_on_cancel=True)
        except trio.Cancelled:
            fill.stopping = True
            close_quietly(fill.source)
            await thread.left()
            raise

    def _located(self, state: State) -> Located | None:
        return self._keeper.find(state.sha256) if state.phase == Phase.DONE else None

    async def _follow(self, fill: Fill, slot: Slot) -> None:
        """Watch another process fetch; returns when that ended, or when nobody leads any more and we do."""
        slot.hurry()
        part: Descriptor | None = None
        generation, moved_s = -1, time.monotonic()
        while not fill.over:
            state = slot.state()
            if part is not None and state.generation != generation:
                raise UpstreamFailed("The fetch was begun anew by another process.", "Try again.")
            if part is None and state.phase == Phase.FILLING:
                part, generation = slot.part(state.generation), state.generation
            if part is not None and fill.advance(slot.written(part), state.size, part):
                moved_s = time.monotonic()
            if state.terminal:
                fill.end(state, self._located(state))
            elif slot.lead():
                return
            elif time.monotonic() - moved_s > self._stuck_s:
                raise UpstreamFailed("Another process fetches this, and does not get on.", "Try again.")
            else:
                await trio.sleep(_POLL_S if fill.available else _POLL_FIRST_S)
