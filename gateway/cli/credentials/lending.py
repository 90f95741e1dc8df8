"""How do other programs get the token, so that it lies in one place alone and is part of no address?

By the protocol that each has for it, from the environment or the profiles. A token goes to the node of its profile and
to no other, by host, port and scheme: what is kept for https is given to nobody who speaks plain http.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from cyclopts import App

from gateway.access.tokens import well_formed
from gateway.cli.terminal import profiles
from gateway.cli.terminal.client import named
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, place
from storage.errors import Absent, Unauthenticated

app = App(name="credential", help="The token for other programs: docker, pip, uv, npm, cargo, mvn, git.")

USER = "token"
_PORTS = {"http": 80, "https": 443}


class Node(NamedTuple):
    """Who a token is for; `scheme` "" = a program that does not say it."""

    scheme: str
    host: str
    port: int | None


class Known(NamedTuple):
    """A node, and the token for it."""

    url: str
    token: str


def node_of(text: str) -> Node:
    """An address, or HOST[:PORT]. Raises Usage."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        host, port = "", None
    if not host:
        raise Usage("The address of the node is not understood.", "Give http(s)://HOST[:PORT]/... or HOST[:PORT].")
    return Node(parts.scheme, host.lower(), port)


def known() -> Iterator[Known]:
    """What the environment says, then the profile in use, then the others."""
    url, token = os.environ.get("ENTREPOT_URL", ""), os.environ.get("ENTREPOT_TOKEN", "")
    if url and token:
        yield Known(url, token)
    kept = profiles.load()
    chosen = os.environ.get("ENTREPOT_PROFILE", "") or kept.current
    for name in sorted(kept.profiles, key=lambda one: (one != chosen, one)):
        if kept.profiles[name].token:
            yield Known(kept.profiles[name].url, kept.profiles[name].token)


def token_for(address: str, among: Iterable[Known] | None = None) -> str:
    """The token for the node at an address, "" where there is none. Raises Usage."""
    asked = node_of(address)
    for one in known() if among is None else among:
        kept = node_of(one.url)
        ports = {asked.port} if asked.port is not None else set(_PORTS.values())
        if kept.host == asked.host and kept.port in ports and asked.scheme in ("", kept.scheme):
            return one.token if well_formed(one.token) else ""
    return ""


@app.command(name="token")
def token(address: str = "", /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Print the token for a node: for cargo's token-from-stdout, pnpm's tokenHelper, and scripts.

    Parameters
    ----------
    address
        Of the node, or of anything on it; else what cargo says, else the node of --url or the profile.
    """
    told = address or os.environ.get("CARGO_REGISTRY_INDEX_URL", "").removeprefix("sparse+")
    found = token_for(told) if told else named(url, profile)[1]
    if not found:
        raise Unauthenticated(f"There is no token for {told or 'this node'}.", "Keep one: entrepot profile set.")
    Output(json).fact({"token": found}, found)


@app.command(name="git")
def git(operation: str, /) -> int:
    """Speak git's protocol of credential helpers: credential.helper = "!entrepot credential git".

    Parameters
    ----------
    operation
        get answers; store and erase are passed over, since the token is the profile's.
    """
    asked = dict(line.strip().partition("=")[::2] for line in sys.stdin)
    if operation == "get" and "host" in asked:
        found = token_for(f"{asked.get('protocol', 'https')}://{asked['host']}")
        if found:
            sys.stdout.write(f"username={USER}\npassword={found}\n")
    return 0


@app.command(name="run")
def run(*command: str, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Run a program with ENTREPOT_TOKEN and ENTREPOT_URL set, for settings that name them: npm, mvn, Gradle.

    Parameters
    ----------
    command
        Behind --: entrepot credential run -- npm ci
    """
    if not command:
        raise Usage("It is not said what to run.", "Put it behind --: entrepot credential run -- npm ci")
    at, found = named(url, profile)
    if not found:
        raise Unauthenticated(f"There is no token for {at}.", "Keep one: entrepot profile set.")
    try:
        return subprocess.run(command, env=os.environ | {"ENTREPOT_URL": at, "ENTREPOT_TOKEN": found}).returncode
    except FileNotFoundError:
        raise Absent(f"There is no program {command[0]}.") from None


@app.command(name="setup")
def setup(tool: str, repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show what to write where, so that a program asks entrepot for the token. No line has a token in it.

    Parameters
    ----------
    tool
        docker, pip, uv, npm, pnpm, mvn, cargo, apt or git.
    repository
        WORKSPACE/REPOSITORY.
    """
    at, _ = named(url, profile)
    base, node = f"{at}/{place(repository)}", node_of(at)
    scheme, host = at.split("://", 1)
    if tool not in _LINES:
        raise Usage(f'Nothing is known of a program "{tool}".', f"One of {', '.join(_LINES)}.")
    told = [line.format(base=base, scheme=scheme, host=host, name=node.host, place=repository) for line in _LINES[tool]]
    Output(json).fact({"tool": tool, "lines": told}, "\n".join(told))


_KEYRING = (
    '# once, in a folder of the PATH: ln -s "$(command -v entrepot-keyring)" keyring',
    "# the user stands in the address, the token does not",
)
_NPMRC = (
    "# .npmrc, as it stands: the program fills in the token",
    "registry={base}/npm/",
    "//{host}/{place}/npm/:_authToken=${{ENTREPOT_TOKEN}}",
)
_LINES: dict[str, tuple[str, ...]] = {
    "docker": (
        "# ~/.docker/config.json; podman, buildah and skopeo: auth.json",
        '{{"credHelpers": {{"{host}": "entrepot"}}}}',
    ),
    "pip": (
        *_KEYRING,
        "pip install --keyring-provider subprocess --index-url {scheme}://token@{host}/{place}/pypi/simple/ NAME",
    ),
    "uv": (
        *_KEYRING,
        "uv pip install --keyring-provider subprocess "
        "--default-index {scheme}://token@{host}/{place}/pypi/simple/ NAME",
    ),
    "npm": (*_NPMRC, "# then: entrepot credential run -- npm install"),
    "pnpm": (*_NPMRC, "# then: entrepot credential run -- pnpm install"),
    "mvn": (
        "# settings.xml",
        "<server><id>entrepot</id><username>token</username><password>${{env.ENTREPOT_TOKEN}}</password></server>",
        "<mirror><id>entrepot</id><mirrorOf>*</mirrorOf><url>{base}/maven/</url></mirror>",
        "# then: entrepot credential run -- mvn package",
    ),
    "cargo": (
        "# .cargo/config.toml",
        "[registry]",
        'global-credential-providers = ["cargo:token-from-stdout entrepot credential token"]',
    ),
    "apt": (
        "# apt reads files alone: as root, readable by root",
        "(umask 077; printf 'machine {scheme}://{host}/{place}/deb/ login token password %s\\n' "
        '"$(entrepot credential token)" > /etc/apt/auth.conf.d/entrepot.conf)',
    ),
    "git": (
        "# and for what asks as git does (git-lfs)",
        'git config --global credential.{scheme}://{host}.helper "!entrepot credential git"',
    ),
}
