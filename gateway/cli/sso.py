"""How is an OpenID provider told to a workspace at which its people sign in, from a terminal?"""

import sys
from pathlib import Path

from cyclopts import App

from gateway.cli.client import reach
from gateway.cli.output import Output, Usage
from gateway.cli.words import AsJson, AsProfile, AtUrl, owned

app = App(name="sso", help="Let people sign in at an identity provider.")


@app.command(name="add")
def add_provider(
    provider: str,
    /,
    *,
    issuer: str,
    client_id: str,
    client_secret_file: str = "",
    name_claim: str = "preferred_username",
    scope: tuple[str, ...] = (),
    domain: tuple[str, ...] = (),
    require: tuple[str, ...] = (),
    join: bool = False,
    groups_claim: str = "",
    team: tuple[str, ...] = (),
    private_network: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let the managed users of a workspace sign in at an OpenID provider. Prints the address to register there.

    Parameters
    ----------
    provider
        WORKSPACE/NAME; the name is yours to choose, and people see it.
    issuer
        Its address, exactly as its tokens have it in iss.
    client_id
        What this registry is called there.
    client_secret_file
        A file with the secret that it gave, - for stdin; none for a public client.
    name_claim
        The claim that is a person's userName here: preferred_username, upn, or email, which must then be verified.
    scope
        What to ask for beside openid; may be given several times. Else profile and email.
    domain
        Only names at this mail domain; may be given several times.
    require
        CLAIM=VALUE that everybody must have; may be given several times.
    join
        Who is not known yet becomes a member. Without it only those sign in whom SCIM has brought.
    groups_claim
        The claim that lists a person's groups.
    team
        GROUP=TEAM: who is in that group is in that team, and who is not is not; may be given several times.
    private_network
        The issuer is not on the public Internet. Needs admin on everything.
    """
    at = owned(provider)
    people = {
        "client_secret": _secret(client_secret_file),
        "name": name_claim,
        "scopes": list(scope),
        "domains": list(domain),
        "claims": _pairs(require, "CLAIM=VALUE"),
        "joins": join,
        "groups": groups_claim,
        "teams": _pairs(team, "GROUP=TEAM"),
    }
    body = {"name": at.name, "issuer": issuer, "audience": client_id, "private_network": private_network}
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/providers", body | {"people": people})
        back = f"{node.url}{made['people']['back']}"
    out = Output(json)
    out.fact(made | {"redirect_uri": back}, back)
    out.note("Register this address there as the redirect URI, with the name by which people reach this node.")


def _secret(file: str) -> str:
    if not file:
        return ""
    try:
        text = sys.stdin.read(1 << 12) if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError):
        raise Usage("The file of the client secret cannot be read.", "Check --client-secret-file.") from None
    if not text.strip():
        raise Usage("There is no client secret in this file.", "Check --client-secret-file.")
    return text.strip()


def _pairs(texts: tuple[str, ...], form: str) -> dict[str, str]:
    pairs = [one.partition("=") for one in texts]
    if not all(name and equals and value for name, equals, value in pairs):
        raise Usage("This is not understood.", f"Write it as {form}.")
    found = {name: value for name, _, value in pairs}
    if len(found) != len(pairs):
        raise Usage("Something is named twice.", f"Write {form} once for each.")
    return found
