"""How are the keys changed that a SAML identity provider has of this registry?"""

import urllib.parse

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, owned, when

app = App(name="key", help="Keys of this registry that a SAML identity provider has: to sign with, and to encrypt for.")


@app.command(name="list")
def list_keys(provider: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the pairs of keys. Requests are signed with the first; the provider is to encrypt for the last.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    """
    at = owned(provider)
    with reach(url, profile) as node:
        saml = node.get(f"/workspaces/{at.workspace}/providers/{at.name}").get("saml") or {}
    found = saml.get("keys", [])
    uses = ("signing", "encryption")
    rows = [(one["id"], when(one["created_ms"]), *(one[use]["sha256"] for use in uses)) for one in found]
    Output(json).rows({"items": found}, ("id", "since", *uses), rows)


@app.command(name="add")
def add_key(provider: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Make another pair of keys, beside those in force. The identity provider must get the metadata anew.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    """
    at = owned(provider)
    with reach(url, profile) as node:
        made = node.call("POST", f"/workspaces/{at.workspace}/saml/{at.name}/keys")
        own = f"{node.url}/-/sign-in/saml/{at.workspace}/{at.name}/metadata"
    out = Output(json)
    out.fact(made | {"metadata_url": own}, made["id"])
    out.note(f"Give {own} to the identity provider; then retire the older pair: entrepot sso key retire {at} ID.")


@app.command(name="retire")
def retire_key(provider: str, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Forget a pair of keys: what is encrypted for it cannot be read from then on.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    id
        Which pair, as `list` tells it.
    """
    at = owned(provider)
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{at.workspace}/saml/{at.name}/keys/{urllib.parse.quote(id, safe='')}")
    Output(json).fact({"retired": id}, f"{at} has {id} no longer.")
