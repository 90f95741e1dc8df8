"""What of a version do people search for, that only its room can tell of what was published?"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from formats.kit.contract import Room
from storage.nouns import File, Version

LICENSE_CHARS_MAX = 100


class Dependency(NamedTuple):
    """What a version cannot be used without, by each name that it goes by, and the versions that are named with it,
    whether as a bound or as the only one."""

    names: tuple[str, ...]
    versions: tuple[str, ...] = ()


class Traits(NamedTuple):
    """Licenses as the package says them (an SPDX expression where it does), and architectures as its format does.
    `types` are the kinds of files or manifests that it is published as, in the words of its format; `distributions`
    and `components` where it is listed."""

    licenses: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    types: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    components: tuple[str, ...] = ()


NONE = Traits()


class Described(Protocol):
    """What a room has besides, whose packages say such things of themselves. Pure and quick."""

    def traits(self, version: Version, files: Sequence[File]) -> Traits: ...


def traits(room: Room | None, version: Version, files: Sequence[File]) -> Traits:
    """Of a version with its files."""
    if room is None or not hasattr(room, "traits"):
        return NONE
    return cast("Described", room).traits(version, files)


class Composed(Protocol):
    """What a room has besides whose versions are made of more files than those that bear their name."""

    def consists(self, version: Version, files: Mapping[str, File]) -> Iterable[str]:
        """The names of further files of the package that belong to it; those with a version of their own bring along
        what that consists of."""
        ...


def parts_of(
    room: Room | None, version: Version, versions: Mapping[str, Version], files: Mapping[str, File]
) -> list[File]:
    """The files that a version of a package consists of, of all `files` of that by name."""
    found = {one.name: one for one in files.values() if one.version == version.name}
    if room is None or not hasattr(room, "consists"):
        return list(found.values())
    waiting, seen = [version], {version.name}
    while waiting:
        for name in cast("Composed", room).consists(waiting.pop(), files):
            file = files.get(name)
            if file is not None and name not in found:
                found[name] = file
                if file.version in versions and file.version not in seen:
                    seen.add(file.version)
                    waiting.append(versions[file.version])
    return list(found.values())


def license_said(text: str) -> str:
    """A license in one short line, "" for what is none: some packages put the whole text there."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= LICENSE_CHARS_MAX and line.isprintable() and line.upper() != "UNKNOWN" else ""
