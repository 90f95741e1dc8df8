"""What does the API answer of Workspaces, Repositories and what is set of them?"""

from typing import Literal

from gateway.console.shapes.replies import Page, Texts, Told


class Workspace(Told, frozen=True):
    """`deleted_ms` is told of one that is not there any more."""

    name: str
    created_ms: int
    description: str
    deleted_ms: int = 0


class Deletion(Told, frozen=True):
    """What goes with a workspace. `accounts` are service accounts and managed users, `tokens` those that reach nothing
    else; of packages at most a million are counted."""

    workspace: str
    repositories: int
    packages: int
    files: int
    bytes: int
    bin_files: int
    bin_bytes: int
    members: int
    teams: int
    accounts: int
    providers: int
    tokens: int
    entitlements: int
    webhooks: int
    hosts: int
    upstreams: int
    signing_keys: int


class Upstream(Told, frozen=True):
    """`url`, `allow` and `private_network` are null but for who manages the repository, or reads all of it by a right
    of its own that is no customer's. `signed_by` are fingerprints."""

    format: str
    name: str
    url: str | None
    fresh_s: int
    negative_s: int
    allow: Texts | None
    private_network: bool | None
    signed_by: Texts


class Repository(Told, frozen=True):
    workspace: str
    name: str
    public: bool
    upstreams: tuple[Upstream, ...]
    created_ms: int
    lease_s: int
    bin_s: int


class Repositories(Page[Repository], frozen=True):
    """`left_out`: so many are not told of, as this edge may not tell of them until it hears its origin again."""

    left_out: int = 0


class RepositoryWithFormats(Repository, frozen=True):
    formats: Texts


class Allowed(Told, frozen=True):
    name: str
    allowed: bool


class Key(Told, frozen=True):
    fingerprint: str


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
    """`left_out`: of so many repositories it is not told, as this edge may not tell of them until it hears its origin
    again."""

    repositories: tuple[Usage, ...]
    left_out: int = 0


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
    that has not been so. `left_out_bytes` have no room here. What came from foreign registries is counted among all,
    and by itself too (`foreign_`)."""

    workspace: str
    repository: str
    files: int
    bytes: int
    here_files: int
    here_bytes: int
    left_out_bytes: int
    foreign_files: int
    foreign_bytes: int
    foreign_here_files: int
    foreign_here_bytes: int
    serial: int
    whole_serial: int
    lag_ms: int
    problem: str


class ReplicatedHere(Page[Replicated], frozen=True):
    """`left_out`: of so many repositories it is not told, as this edge may not tell of them until it hears its origin
    again."""

    left_out: int = 0
