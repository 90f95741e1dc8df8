"""How are Repositories managed from a terminal?"""

from typing import Annotated, Any

from cyclopts import App, Parameter

from gateway.cli.terminal import storing
from gateway.cli.terminal.client import reach, say_left_out
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, place, seconds, span

LEASE_SECONDS = range(5, 301)

repositories = App(name="repo", help="Repositories.")


@repositories.command(name="create")
def create_repository(
    repository: str,
    /,
    *,
    public: bool = False,
    bin: str = "0",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Make a repository, private unless told otherwise.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    public
        Let everybody read it.
    bin
        For how long what is deleted can come back: 30d. 0 = it is gone at once.
    """
    at = place(repository)
    body = {"workspace": at.workspace, "name": at.repository, "public": public, "bin_s": seconds(bin)}
    with reach(url, profile) as node:
        made = node.post("/repositories", body)
    Output(json).fact(made, f"Repository {at} is made, {_seen(public)}.")


@repositories.command(name="list")
def list_repositories(
    workspace: AtWorkspace = "", /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """List the repositories that you may see, of one workspace or of all.

    Parameters
    ----------
    workspace
        Those of this one; without it of all.
    """
    with reach(url, profile) as node:
        found = list(node.items("/repositories", workspace=workspace))
    rows = [
        (
            f"{one['workspace']}/{one['name']}",
            _seen(one["public"]),
            ", ".join(up["url"] or up["name"] for up in one["upstreams"]),
        )
        for one in found
    ]
    out = Output(json)
    out.rows({"items": found} | node.left_out, ("repository", "access", "upstreams"), rows)
    say_left_out(out, node.left_out)


@repositories.command(name="show")
def show_repository(
    repository: str,
    /,
    *,
    plot: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Show one repository, and how the node that is asked stores its files: whole or in chunks, and what that saved.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    plot
        What was new and what was there, drawn.
    """
    with reach(url, profile) as node:
        found = node.get("/repositories/{}/{}".format(*place(repository)))
        kept = node.get("/repositories/{}/{}/storage".format(*place(repository)))
    lines = [f"{repository}: {_seen(found['public'])}"]
    lines += [f"draws {one['format']} from {_of_upstream(one)}" for one in found["upstreams"]]
    lines += [storing.drawn_of_repository(kept)] if plot else storing.of_repository(kept)
    Output(json).fact(found | {"storage": kept}, "\n".join(lines))


@repositories.command(name="edit")
def edit_repository(
    repository: str,
    /,
    *,
    public: bool | None = None,
    lease: str | None = None,
    bin: str | None = None,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let everybody read a repository (--public), or only tokens that may (--no-public); change its lease and its bin.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    public
        Let everybody read it.
    lease
        How long an edge that lost its origin goes on serving it while it is private: 5s to 300s, 0 = the edge's own.
    bin
        For how long what is deleted from now on can come back: 30d. 0 = it is gone at once; what is there stays.
    """
    told = {
        "public": public,
        "lease_s": None if lease is None else seconds(lease),
        "bin_s": None if bin is None else seconds(bin),
    }
    asked = {name: value for name, value in told.items() if value is not None}
    if not asked:
        raise Usage("There is nothing to change.", "Give --public, --no-public, --lease or --bin.")
    leased_s = asked.get("lease_s")
    if leased_s and leased_s not in LEASE_SECONDS:
        least, most = LEASE_SECONDS[0], LEASE_SECONDS[-1]
        raise Usage(f"A lease of {lease} cannot be.", f"Use {least}s to {most}s, or 0 = the edge's own.")
    with reach(url, profile) as node:
        now = node.patch("/repositories/{}/{}".format(*place(repository)), asked)
    leased = f", with a lease of {now['lease_s']} s" if now["lease_s"] else ""
    binned = f", what is deleted can come back for {span(now['bin_s'])}" if now["bin_s"] else ""
    Output(json).fact(now, f"Repository {repository} is {_seen(now['public'])}{leased}{binned}.")


@repositories.command(name="delete")
def delete_repository(
    repository: str, /, *, yes: bool = False, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Drop a repository with all it holds.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    yes
        Really do it.
    """
    at = place(repository)
    if not yes:
        raise Usage(f"This would drop {at} with everything in it.", "Add --yes if that is what you want.")
    with reach(url, profile) as node:
        node.delete("/repositories/{}/{}".format(*at))
    Output(json).fact({"deleted": str(at)}, f"Repository {at} is dropped.")


def _of_upstream(one: dict[str, Any]) -> str:
    """Where it is, as far as the caller may know."""
    return f"{one['url']} ({one['name']})" if one["url"] else f"an upstream ({one['name']})"


def _seen(public: bool) -> str:
    return "public" if public else "private"
