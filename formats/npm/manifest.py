"""Which parts of a version's manifest are kept, and which of them make the abbreviated form?

A manifest is handled as the raw JSON of its members, by key, so that what is served is what was written.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

Members = Mapping[str, bytes | msgspec.Raw]

SHORT = (
    "name",
    "version",
    "dependencies",
    "optionalDependencies",
    "devDependencies",
    "bundleDependencies",
    "bundledDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "acceptDependencies",
    "bin",
    "directories",
    "engines",
    "os",
    "cpu",
    "libc",
    "funding",
    "_hasShrinkwrap",
    "hasInstallScript",
)
"""What an installer needs; the registry's documentation of package metadata lists them."""

OURS = {"dist", "deprecated", "readme", "_attachments", "_rev", "_revisions", "_resolved", "_integrity", "_from"}
"""Members that the page says itself, or that do not belong in it."""

INSTALL_SCRIPTS = ("preinstall", "install", "postinstall")
TRUE = b"true"
DIST = ("fileCount", "unpackedSize", "signatures")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = (1990, 9999)
_text = msgspec.json.Decoder(str)
_anything = msgspec.json.Decoder()


def joined(members: Members) -> bytes:
    """The JSON object of these members."""
    return b"{" + b",".join([msgspec.json.encode(key) + b":" + bytes(raw) for key, raw in members.items()]) + b"}"


def halves(members: Members) -> tuple[bytes, bytes]:
    """The full manifest and the abbreviated one. `members` already say what the room adds (hasInstallScript, ...)."""
    full = joined({key: raw for key, raw in members.items() if key not in OURS})
    short = joined({key: members[key] for key in SHORT if key in members})
    return full, short


def dist_members(dist: Members) -> bytes:
    """The members of an announced dist that are kept beside what the file itself tells, without braces."""
    return joined({key: dist[key] for key in DIST if key in dist})[1:-1]


def text_of(raw: bytes | msgspec.Raw | None) -> str:
    """A JSON string, "" for anything else."""
    try:
        return _text.decode(raw) if raw else ""
    except msgspec.DecodeError:
        return ""


def value_of(raw: bytes | msgspec.Raw | None) -> object:
    """Any JSON value that passed a decoder already."""
    return _anything.decode(raw) if raw else None


def keywords_of(raw: bytes | msgspec.Raw | None) -> tuple[str, ...]:
    """Keywords, which are a list, or in old packages one text."""
    value = value_of(raw)
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    return tuple(one[:100] for one in value[:100] if isinstance(one, str)) if isinstance(value, list) else ()


def deprecation_of(raw: bytes | msgspec.Raw | None) -> str:
    """The message, or "" where the version is not deprecated. Old registries also said true."""
    value = value_of(raw)
    if value is True:
        return "This version is deprecated."
    return value if isinstance(value, str) else ""


def runs_at_install(scripts: bytes | msgspec.Raw | None) -> bool:
    """Do these scripts run something when the package is installed?"""
    if not scripts or b'install"' not in bytes(scripts):
        return False
    value = value_of(scripts)
    return isinstance(value, dict) and any(value.get(one) for one in INSTALL_SCRIPTS)


def spoken(at_ms: int) -> str:
    """A time as the registry says it: 2020-01-02T03:04:05.678Z."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}Z"


def heard(text: object) -> int:
    """Milliseconds since 1970 of what a foreign registry calls a time; 0 where it is none."""
    if not isinstance(text, str) or len(text) > 40:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0
    if not _YEARS[0] <= at.year < _YEARS[1]:
        return 0
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)
