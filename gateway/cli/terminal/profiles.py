"""Which nodes does this user work with, and with which tokens?

`~/.config/entrepot/config.toml` (or below XDG_CONFIG_HOME), readable by its owner only:

    current = "local"
    [profiles.local]
    url = "http://127.0.0.1:8081"
    token = "ent_..."
"""

import getpass
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import msgspec
from cyclopts import App

from gateway.access.names import slug
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, address
from storage.errors import Absent, Problem

app = App(name="profile", help="Names for nodes and the tokens to use with them.")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node as one principal."""

    url: str
    token: str = ""


class Profiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `current` is used where no other is named."""

    current: str = ""
    profiles: dict[str, Profile] = {}


_CHOSEN: ContextVar[str] = ContextVar("profile", default="")


@contextmanager
def choosing(name: str) -> Iterator[None]:
    """Within the block this profile is used, wherever a command names no other; "" = none is chosen."""
    before = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(before)


def chosen() -> str:
    """The profile that was named ahead of the command."""
    return _CHOSEN.get()


def path() -> Path:
    """Where the file is."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "entrepot" / "config.toml"


def load() -> Profiles:
    """What the file holds; nothing where there is none. Raises Usage for one that cannot be understood."""
    try:
        return msgspec.convert(tomllib.loads(path().read_text()), Profiles)
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise Problem(f"The profiles cannot be read: {error.strerror}.", f"See {path()}.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise Usage(f"{path()} is not a file of profiles.", "Mend it, or remove it and set them again.") from None


def save(known: Profiles) -> None:
    """Replace the file, readable by its owner only."""
    lines = [f"current = {json.dumps(known.current)}"]
    for name, profile in sorted(known.profiles.items()):
        # a slug may hold a dot, so the key is quoted; JSON's escapes are TOML's
        lines += ["", f"[profiles.{json.dumps(name)}]"]
        lines += [f"url = {json.dumps(profile.url)}", f"token = {json.dumps(profile.token)}"]
    place = path()
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = place.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
        fresh.replace(place)
    except OSError as error:
        raise Problem(f"The profiles cannot be written: {error.strerror}.", f"See {place}.") from error


def read_secret(source: str, what: str) -> str:
    """A secret from a file, from stdin ("-"), or, with "" and a terminal, typed unseen; never from the command line."""
    if source == "-":
        return sys.stdin.readline().strip()
    if source:
        try:
            return Path(source).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"The {what} cannot be read from {source}.", "Name a file that holds nothing else.") from error
    if sys.stdin.isatty():
        return getpass.getpass(f"{what}: ").strip()
    return ""


def read_lines(source: str, what: str) -> list[str]:
    """The lines of a file, or of stdin ("-"), that hold something; for secrets, too. Raises Usage."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"The {what} cannot be read from {source}.", "Name a file of lines.") from error
    return [line for line in text.splitlines() if line.strip()]


@app.command(name="set")
def set_profile(name: str, /, *, url: str, token_file: str = "", json: AsJson = False) -> None:
    """Keep a node and a token under a name, and use it from now on.

    Parameters
    ----------
    name
        The profile.
    url
        The node, as http(s)://HOST:PORT.
    token_file
        A file that holds the token, or - for stdin. Without it ENTREPOT_TOKEN is kept, or the token is asked for.
    """
    token = "" if token_file else os.environ.get("ENTREPOT_TOKEN", "")
    token = token or read_secret(token_file, "token")
    slug(name, "A profile")
    known = load()
    save(Profiles(name, known.profiles | {name: Profile(address(url), token)}))
    Output(json).fact({"profile": name, "url": address(url)}, f"Profile {name} is set and in use.")


@app.command(name="use")
def use_profile(name: str, /, *, json: AsJson = False) -> None:
    """Use another profile from now on.

    Parameters
    ----------
    name
        As profile list shows it.
    """
    known = load()
    if name not in known.profiles:
        raise Absent(f'There is no profile called "{name}".', "List them with: entrepot profile list.")
    save(Profiles(name, known.profiles))
    Output(json).fact({"profile": name}, f"Profile {name} is in use.")


@app.command(name="list")
def list_profiles(*, json: AsJson = False) -> None:
    """Show the profiles; never their tokens."""
    known = load()
    told = [
        {"name": name, "url": one.url, "token": bool(one.token), "current": name == known.current}
        for name, one in sorted(known.profiles.items())
    ]
    rows = [(one["name"], one["url"], "yes" if one["token"] else "no", "*" if one["current"] else "") for one in told]
    Output(json).rows({"items": told}, ("profile", "url", "token", "current"), rows)


@app.command(name="remove")
def remove_profile(name: str, /, *, json: AsJson = False) -> None:
    """Forget a profile and its token.

    Parameters
    ----------
    name
        As profile list shows it.
    """
    known = load()
    if name not in known.profiles:
        raise Absent(f'There is no profile called "{name}".', "List them with: entrepot profile list.")
    left = {key: value for key, value in known.profiles.items() if key != name}
    save(Profiles("" if known.current == name else known.current, left))
    Output(json).fact({"removed": name}, f"Profile {name} is removed.")
