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
from gateway.webhooks.queue import WINDOW, Ended, Queue, Rules, State, Waiting
from gateway.webhooks.telling import EVENT, Attempt, Ready, Telling
from gateway.webhooks.turns import AHEAD_MAX, Live, Turns
from gateway.webhooks.written import Written
from storage.commit import Committed, Decide, Decided
from storage.errors import Absent, Damaged, Invalid, Problem, Unavailable
from storage.hooks import PutWebhook, Webhook
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Workspace

GLANCE_SECONDS = 0.02
"""So often it is seen whether anything was written to the journal."""
LOOK_SECONDS = 0.1
"""So often it is seen what is due, and which webhooks there are."""
CLAIM_SECONDS = 0.5
TROUBLE_SECONDS = 5.0
FORGET_SECONDS = 60.0
ENTRIES_MAX = 500
"""So many entries of a journal are looked at for one webhook, before it is another's turn."""
ROOM_MIN = WINDOW // 2
"""A long queue is read in pieces of at least this many events."""
AHEAD_BYTES_MAX = 8 << 20
"""Of all that is ready to be sent."""
ACTOR = "webhooks"
GONE = 410

Commit = Callable[[Decide], Awaitable[Committed]]


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
        self._spread = spread
        self._now_ms = telling.now_ms
        self._live: dict[str, Live] = {}
        self._turns = Turns(parallel_max)
        self._written = Written(telling.records, self._live)
        self._off: list[tuple[Webhook, str]] = []
        self._bell = trio.Event()
        self._moment = self._listed = -1
        self._listed_s = 0.0

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
        self._written.clear()
        self._turns.sending = 0
        self._moment, forgotten_s = -1, -FORGET_SECONDS
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
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
        finally:
            self._telling.sender.lines.close()

    async def _write(self) -> None:
        """What cannot be written is written later; then nothing more is sent, when it has become too much."""
        while True:
            try:
                await self._written.run()
            except (Problem, OSError, lmdb.Error) as problem:
                report("error", "it cannot be written down which webhooks were told", why=str(problem))
                await trio.sleep(TROUBLE_SECONDS)

    async def _rest(self) -> None:
        """Until something is wanted, something may be due, or something was written to the journal."""
        self._telling.sender.lines.tidy()
        for _ in range(round(LOOK_SECONDS / GLANCE_SECONDS)):
            with trio.move_on_after(GLANCE_SECONDS):
                await self._bell.wait()
                return
            if self._telling.catalog.moment() != self._moment:
                return

    async def _round(self, nursery: trio.Nursery) -> bool:
        """Look for more, make it ready, and send what is due. Is there more to do at once?"""
        self._bell = trio.Event()
        more = False
        moment = self._telling.catalog.moment()
        if self._moment < 0 or (moment != self._listed and trio.current_time() - self._listed_s >= LOOK_SECONDS):
            await self._list()
            self._listed, self._listed_s, self._moment = moment, trio.current_time(), -1
        if moment != self._moment or any(self._wants(one) for one in self._live.values()):
            self._moment = moment
            more = await self._look()
        for live in self._live.values():
            if live.hook.enabled and live.queue.is_hopeless(self._now_ms()):
                self._off.append((live.hook, "It did nothing but fail for too long."))
        while self._off:
            await self._switch_off(*self._off.pop())
        await self._make_ready()
        self._send_due(nursery)
        return more

    # ------------------------------------------------------------ which webhooks there are

    async def _list(self) -> None:
        """What is known of webhooks becomes what the index has."""
        known = {id: live.hook for id, live in self._live.items()}
        there, fresh = await trio.to_thread.run_sync(self._listed_now, known)
        for gone in set(self._live) - there:
            del self._live[gone]
        for hook, filter, state in fresh:
            if filter is None:
                self._live.pop(hook.id, None)
            else:
                self._renew(hook, filter, state)

    def _listed_now(
        self, known: dict[str, Webhook]
    ) -> tuple[frozenset[str], list[tuple[Webhook, Filter | None, State | None]]]:
        """Blocking. The ids of all there are; those that are not as they are known, with what each needs."""
        with self._telling.catalog.read() as reading:
            hooks = list(self._living(reading))
        fresh: list[tuple[Webhook, Filter | None, State | None]] = []
        for hook in hooks:
            if known.get(hook.id) == hook:
                continue
            try:
                filter = self._telling.filter_of(hook)
            except Invalid as problem:
                report("error", "a webhook has a filter that cannot be read", webhook=hook.id, why=problem.message)
                fresh.append((hook, None, None))
                continue
            fresh.append((hook, filter, None if hook.id in known else self._telling.records.state(hook.id)))
        return frozenset(one.id for one in hooks), fresh

    def _renew(self, hook: Webhook, filter: Filter, state: State | None) -> None:
        """It is new here, or changed."""
        begins = State(hook.run, hook.after, hook.after_system)
        live = self._live.get(hook.id)
        if live is None:
            live = self._live[hook.id] = Live(hook, Queue(state or begins, self._rules), filter)
        live.renewed(hook, filter)
        now = live.queue.state
        if now.run != hook.run:
            live.queue.begin(begins)
            self._written.add(live)
        if not hook.enabled and (now.failures or now.failing_ms or now.paused_ms):
            live.queue.rest()
            self._written.add(live)

    def _living(self, reading: Reading) -> Iterator[Webhook]:
        """All but those of deleted Workspaces that have told of the end, and have nothing else to tell."""
        for hook in reading.webhooks():
            over = reading.ended(hook.workspace)
            if over is None or (hook.enabled and self._has_more(reading, hook, over)):
                yield hook

    def _has_more(self, reading: Reading, hook: Webhook, over: Workspace) -> bool:
        """What was looked at by nobody yet, or waits. Whoever has no row was told of nothing, or of all."""
        live = self._live.get(hook.id)
        state = live.queue.state if live is not None else self._telling.records.state(hook.id)
        if state is None:
            return False
        try:
            hears_end = (live.filter if live is not None else self._telling.filter_of(hook)).hears_system
        except Invalid:
            return False
        heard = state.at >= reading.serial(hook.workspace)
        heard = heard and (not hears_end or state.at_system >= over.closed_serial)
        return not heard or bool(state.waiting)

    def _forget(self) -> None:
        """Blocking. Drop what is kept of webhooks that are gone."""
        with self._telling.catalog.read() as reading:
            living = {one.id: one.revision for one in self._living(reading)}
        self._telling.records.forget(frozenset(living))
        with suppress(Damaged):
            self._telling.sealing.forget(living, self._now_ms())

    # ------------------------------------------------------------ what happened

    def _wants(self, live: Live) -> bool:
        """Was it held up by its own list, and has room again?"""
        return live.hook.enabled and live.held and live.queue.room() >= ROOM_MIN

    async def _look(self) -> bool:
        asked = []
        for live in self._live.values():
            live.held = live.hook.enabled and live.queue.room() < ROOM_MIN
            if live.hook.enabled and not live.held:
                asked.append(live)
        more = False
        for live, looked in await trio.to_thread.run_sync(self._looked_at, asked):
            state = live.queue.state
            live.held = looked.more
            more |= looked.more and live.queue.room() - len(looked.found) >= ROOM_MIN
            if (looked.at, looked.at_system) != (state.at, state.at_system):
                live.queue.looked(looked.at, looked.at_system, looked.found)
                self._written.add(live)
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

    async def _make_ready(self) -> None:
        """Some of what comes next, in one go, so that it can be sent as soon as its turn comes."""
        size = sum(len(ready.body) for one in self._live.values() for ready in one.ahead.values())
        wanted = []
        for live in self._live.values():
            live.making = live.wants_ahead and size < AHEAD_BYTES_MAX
            if live.making:
                coming = [one for one in live.queue.coming(AHEAD_MAX) if one.message not in live.ahead]
                wanted.append((live, live.hook, coming))
        if not wanted:
            return
        try:
            made = await trio.to_thread.run_sync(self._made_ready, wanted)
        finally:
            for live, _, _ in wanted:
                live.making = False
        for live, hook, ready in made:
            if live.hook is hook:
                live.keep(ready)

    def _made_ready(
        self, wanted: Sequence[tuple[Live, Webhook, Sequence[Waiting]]]
    ) -> list[tuple[Live, Webhook, dict[str, Ready]]]:
        """Blocking. What cannot be made ready is left to its own turn."""
        found = []
        for live, hook, coming in wanted:
            made: dict[str, Ready] = {}
            for one in coming:
                with suppress(Problem, OSError, lmdb.Error):
                    made[one.message] = self._ready(hook, one)
            found.append((live, hook, made))
        return found

    def _ready(self, hook: Webhook, waiting: Waiting) -> Ready:
        """Blocking."""
        journal = SYSTEM if waiting.system else hook.workspace
        return self._telling.ready(hook, self._telling.message(hook, journal, waiting.serial, waiting.message))

    def _send_due(self, nursery: trio.Nursery) -> None:
        if not self._written.is_behind:
            for live, waiting, ready in self._turns.due(self._live, self._now_ms(), trio.current_time()):
                nursery.start_soon(self._send, nursery, live.hook, waiting, ready)

    async def _send(self, nursery: trio.Nursery, hook: Webhook, waiting: Waiting, ready: Ready | None) -> None:
        how: Attempt | Problem
        try:
            if ready is None:
                ready = await trio.to_thread.run_sync(self._ready, hook, waiting)
            how = await self._telling.attempt(hook, ready, EVENT, waiting.attempts + 1)
        except Problem as problem:
            how = problem
        except (OSError, lmdb.Error) as error:
            how = Unavailable(f"This node cannot read what is to be told: {type(error).__name__}.")
        live = self._live.get(hook.id)
        self._turns.ended(live, waiting.message, trio.current_time())
        if live is not None:
            self._settle(live, waiting, how)
        self._send_due(nursery)
        if live is None or live.wants_ahead or self._wants(live) or self._off:
            self._bell.set()

    def _settle(self, live: Live, waiting: Waiting, how: Attempt | Problem) -> None:
        """What ended goes out of its queue, or waits for another attempt."""
        if isinstance(how, Problem):
            report("error", "an event cannot be told", webhook=live.hook.id, why=how.message)
            ended = Ended(False, never=isinstance(how, Absent))
        else:
            ended = Ended(how.answer.delivered, wait_s=how.answer.wait_s)
            if how.answer.status == GONE:
                self._off.append((live.hook, "The receiver answered 410: it wants nothing any more."))
        live.queue.ended(waiting.message, ended, self._now_ms(), self._spread)
        if not live.hook.enabled:  # it was under way when it was switched off: it counts no more than those before
            live.queue.rest()
        self._written.add(live, None if isinstance(how, Problem) else how.delivery)

    async def _switch_off(self, hook: Webhook, why: str) -> None:
        """With an entry, so that the audit tells of it, and other webhooks do. That of a deleted Workspace is done: its
        journal takes no more."""
        with self._telling.catalog.read() as reading:
            over, head = reading.ended(hook.workspace), reading.serial(hook.workspace)
        if over is not None:
            if (live := self._live.get(hook.id)) is not None:
                live.queue.begin(State(hook.run, head, over.closed_serial))
                self._written.add(live)
            return

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
