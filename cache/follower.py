"""How does an edge keep up with its origin? It reads the origin's journal as one long answer and applies it.

One worker of the node follows (whoever holds the lock file); the others see what it applied through the index they
share, and share its last contact by the file's time. A broken chain or an older epoch means to start anew, never to
merge two histories.
"""

import logging
import os
import random
import time
from pathlib import Path

import httpx2
import trio

from cache.peer import LENGTH
from storage import disk
from storage.applier import Applier
from storage.errors import Damaged
from storage.open import Store

SILENCE_SECONDS = 3.0
RETRY_SECONDS = (0.1, 2.0)
TOUCH_SECONDS = 0.5
log = logging.getLogger("entrepot.cache")


class Follower:
    """The edge's ear. `last_contact_s` is monotonic, over all workers of the node; `lag_ms` since the last word."""

    def __init__(self, store: Store, parent: str, token: str, lock: Path) -> None:
        assert store.applier is not None
        self._applier: Applier = store.applier
        self._parent = parent.rstrip("/")
        self._token = token
        self._lock = lock
        self._heard_s = 0.0
        self._touched_s = 0.0

    @property
    def last_contact_s(self) -> float:
        """When the origin was last heard by any worker."""
        if time.monotonic() - self._heard_s < TOUCH_SECONDS:
            return self._heard_s
        try:
            age = time.time() - self._lock.stat().st_mtime
        except FileNotFoundError:
            return self._heard_s
        return max(self._heard_s, time.monotonic() - age) if age >= 0 else self._heard_s

    @property
    def connected(self) -> bool:
        return time.monotonic() - self.last_contact_s < SILENCE_SECONDS

    @property
    def lag_ms(self) -> int:
        """Milliseconds since the origin's last word: entries and heartbeats come at least once a second."""
        return int(1000 * max(0.0, time.monotonic() - self.last_contact_s))

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled; started at once, since an edge serves what it has while it catches up."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        task_status.started()
        try:
            while not disk.lock(fd):
                await trio.sleep(RETRY_SECONDS[1] / 4)
            await self._follow_for_ever()
        finally:
            os.close(fd)

    async def _follow_for_ever(self) -> None:
        pause = RETRY_SECONDS[0]
        while True:
            try:
                await self._follow()
            except Damaged as problem:
                log.error("starting anew from the origin: %s", problem.message)
                await trio.to_thread.run_sync(self._applier.reset_for_resync)
            except (httpx2.HTTPError, trio.TooSlowError, OSError) as error:
                log.warning("the origin's journal is not heard: %s", type(error).__name__)
            pause = RETRY_SECONDS[0] if self.connected else min(2 * pause, RETRY_SECONDS[1])
            await trio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def _follow(self) -> None:
        heads = self._applier.heads()
        after = ",".join(f"{name}:{serial}" for name, (serial, _) in heads.items())
        headers = {"Authorization": f"Bearer {self._token}"}
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=SILENCE_SECONDS) as client,
            client.stream("GET", f"{self._parent}/-/peer/journal", params={"after": after}, headers=headers) as answer,
        ):
            if answer.status_code == 409:
                raise Damaged("The origin's journal is behind this edge.", "This edge starts anew.")
            answer.raise_for_status()
            await self._take(answer)

    async def _take(self, answer: httpx2.Response) -> None:
        waiting = b""
        async for data in answer.aiter_raw():
            self._hear()
            bodies, waiting = split_frames(waiting + data)
            if bodies:
                await trio.to_thread.run_sync(self._applier.apply_raw, bodies)

    def _hear(self) -> None:
        self._heard_s = time.monotonic()
        if self._heard_s - self._touched_s >= TOUCH_SECONDS:
            self._touched_s = self._heard_s
            os.utime(self._lock)


def split_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole entry bodies at the front of `data` (heartbeats left out), and the rest."""
    bodies, at = [], 0
    while at + LENGTH.size <= len(data):
        (length,) = LENGTH.unpack_from(data, at)
        stop = at + LENGTH.size + length
        if stop > len(data):
            break
        if length:
            bodies.append(data[at + LENGTH.size : stop])
        at = stop
    return bodies, data[at:]
