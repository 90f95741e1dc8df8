"""How are packages deleted from a terminal, and how do they come back?"""

from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import App, Parameter

from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.each import meant, to_each
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, Item, item, place, when
from storage.errors import Absent

app = App(name="bin", help="What was deleted and can come back.")

AtQuery = Annotated[str, Parameter(name="--query", help="What a search finds: 'name:x AND version:<2'.")]
Inside = Annotated[str, Parameter(name="--in", help="Only in this WORKSPACE or WORKSPACE/REPOSITORY.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Only say what would be done.")]


def delete(
    *packages: str,
    query: AtQuery = "",
    inside: Inside = "",
    version: str = "",
    dry_run: DryRun = False,
    purge: bool = False,
    yes: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> int:
    """Delete packages or versions. Where a repository has a bin, they can come back for a while: entrepot restore.

    Parameters
    ----------
    packages
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE[@VERSION].
    version
        Of the one package that is named; for versions that cannot be written behind an @.
    purge
        Not into the bin. Takes manage on the repository.
    yes
        Really delete what a query finds.
    """
    items = [item(one, version) for one in packages]
    out = Output(json)
    with reach(url, profile) as node:
        found = meant(node, items, query, inside)
        if dry_run:
            told = [{"item": str(one), "would": "delete"} for one in found]
            out.rows({"items": told}, ("would be deleted",), [(str(one),) for one in found])
            return 0
        if query and not yes:
            raise Usage(
                f"This would delete {count_of(len(found), 'package or version', 'packages or versions')}.",
                "Look with --dry-run, then add --yes.",
            )
        return to_each(out, found, lambda one: _delete(node, one, purge=purge), _said, found=bool(query))


def _delete(node: Client, one: Item, *, purge: bool) -> dict[str, Any]:
    path = f"/repositories/{one.place}/packages/{quote(one.package, safe='/')}"
    told: dict[str, Any] = node.delete(path, format=one.format, version=one.version, purge="true" if purge else "")
    return {"item": str(one)} | told


def _said(one: Item, told: dict[str, Any]) -> str:
    if not told["until_ms"]:
        return f"{one} is deleted."
    return f"{one} is deleted; it can come back until {when(told['until_ms'])}: {told['id'] or 'entrepot bin list'}"


def restore(repository: str, /, *ids: str, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Bring back what was deleted, with the tags that point nowhere else by now.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY, or WORKSPACE/REPOSITORY/FORMAT/PACKAGE[@VERSION].
    ids
        As `entrepot bin list` shows them.
    """
    out = Output(json)
    with reach(url, profile) as node:
        if repository.count("/") == 1:
            at, wanted = place(repository), list(ids)
            items = [Item(at, "", one, "") for one in wanted]
        else:
            asked = item(repository)
            at = asked.place
            items = [Item(at, "", one["id"], "") for one in _binned(node, asked)]
        if not items:
            raise Usage("It is not said what is to come back.", "Name ids, as entrepot bin list shows them.")

        def bring(one: Item) -> dict[str, Any]:
            told: dict[str, Any] = node.post(f"/repositories/{at}/bin/{one.package}/restore", {})
            return {"id": one.package} | told

        return to_each(out, items, bring, lambda one, told: f"{_name(told)} is back.")


def _binned(node: Client, asked: Item) -> list[dict[str, Any]]:
    """What the bin has under a name."""
    found = [
        one
        for one in node.items(f"/repositories/{asked.place}/bin")
        if (one["format"], one["package"]) == (asked.format, asked.package)
        and asked.version in ("", one["version"], one["build"], *one["tags"])
    ]
    if not found:
        raise Absent(f"The bin has no {asked}.", f"Look with: entrepot bin list {asked.place}.")
    return found


@app.command(name="list")
def list_bin(repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List what was deleted and can come back.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/repositories/{place(repository)}/bin"))
    rows = [
        (one["id"], one["format"], _name(one), size_of(one["bytes"]), when(one["deleted_ms"]), when(one["until_ms"]))
        for one in found
    ]
    Output(json).rows({"items": found}, ("id", "format", "what", "size", "deleted", "until"), rows)


@app.command(name="restore")
def restore_here(repository: str, /, *ids: str, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """The same as entrepot restore.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    ids
        As bin list shows them.
    """
    return restore(repository, *ids, json=json, url=url, profile=profile)


@app.command(name="empty")
def empty(
    repository: str,
    /,
    *ids: str,
    yes: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Empty a bin, or take single things out of it: they never come back. Takes manage on the repository.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    ids
        As `entrepot bin list` shows them; none = everything.
    yes
        Really empty all of it.
    """
    at = place(repository)
    if not ids and not yes:
        raise Usage(f"This would empty the bin of {at}.", "Add --yes if that is what you want.")
    emptied = 0
    with reach(url, profile) as node:
        for id in ids:
            emptied += node.delete(f"/repositories/{at}/bin/{id}")["emptied"]
        while not ids:
            told = node.delete(f"/repositories/{at}/bin")
            emptied += told["emptied"]
            if not told["left"]:
                break
    Output(json).fact({"emptied": emptied}, f"{emptied} of the bin of {at} never come back.")


def _name(told: dict[str, Any]) -> str:
    version = told["build"] or told["version"]
    return f"{told['package']}@{version}" if version else f"{told['package']}"
