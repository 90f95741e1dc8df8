"""How is what answers requests for packages put together?"""

from collections.abc import Awaitable, Callable

import msgspec
import trio

from cache.asking.parenting import ParentRemote
from cache.fills.filling import Opener
from cache.fills.flight import Flights
from cache.fills.keeper import ShelfKeeper
from cache.foreign.files import ForeignFiles
from cache.foreign.knowledge import ForeignKnowledge
from cache.keeping.renders import Renders
from cache.replication.holding import Wish
from cache.replication.replicator import Replicator
from formats import ROOMS
from gateway.assembly import rooms
from gateway.assembly.mirroring import Drawer, drawer_of, drew_of, telling_of
from gateway.assembly.parts import Parts
from gateway.delivery.requests.manage import Management
from gateway.front.admission import Admission
from gateway.front.charging import Charging
from gateway.front.complaints import now_ms
from gateway.front.conductor import Front
from gateway.front.naming import ask_for
from gateway.front.peers.enrolling import AtEdge, AtOrigin, Enrolling
from gateway.front.peers.peering import Peering
from gateway.front.peers.reporting import HandedOn, Kept
from gateway.front.reads.pulling import Puller
from gateway.front.reads.reading import Reads
from gateway.front.reads.sources import ParentSources, Sources, UpstreamSources
from gateway.front.writes.relaying import Relaying
from gateway.front.writes.writing import Writes
from gateway.indexes.assembly import Assembly
from gateway.indexes.bringing import Asking, Making
from gateway.indexes.generations import Generations
from gateway.indexes.resigning import Resigning
from gateway.indexes.sets import Bring, Sets

Renew = Callable[[], Awaitable[None]]


async def nothing_to_renew() -> None:
    """An origin says its signed sets anew when somebody asks for them."""


