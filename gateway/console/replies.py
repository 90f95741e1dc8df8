"""What does the API answer? The shapes that its document tells of, and that tests hold every answer against.

The handlers build plain objects (`shown.py`); a member with a default is left out where it says nothing.
"""

from typing import Any, Literal

import msgspec

Actions = tuple[str, ...]
Texts = tuple[str, ...]
Role = Literal["owner", "manager", "member", "collaborator"]


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object with these members and no others."""


class Page[T](Told, frozen=True):
    """`next` is the `after` of the following page, null at the end; the Link header has its whole address."""

    items: tuple[T, ...]
    next: str | None


class Refused(msgspec.Struct, frozen=True):
    """Problem details (RFC 9457). `type` is an address of the node where it is explained, `code` is for programs,
    `remedy` for people; `request_id` is that of the Entrepot-Request-Id."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: str = ""
    request_id: str = ""


class Health(Told, frozen=True):
    """`connected` and `lag_ms` are an edge's."""

    status: Literal["ok", "starting", "draining"]
    role: str
    version: str
    connected: bool | None = None
    lag_ms: int | None = None


class Status(msgspec.Struct, frozen=True):
    """The health, and for those that read everything what the node knows of itself."""

    status: Literal["ok", "starting", "draining"]
    role: str
    version: str


class Workspace(Told, frozen=True):
    name: str
    created_ms: int


class Upstream(Told, frozen=True):
    """`signed_by` are fingerprints."""

    format: str
    name: str
    url: str
    fresh_s: int
    negative_s: int
    allow: Texts
    private_network: bool
    signed_by: Texts


class Repository(Told, frozen=True):
    workspace: str
    name: str
    public: bool
    upstreams: tuple[Upstream, ...]
    created_ms: int
    lease_s: int
    bin_s: int


class RepositoryWithFormats(Repository, frozen=True):
    formats: Texts


class Allowed(Told, frozen=True):
    name: str
    allowed: bool


class Key(Told, frozen=True):
    fingerprint: str


class Host(Told, frozen=True):
    name: str
    scope: str
    region: str
    url: str
    redirects: bool
    created_ms: int


class Hosts(Told, frozen=True):
    """`regions` holds the names of each region."""

    hosts: tuple[Host, ...]
    regions: dict[str, Texts]


class Quarantine(Told, frozen=True):
    format: str
    package: str
    version: str
    reason: str
    created_ms: int


class Purged(Told, frozen=True):
    format: str
    package: str


class Grant(Told, frozen=True, kw_only=True):
    scope: str
    read: bool
    write: bool
    admin: bool
    actions: Actions = ()
    role: str = ""
    formats: Texts = ()
    packages: Texts = ()
    tags: Texts = ()
    deny: bool = False


class Binding(Grant, frozen=True, kw_only=True):
    id: str
    subject: str
    created_ms: int


class Account(Told, frozen=True, kw_only=True):
    id: str
    kind: Literal["user", "service", "managed"]
    name: str
    created_ms: int
    workspace: str = ""
    email: str = ""
    password_ms: int = 0
    device_ms: int = 0


class Service(Account, frozen=True, kw_only=True):
    role: Role


class Member(Told, frozen=True):
    member: str
    account: str
    role: Role
    teams: Texts
    created_ms: int


class Teammate(Told, frozen=True):
    member: str
    role: Literal["manager", "member"]


class PlacedTeammate(Teammate, frozen=True):
    team: str


class Team(Told, frozen=True, kw_only=True):
    """`managed`: the workspace's identity provider says who is in it."""

    name: str
    hidden: bool
    created_ms: int
    managed: bool = False


class TeamWithMembers(Team, frozen=True, kw_only=True):
    members: tuple[Teammate, ...]


class CustomRole(Told, frozen=True):
    name: str
    actions: Actions
    created_ms: int


class Explained(Told, frozen=True):
    """`parts_only`: not all of it, and something in it."""

    allowed: bool
    why: str
    grant: Grant | None
    parts_only: bool


class Limits(Told, frozen=True):
    downloads_max: int
    bytes_max: int
    clients_max: int
    period_s: int
    from_ms: int


class Eula(Told, frozen=True):
    revision: str
    accepted: bool


