"""What does this room remember of a package and of a version, beside what the nouns say?

Facts are msgpack arrays: a field is only ever appended, with a default. JSON is kept as the bytes that are served, so
that a packument is put together and never encoded anew.
"""

import msgspec

from storage.nouns import Package, Version

FORMAT = "npm"


class PackageFacts(msgspec.Struct, frozen=True, array_like=True):
    """`rev` counts the changes; `maintainers` is a JSON array; the rest describes the version that `latest` names."""

    rev: int = 0
    modified_ms: int = 0
    maintainers: bytes = b"[]"
    latest: str = ""
    latest_ms: int = 0
    description: str = ""
    keywords: tuple[str, ...] = ()


class VersionFacts(msgspec.Struct, frozen=True, array_like=True):
    """`manifest` and `short` are the JSON objects of the full and the abbreviated form, without dist and deprecated.

    `deprecated` is "" where it is not. `dist` holds JSON members of dist (`"fileCount":3,...`) beside digests and
    address. `provenance` is the JSON of what dist says of the attestations, b"" where there are none.
    """

    manifest: bytes
    short: bytes
    deprecated: str = ""
    readme: str = ""
    dist: bytes = b""
    provenance: bytes = b""


class Published(msgspec.Struct, frozen=True, tag="published"):
    """One version as unpack found it. `sha1`, `sha512`, `length` are announced (hex; "" and -1 where not announced);
    `subject` is the sha512 that the attestation speaks of."""

    name: str
    version: str
    facts: VersionFacts
    tags: tuple[str, ...]
    description: str = ""
    keywords: tuple[str, ...] = ()
    sha1: str = ""
    sha512: str = ""
    length: int = -1
    subject: str = ""


class Amended(msgspec.Struct, frozen=True, tag="amended"):
    """A whole document put back: `rev` as it names it, `deprecated` by version, None where it has no versions."""

    name: str
    rev: str = ""
    deprecated: dict[str, str] | None = None
    tags: dict[str, str] = {}
    maintainers: bytes = b""


_package = msgspec.msgpack.Decoder(PackageFacts)
_version = msgspec.msgpack.Decoder(VersionFacts)
_found: msgspec.msgpack.Decoder[Published | Amended] = msgspec.msgpack.Decoder(Published | Amended)


def package_facts(package: Package | None) -> PackageFacts:
    """The facts of a package; those of a new one for None."""
    return _package.decode(package.facts) if package is not None and package.facts else PackageFacts()


def version_facts(version: Version) -> VersionFacts:
    return _version.decode(version.facts)


def found(facts: bytes) -> Published | Amended:
    return _found.decode(facts)


def packed(facts: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(facts)


def revision(facts: PackageFacts) -> str:
    """The `_rev` that clients hand back when they change the document they have read."""
    return f"{facts.rev}-{facts.modified_ms:x}"
