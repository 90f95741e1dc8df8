"""How does an origin tell its journal to those who follow it? In order, as committed, and with a beat when it is quiet.

The frames are those of cache.feed. An entry leaves within a few milliseconds of its commit, by whichever worker; the
first after a quiet time within 15. Whatever moves, the follower's scope is asked for again first: one that is revoked
hears nothing more, one that is given a workspace gets its whole history, one that lost it is told to forget it.
"""

import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
import trio

from cache.following.feed import (
    ANEW,
    MARKED_BYTES_MAX,
    Forget,
    Sealer,
    Seen,
    Snapshot,
    beat,
    entries,
    marked,
    too_much,
)
from cache.following.scope import Scope
from storage.digest import sha256
from storage.entries import read
from storage.errors import Conflict
from storage.index.catalog import Catalog, Reading
from storage.journal.journal import HEAD_DECODER, Journal, JournalReader
from storage.nouns import SYSTEM

BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.003
QUIET_SECONDS = 2.0
LOOK_SECONDS_QUIET = 0.015
READ_BYTES = 1 << 20
SNAPSHOT_HEAD_BYTES = 64
log = logging.getLogger("entrepot.cache")

Send = Callable[[bytes], Awaitable[None]]
ScopeOf = Callable[[Reading], Scope | None]
"""What the follower may see now; None = nothing any more."""


def everything(reading: Reading) -> Scope:
    """The scope of who may follow the whole node."""
    return Scope()


async def journal_stream(
    catalog: Catalog,
    journal: Journal,
    after: dict[str, int],
    send: Send,
    *,
    scope_of: ScopeOf = everything,
    mark: bytes = b"",
    sealer: Sealer | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Send a beat, every entry behind `after`, then each new one as it is committed.

    `mark` is that of the scope by which the follower's SYSTEM rows were chosen. Ends when `send` raises, when the
    follower may see nothing any more, after telling one who is ahead of this journal to start anew, or soon after
    `ended`, which is asked at each look: what is sent next may be a beat away.
    """
    await _Stream(catalog, journal, after, send, scope_of, mark, sealer, ended).run()


class _Stream:
    def __init__(
        self,
        catalog: Catalog,
        journal: Journal,
        after: dict[str, int],
        send: Send,
        scope_of: ScopeOf,
        mark: bytes,
        sealer: Sealer | None,
        ended: Callable[[], bool],
    ) -> None:
        self._catalog = catalog
        self._journal = journal
        self._after = after
        self._send_plain = send
        self._scope_of = scope_of
        self._mark = mark
        self._sealer = sealer
        self._ended = ended
        self._scope: Scope | None = None

    async def run(self) -> None:
        moment, beaten_s, moved_s = -1, -1.0, trio.current_time()
        reader = None
        while not self._ended():
            more = False
            now_moment, now_s = self._catalog.moment(), trio.current_time()
            if now_moment != moment:
                with self._catalog.read() as reading:
                    scope = self._scope_of(reading)
                if scope is None:
                    return
                if reader is None or scope != self._scope:
                    reader = await self._rescoped(scope, self._after if reader is None else reader.after)
                try:
                    bodies = await trio.to_thread.run_sync(reader.read, READ_BYTES)
                except Conflict:
                    await self._send(ANEW)
                    return
                if more := bool(bodies):
                    await self._send(self._frames(bodies))
                else:
                    moment, moved_s = now_moment, now_s
            if now_s - beaten_s >= BEAT_SECONDS:  # also where there is always more: the leases of edges rest on it
                beaten_s = now_s
                await self._send(self._beat())
            if not more:
                await trio.sleep(LOOK_SECONDS if now_s - moved_s < QUIET_SECONDS else LOOK_SECONDS_QUIET)

    async def _rescoped(self, scope: Scope, after: dict[str, int]) -> JournalReader:
        """Take away what is not in `scope` any more, and begin behind the rest."""
        self._scope = scope
        lost = [name for name in after if not scope.allows(name)]
        if lost:
            await self._send(b"".join(marked(Forget(name)) for name in lost))
        kept = {name: serial for name, serial in after.items() if scope.allows(name)}
        await self._send(self._beat())  # the epoch, before the first entry of it
        if scope.mark != self._mark:
            with self._catalog.read() as reading:
                serial = reading.serial(SYSTEM)
                hash, body = scope.snapshot(reading, self._journal.epoch)
            if kept.get(SYSTEM, 0) <= serial:
                if len(body) + SNAPSHOT_HEAD_BYTES > MARKED_BYTES_MAX:
                    log.error("the edge %s: %s", scope.name or "without a name", too_much(len(body)).text())
                await self._send(marked(Snapshot(scope.mark.ljust(32, b"\0"), hash, body)))
                kept[SYSTEM] = serial
            self._mark = scope.mark
        return self._journal.follow(kept, scope.allows)

    def _frames(self, bodies: list[bytes]) -> bytes:
        scope = self._scope
        assert scope is not None
        if scope.workspaces is None:
            return entries(bodies)
        return b"".join(self._frame(scope, body) for body in bodies)

    @staticmethod
    def _frame(scope: Scope, body: bytes) -> bytes:
        if HEAD_DECODER.decode(body).workspace != SYSTEM:
            return entries([body])
        return marked(Seen(sha256(body), msgspec.msgpack.encode(scope.seen(read(body)))))

    def _beat(self) -> bytes:
        assert self._scope is not None
        with self._catalog.read() as reading:
            total = sum(serial for name, (serial, _) in reading.heads().items() if self._scope.allows(name))
        return beat(self._journal.epoch, total, time.time_ns() // 1_000_000)

    async def _send(self, data: bytes) -> None:
        await self._send_plain(data if self._sealer is None else self._sealer.sealed(data))
