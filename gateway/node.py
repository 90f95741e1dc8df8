"""How are the parts of a node put together? The composition root: the one place that knows them all.

`run` is the supervisor's process, `work` a worker's. Each worker has its own loop, its own hold on the store, and one
long-lived nursery for everything that outlives a request.
"""

import gc
import signal
import ssl
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import monotonic

import msgspec
import trio

from cache.addresses import inside_only
from cache.eviction import Evictor
from cache.flight import Flights
from cache.follower import Connect, Follower, over_http
from cache.foreign import ForeignKnowledge
from cache.foreign_files import ForeignFiles
from cache.keeper import ShelfKeeper
from cache.parenting import ParentRemote
from cache.parents import Parents
from cache.pins import Pins
from cache.pins import parse as parse_pin
from cache.relay import Relay
from cache.renders import Renders
from cache.shelf import Shelf
from cache.upstream import Remote
from formats import ROOMS
from formats.kit.contract import ABOUT, Foreign, Learn, about, governed
from gateway import config as settings
from gateway.access import membership
from gateway.access.authority import FILE_NAME as AUTHORITY_NAME
from gateway.access.authority import PARENT_NAME, Authority, listener_context
from gateway.access.rates import Rates, Table
from gateway.access.secrets import FILE_NAME as SECRETS_NAME
from gateway.access.secrets import Place as SecretPlace
from gateway.access.secrets import Secrets
from gateway.access.signing import FILE_NAME as SIGNING_NAME
from gateway.access.signing import SigningKeys
from gateway.console.api import make_app
from gateway.console.services import Health, Services
from gateway.delivery.listening import Listener, listen
from gateway.delivery.manage import Management
from gateway.delivery.reactor import Reactor
from gateway.delivery.serving import serve
from gateway.delivery.tls import Certificates
from gateway.delivery.workers import hear_hangups, supervise
from gateway.front.complaints import now_ms
from gateway.front.conductor import Front
from gateway.front.enrolling import AtEdge, AtOrigin, Enrolling
from gateway.front.leave import EdgeLease
from gateway.front.nearest import Geography, Nearest
from gateway.front.paying import Paying
from gateway.front.peering import Peering, Upward
from gateway.front.pulling import Puller
from gateway.front.reading import Reads
from gateway.front.relaying import Relaying
from gateway.front.sources import ParentSources, Sources, UpstreamSources
from gateway.front.writing import Writes
from gateway.indexes.assembly import Assembly
from gateway.indexes.bringing import Asking, Making
from gateway.indexes.generations import Generations
from gateway.indexes.resigning import Resigning
from gateway.indexes.sets import Bring, Sets
from gateway.insight.errorlog import report
from gateway.insight.metrics import Metrics
from gateway.insight.requestlog import RequestLog
from gateway.insight.upkeep import WORKSPACES_MAX, Held, held_lines
from gateway.insight.upkeep import lines as upkeep_lines
from gateway.sandbox.pool import Sandbox
from storage import disk
from storage.composing import Composing
from storage.errors import Invalid, Problem
from storage.nouns import Upstream
from storage.open import Store, open_store
from storage.scrub import Scrub
from storage.sweep import Rules, Sweep
from storage.upkeep import Chore

REAP_SECONDS = 30.0
RENEW_DAYS = 120
RENEW_LOOK_SECONDS = 6 * 3600.0


def run(config: settings.Node) -> int:
    """Run a node until SIGTERM or SIGINT; the exit code."""
    return supervise(work, (msgspec.json.encode(config),), config.workers)


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
    )
    try:
        trio.run(Worker(config, number, store).run)
    finally:
        store.close()
    sys.exit(0)


