"""How are host names bound from a terminal?"""

from urllib.parse import quote

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl

app = App(name="host", help="Host names, and what they imply.")


@app.command(name="add")
def add(
    name: str,
    /,
    *,
    scope: str = "",
    region: str = "",
    at: str = "",
    redirect: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Bind a host name: clients then leave out of their paths what it implies. Needs admin on everything.

    Parameters
    ----------
    name
        As in the DNS, without scheme and port.
    scope
        WORKSPACE or WORKSPACE/REPOSITORY.
    region
        The region whose edges it leads to.
    at
        Where clients reach it, as http(s)://HOST[:PORT]; https and its name without.
    redirect
        Send anonymous readers on to the nearest region's host that is well.
    """
    with reach(url, profile) as node:
        made = node.post("/hosts", {"name": name, "scope": scope, "region": region, "url": at, "redirects": redirect})
    what = [f"stands for {scope}"] if scope else []
    what += [f"leads to the region {region}"] if region else []
    what += ["sends readers to the nearest region"] if redirect else []
    Output(json).fact(made, f"{made['name']} {' and '.join(what) or 'is bound, and implies nothing'}.")


@app.command(name="list")
def list_all(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the host names that are bound."""
    with reach(url, profile) as node:
        found = list(node.items("/hosts"))
    rows = [(one["name"], one["scope"], one["region"], _reached(one), _sends(one["redirects"])) for one in found]
    Output(json).rows({"items": found}, ("host", "stands for", "region", "reached at", "sends on"), rows)


def _reached(host: dict[str, str]) -> str:
    return host["url"] or f"https://{host['name']}"


def _sends(redirects: bool) -> str:
    return "to the nearest region" if redirects else ""


@app.command(name="remove")
def remove(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Let a host name go: it means nothing here any more.

    Parameters
    ----------
    name
        The host name.
    """
    with reach(url, profile) as node:
        node.delete(f"/hosts/{quote(name, safe='')}")
    Output(json).fact({"removed": name}, f"{name} is let go.")
