"""Who sends what is to be sent, and what becomes of it if he dies?

One process of an origin delivers: the one that holds the lock of a file, which goes with its process, so another takes
over within a second. It looks at the journal behind each webhook's cursor, sends what is wanted, and writes queues and
logs in one transaction a round. What is under way when it dies is sent again by the next: at least once, with the same
id. What it sends is bounded for each webhook and in all, and webhooks take turns.
"""

import fcntl
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import lmdb
import msgspec
import trio

from gateway.insight.errorlog import report
from gateway.webhooks.filters import Filter
from gateway.webhooks.queue import Ended, Queue, Rules, State, Waiting
from gateway.webhooks.records import Delivery
from gateway.webhooks.telling import EVENT, Attempt, Telling
from storage.commit import Committed, Decide, Decided
from storage.errors import Absent, Damaged, Invalid, Problem, Unavailable
from storage.hooks import PutWebhook, Webhook
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft

LOOK_SECONDS = 0.1
CLAIM_SECONDS = 0.5
TROUBLE_SECONDS = 5.0
FORGET_SECONDS = 60.0
ENTRIES_MAX = 500
"""So many entries of a journal are looked at for one webhook, before it is another's turn."""
ACTOR = "webhooks"
GONE = 410

Commit = Callable[[Decide], Awaitable[Committed]]


class Live:
    """One webhook that is there, with its queue."""

    def __init__(self, hook: Webhook, queue: Queue, filter: Filter) -> None:
        self.hook = hook
        self.queue = queue
        self.filter = filter
        self.dirty = False
        self.held = False
        """There was more to look at than there was room for."""


class Looked(NamedTuple):
    """How far the journals of one webhook were looked at, what was found, and whether there is more."""

    at: int
    at_system: int
    found: list[Waiting]
    more: bool