class Worker:
    """One worker's parts."""

    def __init__(self, config: settings.Node, number: int, store: Store) -> None:
        self.config = config
        self.number = number
        self.store = store
        self.root = Path(config.data)
        self.edge = config.role == "edge"
        self.draining = False
        self.renew = nothing_to_renew
        self.certificates: Certificates | None = None
        self.secrets = Secrets(self.root / SECRETS_NAME)
        self.signing = SigningKeys(self.root / SIGNING_NAME)
        self.sandbox = Sandbox(config.sandbox, self.root / "staging" / f"sandbox-{number}")
        self.authority = Authority(self.root / AUTHORITY_NAME)
        self.member = membership.find(self.root) if self.edge else None
        self.parents = Parents(config.parents) if self.edge else None
        self.remote = self._remote()
        self.shelf = Shelf(store.cache_env)
        self.metrics = Metrics(self.root / "metrics", number)
        self.nearest = Nearest(store.catalog, Geography(config.regions))
        self.rates = Rates(Table(self.root / "rates", config.limits.window_seconds), config.limits)
        self.log = RequestLog(self.root / "log" / f"access-{number}.jsonl")
        pins = Pins(store.catalog, [parse_pin(one) for one in config.cache.pins], tuple(ROOMS))
        self.evictor = Evictor(store.cached, config.cache.disk_bytes_max, pinned=pins.blobs)
        self.reactor: Reactor | None = None
        self.chores = chores_of(store, config.upkeep, self.root / "upkeep", self._found_damage)
        self.relay = self._relay() if self.parents is not None else None
        self.follower = self._follower() if self.parents is not None else None
        self.paying = Paying(self.root, store.catalog, now_ms, self.relay, config.parent_token)

    async def run(self) -> None:
        """Serve until SIGTERM."""
        async with trio.open_nursery() as nursery:
            front = self._front(nursery)
            if self.follower is not None:
                await nursery.start(self.follower.run)
            if self.member is not None and self.number == 0:
                nursery.start_soon(self._stay_enrolled)
            await nursery.start(self._management.run)
            nursery.start_soon(self._look_after)
            nursery.start_soon(self.evictor.run)
            nursery.start_soon(self.paying.tolls.run)
            nursery.start_soon(self.nearest.run)
            for chore in self.chores.values():
                nursery.start_soon(chore.run)
            if self.config.intake.cut:
                nursery.start_soon(Composing(self.root, [self.store.blobs, self.store.cached]).run)
            # What is there by now stays for good, 70,000 objects: looking through them at each full collection would
            # hold the loop up for over 50 ms.
            gc.collect()
            gc.freeze()
            reactor: Reactor = await nursery.start(self._serve, front)
            self.reactor = reactor
            gc.freeze()
            trio.lowlevel.add_instrument(self.metrics.stalls)
            await self._until_told(reactor)
            await self.paying.tolls.farewell()
            if self.relay is not None:
                await self.relay.close()
            nursery.cancel_scope.cancel()
        self.paying.close()
        self.log.close()
        self.sandbox.close()
        self.remote.close()

    async def _serve(self, front: Front, task_status: trio.TaskStatus[Reactor] = trio.TASK_STATUS_IGNORED) -> None:
        await serve(
            front,
            self._listeners(),
            self.config.delivery,
            log=self.log,
            metrics=self.metrics,
            workers=self.config.workers,
            task_status=task_status,
        )

    def _listeners(self) -> list[Listener]:
        """Where clients come in: the port, and the one for TLS where there are certificates."""
        host, tls = self.config.host, self.config.tls
        listeners = [Listener(listen(host, self.config.port))]
        if tls.port and tls.certificates:
            chains = [(name, Path(chain), Path(key)) for name, chain, key in tls.certificates]
            self.certificates = Certificates(chains)
            listeners.append(Listener(listen(host, tls.port), self.certificates.context))
        if self.config.peers.port:
            listeners.append(Listener(listen(host, self.config.peers.port), self._peers_context(), peers=True))
        return listeners

    def _peers_context(self) -> ssl.SSLContext:
        """TLS for edges. Raises Invalid at an edge that was not invited to be a parent."""
        if self.member is not None:
            return self.member.listener()
        if self.edge:
            raise Invalid("Only an enrolled edge can have edges behind it.", "Invite it with: entrepot edge invite.")
        folder = self.root / membership.FOLDER
        folder.mkdir(exist_ok=True, mode=0o700)
        key, chain = self.authority.own()
        paths = [folder / f"{name}-{self.number}.pem" for name in ("authority", "listener", "listener-key")]
        for path, text in zip(paths, (self.authority.certificate(), chain, key), strict=True):
            disk.replace_file(path, text.encode())
        return listener_context(*paths)

    async def _until_told(self, reactor: Reactor) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as told:
            hear_hangups()
            async for number in told:
                if number == signal.SIGTERM:
                    break
                self._read_certificates()
        self.draining = True
        await trio.sleep(self.config.delivery.notice_seconds)
        reactor.drain()
        with trio.move_on_after(self.config.delivery.drain_seconds_max):
            while reactor.busy:  # noqa: ASYNC110  # bounded by the drain, twice a second would do
                await trio.sleep(0.02)

    def _read_certificates(self) -> None:
        """SIGHUP: new connections get what the files hold now; with a broken file nothing changes."""
        if self.certificates is None:
            return
        try:
            self.certificates.reload()
        except (OSError, ValueError) as error:
            report("error", "the certificates stay as they were", why=f"{type(error).__name__}: {error}")
        else:
            report("info", "the certificates were read again", worker=self.number)

    async def _look_after(self) -> None:
        """What must be done now and then."""
        while True:
            await trio.sleep(REAP_SECONDS)
            self.store.reap()
            if self.number == 0:
                await trio.to_thread.run_sync(self.store.sessions.expire)
                await self.renew()

    async def _stay_enrolled(self) -> None:
        """Renew the certificate once two thirds of its life are over (THREATS F6); hits go on whatever happens."""
        assert self.member is not None
        assert self.parents is not None
        while True:
            if self.member.left_s() < RENEW_DAYS * 24 * 3600:
                try:
                    await trio.to_thread.run_sync(membership.renew, self.member, self.parents.order()[0])
                except Problem as problem:
                    report("error", "the certificate of this edge is not renewed", why=problem.message)
            await trio.sleep(RENEW_LOOK_SECONDS)

    # ------------------------------------------------------------ assembly

    def _remote(self) -> Remote:
        limits = self.config.cache
        if self.parents is None:
            return Remote(
                connect_seconds_max=limits.connect_seconds_max, silence_seconds_max=limits.silence_seconds_max
            )
        return ParentRemote(
            self.parents,
            self.config.parent_token,
            tls=self.member.client() if self.member else None,
            tls_name=PARENT_NAME if self.member else "",
            connect_seconds_max=limits.connect_seconds_max,
            silence_seconds_max=self.config.peers.silence_seconds_max,
        )

    def _relay(self) -> Relay:
        assert self.parents is not None
        if self.member is None:
            return Relay(self.parents)
        return Relay(self.parents, tls=self.member.client(), tls_name=PARENT_NAME)

    def _connect(self) -> Connect:
        """How the stream of a parent is opened."""
        if self.member is None:
            return over_http(self.config.parent_token)
        return over_http("", self.member.client(), PARENT_NAME)

    def _follower(self) -> Follower:
        assert self.parents is not None
        name, verify = (self.member.about.name, self.member.verify) if self.member else ("", None)
        return Follower(
            self.store,
            self.parents,
            self._connect(),
            self.root / "follower.lock",
            name=name,
            verify=verify,
            forgotten=self._forget_blobs,
        )

    def _forget_blobs(self, blobs: set[bytes]) -> None:
        """Of a workspace that this edge may not see any more."""
        for blob in blobs:
            self.store.cached.forget(blob)

    def _peering(self, knowledge: ForeignKnowledge, sets: Sets) -> Peering:
        store = self.store
        enrolling: Enrolling
        if store.committer is not None:
            enrolling = AtOrigin(store.catalog, store.committer, self.authority)
        else:
            enrolling = AtEdge(self.member.authority if self.member else "")
        sign = None if self.edge else self.authority.sign
        upward = Upward(self.parents, self._connect()) if self.parents is not None else None
        return Peering(store, store.catalog, ROOMS, knowledge, sets, enrolling, sign, upward, self.paying.lender)

    @property
    def parent(self) -> str:
        """The preferred parent, by whose address things are asked for; "" at an origin."""
        return self.parents.urls[0] if self.parents is not None else ""

    def _front(self, nursery: trio.Nursery) -> Front:
        store, config = self.store, self.config
        knowledge = self._knowledge(nursery)
        renders = Renders(self.shelf, store.cached, store.cache_intake)
        hosted = None if self.edge else store.blobs
        flights = Flights(
            nursery,
            ShelfKeeper(store.cached),
            self.root / "cache" / "fills",
            flights_max=config.cache.flights_max,
            fill_seconds_max=config.cache.fill_seconds_max,
            silence_seconds_max=config.cache.silence_seconds_max,
        )
        files = self._files(flights)
        reads = Reads(hosted, store.cached, self.shelf, renders, knowledge, files, self.evictor)
        puller = Puller(
            store.catalog,
            reads,
            renders,
            self.shelf,
            knowledge,
            files,
            flights,
            self._sources(),
            self.evictor.grew,
            self.evictor.has_room,
            range_alone_bytes_min=config.cache.range_alone_bytes_min,
        )
        sets = self._sets(flights)
        self._management = Management(make_app(self._services()), self.root / f"manage-{self.number}.sock")
        writes = None
        if store.committer is not None:
            writes = Writes(store.intake, store.sessions, store.committer, store.quotas, self.sandbox, config.intake)
        follower = self.follower
        return Front(
            store.catalog,
            ROOMS,
            reads,
            puller,
            sets,
            writes,
            Relaying(self.relay, store.catalog, self.lost) if self.relay is not None else None,
            self._peering(knowledge, sets),
            self._management,
            self.rates,
            self.nearest,
            EdgeLease(follower, config.cache.lease_seconds) if follower is not None else None,
            self.paying.tolls,
        )

    def _knowledge(self, nursery: trio.Nursery) -> ForeignKnowledge:
        return ForeignKnowledge(
            self.shelf,
            self.remote,
            ask=_fetch_of,
            learn=self._learn,
            decode=_foreign_of,
            withheld=_withheld,
            secret_of=self.secret_of,
            parent=self.parent,
            token=self.config.parent_token,
            stale_seconds_max=self.config.cache.stale_seconds_max,
            nursery=nursery,
        )

    def _files(self, flights: Flights) -> ForeignFiles:
        return ForeignFiles(
            self.shelf,
            self.remote,
            flights,
            lambda sha256: self.store.cached.find(sha256) is not None,
            self.evictor.grew,
            secret_of=self.secret_of,
            parent=self.parent,
            token=self.config.parent_token,
            stale_seconds_max=self.config.cache.stale_seconds_max,
        )

    def _sets(self, flights: Flights) -> Sets:
        store, config = self.store, self.config
        assembly = Assembly(self.shelf, store.cached, store.cache_intake, self.evictor.grew)
        generations = Generations(store.catalog, self.shelf, assembly, self.signing, now_ms)
        bring: Bring
        if store.committer is None:
            bring = Asking(generations, store.catalog, self.remote, self.parent, config.parent_token)
            self.renew = bring.renew
        else:
            bring = Making(
                store.catalog,
                generations,
                store.committer,
                self.signing,
                store.cached,
                store.cache_intake,
                now_ms,
                Resigning(store.catalog, generations, self.signing, self.remote, self.secret_of, now_ms),
            )
        touch, grew = self.evictor.touch, self.evictor.grew
        return Sets(store.catalog, generations, bring, store.cached, flights, touch, grew)

    def _sources(self) -> Sources:
        if self.edge:
            return ParentSources(self.remote, self.parent, self.config.parent_token, self.store.cached)
        return UpstreamSources(self.remote, self.secret_of)

    async def _learn(self, format: str, package: str, raw: bytes, url: str) -> bytes:
        foreign = await self.sandbox.learn(format, package, raw, url)
        return msgspec.msgpack.encode(foreign)

    def secret_of(self, workspace: str, repository: str, upstream: Upstream) -> str:
        """The Authorization value for an upstream, "" for none."""
        place = SecretPlace(workspace, repository, upstream.format, upstream.name)
        credential = self.secrets.get(place, upstream.url)
        return "" if credential is None else credential.authorization()

    def _services(self) -> Services:
        committer = self.store.committer
        return Services(
            role=self.config.role,
            catalog=self.store.catalog,
            health=self.health,
            status=self.status,
            metrics=self._metrics,
            formats=tuple(ROOMS),
            drawing=tuple(name for name, room in ROOMS.items() if room.draws),
            resigning=tuple(name for name, room in ROOMS.items() if room.draws and hasattr(room, "believed")),
            commit=committer.commit if committer is not None else None,
            secrets=None if self.edge else self.secrets,
            signing=None if self.edge else self.signing,
            reserved=self.store.quotas.reserved,
            work=self.chores,
            authority=None if self.edge else self.authority,
            normalise=_normalise,
            outdated=self.outdated,
            spend=self.rates.spend,
            governed=_governed,
            used=None if self.edge else self.paying.used,
            inside_only=inside_only,
            stored=(self.store.cached if self.edge else self.store.blobs).rows,
        )

    def _found_damage(self) -> None:
        """A scrub of any process of this node found rotten bytes: none are sent from memory or on trust."""
        for shelf in (self.store.blobs, self.store.cached):
            shelf.doubt()
        if self.reactor is not None:
            self.reactor.memos.clear()

    def _metrics(self) -> str:
        work = {name: chore.told() for name, chore in self.chores.items()}
        told = self.metrics.render() + "".join(upkeep_lines(work))
        if self.edge:
            return told
        held = []
        with self.store.catalog.read() as reading:
            for one in islice(reading.workspaces(), WORKSPACES_MAX):
                used = reading.usage(one.name)
                reserved = self.store.quotas.reserved(one.name)
                held.append(Held(one.name, used.files, used.bytes, one.quota_bytes, reserved))
        return told + "".join(held_lines(held))

    def health(self) -> Health:
        """How this node is doing."""
        if self.follower is None:
            return Health(draining=self.draining)
        return Health(
            draining=self.draining,
            ready=self.follower.connected,
            lag_ms=self.follower.lag_ms,
            connected=self.follower.connected,
        )

    def lost(self) -> bool:
        """Is the origin silent that was heard once?"""
        return self.follower is not None and self.follower.last_contact_s > 0 and not self.follower.connected

    def outdated(self) -> bool:
        """Has this edge lost its origin for longer than private things may be told?"""
        return (
            self.follower is not None and monotonic() - self.follower.last_contact_s > self.config.cache.lease_seconds
        )

    def status(self) -> dict[str, object]:
        """What an administrator may know of this node."""
        with self.store.catalog.read() as reading:
            heads = {name or "-": serial for name, (serial, _) in reading.heads().items()}
        packs = self.store.cached.packs()
        return {
            "role": self.config.role,
            "serials": heads,
            "cache_bytes": sum(one.bytes for one in packs),
            "workers": self.config.workers,
        }


