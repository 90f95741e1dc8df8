"""What does the management API need of its node?

The node assembly makes one `Services` for each worker. An edge gives no `commit`, `secrets`, `signing`, `saml_keys`,
`authority`, `history`, `heads`, `questions`, `register`, `signing_in`, `documents`, `reports` or
`telling`: it answers reads from its own index, and its front relays writes to the origin before they come here.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from cache.foreign.noted import Noted
from cache.replication.wanted import ALONE, Ties
from formats.kit.contract import Room
from gateway.access.history.heads import Heads
from gateway.access.limits.tolls import Used
from gateway.access.peers.authority import Authority
from gateway.access.peers.leases import Lease
from gateway.access.rights.networks import CountryOf, without_file
from gateway.access.rights.verdicts import Principal
from gateway.access.secrets.samlkeys import SamlKeys
from gateway.access.secrets.signing import SigningKeys
from gateway.access.secrets.upstreams import Secrets
from gateway.access.signin.issuers import Issuers
from gateway.access.signin.proving import SigningIn
from gateway.config import SignIn
from gateway.console.calls.clock import now_ms, version
from gateway.console.calls.once import Running
from gateway.insight.reports import Reports
from gateway.logs.questions import Questions
from gateway.logs.register import Register
from gateway.webhooks.telling import Telling
from storage.blobs.ledger import BlobRow
from storage.commit import Committed, Decided
from storage.index.catalog import Reading
from storage.index.history import History
from storage.nouns import Token, Upstream


class Readable(Protocol):
    """Where readings come from: storage.index.catalog.Catalog."""

    def read(self) -> AbstractContextManager[Reading]: ...


class Work(Protocol):
    """Work over the whole store that goes on by itself: storage.upkeep.Chore. `look` blocks, the rest is quick."""

    def ask(self) -> None: ...
    def told(self) -> Mapping[str, object]: ...
    def look(self) -> Mapping[str, object]: ...


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a node is doing. `lag_ms` and `connected` are an edge's: how far behind its origin, and does it hear it?
    `lost`: it heard it once, and does not now."""

    draining: bool = False
    ready: bool = True
    lag_ms: int | None = None
    connected: bool | None = None
    lost: bool = False


class Reserved(Protocol):
    """How many bytes are on their way into a Workspace, or into one Repository of it."""

    def __call__(self, workspace: str, repository: str = "") -> int: ...


Decide = Callable[[Reading], Decided]
Commit = Callable[[Decide], Awaitable[Committed]]


def as_it_is(format: str, package: str) -> str:
    """A package name in a format that spells names one way."""
    return package


def without_order(format: str) -> None:
    """No version is older than another."""


async def taken(upstream: Upstream, authorization: str) -> int:
    """No registry is asked."""
    return 200


def nowhere(url: str) -> str:
    """No address is looked up."""
    return ""


def without_limit(principal: Principal, peer: str) -> tuple[tuple[str, str], ...]:
    """No request is counted, and no header tells of a limit."""
    return ()


def nothing_known(identities: Sequence[bytes]) -> list[BlobRow | None]:
    """No blob is here."""
    return [None for _ in identities]


def not_told() -> int:
    """No clock but its own."""
    return 0


def nothing_noted(workspace: str, repository: str, format: str, prefix: str, after: str) -> Iterable[tuple[str, Noted]]:
    """No upstream was heard of."""
    return ()


def by_no_address(workspace: str, repository: str, format: str, package: str, file: str) -> str:
    """Nothing is read here."""
    return ""


def nothing(workspace: str, repository: str = "") -> int:
    """Nothing is on its way."""
    return 0


class Documents(Protocol):
    """Who takes a stranger's document apart where it can do no harm: gateway.sandbox.pool.Sandbox."""

    async def read[Result](self, reader: str, asked: Any, raw: bytes, wanted: type[Result]) -> Result: ...


