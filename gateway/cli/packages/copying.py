"""How do packages go from one repository to another, and tags from one version to another, from a terminal?"""

from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import App, Parameter

from gateway.cli.packages.removing import AtQuery, DryRun, Inside
from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.each import meant, to_each
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, Item, Place, item, place

tags = App(name="tag", help="Tags: names that point to a version and can be moved.")

Into = Annotated[
    str,
    Parameter(name="--place", help="deb: the DISTRIBUTION/COMPONENT that lists it; else those that do in the source."),
]


def copy(
    *packages: str,
    query: AtQuery = "",
    inside: Inside = "",
    to: str = "",
    listed: Into = "",
    dry_run: DryRun = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> int:
    """Copy packages or versions into another repository, of any workspace; no bytes are sent.

    Parameters
    ----------
    packages
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE[@VERSION], and without --to the target behind them.
    to
        The target: WORKSPACE/REPOSITORY.
    """
    return _carry(packages, query, inside, to, listed, dry_run=dry_run, move=False, json=json, at=(url, profile))


def move(
    *packages: str,
    query: AtQuery = "",
    inside: Inside = "",
    to: str = "",
    listed: Into = "",
    dry_run: DryRun = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> int:
    """Copy packages or versions, then take them away where they were; broken off, the same once more ends it.

    Parameters
    ----------
    packages
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE[@VERSION], and without --to the target behind them.
    to
        The target: WORKSPACE/REPOSITORY.
    """
    return _carry(packages, query, inside, to, listed, dry_run=dry_run, move=True, json=json, at=(url, profile))


def _carry(
    packages: tuple[str, ...],
    query: str,
    inside: str,
    to: str,
    listed: str,
    *,
    dry_run: bool,
    move: bool,
    json: bool,
    at: tuple[str, str],
) -> int:
    names, verb = list(packages), "move" if move else "copy"
    if not to:
        if len(names) < (1 if query else 2):
            raise Usage(f"It is not said where to {verb}.", "Add --to WORKSPACE/REPOSITORY.")
        to = names.pop()
    target, out = place(to), Output(json)
    items = [item(one) for one in names]
    with reach(*at) as node:
        found = [one for one in meant(node, items, query, inside) if one.place != target]
        if dry_run:
            told = [{"item": str(one), "would": verb, "to": str(target)} for one in found]
            out.rows({"items": told}, (f"would {verb} to {target}",), [(str(one),) for one in found])
            return 0
        return to_each(out, found, lambda one: _carried(node, one, target, listed, move=move), _said, found=bool(query))


def _carried(node: Client, one: Item, target: Place, listed: str, *, move: bool) -> dict[str, Any]:
    body = {
        "source": str(one.place),
        "format": one.format,
        "package": one.package,
        "version": one.version,
        "place": listed,
        "move": move,
    }
    told: dict[str, Any] = node.post(f"/repositories/{target}/copies", body)
    return {"item": str(one), "to": str(target), "moved": move} | told


def _said(one: Item, told: dict[str, Any]) -> str:
    verb = "moved" if told["moved"] else "copied"
    if not told["files"]:
        return f"{one} was in {told['to']} already{', and is there alone now' if told['moved'] else ''}."
    counted = f"{count_of(told['files'], 'file')}, {size_of(told['bytes'])}"
    return f"{one} is {verb} to {told['to']}: {counted}, none of it sent."


# ---------------------------------------------------------------- tags


@tags.command(name="add")
def add_tag(package: str, tag: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Let a new tag point to a version.

    Parameters
    ----------
    package
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE@VERSION; the version may be another tag.
    tag
        What it is called.
    """
    _point(package, tag, "new", Output(json), url, profile)


@tags.command(name="move")
def move_tag(package: str, tag: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Let a tag that is there point to another version.

    Parameters
    ----------
    package
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE@VERSION; the version may be another tag.
    tag
        What it is called.
    """
    _point(package, tag, "there", Output(json), url, profile)


def _point(package: str, tag: str, only: str, out: Output, url: str, profile: str) -> None:
    asked = item(package)
    if not asked.version:
        raise Usage("It is not said which version.", "Write it as WORKSPACE/REPOSITORY/FORMAT/PACKAGE@VERSION.")
    with reach(url, profile) as node:
        body = {"tag": tag, "version": asked.version, "only": only}
        told = node.call("PUT", _address(asked), params={"format": asked.format}, json=body)
    out.fact(told, f"{tag} of {asked.package} points to {told['version']}.")


@tags.command(name="remove")
def remove_tag(package: str, tag: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Remove a tag; the version stays.

    Parameters
    ----------
    package
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE.
    tag
        What it is called.
    """
    asked = item(package)
    with reach(url, profile) as node:
        told = node.delete(_address(asked), format=asked.format, tag=tag)
    Output(json).fact(told, f"{asked.package} has no tag {tag} any more.")


@tags.command(name="list")
def list_tags(package: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the tags of a package, and what they point to.

    Parameters
    ----------
    package
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE.
    """
    asked = item(package)
    with reach(url, profile) as node:
        told = node.get(_address(asked), format=asked.format)
    rows = [(one["tag"], one["version"]) for one in told["items"]]
    Output(json).rows(told, ("tag", "version"), rows)


def _address(asked: Item) -> str:
    return f"/repositories/{asked.place}/tags/{quote(asked.package, safe='/')}"
