"""Which things does Entrepot know, and what are their shapes?

One meaning each, everywhere. All are frozen msgspec structs: they go to the journal, the index and between nodes as
msgpack, so a field is only ever appended, with a default. Times are milliseconds since 1970 UTC (`_ms`), sizes bytes.
"""

from storage.contents import (
    Binned,
    Change,
    DropBinned,
    DropFile,
    DropPackage,
    DropTag,
    DropVersion,
    File,
    Noun,
    Package,
    PutBinned,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
    View,
)
from storage.hooks import DropWebhook, PutWebhook
from storage.notices import PutNotice
from storage.providers import ClaimRule, DropProvider, People, Provider, PutProvider, Saml, SamlPair
from storage.spaces import DropWorkspace, NetworkRule, PutWorkspace, Workspace

__all__ = (
    "Binned",
    "Change",
    "ClaimRule",
    "DropBinned",
    "DropFile",
    "DropPackage",
    "DropProvider",
    "DropTag",
    "DropVersion",
    "DropWorkspace",
    "File",
    "NetworkRule",
    "Noun",
    "Package",
    "People",
    "Provider",
    "PutBinned",
    "PutFile",
    "PutPackage",
    "PutProvider",
    "PutTag",
    "PutVersion",
    "PutWorkspace",
    "Saml",
    "SamlPair",
    "Version",
    "View",
    "Workspace",
)
"""What rooms work with is told in `storage.contents`, Workspaces in `storage.spaces`."""


# ---------------------------------------------------------------- tenancy and access


class Upstream(Noun, frozen=True):
    """A foreign registry that a Repository draws one format from. `url` ends with a slash.

    `allow` names packages that may be taken from it although the name is published locally. A credential for it is
    no part of this: the journal goes to every edge, secrets stay in the origin's own file.
    """

    format: str
    url: str
    name: str = ""
    fresh_s: int = 300
    negative_s: int = 60
    allow: tuple[str, ...] = ()
    private_network: bool = False
    signed_by: tuple[bytes, ...] = ()
    """OpenPGP certificates of its owner: what he signed is verified with them and signed anew with the Repository's own
    keys. Empty = passed on as its owner signed it."""


class Replication(Noun, frozen=True):
    """What the nodes of one `region` hold of a Repository. `mode`: "metadata" (bytes pass through and are not kept),
    "on-demand" (what was asked for is kept), "eager" (kept before anybody asks).

    Eager is narrowed by `formats` and `packages` (patterns of names as the index has them, none = all). Where any of
    the next three is told, of a Package only the Versions that meet one of them: a Tag that matches `tags` points to
    it, it is one of the `newest_max`, or it is not older than `days_max`. `rate_max_bytes_s` 0 = as the node has it.
    """

    region: str
    mode: str = "eager"
    formats: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    newest_max: int = 0
    days_max: int = 0
    rate_max_bytes_s: int = 0
    at_ms: int = 0


class Repository(Noun, frozen=True):
    workspace: str
    name: str
    public: bool = False
    upstreams: tuple[Upstream, ...] = ()
    at_ms: int = 0
    certificates: tuple[bytes, ...] = ()
    """The public halves of the OpenPGP keys that it signs with, the oldest first."""
    lease_s: int = 0
    """How long an edge may serve it, where it is private, after it last heard its origin; 0 = as the edge has it."""
    quota_bytes: int = 0
    """The most that its files may come to, as visible; 0 = no bound."""
    replications: tuple[Replication, ...] = ()
    """One for a region at most, by its name."""
    networks: tuple[NetworkRule, ...] = ()
    """From where clients may use it; the first that is about a client decides."""
    bin_s: int = 0
    """For how long what is deleted can come back; 0 = it is gone at once."""


class Quarantine(Noun, frozen=True):
    """No file of this Package leaves any node; of one Version alone where `version` names one. It needs no Package to
    be there, and outlives one that is dropped. `reason` is told to who asks for a file."""

    format: str
    package: str
    version: str = ""
    reason: str = ""
    at_ms: int = 0