class Deliverer:
    """The service. `commit` is for switching a webhook off; `parallel_max` is over all webhooks."""

    def __init__(
        self,
        lock: Path,
        telling: Telling,
        commit: Commit,
        rules: Rules,
        *,
        parallel_max: int,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._lock = lock
        self._telling = telling
        self._commit = commit
        self._rules = rules
        self._parallel_max = parallel_max
        self._spread = spread
        self._now_ms = telling.now_ms
        self._live: dict[str, Live] = {}
        self._ended: list[tuple[str, Waiting, Attempt | Problem]] = []
        self._bell = trio.Event()
        self._sending = 0
        self._moment = -1
        self._turn = 0

    async def run(self) -> None:
        """Deliver for as long as this process holds the claim; wait for it else. Until cancelled."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with _claimed(self._lock) as mine:
                if mine:
                    await self._deliver()
            await trio.sleep(CLAIM_SECONDS)

    async def _deliver(self) -> None:
        self._live.clear()
        self._moment, forgotten_s = -1, -FORGET_SECONDS
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    if trio.current_time() - forgotten_s >= FORGET_SECONDS:
                        forgotten_s = trio.current_time()
                        await trio.to_thread.run_sync(self._forget)
                    more = await self._round(nursery)
                except (Problem, OSError, lmdb.Error) as problem:
                    self._moment = -1
                    report("error", "webhooks are not delivered for a moment", why=str(problem))
                    await trio.sleep(TROUBLE_SECONDS)
                    continue
                if not more:
                    await self._rest()

    async def _rest(self) -> None:
        """Until something ended, something is due, or it is time to look at the journal."""
        with trio.move_on_after(LOOK_SECONDS):
            await self._bell.wait()

    async def _round(self, nursery: trio.Nursery) -> bool:
        """Settle what ended, look for more, send what is due, and write it down. Is there more to do at once?"""
        self._bell = trio.Event()
        log, off = self._settle()
        more = False
        moment = self._telling.catalog.moment()
        if moment != self._moment or any(self._wants(one) for one in self._live.values()):
            if moment != self._moment:
                await trio.to_thread.run_sync(self._list)
                self._moment = moment
            more = await self._look()
        for live in list(self._live.values()):
            if live.hook.enabled and live.queue.is_hopeless(self._now_ms()):
                off.append((live.hook, "It did nothing but fail for too long."))
        await self._write(log)
        for hook, why in off:
            await self._switch_off(hook, why)
        self._send_due(nursery)
        return more

    # ------------------------------------------------------------ which webhooks there are

    def _list(self) -> None:
        """Blocking. What is known of webhooks becomes what the index has."""
        with self._telling.catalog.read() as reading:
            hooks = {one.id: one for one in reading.webhooks()}
        for gone in set(self._live) - set(hooks):
            del self._live[gone]
        for id, hook in hooks.items():
            live = self._live.get(id)
            if live is not None and live.hook == hook:
                continue
            try:
                filter = self._telling.filter_of(hook)
            except Invalid as problem:
                report("error", "a webhook has a filter that cannot be read", webhook=id, why=problem.message)
                self._live.pop(id, None)
                continue
            if live is None:
                state = self._telling.records.state(id) or State(hook.run, hook.after, hook.after_system)
                live = self._live[id] = Live(hook, Queue(state, self._rules), filter)
            live.hook, live.filter = hook, filter
            state = live.queue.state
            if state.run != hook.run:
                live.queue.begin(State(hook.run, hook.after, hook.after_system))
                live.dirty = True
            if not hook.enabled and (state.failures or state.failing_ms or state.paused_ms):
                live.queue.rest()
                live.dirty = True

    def _forget(self) -> None:
        """Blocking. Drop what is kept of webhooks that are gone."""
        with self._telling.catalog.read() as reading:
            living = {one.id: one.revision for one in reading.webhooks()}
        self._telling.records.forget(frozenset(living))
        with suppress(Damaged):
            self._telling.sealing.forget(living, self._now_ms())

    # ------------------------------------------------------------ what happened

    def _wants(self, live: Live) -> bool:
        """Was it held up by its own list, and has room again?"""
        return live.hook.enabled and live.held and live.queue.room() > 0

    async def _look(self) -> bool:
        asked = []
        for live in self._live.values():
            live.held = live.hook.enabled and live.queue.room() == 0
            if live.hook.enabled and not live.held:
                asked.append(live)
        more = False
        for live, looked in await trio.to_thread.run_sync(self._looked_at, asked):
            state = live.queue.state
            live.held = looked.more
            more |= looked.more and live.queue.room() > len(looked.found)
            if (looked.at, looked.at_system) != (state.at, state.at_system):
                live.queue.looked(looked.at, looked.at_system, looked.found)
                live.dirty = True
        return more

    def _looked_at(self, asked: Sequence[Live]) -> list[tuple[Live, Looked]]:
        """Blocking. What is new to those whose journals moved."""
        with self._telling.catalog.read() as reading:
            heads = {name: serial for name, (serial, _) in reading.heads().items()}
        system = heads.get(SYSTEM, 0)
        found = []
        for live in asked:
            state = live.queue.state
            moved = live.filter.hears_system and system > state.at_system
            if moved or heads.get(live.hook.workspace, 0) > state.at:
                found.append((live, self._looked(live, system)))
        return found

    def _looked(self, live: Live, system: int) -> Looked:
        state, found = live.queue.state, list[Waiting]()
        at, more = self._journal(live, live.hook.workspace, state.at, found)
        if not live.filter.hears_system:
            return Looked(at, system, found, more)
        at_system, still = self._journal(live, SYSTEM, state.at_system, found)
        return Looked(at, at_system, found, more or still)

    def _journal(self, live: Live, journal: str, after: int, found: list[Waiting]) -> tuple[int, bool]:
        """Look at the entries of one journal behind `after`: how far it got, and whether there is more."""
        at, room = after, live.queue.room()
        for number, kept in enumerate(self._telling.history.after(journal, after)):
            if number == ENTRIES_MAX or len(found) >= room:
                return at, True
            for told in self._telling.told_by(kept.entry, live.hook.workspace):
                if live.filter.hears(told):
                    found.append(Waiting(journal == SYSTEM, kept.entry.serial, told.message_id(live.hook.id)))
            at = kept.entry.serial
        return at, False

    # ------------------------------------------------------------ sending

    def _send_due(self, nursery: trio.Nursery) -> None:
        """Webhooks take turns, one event each, until all that may be under way is."""
        now_ms = self._now_ms()
        order = sorted(self._live)
        order = order[self._turn % max(1, len(order)) :] + order[: self._turn % max(1, len(order))]
        self._turn += 1
        going = True
        while going and self._sending < self._parallel_max:
            going = False
            for id in order:
                live = self._live[id]
                if not live.hook.enabled or self._sending >= self._parallel_max:
                    continue
                for one in live.queue.due(now_ms, 1):
                    self._sending += 1
                    nursery.start_soon(self._send, live.hook, one)
                    going = True

    async def _send(self, hook: Webhook, waiting: Waiting) -> None:
        how: Attempt | Problem
        try:
            journal = SYSTEM if waiting.system else hook.workspace
            message = await trio.to_thread.run_sync(
                self._telling.message, hook, journal, waiting.serial, waiting.message
            )
            how = await self._telling.attempt(hook, message, EVENT, waiting.attempts + 1)
        except Problem as problem:
            how = problem
        except (OSError, lmdb.Error) as error:
            how = Unavailable(f"This node cannot read what is to be told: {type(error).__name__}.")
        finally:
            self._sending -= 1
        self._ended.append((hook.id, waiting, how))
        self._bell.set()

    def _settle(self) -> tuple[list[tuple[str, Delivery]], list[tuple[Webhook, str]]]:
        """What ended goes out of the queues: lines for the logs, and webhooks that are to be switched off."""
        log: list[tuple[str, Delivery]] = []
        off: list[tuple[Webhook, str]] = []
        ended, self._ended = self._ended, []
        for id, waiting, how in ended:
            live = self._live.get(id)
            if live is None:
                continue
            self._settle_one(live, waiting, how, log, off)
            if not live.hook.enabled:  # it was under way when it was switched off: it counts no more than those before
                live.queue.rest()
        return log, off

    def _settle_one(
        self,
        live: Live,
        waiting: Waiting,
        how: Attempt | Problem,
        log: list[tuple[str, Delivery]],
        off: list[tuple[Webhook, str]],
    ) -> None:
        id = live.hook.id
        live.dirty = True
        if isinstance(how, Problem):
            report("error", "an event cannot be told", webhook=id, why=how.message)
            live.queue.ended(waiting.message, Ended(False, never=isinstance(how, Absent)), self._now_ms(), self._spread)
            return
        log.append((id, how.delivery))
        answer = how.answer
        live.queue.ended(waiting.message, Ended(answer.delivered, wait_s=answer.wait_s), self._now_ms(), self._spread)
        if answer.status == GONE:
            off.append((live.hook, "The receiver answered 410: it wants nothing any more."))

    async def _write(self, log: Sequence[tuple[str, Delivery]]) -> None:
        states = {id: live.queue.state for id, live in self._live.items() if live.dirty}
        if not states and not log:
            return
        await trio.to_thread.run_sync(self._telling.records.write, states, log)
        for id in states:
            self._live[id].dirty = False

    async def _switch_off(self, hook: Webhook, why: str) -> None:
        """With an entry, so that the audit tells of it, and other webhooks do."""

        def decide(reading: Reading) -> Decided:
            now = reading.webhook(hook.workspace, hook.repository, hook.id)
            if now is None or not now.enabled or now.revision != hook.revision:
                return Decided(None, None, hook.workspace)
            off = msgspec.structs.replace(now, enabled=False, why=why)
            return Decided(Draft(now.workspace, now.repository, ACTOR, "webhook.disable", (PutWebhook(off),)), None)

        await self._commit(decide)
        self._moment = -1


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Is it ours, for the length of the block? The lock goes with the process, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
