"""How are Workspaces managed from a terminal?"""

from typing import Annotated, Any

from cyclopts import App, Parameter

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import bytes_of, count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl
from storage.errors import Conflict

app = App(name="workspace", help="Workspaces.")

Force = Annotated[str, Parameter(name="--force", help="The name once more: delete it with all it holds.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", help="Only tell what would go.")]


@app.command(name="create")
def create(
    name: str, /, *, description: str = "", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Make a workspace. Needs admin on everything.

    Parameters
    ----------
    name
        What it is called: 1 to 63 of a-z, 0-9, '.', '_' and '-'.
    description
        One line for people.
    """
    with reach(url, profile) as node:
        made = node.post("/workspaces", {"name": name, "description": description})
    Output(json).fact(made, f"Workspace {name} is made.")


@app.command(name="list")
def list_workspaces(*, deleted: bool = False, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the workspaces that you may see.

    Parameters
    ----------
    deleted
        Those that were deleted, whose history is still there. Needs admin on everything.
    """
    with reach(url, profile) as node:
        found = list(node.items("/workspaces", **({"deleted": "true"} if deleted else {})))
    Output(json).rows({"items": found}, ("workspace",), [(one["name"],) for one in found])


@app.command(name="show")
def show(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show one workspace and its repositories, as far as you may see them.

    Parameters
    ----------
    name
        The workspace.
    """
    with reach(url, profile) as node:
        found = node.get(f"/workspaces/{name}")
        there = list(node.items("/repositories", workspace=name))
    lines = [f"{name}: {found['description'] or 'no description'}"]
    lines += [f"{one['name']}: {'public' if one['public'] else 'private'}" for one in there]
    Output(json).fact(found | {"repositories": there}, "\n".join(lines))


@app.command(name="edit")
def edit(
    name: str,
    /,
    *,
    description: str | None = None,
    quota: str | None = None,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Change what is told of a workspace, and how much it may hold. Its name stays: it is part of every address.

    Parameters
    ----------
    name
        The workspace.
    description
        One line for people; "" takes it away.
    quota
        The most that it may hold, as 500M or 10G; 0 = no bound. Needs admin on everything.
    """
    if description is None and quota is None:
        raise Usage("There is nothing to change.", "Give --description or --quota.")
    at, now = f"/workspaces/{name}", dict[str, Any]()
    with reach(url, profile) as node:
        if description is not None:
            now |= node.patch(at, {"description": description})
        if quota is not None:
            now |= {"quota_bytes": node.put(f"{at}/quota", {"bytes": bytes_of(quota)})["quota_bytes"]}
    Output(json).fact(now, f"Workspace {name} is changed.")


@app.command(name="delete")
def delete(
    name: str,
    /,
    *,
    force: Force = "",
    dry_run: DryRun = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Delete a workspace, for good: nothing of it comes back, and nobody is ever given its name again. Needs to own it.

    One that holds repositories is deleted only with --force and its name. Its history stays with the node.

    Parameters
    ----------
    name
        The workspace.
    """
    with reach(url, profile) as node:
        if dry_run:
            would = node.get(f"/workspaces/{name}/deletion")
            Output(json).fact(would, f"This would delete {_said(would)}. Nothing was deleted.")
            return
        try:
            went = node.delete(f"/workspaces/{name}", confirm=force)
        except Conflict as refused:
            raise Conflict(refused.message, f"Look with --dry-run, then confirm it: --force {name}.") from None
    Output(json).fact(went, f"Workspace {name} is deleted: {_said(went)}.")


def _said(told: dict[str, Any]) -> str:
    kinds = [count_of(told[kind], *_KINDS[kind]) for kind in _KINDS if told[kind]]
    size = f"{count_of(told['files'], 'file')} of {size_of(told['bytes'])}"
    return ", ".join([f"the workspace {told['workspace']}", size, *kinds])


_KINDS: dict[str, tuple[str, ...]] = {
    "repositories": ("repository", "repositories"),
    "packages": ("package",),
    "bin_files": ("bin file",),
    "members": ("member",),
    "teams": ("team",),
    "accounts": ("account",),
    "providers": ("provider",),
    "tokens": ("token",),
    "entitlements": ("entitlement",),
    "webhooks": ("webhook",),
    "hosts": ("host",),
    "upstreams": ("upstream",),
    "signing_keys": ("signing key",),
}
