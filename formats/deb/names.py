"""What may packages, versions, architectures and distributions be called, and under which file name does a package lie?

Names are taken as they are, never mended: the rules are those of Debian Policy 5.6, so two names are one only when
they are equal byte for byte.
"""

import re

from storage.errors import Invalid

PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}")
VERSION = re.compile(r"(?:([0-9]{1,9}):)?([0-9A-Za-z][0-9A-Za-z.+~-]{0,127})")
ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_RUNS = re.compile(r"([^0-9]*)([0-9]*)")
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_%:-]{0,254}")
DISTRIBUTION_PARTS_MAX = 4

ALL = "all"
NO_BINARY = ("any", "source")
"""What a source package may ask for, and no built package can be."""

BINARY, SOURCE, DISTRIBUTION = "b/", "s/", "d/"
"""What the name of one of our Packages begins with: binary and source packages share their names."""

BINARY_ENDINGS = (".deb", ".udeb", ".ddeb")


def package(name: str, what: str = "package") -> str:
    """`name` where it can be that of a package. Raises Invalid."""
    if not PACKAGE.fullmatch(name):
        raise Invalid(
            f"{shown(name)} cannot be the name of a {what}.",
            "It has 2 to 128 lower-case letters, digits, plus, minus and dots, and begins with a letter or digit.",
        )
    return name


def version(text: str) -> str:
    """`text` where it is a version of Debian's. Raises Invalid."""
    if not VERSION.fullmatch(text):
        raise Invalid(f"{shown(text)} is no version of a Debian package.", "See deb-version(7).")
    return text


def in_order(text: str) -> tuple[object, ...]:
    """A sort key, as dpkg compares versions (deb-version(7)). Raises Invalid."""
    epoch, upstream, revision = _parts(text)
    return (epoch, _key(upstream), _key(revision or "0"))


def is_ahead(text: str) -> bool:
    """Is it sorted ahead of the release whose number it begins with, as 1.0~rc1 is of 1.0? What is behind the last
    hyphen counts the packages of one release, so 1.0-1~bpo12+1 is none. Raises Invalid."""
    return "~" in _parts(text)[1]


def _parts(text: str) -> tuple[int, str, str]:
    """Epoch, upstream version and revision, "" where it has none."""
    epoch, colon, _ = version(text).partition(":")
    rest = without_epoch(text)
    upstream, hyphen, revision = rest.rpartition("-")
    return int(epoch) if colon else 0, upstream if hyphen else rest, revision if hyphen else ""


def _key(part: str) -> tuple[object, ...]:
    """Texts and numbers in turn. A tilde is below the end of a text, that below letters, those below all else."""
    return tuple(((*(_rank(one) for one in text), 0), int(number or 0)) for text, number in _RUNS.findall(part))


def _rank(one: str) -> int:
    return -1 if one == "~" else ord(one) if one.isalpha() else ord(one) + 256


def without_epoch(text: str) -> str:
    """A version as file names have it."""
    return text.partition(":")[2] or text


def architecture(name: str) -> str:
    """`name` where a built package can have it. Raises Invalid."""
    if not ARCHITECTURE.fullmatch(name) or name in NO_BINARY:
        raise Invalid(f"{shown(name)} is no architecture that a package is built for.")
    return name


def distribution(name: str) -> str:
    """`name` where it can be a directory below dists/. Raises Invalid."""
    parts = name.split("/")
    if len(parts) > DISTRIBUTION_PARTS_MAX or not all(PART.fullmatch(part) for part in parts):
        raise Invalid(f"{shown(name)} cannot be the name of a distribution.", "Use letters, digits and . + ~ _ -")
    return name


def component(name: str) -> str:
    """`name` where it can be a component. Raises Invalid."""
    if not PART.fullmatch(name) or name.startswith(("binary-", "Contents-")) or name in RESERVED:
        raise Invalid(f"{shown(name)} cannot be the name of a component.", "Use letters, digits and . + ~ _ -")
    return name


RESERVED = ("source", "debian-installer", "by-hash", "i18n")
"""Directories of a distribution's own."""


def file(name: str) -> str:
    """`name` where it can be that of a file in the pool. Raises Invalid."""
    if not FILE.fullmatch(name):
        raise Invalid(f"{shown(name)} cannot be the name of a file here.")
    return name


def owner(filename: str) -> str:
    """The package that a file belongs to by its name: what stands before the first underscore. Raises Invalid."""
    name, underscore, _ = file(filename).partition("_")
    if not underscore:
        raise Invalid(f"{shown(filename)} does not say which package it belongs to.", "Call it NAME_VERSION....")
    return package(name)


def shown(name: str) -> str:
    """A stranger's word as a message may hold it."""
    return ascii(name[:80])