class Packages:
    """The Front of one worker; its flights live in `nursery`. `renew` keeps signed sets good that nobody asks for."""

    def __init__(self, parts: Parts, nursery: trio.Nursery, manage: Management) -> None:
        self._parts = parts
        self._nursery = nursery
        self.renew: Renew = nothing_to_renew
        store, uplink = parts.store, parts.uplink
        knowledge, flights = self._knowledge(), self._flights()
        files, sources = self._files(flights), self._sources()
        renders = Renders(parts.shelf, store.cached, store.cache_intake)
        hosted = store.blobs if uplink is None else None
        reads = Reads(hosted, store.cached, parts.shelf, renders, knowledge, files, parts.evictor)
        drawer = drawer_of(parts, reads, knowledge, files, flights, sources)
        self.replicator = self._replicator(flights, sources, drawer)
        puller = Puller(
            store.catalog,
            reads,
            renders,
            parts.shelf,
            knowledge,
            files,
            flights,
            sources,
            parts.evictor.has_room,
            range_alone_bytes_min=parts.config.cache.range_alone_bytes_min,
            region=parts.holding.region,
            drew=drew_of(parts),
        )
        sets = self._sets(flights)
        lease = uplink.lease if uplink is not None else None
        self.front = Front(
            store.catalog,
            ROOMS,
            reads,
            puller,
            sets,
            self._writes(),
            self._relaying(),
            self._peering(knowledge, sets),
            manage,
            Admission(ROOMS, lease, parts.geography.country_of),
            Charging(parts.rates, parts.paying.tolls),
            parts.nearest,
            lease,
        )

    def _relaying(self) -> Relaying | None:
        uplink = self._parts.uplink
        if uplink is None:
            return None
        relaying = Relaying(
            uplink.relay, self._parts.store.catalog, uplink.lost, uplink.lease.synced, self._parts.store.quotas.refuse
        )
        self._nursery.start_soon(relaying.run)
        return relaying

    def _flights(self) -> Flights:
        limits = self._parts.config.cache
        return Flights(
            self._nursery,
            ShelfKeeper(self._parts.store.cached, self._parts.evictor),
            self._parts.root / "cache" / "fills",
            flights_max=limits.flights_max,
            fill_seconds_max=limits.fill_seconds_max,
            silence_seconds_max=limits.silence_seconds_max,
        )

    def _knowledge(self) -> ForeignKnowledge:
        parts = self._parts
        return ForeignKnowledge(
            parts.shelf,
            parts.remote,
            ask=rooms.fetch_of,
            learn=self._learn,
            decode=rooms.foreign_of,
            withheld=rooms.withheld,
            secret_of=parts.secret_of,
            parent=parts.parent,
            token=parts.config.parent_token,
            stale_seconds_max=parts.config.cache.stale_seconds_max,
            nursery=self._nursery,
        )

    async def _learn(self, format: str, package: str, raw: bytes, url: str) -> bytes:
        foreign = await self._parts.sandbox.learn(format, package, raw, url)
        return msgspec.msgpack.encode(foreign)

    def _files(self, flights: Flights) -> ForeignFiles:
        parts = self._parts
        return ForeignFiles(
            parts.shelf,
            parts.remote,
            flights,
            lambda sha256: parts.store.cached.find(sha256) is not None,
            secret_of=parts.secret_of,
            parent=parts.parent,
            token=parts.config.parent_token,
            stale_seconds_max=parts.config.cache.stale_seconds_max,
            drew=drew_of(parts),
        )

    def _sources(self) -> Sources:
        parts = self._parts
        if isinstance(parts.remote, ParentRemote):
            cached, token = parts.store.cached, parts.config.parent_token
            return ParentSources(parts.remote, parts.parent, token, cached, self._serial_of)
        return UpstreamSources(parts.remote, parts.secret_of)

    def _serial_of(self, workspace: str) -> int:
        with self._parts.store.catalog.read() as reading:
            return reading.serial(workspace)

    def _replicator(self, flights: Flights, sources: Sources, drawer: Drawer | None) -> Replicator:
        parts, limits = self._parts, self._parts.config.replication

        def source(wish: Wish) -> Opener:
            where = wish.repository
            ask = ask_for(where.workspace, where.name, wish.format, wish.package, wish.file.name)
            return sources.open(ask, wish.file, ())

        return Replicator(
            parts.store.catalog,
            parts.holding,
            parts.store.cached,
            flights,
            source,
            parts.evictor,
            parts.replicated,
            now_ms,
            rate_max_bytes_s=limits.rate_max_bytes_s,
            files_at_a_time_max=limits.files_at_a_time_max,
            fill_seconds_max=parts.config.cache.fill_seconds_max,
            foreign=drawer,
        )

    def _writes(self) -> Writes | None:
        store = self._parts.store
        if store.committer is None:
            return None
        limits = self._parts.config.intake
        return Writes(store.intake, store.sessions, store.committer, store.quotas, self._parts.sandbox, limits)

    def _sets(self, flights: Flights) -> Sets:
        parts, store = self._parts, self._parts.store
        assembly = Assembly(parts.shelf, store.cached, store.cache_intake, parts.evictor.grew)
        generations = Generations(store.catalog, parts.shelf, assembly, parts.signing, now_ms)
        bring: Bring
        if store.committer is None:
            bring = Asking(generations, store.catalog, parts.remote, parts.parent, parts.config.parent_token)
            self.renew = bring.renew
        else:
            resigning = Resigning(store.catalog, generations, parts.signing, parts.remote, parts.secret_of, now_ms)
            bring = Making(
                store.catalog,
                generations,
                store.committer,
                parts.signing,
                store.cached,
                store.cache_intake,
                now_ms,
                resigning,
            )
        return Sets(store.catalog, generations, bring, store.cached, flights, parts.evictor.touch)

    def _peering(self, knowledge: ForeignKnowledge, sets: Sets) -> Peering:
        parts, store, uplink = self._parts, self._parts.store, self._parts.uplink
        enrolling: Enrolling
        if store.committer is not None:
            enrolling = AtOrigin(store.catalog, store.committer, parts.authority)
        else:
            enrolling = AtEdge(uplink.member.authority if uplink is not None and uplink.member else "")
        return Peering(
            store,
            store.catalog,
            ROOMS,
            knowledge,
            sets,
            enrolling,
            parts.authority.sign if uplink is None else None,
            uplink.upward() if uplink is not None else None,
            parts.paying.lender,
            parts.receiving,
            telling_of(parts),
            HandedOn(uplink.relay, parts.config.parent_token) if uplink is not None else Kept(parts.reports),
            uplink.lease if uplink is not None else None,
        )