class Used(Told, frozen=True):
    since_ms: int
    downloads: int
    bytes: int
    clients: int


class Use(Told, frozen=True):
    """`node` is "origin" or an edge's name."""

    at_ms: int
    address: str
    node: str


class Token(Told, frozen=True, kw_only=True):
    """`limits`, `eula` and `metadata` are of an entitlement, `issuer` and `subject` of an exchange. 0 ms = never."""

    id: str
    name: str
    kind: Literal["api", "edge", "entitlement", "oidc", "scim", "session"]
    state: Literal["active", "expired", "revoked"]
    grants: tuple[Grant, ...]
    created_ms: int
    expires_ms: int
    requests_max: int
    revoked_ms: int
    owner: str
    cidrs: Texts = ()
    limits: Limits | None = None
    eula: Eula | None = None
    metadata: dict[str, str] = {}
    issuer: str = ""
    subject: str = ""
    last_used: Use | None = None
    """In lists alone, where one is known: as far as the client log has reached the origin, which tells it."""


class ClaimRule(Told, frozen=True):
    service: str
    claims: dict[str, str]


class People(Told, frozen=True):
    back: str  # to be registered at the provider, behind the address of this node
    name: str
    scopes: Texts
    domains: Texts
    claims: dict[str, str]
    joins: bool
    groups: str
    teams: dict[str, str]


class Provider(Told, frozen=True):
    name: str
    issuer: str
    audience: str
    rules: tuple[ClaimRule, ...]
    lifetime_s: int
    private_network: bool
    created_ms: int
    people: People | None = None


class MintedToken(Token, frozen=True, kw_only=True):
    """`token` is its text, told here and never again."""

    token: str


class UsedToken(Token, frozen=True, kw_only=True):
    used: Used


class Accepted(Told, frozen=True):
    accepted: str


class Caller(Told, frozen=True):
    id: str
    name: str
    kind: str
    grants: tuple[Grant, ...]
    expires_ms: int
    owner: str
    user: str = ""
    """Whose it is, where it is a person's."""


class Edge(Told, frozen=True, kw_only=True):
    name: str
    region: str
    state: Literal["invited", "expired", "enrolled", "revoked"]
    parent: bool
    workspaces: Texts
    created_ms: int
    code_expires_ms: int
    enrolled_ms: int
    revoked_ms: int


class InvitedEdge(Edge, frozen=True, kw_only=True):
    """`code` is what it enrolls with, told here and never again."""

    code: str


class NetworkRule(Told, frozen=True):
    action: Literal["allow", "deny"]
    networks: Texts
    countries: Texts
    note: str


class NetworkRules(Told, frozen=True):
    """In their order."""

    rules: tuple[NetworkRule, ...]


class Ruling(Told, frozen=True):
    """Rule `number` (from 1) of `place` decides, 0 and "" = none does. `country` "" = the geo-IP file does not know it,
    null = this node has none."""

    address: str
    country: str | None
    allowed: bool
    why: str
    place: Literal["", "repository", "workspace"]
    number: int
    rule: NetworkRule | None


class Usage(Told, frozen=True, kw_only=True):
    """`files` and `bytes` are visible, `bin_files` and `bin_bytes` count besides; `quota_bytes` 0 = no bound."""

    workspace: str
    repository: str = ""
    files: int
    bytes: int
    bin_files: int
    bin_bytes: int
    reserved_bytes: int
    quota_bytes: int


class Quota(Told, frozen=True):
    """0 = no bound."""

    bytes: int


class WorkspaceUsage(Usage, frozen=True, kw_only=True):
    repositories: tuple[Usage, ...]


class Chore(msgspec.Struct, frozen=True):
    """Work over the whole store, with what it has done so far. `waiting` = asked for and not begun. Of a dry run only
    what it would do."""

    running: bool = False
    waiting: bool = False
    would: dict[str, Any] = {}


class Package(Told, frozen=True):
    name: str
    updated_ms: int


class Version(Told, frozen=True):
    """`downloads` and `last_pull_ms` (0 = never) are as far as they are counted; null at an edge, which counts none."""

    name: str
    created_ms: int
    downloads: int | None
    last_pull_ms: int | None


class Pull(Told, frozen=True):
    """`last_pull_ms` 0 = never."""

    name: str
    downloads: int
    last_pull_ms: int


