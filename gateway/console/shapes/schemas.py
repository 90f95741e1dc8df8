"""What may a request body hold? Exactly this: unknown keys are refused, every text and list has a bound."""

from typing import Annotated, Literal

import msgspec

from gateway.queries.parsing import QUERY_CHARS_MAX

Name = Annotated[str, msgspec.Meta(max_length=200)]
OneLine = Annotated[str, msgspec.Meta(max_length=300)]
PackageName = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=30 * 24 * 3600)]
LeaseSeconds = Annotated[int, msgspec.Meta(ge=0, le=300)]
"""0, or LEASE_SECONDS_MIN to 300."""
BinSeconds = Annotated[int, msgspec.Meta(ge=0, le=366 * 24 * 3600)]

EDGE_WORKSPACES_MAX = 10_000
GRANTS_MAX = 100
ALLOWED_MAX = 1_000
KEYRING_CHARACTERS_MAX = 400_000
UPSTREAMS_MAX = 20
EXPIRES_SECONDS_MAX = 10 * 366 * 24 * 3600


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object with these members and no others."""


class NewWorkspace(Body, frozen=True):
    name: Name
    description: OneLine = ""


class EditWorkspace(Body, frozen=True):
    description: OneLine


class NewRepository(Body, frozen=True):
    workspace: Name
    name: Name
    public: bool = False
    lease_s: LeaseSeconds = 0
    bin_s: BinSeconds = 0


class EditRepository(Body, frozen=True):
    """None = as it is."""

    public: bool | None = None
    lease_s: LeaseSeconds | None = None
    bin_s: BinSeconds | None = None


class NewCopy(Body, frozen=True):
    """`source` is WORKSPACE/REPOSITORY; `version` "" = all of the package. `place` is where the target lists it, for
    deb: DISTRIBUTION/COMPONENT; "" = where the source does."""

    source: Annotated[str, msgspec.Meta(max_length=401)]
    format: Name
    package: PackageName
    version: Annotated[str, msgspec.Meta(max_length=300)] = ""
    place: Name = ""
    move: bool = False


class NewTag(Body, frozen=True):
    tag: PackageName
    version: PackageName
    only: Literal["", "new", "there"] = ""


class NewHost(Body, frozen=True):
    """`scope` is WORKSPACE, WORKSPACE/REPOSITORY or "" for what implies nothing."""

    name: Annotated[str, msgspec.Meta(max_length=254)]
    scope: Name = ""
    region: Name = ""
    url: Annotated[str, msgspec.Meta(max_length=300)] = ""
    redirects: bool = False


Glob = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Globs = Annotated[tuple[Glob, ...], msgspec.Meta(max_length=20)]
REPLICATIONS_MAX = 100
REPLICATION_RATE_MIN = 1 << 10


class NewReplication(Body, frozen=True):
    """storage.nouns.Replication. `rate_max_bytes_s` is 0 or at least REPLICATION_RATE_MIN."""

    mode: Literal["metadata", "on-demand", "eager"] = "eager"
    formats: Globs = ()
    packages: Globs = ()
    tags: Globs = ()
    newest_max: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    days_max: Annotated[int, msgspec.Meta(ge=0, le=36_600)] = 0
    rate_max_bytes_s: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0


class NewQuarantine(Body, frozen=True):
    """Of all versions where `version` is ""."""

    format: Name
    package: PackageName
    version: Annotated[str, msgspec.Meta(max_length=300)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class NewPurge(Body, frozen=True):
    """Of all formats where `format` is "", of all packages where `package` is ""."""

    format: Name = ""
    package: Annotated[str, msgspec.Meta(max_length=300)] = ""


NETWORKS_MAX = 1_000
Cidr = Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
Country = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]


class NewNetworkRule(Body, frozen=True):
    """About clients in one of `networks` (ADDRESS/BITS) or `countries` (ISO codes); about all, if neither is given."""

    action: Literal["allow", "deny"]
    networks: Annotated[tuple[Cidr, ...], msgspec.Meta(max_length=NETWORKS_MAX)] = ()
    countries: Annotated[tuple[Country, ...], msgspec.Meta(max_length=300)] = ()
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""


class NewNetworkRules(Body, frozen=True):
    """The first that is about a client decides. `replaces`: only if these are the rules now; null = in any case."""

    rules: Annotated[tuple[NewNetworkRule, ...], msgspec.Meta(max_length=100)]
    replaces: Annotated[tuple[NewNetworkRule, ...], msgspec.Meta(max_length=100)] | None = None


class NewQuota(Body, frozen=True):
    """0 = no bound."""

    bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]


class AskForSweep(Body, frozen=True):
    """`dry_run`: only tell what would be done."""

    dry_run: bool = False


class NewCredential(Body, frozen=True):
    """Basic with a `username`, Bearer without."""

    password: Secret
    username: Annotated[str, msgspec.Meta(max_length=256)] = ""

    def __repr__(self) -> str:
        return "NewCredential(hidden)"


class RotatedCredential(NewCredential, frozen=True):
    """`unchecked`: it is not shown to the registry first."""

    unchecked: bool = False

    def __repr__(self) -> str:
        return "RotatedCredential(hidden)"


class AskForLogin(Body, frozen=True):
    """`scope`: words as WORKSPACE/REPOSITORY:read|write|admin, none = all that the person may."""

    name: Name
    scope: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    lifetime_s: Annotated[int, msgspec.Meta(ge=1, le=EXPIRES_SECONDS_MAX)] = 90 * 24 * 3600


class FetchToken(Body, frozen=True):
    """Either `device_code`, or `code` with `code_verifier` and `redirect_uri`."""

    device_code: Annotated[str, msgspec.Meta(max_length=200)] = ""
    code: Annotated[str, msgspec.Meta(max_length=200)] = ""
    code_verifier: Annotated[str, msgspec.Meta(max_length=200)] = ""
    redirect_uri: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def __repr__(self) -> str:
        return "FetchToken(hidden)"


class NewUpstream(Body, frozen=True):
    format: Name
    url: Annotated[str, msgspec.Meta(max_length=2048)]
    name: Name = "default"
    fresh_s: Seconds = 300
    negative_s: Seconds = 60
    allow: Annotated[tuple[PackageName, ...], msgspec.Meta(max_length=ALLOWED_MAX)] = ()
    private_network: bool = False
    signed_by: Annotated[str, msgspec.Meta(max_length=KEYRING_CHARACTERS_MAX)] = ""
    """An OpenPGP keyring in base64: what its owner signed is verified with it and signed anew with our own keys."""
    credential: NewCredential | None = None


class AllowName(Body, frozen=True):
    """`upstream` "" = all upstreams of the format."""

    name: PackageName
    upstream: Name = ""


Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Patterns = Annotated[tuple[Pattern, ...], msgspec.Meta(max_length=50)]
Actions = Annotated[tuple[Name, ...], msgspec.Meta(max_length=20)]
Formats = Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)]
GrantQuery = Annotated[str, msgspec.Meta(max_length=QUERY_CHARS_MAX)]


class NewGrant(Body, frozen=True):
    """Without actions, a role or deny it gives the right to read, unless it says otherwise."""

    scope: Name
    read: bool | None = None
    write: bool = False
    admin: bool = False
    actions: Actions = ()
    role: Name = ""
    formats: Formats = ()
    packages: Patterns = ()
    tags: Patterns = ()
    deny: bool = False


class NewBinding(NewGrant, frozen=True):
    """`subject`: user:NAME, service:NAME, team:NAME or members."""

    subject: Name = ""


class NewUser(Body, frozen=True):
    name: Name
    email: Annotated[str, msgspec.Meta(max_length=320)] = ""


class NewService(Body, frozen=True):
    name: Name
    role: Literal["owner", "manager", "member", "collaborator"] = "member"


class EditMembership(Body, frozen=True):
    role: Literal["owner", "manager", "member", "collaborator"]


class NewTeam(Body, frozen=True):
    name: Name
    hidden: bool = False


class EditTeammate(Body, frozen=True):
    role: Literal["manager", "member"] = "member"


Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Cidrs = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=50)], ...], msgspec.Meta(max_length=50)]
Short = Annotated[str, msgspec.Meta(max_length=200)]
Metadata = Annotated[dict[Short, Short], msgspec.Meta(max_length=50)]
PERIOD_SECONDS_MAX = 10 * 366 * 24 * 3600
Period = Annotated[int, msgspec.Meta(ge=0, le=PERIOD_SECONDS_MAX)]


class NewEntitlement(Body, frozen=True):
    """For some `repositories` of the Workspace, or all; 0 = without limit, `period_s` 0 = in all. `query` is one as
    searches take, over name, format, repository, version and tag: nothing else is read."""

    name: Name
    repositories: Annotated[tuple[Name, ...], msgspec.Meta(max_length=100)] = ()
    formats: Formats = ()
    packages: Patterns = ()
    query: GrantQuery = ""
    downloads_max: Count = 0
    bytes_max: Count = 0
    clients_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    period_s: Period = 0
    from_s: Period = 0
    expires_s: Period = 0
    eula: Name = ""
    cidrs: Cidrs = ()
    metadata: Metadata = {}


class EditEntitlement(Body, frozen=True):
    """What is not named stays. `reset` begins a new period now; `query` "" = none any more; `expires_s` and `from_s`
    count from now, 0 = never, and at once; no `cidrs` = from anywhere."""

    query: GrantQuery | None = None
    downloads_max: Count | None = None
    bytes_max: Count | None = None
    clients_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    period_s: Period | None = None
    from_s: Period | None = None
    expires_s: Period | None = None
    cidrs: Cidrs | None = None
    eula: Name | None = None
    metadata: Metadata | None = None
    reset: bool = False


class Accepting(Body, frozen=True):
    revision: Name


class Rotation(Body, frozen=True):
    """For how long the old text stays good beside the new."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 24 * 3600)] = 0


