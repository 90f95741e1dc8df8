"""What can a query ask about? The fields, and what is known of a package and its versions to hold them against."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from formats.kit.traits import Dependency

PACKAGE_FIELDS = ("name", "format", "repository", "workspace", "upstream")
VERSION_FIELDS = (
    "version", "tag", "filename", "checksum", "size", "uploaded", "license", "architecture", "uploader", "quarantined",
    "downloads", "last_downloaded", "prerelease", "status", "type", "dependency", "distribution", "component",
)  # fmt: skip
COMPARED = ("version", "size", "uploaded", "downloads", "last_downloaded")
SAID = ("license", "architecture", "uploader", "type", "distribution", "component")
FLAGS = ("quarantined", "prerelease")
LOOKED_UP = (*SAID, *FLAGS, "downloads", "last_downloaded", "status", "dependency")
"""What nothing but a look at the version and around it tells (Known)."""
HEARD_OF = ("version", "prerelease")
"""What is known of a version of which an upstream has told the name."""
AVAILABLE, WITHHELD, DELETED = "available", "quarantined", "deleted"
STATUSES = (AVAILABLE, WITHHELD, DELETED)

Order = Callable[[str], Any]
"""A sort key of a version within its format. Raises Invalid for what is none there."""


class At(NamedTuple):
    """A package where it is; the query is held against it first."""

    workspace: str
    repository: str
    format: str
    name: str
    spelt: Callable[[str], str] = str
    """How the format spells what a name begins with."""
    upstream: str = ""
    """The name of the Upstream that knows it, "" for what was published here."""


class Known(Protocol):
    """What is looked up of a version only where a query asks for it, or an answer tells it."""

    def licenses(self) -> Sequence[str]: ...
    def architectures(self) -> Sequence[str]: ...
    def uploaders(self) -> Sequence[str]:
        """Id and name; none where the caller may not know."""
        ...

    def types(self) -> Sequence[str]: ...
    def distributions(self) -> Sequence[str]: ...
    def components(self) -> Sequence[str]: ...
    def dependencies(self) -> Sequence[Dependency]: ...
    def quarantined(self) -> bool: ...
    def prerelease(self) -> bool: ...
    def status(self) -> str:
        """One of STATUSES."""
        ...

    def downloads(self) -> int:
        """0 where nobody counts."""
        ...

    def last_downloaded_ms(self) -> int:
        """0 = never, and where nobody counts."""
        ...

    def shown(self) -> dict[str, object]:
        """What an answer tells of all that."""
        ...


class Held(NamedTuple):
    """One version of it with what was published as it; a package without versions is held with an empty one."""

    version: str
    tags: Sequence[str]
    files: Sequence[tuple[str, str]]
    """Names and hex sha256."""
    size_bytes: int
    at_ms: int
    known: Known | None = None


class Part(Protocol):
    """A part of a query. Without a version the answer is None where it depends on one."""

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None: ...
