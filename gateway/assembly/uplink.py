"""What ties an edge to its parents: who they are, how they are asked, and how long their word is good."""

from pathlib import Path

from cache.asking.parenting import ParentRemote
from cache.asking.parents import Parents
from cache.following.follower import Connect, Follower, over_http
from cache.following.relay import Relay
from cache.keeping.renders import KIND as DOCUMENT
from cache.keeping.shelf import Shelf
from gateway import config as settings
from gateway.access.clock import CLOCK
from gateway.access.peers import membership
from gateway.access.peers.authority import PARENT_NAME
from gateway.access.peers.leases import EdgeLease
from gateway.front.peers.peering import Upward
from gateway.front.reads.marks import PURGED
from gateway.indexes.assembly import PARTS
from gateway.indexes.generations import KIND as GENERATION
from gateway.logs.shipping import Way
from storage.open import Store


class Uplink:
    """An edge's parents. `member` is its membership, None where it has a token instead of a certificate."""

    def __init__(self, config: settings.Node, store: Store, shelf: Shelf, root: Path) -> None:
        self._config = config
        self._store = store
        self._shelf = shelf
        self.member = membership.find(root)
        self.parents = Parents(config.parents)
        self._tls = self.member.client() if self.member else None
        self._tls_name = PARENT_NAME if self.member else ""
        self.relay = Relay(self.parents, tls=self._tls, tls_name=self._tls_name, token=config.parent_token)
        self.follower = self._follower(root)
        CLOCK.origin_ms = self.follower.origin_ms
        self.lease = EdgeLease(self.follower, config.cache.lease_seconds)

    @property
    def parent(self) -> str:
        """The preferred parent, by whose address things are asked for."""
        return self.parents.urls[0]

    @property
    def region(self) -> str:
        """That it was invited for; without a certificate the one of its configuration. It says what is fetched unasked,
        and gives no right."""
        return self.member.about.region if self.member is not None else self._config.replication.region

    def remote(self) -> ParentRemote:
        """How parents are asked for bytes and knowledge."""
        return ParentRemote(
            self.parents,
            self._config.parent_token,
            tls=self._tls,
            tls_name=self._tls_name,
            connect_seconds_max=self._config.cache.connect_seconds_max,
            silence_seconds_max=self._config.peers.silence_seconds_max,
            lost=self.lost,
        )

    @property
    def node(self) -> str:
        """What this edge is called in the client log."""
        return self.member.about.name if self.member is not None else "edge"

    def way(self) -> Way:
        """How the client log gets to a parent."""
        token = self._config.parent_token if self.member is None else ""
        return Way(self.parents, token, self._tls, self._tls_name)

    def upward(self) -> Upward:
        """What passes on to edges behind this one."""
        return Upward(self.parents, self._connect())

    def lost(self) -> bool:
        """Is the origin silent that was heard once?"""
        return self.follower.last_contact_s > 0 and not self.follower.connected

    def _connect(self) -> Connect:
        """How the stream of a parent is opened."""
        if self._tls is None:
            return over_http(self._config.parent_token)
        return over_http("", self._tls, self._tls_name)

    def _follower(self, root: Path) -> Follower:
        name, verify = (self.member.about.name, self.member.verify) if self.member else ("", None)
        return Follower(
            self._store,
            self.parents,
            self._connect(),
            root / "follower.lock",
            name=name,
            verify=verify,
            forgotten=lambda blobs: self._store.cached.forget(*blobs),
            replaced=self._forget_documents,
        )

    def _forget_documents(self) -> None:
        """What was made of a history that the origin has given up: its Serials mean other things now."""
        for kind in (DOCUMENT, GENERATION, PARTS, PURGED):
            self._shelf.drop_kind(kind)
