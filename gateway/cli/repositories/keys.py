"""How are the keys changed with which a Repository signs its indexes?"""

import urllib.parse

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, place

app = App(name="key", help="Keys that a repository signs its indexes with.")


@app.command(name="list")
def list_keys(repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the keys in force. There is none before the first signed index is read.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    """
    with reach(url, profile) as node:
        found = node.get(f"/repositories/{place(repository)}/keys")["items"]
    Output(json).rows({"items": found}, ("fingerprint",), [(one["fingerprint"],) for one in found])


@app.command(name="add")
def add_key(repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Sign with one more key, beside those in force.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    """
    at = place(repository)
    with reach(url, profile) as node:
        made = node.call("POST", f"/repositories/{at}/keys")
    Output(json).fact(made, f"{at} signs with {made['fingerprint']} too. Clients must get the key file anew.")


@app.command(name="retire")
def retire_key(
    repository: str, fingerprint: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Sign with a key no longer, and forget it.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    fingerprint
        As key list shows it.
    """
    at = place(repository)
    with reach(url, profile) as node:
        node.delete(f"/repositories/{at}/keys/{urllib.parse.quote(fingerprint, safe='')}")
    Output(json).fact({"retired": fingerprint}, f"{at} signs with {fingerprint} no longer.")
