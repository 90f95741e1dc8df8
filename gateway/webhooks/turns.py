"""Whose event is sent next? Webhooks take turns, and those that take long leave room for the others.

A receiver that answers late holds its places for as long as it is let. So those that are slow have half of all places
between them, whoever they are, and the other half is for those that are not. Synchronous; times in seconds are those of
trio.current_time().
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.webhooks.filters import Filter
from gateway.webhooks.queue import Queue, Waiting
from gateway.webhooks.telling import Ready
from storage.hooks import Webhook

SLOW_SECONDS = 1.0
SLOW_SHARE = 0.5
AHEAD_MAX = 16
"""So many events of a webhook are made ready ahead."""


class Live:
    """One webhook that is there, with its queue."""

    def __init__(self, hook: Webhook, queue: Queue, filter: Filter) -> None:
        self.hook = hook
        self.queue = queue
        self.filter = filter
        self.dirty = False
        self.held = False
        """There was more to look at than there was room for."""
        self.ahead: dict[str, Ready] = {}
        """What is ready to be sent, by the ids of its messages."""
        self.making = False
        """Is more being made so?"""
        self.began_s: dict[str, float] = {}
        """When what is under way was sent."""
        self.took_s = 0.0
        """How long the last one took."""

    def is_slow(self, now_s: float) -> bool:
        """Does its receiver take long, now or when it was last asked?"""
        began_s = min(self.began_s.values(), default=now_s)
        return max(self.took_s, now_s - began_s) >= SLOW_SECONDS

    def renewed(self, hook: Webhook, filter: Filter) -> None:
        """It is another one now: what was made ready for what it was is no good."""
        self.hook, self.filter = hook, filter
        self.ahead.clear()

    def keep(self, ready: dict[str, Ready]) -> None:
        """These were made ready; of all that is, what was sent meanwhile is of no more use."""
        coming = [one.message for one in self.queue.coming(AHEAD_MAX)]
        known = self.ahead | ready
        self.ahead = {message: known[message] for message in coming if message in known}

    @property
    def wants_ahead(self) -> bool:
        """Is so little ready that more should be made so, and is there more?"""
        return self.hook.enabled and len(self.ahead) <= AHEAD_MAX // 2 and len(self.ahead) < self.queue.idle


class Next(NamedTuple):
    """What is to be sent now. `ready` is None where it was not made so."""

    live: Live
    waiting: Waiting
    ready: Ready | None


class Turns:
    """`parallel_max` is over all webhooks."""

    def __init__(self, parallel_max: int) -> None:
        self._parallel_max = parallel_max
        self._slow_max = max(1, int(parallel_max * SLOW_SHARE))
        self._turn = 0
        self.sending = 0

    def due(self, live: Mapping[str, Live], now_ms: int, now_s: float) -> Iterator[Next]:
        """One event of each in turn, until all that may be under way is. What comes out counts as under way."""
        order = [one for one in live.values() if one.hook.enabled and one.queue.idle]
        if not order:
            return
        slow = {one.hook.id for one in order if one.is_slow(now_s)}
        slow_now = sum(len(one.began_s) for one in live.values() if one.is_slow(now_s))
        self._turn = (self._turn + 1) % len(order)
        order = order[self._turn :] + order[: self._turn]
        while order and self.sending < self._parallel_max:
            going: list[Live] = []
            for one in order:
                is_slow = one.hook.id in slow
                if self.sending >= self._parallel_max or (is_slow and slow_now >= self._slow_max):
                    continue
                if one.making and not one.ahead:
                    continue  # it is about to be ready
                for waiting in one.queue.due(now_ms, 1):
                    self.sending += 1
                    slow_now += is_slow
                    one.began_s[waiting.message] = now_s
                    going.append(one)
                    yield Next(one, waiting, one.ahead.pop(waiting.message, None))
            order = going

    def ended(self, live: Live | None, message: str, now_s: float) -> None:
        """What was sent is under way no more."""
        self.sending -= 1
        if live is not None and message in live.began_s:
            live.took_s = now_s - live.began_s.pop(message)
