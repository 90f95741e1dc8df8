"""What was downloaded, and by whom? Asked of a node's client log."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.plotting import bars, with_empty_days
from gateway.cli.terminal.sizes import count_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, instant, place, seconds, when
from gateway.console.calls.clock import now_ms

HOUR_MS, DAY_S = 3600 * 1000, 24 * 3600
LIMIT_MAX, PACKAGELESS_ROWS = 1000, 20
"""At most so many rows of the packages are about none: one of each format, and one without."""
WHAT = {"packages": "package", "countries": "country", "clients": "client", "principals": "principal"}


def usage(
    workspace: AtWorkspace = "",
    /,
    *,
    by: str = "",
    repository: str = "",
    since: str = "30d",
    limit: int = 100,
    plot: Annotated[bool, Parameter(negative="")] = False,
    order: Literal["requests", "bytes"] = "requests",
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
        Any of workspace, repository, package, version, country, client, principal, day, hour, node, outcome, status,
        with commas; repository and day without, or with --plot the day alone.
    repository
        Of this repository alone.
    since
        Not older than this: 12h, 7d.
    limit
        At most so many rows.
    plot
        Draw bars instead of a table.
    order
        By requests or bytes, which is also what bars show.
    """
    by = by or ("day" if plot else "repository,day")
    if plot:
        limit = max(limit, 1000)
    found = _asked(workspace, by, order, repository, "", since, limit, url, profile)
    if plot and not json:
        rows = [("  ".join(one[name] for name in by.split(",")), one[order]) for one in found["items"]]
        in_time = sorted(rows) if by == "hour" else with_empty_days(rows) if by == "day" else rows
        Output(json).fact(found, bars(in_time) or "nothing")
        _note_missing(found, json)
        return
    _shown(found, by, json)


def pulls(
    repository: str,
    package: str,
    /,
    *,
    format: str,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Show how often each version and tag of a package was downloaded, at all nodes, and when last.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    package
        Its name.
    format
        pypi, npm, oci, ...
    """
    with reach(url, profile) as node:
        found: Any = node.get(f"/repositories/{place(repository)}/pulls/{quote(package)}", format=format)
    rows = [
        (kind, one["name"], one["downloads"], when(one["last_pull_ms"]))
        for kind, many in (("version", found["versions"]), ("tag", found["tags"])) for one in many
    ]  # fmt: skip
    Output(json).rows(found, ("", "name", "downloads", "last pull"), rows)
    until = when(found["counted_until_ms"])
    Output(json).note(
        f"All pulls before {until} are in it." if until else "Some node has not told yet how far its pulls are in it."
    )


def top(
    what: Literal["packages", "countries", "clients", "principals"],
    workspace: AtWorkspace = "",
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
    by = WHAT[what]
    more = PACKAGELESS_ROWS if what == "packages" else 0
    found = _asked(workspace, by, order, repository, country, since, min(limit + more, LIMIT_MAX), url, profile)
    if more:  # an index page or a refused request is about none
        found["items"] = [one for one in found["items"] if one[by].partition(":")[2]][:limit]
    _shown(found, by, json)


def _asked(
    workspace: str, by: str, order: str, repository: str, country: str, since: str, limit: int, url: str, profile: str
) -> Any:
    told = {"by": by, "order": order, "repository": repository, "country": country, "limit": str(limit)}
    with reach(url, profile) as node:
        return node.get(path_of(workspace, "traffic"), **told, **since_of(since))


def _shown(found: Any, by: str, json: bool) -> None:
    columns = (*by.split(","), "requests", "bytes")
    Output(json).rows(found, columns, [tuple(called(one, name) for name in columns) for one in found["items"]])
    _note_missing(found, json)


def called(one: Any, column: str) -> Any:
    """A cell; a principal by its name, with its id."""
    name = one.get("principal_name") if column == "principal" else ""
    return f"{name} {one[column]}" if name else one[column]


def _note_missing(found: Any, json: bool) -> None:
    """Say what is known not to be in these numbers."""
    lost = found["missing"]
    if not lost["gaps"]:
        return
    counted = count_of(lost["lines"], "line") if lost["lines"] else "nobody knows how many lines"
    since, until = instant(lost["since_ms"]), instant(lost["until_ms"])
    Output(json).note(f"Not in these numbers: {counted} of the log, lost between {since} and {until}.")


def path_of(workspace: str, what: str) -> str:
    """The address of what is asked of one workspace, or, with "", of all."""
    return f"/workspaces/{workspace}/{what}" if workspace else f"/{what}"


def since_of(text: str) -> dict[str, str]:
    """The argument for a time so long ago; where that is a day or more, for the beginning of its hour."""
    at_ms = now_ms() - seconds(text) * 1000
    return {"since_ms": str(at_ms - at_ms % (HOUR_MS if seconds(text) >= DAY_S else 1))} if text else {}
