"""How does one object get from a source into the cache, in one pass and at the speed of its sha256?

One blocking thread per object: receive into one buffer, write, hash; all three run beside the interpreter. Nothing is
stored before every announced digest holds. A source that breaks off is continued by a range where a digest will prove
that both halves belong together; without an announced digest a broken fetch is a failed fetch. One that breaks off
before its first byte is asked for no more, unless another node has the same.
"""

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from xxhash import xxh3_64

from cache.asking.bodies import BrokenOff, Source
from cache.fills.keeper import Keeper
from cache.fills.spool import Descriptor, Phase, Slot, State, told, write_whole
from storage.digest import ALGORITHMS, Hasher
from storage.errors import Problem, Unavailable, UpstreamFailed
from storage.spans import step

Remember = Callable[[bytes, int], None]
"""Told (sha256, size) of a stored object, in the filling thread, before any waiter has its last bytes."""

Opener = Callable[[int], Source]
"""Opens the object from an offset on. Blocking; the Source says where it really begins (Source.offset)."""

BUFFER_BYTES = 256 << 10
"""It stays in the second-level cache of a core between receive, write and hash."""
TELL_BYTES = 1 << 20
TELL_SECONDS = 0.01
PAUSE_SECONDS = 0.002
_BUFFERS_MAX = 8
HOLD_BYTES = 64 << 10
RESUMES_MAX = 3
log = logging.getLogger("entrepot.cache")


class Board(Protocol):
    """What the thread tells the loop, and the loop the thread. Plain attribute writes and `told_*` from the thread."""

    written: int
    stopping: bool
    source: Source | None

    @property
    def descriptor(self) -> int:
        """Of the part that waiters read already, -1 for none."""
        ...

    def told_open(self, size: int, part: Descriptor, *, soon: bool) -> None:
        """The source has answered. Not `soon`: its first bytes will be told at once, that is early enough."""
        ...

    def told_progress(self) -> None: ...

    def told_first(self) -> None:
        """There are bytes to send where there were none: returns when the loop has seen them, or after a moment."""
        ...


def released(written: int, size: int) -> int:
    """How many of `written` bytes may leave before the whole is verified: the last 64 KiB stay, of a small object
    the last byte, and where the end is not known the last 64 KiB of what is there."""
    if size < 0:
        return max(0, written - HOLD_BYTES)
    return max(0, min(written, size - (HOLD_BYTES if size > HOLD_BYTES else 1)))


class _Buffers:
    """Receive buffers that are used again: the first touch of fresh memory costs more than what is done in it."""

    def __init__(self) -> None:
        self._idle: deque[bytearray] = deque(maxlen=_BUFFERS_MAX)

    @contextlib.contextmanager
    def one(self, size: int) -> Iterator[memoryview]:
        try:
            buffer = self._idle.pop()
        except IndexError:
            buffer = bytearray(BUFFER_BYTES)
        try:
            yield memoryview(buffer)[:size]
        finally:
            self._idle.append(buffer)


_buffers = _Buffers()


