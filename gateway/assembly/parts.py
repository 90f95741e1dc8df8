"""What does a worker hold, whatever it is asked? Made once, in the order in which one needs the other."""

from pathlib import Path

from cache.asking.upstream import Remote
from cache.keeping.eviction import Evictor
from cache.keeping.pins import Pins
from cache.keeping.pins import parse as parse_pin
from cache.keeping.shares import Owners
from cache.keeping.shares import parsed as parsed_shares
from cache.keeping.shelf import Shelf
from cache.replication.drawn import Drawn
from cache.replication.holding import Holding
from cache.replication.replicator import FILE_NAME as PROGRESS_NAME
from cache.replication.replicator import Progress
from cache.replication.wanted import Ties
from formats import ROOMS
from gateway import config as settings
from gateway.access.history.heads import Heads
from gateway.access.limits.rates import Rates, Table
from gateway.access.peers.authority import FILE_NAME as AUTHORITY_NAME
from gateway.access.peers.authority import Authority
from gateway.access.rights.geography import Geography
from gateway.access.secrets.samlkeys import FILE_NAME as SAML_KEYS_NAME
from gateway.access.secrets.samlkeys import SamlKeys
from gateway.access.secrets.signing import FILE_NAME as SIGNING_NAME
from gateway.access.secrets.signing import SigningKeys
from gateway.access.secrets.upstreams import FILE_NAME as SECRETS_NAME
from gateway.access.secrets.upstreams import Place as SecretPlace
from gateway.access.secrets.upstreams import Secrets
from gateway.access.signin.passwords import Passwords
from gateway.access.signin.proving import TRIES_FILE, SigningIn, Tries
from gateway.access.signin.vault import FOLDER as VAULT_FOLDER
from gateway.access.signin.vault import Vault
from gateway.assembly import rooms
from gateway.assembly.chores import chores_of
from gateway.assembly.telling import telling_of
from gateway.assembly.uplink import Uplink
from gateway.delivery.loop.reactor import Reactor
from gateway.front.complaints import now_ms
from gateway.front.nearest import Nearest
from gateway.front.reads.paying import Paying
from gateway.insight.metrics import Metrics
from gateway.insight.reports import Reports
from gateway.insight.requestlog import RequestLog
from gateway.insight.tracing import Tracer
from gateway.logs.jobs import Folders
from gateway.logs.keeping import Receiving
from gateway.logs.questions import Questions
from gateway.logs.register import Register
from gateway.sandbox.pool import Sandbox
from gateway.webhooks.telling import Telling
from storage.index.history import History
from storage.nouns import Upstream
from storage.open import Store


