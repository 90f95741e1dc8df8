"""What was downloaded, and by whom? Asked of a node's client log."""

import datetime
from typing import Any, Literal

from gateway.cli.client import reach
from gateway.cli.output import Output
from gateway.cli.words import AsJson, AsProfile, AtUrl, seconds
from gateway.console.clock import now_ms

WHAT = {"packages": "package", "countries": "country", "clients": "client", "principals": "principal"}


def usage(
    workspace: str = "",
    /,
    *,
    by: str = "repository,day",
    repository: str = "",
    since: str = "30d",
    limit: int = 100,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Count requests and bytes that clients were served.

    Parameters
    ----------
    workspace
        One workspace; without it all, for admins of the node.
    by
        Any of workspace, repository, package, country, client, principal, day, node, outcome, status, with commas.
    repository
        Of this repository alone.
    since
        Not older than this: 12h, 7d.
    limit
        At most so many rows.
    """
    _counted(workspace, by, "requests", repository, "", since, limit, json, url, profile)


def top(
    what: Literal["packages", "countries", "clients", "principals"],
    workspace: str = "",
    /,
    *,
    repository: str = "",
    country: str = "",
    since: str = "30d",
    order: Literal["requests", "bytes"] = "requests",
    limit: int = 20,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Show what was asked for most.

    Parameters
    ----------
    what
        packages, countries, clients or principals.
    workspace
        One workspace; without it all, for admins of the node.
    repository
        Of this repository alone.
    country
        From this country alone: two letters.
    since
        Not older than this: 12h, 7d.
    order
        By requests or bytes.
    limit
        At most so many rows.
    """
    _counted(workspace, WHAT[what], order, repository, country, since, limit, json, url, profile)


def logs(
    workspace: str = "",
    /,
    *,
    repository: str = "",
    package: str = "",
    principal: str = "",
    status: str = "",
    since: str = "24h",
    limit: int = 100,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Show requests, the latest first; they are there a minute or two after they were answered.

    Parameters
    ----------
    workspace
        One workspace; without it all, for admins of the node.
    repository
        Of this repository alone.
    package
        Of this package alone.
    principal
        Of who has this id.
    status
        With this status.
    since
        Not older than this: 30m, 12h.
    limit
        At most so many.
    """
    told = {"repository": repository, "package": package, "principal": principal, "status": status}
    with reach(url, profile) as node:
        found: Any = node.get(_path(workspace, "logs"), **told, **_since(since), limit=str(limit))
    columns = ("time", "node", "peer", "method", "status", "bytes", "outcome", "principal", "format", "package", "file")
    rows = [(_time(one["time_ms"]), *(one[name] for name in columns[1:])) for one in found["items"]]
    Output(json).rows(found, columns, rows)


def _counted(
    workspace: str, by: str, order: str, repository: str, country: str, since: str, limit: int, json: bool, url: str,
    profile: str,
) -> None:  # fmt: skip
    told = {"by": by, "order": order, "repository": repository, "country": country, "limit": str(limit)}
    with reach(url, profile) as node:
        found: Any = node.get(_path(workspace, "traffic"), **told, **_since(since))
    columns = (*by.split(","), "requests", "bytes")
    Output(json).rows(found, columns, [tuple(one[name] for name in columns) for one in found["items"]])


def _path(workspace: str, what: str) -> str:
    return f"/workspaces/{workspace}/{what}" if workspace else f"/{what}"


def _since(text: str) -> dict[str, str]:
    return {"since_ms": str(now_ms() - seconds(text) * 1000)} if text else {}


def _time(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
