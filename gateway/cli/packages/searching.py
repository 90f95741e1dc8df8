"""Where is a package, of all that one may read?"""

from itertools import islice
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from gateway.cli.terminal.client import reach, say_left_out
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl


def search(
    query: str,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 100,
    sort: Literal["name", "updated", "size", "downloads"] = "name",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Find packages by what they are called, hold, are licensed as, come from.

    Parameters
    ----------
    query
        Words and field:value, with AND, OR, NOT and parentheses: 'name:^django version:>=4 format:pypi'. The fields
        are name, format, repository, workspace, version, tag, filename, checksum, size (1m), uploaded (2026-11-28),
        license, architecture, type (wheel, sdist, jar, image, index, deb, source), distribution, component, dependency
        ("django>=4"), prerelease (true), uploader, status (available, quarantined, deleted = in the bin), quarantined,
        downloads, last_downloaded and upstream ("*" = whatever is known from upstreams).
    limit
        How many packages to tell of at most.
    sort
        By name, or the latest, the largest or the most downloaded first.
    """
    with reach(url, profile) as node:
        found = list(islice(node.items("/search", q=query, sort=sort, limit=str(min(limit, 1000))), limit))
    rows = [(f"{one['workspace']}/{one['repository']}", one["format"], one["name"], *_newest(one)) for one in found]
    columns = ("repository", "format", "package", "version", "license", "downloads", "upstream")
    out = Output(json)
    out.rows({"items": found} | node.left_out, columns, rows)
    say_left_out(out, node.left_out)


def _newest(item: dict[str, Any]) -> tuple[object, ...]:
    """What is told of the latest version that is found."""
    one = next(iter(item["versions"]), None)
    if one is None:
        return ("", "", "", item["upstream"])
    name = one["name"] if one["status"] == "available" else f"{one['name']} ({one['status']})"
    return (name, ", ".join(one["licenses"]), "" if one["downloads"] is None else one["downloads"], item["upstream"])
