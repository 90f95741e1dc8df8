"""How is a package withheld, released, or got anew by every node, from a terminal?"""

from urllib.parse import quote

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, Place, place

app = App(name="quarantine", help="Packages that no node gives out.")


@app.command(name="add")
def add(
    package: str,
    /,
    *,
    version: str = "",
    reason: str = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let no node give out a file of a package; downloads under way are cut. Nothing is deleted.

    Parameters
    ----------
    package
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE.
    version
        Only this version.
    reason
        What clients are told.
    """
    at, format, name = labelled(package, whole=True)
    body = {"format": format, "package": name, "version": version, "reason": reason}
    with reach(url, profile) as node:
        made = node.post("/repositories/{}/{}/quarantine".format(*at), body)
    Output(json).fact(made, f"{package} is in quarantine{f', version {version}' if version else ''}.")


@app.command(name="list")
def list_all(repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List what a repository withholds.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    """
    with reach(url, profile) as node:
        found = list(node.items("/repositories/{}/{}/quarantine".format(*place(repository))))
    rows = [(one["format"], one["package"], one["version"] or "all", one["reason"]) for one in found]
    Output(json).rows({"items": found}, ("format", "package", "version", "reason"), rows)


@app.command(name="release")
def release(
    package: str, /, *, version: str = "", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Give out again what was in quarantine.

    Parameters
    ----------
    package
        WORKSPACE/REPOSITORY/FORMAT/PACKAGE.
    version
        The version that the quarantine names.
    """
    at, format, name = labelled(package, whole=True)
    with reach(url, profile) as node:
        where = "/repositories/{}/{}/quarantine".format(*at)
        node.delete(f"{where}/{quote(format, safe='')}/{quote(name)}", version=version)
    Output(json).fact({"released": package, "version": version}, f"{package} is given out again.")


def purge(label: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Have every node get anew what it keeps of a place: pulled files, foreign knowledge, rendered pages.

    Parameters
    ----------
    label
        WORKSPACE/REPOSITORY[/FORMAT[/PACKAGE]].
    """
    at, format, name = labelled(label, whole=False)
    with reach(url, profile) as node:
        done = node.post("/repositories/{}/{}/purge".format(*at), {"format": format, "package": name})
    Output(json).fact(done, f"{label} is purged; each edge obeys as soon as it follows.")


def labelled(text: str, *, whole: bool) -> tuple[Place, str, str]:
    """WORKSPACE/REPOSITORY/FORMAT/PACKAGE, the last two optional unless `whole`. Raises Usage."""
    parts = text.split("/", 3)
    if len(parts) < 2 or not all(parts) or (whole and len(parts) < 4):
        form = "WORKSPACE/REPOSITORY/FORMAT/PACKAGE" if whole else "WORKSPACE/REPOSITORY[/FORMAT[/PACKAGE]]"
        raise Usage(f'"{text}" is not understood.', f"Write it as {form}.")
    return place("/".join(parts[:2])), *[*parts[2:], "", ""][:2]  # type: ignore[return-value]
