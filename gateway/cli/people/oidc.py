"""How is a CI told to a workspace, and how does a build get its token from a terminal?"""

import os
import sys
from pathlib import Path
from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import Client, named, reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, owned, seconds

app = App(name="oidc", help="Let builds in by what their CI says of them, without secrets.")

FROM_ENVIRONMENT = "ENTREPOT_ID_TOKEN"
_BY_NAME = {"repository": "repository_id", "repository_owner": "repository_owner_id", "project_path": "project_id",
            "namespace_path": "namespace_id", "sub": "an id"}  # fmt: skip
"""Claims that change hands when somebody takes a name that was given up, and what stays."""


@app.command(name="add")
def add_provider(
    provider: str,
    /,
    *,
    issuer: str,
    audience: str,
    rule: tuple[str, ...],
    lifetime: str = "15m",
    private_network: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Believe an identity provider, for some builds.

    Parameters
    ----------
    provider
        WORKSPACE/NAME; the name is yours to choose.
    issuer
        Its address, exactly as its tokens have it in iss.
    audience
        What its tokens for you have in aud; choose one that nobody else uses, like the url of this registry.
    rule
        SERVICE:CLAIM=VALUE,CLAIM=VALUE: who shows all of these is that service account. May be given several times. Use
        ids, like repository_id or project_id: a name that is given up is taken by somebody else.
    lifetime
        How long the tokens are good that a build gets: 5m, 1h at most.
    private_network
        The issuer is not on the public Internet. Needs admin on everything.
    """
    at, rules = owned(provider), [_rule(one) for one in rule]
    body = {
        "name": at.name,
        "issuer": issuer,
        "audience": audience,
        "rules": rules,
        "lifetime_s": seconds(lifetime),
        "private_network": private_network,
    }
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/providers", body)
    out = Output(json)
    out.fact(made, f"{at.workspace} believes {issuer}.")
    for one in rules:
        for name in sorted(set(one["claims"]) & set(_BY_NAME)):
            if not any(claim.endswith("_id") for claim in one["claims"]):
                out.note(f"The claim {name} holds a name, which can change hands: ask for {_BY_NAME[name]} as well.")


@app.command(name="list")
def list_providers(
    workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """List the identity providers that a workspace believes, and their rules.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/providers"))
    rows = [
        (one["name"], one["issuer"], one["audience"], f"{one['lifetime_s']}s", _told(rule))
        for one in found
        for rule in one["rules"]
    ]
    Output(json).rows({"items": found}, ("provider", "issuer", "audience", "lifetime", "rule"), rows)


@app.command(name="remove")
def remove_provider(provider: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Believe a provider no more; the tokens that builds got by it can do nothing from then on.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    """
    at = owned(provider)
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{at.workspace}/providers/{at.name}")
    Output(json).fact({"removed": str(at)}, f"{at} is believed no more.")


@app.command(name="exchange")
def exchange(
    workspace: AtWorkspace,
    /,
    *,
    service: str = "",
    from_file: str = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Exchange the identity token of this build for a token of a service account, which is printed.

    Parameters
    ----------
    workspace
        The workspace.
    service
        The service account, where the rules lead to several.
    from_file
        Where the identity token is, - for stdin; else it is taken from ENTREPOT_ID_TOKEN.
    """
    body = {"workspace": workspace, "token": _identity(from_file), "service": service}
    # as nobody: the identity token is all that counts, and a token of the environment may have expired
    with Client(named(url, profile)[0], "") as node:
        made = node.post("/oidc/exchange", body)
    Output(json).fact(made, made["token"])


def _identity(from_file: str) -> str:
    if from_file == "-":
        text = sys.stdin.read(1 << 16)
    elif from_file:
        try:
            text = Path(from_file).read_text()
        except (OSError, UnicodeDecodeError):
            raise Usage("The identity token's file cannot be read.", "Check --from-file.") from None
    else:
        text = os.environ.get(FROM_ENVIRONMENT, "")
    if not text.strip():
        raise Usage("There is no identity token.", f"Set {FROM_ENVIRONMENT}, or name its file with --from-file.")
    return text.strip()


def _rule(text: str) -> dict[str, Any]:
    """SERVICE:CLAIM=VALUE,CLAIM=VALUE. Raises Usage."""
    service, colon, listed = text.partition(":")
    pairs = [one.partition("=") for one in listed.split(",")]
    if not service or not colon or not all(name and equals and value for name, equals, value in pairs):
        raise Usage(f'"{text}" is no rule.', "Write it as SERVICE:CLAIM=VALUE,CLAIM=VALUE.")
    claims = {name: value for name, _, value in pairs}
    if len(claims) != len(pairs):
        raise Usage(f'"{text}" names a claim twice.', "Each claim has one value.")
    return {"service": service, "claims": claims}


def _told(rule: Any) -> str:
    return f"{rule['service']}: " + ", ".join(f"{name}={value}" for name, value in sorted(rule["claims"].items()))
