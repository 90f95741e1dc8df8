"""How does a node live, from its start to its drain? The composition root, with the rest of this folder.

`run` is the supervisor's process, `work` a worker's. Each worker has its own loop, its own hold on the store, and one
long-lived nursery for everything that outlives a request.
"""

import gc
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from cache.asking.openness import Openness
from cache.asking.parenting import ParentRemote
from formats import ROOMS
from gateway import config as settings
from gateway.access.peers.believing import Believing
from gateway.access.peers.renewing import stay_enrolled
from gateway.assembly.chores import vouch
from gateway.assembly.emptying import empty_due
from gateway.assembly.entrances import Entrances
from gateway.assembly.noticing import begin_noticing
from gateway.assembly.packages import Packages
from gateway.assembly.parts import Parts
from gateway.assembly.retaining import forget_gone
from gateway.assembly.telling import deliverer_of
from gateway.assembly.told import report_of, services_of
from gateway.console.api import make_app
from gateway.delivery.connections.proxies import Proxies
from gateway.delivery.loop.reactor import Reactor
from gateway.delivery.processes.serving import serve
from gateway.delivery.processes.workers import hear_signals, supervise
from gateway.delivery.requests.manage import Management
from gateway.front.complaints import now_ms
from gateway.front.peers.reporting import HandedOn, Reporting
from gateway.front.traced import Traced
from gateway.insight.errorlog import report
from gateway.logs.jobs import Folders
from gateway.logs.keeping import Keeping
from gateway.logs.merging import Merging
from gateway.logs.segments import OWN
from storage.errors import Problem
from storage.open import clear_away, open_store, take_rebuilt
from storage.upkeep.composing import Composing

REAP_SECONDS = 30.0
FLUSH_SECONDS_MAX = 2.0


def run(config: settings.Node, own: Sequence[int] = ()) -> int:
    """Run a node until SIGTERM or SIGINT; the exit code. `own` as `supervise` has it."""
    return supervise(work, (msgspec.json.encode(config),), config.workers, own)


