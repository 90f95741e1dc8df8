"""How is it told from a terminal how much a workspace or a repository holds and may hold?"""

from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach, say_left_out
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import bytes_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl

app = App(name="quota", help="What workspaces and repositories hold, and may hold.")


@app.command(name="show")
def show_quota(place: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show what a WORKSPACE or a WORKSPACE/REPOSITORY holds.

    Parameters
    ----------
    place
        WORKSPACE, or WORKSPACE/REPOSITORY.
    """
    with reach(url, profile) as node:
        told = node.get(f"{_address(place)}/usage")
    rows = [_row(one) for one in (told, *told.get("repositories", ()))]
    out = Output(json)
    out.rows(told, ("place", "files", "bytes", "in the bin", "on their way", "quota"), rows)
    say_left_out(out, told)


@app.command(name="set")
def set_quota(place: str, size: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Bound what a WORKSPACE (needs admin on *) or a WORKSPACE/REPOSITORY (needs to manage the workspace) may hold.

    Parameters
    ----------
    place
        WORKSPACE or WORKSPACE/REPOSITORY.
    size
        Bytes, as 500M or 10G (powers of 1024); 0 = no bound.
    """
    with reach(url, profile) as node:
        told = node.call("PUT", f"{_address(place)}/quota", json={"bytes": bytes_of(size)})
    bound = f"may hold {size_of(told['quota_bytes'])}" if told["quota_bytes"] else "has no bound"
    Output(json).fact(told, f"{place} {bound}, and holds {size_of(told['bytes'])}.")


def _address(place: str) -> str:
    workspace, slash, repository = place.partition("/")
    if not workspace or (slash and not repository) or "/" in repository:
        raise Usage("This names no place.", "Write WORKSPACE or WORKSPACE/REPOSITORY.")
    return f"/repositories/{workspace}/{repository}" if slash else f"/workspaces/{workspace}"


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    place = "/".join(one[name] for name in ("workspace", "repository") if name in one)
    quota = size_of(one["quota_bytes"]) if one["quota_bytes"] else "none"
    return place, one["files"], size_of(one["bytes"]), size_of(one["bin_bytes"]), size_of(one["reserved_bytes"]), quota
