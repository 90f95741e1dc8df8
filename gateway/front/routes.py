"""Which repository, which format and which path does a request name? Pure; used alike at origin and edge.

A host name may be bound to a Workspace or a Repository: then paths leave out what it implies, and the full path means
something else there, so that one thing has one address on each host. What a request is for never hangs on the port.

Every format lies below /{workspace}/{repository}/{format}/ but one: the clients of OCI put /v2/ first, whatever the
operator would like, so that room lies at /v2/{workspace}/{repository}/, and there alone.
"""

import msgspec

from formats.kit.contract import Ask, Room
from gateway.access.credentials.tickets import ARGUMENT as TICKET
from gateway.delivery.messages.heads import Head
from storage.errors import Invalid
from storage.nouns import Host

CREDENTIAL_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "x-nuget-apikey", "x-entrepot-edge"}
)
"""Never shown to a room."""

V2 = "v2"
OCI = "oci"


class Place(msgspec.Struct, frozen=True):
    """Where a request points. `home` is the path of the repository's room. `secret` comes from /t/{secret}/ ahead of
    the path, for tools that have nothing else."""

    workspace: str
    repository: str
    format: str
    segments: tuple[str, ...]
    raw_path: str
    home: str
    secret: str = ""


PEOPLES = frozenset(("sign-in", "sign-out", "account", "set-password", "device", "authorize"))
"""The pages for people, which an origin alone has."""


def is_the_origins(head: Head) -> bool:
    """Does an edge hand this call of the API on? Changes, and what only an origin has; not what it does to itself."""
    if head.segments[1:2] == ("scim",):  # an edge need not know what is told of people there
        return True
    if head.segments[1:2] and head.segments[1] in PEOPLES:
        return True
    segments = head.segments[2:]
    if segments[:2] == ("v1", "scrub"):
        return False
    if segments == ("v1", "tokens") or segments[:2] == ("v1", "edges"):
        return True  # it knows when those were last used, wherever that was, and what these last said of themselves
    if segments[1:2] and segments[1] in ("sweep", "audit", "traffic", "logs"):
        return True
    if segments[1:2] == ("workspaces",) and segments[3:4] in (("audit",), ("traffic",), ("logs",), ("webhooks",)):
        return True
    if segments[1:2] == ("repositories",) and segments[4:5] == ("pulls",):
        return True
    if segments[1:2] == ("workspaces",) and segments[3:4] == ("entitlements",) and len(segments) == 5:
        return True  # it counts what was used, wherever that was
    return head.method not in ("GET", "HEAD", "OPTIONS")


def host_name(host: str) -> str:
    """The name in a Host field, as hosts are bound: lower case, without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower().rstrip(".")


def implied_by(host: Host | None) -> tuple[str, ...]:
    """The first names of a path that a host stands for."""
    return tuple(host.scope.split("/")) if host is not None and host.scope else ()


def place_of(head: Head, host: Host | None = None) -> Place | None:
    """The place of a package request at `host`; None where the path is too short to name one."""
    implied = implied_by(host)
    segments, raw = head.segments, head.raw_path.lstrip("/").split("/")
    secret, front = "", tuple[str, ...]()
    if segments[0] == V2:
        if len(segments) < 3 or segments[1] == "-":
            return None  # of the registry itself, on every host
        front, segments, raw = (V2,), segments[1:], raw[1:]
    elif len(segments) > 2 and segments[0] == "t":
        secret, segments, raw = segments[1], segments[2:], raw[2:]
    segments, raw = (*implied, *segments), [*implied, *raw]
    names = 2 if front else 3
    if len(segments) < 3 or (segments[2] == OCI and not front):
        return None
    home = "/" + "/".join((*front, *segments[len(implied) : names]))
    format = OCI if front else segments[2]
    return Place(segments[0], segments[1], format, segments[names:], "/".join(raw[names:]), home, secret)


def full_home(workspace: str, repository: str, format: str) -> str:
    """The home of a room where no host name implies anything: how nodes ask each other."""
    return f"/{V2}/{workspace}/{repository}" if format == OCI else f"/{workspace}/{repository}/{format}"


def check_slashes(place: Place, room: Room) -> None:
    """Raises Invalid for an escaped slash where the format knows none."""
    if not room.escaped_slash and any("/" in segment for segment in place.segments):
        raise Invalid("The path holds an escaped slash (%2F).", "Send the slash as it is, or rename the file.")


def ask_of(head: Head, place: Place, principal: str, at_ms: int) -> Ask:
    """The request as its room sees it; `check_slashes` says whether it may come so far."""
    return Ask(
        method=head.method,
        path="/".join(place.segments),
        raw_path=place.raw_path,
        query=tuple(pair for pair in head.query if pair[0] != TICKET) if head.query else (),
        headers={name: value for name, value in head.headers.items() if name not in CREDENTIAL_HEADERS},
        base=f"{head.scheme}://{head.host}{place.home}",
        workspace=place.workspace,
        repository=place.repository,
        principal=principal,
        at_ms=at_ms,
        format=place.format,
    )
