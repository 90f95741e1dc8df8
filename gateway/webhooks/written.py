"""When is it written down how far the webhooks are?

Beside the sending, a transaction after the other, each with all that came since the one before: one sync of the disk is
for whatever was delivered meanwhile. So what a crash repeats is what was under way and what was delivered in the last
moment, which has a bound too: when so much is not written yet, no more is sent.
"""

from collections.abc import Mapping

import msgspec
import trio

from gateway.webhooks.queue import State
from gateway.webhooks.records import Delivery, Records
from gateway.webhooks.turns import Live

REST_SECONDS = 0.02
"""Between two transactions."""
UNWRITTEN_MAX = 500
"""So many deliveries may not be written yet."""
FAREWELL_SECONDS_MAX = 2.0


class Written:
    """What is to be written. `live` is what there is, by id."""

    def __init__(self, records: Records, live: Mapping[str, Live]) -> None:
        self._records = records
        self._live = live
        self._log: list[tuple[str, Delivery]] = []
        self._writing = 0
        self._bell = trio.Event()

    @property
    def is_behind(self) -> bool:
        """Is so much not written that nothing more may be sent?"""
        return len(self._log) + self._writing >= UNWRITTEN_MAX

    def clear(self) -> None:
        self._log.clear()
        self._writing = 0

    def add(self, live: Live, line: Delivery | None = None) -> None:
        """Its queue moved, and this was tried."""
        live.dirty = True
        if line is not None:
            self._log.append((live.hook.id, line))
        self._bell.set()

    async def run(self) -> None:
        """Until cancelled; then what is left is written, if that can be done soon. Raises what the records raise."""
        try:
            while True:
                await self._bell.wait()
                await self.write()
                await trio.sleep(REST_SECONDS)
        finally:
            with trio.move_on_after(FAREWELL_SECONDS_MAX, shield=True):
                await self.write()

    async def write(self) -> None:
        """All that there is now, in one transaction. What cannot be written stays to be written."""
        self._bell = trio.Event()
        states = {id: _copied(one.queue.state) for id, one in self._live.items() if one.dirty}
        log, self._log = self._log, []
        if not states and not log:
            return
        for id in states:
            self._live[id].dirty = False
        self._writing = len(log)
        try:
            await trio.to_thread.run_sync(self._records.write, states, log)
        except BaseException:
            self._log = log + self._log
            for id in states:
                if id in self._live:
                    self._live[id].dirty = True
            raise
        finally:
            self._writing = 0


def _copied(state: State) -> State:
    """As it is now: it goes on while it is written."""
    return msgspec.structs.replace(state, waiting=[msgspec.structs.replace(one) for one in state.waiting])