class Filling:
    """One fetch by the process that leads it."""

    def __init__(
        self,
        slot: Slot,
        board: Board,
        opener: Opener,
        size: int,
        digests: Mapping[str, str],
        keeper: Keeper,
        remember: Remember | None = None,
        *,
        place: str = "",
        ask_owner: bool = False,
        seconds_max: float,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._ask_owner = ask_owner
        self._place = place
        self._slot = slot
        self._board = board
        self._opener = opener
        self._size = size
        self._digests = {name: value.lower() for name, value in digests.items() if name in ALGORITHMS}
        self._keeper = keeper
        self._remember = remember
        self._deadline_s = time.monotonic() + seconds_max
        self._buffer_bytes = buffer_bytes
        self._generation = slot.state().generation
        self._hasher = Hasher(self._digests)
        self._sum = xxh3_64()
        self._told_bytes = 0
        self._told_s = 0.0

    def run(self) -> State:
        """The terminal state, after the slot was told. Stopping leaves the part for another process: state FILLING."""
        try:
            sha256, size = (None if self._ask_owner else self._stored()) or self._fetched()
            if self._remember is not None:
                self._remember(sha256, size)
            end = State(Phase.DONE, self._generation, size, sha256)
        except _Stopped:
            self._slot.yield_lead()
            return self._slot.state()
        except Problem as problem:
            end = State(Phase.FAILED, self._generation, self._size, problem=told(problem))
        except OSError as error:
            log.exception("a fetch failed on this machine")
            broken = Unavailable(f"The cache cannot write: {error.strerror}.", retry_after_s=5)
            end = State(Phase.FAILED, self._generation, self._size, problem=told(broken))
        except BaseException:
            fault = UpstreamFailed("The fetch failed by a fault of this server.")
            self._slot.finish(State(Phase.FAILED, self._generation, problem=told(fault)))
            raise
        self._slot.finish(end)
        return end

    def _stored(self) -> tuple[bytes, int] | None:
        """Another process may have finished between the caller's look and our lock."""
        identity = bytes.fromhex(self._digests.get("sha256", ""))
        located = self._keeper.find(identity) if identity else None
        return (identity, located.size) if located is not None else None

    def _fetched(self) -> tuple[bytes, int]:
        part = self._begin()
        self._receive(part)
        self._verify()
        size = self._hasher.size
        identity = self._hasher.sha256
        # From here on everyone must know where the object ends, told or not by the upstream.
        self._size = size
        self._open(part, soon=True)
        with step("keep"):
            path = self._slot.part_path(self._generation)
            self._keeper.keep(path, size, identity, self._sum.digest(), self._place)
        return identity, size

    def _begin(self) -> Descriptor:
        """The part, with what a dead predecessor left in it hashed, or a fresh generation."""
        part = self._slot.part(self._generation)
        if part is not None and self._usable(self._slot.written(part)):
            self._rehash(part)
        elif self._board.descriptor >= 0:
            raise UpstreamFailed("The fetch broke off and cannot be continued.", "Try again.")
        else:
            self._slot.discard(self._generation)
            self._generation += 1
            part = self._slot.part(self._generation, create=True)
        assert part is not None
        self._board.written = self._hasher.size
        self._slot.write(State(Phase.ASKING, self._generation, self._size))
        if self._size >= 0 and self._hasher.size:
            self._open(part, soon=True)
        return part

    def _hash(self, data: memoryview) -> None:
        self._hasher.update(data)
        self._sum.update(data)

    def _usable(self, written: int) -> bool:
        return bool(self._digests) and (self._size < 0 or written <= self._size)

    def _rehash(self, part: Descriptor) -> None:
        end = self._slot.written(part)
        with _buffers.one(self._buffer_bytes) as buffer:
            while self._hasher.size < end:
                want = buffer[: end - self._hasher.size]
                count = os.preadv(part.number, [want], self._slot.start + self._hasher.size)
                if not count:
                    raise Unavailable("A fetch's own file became shorter.", retry_after_s=2)
                self._hash(want[:count])

    def _receive(self, part: Descriptor) -> None:
        """Everything that is missing, over as many sources as it may take."""
        for attempt in range(RESUMES_MAX + 1):
            before = self._hasher.size
            if before == self._size and before:
                return
            try:
                self._receive_once(part)
                return
            except (UpstreamFailed, Unavailable) as problem:
                if not self._hopeful(problem, before) or attempt == RESUMES_MAX:
                    raise
                log.info("continuing a fetch that broke off: %s", problem.message)

    def _hopeful(self, problem: Problem, before: int) -> bool:
        """Is it worth asking again, after a source that began with `before` bytes here?"""
        if isinstance(problem, _Lied) or (self._hasher.size and not self._digests):
            return False
        return self._hasher.size > before or isinstance(problem, BrokenOff)

    def _receive_once(self, part: Descriptor) -> None:
        self._check_stop()
        source = self._opener(self._hasher.size)
        self._board.source = source
        try:
            self._check_stop()  # while it was opened there was nothing to break
            self._agree(source)
            self._open(part, soon=False)
            with _buffers.one(self._buffer_bytes) as buffer, step("receive body"):
                self._skip(source, buffer)
                while count := source.readinto(buffer):
                    self._take(part, buffer[:count])
                    self._tell(source)
            if self._size >= 0 and self._hasher.size != self._size:
                raise UpstreamFailed("The upstream's file ended too early.", "Try again.")
        except UpstreamFailed:
            self._check_stop()  # the loop may have broken the connection on purpose
            raise
        finally:
            self._board.source = None
            source.close()

    def _agree(self, source: Source) -> None:
        """The size as announced, as told by the source, and as begun must be one."""
        if source.offset > self._hasher.size:
            raise _Lied("The upstream continues behind the place that was asked for.")
        if source.length < 0:
            return
        total = source.offset + source.length
        if self._size >= 0 and total != self._size:
            raise _Lied(f"The upstream's file has {total} bytes, and {self._size} were announced.")
        if self._size < 0:
            self._size = total

    def _skip(self, source: Source, buffer: memoryview) -> None:
        """Read past what is there already, from a source that begins at the beginning whatever it is asked."""
        left = self._hasher.size - source.offset
        while left:
            count = source.readinto(buffer[:left])
            if not count:
                raise UpstreamFailed("The upstream's file ended too early.", "Try again.")
            left -= count
            self._check_stop()

    def _take(self, part: Descriptor, data: memoryview) -> None:
        self._check_stop()
        at = self._hasher.size
        if self._size >= 0 and at + len(data) > self._size:
            raise _Lied("The upstream's file is longer than announced.")
        if time.monotonic() > self._deadline_s:
            raise UpstreamFailed("The fetch took too long.", "Try again later.")
        write_whole(part.number, data, self._slot.start + at)
        self._board.written = at + len(data)
        if not self._told_s:  # the first bytes go before anything else, their own hash too
            self._told_s, self._told_bytes = time.monotonic(), self._board.written
            self._board.told_first()
        self._hash(data)

    def _tell(self, source: Source) -> None:
        """Tell the loop of a good many new bytes, and of any where more are not at hand: nothing waits for the next."""
        fresh = self._board.written - self._told_bytes
        if not fresh:
            return
        now = time.monotonic()
        if fresh >= TELL_BYTES or now - self._told_s >= TELL_SECONDS or not source.ready(PAUSE_SECONDS):
            self._told_s, self._told_bytes = now, self._board.written
            self._board.told_progress()

    def _verify(self) -> None:
        found = {"sha256": self._hasher.sha256.hex(), **self._hasher.others}
        for name, announced in self._digests.items():
            if found[name] != announced:
                log.warning("an upstream sent bytes whose %s is %s, not %s", name, found[name], announced)
                raise _Lied(f"What the upstream sent does not match its {name}.", "Nothing was stored.")

    def _open(self, part: Descriptor, *, soon: bool) -> None:
        """There is something to see: tell the other processes, then the loop of this one."""
        state = State(Phase.FILLING, self._generation, self._size)
        if self._slot.state() != state:
            self._slot.write(state)
        self._board.told_open(self._size, part, soon=soon)

    def _check_stop(self) -> None:
        if self._board.stopping:
            raise _Stopped


class _Stopped(Exception):
    """This process ends; another one may continue."""


class _Lied(UpstreamFailed):
    """What came contradicts what was announced: asking again gets the same."""


def close_quietly(source: Source | None) -> None:
    """Break a connection that a thread may be waiting on."""
    if source is not None:
        with contextlib.suppress(OSError):
            source.abort()
