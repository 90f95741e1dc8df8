"""How does an edge keep up with its origin? It reads the origin's journal as one long answer and applies it.

One worker of the node follows: whoever holds the lock file. The others see what it applied in the index they share, and
when it last heard the origin in the file itself (monotonic time is one clock for all processes of a machine, so a wall
clock that jumps prolongs no lease). Silence ends a connection like an error. An entry that does not fit is asked for
once more; if it still does not fit, or the epoch is another, or the origin has less history than we, the edge starts
anew: two histories are never merged. Meanwhile it shows what it had, unless that was nothing, and the other history
takes its place in one step once it is whole. That time is no contact: leases of private packages run, writes wait.

With several parents the first healthy one is followed, and a preferred one that comes back is gone back to. A parent
that has less history than we is no reason to go back: another one is asked, and only if all that can be reached say the
same does the edge start anew. Where the origin signs the stream, nothing counts that it has not signed.
"""

import logging
import random
import secrets
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx2
import lmdb
import trio

from cache.asking.connecting import trust
from cache.asking.parents import Parents
from cache.following.contact import Contact
from cache.following.feed import Anew, Beat, Forget, Frame, FrameReader, SealedReader, Seen, Snapshot, told_after
from storage import disk
from storage.errors import Damaged, Problem, UpstreamFailed
from storage.index.holes import Hole, closed, why

SILENCE_SECONDS = 3.0
UNSIGNED_SECONDS_MAX = 30.0
DELAY_SECONDS_MAX = 10.0
CONNECT_SECONDS = 5.0
RETRY_SECONDS = (0.1, 2.0)
LOCK_LOOK_SECONDS = 0.5
TELL_SECONDS = 5.0
COMPLAIN_SECONDS = 60.0
APPLY_BYTES_MAX = 4 << 20
_PIECES_MAX = 64
_BEATS_MAX = 64
LONG_AGO_S = 1e-3
log = logging.getLogger("entrepot.cache")


class Greeting(NamedTuple):
    """What a follower tells a parent: its Serials, by what its SYSTEM rows were chosen, and a fresh number to sign."""

    after: dict[str, int]
    mark: bytes = b""
    nonce: bytes = b""
    child: str = ""
    """The edge that the stream is for, where another one asks for it."""
    token: str = ""
    """That edge's own, where it has no certificate."""


