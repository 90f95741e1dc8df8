"""What does each query argument mean, as the API's document tells of it? Said once for all routes that take it.

A test holds this against the routes: none takes what is not told here, and nothing is told that none takes.
"""

from typing import Any

from gateway.access.rights.grants import ACTIONS
from gateway.console.calls.call import ARGUMENT_CHARS_MAX, PAGE_ITEMS, PAGE_ITEMS_MAX
from gateway.logs.rollups import BY

Object = dict[str, Any]

QUERY = (
    "Terms side by side must all hold; OR, NOT (or -) and brackets combine them. A term is a word, found within "
    'names, a "phrase", or field:value. Fields found within: name, filename, license (^ = at the beginning, $ = at the '
    "end). Meant whole: format, repository, workspace, tag, version, checksum, architecture, type, distribution, "
    "component, dependency, uploader, upstream. * and ? stand for any. Compared with >, >=, <, <=, ~=: version (in the "
    "order of its format), size (bytes, or with k, m, g), uploaded and last_downloaded (YYYY-MM-DD), downloads. "
    "quarantined and prerelease: true or false. status: available, quarantined, or deleted, which finds what stands in "
    "bins. dependency:NAME, or dependency:NAME>=VERSION where a version that is named with it is so. upstream:* is "
    "what is known from upstreams and not published here. Example: name:^web version:>=2 license:apache -tag:beta"
)


def _text(told: str, **more: Any) -> Object:
    return {"description": told, "schema": {"type": "string", "maxLength": ARGUMENT_CHARS_MAX, **more}}


def _one(told: str, *words: str) -> Object:
    return {"description": told, "schema": {"type": "string", "enum": list(words), "default": words[0]}}


def _whole(told: str, least: int, most: int, default: int | None = None) -> Object:
    schema: Object = {"type": "integer", "minimum": least, "maximum": most}
    return {"description": told, "schema": schema if default is None else schema | {"default": default}}


def _time(told: str) -> Object:
    return _whole(f"{told}, in milliseconds since 1970 (UTC).", 0, 10**15 - 1)


ARGUMENTS: dict[str, Object] = {
    "limit": _whole("So many items at most.", 1, PAGE_ITEMS_MAX, PAGE_ITEMS),
    "after": _text("Where the answer before said that it goes on: its `next`, or its Entrepot-Next."),
    "workspace": _text("Of this workspace alone."),
    "repository": _text("Of this repository alone, by its name within the workspace."),
    "format": _text("The format, like pypi or oci."),
    "package": _text("Of this package alone."),
    "version": _text("This version; without it all of the package, where that can be meant."),
    "tag": _text("This tag alone."),
    "prefix": _text("Only packages whose names begin so, as their format spells names."),
    "q": _text(QUERY, default=""),
    "sort": _one("By name, or the largest first by another.", "name", "updated", "size", "downloads"),
    "versions": _whole("So many matching versions of each package are told.", 1, 1_000, 20),
    "confirm": _text("The name of what is deleted, once more."),
    "deleted": {"description": "What was deleted, in place of what is there.", "schema": {"type": "boolean"}},
    "purge": {"description": "Not into the bin.", "schema": {"type": "boolean", "default": False}},
    "upstream": _text("The name of the upstream; without it the one that has none."),
    "address": _text("The IP address of a client."),
    "principal": _text(
        "Whose: the id of a token, or user:NAME, service:NAME, managed:NAME; of an explanation entitlement:ID, too. In "
        "the client log a NAME alone, too: what was done by any token or session that this account has now, "
        "and edge:NAME: what this edge fetched for its clients."
    ),
    "subject": _text("Only what was given to this one: user:NAME, service:NAME, team:NAME."),
    "user": _text("Of this user alone."),
    "action": _text(
        f"An action. To be explained: one of {', '.join(ACTIONS)}. In the audit: what was done, like key.add, or "
        "a kind of that, like key."
    ),
    "actor": _text("Done by this one: an id, what that was called then, or the account that it acted for."),
    "journal": _text("The history that the serial is of: the workspace's own, or - for the node's."),
    "trace": _text("Done in the trace with this id (32 hex digits)."),
    "since_ms": _time("Not older than this"),
    "until_ms": _time("Older than this"),
    "edges": {
        "description": "Also what edges fetched for their clients, whose own requests stand there beside it.",
        "schema": {"type": "boolean", "default": False},
    },
    "country": _text("From this country (ISO 3166 code)."),
    "client": _text("By this family of programs, like pip."),
    "status": _whole("Answered with this status.", 0, 999),
    "by": _text(
        f"What is counted by: one or several, with commas between them, of {', '.join(BY)}.",
        default="repository",
    ),
    "order": _one("The most of this first.", "requests", "bytes"),
    "rows": _whole("So many lines a piece at most.", 1, 50_000, 10_000),
    "form": _one("As JSON, or as CSV of host,scope,region,url,redirects.", "json", "csv"),
    "filter": _text("A filter (RFC 7644, 3.4.2.2)."),
    "attributes": _text("Only these attributes (RFC 7644, 3.9)."),
    "excludedAttributes": _text("Without these attributes (RFC 7644, 3.9)."),
    "count": _text("So many results at most (RFC 7644, 3.4.2.4)."),
    "startIndex": _text("The first result, counted from 1 (RFC 7644, 3.4.2.4)."),
    "sortBy": _text("The attribute to sort by (RFC 7644, 3.4.2.3)."),
    "sortOrder": _text("ascending or descending (RFC 7644, 3.4.2.3)."),
    "aadOptscim062020": _text("What Entra ID adds to its addresses; it changes nothing."),
}

_ONE_PACKAGE = "/repositories/<workspace>/<repository>/{0}"
_NEEDED = {
    ("GET", _ONE_PACKAGE.format("packages")): {"format"},
    ("GET", _ONE_PACKAGE.format("packages/<path:package>")): {"format"},
    ("DELETE", _ONE_PACKAGE.format("packages/<path:package>")): {"format"},
    ("GET", _ONE_PACKAGE.format("pulls/<path:package>")): {"format"},
    ("GET", _ONE_PACKAGE.format("files/<path:package>")): {"format"},
    ("GET", _ONE_PACKAGE.format("tags/<path:package>")): {"format"},
    ("PUT", _ONE_PACKAGE.format("tags/<path:package>")): {"format"},
    ("DELETE", _ONE_PACKAGE.format("tags/<path:package>")): {"format", "tag"},
    ("GET", _ONE_PACKAGE.format("networks/test")): {"address"},
    ("GET", "/workspaces/<workspace>/explain"): {"principal"},
}


def needed(method: str, rule: str) -> frozenset[str]:
    """The arguments without which this route says no; `rule` begins behind /-/api/v1."""
    return frozenset(_NEEDED.get((method, rule), ()))
