"""How does a Repository get the foreign registries that it draws from?"""

import base64
import urllib.parse
from pathlib import Path
from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.profiles import read_secret
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, place, seconds

app = App(name="upstream", help="Foreign registries that a repository draws from.")


@app.command(name="add")
def add_upstream(
    repository: str,
    format: str,
    address: str,
    /,
    *,
    name: str = "default",
    fresh: str = "5m",
    negative: str = "1m",
    allow: tuple[str, ...] = (),
    private_network: bool = False,
    username: str = "",
    password_file: str = "",
    resign: Path | None = None,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let a repository draw what it lacks from a foreign registry.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    format
        pypi, npm, ...
    address
        Of the foreign registry; for pypi, of its simple index.
    name
        A name for it, where the format has several.
    fresh
        How long what it said is believed: 5m.
    negative
        How long a "no such package" is believed: 1m.
    allow
        A package that may come from it although its name was published here; may be given several times.
    private_network
        It is on this network or machine. Needs admin on everything.
    username
        For its credential; without one the password is sent as a Bearer.
    password_file
        A file that holds the password or token, or - for stdin.
    resign
        A keyring with its owner's OpenPGP keys: what he signed is verified with them, and signed anew with the
        repository's own. Else it is passed on as its owner signed it.
    """
    address, inside = _without_credential(address)
    if inside and password_file:
        raise Usage("There is a credential in the address and another in a file.", "Give one of them.")
    password = inside[1] if inside else read_secret(password_file, "password") if password_file else ""
    body: dict[str, Any] = {
        "format": format,
        "url": address,
        "name": name,
        "fresh_s": seconds(fresh),
        "negative_s": seconds(negative),
        "allow": list(allow),
        "private_network": private_network,
    }
    if resign is not None:
        body["signed_by"] = base64.b64encode(resign.read_bytes()).decode()
    if password:
        body["credential"] = {"username": username or (inside[0] if inside else ""), "password": password}
    at = place(repository)
    with reach(url, profile) as node:
        made = node.post(f"/repositories/{at}/upstreams", body)
    Output(json).fact(made, f"{at} draws {format} from {made['url']}.")


@app.command(name="list")
def list_upstreams(repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the foreign registries of a repository: where they are, if you manage it or may read all of it.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    """
    with reach(url, profile) as node:
        found = node.get(f"/repositories/{place(repository)}/upstreams")["items"]
    rows = [(one["format"], one["name"], one["url"] or "", ", ".join(one["allow"] or ())) for one in found]
    Output(json).rows({"items": found}, ("format", "name", "url", "allowed names"), rows)


@app.command(name="remove")
def remove_upstream(
    repository: str,
    format: str,
    name: str = "default",
    /,
    *,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Draw from it no longer.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    format
        Its format: deb, maven, npm, oci, pypi.
    name
        Its name, where a format has several.
    """
    with reach(url, profile) as node:
        node.delete(f"/repositories/{place(repository)}/upstreams/{_part(format)}/{_part(name)}")
    Output(json).fact({"removed": f"{format}/{name}"}, f"{repository} draws {format} from {name} no longer.")


@app.command(name="rotate")
def rotate_credential(
    repository: str,
    format: str,
    name: str = "default",
    /,
    *,
    username: str = "",
    password_file: str = "",
    unchecked: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Give it another credential. It is shown to the registry first, and the old one stays where that says no.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    format
        Its format: deb, maven, npm, oci, pypi.
    name
        Its name, where a format has several.
    username
        Without one the password is sent as a Bearer.
    password_file
        A file that holds the password or token, or - for stdin.
    unchecked
        Take it without asking the registry.
    """
    password = read_secret(password_file, "password")
    if not password:
        raise Usage("There is no password.", "Name a file with --password-file, - for stdin.")
    at = f"/repositories/{place(repository)}/upstreams/{_part(format)}/{_part(name)}/credential"
    with reach(url, profile) as node:
        told = node.put(at, {"username": username, "password": password, "unchecked": unchecked})
    Output(json).fact(told, f"{repository} shows {told['url']} another credential from now on.")


@app.command(name="allow")
def allow_name(
    repository: str,
    format: str,
    package: str,
    /,
    *,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let a package come from upstream although its name was published here.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    format
        Its format: deb, maven, npm, oci, pypi.
    package
        The name of the package.
    """
    with reach(url, profile) as node:
        told = node.post(f"/repositories/{place(repository)}/upstreams/{_part(format)}/allow", {"name": package})
    Output(json).fact(told, f"{package} may come from upstream.")


@app.command(name="disallow")
def disallow_name(
    repository: str,
    format: str,
    package: str,
    /,
    *,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Take `allow` back: a name that was published here comes from here alone.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    format
        Its format: deb, maven, npm, oci, pypi.
    package
        The name of the package.
    """
    with reach(url, profile) as node:
        node.delete(f"/repositories/{place(repository)}/upstreams/{_part(format)}/allow/{_part(package)}")
    Output(json).fact({"name": package, "allowed": False}, f"{package} may not come from upstream.")


def _part(text: str) -> str:
    return urllib.parse.quote(text, safe="@/")


def _without_credential(address: str) -> tuple[str, tuple[str, str] | None]:
    """The address as an upstream holds it, and the credential that stood in it, as many tools write it."""
    scheme, sep, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    user_info, at, host = authority.rpartition("@")
    if not sep or not at:
        return address, None
    user, _, password = user_info.partition(":")
    found = urllib.parse.unquote(user), urllib.parse.unquote(password)
    return f"{scheme}://{host}{slash}{path}", found if found[1] else ("", found[0])
