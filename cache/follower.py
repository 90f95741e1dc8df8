"""How does an edge keep up with its origin? It reads the origin's journal as one long answer and applies it.

One worker of the node follows: whoever holds the lock file. The others see what it applied in the index they share, and
when it last heard the origin in the file itself (monotonic time is one clock for all processes of a machine, so a wall
clock that jumps prolongs no lease). Silence ends a connection like an error. An entry that does not fit is asked for
once more; if it still does not fit, or the epoch is another, or the origin has less history than we, the edge starts
anew: two histories are never merged.
"""

import hashlib
import logging
import os
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx2
import lmdb
import trio

from cache.connecting import trust
from cache.feed import Anew, Beat, FrameReader, told_after
from storage import disk
from storage.errors import Damaged, Problem, UpstreamFailed

SILENCE_SECONDS = 3.0
CONNECT_SECONDS = 5.0
RETRY_SECONDS = (0.1, 2.0)
LOCK_LOOK_SECONDS = 0.5
APPLY_BYTES_MAX = 4 << 20
_PIECES_MAX = 64
_CONTACT = struct.Struct("<16sdd?")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger("entrepot.cache")

Connect = Callable[[Mapping[str, int]], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the stream behind these Serials. Raises UpstreamFailed."""

Slowly = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs what may wait for the disk, away from the loop."""


class Applier(Protocol):
    """What takes entries in (storage.applier)."""

    def heads(self) -> dict[str, tuple[int, bytes]]: ...
    def epoch(self) -> int: ...
    def apply_raw(self, bodies: list[bytes]) -> int: ...
    def reset_for_resync(self, epoch: int = 0) -> None: ...


class Followed(Protocol):
    """The store of an edge."""

    @property
    def applier(self) -> Applier | None: ...


class Contact:
    """When the origin was last heard, and last known to be level with, for all workers of the node.

    A small record in the lock file, under the machine's boot id: after a restart of the machine it says never.
    """

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self._boot = hashlib.sha256(_BOOT_ID.read_bytes()).digest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def write(self, heard_s: float, level_s: float, synced: bool) -> None:
        os.pwrite(self.fd, _CONTACT.pack(self._boot, heard_s, level_s, synced), 0)

    def read(self) -> tuple[float, float, bool]:
        """(heard, level, synced): monotonic seconds, 0 for never, and whether the edge was ever level since it began
        or began anew."""
        raw = os.pread(self.fd, _CONTACT.size, 0)
        if len(raw) != _CONTACT.size:
            return 0.0, 0.0, False
        boot, heard_s, level_s, synced = _CONTACT.unpack(raw)
        now_s = time.monotonic()
        if boot != self._boot or not 0 <= heard_s <= now_s or not 0 <= level_s <= now_s:
            return 0.0, 0.0, False
        return heard_s, level_s, synced


class Follower:
    """The edge's ear. All its properties are true for the node, whichever worker follows."""

    def __init__(
        self,
        store: Followed,
        parent: str,
        token: str,
        lock: Path,
        *,
        connect: Connect | None = None,
        slowly: Slowly = trio.to_thread.run_sync,
    ) -> None:
        assert store.applier is not None
        self._applier: Applier = store.applier
        self._connect = connect or over_http(parent, token)
        self._slowly = slowly
        self._lock = lock
        self._contact = Contact(lock)
        self._synced = self._contact.read()[2]
        self._level_s = 0.0
        self._total = 0
        self._doubtful = False

    def __repr__(self) -> str:
        return f"<Follower {'connected' if self.connected else 'alone'} lag {self.lag_ms} ms>"

    @property
    def last_contact_s(self) -> float:
        """When the origin was last heard, monotonic; 0 for never."""
        return self._contact.read()[0]

    @property
    def connected(self) -> bool:
        heard_s = self.last_contact_s
        return heard_s > 0 and time.monotonic() - heard_s < SILENCE_SECONDS

    @property
    def lag_ms(self) -> int:
        """How far behind its origin this edge may be: 0 while it is heard and level, else the time since it was."""
        heard_s, level_s, _ = self._contact.read()
        now_s = time.monotonic()
        if level_s and level_s >= heard_s and now_s - heard_s < SILENCE_SECONDS:
            return 0
        return int(1000 * (now_s - level_s)) if level_s else int(1000 * now_s)

    @property
    def synced(self) -> bool:
        """Has this edge ever had all that its origin has, since it began or last began anew? Before that, a thing that
        it does not know is not known to be absent."""
        return self._contact.read()[2]

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled; started at once, since an edge serves what it has while it catches up."""
        task_status.started()
        while not disk.lock(self._contact.fd):  # noqa: ASYNC110 - another process has no event for us
            await trio.sleep(LOCK_LOOK_SECONDS)
        pause_s = RETRY_SECONDS[0]
        began_s = trio.current_time()
        while True:
            heard_s = self.last_contact_s
            try:
                await self._follow()
            except Damaged as problem:
                await self._mend(problem)
            except Problem as problem:
                # both may be starting, as with `entrepot up`: the first misses are no news
                level = logging.WARNING if heard_s or trio.current_time() > began_s + SILENCE_SECONDS else logging.DEBUG
                log.log(level, "the origin is not heard: %s", problem.message)
            except trio.TooSlowError:
                log.warning("the origin fell silent")
            except lmdb.Error as error:
                full = disk.judge_index(error, self._lock.parent)
                if full is None:
                    raise
                log.error("this edge cannot take entries in: %s", full.message)
            pause_s = RETRY_SECONDS[0] if self.last_contact_s > heard_s else min(2 * pause_s, RETRY_SECONDS[1])
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311

    async def _mend(self, problem: Damaged) -> None:
        """Ask once more; start anew where that did not help."""
        if not self._doubtful:
            self._doubtful = True
            log.warning("asking the origin again: %s", problem.message)
            return
        log.error("starting anew from the origin: %s", problem.message)
        await self._start_anew(0)

    async def _start_anew(self, epoch: int) -> None:
        self._doubtful = self._synced = False
        self._level_s = 0.0
        self._contact.write(self.last_contact_s, 0.0, False)
        await self._slowly(lambda: self._applier.reset_for_resync(epoch))

    async def _follow(self) -> None:
        """One connection, until it ends. Raises what ended it."""
        heads = self._applier.heads()
        self._total = sum(serial for serial, _ in heads.values())
        after = {name: serial for name, (serial, _) in heads.items()}
        send, receive = trio.open_memory_channel[bytes](_PIECES_MAX)
        async with receive, self._connect(after) as pieces, _unwrapped(), trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, pieces, send)
            await self._take(receive)
            nursery.cancel_scope.cancel()

    async def _receive(self, pieces: AsyncIterator[bytes], send: trio.MemorySendChannel[bytes]) -> None:
        """Take bytes off the connection while others are applied. An apply that takes long is no silence."""
        async with send:
            while True:
                with trio.fail_after(SILENCE_SECONDS):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                await send.send(piece)

    async def _take(self, receive: trio.MemoryReceiveChannel[bytes]) -> None:
        reader = FrameReader()
        async for first in receive:
            pieces = bytearray(first)
            while len(pieces) < APPLY_BYTES_MAX:
                try:
                    pieces += receive.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            bodies: list[bytes] = []
            for frame in reader.feed(bytes(pieces)):
                if isinstance(frame, bytes):
                    bodies.append(frame)
                    continue
                await self._apply(bodies)
                bodies = []
                if isinstance(frame, Anew):
                    log.error("starting anew: the origin has less history than this edge")
                    await self._start_anew(0)
                    return
                if not await self._beaten(frame):
                    return
            await self._apply(bodies)

    async def _apply(self, bodies: list[bytes]) -> None:
        if not bodies:
            return
        fresh: int = await self._slowly(lambda: self._applier.apply_raw(bodies))
        self._total += fresh
        self._doubtful = self._doubtful and not fresh
        self._hear()

    async def _beaten(self, beat: Beat) -> bool:
        """The origin told where it stands. False where this edge had to start anew."""
        known = self._applier.epoch()
        if known not in (0, beat.epoch) or self._total > beat.total:
            log.error("starting anew: the origin's history is another one now")
            await self._start_anew(beat.epoch)
            return False
        if self._total == beat.total:
            self._synced = True
            self._level_s = time.monotonic()
        self._hear()
        return True

    def _hear(self) -> None:
        """The origin was heard; an entry that was just applied does not make a level edge stale."""
        now_s = time.monotonic()
        if self._level_s and self._level_s >= self.last_contact_s:
            self._level_s = now_s
        self._contact.write(now_s, self._level_s, self._synced)


def over_http(parent: str, token: str) -> Connect:
    """The parent's stream. An answer that is no stream is UpstreamFailed, as is every failure of the connection."""
    url = f"{parent.rstrip('/')}/-/peer/journal"
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity", "Content-Type": "text/plain"}
    tls = trust() if url.startswith("https:") else False
    timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)

    @asynccontextmanager
    async def connect(after: Mapping[str, int]) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            async with (
                httpx2.AsyncClient(trust_env=False, verify=tls, timeout=timeout) as client,
                client.stream("POST", url, content=told_after(after), headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise UpstreamFailed(
                        f"The origin answers {answer.status_code} to its follower.", "Check the token."
                    )
                async with aclosing(answer.aiter_raw()) as pieces:
                    yield pieces
        except httpx2.HTTPError as error:
            raise UpstreamFailed(f"The connection to the origin broke ({type(error).__name__}).") from error

    return connect


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[None]:
    """One error of a nursery as itself: its tasks are the two halves of one connection."""
    try:
        yield
    except BaseExceptionGroup as group:
        for wanted in (trio.Cancelled, Damaged):
            if (found := group.subgroup(wanted)) is not None:
                raise _first(found) from None
        raise _first(group) from None


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
