"""How is it said from a terminal what the nodes of a region hold before they are asked, and how far are they?"""

from typing import Any, Literal

from cyclopts import App

from gateway.cli.terminal.client import reach, say_left_out
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.sizes import bytes_of, count_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, place

app = App(name="replication", help="What nodes of a region hold before they are asked.")
BAR_CELLS = 20


@app.command(name="set")
def set_policy(
    repository: str,
    /,
    *,
    region: str,
    mode: Literal["eager", "on-demand", "metadata"] = "eager",
    format: tuple[str, ...] = (),
    package: tuple[str, ...] = (),
    tag: tuple[str, ...] = (),
    newest: int = 0,
    days: int = 0,
    rate: str = "0",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Say what the edges of a region hold of a repository.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    region
        As edges were invited with.
    mode
        eager: before anybody asks; on-demand: what was asked for; metadata: bytes pass through and are not kept.
    format
        Eager for formats of these names alone; a pattern, may be given several times.
    package
        Eager for packages of these names alone; a pattern as "numpy" or "acme-*", may be given several times.
    tag
        Of each package the versions that such a tag points to; may be given several times.
    newest
        Of each package so many versions, the newest.
    days
        Of each package the versions that are not older than so many days.
    rate
        The most bytes a second that each edge spends on it, as 10M; 0 = as the edge is configured.
    """
    at = place(repository)
    body: dict[str, Any] = {
        "mode": mode,
        "formats": format,
        "packages": package,
        "tags": tag,
        "newest_max": newest,
        "days_max": days,
        "rate_max_bytes_s": bytes_of(rate),
    }
    with reach(url, profile) as node:
        made = node.call("PUT", f"/repositories/{at}/replication/{region}", json=body)
    Output(json).fact(made, f"{at} in {region}: {_said(made)}.")


@app.command(name="list")
def list_policies(repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the policies of a repository. A region without one holds what was asked for.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    """
    with reach(url, profile) as node:
        found = node.get(f"/repositories/{place(repository)}/replication")["items"]
    Output(json).rows({"items": found}, ("region", "holds"), [(one["region"], _said(one)) for one in found])


@app.command(name="clear")
def clear_policy(
    repository: str, /, *, region: str, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Take a policy away: what is there may be forgotten from then on.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    region
        The region whose policy it is.
    """
    at = place(repository)
    with reach(url, profile) as node:
        node.delete(f"/repositories/{at}/replication/{region}")
    Output(json).fact({"cleared": region}, f"{at} in {region}: what was asked for.")


@app.command(name="status")
def show_status(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Show how far the node that is asked (an edge) is. Exit code 1 if something is in its way."""
    with reach(url, profile) as node:
        found = list(node.items("/replication"))
    heads = ("repository", "", "files", "of them foreign", "bytes", "waiting", "serial", "problem")
    out = Output(json)
    if not found and not node.left_out:
        out.note("This node is to hold nothing unasked. Ask an edge of a region that has a policy, with --url.")
    out.rows({"items": found} | node.left_out, heads, [_row(one) for one in found])
    say_left_out(out, node.left_out)
    return 1 if any(one["problem"] for one in found) else 0


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    return (
        f"{one['workspace']}/{one['repository']}",
        bar(one["here_bytes"], one["bytes"]),
        f"{one['here_files']} of {one['files']}",
        f"{one['foreign_here_files']} of {one['foreign_files']}",
        f"{size_of(one['here_bytes'])} of {size_of(one['bytes'])}",
        f"{size_of(one['bytes'] - one['here_bytes'])}, {one['lag_ms'] / 1000:.0f} s",
        f"{one['whole_serial']} of {one['serial']}",
        one["problem"],
    )


def bar(here: int, wanted: int) -> str:
    """How much of something is there."""
    full = BAR_CELLS if here >= wanted else BAR_CELLS * here // wanted
    return "#" * full + "." * (BAR_CELLS - full)


def _said(one: dict[str, Any]) -> str:
    parts = [one["mode"]]
    parts += [f"{name} {', '.join(one[name])}" for name in ("formats", "packages", "tags") if one[name]]
    parts += [f"the newest {one['newest_max']}"] if one["newest_max"] else []
    parts += [f"the last {count_of(one['days_max'], 'day')}"] if one["days_max"] else []
    parts += [f"{size_of(one['rate_max_bytes_s'])}/s"] if one["rate_max_bytes_s"] else []
    return "; ".join(parts)
