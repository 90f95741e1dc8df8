"""What was downloaded and by whom? Counted and listed from the client log, for who manages a Workspace or the node."""

from collections.abc import Callable

import msgspec

from gateway.access.peers.edges import sees
from gateway.console.calls.call import PAGE, Call, Reply, Routes, whole_in
from gateway.console.calls.permissions import NODE_ADMIN, WORKSPACE_STATISTICS
from gateway.console.history import replies
from gateway.console.history.whose import whose, with_names
from gateway.console.shapes.replies import Page
from gateway.logs.questions import Questions
from gateway.logs.rollups import BY, DAY_MS, HOUR_MS
from gateway.logs.tasks import Filter
from storage.errors import Invalid, Unavailable

ROUTES = Routes("/-/api/v1")
NARROWING = (
    "repository",
    "format",
    "package",
    "version",
    "principal",
    "country",
    "client",
    "status",
    "since_ms",
    "until_ms",
)
OF_LINES = (*NARROWING, "edges")
"""What edges fetched for their clients is left out of lines unless it is asked for; no count has it."""
_LINES = Page[replies.LogLine]
_EDGE = "edge:"
ORDERS = ("requests", "bytes")


@ROUTES.add(
    "GET",
    "/traffic",
    NODE_ADMIN,
    (*NARROWING, "by", "order", "limit", "workspace"),
    gives=replies.Counted,
)
async def traffic_of_all(call: Call) -> Reply:
    return await _counted(call, call.argument("workspace"))


@ROUTES.add("GET", "/logs", NODE_ADMIN, (*OF_LINES, *PAGE, "workspace"), gives=_LINES)
async def lines_of_all(call: Call) -> Reply:
    return await _found(call, call.argument("workspace"))


@ROUTES.add(
    "GET",
    "/workspaces/<workspace>/traffic",
    WORKSPACE_STATISTICS,
    (*NARROWING, "by", "order", "limit"),
    gives=replies.Counted,
)
async def traffic(call: Call) -> Reply:
    return await _counted(call, call.at["workspace"])


@ROUTES.add("GET", "/workspaces/<workspace>/logs", WORKSPACE_STATISTICS, (*OF_LINES, *PAGE), gives=_LINES)
async def lines(call: Call) -> Reply:
    return await _found(call, call.at["workspace"])


def asking(call: Call) -> Questions:
    """Whom to ask. Raises Unavailable."""
    if call.services.questions is None:
        raise Unavailable("This node keeps no client log of others.", "Ask the origin.")
    return call.services.questions


async def _counted(call: Call, workspace: str) -> Reply:
    questions = asking(call)
    by = tuple(call.argument("by", "repository").split(","))
    if not set(by) <= set(BY) or len(set(by)) < len(by):
        raise Invalid("That is nothing to count by.", f"By some of: {', '.join(BY)}.")
    order = call.argument("order", "requests")
    if order not in ORDERS:
        raise Invalid("That is no order.", "Order by requests or bytes.")
    counted = await questions.count(
        filter_of(call, workspace), nodes_of(call, workspace), by, call.limit(), by_bytes=order == "bytes"
    )
    missing = msgspec.structs.asdict(counted.missing)
    return Reply(200, {"items": with_names(call, workspace, counted.items), "next": None, "missing": missing})


async def _found(call: Call, workspace: str) -> Reply:
    """A page begins behind the millisecond of the last line, and so many lines of that as were told before."""
    limit, (at, _, told) = call.limit(), call.argument("after").partition(":")
    filter, skip = filter_of(call, workspace), whole_in(told)
    if at:
        filter = msgspec.structs.replace(filter, until_ms=min(filter.until_ms, whole_in(at) + 1))
    items = await asking(call).find(filter, nodes_of(call, workspace), limit + 1, skip)
    more, items = len(items) > limit, with_names(call, workspace, items[:limit])
    if not more:
        return Reply(200, {"items": items, "next": None})
    last = items[-1]["time_ms"]
    same = sum(one["time_ms"] == last for one in items) + (skip if at == str(last) else 0)
    return Reply(200, {"items": items, "next": f"{last}:{same}"})


def filter_of(call: Call, workspace: str) -> Filter:
    """Which lines a call asks for. Raises Invalid."""
    now_ms, principal = call.services.now_ms(), call.argument("principal")
    until_ms = number(call, "until_ms", now_ms + 1000)
    return Filter(
        number(call, "since_ms", max(0, until_ms - until_ms % HOUR_MS - 30 * DAY_MS)),
        until_ms,
        workspace,
        call.argument("repository"),
        call.argument("format"),
        call.argument("package"),
        call.argument("version"),
        whose(call, workspace, principal),
        call.argument("country"),
        call.argument("client"),
        number(call, "status", 0),
        call.flag("edges") or principal.startswith(_EDGE),
    )


def number(call: Call, name: str, default: int) -> int:
    """The number that an argument is. Raises Invalid."""
    text = call.argument(name)
    if text and not (text.isascii() and text.isdigit() and len(text) < 15):
        raise Invalid(f"The argument {name} is no number that can be used.")
    value = int(text) if text else default
    if name == "status" and value > 999:
        raise Invalid("That is no status.")
    return value


def nodes_of(call: Call, workspace: str) -> Callable[[str], bool]:
    """Which nodes are heard. Of one Workspace only those nodes may tell that may see it: no other can count for it."""
    with call.read() as reading:
        edges = {one.name: one for one in reading.edges()}
        tokens = {
            one.id for one in reading.edge_tokens() if any(grant.scope in ("*", workspace) for grant in one.grants)
        }

    def may(node: str) -> bool:
        edge = edges.get(node)
        return not workspace or node in tokens or (edge is not None and sees(edge, workspace))

    return may