class Parts:
    """One worker's parts. `uplink` is an edge's, None at an origin; `reactor` is there once it serves."""

    def __init__(self, config: settings.Node, number: int, store: Store) -> None:
        self.config = config
        self.number = number
        self.store = store
        self.root = Path(config.data)
        self.draining = False
        self.reactor: Reactor | None = None
        self.secrets = Secrets(self.root / SECRETS_NAME)
        self.signing = SigningKeys(self.root / SIGNING_NAME)
        self.saml_keys = SamlKeys(self.root / SAML_KEYS_NAME)
        self.authority = Authority(self.root / AUTHORITY_NAME)
        self.history = History(store.index, store.journal) if store.journal is not None else None
        self.heads = Heads(self.root, store.identity.id)
        self.register = Register(Folders(self.root).own) if config.role == "origin" else None
        self.reports = Reports(self.root, now_ms)
        self.receiving = Receiving(self.root, register=self.register)
        self.questions = Questions(self.root, config.logs)
        self.sandbox = Sandbox(config.sandbox, self.root / "staging" / f"sandbox-{number}")
        documents = self.root / "staging" / f"documents-{number}"
        self.documents = Sandbox(config.sandbox, documents, "gateway.saml.unpacking")
        self.shelf = Shelf(store.cache_env)
        self.drawn = Drawn(
            store.cache_env,
            many_max=config.replication.foreign_files_max,
            days_max=config.replication.foreign_days_max,
        )
        self.uplink = Uplink(config, store, self.shelf, self.root) if config.role == "edge" else None
        self.remote = self.uplink.remote() if self.uplink is not None else _remote(config.cache)
        self.metrics = Metrics(self.root / "metrics", number)
        self.tracer = self._tracer()
        self.telling: Telling | None = telling_of(config, store, self.history, self.root, self.tracer)
        self.geography = Geography(config.regions)
        self.nearest = Nearest(store.catalog, self.geography)
        self.rates = Rates(Table(self.root / "rates", config.limits.window_seconds), config.limits)
        self.log = RequestLog(self.root / "log" / f"access-{number}.jsonl" if config.logs.written else None)
        pins = Pins(store.catalog, [parse_pin(one) for one in config.cache.pins], tuple(ROOMS))
        self.holding = Holding(
            store.catalog,
            self.uplink.region if self.uplink is not None else "",
            tuple(ROOMS),
            int(config.cache.disk_bytes_max * config.replication.disk_share_max),
            now_ms,
            Ties(rooms.needs, rooms.followers),
            foreign_files_max=config.replication.foreign_files_max,
            foreign_bytes_max=int(config.cache.disk_bytes_max * config.replication.foreign_share_max),
        )
        self.replicated = Progress(self.root / "cache" / PROGRESS_NAME)
        shares = parsed_shares(config.cache.shares, config.cache.small_share_min)
        self.evictor = Evictor(
            store.cached,
            config.cache.disk_bytes_max,
            pinned=lambda: pins.blobs() | self.holding.blobs(),
            shares=shares,
            owners=Owners(self.shelf, shares),
            small_share_min=config.cache.small_share_min,
        )
        self.chores = chores_of(
            store, config.upkeep, self.root / "upkeep", self._found_damage, lambda blobs: store.cached.forget(*blobs)
        )
        self.vault = Vault(self.root / VAULT_FOLDER) if config.role == "origin" else None
        self.signing_in = self._signing_in(self.vault) if self.vault is not None else None
        relay = self.uplink.relay if self.uplink is not None else None
        self.paying = Paying(self.root, store.catalog, now_ms, relay, config.parent_token)

    @property
    def parent(self) -> str:
        """The preferred parent's address; "" at an origin."""
        return self.uplink.parent if self.uplink is not None else ""

    def secret_of(self, workspace: str, repository: str, upstream: Upstream) -> str:
        """The Authorization value for an upstream, "" for none."""
        place = SecretPlace(workspace, repository, upstream.format, upstream.name)
        credential = self.secrets.get(place, upstream.url)
        return "" if credential is None else credential.authorization()

    def _tracer(self) -> Tracer | None:
        """None on a node that traces nothing."""
        config = self.config
        if not config.traces.endpoint:
            return None
        region = self.uplink.region if self.uplink is not None else ""
        told = {"service.instance.id": f"{self.store.identity.id}/{self.number}", "entrepot.role": config.role}
        return Tracer(config.traces, self.metrics, told | {"entrepot.region": region} if region else told)

    def _signing_in(self, vault: Vault) -> SigningIn:
        limits = self.config.sign_in
        tries = Tries(self.root / TRIES_FILE, limits)
        return SigningIn(vault, Passwords(limits), tries, self.store.catalog, limits, now_ms)

    def close(self) -> None:
        """What is open besides the store."""
        if self.vault is not None:
            self.vault.close()
        if self.telling is not None:
            self.telling.records.close()
        self.paying.close()
        if self.register is not None:
            self.register.close()
        self.log.close()
        self.sandbox.close()
        self.documents.close()
        self.remote.close()
        self.drawn.close()
        self.shelf.close()

    def _found_damage(self) -> None:
        """A scrub of any process of this node found rotten bytes: none are sent from memory or on trust."""
        for shelf in (self.store.blobs, self.store.cached):
            shelf.doubt()
        if self.reactor is not None:
            self.reactor.memos.clear()


def _remote(limits: settings.Cache) -> Remote:
    return Remote(connect_seconds_max=limits.connect_seconds_max, silence_seconds_max=limits.silence_seconds_max)
