"""Which package names, versions and tags are good, and how are versions ordered?

Names: what may be newly published is stricter than what may be read, since foreign registries still hold names of
earlier days. Versions: Semantic Versioning 2.0.0 as it is written, no loose forms.
"""

import re
from typing import NamedTuple

from storage.errors import Absent, Invalid

NAME_LENGTH_MAX = 214
VERSION_LENGTH_MAX = 256
NUMBER_MAX = (1 << 53) - 1
"""The largest number that every client can hold exactly."""

_NEW = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_OLD = re.compile(r"(?:@[A-Za-z0-9~!*'()-][A-Za-z0-9._~!*'()-]*/)?[A-Za-z0-9~!*'()-][A-Za-z0-9._~!*'()-]*")
_TAKEN = {"-", "node_modules", "favicon.ico"}

_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PART = r"(?:[0-9]+|[xX*])"
_RANGE = re.compile(rf"[v=]*{_PART}(?:\.{_PART}(?:\.{_PART}(?:[-+][0-9A-Za-z.+-]+)?)?)?")
_TAG = re.compile(r"[A-Za-z0-9~*][A-Za-z0-9._~!*'()@:+-]*")
_PROTOTYPES = {"__proto__", "constructor", "prototype"}


class Semver(NamedTuple):
    """A version taken apart; `prerelease` and `build` are the dotted texts without their sign."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""
    build: str = ""

    @property
    def order(self) -> tuple[object, ...]:
        """A key whose order is the precedence of semver 2.0.0 section 11: build metadata does not count."""
        return (self.major, self.minor, self.patch, not self.prerelease, _identifiers(self.prerelease))


def _identifiers(dotted: str) -> tuple[tuple[bool, int, str], ...]:
    if not dotted:
        return ()
    return tuple((False, int(one), "") if one.isdigit() else (True, 0, one) for one in dotted.split("."))


def semver(text: str) -> Semver | None:
    """`text` taken apart, or None where it is no strict semver of at most VERSION_LENGTH_MAX characters."""
    if len(text) > VERSION_LENGTH_MAX or not (match := _VERSION.fullmatch(text)):
        return None
    major, minor, patch, prerelease, build = match.groups()
    numbers = [int(major), int(minor), int(patch)]
    numbers += [int(one) for one in (prerelease or "").split(".") if one.isdigit()]
    if max(numbers) > NUMBER_MAX:
        return None
    return Semver(numbers[0], numbers[1], numbers[2], prerelease or "", build or "")


def clean(text: str) -> str:
    """The version that clients publish for what a package.json says: no blanks, no leading v, no build metadata."""
    return text.strip().lstrip("=v").strip().partition("+")[0]


def highest(versions: list[str]) -> str:
    """The version that `latest` should fall back to: the highest release, else the highest prerelease, else ""."""
    known = [(parsed, text) for text in versions if (parsed := semver(text))]
    if not known:
        return max(versions, default="")
    return max(known, key=lambda one: (not one[0].prerelease, one[0].order))[1]


def readable(name: str) -> bool:
    """May a package of this name exist anywhere?"""
    return len(name) <= NAME_LENGTH_MAX and name not in _TAKEN and _OLD.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """`name` if a package may exist under it.

    Raises Absent: to a reader an impossible name is one that is not there.
    """
    if not readable(name):
        raise Absent("No package can have this name.")
    return name


def new_name(name: str) -> str:
    """`name` if a package may be newly published under it.

    Raises Invalid.
    """
    if len(name) > NAME_LENGTH_MAX:
        raise Invalid(f"A package name has at most {NAME_LENGTH_MAX} characters.", "Choose a shorter name.")
    if name in _TAKEN or not _NEW.fullmatch(name):
        raise Invalid(
            "This package name is not allowed.",
            "Use lower-case letters, digits, '-', '.', '_' and '~', not starting with '.' or '_'.",
        )
    return name


def new_version(text: str) -> Semver:
    """A version that may be newly published.

    Raises Invalid for what is no strict semver, and for build metadata: two versions that differ in it alone would be
    one version to every client.
    """
    parsed = semver(text)
    if parsed is None:
        raise Invalid("The version is not a semantic version.", "Use MAJOR.MINOR.PATCH, as in 1.0.0 or 2.0.0-beta.1.")
    if parsed.build:
        raise Invalid("A published version has no build metadata.", "Leave out the '+' and what follows it.")
    return parsed


def readable_tag(tag: str) -> bool:
    """May a dist-tag have this name? Not where a client would take it for a version or a range."""
    return (
        0 < len(tag) <= NAME_LENGTH_MAX
        and tag not in _PROTOTYPES
        and _TAG.fullmatch(tag) is not None
        and _RANGE.fullmatch(tag) is None
    )


def new_tag(tag: str) -> str:
    """`tag` if it may be set. Raises Invalid."""
    if not readable_tag(tag):
        raise Invalid("This dist-tag is not allowed.", "Use a word that is neither a version nor a range, as in next.")
    return tag


def bare(name: str) -> str:
    """The name without its scope."""
    return name.rpartition("/")[2]


def tarball_name(name: str, version: str) -> str:
    """The file that holds the version: the scope is no part of it."""
    return f"{bare(name)}-{version}.tgz"


BUNDLE = ".sigstore"


def bundle_name(name: str, version: str) -> str:
    """The file that holds the version's attestations."""
    return f"{bare(name)}-{version}{BUNDLE}"


def package_url(name: str) -> str:
    """The name as npm's package URL, which attestations speak of."""
    scope, slash, rest = name.rpartition("/")
    return f"pkg:npm/{scope.replace('@', '%40')}{slash}{rest}"
