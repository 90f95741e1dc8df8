"""How does the first fetch of a quiet edge cost one round trip, as every other does? A way to its parent is kept open.

One connection that has nothing to do, to the parent that would be asked now, in each process: opened at the start and
after a failover, and again where it was closed. Before it has rested for so long that it could not be used any more,
the parent is asked on it whether it is there, which is a round trip and no handshake. Each wait has a part of chance
in it, so that the edges of a parent that comes back do not come all at once; a parent that does not answer is asked
ever more seldom.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import trio

from cache.asking.parents import Parents
from storage.errors import Problem

LOOK_SECONDS = 1.0
REST_SECONDS = (25.0, 40.0)
"""An idle connection is used again within this; it could be for 50 s (connecting.Pool)."""
RETRY_SECONDS = (1.0, 60.0)
log = logging.getLogger("entrepot.cache")

Slowly = Callable[..., Awaitable[Any]]
"""Runs what blocks in a thread."""

_in_a_thread: Slowly = partial(trio.to_thread.run_sync, abandon_on_cancel=True)


class Way(Protocol):
    """How parents are asked (cache.parenting.ParentRemote)."""

    def open_to(self, parent: str, age_s: float) -> bool: ...
    def greet(self, parent: str) -> None: ...


class Openness:
    """The open way of one process. `chance` is a number from 0 to 1, each time another."""

    def __init__(self, parents: Parents, way: Way, *, chance: Callable[[], float] = random.random) -> None:
        self._parents = parents
        self._way = way
        self._chance = chance
        self._failures = 0
        self._rest_s = self._between(REST_SECONDS)

    def __repr__(self) -> str:
        return f"<Openness after {self._failures} failures>"

    async def run(self, slowly: Slowly = _in_a_thread) -> None:
        """Keep it open until cancelled."""
        while True:
            pause_s = await self.look(slowly)
            await trio.sleep(pause_s)

    async def look(self, slowly: Slowly = _in_a_thread) -> float:
        """See to it once; the seconds until the next look."""
        parent = self._parents.order()[0]
        if not self._parents.resting(parent) and not self._way.open_to(parent, self._rest_s):
            self._rest_s = self._between(REST_SECONDS)
            try:
                await slowly(self._way.greet, parent)
            except Problem as problem:
                self._failures += 1
                log.debug("no way to the parent is open: %s", problem.message)
                pause_s = min(RETRY_SECONDS[0] * 2 ** min(self._failures, 10), RETRY_SECONDS[1])
                return self._between((pause_s / 2, pause_s))
            self._failures = 0
        return self._between((LOOK_SECONDS / 2, LOOK_SECONDS))

    def _between(self, bounds: tuple[float, float]) -> float:
        return bounds[0] + self._chance() * (bounds[1] - bounds[0])