class TokenRotation(Rotation, frozen=True):
    """`expires_s`: the new one is good for so long; 0 = as long as the old one would have been."""

    expires_s: Annotated[int, msgspec.Meta(ge=0, le=EXPIRES_SECONDS_MAX)] = 0


class EditRole(Body, frozen=True):
    actions: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=20)]


class NewToken(Body, frozen=True):
    """`expires_s` 0 = as long as the token that creates it. An edge's token needs no grants: it reads everything.
    `owner` is the Account that it acts for: service:WORKSPACE/NAME or user:NAME, "" = that of the creating token.
    `requests_max` 0 = as the nodes have it.
    """

    name: Name
    grants: Annotated[tuple[NewGrant, ...], msgspec.Meta(max_length=GRANTS_MAX)] = ()
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=EXPIRES_SECONDS_MAX)] = 0
    kind: Literal["api", "edge"] = "api"
    owner: Name = ""
    requests_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 0
    cidrs: Cidrs = ()


class NewScimToken(Body, frozen=True):
    """`expires_s` 0 = as long as the token that creates it."""

    name: Name
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=EXPIRES_SECONDS_MAX)] = 0


Claimed = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class NewClaimRule(Body, frozen=True):
    """Who shows all of these claims is the service account of this name."""

    service: Name
    claims: Annotated[dict[Name, Claimed], msgspec.Meta(min_length=1, max_length=20)]


