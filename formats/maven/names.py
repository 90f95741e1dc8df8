"""What does a path of a Maven repository name, and which of two versions is the higher?

A package is a directory, `org/acme/demo` for org.acme:demo: as a path it is one name alone, where `org.acme:demo` could
also be spelt by a directory with dots in its name. A file is `VERSION/NAME` within its package.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key, lru_cache

import msgspec

from storage.errors import Absent, Invalid

METADATA = "maven-metadata.xml"
ALGORITHMS = ("sha1", "md5", "sha256", "sha512")
PATH_BYTES_MAX = 400

SEGMENT = re.compile(r"[A-Za-z0-9_(\[{][A-Za-z0-9_.+~@=,!$&'()\[\]{} -]{0,199}")
_STAMPED = re.compile(r"-([0-9]{8}\.[0-9]{6})-([0-9]{1,9})(?=[.-])")
_DOUBLE = re.compile(r"\.(tar\.[a-z0-9]+|[A-Za-z0-9]+\.asc|[A-Za-z0-9]+\.sigstore\.json|[A-Za-z0-9]+\.sigstore)$")
IVY_TYPES = frozenset(
    ("jars", "poms", "ivys", "srcs", "docs", "sources", "javadocs", "bundles", "zips", "wars", "ears", "tests")
)
"""Directories between revision and file, in Ivy's own layout: [organisation]/[module]/[revision]/[type]s/[artifact]."""


class Route(msgspec.Struct, frozen=True):
    """What a path names. `kind` is root, directory, file or metadata; `digest` the algorithm where its checksum is
    meant. `version` is "" for the metadata of an artifact or group; `name` is the last segment."""

    kind: str
    package: str = ""
    version: str = ""
    name: str = ""
    digest: str = ""

    @property
    def file(self) -> str:
        """The name of the File within its package."""
        return f"{self.version}/{self.name}"


class Stamp(msgspec.Struct, frozen=True, order=True):
    """Which build of a snapshot: `20261127.034500` and a build number."""

    moment: str
    build: int


class Snapshot(msgspec.Struct, frozen=True):
    """A file of one build of a snapshot. `value` is the version that stands in its name, `plain` the name without."""

    stamp: Stamp
    value: str
    classifier: str
    extension: str
    plain: str


def route(path: str) -> Route:
    """What a path names. Raises Invalid for what can be no path, Absent for one that is too short to name a file."""
    if not path:
        return Route("root")
    segments = path.removesuffix("/").split("/")
    for one in segments:
        if not is_segment(one):
            raise Invalid("The path holds a segment that no Maven name is made of.", "Send plain coordinates.")
    if len(path) > PATH_BYTES_MAX:
        raise Invalid(f"The path is longer than {PATH_BYTES_MAX} bytes.", "Use shorter coordinates.")
    if path.endswith("/"):
        return Route("directory", "/".join(segments))
    *above, last = segments
    stem, _, ending = last.rpartition(".")
    digest = ending if ending in ALGORITHMS and stem else ""
    name = stem if digest else last
    if digest and name.rpartition(".")[2] in ALGORITHMS:
        raise Absent("A checksum has no checksum.")
    if name == METADATA and above:
        if len(above) > 1 and is_snapshot(above[-1]):
            return Route("metadata", "/".join(above[:-1]), above[-1], name, digest)
        return Route("metadata", "/".join(above), "", name, digest)
    if len(above) < 2:
        raise Absent("There is nothing at this address.", "Artifacts are at group/artifact/version/file.")
    if above[-1] in IVY_TYPES and len(above) > 3:
        return Route("file", "/".join(above[:-2]), above[-2], f"{above[-1]}/{name}", digest)
    return Route("file", "/".join(above[:-1]), above[-1], name, digest)


def is_segment(name: str) -> bool:
    """Can it be a directory, a version or a file here?"""
    return SEGMENT.fullmatch(name) is not None and not name.endswith((" ", "."))


def is_snapshot(version: str) -> bool:
    """May what is published under this version be replaced?"""
    return version.endswith("-SNAPSHOT") or version == "SNAPSHOT"


