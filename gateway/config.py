"""Which limits and places does a node run with? One frozen tree, refusing unknown keys, units in the names."""

import msgspec

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the configuration."""


class Delivery(Section, frozen=True):
    """The listener's bounds."""

    head_bytes_max: int = 16 * KIB
    head_seconds_max: float = 10.0
    idle_seconds_max: float = 75.0
    body_idle_seconds_max: float = 15.0
    body_rate_min_bytes_s: int = 512
    send_rate_min_bytes_s: int = 512
    connections_max: int = 12_000
    requests_running_max: int = 2_000
    fill_threads_max: int = 16
    notice_seconds: float = 0.0
    drain_seconds_max: float = 10.0
    memo_entries_max: int = 20_000
    small_body_bytes_max: int = 16 * KIB


class Intake(Section, frozen=True):
    """What may be received."""

    body_bytes_max: int = 64 * GIB
    field_bytes_max: int = 1 * MIB
    fields_max: int = 1_000
    memory_bytes_max: int = 1 * MIB
    session_seconds_max: int = 7 * 24 * 3600
    sessions_max: int = 10_000
    sessions_workspace_max: int = 2_000
    cut: bool = True


class Sandbox(Section, frozen=True):
    """Limits of the processes that take hostile packages apart."""

    processes: int = 1
    seconds_max: float = 20.0
    memory_bytes_max: int = 768 * MIB
    derived_bytes_max: int = 8 * GIB


class Cache(Section, frozen=True):
    """The part of the disk that may be forgotten: foreign files, pulled blobs, rendered documents."""

    disk_bytes_max: int = 64 * GIB
    pins: tuple[str, ...] = ()
    """workspace/repository[/format[/package]]"""
    shares: tuple[str, ...] = ()
    """workspace[/repository]=LEAST-MOST, in per cent of disk_bytes_max"""
    small_share_min: float = 0.05
    flights_max: int = 256
    fill_seconds_max: float = 3600.0
    silence_seconds_max: float = 20.0
    connect_seconds_max: float = 5.0
    stale_seconds_max: int = 7 * 24 * 3600
    lease_seconds: float = 30.0
    range_alone_bytes_min: int = 32 * MIB


class Replication(Section, frozen=True):
    """What an edge holds before anybody asks, by the policies for its region."""

    region: str = ""
    """of an edge that has a token instead of a certificate, which says it by itself"""
    rate_max_bytes_s: int = 0
    files_at_a_time_max: int = 2
    disk_share_max: float = 0.9
    foreign_files_max: int = 100_000
    foreign_days_max: int = 30
    foreign_share_max: float = 0.3


class Upkeep(Section, frozen=True):
    """Work over the whole store, at its hours."""

    sweep_every_seconds: int = 3600
    sweep_grace_seconds: int = 24 * 3600
    sweep_garbage_share_min: float = 0.5
    sweep_rate_max_bytes_s: int = 512 * MIB
    scrub_every_seconds: int = 7 * 24 * 3600
    scrub_rate_max_bytes_s: int = 20 * MIB


class Audit(Section, frozen=True):
    """The history as evidence, at an origin."""

    heads_every_seconds: float = 60.0


class Logs(Section, frozen=True):
    """What clients asked for, in segments of columns."""

    written: bool = True
    countries: str = ""
    """Path of a file in MaxMind's format; "" = none"""
    take_every_seconds: float = 60.0
    take_bytes: int = 32 * MIB
    keep_days: int = 90
    keep_rollups_days: int = 400
    keep_bytes_max: int = 16 * GIB
    waiting_bytes_max: int = 1 * GIB
    memory_bytes_max: int = 1 * GIB
    seconds_max: float = 30.0


class Traces(Section, frozen=True):
    """Which requests are told to a collector of traces, step by step."""

    endpoint: str = ""
    """Where OTLP over HTTP is taken, as http://HOST:4318/v1/traces; "" = nothing is traced"""
    headers_file: str = ""
    """Path of a file with a `Name: value` a line; "" = none"""
    sample_ratio: float = 0.01
    client_traces_s_max: float = 0.0
    waiting_spans_max: int = 4_096


class Webhooks(Section, frozen=True):
    """How an origin tells receivers what happens."""

    attempts_max: int = 16
    retry_seconds_min: float = 5.0
    retry_seconds_max: float = 6 * 3600.0
    disable_seconds: float = 3 * 24 * 3600.0
    answer_seconds_max: float = 15.0
    parallel_each_max: int = 4
    parallel_max: int = 16


class Notices(Section, frozen=True):
    """What an origin tells of that nobody did."""

    quota_near_share: float = 0.9
    quota_again_seconds: int = 24 * 3600


class Limits(Section, frozen=True):
    """How many requests are taken in a window; 0 = any number."""

    window_seconds: float = 60.0
    token_requests_max: int = 0
    address_requests_max: int = 0
    workspace_requests_max: int = 0
    idempotency_keys_max: int = 10_000


class SignIn(Section, frozen=True):
    """How people sign in, at an origin."""

    url: str = ""
    """Where people reach it, as https://HOST; "" = where they ask"""
    session_idle_seconds: int = 8 * 3600
    session_seconds_max: int = 7 * 24 * 3600
    password_memory_kib: int = 19 * 1024
    password_passes: int = 2
    password_lanes: int = 1
    tries_seconds: float = 900.0
    address_tries_max: int = 60
    name_tries_max: int = 10
    name_tries_everywhere_max: int = 100
    link_seconds: int = 24 * 3600
    token_seconds_max: int = 366 * 24 * 3600


class Regions(Section, frozen=True):
    """In which region is a client that came by a global name?"""

    networks: tuple[tuple[str, str], ...] = ()
    """(network as 10.1.0.0/16, region); the most specific one counts."""
    geo: str = ""
    places: tuple[tuple[str, str], ...] = ()
    """(ISO country or two-letter continent code, region)"""
    default: str = ""


class Proxies(Section, frozen=True):
    """Somebody else's proxies and load balancers ahead of this node."""

    trusted: tuple[str, ...] = ()
    """Networks, as 10.1.0.0/16."""
    protocol: bool = False


class Tls(Section, frozen=True):
    """Certificates by host name: the first is the default. Paths of PEM files."""

    port: int = 0
    certificates: tuple[tuple[str, str, str], ...] = ()
    """(host name, certificate chain, private key)"""


class Peers(Section, frozen=True):
    """The listener for edges: mutual TLS by the origin's own authority. `port` 0 = none."""

    port: int = 0
    silence_seconds_max: float = 20.0


class Node(Section, frozen=True):
    """One node. `role` is origin or edge; an edge has `parents`, and a certificate or a `parent_token`."""

    role: str = "origin"
    data: str = "./entrepot-data/origin"
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    parents: tuple[str, ...] = ()
    parent_token: str = ""
    delivery: Delivery = Delivery()
    intake: Intake = Intake()
    sandbox: Sandbox = Sandbox()
    cache: Cache = Cache()
    replication: Replication = Replication()
    upkeep: Upkeep = Upkeep()
    audit: Audit = Audit()
    logs: Logs = Logs()
    traces: Traces = Traces()
    webhooks: Webhooks = Webhooks()
    notices: Notices = Notices()
    limits: Limits = Limits()
    sign_in: SignIn = SignIn()
    regions: Regions = Regions()
    proxies: Proxies = Proxies()
    tls: Tls = Tls()
    peers: Peers = Peers()
