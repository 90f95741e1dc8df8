"""How are places, addresses and durations spelt on a command line? And which options does every command take?"""

import datetime
import re
import urllib.parse
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from gateway.cli.terminal.output import Usage


def one_workspace(_: Any, text: str) -> None:
    """Raises Usage for what names more than a Workspace: no address could be made of it."""
    if "/" in text:
        raise Usage(f'"{text}" is no workspace.', "Write its name alone: what is after the slash is no part of it.")


AtWorkspace = Annotated[str, Parameter(validator=one_workspace)]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on stdout.")]
AtUrl = Annotated[str, Parameter(name="--url", help="The node; else ENTREPOT_URL, a profile, this machine.")]
AsProfile = Annotated[str, Parameter(name="--profile", help="The profile; else ENTREPOT_PROFILE, the current one.")]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_DURATION = re.compile(r"([0-9]{1,9})([smhdwy]?)")


class Place(NamedTuple):
    """A Repository by its two names."""

    workspace: str
    repository: str

    def __str__(self) -> str:
        return f"{self.workspace}/{self.repository}"


def place(text: str) -> Place:
    """WORKSPACE/REPOSITORY. Raises Usage."""
    workspace, slash, repository = text.partition("/")
    if not workspace or not slash or not repository or "/" in repository:
        raise Usage(f'"{text}" names no repository.', "Write it as WORKSPACE/REPOSITORY.")
    return Place(workspace, repository)


class Owned(NamedTuple):
    """Something of a Workspace, by both names."""

    workspace: str
    name: str

    def __str__(self) -> str:
        return f"{self.workspace}/{self.name}"


def owned(text: str) -> Owned:
    """WORKSPACE/NAME. Raises Usage."""
    workspace, slash, name = text.partition("/")
    if not workspace or not slash or not name or "/" in name:
        raise Usage(f'"{text}" is not understood.', "Write it as WORKSPACE/NAME.")
    return Owned(workspace, name)


def address(url: str) -> str:
    """http(s)://HOST[:PORT], without a slash at the end. Raises Usage; never repeats what may hold a credential."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise Usage("The url of the node is not understood.", "Write it as http(s)://HOST:PORT and nothing else.")
    return url.rstrip("/")


def seconds(text: str) -> int:
    """A duration as 90, 90s, 15m, 12h, 30d, 2w or 1y. Raises Usage."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Usage(f'"{text}" is no duration.', "Write it as a number and s, m, h, d, w or y: 30d.")
    return int(match[1]) * _SECONDS[match[2] or "s"]


def from_now(text: str, now_ms: int, *, past: bool = False) -> int:
    """The seconds until a day (2027-01-31, or with a time as 2027-01-31T12:00, of UTC), or a duration. Raises Usage,
    also for what is over, where that is not `past`, which is now."""
    if "-" not in text:
        return seconds(text)
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Usage(
            f'"{text}" is no day.', "Write it as 2027-01-31 or 2027-01-31T12:00, or in how long: 30d."
        ) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
    left = int(at.timestamp()) - now_ms // 1000
    if left <= 0 and not past:
        raise Usage(f'"{text}" is over.', "Name a time that is to come.")
    return max(left, 0)


def span(count: int) -> str:
    """Seconds as a duration that `seconds` reads, in the largest unit that is exact."""
    unit = next((one for one in "wdhm" if count and count % _SECONDS[one] == 0), "s")
    return f"{count // _SECONDS[unit]}{unit}"


def roughly(count_ms: int) -> str:
    """How long something took or has been, in the largest unit of which there is more than one."""
    count = count_ms / 1000
    unit = next((one for one in "dhm" if count >= 2 * _SECONDS[one]), "s")
    return f"{count / _SECONDS[unit]:.0f} {'min' if unit == 'm' else unit}"


class Item(NamedTuple):
    """A package of a Repository, or one version of it."""

    place: Place
    format: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.place}/{self.format}/{self.package}{f'@{self.version}' if self.version else ''}"


def item(text: str, version: str = "") -> Item:
    """WORKSPACE/REPOSITORY/FORMAT/PACKAGE[@VERSION]; a path of generic has no version, and may hold an @.

    Raises Usage.
    """
    workspace, _, rest = text.partition("/")
    repository, _, rest = rest.partition("/")
    format, _, package = rest.partition("/")
    if not version and format != "generic" and "@" in package[1:]:
        package, _, version = package.rpartition("@")
    if not (workspace and repository and format and package):
        raise Usage(f'"{text}" is not understood.', "Write it as WORKSPACE/REPOSITORY/FORMAT/PACKAGE[@VERSION].")
    return Item(Place(workspace, repository), format, package, version)


def when(at_ms: int, never: str = "") -> str:
    """A time for people to read, to the second; `never` for 0."""
    return _utc(at_ms).strftime("%Y-%m-%d %H:%M:%S UTC") if at_ms else never


def instant(at_ms: int) -> str:
    """A time that programs sort by, as ISO 8601 with milliseconds."""
    return _utc(at_ms).isoformat(timespec="milliseconds")


def _utc(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
