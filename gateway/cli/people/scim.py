"""How is a workspace connected to its identity provider from a terminal?"""

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, owned, seconds, when

app = App(name="scim", help="Let an identity provider keep users and teams.")


@app.command(name="token")
def make_token(
    token: str,
    /,
    *,
    expires: str = "0",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Make a token for an identity provider, to be entered there. It keeps users and teams, and does nothing else.

    Parameters
    ----------
    token
        WORKSPACE/NAME; the name is what the audit will show as the one who did it.
    expires
        How long it is good: 365d; for ever without.
    """
    at = owned(token)
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/scim/tokens", {"name": at.name, "expires_s": seconds(expires)})
        base = f"{node.url}/-/scim/v2/{at.workspace}"
    out = Output(json)
    out.fact(made | {"base_url": base}, made["token"])
    out.note(f"Its base url is {base}. The token is shown this once; end it with: entrepot token revoke {made['id']}")


@app.command(name="list")
def list_tokens(workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the tokens, of those that you may manage, by which identity providers keep the users of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        tokens = (one for one in node.items("/tokens") if one["kind"] == "scim")
        found = [one for one in tokens if any(grant["scope"] == workspace for grant in one["grants"])]
    rows = [
        (
            *(one["id"], one["name"], one["state"], when(one["expires_ms"], never="never")),
            when(one["last_used"]["at_ms"]) if one.get("last_used") else "",
        )
        for one in found
    ]
    Output(json).rows({"items": found}, ("id", "name", "state", "expires", "last used"), rows)
