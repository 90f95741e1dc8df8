"""How are customers' tokens managed from a terminal?"""

from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, seconds

app = App(name="entitlement", help="Tokens for customers, with limits that hold at every edge.")


@app.command(name="create")
def create(
    workspace: str,
    name: str,
    /,
    *,
    repository: tuple[str, ...] = (),
    format: tuple[str, ...] = (),
    package: tuple[str, ...] = (),
    downloads: int = 0,
    bytes: int = 0,
    clients: int = 0,
    period: str = "0",
    starts: str = "0",
    expires: str = "0",
    eula: str = "",
    network: tuple[str, ...] = (),
    metadata: tuple[str, ...] = (),
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Make a token that only reads. Its text is shown now and never again.

    Parameters
    ----------
    workspace
        The workspace that it is for.
    name
        Whom it is for, as logs will show it.
    repository
        A repository of it; may be given several times; all without.
    format
        Only of this format.
    package
        Only packages whose name fits; needs --format.
    downloads
        How many downloads it is good for.
    bytes
        How many bytes.
    clients
        From how many addresses.
    period
        After which time the counts begin anew: 1d, 30d.
    starts
        In what time it begins to be good.
    expires
        For how long it is good.
    eula
        The revision of terms that the customer must accept first.
    network
        ADDRESS/BITS that it can be used from.
    metadata
        KEY=VALUE of your own.
    """
    body: dict[str, Any] = {"name": name, "repositories": list(repository)}
    body |= {"formats": list(format), "packages": list(package), "eula": eula}
    body |= {"downloads_max": downloads, "bytes_max": bytes, "clients_max": clients}
    body |= {"period_s": seconds(period), "from_s": seconds(starts), "expires_s": seconds(expires)}
    body |= {
        "cidrs": list(network),
        "metadata": dict(one.partition("=")[::2] for one in metadata),
    }
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{workspace}/entitlements", body)
    out = Output(json)
    out.fact(made, f"id     {made['id']}\ntoken  {made['token']}")
    out.note("The token is shown this once. Give it to the customer.")


@app.command(name="list")
def list_entitlements(workspace: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the customers' tokens of a workspace."""
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/entitlements"))
    Output(json).rows({"items": found}, ("id", "name", "state"), [(o["id"], o["name"], o["state"]) for o in found])


@app.command(name="show")
def show(workspace: str, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show one, with what was used. The origin counts it."""
    with reach(url, profile) as node:
        found = node.get(f"/workspaces/{workspace}/entitlements/{id}")
    used, limits = found["used"], found["limits"]
    lines = [f"{found['name']}: {found['state']}"]
    for word in ("downloads", "bytes", "clients"):
        lines.append(f"{word}  {used[word]} of {limits[f'{word}_max'] or 'any'}")
    Output(json).fact(found, "\n".join(lines))


@app.command(name="edit")
def edit(
    workspace: str,
    id: str,
    /,
    *,
    downloads: int | None = None,
    bytes: int | None = None,
    clients: int | None = None,
    reset: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Give it other limits, or with --reset begin to count anew now."""
    asked = {"downloads_max": downloads, "bytes_max": bytes, "clients_max": clients}
    body: dict[str, Any] = {name: value for name, value in asked.items() if value is not None} | {"reset": reset}
    with reach(url, profile) as node:
        made = node.patch(f"/workspaces/{workspace}/entitlements/{id}", body)
    Output(json).fact(made, f"Entitlement {id} is changed.")


@app.command(name="refresh")
def refresh(workspace: str, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Give it a new text; the old one ends at once, and what was used stays used."""
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{workspace}/entitlements/{id}/refresh", {})
    Output(json).fact(made, f"id     {made['id']}\ntoken  {made['token']}")


@app.command(name="revoke")
def revoke(workspace: str, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """End it, at once and everywhere."""
    with reach(url, profile) as node:
        made = node.delete(f"/workspaces/{workspace}/entitlements/{id}")
    Output(json).fact(made, f"Entitlement {id} is revoked.")
