"""How are edges invited, listed, changed and revoked from a terminal?"""

from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, seconds

app = App(name="edge", help="Edges: invite, list, change, revoke.")


@app.command(name="invite")
def invite_edge(
    name: str,
    /,
    *,
    region: str,
    workspace: tuple[str, ...] = (),
    shield: bool = False,
    expires: str = "1h",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Invite a machine to become an edge. The code is shown now and never again, and is good once.

    Parameters
    ----------
    name
        What the edge is called.
    region
        The region it serves.
    workspace
        A workspace that it may see; may be given several times. Without, it sees all.
    shield
        Other edges of its region may follow through it.
    expires
        How long the code is good: 15m, 1h; a day at most.
    """
    body = {"name": name, "region": region, "workspaces": workspace, "parent": shield, "expires_s": seconds(expires)}
    with reach(url, profile) as node:
        made = node.post("/edges", body)
    out = Output(json)
    out.fact(made, f"code  {made['code']}")
    out.note("The code is shown this once. On the edge's machine, with the origin's listener for peers as PARENT:")
    out.note("  entrepot serve --role edge --parent https://PARENT:PORT --enrol CODE")


@app.command(name="list")
def list_edges(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the edges."""
    with reach(url, profile) as node:
        found = list(node.items("/edges"))
    rows = [(one["name"], one["region"], one["state"], _kind(one), _sees(one)) for one in found]
    Output(json).rows({"items": found}, ("name", "region", "state", "kind", "sees"), rows)


@app.command(name="show")
def show_edge(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show one edge."""
    with reach(url, profile) as node:
        found = node.get(f"/edges/{name}")
    Output(json).fact(found, f"{name}: {_kind(found)} in {found['region']}, {found['state']}, sees {_sees(found)}")


@app.command(name="give")
def give_edge(
    name: str,
    /,
    *,
    workspace: tuple[str, ...] = (),
    everything: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Say which workspaces an edge may see; it forgets the others at once.

    Parameters
    ----------
    workspace
        A workspace that it may see; may be given several times.
    everything
        It may see all.
    """
    if everything == bool(workspace):
        raise Usage("It is not clear what the edge may see.", "Give --workspace W, several times, or --everything.")
    with reach(url, profile) as node:
        changed = node.patch(f"/edges/{name}", {"workspaces": workspace})
    Output(json).fact(changed, f"Edge {name} sees {_sees(changed)}.")


@app.command(name="revoke")
def revoke_edge(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Revoke an edge, at once: its stream ends, its certificate is refused."""
    with reach(url, profile) as node:
        revoked = node.delete(f"/edges/{name}")
    Output(json).fact(revoked, f"Edge {name} is revoked.")


def _kind(edge: Any) -> str:
    return "shield" if edge["parent"] else "edge"


def _sees(edge: Any) -> str:
    return "everything" if edge["workspaces"] == ["*"] else ", ".join(edge["workspaces"])