Connect = Callable[[str, Greeting], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the stream at a parent. Raises UpstreamFailed."""

Verify = Callable[[bytes, bytes], bool]
"""(signature, message): is it the origin's?"""

Slowly = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs what may wait for the disk, away from the loop."""


class Applier(Protocol):
    """What takes entries in (storage.index.applier)."""

    @property
    def anew(self) -> bool: ...
    @property
    def outdated(self) -> bool: ...
    def holes(self) -> tuple[Hole, ...]: ...
    def heads(self) -> dict[str, tuple[int, bytes]]: ...
    def epoch(self) -> int: ...
    def scope(self) -> bytes: ...
    def apply_raw(self, bodies: list[bytes]) -> int: ...
    def apply_seen(self, body: bytes, hash: bytes) -> int: ...
    def replace_system(self, body: bytes, hash: bytes, scope: bytes) -> None: ...
    def forget_workspace(self, workspace: str) -> set[bytes]: ...
    def reset_for_resync(self, epoch: int = 0) -> None: ...
    def take_over(self) -> None: ...


class Followed(Protocol):
    """The store of an edge."""

    @property
    def applier(self) -> Applier | None: ...


class Follower:
    """The edge's ear. All its properties are true for the node, whichever worker follows."""

    def __init__(
        self,
        store: Followed,
        parents: Parents,
        connect: Connect,
        lock: Path,
        *,
        name: str = "",
        verify: Verify | None = None,
        forgotten: Callable[[set[bytes]], None] = lambda blobs: None,
        replaced: Callable[[], None] = lambda: None,
        slowly: Slowly = trio.to_thread.run_sync,
    ) -> None:
        """`name` is that of the edge, `verify` judges the origin's signature; without it no signature is asked for.
        `forgotten` is called, away from the loop, with the blobs that no file names once a workspace was taken away,
        `replaced` when another history has taken the place of the one that was shown."""
        assert store.applier is not None
        self._applier: Applier = store.applier
        self._parents = parents
        self._connect = connect
        self._name = name
        self._verify = verify
        self._forgotten = forgotten
        self._replaced = replaced
        self._slowly = slowly
        self._lock = lock
        self._contact = Contact(lock)
        self._disown()
        self._synced = self._contact.read()[2]
        self._level_s = 0.0
        self._came_s = 0.0
        """When the oldest of the words came that are being taken, monotonic."""
        self._beats: deque[tuple[float, int]] = deque(maxlen=_BEATS_MAX)
        """When each of the last beats came whose history is not all here, and its total."""
        self._total = 0
        self._doubtful = False
        self._stirred = False
        self._told_s = 0.0
        self._complaint, self._complained_s = "", 0.0
        self._at = parents.urls[0]
        self._less: set[str] = set()
        """Parents that had less history than we, since one last had as much."""
        self._first_beat: tuple[float, int] | None = None

    def __repr__(self) -> str:
        return f"<Follower {'connected' if self.connected else 'alone'} lag {self.lag_ms} ms>"

    @property
    def last_contact_s(self) -> float:
        """When the origin was last heard, monotonic; 0 for never."""
        return self._contact.read()[0]

    @property
    def whole_s(self) -> float:
        """Monotonic: what the origin said until then is all here, also what it took back; 0 for never. Words alone are
        no leave to serve: those that come first after a silence are older than what stands behind them."""
        return self._contact.read()[3]

    @property
    def closed_s(self) -> float:
        """Monotonic: since when an entry is missing here that may have taken something away from somebody
        (storage.index.holes); 0 = none is."""
        return self._contact.closed_s()

    def holes(self) -> tuple[Hole, ...]:
        """The entries that could not be taken in."""
        return self._applier.holes()

    def origin_ms(self) -> int:
        """The origin's wall clock; 0 where it was never heard."""
        return self._contact.origin_ms()

    @property
    def connected(self) -> bool:
        heard_s = self.last_contact_s
        return heard_s > 0 and time.monotonic() - heard_s < SILENCE_SECONDS

    @property
    def lag_ms(self) -> int:
        """How far behind its origin this edge may be: 0 while it is heard and level, else the time since it was."""
        heard_s, level_s, _, _ = self._contact.read()
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
        self._disown()
        self._synced = self._contact.read()[2]  # whoever followed before may have begun anew meanwhile
        self._close(since_s=LONG_AGO_S)
        if self._applier.outdated:
            log.warning("what this edge has was written by another version: it is learned anew, and shown meanwhile")
            await self._start_anew(self._applier.epoch())
        pause_s = RETRY_SECONDS[0]
        began_s = trio.current_time()
        while True:
            heard_s, self._stirred = self.last_contact_s, False
            self._at = self._parents.order()[0]
            try:
                await self._follow()
            except Damaged as problem:
                await self._mend(problem)
            except _Preferred:
                pass
            except Problem as problem:
                self._parents.failed(self._at)
                # both may be starting, as with `entrepot up`: the first misses are no news
                if heard_s or trio.current_time() > began_s + SILENCE_SECONDS:
                    self._complain(problem.text())
            except trio.TooSlowError:
                self._parents.silent(self._at)
                log.warning("the origin fell silent")
            except lmdb.Error as error:
                full = disk.judge_index(error, self._lock.parent)
                if full is None:
                    raise
                log.error("this edge cannot take entries in: %s", full.message)
            except Exception as error:  # whatever it is, what is here goes on being served (F10)
                log.error("this edge cannot take in what its origin says, and tries again: %s", why(error))
            pause_s = RETRY_SECONDS[0] if self._stirred else min(2 * pause_s, RETRY_SECONDS[1])
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311

    def _complain(self, why: str) -> None:
        """Once a minute: an edge that is cut off, or was revoked, tries for days."""
        now_s = trio.current_time()
        if why != self._complaint or now_s - self._complained_s >= COMPLAIN_SECONDS:
            log.warning("the origin is not heard: %s", why)
            self._complaint, self._complained_s = why, now_s

    def _disown(self) -> None:
        """An index that was set aside takes its history with it: what the contact says of that is true of nothing here,
        neither that this edge was ever level nor that anything is whole."""
        heard_s, level_s, synced, whole_s = self._contact.read()
        if (level_s or synced or whole_s) and not self._applier.heads():
            self._contact.write(heard_s, 0.0, False, 0.0)

    def _close(self, since_s: float = 0.0) -> None:
        """Say to all workers whether something is missing that closes a Workspace."""
        is_closed = bool(closed(self._applier.holes()))
        if is_closed != bool(self._contact.closed_s()):
            self._contact.write_closed((since_s or time.monotonic()) if is_closed else 0.0)

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
        self._contact.write(self.last_contact_s, 0.0, False, self.whole_s)
        await self._slowly(lambda: self._applier.reset_for_resync(epoch))

    async def _follow(self) -> None:
        """One connection, until it ends. Raises what ended it."""
        greeting = self._greeting()
        self._count()
        self._first_beat = None
        reader: FrameReader = FrameReader()
        if self._verify is not None:
            reader = SealedReader(self._verify, greeting.nonce, self._name)
        send, receive = trio.open_memory_channel[tuple[float, bytes]](_PIECES_MAX)
        async with receive, self._connect(self._at, greeting) as pieces, _unwrapped(), trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, pieces, send)
            nursery.start_soon(self._look_back)
            await self._take(receive, reader)
            nursery.cancel_scope.cancel()

    def _greeting(self) -> Greeting:
        """The last entry of each workspace is asked for again: its hash tells whether the parent's history is ours, and
        not another one that is just as long."""
        after = {name: max(0, serial - 1) for name, (serial, _) in self._applier.heads().items()}
        return Greeting(after, self._applier.scope(), secrets.token_bytes(32) if self._verify is not None else b"")

    def _count(self) -> None:
        """Anew, and what earlier beats counted is nothing to compare it with."""
        self._beats.clear()
        self._total = sum(serial for serial, _ in self._applier.heads().values())

    async def _look_back(self) -> None:
        """Try the parents that go before the one that is followed; return to the first that is heard again. Not while
        another history is learned: one that comes back may have the old one, and what was learned would be lost."""
        before = self._parents.urls[: self._parents.urls.index(self._at)]
        while before:
            await trio.sleep(max(0.1, min(self._parents.rest_s(url) for url in before)))
            for url in before if not self._applier.anew else ():
                if not self._parents.resting(url) and await self._heard(url):
                    raise _Preferred

    async def _heard(self, url: str) -> bool:
        try:
            with trio.fail_after(SILENCE_SECONDS):
                async with self._connect(url, self._greeting()) as pieces:
                    if await anext(pieces, None) is not None:
                        return True
        except (Problem, trio.TooSlowError):
            pass
        self._parents.failed(url)
        return False

    async def _receive(self, pieces: AsyncIterator[bytes], send: trio.MemorySendChannel[tuple[float, bytes]]) -> None:
        """Take bytes off the connection while others are applied, each with the time when it came. An apply that takes
        long is no silence. A process that stood still finds words that are as old as its sleep, and behind them may be
        what ends a lease: they count as silence."""
        async with send:
            while True:
                asked_s = time.monotonic()
                with trio.fail_after(SILENCE_SECONDS):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                came_s = time.monotonic()
                if came_s - asked_s > SILENCE_SECONDS:
                    raise trio.TooSlowError
                await send.send((came_s, piece))

    async def _take(self, receive: trio.MemoryReceiveChannel[tuple[float, bytes]], reader: FrameReader) -> None:
        counted_s = trio.current_time()
        async for self._came_s, first in receive:
            pieces = bytearray(first)
            while len(pieces) < APPLY_BYTES_MAX:
                try:
                    pieces += receive.receive_nowait()[1]
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            bodies: list[bytes] = []
            for frame in reader.feed(bytes(pieces)):
                if isinstance(frame, bytes):
                    bodies.append(frame)
                    continue
                await self._apply(bodies)
                bodies = []
                if not await self._told(frame):
                    return
                counted_s = trio.current_time()
            await self._apply(bodies)
            if bodies:
                counted_s = trio.current_time()
            if trio.current_time() - counted_s > UNSIGNED_SECONDS_MAX:
                raise UpstreamFailed("A parent sends nothing that the origin has signed.")

    async def _told(self, frame: Frame) -> bool:
        """Anything but a plain entry. False where this edge had to start anew."""
        match frame:
            case Anew():
                await self._behind("The origin has less history than this edge.", 0)
                return False
            case Beat():
                return await self._beaten(frame)
            case Seen(hash, body):
                self._total += await self._slowly(lambda: self._applier.apply_seen(body, hash))
            case Snapshot(scope, hash, body):
                mark = scope if any(scope) else b""
                await self._slowly(lambda: self._applier.replace_system(body, hash, mark))
                self._count()
            case Forget(workspace):
                await self._slowly(lambda: self._forget(workspace))
                self._count()
        self._hear()
        return True

    def _forget(self, workspace: str) -> None:
        log.warning("this edge may not see the workspace %s any more, and forgets it", workspace)
        self._forgotten(self._applier.forget_workspace(workspace))

    async def _behind(self, why: str, epoch: int) -> None:
        """The parent has less history than we. Raises UpstreamFailed as long as another parent may have as much.

        What the origin has signed for this connection needs no second opinion.
        """
        self._less.add(self._at)
        others = [url for url in self._parents.urls if url not in self._less and not self._parents.resting(url)]
        if others and self._verify is None:
            raise UpstreamFailed(f"{why} Another parent is asked.")
        log.error("starting anew: %s", why)
        await self._start_anew(epoch)

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
        self._judge_delay(beat)
        self._beats.append((self._came_s, beat.total))
        self._contact.write_time(beat.at_ms, self._came_s)
        if not known:  # entries of earlier epochs are part of a history that was once restored
            await self._slowly(lambda: self._applier.reset_for_resync(beat.epoch))
        if known and beat.epoch > known:
            log.error("starting anew: the origin's history is another one now")
            await self._start_anew(beat.epoch)
            return False
        if beat.epoch < known or self._total > beat.total:
            await self._behind("The origin has less history than this edge.", beat.epoch)
            return False
        self._less.clear()
        self._parents.worked(self._at)
        self._tell_progress(beat)
        if self._total == beat.total:
            await self._take_over()
            self._synced = True
            self._level_s = self._came_s
        self._hear()
        return True

    def _tell_progress(self, beat: Beat) -> None:
        """Of a history that is learned beside the one that is shown."""
        if self._applier.anew and trio.current_time() - self._told_s >= TELL_SECONDS:
            self._told_s = trio.current_time()
            log.warning("learning the origin's history: %d of %d entries", self._total, beat.total)

    async def _take_over(self) -> None:
        """All of the other history is here: show it."""
        if not self._applier.anew:
            return
        await self._slowly(self._applier.take_over)
        await self._slowly(self._replaced)
        log.warning("this edge has all of its origin's history now, and shows it")

    def _judge_delay(self, beat: Beat) -> None:
        """A parent that lets the origin's words age is as good as silent; clocks that differ do not matter here."""
        now_s = trio.current_time()
        if self._first_beat is None:
            self._first_beat = now_s, beat.at_ms
        since_s, since_ms = self._first_beat
        if self._verify is not None and (now_s - since_s) - (beat.at_ms - since_ms) / 1000 > DELAY_SECONDS_MAX:
            raise UpstreamFailed("A parent holds back what the origin says.")

    def _hear(self) -> None:
        """The origin was heard; an entry that was just applied does not make a level edge stale. What is shown while
        another history is learned rests on no word of the origin's."""
        self._stirred = True
        self._close()
        if self._applier.anew:
            return
        if self._level_s and self._level_s >= self.last_contact_s:
            self._level_s = self._came_s
        whole_s = self.whole_s
        while self._beats and self._beats[0][1] <= self._total:
            whole_s = self._beats.popleft()[0]
        self._contact.write(self._came_s, self._level_s, self._synced, whole_s)