class Grant(Noun, frozen=True):
    """What may be done, where: `scope` is "*", "workspace" or "workspace/repository".

    The rights stand for sets of actions (gateway.access.rights), `actions` name single ones, `role` a Role of the
    Workspace. `formats` and `packages` (patterns of names) narrow it, "" = no narrowing; `tags` narrow where tags may
    be set and removed. A `query` narrows what is read to the versions that it finds (gateway.access.rights.queried).
    With `deny` it takes away what others give.
    """

    scope: str
    read: bool = True
    write: bool = False
    admin: bool = False
    actions: tuple[str, ...] = ()
    role: str = ""
    formats: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    deny: bool = False
    query: str = ""


PERSON_CHARS_MAX = 500
"""Of a text that is kept about a person, one line each."""


class Passkey(Noun, frozen=True):
    """What an Account signs in with (a WebAuthn credential), called `name` by its person. `credential` is its id and
    `key` its public key (COSE), as its authenticator made them; `count` is the last that this counted, and `used_ms`
    when (0 = never). `synced`: it was kept in more places than its authenticator when it was made."""

    id: str
    name: str
    credential: bytes
    key: bytes
    at_ms: int
    count: int = 0
    used_ms: int = 0
    synced: bool = False


class Account(Noun, frozen=True):
    """Somebody with a name here. `kind`: user, service, managed; the last two belong to `workspace`. Once closed, it
    never acts again. Its `id` is never given to another. A managed one is made and unmade by the Workspace's identity
    provider, which told its `facts` (JSON, see gateway.scim), last at `changed_ms`. Its password was set at
    `password_ms`, what shows its one-time codes at `device_ms`, 0 = there is none. `link` is the sha256 of a code that
    sets a password until `link_ms`. Its recovery codes were made at `recovery_ms`."""

    id: str
    kind: str
    name: str
    workspace: str = ""
    email: str = ""
    at_ms: int = 0
    closed_ms: int = 0
    facts: str = ""
    changed_ms: int = 0
    password_ms: int = 0
    device_ms: int = 0
    link: bytes = b""
    link_ms: int = 0
    subject: str = ""
    """Issuer and subject by which a managed one signs in; "" = it never has."""
    passkeys: tuple[Passkey, ...] = ()
    recovery_ms: int = 0


class Membership(Noun, frozen=True):
    """What an Account is to a Workspace. `role`: owner, manager, member, collaborator. No Token that is older than
    `since_ms` has anything from it: it was closed with an earlier one."""

    account: str
    role: str
    at_ms: int = 0
    since_ms: int = 0


class Team(Noun, frozen=True):
    """Those of a Workspace who are given rights together. With an `id` it is the Group that the Workspace's identity
    provider calls so, which told its `facts` (JSON, see gateway.scim), last at `changed_ms`."""

    name: str
    hidden: bool = False
    at_ms: int = 0
    id: str = ""
    facts: str = ""
    changed_ms: int = 0


class Teammate(Noun, frozen=True):
    """A member in a Team. `role`: manager, member."""

    team: str
    account: str
    role: str = "member"
    at_ms: int = 0


class Role(Noun, frozen=True):
    """A set of actions under a name, to be used in Grants of its Workspace."""

    name: str
    actions: tuple[str, ...]
    at_ms: int = 0


class Binding(Noun, frozen=True):
    """A Grant given to a `subject`: an Account's id, "team:NAME", or MEMBERS."""

    id: str
    subject: str
    grant: Grant
    at_ms: int = 0


class Host(Noun, frozen=True):
    """A host name (exact, lower case, without a port) and what it implies: a Workspace or a Repository, which its paths
    then leave out, as `scope` ("workspace" or "workspace/repository"), and the `region` whose edges it leads to.

    `url` is where clients reach it, "" = https and its name. `redirects`: its readers are sent on to the host of a
    region that implies the same.
    """

    name: str
    scope: str = ""
    region: str = ""
    at_ms: int = 0
    url: str = ""
    redirects: bool = False


