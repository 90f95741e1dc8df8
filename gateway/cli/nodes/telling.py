"""How is a node doing, in its own words?"""

from typing import Any

from gateway.cli.nodes.holes import not_taken_in
from gateway.cli.nodes.portions import cached_for
from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.sizes import count_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl

UNWELL = 5
"""The exit code for a node that answers and takes no work."""

LOG_TROUBLE = ("lost_lines", "refused", "unreadable")
"""What of the client log is worth a line; `--json` has all of it."""

DISK_FULL = (
    "The disk is full: what is here is served, foreign files and an edge's go past the cache, what writes is refused. "
    "Free some space."
)

LOST = (
    "It does not hear its origin: what it holds of public packages is served, private ones until their lease ends, "
    "what writes is refused. It comes back by itself, unless it was revoked; its log says why."
)


def status(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Show how a node is doing, and with a token what it knows of itself."""
    with reach(url, profile) as node:
        told: dict[str, Any] = node.health()
        if node.has_token:
            told |= {"url": node.url} | (node.get("/status") or {})
    # lists have commands of their own, such as `replication status`
    said = {name: value for name, value in told.items() if value != "" and not isinstance(value, list)}
    for name in ("disk_free_bytes", "disk_full"):
        said.pop(name, None)
    if not any(told.get("log", {}).get(name) for name in LOG_TROUBLE):
        said.pop("log", None)
    lines = [f"{name.replace('_', ' ')}: {_said(value)}" for name, value in said.items()]
    lines += cached_for(told.get("cache_shares", ()))
    lines += [not_taken_in(one) for one in told.get("holes", ())]
    lines += [_cleared(one) for one in told.get("clearing", ())]
    lines += [LOST] if told.get("connected") is False else []
    lines += [DISK_FULL] if told.get("disk_full") else []
    Output(json).fact(told, "\n".join(lines))
    return 0 if told.get("status") == "ok" else UNWELL


def _cleared(one: dict[str, Any]) -> str:
    place = "/".join(name for name in (one["workspace"], one["repository"]) if name)
    return (
        f"{place} was deleted and is being cleared away: {one['files_gone']:,} of {count_of(one['files'], 'file')}, "
        f"{count_of(one['rows_gone'], 'row')}."
    )


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={inner}" for name, inner in value.items()) or "none"
    return str(value)
