"""How does an edge hear of foreign files that were drawn elsewhere? It asks its parent what came since, now and then,
of each Repository that its region holds eagerly.

Rows of Repositories that are not held so any more are forgotten; the files stay until their room is needed.
"""

import logging
import random
from collections.abc import Callable

import lmdb
import trio

from cache.replication.drawn import Drawn, Place, Told
from cache.replication.holding import Holding
from storage.errors import Absent, Problem
from storage.index.catalog import Catalog

LOOK_SECONDS = 2.0
ASKS_A_SECOND_MAX = 20
PAUSE_SECONDS_MAX = 60.0
PAGES_MAX = 20
"""Of one Repository at a time, so that none waits for another's backfill."""
log = logging.getLogger("entrepot.cache")

Ask = Callable[[Place, bytes, int], Told]
"""(Repository, life, number) to what the parent tells of what came behind that. Blocking; raises Problem."""


class News:
    """One a node: whoever replicates runs it."""

    def __init__(self, catalog: Catalog, holding: Holding, drawn: Drawn, ask: Ask) -> None:
        self._catalog = catalog
        self._holding = holding
        self._drawn = drawn
        self._ask = ask

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = LOOK_SECONDS
        while True:
            try:
                asked = await trio.to_thread.run_sync(self.look, abandon_on_cancel=True)
                pause_s = max(LOOK_SECONDS, asked / ASKS_A_SECOND_MAX)
            except (Problem, lmdb.Error) as problem:
                log.info("what was drawn elsewhere is not heard of: %s", problem)
                pause_s = min(2 * pause_s, PAUSE_SECONDS_MAX)
            await trio.sleep(pause_s * random.uniform(0.8, 1.0))  # noqa: S311

    def look(self) -> int:
        """Ask once, of each Repository; how many questions that took. Blocking. Raises Problem."""
        with self._catalog.read() as reading:
            wanted = [Place(one.workspace, one.name) for one, _ in self._holding.policies(reading) if one.upstreams]
        for place in set(self._drawn.places()) - set(wanted):
            self._drawn.clear(place)
        return sum(self._hear(place) for place in wanted)

    def _hear(self, place: Place) -> int:
        asked, more = 0, True
        while more and asked < PAGES_MAX:
            try:
                told = self._ask(place, *self._drawn.heard(place))
            except Absent:  # the parent has not heard of the Repository yet, or of its end
                return asked + 1
            self._drawn.take(place, told)
            asked, more = asked + 1, told.more
        return asked
