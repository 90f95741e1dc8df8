"""How often was each version and tag of a package downloaded, when last, and up to when is that all there was?

Counted from the client logs of all nodes, so a node that has not sent all of its own yet may know of later pulls:
`counted_until_ms` is the time before which every pull at every node is in these numbers. Whoever decides by what was
not pulled (retention) must not look behind it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gateway.access.rights.verdicts import judge
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import REPOSITORY_READ
from gateway.console.packages import replies
from gateway.console.packages.parts import may_know
from gateway.logs.register import NEVER, Pull, Register
from gateway.logs.segments import OWN
from storage.errors import Absent, Invalid, Unavailable
from storage.index.catalog import Reading

ROUTES = Routes("/-/api/v1")


class Certain(NamedTuple):
    """All pulls before `until_ms` are counted, but for some before `lost_ms` that a node lost (0 = none)."""

    until_ms: int
    lost_ms: int


def certain(reading: Reading, register: Register) -> Certain:
    """Over all nodes that may serve now. A node that never told anything holds all of it at 0."""
    edges = [one.name for one in reading.edges() if one.key and not one.revoked_ms]
    tokens = [one.id for one in reading.edge_tokens()]
    known = register.known([OWN, *(name.replace(".", "-") for name in (*edges, *tokens))]).values()
    return Certain(min(one.until_ms for one in known), max(one.lost_ms for one in known))


@ROUTES.add(
    "GET",
    "/repositories/<workspace>/<repository>/pulls/<path:package>",
    REPOSITORY_READ,
    ("format",),
    gives=replies.Pulls,
)
async def show_pulls(call: Call) -> Reply:
    """Of a package that is here, or was once: downloads are kept when versions go."""
    if call.services.register is None:
        raise Unavailable("This node counts no downloads.", "Ask the origin.")
    format = call.argument("format")
    if format not in call.services.formats:
        raise Invalid("The argument format names no format.", f"One of {', '.join(call.services.formats)}.")
    workspace, repository = call.at["workspace"], call.at["repository"]
    name = call.services.normalise(format, call.at["package"])
    register = call.services.register
    with call.read() as reading:
        if not may_know(call, reading)(format, name):
            raise Absent("This repository holds no such package.")
        since_ms = judge(reading, call.principal, workspace, repository, "read").at_ms
        there = reading.view(workspace, repository, format).package(name) is not None
        sure = certain(reading, register)
    versions = register.package(workspace, repository, format, name, since_ms=since_ms)
    if not there and not versions:
        raise Absent("This repository holds no such package.")
    told = {
        "downloads": sum(one.downloads for one in versions.values()),
        "last_pull_ms": max((one.last_ms for one in versions.values()), default=0),
        "versions": _shown(versions.items()),
        "tags": _shown(register.tags(workspace, repository, format, name, since_ms=since_ms).items()),
        "counted_until_ms": sure.until_ms,
        "lost_until_ms": sure.lost_ms,
    }
    return Reply(200, told)


def of_version(versions: dict[str, Pull] | None, name: str) -> dict[str, int | None]:
    """What is told beside a version; null where this node does not count."""
    if versions is None:
        return {"downloads": None, "last_pull_ms": None}
    one = versions.get(name, NEVER)
    return {"downloads": one.downloads, "last_pull_ms": one.last_ms}


def _shown(pulls: Iterable[tuple[str, Pull]]) -> list[dict[str, object]]:
    return [{"name": name, "downloads": one.downloads, "last_pull_ms": one.last_ms} for name, one in sorted(pulls)]