@lru_cache(8192)
def snapshot(package: str, version: str, name: str) -> Snapshot | None:
    """The build of a snapshot that a file belongs to, None for any other file."""
    if not is_snapshot(version):
        return None
    artifact, base = package.rpartition("/")[2], version.removesuffix("SNAPSHOT").removesuffix("-")
    ahead = f"{artifact}-{base}" if base else artifact
    match = _STAMPED.match(name, len(ahead)) if name.startswith(ahead) else None
    if match is None:
        return None
    rest = name[match.end() :]
    double = _DOUBLE.search(rest)
    at = double.start() if double else rest.rfind(".")
    if at < 0 or not rest[at + 1 :]:
        return None
    value = name[len(artifact) + 1 : match.end()]
    plain = f"{artifact}-{version}{rest}"
    return Snapshot(Stamp(match[1], int(match[2])), value, rest[1:at], rest[at + 1 :], plain)


def is_plausible(stamp: Stamp, at_ms: int) -> bool:
    """Can a build of this moment have come by `at_ms`? Some clock may be a day ahead; what is no time never came. One
    build from the year 9999 would else be the newest for ever."""
    try:
        moment = datetime.strptime(stamp.moment, "%Y%m%d.%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return moment <= datetime.fromtimestamp(at_ms / 1000, UTC) + timedelta(days=1)


def is_fixed(at: Route) -> bool:
    """Can the file at this place never have other bytes? A release's, and what names one build of a snapshot."""
    return not is_snapshot(at.version) or snapshot(at.package, at.version, at.name) is not None


def package_of(typed: str) -> str:
    """The package that a person means: `org.acme:demo`, or its directory. Raises Invalid."""
    group, colon, artifact = typed.partition(":")
    path = f"{group.replace('.', '/')}/{artifact}" if colon else typed
    if not all(is_segment(one) for one in path.split("/")):
        raise Invalid(f"{typed[:80]!r} is no name of a Maven artifact.", "Write it as GROUP:ARTIFACT.")
    return path


# ---------------------------------------------------------------- which version is higher

_TOKEN = re.compile(r"([.-]?)([0-9]+|[^0-9.-]+|(?=[.-]|$))")
_KNOWN = {name: number for number, name in enumerate(("alpha", "beta", "milestone", "rc", "snapshot", "", "sp"))}
_SAME = {"cr": "rc", "ga": "", "final": "", "release": ""}
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_Token = tuple[str, int | str]


@lru_cache(8192)
def _tokens(version: str) -> tuple[_Token, ...]:
    """(separator, number or qualifier) by the order specification of the POM reference, empty ends trimmed."""
    found: list[_Token] = []
    text, at = version.lower(), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None
        token = match[2]
        separator = match[1] or ("-" if found else ".")
        if token.isdigit() or not token:
            found.append((separator, int(token or 0)))
        else:
            followed = text[match.end() : match.end() + 1].isdigit()
            token = _SHORT.get(token, token) if followed and len(token) == 1 else token
            found.append((separator, _SAME.get(token, token)))
        at = match.end()
    return tuple(_trimmed(found))


def is_ahead(version: str) -> bool:
    """Is it sorted ahead of the release whose numbers it has?"""
    return any(isinstance(value, str) and _KNOWN.get(value, len(_KNOWN)) < _KNOWN[""] for _, value in _tokens(version))


def _trimmed(tokens: list[_Token]) -> list[_Token]:
    """Without zeros and empty qualifiers at the end, and ahead of each hyphen."""
    kept: list[_Token] = []
    for token in reversed(tokens):
        ends = not kept or kept[-1][0] == "-"
        if not (ends and token[1] in (0, "")):
            kept.append(token)
    return kept[::-1]


def _weight(token: _Token) -> tuple[int, int, int, str]:
    """Qualifiers, then hyphened numbers, then dotted ones; known qualifiers in their order, unknown ones after."""
    separator, value = token
    if isinstance(value, int):
        return (1 if separator == "-" else 2, value, 0, "")
    return (0, _KNOWN.get(value, len(_KNOWN)), 0, value if value not in _KNOWN else "")


def compare(one: str, other: str) -> int:
    """Below, at or above 0 as `one` is older than, equal to or newer than `other`."""
    mine, theirs = _tokens(one), _tokens(other)
    for at in range(max(len(mine), len(theirs))):
        left = mine[at] if at < len(mine) else _nothing(theirs[at])
        right = theirs[at] if at < len(theirs) else _nothing(mine[at])
        if (a := _weight(left)) != (b := _weight(right)):
            return -1 if a < b else 1
    return 0


def _nothing(beside: _Token) -> _Token:
    """What a version that has already ended is compared by."""
    return (beside[0], 0 if isinstance(beside[1], int) else "")


in_order = cmp_to_key(compare)
"""A sort key: oldest first."""
