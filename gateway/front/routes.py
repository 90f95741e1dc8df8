"""Which repository, which format and which path does a request name? Pure; used alike at origin and edge.

Every format lies below /{workspace}/{repository}/{format}/ but one: the clients of OCI put /v2/ first, whatever the
operator would like, so that room lies at /v2/{workspace}/{repository}/, and there alone.
"""

import msgspec

from formats.kit.contract import Ask, Room
from gateway.delivery.heads import Head
from storage.errors import Invalid

CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "x-nuget-apikey"})
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


def is_the_origins(head: Head) -> bool:
    """Does an edge hand this call of the API on? Changes, and what only an origin has; not what it does to itself."""
    segments = head.segments[2:]
    if segments[:2] == ("v1", "scrub"):
        return False
    return head.method not in ("GET", "HEAD", "OPTIONS") or segments[:2] == ("v1", "sweep")


def place_of(head: Head) -> Place | None:
    """The place of a package request; None where the path is too short to name one."""
    segments = head.segments
    raw = head.raw_path.lstrip("/").split("/")
    secret = ""
    if segments[0] == V2:
        if len(segments) < 4:
            return None
        _, workspace, repository = segments[:3]
        return Place(workspace, repository, OCI, segments[3:], "/".join(raw[3:]), f"/{V2}/{workspace}/{repository}")
    if len(segments) > 2 and segments[0] == "t":
        secret, segments, raw = segments[1], segments[2:], raw[2:]
    if len(segments) < 3 or segments[2] == OCI:
        return None
    workspace, repository, room = segments[:3]
    home = f"/{workspace}/{repository}/{room}"
    return Place(workspace, repository, room, segments[3:], "/".join(raw[3:]), home, secret)


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
        query=head.query,
        headers={name: value for name, value in head.headers.items() if name not in CREDENTIAL_HEADERS},
        base=f"{head.scheme}://{head.host}{place.home}",
        workspace=place.workspace,
        repository=place.repository,
        principal=principal,
        at_ms=at_ms,
        format=place.format,
    )