class NewPeople(Body, frozen=True):
    """For people that sign in at the provider (storage.nouns.People). `client_secret` "" = it gave none.
    `signs_out`: who signs out here is taken on to sign out there."""

    client_secret: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "preferred_username"
    scopes: Annotated[tuple[Name, ...], msgspec.Meta(max_length=20)] = ()
    domains: Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)] = ()
    claims: Annotated[dict[Name, Claimed], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=dict)
    joins: bool = False
    groups: Name = ""
    teams: Annotated[dict[Claimed, Name], msgspec.Meta(max_length=200)] = msgspec.field(default_factory=dict)
    signs_out: bool = True

    def __repr__(self) -> str:
        return "NewPeople(hidden)"


class NewProvider(Body, frozen=True):
    """`lifetime_s` is how long the tokens are good that it stands for. Builds have `rules`, `people` sign in."""

    name: Name
    issuer: Annotated[str, msgspec.Meta(max_length=500)]
    audience: Claimed
    rules: Annotated[tuple[NewClaimRule, ...], msgspec.Meta(max_length=50)] = ()
    lifetime_s: Annotated[int, msgspec.Meta(ge=60, le=3600)] = 900
    private_network: bool = False
    people: NewPeople | None = None


class NewRecoveryCodes(Body, frozen=True):
    """`password` is shown by who makes them for himself; an administrator of the node leaves it out."""

    password: Annotated[str, msgspec.Meta(max_length=1_000)] = ""

    def __repr__(self) -> str:
        return "NewRecoveryCodes(hidden)"