@dataclass(frozen=True)
class Services:
    """The API's view of its node.

    `status` and `metrics` are synchronous and quick. `lease`: an edge's leave to tell private things,
    None at an origin. `spend` counts a request, and raises TooMany.
    `formats` are the rooms there are, `drawing` those that can have
    upstreams, `resigning` those where what an upstream signed can be signed anew.
    `normalise(format, package)` spells a package name as the View does, and raises Invalid for what
    no package can be called; `governed` is the name by which grants speak of one.
    `version_order(format)` is a sort key of versions, None where a format has no order of them.
    `inside_only(url)` is the host of an address that only private_network may reach, else ""; blocking.
    `try_credential(upstream, authorization)` is the status that a registry answers to it with.
    `used` is what a customer's token has used; an origin counts it. `metrics_open` lets anybody read the metrics.
    `stored` tells how blobs lie here. `ties` tell what a version is nothing without,
    `address_of` where a file is read: of workspace, repository, format, package and file. `reports` are what edges last
    said of themselves. `replicated` tells how far the work of each Repository with a replication policy for this node's
    region is.
    `issuers` know the keys of identity providers. `country_of` an address is as the node's geo-IP file has it.
    `documents` reads what identity providers send. `rooms` are the formats by name. `signing_in` knows passwords;
    `sign_in` is how sessions are kept. `running` are the requests with a key that are worked on; answers to `keys_max`
    of one principal are kept. `noted` are the packages of upstreams that this node has heard of, by name: of workspace,
    repository and format those that begin with a prefix and are behind a name; blocking.
    """

    role: str
    catalog: Readable
    health: Callable[[], Health]
    status: Callable[[], Mapping[str, object]]
    metrics: Callable[[], str]
    formats: tuple[str, ...]
    drawing: tuple[str, ...]
    resigning: tuple[str, ...] = ()
    commit: Commit | None = None
    secrets: Secrets | None = None
    signing: SigningKeys | None = None
    saml_keys: SamlKeys | None = None
    reserved: Reserved = nothing
    work: Mapping[str, Work] = MappingProxyType({})
    authority: Authority | None = None
    history: History | None = None
    heads: Heads | None = None
    questions: Questions | None = None
    register: Register | None = None
    telling: Telling | None = None
    metrics_open: bool = False
    normalise: Callable[[str, str], str] = as_it_is
    lease: Lease | None = None
    spend: Callable[[Principal, str], tuple[tuple[str, str], ...]] = without_limit
    governed: Callable[[str, str], str | None] = as_it_is
    rooms: Mapping[str, Room] = MappingProxyType({})
    version_order: Callable[[str], Callable[[str], Any] | None] = without_order
    used: Callable[[Token], Awaitable[Used]] | None = None
    inside_only: Callable[[str], str] = nowhere
    try_credential: Callable[[Upstream, str], Awaitable[int]] = taken
    stored: Callable[[Sequence[bytes]], Sequence[BlobRow | None]] = nothing_known
    replicated: Callable[[], Sequence[Mapping[str, object]]] = tuple
    reports: Reports | None = None
    ties: Ties = ALONE
    address_of: Callable[[str, str, str, str, str], str] = by_no_address
    country_of: CountryOf = without_file
    signing_in: SigningIn | None = None
    sign_in: SignIn = field(default_factory=SignIn)
    issuers: Issuers = field(default_factory=Issuers)
    noted: Callable[[str, str, str, str, str], Iterable[tuple[str, Noted]]] = nothing_noted
    documents: Documents | None = None
    running: Running | None = None
    keys_max: int = 10_000
    now_ms: Callable[[], int] = now_ms
    latest_ms: Callable[[], int] = not_told
    version: str = version()

    def outdated(self) -> bool:
        """Has an edge lost its origin for so long that it may not say any more who may know what?"""
        return self.lease is not None and not self.lease.good_in("")


def latest_ms_of(services: Services) -> int:
    """By which a credential is over: a wall clock that was set back makes none younger."""
    return max(services.now_ms(), services.latest_ms())
