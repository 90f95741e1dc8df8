"""Where is a package, of all that one may read?"""

from itertools import islice
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from gateway.cli.client import reach
from gateway.cli.output import Output
from gateway.cli.words import AsJson, AsProfile, AtUrl


def search(
    query: str,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 100,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Find packages by name, version, tag, file, size or day.

    Parameters
    ----------
    query
        Words and field:value, with AND, OR, NOT and parentheses: 'name:^django version:>=4 format:pypi'. The fields
        are name, format, repository, workspace, version, tag, filename, checksum, size and uploaded.
    limit
        How many packages to tell of at most.
    """
    with reach(url, profile) as node:
        found = list(islice(node.items("/search", q=query, limit=str(min(limit, 1000))), limit))
    rows = [(f"{one['workspace']}/{one['repository']}", one["format"], one["name"], _newest(one)) for one in found]
    Output(json).rows({"items": found}, ("repository", "format", "package", "version"), rows)


def _newest(item: dict[str, list[dict[str, str]]]) -> str:
    return next((one["name"] for one in item["versions"]), "")
