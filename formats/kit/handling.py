"""How does a package come and go by name, outside of its protocol: deleted, restored, copied, tagged?

A room that is Handled says which changes each of these is. All are pure and may raise Problem. `bring` serves copies
and restores alike: what lies in one View comes into another one, by the rules by which it would be published there,
only that no bytes are sent. `source` is the View of another Repository, or what a bin holds as a View (Held).
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, cast

import msgspec

from formats.kit.contract import Room
from storage.errors import Absent, Conflict, Unsupported
from storage.nouns import (
    AnyChange,
    File,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
    View,
)


class Wanted(msgspec.Struct, frozen=True):
    """What is to be brought: one Version of a Package, "" = all there is of it. `place` says where in the target it is
    to be listed, for formats that have such places; "" = where it is in the source."""

    package: str
    version: str = ""
    place: str = ""


class Handled(Protocol):
    """What a room has besides, whose packages are handled by name."""

    def home(self, package: str) -> str:
        """The Package that one of the View is a part of; mostly itself."""
        ...

    def fixed(self, package: str, file: File) -> bool:
        """Can this file never have other bytes?"""
        ...

    def remove(self, package: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        """A Version is deleted, or with "" the Package. Raises Absent."""
        ...

    def bring(self, wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
        """What is missing in the target; nothing where all is there. Raises Absent, and Conflict for other bytes."""
        ...

    def retag(self, package: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        """The Tag points to this Version, or with "" it is removed. Raises Absent, Invalid, Conflict, Unsupported."""
        ...


class Built(Protocol):
    """What a room has besides, whose Versions may consist of several builds, each of which is one thing to delete and
    to bring back."""

    def build(self, package: str, file: File) -> str:
        """Of which build of its Version a file is; "" = of none."""
        ...


def build_of(room: object, package: str, file: File) -> str:
    """The build of a file, "" where its room knows none."""
    return cast("Built", room).build(package, file) if hasattr(room, "build") else ""


def handled(room: Room) -> Handled:
    """The room as one whose packages are handled by name. Raises Unsupported."""
    if not hasattr(room, "bring"):
        raise Unsupported(f"Packages of the format {room.name} are not handled by name.", "Use their own client.")
    return cast("Handled", room)


# ---------------------------------------------------------------- what the rooms have in common


def no_such(package: str, version: str = "") -> Absent:
    """One sentence for both."""
    return Absent("There is no such version." if version else "There is no such package.", "Look with: entrepot ls.")


def no_tags(format: str) -> Unsupported:
    return Unsupported(f"Packages of the format {format} have no tags.", "npm and oci have.")


def chosen(package: str, version: str, view: View) -> list[str]:
    """The Versions that are meant. Raises Absent where there are none."""
    found = [one.name for one in view.versions(package) if version in ("", one.name)]
    if not found:
        raise no_such(package, version)
    return found


class Files(Protocol):
    """What of a View tells which files may come."""

    def file(self, package: str, name: str) -> File | None: ...
    def gone(self, package: str, name: str) -> bytes | None: ...


def missing(package: str, files: Iterable[File], target: Files) -> list[File]:
    """Those of these files that the target lacks. Raises Conflict for a name that belongs to other bytes there."""
    lacking = []
    for file in files:
        there = target.file(package, file.name)
        if there is not None and there.sha256 != file.sha256:
            raise taken(file.name)
        if there is None and target.gone(package, file.name) not in (None, file.sha256):
            raise Conflict(f"{file.name} was removed there, and had other bytes.", "Publish a new version.")
        if there is None:
            lacking.append(file)
    return lacking


def taken(name: str) -> Conflict:
    return Conflict(f"{name} is there already, with other bytes.", "Delete that one first, or publish a new version.")


class Held:
    """What changes would put there, as a View: of a bin, which rooms read as they read a Repository."""

    def __init__(self, format: str, changes: Iterable[AnyChange]) -> None:
        self._format = format
        self._packages: dict[str, Package] = {}
        self._versions: dict[str, dict[str, Version]] = {}
        self._files: dict[str, dict[str, File]] = {}
        self._tags: dict[str, dict[str, str]] = {}
        for change in changes:
            match change:
                case PutPackage(_, made):
                    self._packages[made.name] = made
                case PutVersion(_, package, version):
                    self._versions.setdefault(package, {})[version.name] = version
                case PutFile(_, package, file):
                    self._files.setdefault(package, {})[file.name] = file
                case PutTag(_, package, tag, to):
                    self._tags.setdefault(package, {})[tag] = to

    @property
    def serial(self) -> int:
        return 0

    def package(self, package: str) -> Package | None:
        return self._packages.get(package)

    def packages(self, prefix: str = "", after: str = "") -> Iterator[Package]:
        names = sorted(name for name in self._packages if name.startswith(prefix) and (not after or name > after))
        return iter([self._packages[name] for name in names])

    def version(self, package: str, version: str) -> Version | None:
        return self._versions.get(package, {}).get(version)

    def versions(self, package: str) -> list[Version]:
        return [one for _, one in sorted(self._versions.get(package, {}).items())]

    def file(self, package: str, name: str) -> File | None:
        return self._files.get(package, {}).get(name)

    def files(self, package: str) -> list[File]:
        return [one for _, one in sorted(self._files.get(package, {}).items())]

    def tags(self, package: str) -> dict[str, str]:
        return dict(sorted(self._tags.get(package, {}).items()))

    def tag(self, package: str, tag: str) -> str | None:
        return self._tags.get(package, {}).get(tag)

    def claimed(self, package: str) -> bool:
        return package in self._packages

    def touched(self, after: int) -> Iterator[tuple[int, str]]:
        return iter(())

    def gone(self, package: str, name: str) -> bytes | None:
        return None