class Pulls(Told, frozen=True):
    """`counted_until_ms`: every pull before it, at any node, is in here, but for some before `lost_until_ms` that a
    node lost (0 = none)."""

    downloads: int
    last_pull_ms: int
    versions: tuple[Pull, ...]
    tags: tuple[Pull, ...]
    counted_until_ms: int
    lost_until_ms: int


class Replication(Told, frozen=True):
    """What the nodes of a region hold of a repository before anybody asks."""

    region: str
    mode: Literal["metadata", "on-demand", "eager"]
    formats: Texts
    packages: Texts
    tags: Texts
    newest_max: int
    days_max: int
    rate_max_bytes_s: int
    created_ms: int


class Replicated(Told, frozen=True):
    """How far this node is: `whole_serial` is the last Serial at which all that is wanted was here, `lag_ms` how long
    that has not been so. `left_out_bytes` have no room here."""

    workspace: str
    repository: str
    files: int
    bytes: int
    here_files: int
    here_bytes: int
    left_out_bytes: int
    serial: int
    whole_serial: int
    lag_ms: int
    problem: str


class Stored(Told, frozen=True):
    """How the bytes of a file lie at this node, and why."""

    cut: str
    why: str
    saved_bytes: int
    extents: int


class File(Told, frozen=True):
    """`stored` null = not here."""

    name: str
    version: str
    size_bytes: int
    media: str
    sha256: str
    created_ms: int
    stored: Stored | None


class PackageWithFiles(Package, frozen=True):
    versions: tuple[Version, ...]
    tags: dict[str, str]
    files: tuple[File, ...]


class FoundVersion(Told, frozen=True):
    """`size_bytes` is that of all its files. `uploader` is what whoever published it was called, for who manages the
    workspace, else ""; `downloads` null = this node does not count them."""

    name: str
    created_ms: int
    size_bytes: int
    tags: Texts
    licenses: Texts
    architectures: Texts
    uploader: str
    quarantined: bool
    downloads: int | None


class Found(Told, frozen=True):
    """A package that a query finds. `versions` are the latest of the `versions_found`. `upstream` "" = it was published
    here; else it is known from there, and what is told of its versions is their names."""

    workspace: str
    repository: str
    format: str
    name: str
    upstream: str
    updated_ms: int
    versions_found: int
    versions: tuple[FoundVersion, ...]


class Cut(Told, frozen=True):
    files: int
    bytes: int
    saved_bytes: int


class Storage(Told, frozen=True):
    """`complete` false = there are more files than are looked at."""

    files: int
    saved_bytes: int
    by_cut: dict[str, Cut]
    complete: bool


class Actor(Told, frozen=True):
    """Who did it: the id, and what that was called then."""

    id: str
    name: str


class AuditEntry(Told, frozen=True):
    """An entry of the journal. Each of `changes` says what it is, `change`, and what it sets; in one entry alone also
    what stood there `before` and `after`."""

    workspace: str
    serial: int
    at_ms: int
    actor: Actor
    action: str
    repository: str
    reason: str
    hash: str
    changes: tuple[dict[str, Any], ...]


class SignedHead(Told, frozen=True):
    """The origin's word for an entry. `hash` (sha256), `key` (Ed25519) and `signature` in base64url."""

    store: str
    epoch: int
    workspace: str
    serial: int
    hash: str
    at_ms: int
    key: str
    signature: str


class SignedHeads(Page[SignedHead], frozen=True):
    key: str


class AuditExport(Told, frozen=True):
    """Lines of an export, what stands ahead of them and behind; `next` is the Serial to go on behind."""

    opening: str
    items: tuple[str, ...]
    closing: SignedHead
    next: int | None


class Traffic(msgspec.Struct, frozen=True):
    """What clients were served, beside what it was counted by."""

    requests: int
    bytes: int


class LogLine(Told, frozen=True):
    """A request. `seconds` is null where it was answered from memory."""

    time_ms: int
    node: str
    peer: str
    country: str
    method: str
    status: int
    bytes: int
    outcome: str
    principal: str
    workspace: str
    repository: str
    format: str
    package: str
    version: str
    file: str
    tag: str
    client: str
    seconds: float | None
