"""What is remembered of artifacts, versions and files, beside what every format has?"""

from datetime import UTC, datetime

import msgspec

from storage.nouns import File, Package, Version

FORMAT = "maven"


class Plugin(msgspec.Struct, frozen=True, array_like=True):
    """How a plug-in is called on the command line."""

    prefix: str
    name: str = ""


class PackageFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a directory: `plugins` are those of a group, by artifact; `updated` is what a foreign registry told."""

    plugins: dict[str, Plugin] = {}
    updated: str = ""


class VersionFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a version, from its pom. `packaging` is "" while none came. `dependencies` as Pom has them."""

    packaging: str = ""
    name: str = ""
    licenses: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()


class Pom(msgspec.Struct, frozen=True):
    """What a pom says of itself; "" where it leaves that to its parent and the parent's coordinates do not say."""

    group: str
    artifact: str
    version: str
    packaging: str
    name: str
    licenses: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    """GROUP:ARTIFACT:VERSION, with nothing for a version that another pom manages."""


class Told(msgspec.Struct, frozen=True):
    """What a client's own metadata says that only it can know: the plug-ins of a group."""

    plugins: dict[str, Plugin] = {}


_ALIAS = b"alias "

_package = msgspec.msgpack.Decoder(PackageFacts)
_version = msgspec.msgpack.Decoder(VersionFacts)
_encode = msgspec.msgpack.Encoder().encode


def packed(facts: msgspec.Struct) -> bytes:
    """Facts as they are stored."""
    return _encode(facts)


def package_facts(package: Package | None) -> PackageFacts:
    return _package.decode(package.facts) if package is not None and package.facts else PackageFacts()


def version_facts(version: Version | None) -> VersionFacts:
    return _version.decode(version.facts) if version is not None and version.facts else VersionFacts()


def alias(file: File, name: str) -> File:
    """The File that shows the newest build of a snapshot, `file`, also under its plain name."""
    return msgspec.structs.replace(file, name=name, facts=_ALIAS + file.name.encode())


def aliased(file: File) -> str:
    """The name of the File that this one only shows, "" where it is one by itself."""
    return file.facts.removeprefix(_ALIAS).decode() if file.facts.startswith(_ALIAS) else ""


def stamp(at_ms: int) -> str:
    """A moment as Maven writes it: yyyyMMddHHmmss, UTC."""
    return datetime.fromtimestamp(max(at_ms, 0) / 1000, UTC).strftime("%Y%m%d%H%M%S")
