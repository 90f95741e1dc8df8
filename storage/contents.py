"""What does a Repository hold, and what changes that?

Packages with their Versions, Files and Tags, what a room sees of them, and what was deleted and can come back. The part
of the nouns that rooms work with; `storage.nouns` has them all.
"""

from collections.abc import Iterator
from typing import Protocol

import msgspec


class Noun(msgspec.Struct, frozen=True, array_like=True, omit_defaults=False):
    """Base of what is stored: compact arrays, fields only appended."""


# ---------------------------------------------------------------- what a repository holds


class File(Noun, frozen=True):
    """One downloadable thing of a Package.

    `sha256` is its identity (32 bytes), or b"" for a foreign file not yet fetched; then `source` is the address at the
    upstream and `digests` hold what the upstream announced (hex, keys of storage.digest.ALGORITHMS).
    `size` is -1 where a foreign registry does not tell it. `facts` is the room's own msgpack.
    """

    name: str
    version: str
    sha256: bytes
    size: int
    media: str = "application/octet-stream"
    at_ms: int = 0
    digests: dict[str, str] = {}
    facts: bytes = b""
    source: str = ""


class Version(Noun, frozen=True):
    """A published version of a Package with the room's own facts."""

    name: str
    at_ms: int = 0
    facts: bytes = b""


class Package(Noun, frozen=True):
    """A named thing with versions, under its normalised name; `facts` keep the spelling and the room's own."""

    name: str
    at_ms: int = 0
    facts: bytes = b""


class View(Protocol):
    """One format of one Repository as of one Serial. Reads are synchronous and see one moment.

    Names are in the room's normalised form. Lists come sorted by name.
    """

    @property
    def serial(self) -> int: ...
    def package(self, package: str) -> Package | None: ...
    def packages(self, prefix: str = "", after: str = "") -> Iterator[Package]: ...
    def version(self, package: str, version: str) -> Version | None: ...
    def versions(self, package: str) -> list[Version]: ...
    def file(self, package: str, name: str) -> File | None: ...
    def files(self, package: str) -> list[File]: ...
    def tags(self, package: str) -> dict[str, str]: ...
    def tag(self, package: str, tag: str) -> str | None:
        """The version that a Tag points to."""
        ...

    def claimed(self, package: str) -> bool:
        """Was this name ever published here? Then no upstream may answer for it unless it is allowed by name."""
        ...

    def touched(self, after: int) -> Iterator[tuple[int, str]]:
        """Serial and name of every package that changed or was dropped behind Serial `after`: once, in this order."""
        ...

    def gone(self, package: str, name: str) -> bytes | None:
        """The sha256 of a file that was once published here and removed; None if there was none."""
        ...


# ---------------------------------------------------------------- changes: what an Entry does to the index


class Change(Noun, frozen=True, tag=True):
    """One write to the index. `format` and `package` place it.

    Its tag tells a program which is older than this kind of change what it may make of it (storage.entries): it must
    be understood, unless it is Informing. A field that takes something away from somebody never comes later to a kind
    that is there: who does not know it would pass over the field alone. It makes another kind, with a tag of its own.
    """


INFORMING, BEARING = "~", "@"
"""How the tags of these begin."""


class Informing(Change, frozen=True, tag=True):
    """A Change that nobody has more or less by: who does not know it passes it over. Its tag begins with INFORMING."""


class Bearing(Change, frozen=True, tag=True):
    """A Change in the SYSTEM journal that bears on one Workspace alone, which its first field names: who does not know
    it closes that and no other. Its tag begins with BEARING."""


class PutPackage(Change, frozen=True, tag="pp"):
    format: str
    package: Package


class DropPackage(Change, frozen=True, tag="dp"):
    """Drops the Package with its versions, tags and files; the files' identities are remembered as gone."""

    format: str
    package: str


class PutVersion(Change, frozen=True, tag="pv"):
    format: str
    package: str
    version: Version


class DropVersion(Change, frozen=True, tag="dv"):
    """Drops the Version, its files, and the tags that point to it."""

    format: str
    package: str
    version: str


class PutFile(Change, frozen=True, tag="pf"):
    format: str
    package: str
    file: File


class DropFile(Change, frozen=True, tag="df"):
    """Drops one file and remembers its identity as gone: the name never gets other bytes again, unless `forget`."""

    format: str
    package: str
    file: str
    forget: bool = False


class PutTag(Change, frozen=True, tag="pt"):
    format: str
    package: str
    tag: str
    version: str


class DropTag(Change, frozen=True, tag="dt"):
    format: str
    package: str
    tag: str


# ---------------------------------------------------------------- what was deleted and can come back


class Binned(Noun, frozen=True):
    """What was deleted and can come back until `until_ms`. `changes` put there what was there; its bytes are held.

    Its `id` follows from format, Package, Version and `build`, so that there is one for each; a File without a Version
    has one of its own, and then `version` is "". `build` names one of several builds that a Version may consist of, ""
    where it has none. `actor` is the id of who deleted it, `reason` what was given for it.
    """

    id: str
    format: str
    package: str
    version: str
    changes: tuple[PutPackage | PutVersion | PutFile | PutTag, ...]
    at_ms: int = 0
    until_ms: int = 0
    actor: str = ""
    reason: str = ""
    build: str = ""


class PutBinned(Change, frozen=True, tag="pc"):
    """One that has this id already gives way to it."""

    binned: Binned


class DropBinned(Change, frozen=True, tag="dc"):
    """Out of the bin: restored, or emptied out of it."""

    id: str
