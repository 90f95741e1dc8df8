"""How are Tokens made, listed and revoked from a terminal?"""

from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, from_now, place, seconds, when
from gateway.console.calls.clock import now_ms

app = App(name="token", help="Tokens: make, list, revoke.")


@app.command(name="create")
def create_token(
    name: str,
    /,
    *,
    repository: tuple[str, ...] = (),
    workspace: tuple[str, ...] = (),
    everything: bool = False,
    read: bool | None = None,
    write: bool = False,
    admin: bool = False,
    edge: bool = False,
    owner: str = "",
    network: tuple[str, ...] = (),
    expires: str = "0",
    requests_max: int = 0,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Make a token. Its text is shown now and never again.

    Parameters
    ----------
    name
        What it is for, as logs will show it.
    repository
        WORKSPACE/REPOSITORY that it reaches; may be given several times.
    workspace
        Workspace that it reaches; may be given several times.
    everything
        It reaches every workspace.
    read
        It may read; so it may unless --no-read is given.
    write
        It may publish.
    admin
        It may manage what it reaches.
    edge
        It is for an edge, which follows everything.
    owner
        Whom it acts for: service:WORKSPACE/NAME, or user:NAME. It can do what that account can, and of that no more
        than the scopes here, if any.
    network
        ADDRESS/BITS that it can be used from; may be given several times.
    expires
        How long it is good: 12h, 30d, 1y, or until a day as 2027-01-31 (UTC); for ever without.
    requests_max
        How many requests each node takes from it in its window (a minute, unless configured).
    """
    scopes = [str(place(one)) for one in repository] + list(workspace) + (["*"] if everything else [])
    if edge and (scopes or write or admin):
        raise Usage("An edge's token reads everything and does nothing else.", "Leave out the scopes and rights.")
    if not edge and not scopes and not owner:
        raise Usage("The token would reach nothing.", "Add --repository W/R, --workspace W or --everything.")
    rights = {"read": read is not False, "write": write, "admin": admin}
    body: dict[str, Any] = {"name": name, "expires_s": from_now(expires, now_ms()), "requests_max": requests_max}
    body |= {"cidrs": list(network)} if network else {}
    body |= {"owner": owner} if owner else {}
    body |= {"kind": "edge"} if edge else {"grants": [{"scope": scope} | rights for scope in scopes]}
    with reach(url, profile) as node:
        made = node.post("/tokens", body)
    out = Output(json)
    out.fact(made, f"id     {made['id']}\ntoken  {made['token']}")
    out.note("The token is shown this once. Keep it where it is safe.")


@app.command(name="list")
def list_tokens(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the tokens that you may manage."""
    with reach(url, profile) as node:
        found = list(node.items("/tokens"))
    rows = [
        (
            *(one.get(word, "") for word in ("id", "name", "kind", "owner_name", "state")),
            *(_may(one), when(one["expires_ms"], never="never"), _used(one)),
        )
        for one in found
    ]
    columns = ("id", "name", "kind", "acts for", "state", "reaches", "expires", "last used")
    Output(json).rows({"items": found}, columns, rows)


@app.command(name="revoke")
def revoke_token(id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Revoke a token, at once and everywhere.

    Parameters
    ----------
    id
        Its id, as `token list` shows it.
    """
    if id.startswith("ent_"):
        raise Usage("This is the text of a token, not its id.", "Find the id with: entrepot token list.")
    with reach(url, profile) as node:
        revoked = node.delete(f"/tokens/{id}")
    Output(json).fact(revoked, f"Token {id} is revoked.")


@app.command(name="rotate")
def rotate_token(
    id: str,
    /,
    *,
    overlap: str = "0",
    expires: str = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Make a token that can do the same, and end the old one after a while.

    Parameters
    ----------
    id
        Its id, as `token list` shows it.
    overlap
        For how long the old one stays good: 1h, 7d.
    expires
        How long the new one is good: 90d, or until a day as 2027-01-31 (UTC); as long as the old one without.
    """
    body = {"overlap_s": seconds(overlap)} | ({"expires_s": from_now(expires, now_ms())} if expires else {})
    with reach(url, profile) as node:
        made = node.post(f"/tokens/{id}/rotate", body)
    out = Output(json)
    out.fact(made, f"id     {made['id']}\ntoken  {made['token']}")
    ends = f" It ends on {when(made['expires_ms'])}." if made["expires_ms"] else ""
    out.note(f"The token is shown this once. Keep it where it is safe.{ends}")


@app.command(name="whoami")
def whoami(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show whose token this is and what it may do."""
    with reach(url, profile) as node:
        found = node.get("/whoami")
    Output(json).fact(found, f"{found['name']} ({found['id']}): {_reach(found)}")


def _reach(token: Any) -> str:
    def said(grant: Any) -> str:
        return f"{grant['scope']} {'+'.join(right for right in ('read', 'write', 'admin') if grant[right])}"

    return ", ".join(said(grant) for grant in token["grants"])


def _may(token: Any) -> str:
    """What it reaches, and from where."""
    whose = f"all that {token['owner_name']} may" if token.get("owner_name") else ""
    networks = f", from {' '.join(token['cidrs'])} alone" if token.get("cidrs") else ""
    return (_reach(token) or whose) + networks


def _used(token: Any) -> str:
    use = token.get("last_used")
    return f"{when(use['at_ms'], never='never')} from {use['address']} at {use['node']}" if use else ""
