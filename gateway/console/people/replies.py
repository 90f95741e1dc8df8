"""What does the API answer of people, of what they were given, and of their credentials?"""

from typing import Literal

import msgspec

from gateway.console.shapes.replies import Actions, Role, Texts, Told


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
    query: str = ""


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
    recovery_ms: int = 0


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
    """`parts_only`: not all of it, and something in it. `query_part` is what of the grant's query decided, if it has
    one."""

    allowed: bool
    why: str
    grant: Grant | None
    parts_only: bool
    query_part: str = ""


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
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    issuer: str = ""
    subject: str = ""
    owner_name: str = ""
    """Whom it acts for, as people write it: in lists alone."""
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
    signs_out: bool  # who signs out here is taken on to sign out there


class Certificate(Told, frozen=True):
    sha256: str
    expires_ms: int  # of the form alone: its key is believed for as long as it stands here


class SamlPair(Told, frozen=True):
    """Two keys of this node's, by their certificates, which stand in its metadata."""

    id: str
    signing: Certificate
    encryption: Certificate
    created_ms: int


class Saml(Told, frozen=True):
    description: str  # this node's own metadata, behind its address
    sign_on: str
    certificates: tuple[Certificate, ...]
    subject: str
    unsolicited: bool
    sign_requests: bool  # in any case, also where its metadata does not want it
    wants_signed: bool  # its metadata does
    logout: str  # where people are signed out there; "" = nowhere
    logout_by_form: bool  # else by redirect
    accept_cbc: bool  # also where nothing around what is encrypted is signed
    keys: tuple[SamlPair, ...]


class Provider(Told, frozen=True):
    name: str
    issuer: str
    audience: str
    rules: tuple[ClaimRule, ...]
    lifetime_s: int
    private_network: bool
    created_ms: int
    disabled_ms: int
    people: People | None = None
    saml: Saml | None = None


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