class Entitlement(Noun, frozen=True):
    """How much a customer may fetch in a period: 0 = without limit, `period_s` 0 = in all. `eula` is the revision of
    terms that must be accepted first, `accepted` the one that was. `metadata` is the vendor's own."""

    downloads_max: int = 0
    bytes_max: int = 0
    clients_max: int = 0
    period_s: int = 0
    from_ms: int = 0
    reset_ms: int = 0
    eula: str = ""
    accepted: str = ""
    metadata: dict[str, str] = {}  # noqa: RUF012  # a msgspec.Struct by way of Noun


class Exchange(Noun, frozen=True):
    """What a Token was given for: the identity token of `subject` by `issuer`, which a Provider (its id) vouched for.
    The Token is kept until `until_ms`, so that its id, which follows from the identity token, is not given twice.
    `trust` is what the Provider had then."""

    provider: str
    issuer: str
    subject: str
    until_ms: int
    trust: int = 0


class SignIn(Noun, frozen=True):
    """How a session's person was known, in which program. It ends `idle_s` after its last renewal, and at `ends_ms`.
    With a `provider` (its id) of a `workspace`, it lives as long as that is believed as it was then (`trust`)."""

    method: str
    began_ms: int
    ends_ms: int
    idle_s: int
    until_ms: int
    agent: str = ""
    provider: str = ""
    workspace: str = ""
    trust: int = 0


class Vouched(Noun, frozen=True):
    """Whose word says that a Token's person is who he is: a Provider (its id) of a `workspace`, as it was believed when
    he signed in (`trust`)."""

    provider: str
    workspace: str
    trust: int = 0


class Token(Noun, frozen=True):
    """A credential as stored: `sha256` of its text, never the text. `expires_ms` 0 = never. `kind`: api, edge,
    entitlement, oidc, scim, session.

    `verify_key` is the public half of the key that is derived from the text: it checks its holder's passes, and makes
    none. With an `owner`, the Account that it acts for, its grants limit what that may do, none = no limit; without one
    they are all it may do. `cidrs` are where it can be used from, none = anywhere. A customer's has an `entitlement`,
    one given for an identity token an `exchange`, a session a `sign_in`.
    """

    id: str
    name: str
    sha256: bytes
    grants: tuple[Grant, ...]
    kind: str = "api"
    at_ms: int = 0
    expires_ms: int = 0
    revoked_ms: int = 0
    verify_key: bytes = b""
    owner: str = ""
    requests_max: int = 0
    """How many requests each node takes from it in its window; 0 = as the node has it."""
    cidrs: tuple[str, ...] = ()
    entitlement: Entitlement | None = None
    exchange: Exchange | None = None
    sign_in: SignIn | None = None
    vouched: Vouched | None = None
    """Where somebody whom a Provider let in made it for himself: it ends with that."""


MEMBERS = "members"
"""The subject of Bindings for whoever is a member of the Workspace, or more than that."""


def team_subject(name: str) -> str:
    """The subject of a Team's Bindings."""
    return f"team:{name}"


class Edge(Noun, frozen=True):
    """A node that follows the origin. `workspaces` are those that it may see, ("*",) = all; `parent` = other edges may
    follow through it (it is a shield).

    It is invited first: `code` is the sha256 of a one-time code, good until `code_expires_ms`. Enrolled, `key` is the
    sha256 of its public key (32 bytes), by which its certificate is known.
    """

    name: str
    region: str
    workspaces: tuple[str, ...]
    parent: bool = False
    at_ms: int = 0
    code: bytes = b""
    code_expires_ms: int = 0
    key: bytes = b""
    enrolled_ms: int = 0
    revoked_ms: int = 0


class PutRepository(Change, frozen=True, tag="pr"):
    repository: Repository


class DropRepository(Change, frozen=True, tag="dr"):
    """Drops the Repository with all it holds."""

    workspace: str
    name: str


class PutToken(Change, frozen=True, tag="pk"):
    token: Token


class PutHost(Change, frozen=True, tag="ph"):
    host: Host


