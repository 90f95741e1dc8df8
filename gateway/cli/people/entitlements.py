"""How are customers' tokens managed from a terminal?"""

from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import bytes_of, size_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, from_now, seconds, span, when
from gateway.console.calls.clock import now_ms

app = App(name="entitlement", help="Tokens for customers, with limits that hold at every edge.")


@app.command(name="create")
def create(
    workspace: AtWorkspace,
    name: str,
    /,
    *,
    repository: tuple[str, ...] = (),
    format: tuple[str, ...] = (),
    package: tuple[str, ...] = (),
    query: str = "",
    downloads: int = 0,
    bytes: str = "0",
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
        Only of this format; may be given several times.
    package
        Only packages whose name fits, as in 'web-*'; needs --format; may be given several times.
    query
        Only what a search would find with this, as in 'name:^web version:>=2.0 version:<3': name, format,
        repository, version, tag, with AND, OR and NOT.
    downloads
        How many downloads it is good for.
    bytes
        How many bytes: 500M, 2G.
    clients
        From how many different addresses.
    period
        After which time the counts begin anew: 1d, 30d.
    starts
        When it begins to be good: in 12h, 30d, or on a day as 2027-01-31 (UTC).
    expires
        When it ends, in the same way; never without.
    eula
        The revision of your terms that the customer must accept first, as he is told in each answer until he does.
    network
        ADDRESS/BITS that it can be used from.
    metadata
        KEY=VALUE of your own; may be given several times.
    """
    body: dict[str, Any] = {"name": name, "repositories": list(repository)}
    body |= {"formats": list(format), "packages": list(package), "query": query, "eula": eula}
    body |= {"downloads_max": downloads, "bytes_max": bytes_of(bytes), "clients_max": clients}
    body |= {"period_s": seconds(period), "from_s": from_now(starts, now_ms(), past=True)}
    body |= {"expires_s": from_now(expires, now_ms()), "cidrs": list(network), "metadata": _pairs(metadata)}
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{workspace}/entitlements", body)
    out = Output(json)
    out.fact(made, f"id     {made['id']}\ntoken  {made['token']}")
    out.note("The token is shown this once. Give it to the customer.")


@app.command(name="list")
def list_entitlements(
    workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """List the customers' tokens of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/entitlements"))
    rows = [(one["id"], one["name"], one["state"], _reach(one), ", ".join(_limits(one))) for one in found]
    Output(json).rows({"items": found}, ("id", "name", "state", "reads", "limits"), rows)


@app.command(name="show")
def show(workspace: AtWorkspace, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show one, with what was used. The origin counts it.

    Parameters
    ----------
    workspace
        The workspace that it is for.
    id
        Its id, as entitlement list shows it.
    """
    with reach(url, profile) as node:
        found = node.get(f"/workspaces/{workspace}/entitlements/{id}")
    used, limits = found["used"], found["limits"]
    lines = [f"{found['name']}: {found['state']}", f"reads  {_reach(found)}"]
    for word, spelt in (("downloads", str), ("bytes", size_of), ("clients", str)):
        most = limits[f"{word}_max"]
        lines.append(f"{word}  {spelt(used[word])} of {spelt(most)}" if most else f"{word}  no limit")
    lines += [f"counted  since {when(used['since_ms'])}"] if used["since_ms"] else []
    lines += [line for line in _limits(found) if line.split()[0] in ("every", "from", "until", "terms", "networks")]
    lines += [f"{key}={value}" for key, value in found["metadata"].items()]
    Output(json).fact(found, "\n".join(lines))


@app.command(name="edit")
def edit(
    workspace: AtWorkspace,
    id: str,
    /,
    *,
    query: str | None = None,
    downloads: int | None = None,
    bytes: str = "",
    clients: int | None = None,
    period: str = "",
    starts: str = "",
    expires: str = "",
    network: tuple[str, ...] | None = None,
    eula: str | None = None,
    metadata: tuple[str, ...] = (),
    reset: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Give it other limits, another end or another query, or with --reset begin to count anew now. What is not named
    stays. To renew it, let it end later: the customer keeps its token, also where that has expired.

    Parameters
    ----------
    workspace
        The workspace that it is for.
    id
        Its id, as entitlement list shows it.
    query
        Only what a search would find with this, at once and everywhere; "" = all that it was given.
    downloads
        How many downloads it is good for; 0 = any.
    bytes
        How many bytes: 500M, 2G; 0 = any.
    clients
        From how many different addresses; 0 = any.
    period
        After which time the counts begin anew: 1d, 30d; 0 = never.
    starts
        From when on it is good: in 12h, 30d, or on a day as 2027-01-31 (UTC); 0 = at once.
    expires
        When it ends, in the same way, counted from now; 0 = never.
    network
        ADDRESS/BITS that it can be used from, in place of those before; "" = anywhere. May be given several times.
    eula
        The revision of your terms that the customer must accept; "" = none.
    metadata
        KEY=VALUE of your own, in place of all that there was; may be given several times.
    reset
        Begin a new period now.
    """
    asked = {"downloads_max": downloads, "bytes_max": bytes_of(bytes) if bytes else None, "clients_max": clients}
    asked |= {"period_s": seconds(period) if period else None}
    asked |= {"from_s": from_now(starts, now_ms(), past=True) if starts else None}
    asked |= {"expires_s": from_now(expires, now_ms()) if expires else None}
    body: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    body |= {} if query is None else {"query": query}
    body |= {} if network is None else {"cidrs": [one for one in network if one]}
    body |= ({} if eula is None else {"eula": eula}) | ({"metadata": _pairs(metadata)} if metadata else {})
    if not body and not reset:
        raise Usage("It is not said what is to be changed.", "Name at least one limit, or --reset.")
    with reach(url, profile) as node:
        made = node.patch(f"/workspaces/{workspace}/entitlements/{id}", body | {"reset": reset})
    Output(json).fact(made, f"Entitlement {id} is changed.")


@app.command(name="refresh")
def refresh(
    workspace: AtWorkspace, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Give it a new text; the old one ends at once, and what was used stays used.

    Parameters
    ----------
    workspace
        The workspace that it is for.
    id
        Its id, as entitlement list shows it.
    """
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{workspace}/entitlements/{id}/refresh", {})
    out = Output(json)
    out.fact(made, f"id     {made['id']}\ntoken  {made['token']}")
    out.note("The token is shown this once. Give it to the customer.")


@app.command(name="revoke")
def revoke(
    workspace: AtWorkspace, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """End it, at once and everywhere.

    Parameters
    ----------
    workspace
        The workspace that it is for.
    id
        Its id, as entitlement list shows it.
    """
    with reach(url, profile) as node:
        made = node.delete(f"/workspaces/{workspace}/entitlements/{id}")
    Output(json).fact(made, f"Entitlement {id} is revoked.")


def _pairs(metadata: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE, several. Raises Usage."""
    for one in metadata:
        if not one.partition("=")[1]:
            raise Usage(f'"{one}" is not understood.', "Write it as KEY=VALUE.")
    return dict(one.partition("=")[::2] for one in metadata)


def _reach(one: Any) -> str:
    """What it reads, as its first grant says for all: they differ in the repository alone."""
    first = one["grants"][0] if one["grants"] else {}
    narrowed = [f"{word} {' '.join(first[word])}" for word in ("formats", "packages") if first.get(word)]
    narrowed += [f"query {first['query']}"] if first.get("query") else []
    return ", ".join([" ".join(grant["scope"] for grant in one["grants"]), *narrowed])


def _limits(one: Any) -> list[str]:
    """How it is bounded, a phrase each."""
    limits, eula = one["limits"], one["eula"]
    told = [f"{limits[f'{word}_max']} {word}" for word in ("downloads", "clients") if limits[f"{word}_max"]]
    told += [size_of(limits["bytes_max"])] if limits["bytes_max"] else []
    told += [f"every {span(limits['period_s'])}"] if limits["period_s"] else []
    told += [f"from {when(limits['from_ms'])}"] if limits["from_ms"] else []
    told += [f"until {when(one['expires_ms'])}"] if one["expires_ms"] else []
    told += [f"networks {' '.join(one['cidrs'])}"] if one.get("cidrs") else []
    if eula["revision"]:
        told.append(f"terms {eula['revision']} {'accepted' if eula['accepted'] else 'not accepted yet'}")
    return told
