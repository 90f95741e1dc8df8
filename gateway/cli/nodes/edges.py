"""How are edges invited, listed, changed and revoked from a terminal?"""

from typing import Any

from cyclopts import App

from gateway.cli.nodes.holes import not_taken_in
from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, roughly, seconds

app = App(name="edge", help="Edges: invite, list, change, revoke.")
SILENT_MS = 30_000
"""An edge speaks every ten seconds: one that was quiet for so long may be cut off, and nobody knows how far behind."""


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
    """List the edges, and how each last said that it is: when, which version, how far behind, what it lacks."""
    with reach(url, profile) as node:
        found = list(node.items("/edges"))
    rows = [(one["name"], one["region"], one["state"], _kind(one), _sees(one), *_how(one)) for one in found]
    out = Output(json)
    columns = ("name", "region", "state", "kind", "sees", "heard", "version", "lag", "not taken in")
    out.rows({"items": found}, columns, rows)
    lacking = [one["name"] for one in found if _holes(one)]
    if lacking:
        out.note(f"What is not taken in, and what to do: entrepot edge show {lacking[0]}")


@app.command(name="show")
def show_edge(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show one edge, how it last said that it is, and what it could not take in.

    Parameters
    ----------
    name
        Its name, as edge list shows it.
    """
    with reach(url, profile) as node:
        found = node.get(f"/edges/{name}")
    lines = [f"{name}: {_kind(found)} in {found['region']}, {found['state']}, sees {_sees(found)}"]
    said = found["report"]
    if said is not None:
        heard, version, _, _ = _how(found)
        behind = f"{roughly(said['lag_ms'])} behind its origin"
        if said["silent_ms"] > SILENT_MS:
            behind += " then. It is silent since: is it stopped, or cut off? Its own word: entrepot status --url"
        lines.append(f"heard: {heard}, version {version}, {behind}")
        if said["waiting_files"]:
            lines.append(
                f"on its way there: {count_of(said['waiting_files'], 'file')}, {size_of(said['waiting_bytes'])}"
            )
    elif found["state"] == "enrolled":
        lines.append("heard: never. Is it running, and of this version? An older one says nothing of itself.")
    lines += [not_taken_in(one, "there") for one in _holes(found)]
    Output(json).fact(found, "\n".join(lines))


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
    name
        Its name, as edge list shows it.
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
    """Revoke an edge, at once: its stream ends, its certificate is refused.

    Parameters
    ----------
    name
        Its name, as edge list shows it.
    """
    with reach(url, profile) as node:
        revoked = node.delete(f"/edges/{name}")
    Output(json).fact(revoked, f"Edge {name} is revoked.")


def _how(edge: Any) -> tuple[str, str, str, str]:
    """When it last said something, its version, how far behind its origin it was then, and what it lacked."""
    said = edge["report"]
    if said is None:
        return ("never" if edge["state"] == "enrolled" else "", "", "", "")
    holes, closed = _holes(edge), sorted({name for one in said["holes"] for name in one["closes"]})
    lacks = count_of(len(holes), "entry", "entries") if holes else "nothing"
    if closed:
        lacks += f", refuses private packages of {'all workspaces' if '*' in closed else ', '.join(closed)}"
    lag = "silent" if said["silent_ms"] > SILENT_MS else roughly(said["lag_ms"])
    return (f"{roughly(said['silent_ms'])} ago", said["version"], lag, lacks)


def _holes(edge: Any) -> list[Any]:
    return edge["report"]["holes"] if edge["report"] is not None else []


def _kind(edge: Any) -> str:
    return "shield" if edge["parent"] else "edge"


def _sees(edge: Any) -> str:
    return "everything" if edge["workspaces"] == ["*"] else ", ".join(edge["workspaces"])
