"""What is remembered of packages, sources and distributions, beside what every format has?"""

from functools import lru_cache

import msgspec

FORMAT = "deb"
DAY_S = 24 * 3600


class Spot(msgspec.Struct, frozen=True, array_like=True):
    """Where a package is listed."""

    distribution: str
    component: str


class FileFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a file in the pool. `kind`: deb, udeb, dsc, or member (of a source package, or sent along with one).

    `stanza` is its paragraph of the index, but for where it lies. `members` of a dsc are the files that belong to it.
    """

    kind: str
    stanza: str = ""
    architecture: str = ""
    spots: tuple[Spot, ...] = ()
    members: tuple[str, ...] = ()
    section: str = ""


class VersionFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a version of a binary package: by file name, the paths in it, zstd of lines."""

    paths: dict[str, bytes] = {}


class DistributionFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a distribution: what was published in it, and what its owner says of it.

    `valid_s` is for how long clients believe its Release file, 0 = without end. `contents` = are there lists of paths?
    """

    components: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    installer: bool = False
    origin: str = ""
    label: str = ""
    suite: str = ""
    codename: str = ""
    version: str = ""
    description: str = ""
    valid_s: int = 14 * DAY_S
    contents: bool = True
    not_automatic: bool = False
    but_automatic_upgrades: bool = False


_file = msgspec.msgpack.Decoder(FileFacts)
_version = msgspec.msgpack.Decoder(VersionFacts)
_distribution = msgspec.msgpack.Decoder(DistributionFacts)
packed = msgspec.msgpack.Encoder().encode


def file_facts(raw: bytes) -> FileFacts:
    """The facts of a File."""
    return _file.decode(raw)


def version_facts(raw: bytes) -> VersionFacts:
    """The facts of a Version of a binary package."""
    return _version.decode(raw) if raw else VersionFacts()


@lru_cache(256)
def distribution_facts(raw: bytes) -> DistributionFacts:
    """The facts of a distribution's Package."""
    return _distribution.decode(raw)