def chores_of(
    store: Store, limits: settings.Upkeep, folder: Path, found_damage: Callable[[], None]
) -> dict[str, Chore]:
    """The work over the whole store: an origin sweeps, and every node scrubs."""
    chores = {
        "scrub": Chore(
            "scrub",
            folder,
            lambda mark: Scrub(
                store.index, store.journal, None if store.journal is None else store.blobs, store.cached, mark
            ),
            now_ms,
            every_s=limits.scrub_every_seconds,
            rate_bytes_s=limits.scrub_rate_max_bytes_s,
            found_damage=found_damage,
        )
    }
    if (journal := store.journal) is not None:
        rules = Rules(limits.sweep_grace_seconds * 1000, limits.sweep_garbage_share_min)

        def sweep() -> Sweep:
            return Sweep(store.index, journal, store.blobs, now_ms, rules)

        chores["sweep"] = Chore(
            "sweep",
            folder,
            lambda mark: sweep(),
            now_ms,
            every_s=limits.sweep_every_seconds,
            rate_bytes_s=limits.sweep_rate_max_bytes_s,
            look=lambda: sweep().look(),
        )
    return chores


def _normalise(format: str, package: str) -> str:
    """A package's name as the index has it. Raises Invalid."""
    room = ROOMS.get(format)
    return package if room is None else room.normalise(package)


def _governed(format: str, package: str) -> str | None:
    """The name by which grants speak of a package, None for what is part of the repository itself."""
    return governed(ROOMS[format], package) if format in ROOMS else package


def _fetch_of(format: str, package: str) -> Learn | None:
    """How a foreign registry of this format is asked what it knows of a package."""
    fetch = ROOMS[format].upstream(ABOUT, about(package))
    return fetch if isinstance(fetch, Learn) else None


def _withheld(format: str, foreign: Foreign) -> str:
    """Why no file of a foreign package is given out."""
    return ROOMS[format].withheld(foreign.package)


def _foreign_of(raw: bytes) -> Foreign:
    return msgspec.msgpack.decode(raw, type=Foreign)


async def nothing_to_renew() -> None:
    """An origin says its signed sets anew when somebody asks for them."""