def work(raw: bytes, number: int) -> None:
    """One worker process, until SIGTERM; then it drains and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = msgspec.json.decode(raw, type=settings.Node)
    store = open_store(
        Path(config.data),
        role=config.role,
        worker=number,
        memory_bytes_max=config.intake.memory_bytes_max,
        session_seconds_max=config.intake.session_seconds_max,
        sessions_max=config.intake.sessions_max,
        sessions_workspace_max=config.intake.sessions_workspace_max,
    )
    try:
        trio.run(Worker(Parts(config, number, store)).run)
    finally:
        store.close()
    sys.exit(0)


class Worker:
    """One worker's life."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._management = Management(make_app(services_of(parts)), parts.root / f"manage-{parts.number}.sock")

    async def run(self) -> None:
        """Serve until SIGTERM."""
        parts = self._parts
        async with trio.open_nursery() as nursery:
            packages = Packages(parts, nursery, self._management)
            await self._begin_services(nursery, packages)
            # What is there by now stays for good, 70,000 objects: looking through them at each full collection would
            # hold the loop up for over 50 ms.
            gc.collect()
            gc.freeze()
            entrances = Entrances(parts)
            reactor: Reactor = await nursery.start(self._serve, packages, entrances)
            parts.reactor = reactor
            gc.freeze()
            trio.lowlevel.add_instrument(parts.metrics.stalls)
            await self._until_told(reactor, entrances)
            if parts.tracer is not None:
                await parts.tracer.flush(FLUSH_SECONDS_MAX)
            await parts.paying.tolls.farewell()
            if parts.uplink is not None:
                await parts.uplink.relay.close()
            nursery.cancel_scope.cancel()
        parts.close()

    async def _begin_services(self, nursery: trio.Nursery, packages: Packages) -> None:
        """What goes on beside requests, until the nursery ends."""
        parts, uplink = self._parts, self._parts.uplink
        if uplink is not None:
            await nursery.start(uplink.follower.run)
            if isinstance(parts.remote, ParentRemote):
                nursery.start_soon(Openness(uplink.parents, parts.remote).run)
            if uplink.member is not None:
                nursery.start_soon(stay_enrolled, uplink.member, uplink.parents.order, parts.number == 0)
            if parts.number == 0:
                to_origin = HandedOn(uplink.relay, parts.config.parent_token)
                nursery.start_soon(Reporting(to_origin, partial(report_of, parts)).run)
        await nursery.start(self._management.run)
        nursery.start_soon(self._look_after, packages)
        if parts.history is not None and parts.number == 0:
            nursery.start_soon(vouch, parts.heads, parts.history, parts.config.audit.heads_every_seconds)
        if parts.telling is not None and parts.store.committer is not None:
            deliverer = deliverer_of(parts.config, parts.root, parts.telling, parts.store.committer)
            nursery.start_soon(deliverer.run)
        begin_noticing(parts, nursery)
        if parts.number == 0:
            nursery.start_soon(partial(trio.to_thread.run_sync, clear_away, parts.root, abandon_on_cancel=True))
            way, node = (uplink.way(), uplink.node) if uplink is not None else (None, OWN)
            nursery.start_soon(Keeping(parts.root, node, parts.config.logs, way, parts.register).run)
            if parts.register is not None:
                believes = Believing(parts.store.catalog)
                nursery.start_soon(Merging(Folders(parts.root), parts.config.logs, parts.register, believes).run)
        if parts.number == 0:
            self._tell_of_rebuild()
        if parts.tracer is not None:
            nursery.start_soon(parts.tracer.run)
        nursery.start_soon(parts.evictor.run)
        nursery.start_soon(packages.replicator.run)
        nursery.start_soon(parts.paying.tolls.run)
        nursery.start_soon(parts.nearest.run)
        for chore in parts.chores.values():
            nursery.start_soon(chore.run)
        if parts.config.intake.cut:
            nursery.start_soon(Composing(parts.root, [parts.store.blobs, parts.store.cached]).run)

    def _tell_of_rebuild(self) -> None:
        """How an index was made anew, by whoever opened the store and had no collector yet."""
        rebuilt, tracer = take_rebuilt(self._parts.root), self._parts.tracer
        if rebuilt is not None and tracer is not None:
            tracer.took("rebuild index", rebuilt.start_ns, rebuilt.end_ns, {"entrepot.entries": rebuilt.entries})

    async def _serve(
        self,
        packages: Packages,
        entrances: Entrances,
        task_status: trio.TaskStatus[Reactor] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        parts = self._parts
        front = packages.front if parts.tracer is None else Traced(packages.front, parts.tracer, ROOMS)
        await serve(
            front,
            entrances.listeners,
            parts.config.delivery,
            log=parts.log,
            metrics=parts.metrics,
            workers=parts.config.workers,
            proxies=Proxies(parts.config.proxies),
            task_status=task_status,
        )

    async def _until_told(self, reactor: Reactor, entrances: Entrances) -> None:
        """SIGHUP reads the certificates again; SIGTERM drains."""
        parts = self._parts
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as told:
            hear_signals()
            async for number in told:
                if number == signal.SIGTERM:
                    break
                entrances.read_certificates()
        parts.draining = True
        await trio.sleep(parts.config.delivery.notice_seconds)
        reactor.drain()
        with trio.move_on_after(parts.config.delivery.drain_seconds_max):
            while reactor.busy:  # noqa: ASYNC110  # bounded by the drain, twice a second would do
                await trio.sleep(0.02)

    async def _look_after(self, packages: Packages) -> None:
        """What must be done now and then."""
        parts = self._parts
        if parts.number == 0:
            await self._forget_gone()
        while True:
            await trio.sleep(REAP_SECONDS)
            parts.store.reap()
            if parts.number == 0:
                await trio.to_thread.run_sync(parts.store.sessions.expire)
                await packages.renew()
                await self._empty_bins()
                await self._forget_gone()

    async def _empty_bins(self) -> None:
        """An origin's work; what cannot be done now is tried again."""
        store = self._parts.store
        if store.committer is not None:
            try:
                await empty_due(store.catalog, store.committer.commit, now_ms())
            except Problem as problem:
                report("error", "the bins are not emptied", why=str(problem))

    async def _forget_gone(self) -> None:
        parts = self._parts
        if parts.store.committer is not None:
            try:
                kept = (parts.signing, parts.secrets, parts.saml_keys)
                await trio.to_thread.run_sync(forget_gone, parts.store.catalog, *kept)
            except (Problem, OSError) as problem:
                report("error", "secrets of what was deleted are still kept", why=str(problem))
