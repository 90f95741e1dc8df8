"""What is to be sent to a webhook now, what later, and what never? One webhook's queue: a pure state step.

A queue is two cursors and a short list. Everything up to the cursors was looked at, and of that exactly what stands in
the list is not settled; what lies behind them is in the journal, which is the queue's body and is never lost. So a
queue that is written after each step, and read again after a crash, repeats what was under way and leaves out nothing.

An event that is refused is tried again, ever later, up to a number of attempts. When several attempts in a row failed,
whatever they were of, the receiver itself is taken to be away: then one event alone is tried, ever later, and the rest
waits without losing attempts. Any success ends that. A receiver that did nothing but fail for long is switched off.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

WINDOW = 256
"""So many events may wait, of those that were looked at."""
AWAY_FAILURES = 3
"""So many failures in a row say that the receiver is away."""


class Rules(NamedTuple):
    """How often and how long it is tried; see gateway.config.Webhooks."""

    attempts_max: int = 16
    retry_seconds_min: float = 5.0
    retry_seconds_max: float = 6 * 3600.0
    disable_seconds: float = 3 * 24 * 3600.0
    parallel_max: int = 4

    def pause_ms(self, failures: int, spread: float) -> int:
        """How long to wait after so many failures; `spread` is random, 0 to 1, so that not all come back at once."""
        full_s = min(self.retry_seconds_max, self.retry_seconds_min * 2.0 ** min(failures - 1, 40))
        return int(full_s * (0.5 + spread / 2) * 1000)


class Waiting(msgspec.Struct, array_like=True):
    """An event that is not settled: the entry that it comes from, which one of it, and how often it was tried."""

    system: bool
    serial: int
    message: str
    attempts: int = 0
    next_ms: int = 0


class State(msgspec.Struct, array_like=True):
    """A queue as it is kept. `at` and `at_system` are the cursors, `run` is that of the webhook they belong to."""

    run: int
    at: int
    at_system: int
    waiting: list[Waiting] = []
    failures: int = 0
    failing_ms: int = 0
    """Since when there were only failures; 0 = there are none."""
    paused_ms: int = 0
    """Until when nothing is sent."""
    delivered: int = 0
    refused: int = 0
    """Attempts that failed."""
    given_up: int = 0
    sent_ms: int = 0
    """When something was last delivered."""


class Ended(NamedTuple):
    """How an attempt ended. `never`: no attempt will ever be one. `wait_s`: the receiver asked for so much time."""

    delivered: bool
    never: bool = False
    wait_s: float = 0.0


class Queue:
    """One webhook's queue. Synchronous; times are ms since 1970."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.state = state
        self._rules = rules
        self._under_way: set[str] = set()

    @property
    def is_away(self) -> bool:
        """Is the receiver taken to be away?"""
        return self.state.failures >= AWAY_FAILURES

    def room(self) -> int:
        """How many more events may be looked for."""
        return max(0, WINDOW - len(self.state.waiting))

    def looked(self, at: int, at_system: int, found: Iterable[Waiting]) -> None:
        """The journals were looked at as far as this, and these events found."""
        self.state.at, self.state.at_system = at, at_system
        self.state.waiting.extend(found)

    def begin(self, state: State) -> None:
        """Anew, from there; what was delivered so far stays counted."""
        old = self.state
        state.delivered, state.refused, state.given_up = old.delivered, old.refused, old.given_up
        self.state = state

    def rest(self) -> None:
        """It was switched off: what failed before does not count when it is switched on again."""
        self.state.failures, self.state.failing_ms, self.state.paused_ms = 0, 0, 0
        for one in self.state.waiting:
            one.attempts, one.next_ms = 0, 0

    def due(self, now_ms: int, most: int = WINDOW) -> list[Waiting]:
        """What is to be sent now, `most` of it; it counts as under way from here on."""
        free = min(most, (1 if self.is_away else self._rules.parallel_max) - len(self._under_way))
        if free <= 0 or now_ms < self.state.paused_ms:
            return []
        ready: Iterator[Waiting] = (one for one in self.state.waiting if one.message not in self._under_way)
        if self.is_away:  # another one each time: it may be that one event which is refused, and not all
            ready = iter(sorted(ready, key=lambda one: one.attempts))
        else:
            ready = (one for one in ready if one.next_ms <= now_ms)
        found = list(islice(ready, free))
        self._under_way.update(one.message for one in found)
        return found

    @property
    def idle(self) -> int:
        """How many wait that are not under way."""
        return len(self.state.waiting) - len(self._under_way)

    def coming(self, most: int) -> list[Waiting]:
        """What is to be sent next, as far as that can be known."""
        return list(islice((one for one in self.state.waiting if one.message not in self._under_way), most))

    def wake_ms(self, now_ms: int) -> int | None:
        """When something will be due, as far as it is known; None = not before something happens."""
        idle = [one for one in self.state.waiting if one.message not in self._under_way]
        if not idle:
            return None
        if self.is_away:
            return max(now_ms, self.state.paused_ms)
        return max(now_ms, self.state.paused_ms, min(one.next_ms for one in idle))

    def ended(self, message: str, how: Ended, now_ms: int, spread: Callable[[], float]) -> bool:
        """An attempt ended: was the event given up with it?"""
        self._under_way.discard(message)
        state = self.state
        one = next((one for one in state.waiting if one.message == message), None)
        if one is None:
            return False
        if how.delivered:
            state.waiting.remove(one)
            state.failures, state.failing_ms, state.paused_ms = 0, 0, 0
            state.delivered, state.sent_ms = state.delivered + 1, now_ms
            return False
        if how.never:
            state.waiting.remove(one)
            state.given_up += 1
            return True
        one.attempts += 1
        state.refused += 1
        state.failures += 1
        state.failing_ms = state.failing_ms or now_ms
        asked_ms = int(min(how.wait_s, self._rules.retry_seconds_max) * 1000)
        one.next_ms = now_ms + max(asked_ms, self._rules.pause_ms(one.attempts, spread()))
        if self.is_away:
            pause = self._rules.pause_ms(state.failures - AWAY_FAILURES + 1, spread())
            state.paused_ms = now_ms + max(asked_ms, pause)
        elif asked_ms:
            state.paused_ms = max(state.paused_ms, now_ms + asked_ms)
        if one.attempts < self._rules.attempts_max or self.is_away:
            return False  # whoever takes nothing is switched off in the end, and loses no event by that
        state.waiting.remove(one)
        state.given_up += 1
        return True

    def is_hopeless(self, now_ms: int) -> bool:
        """Is the receiver to be switched off?"""
        since_ms = self.state.failing_ms
        return bool(since_ms) and self.is_away and now_ms - since_ms >= self._rules.disable_seconds * 1000

    def settled(self) -> tuple[int, int]:
        """The Serials of both journals up to which everything is settled."""
        own = [one.serial for one in self.state.waiting if not one.system]
        system = [one.serial for one in self.state.waiting if one.system]
        return min([self.state.at, *(serial - 1 for serial in own)]), min(
            [self.state.at_system, *(serial - 1 for serial in system)]
        )
