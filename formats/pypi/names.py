"""What do project names, versions and file names mean, and when are two of them the same?"""

import re
from functools import lru_cache

import msgspec
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from storage.errors import Absent, Invalid

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_PUBLISHED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_FOREIGN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!~@=,() -]{0,254}")
_SUFFIXES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.Z", ".tgz", ".tbz", ".tar", ".zip")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_VERSION_CHARACTERS_MAX = 128


def normalised(name: str) -> str:
    """The one spelling of a project's name (PEP 503). Raises Invalid."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name[:80]!r} is no name of a Python project.", "Use letters, digits, '-', '_' and '.'.")
    return canonicalize_name(name)


def known(name: str) -> str:
    """Like normalised, of an address: raises Absent."""
    try:
        return normalised(name)
    except Invalid:
        raise Absent("There is no such project.") from None


def version(text: str) -> Version:
    """Raises Invalid for what PEP 440 does not allow."""
    try:
        if len(text) <= _VERSION_CHARACTERS_MAX:
            return Version(text)
    except (InvalidVersion, ValueError):
        pass
    raise Invalid(f"{text[:80]!r} is no version.", "Versions follow PEP 440.")


def same_version(one: str, other: str) -> bool:
    """Do these name one release ("1.0" and "1.0.0" do)? Unreadable ones are the same only when spelt alike."""
    return one == other or _canonical(one) == _canonical(other)


@lru_cache(8192)
def _canonical(text: str) -> str:
    return canonicalize_version(text)


class Distribution(msgspec.Struct, frozen=True):
    """A file name taken apart. `name` is normalised, `version` as PEP 440 writes it.

    `identity` is equal exactly for file names that name the same distribution of a project.
    """

    name: str
    version: str
    wheel: bool
    identity: str


def distribution(filename: str) -> Distribution:
    """What a wheel or sdist of this name must hold. Raises Invalid for any other name."""
    if not _PUBLISHED.fullmatch(filename):
        raise Invalid("The file has no usable name.", "Upload what a build backend made.")
    try:
        if filename.endswith(".whl"):
            name, number, build, tags = parse_wheel_filename(filename)
            # No part can hold a "-", so that joining them by it keeps them apart.
            told = "".join(str(one) for one in build)
            parts = [canonicalize_version(number), told, ".".join(sorted(str(tag) for tag in tags))]
            return Distribution(normalised(name), str(number), True, "-".join(parts))
        if filename.endswith((".tar.gz", ".zip")):
            name, number = parse_sdist_filename(filename)
            # One source for each release, whatever its packing.
            return Distribution(normalised(name), str(number), False, canonicalize_version(number))
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion, ValueError) as error:
        raise Invalid(f"{filename!r} does not name a project and a version: {clean(str(error), 200)}.") from None
    raise Invalid(f"{filename!r} is neither a wheel nor a source distribution.", "Upload .whl and .tar.gz files.")


def version_of(project: str, filename: str) -> str | None:
    """The version that a file of `project` (normalised) has by its name; "" where unreadable, None for another's file.

    Lenient, for what old tools made and foreign registries keep.
    """
    if not _FOREIGN.fullmatch(filename):
        return None
    if filename.endswith((".whl", ".egg")):
        stem, _, rest = filename.rpartition(".")[0].partition("-")
        return _plain(rest.partition("-")[0]) if canonicalize_name(stem) == project else None
    stem = next((filename.removesuffix(one) for one in _SUFFIXES if filename.endswith(one)), "")
    if not stem:
        return "" if canonicalize_name(filename).startswith(project) else None
    at = stem.find("-")
    while at > 0:
        if canonicalize_name(stem[:at]) == project:
            return _plain(stem[at + 1 :])
        at = stem.find("-", at + 1)
    return None


def _plain(text: str) -> str:
    try:
        return str(version(text))
    except Invalid:
        return ""


def clean(text: str, characters_max: int = 1000) -> str:
    """Text of others as one line, without what moves a cursor or turns the writing direction."""
    return _CONTROL.sub(" ", text).strip()[:characters_max]