class DropHost(Change, frozen=True, tag="dh"):
    """`scope` is what it stood for: an edge that may not see that is not told."""

    name: str
    scope: str = ""


class PutQuarantine(Change, frozen=True, tag="pq"):
    quarantine: Quarantine


class DropQuarantine(Change, frozen=True, tag="dq"):
    """Releases what one Quarantine held."""

    format: str
    package: str
    version: str = ""


class Purge(Change, frozen=True, tag="pu"):
    """Nothing that nodes keep of this place and could get again is to be used any more: pulled bytes, what foreign
    registries know, rendered documents. "" = of every format, of every Package. Nothing published changes."""

    format: str = ""
    package: str = ""


class PutAccount(Change, frozen=True, tag="pa"):
    account: Account


class PutMembership(Change, frozen=True, tag="pm"):
    membership: Membership


class DropMembership(Change, frozen=True, tag="dm"):
    """Ends a membership with all that hung on it: the Account's teams and Bindings in the Workspace."""

    account: str


class PutTeam(Change, frozen=True, tag="pe"):
    team: Team


class DropTeam(Change, frozen=True, tag="de"):
    """Drops the Team with its members' places in it and its Bindings."""

    name: str


class PutTeammate(Change, frozen=True, tag="pn"):
    teammate: Teammate


class DropTeammate(Change, frozen=True, tag="dn"):
    team: str
    account: str


class PutRole(Change, frozen=True, tag="po"):
    role: Role


class DropRole(Change, frozen=True, tag="do"):
    """Drops the Role; Grants that name it give nothing by it from then on."""

    name: str


class PutBinding(Change, frozen=True, tag="pb"):
    binding: Binding


class DropBinding(Change, frozen=True, tag="db"):
    subject: str
    id: str


class PutEdge(Change, frozen=True, tag="px"):
    edge: Edge


AnyChange = (
    PutPackage | DropPackage | PutVersion | DropVersion | PutFile | DropFile | PutTag | DropTag | PutWorkspace
    | PutRepository | DropRepository | PutToken | PutHost | DropHost | PutQuarantine | DropQuarantine | Purge
    | PutBinned | DropBinned | PutAccount | PutMembership | DropMembership | PutTeam | DropTeam | PutTeammate
    | DropTeammate | PutRole | DropRole | PutBinding | DropBinding | PutProvider | DropProvider | PutWebhook
    | DropWebhook | PutEdge | DropWorkspace | PutNotice
)  # fmt: skip

SYSTEM = "-"
"""The journal of what belongs to no Workspace: workspaces, accounts, tokens, edges. No Workspace has this name."""


class Once(Noun, frozen=True):
    """What keeps a request that is sent twice from being done twice: who sent it (the id of a principal), the sha256 of
    the key that it came with, the sha256 of the request itself, and its answer, sealed so that only the same request by
    the same sender opens it (gateway.console.calls.once)."""

    principal: str
    key: bytes
    request: bytes
    answer: bytes


class Entry(Noun, frozen=True):
    """One line of the journal: who did what, and what it changes.

    `serial` counts from 1 within `workspace`; `previous` is the sha256 of the preceding entry's bytes in the same
    workspace (32 zero bytes before the first). `repository` is "" for what concerns none. `actor` is the id of a
    principal, `actor_name` what that was called then; `reason` is what it gave for doing this, "" for nothing. `once`
    is there where the request came with a key. `trace` is the mark of the step that did it (storage.spans.mark), "" for
    what is not traced.
    """

    epoch: int
    workspace: str
    serial: int
    previous: bytes
    at_ms: int
    actor: str
    action: str
    repository: str
    changes: tuple[AnyChange, ...]
    reason: str = ""
    actor_name: str = ""
    once: Once | None = None
    trace: str = ""


class Draft(Noun, frozen=True):
    """An Entry before it has its place: what a decision wants written."""

    workspace: str
    repository: str
    actor: str
    action: str
    changes: tuple[AnyChange, ...]
    reason: str = ""
    once: Once | None = None