class _Preferred(Exception):
    """A parent that goes before the one that is followed is heard again."""


def over_http(token: str, tls: ssl.SSLContext | None = None, name: str | None = None) -> Connect:
    """The parents' streams. An answer that is no stream is UpstreamFailed, as is every failure of the connection.

    `token` is that of an edge without a certificate. `tls` says who we are and whom we believe; `name` is the name that
    a parent's certificate must have, None = its host's.
    """
    timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    extensions = {"sni_hostname": name} if name else {}

    @asynccontextmanager
    async def connect(parent: str, greeting: Greeting) -> AsyncIterator[AsyncIterator[bytes]]:
        url = f"{parent}/-/peer/journal"
        verify = (tls or trust()) if url.startswith("https:") else False
        headers = {"Accept-Encoding": "identity", "Content-Type": "text/plain"}
        shown = greeting.token or token
        headers |= {"Authorization": f"Bearer {shown}"} if shown else {}
        headers |= {"Entrepot-For": greeting.child} if greeting.child else {}
        headers |= {"Entrepot-Scope": greeting.mark.hex()} if greeting.mark else {}
        headers |= {"Entrepot-Nonce": greeting.nonce.hex()} if greeting.nonce else {}
        body = told_after(greeting.after)
        try:
            async with (
                httpx2.AsyncClient(trust_env=False, verify=verify, timeout=timeout) as client,
                client.stream("POST", url, content=body, headers=headers, extensions=extensions) as answer,
            ):
                if answer.status_code != 200:
                    raise UpstreamFailed(
                        f"The origin answers {answer.status_code} to its follower.",
                        "Check the token, or whether this edge was revoked.",
                    )
                async with aclosing(answer.aiter_raw()) as pieces:
                    yield pieces
        except httpx2.HTTPError as error:
            raise UpstreamFailed(_broken(error)) from error

    return connect


def _broken(error: httpx2.HTTPError) -> str:
    """What an operator can do something about is told: certificates hang on clocks (F6)."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"A parent's certificate is not believed: {cause.verify_message}. Is this machine's clock right?"
        cause = cause.__cause__ or cause.__context__
    return f"The connection to the origin broke ({type(error).__name__})."


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[None]:
    """One error of a nursery as itself: its tasks are the two halves of one connection."""
    try:
        yield
    except BaseExceptionGroup as group:
        for wanted in (trio.Cancelled, Damaged, _Preferred):
            if (found := group.subgroup(wanted)) is not None:
                raise _first(found) from None
        raise _first(group) from None


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