class ChangedProvider(Body, frozen=True):
    """A provider that is disabled is there, and nobody is let in by it."""

    disabled: bool


class SamlPeople(Body, frozen=True):
    """Who is let in, by what names (storage.nouns.People). `name` is an attribute, or NameID for that itself."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "NameID"
    domains: Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)] = ()
    claims: Annotated[dict[Name, Claimed], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=dict)
    joins: bool = False
    groups: Name = ""
    teams: Annotated[dict[Claimed, Name], msgspec.Meta(max_length=200)] = msgspec.field(default_factory=dict)


Description = Annotated[str, msgspec.Meta(min_length=1, max_length=256 << 10)]


class NewSamlProvider(Body, frozen=True):
    """`metadata` is the provider's own document; `entity_id` says which is meant where it describes several. `audience`
    is what this node is called there. `subject` and `unsolicited` as in storage.nouns.Saml. Requests are signed where
    the metadata wants that, and with `sign_requests` in any case. `accept_cbc`: what is encrypted by CBC is opened also
    where nothing around it is signed."""

    name: Name
    metadata: Description
    audience: Claimed
    entity_id: Annotated[str, msgspec.Meta(max_length=1_024)] = ""
    subject: Name = ""
    unsolicited: bool = False
    sign_requests: bool = False
    accept_cbc: bool = False
    private_network: bool = False
    people: SamlPeople = msgspec.field(default_factory=SamlPeople)


class NewMetadata(Body, frozen=True):
    """`sign_requests` and `accept_cbc` as in NewSamlProvider; null = as before."""

    metadata: Description
    sign_requests: bool | None = None
    accept_cbc: bool | None = None


class IdentityToken(Body, frozen=True):
    """`service` "" = the one that the claims lead to."""

    workspace: Name
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=1 << 15)]
    service: Name = ""

    def __repr__(self) -> str:
        return "IdentityToken(hidden)"


EventNames = Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)]
Query = Annotated[str, msgspec.Meta(max_length=500)]
Template = Annotated[str, msgspec.Meta(max_length=16_384)]
HeaderValue = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Headers = Annotated[dict[Name, HeaderValue], msgspec.Meta(max_length=20)]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class NewWebhook(Body, frozen=True):
    """Of one `repository` of the workspace, "" = of all of it. No `events` = all there are. `template` "" = the event
    as JSON. Nobody is ever shown the path of `url`, nor the values of `headers`."""

    name: Name
    url: Address
    repository: Name = ""
    events: EventNames = ()
    query: Query = ""
    template: Template = ""
    media: Name = "application/json"
    headers: Headers = {}
    private_network: bool = False

    def __repr__(self) -> str:
        return "NewWebhook(hidden)"


class EditWebhook(Body, frozen=True):
    """What is not named stays; but the headers of one that leads into the private network no more, which go."""

    url: Address | None = None
    events: EventNames | None = None
    query: Query | None = None
    template: Template | None = None
    media: Name | None = None
    headers: Headers | None = None
    private_network: bool | None = None
    enabled: bool | None = None

    def __repr__(self) -> str:
        return "EditWebhook(hidden)"


class Replay(Body, frozen=True):
    """Behind which Serials. `system_serial` null = nothing of SYSTEM's journal is told again."""

    serial: Count
    system_serial: Count | None = None


class NewEdge(Body, frozen=True):
    """`workspaces` () = all. `parent`: other edges may follow through it. `expires_s` is how long its code is good."""

    name: Name
    region: Name
    workspaces: Annotated[tuple[Name, ...], msgspec.Meta(max_length=EDGE_WORKSPACES_MAX)] = ()
    parent: bool = False
    expires_s: Annotated[int, msgspec.Meta(ge=10, le=24 * 3600)] = 3600


class EditEdge(Body, frozen=True):
    """`workspaces` () = all."""

    workspaces: Annotated[tuple[Name, ...], msgspec.Meta(max_length=EDGE_WORKSPACES_MAX)]
