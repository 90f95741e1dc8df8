"""What becomes of what is deleted, and what may take its place?

Where a Repository has a bin, whatever a draft drops, by whichever protocol, is kept in it for a while: one Binned for
each Version, or for each File without one, that says what to put there again. Its bytes stay cited and count. Of a
Version that consists of several builds (a snapshot of Maven) each build is one by itself.

As long as it is there its name is taken. The same bytes may be published again, and are out of the bin with that; other
bytes under the name of a file, or other files under a Version that is gone as a whole, are refused. Once the bin is
emptied the format's own rule holds: some never take other bytes, others do.
"""

from collections.abc import Iterable, Iterator

import msgspec

from formats.kit.contract import Room
from formats.kit.handling import Handled, build_of, handled
from storage.errors import Conflict
from storage.index.bins import files_of, id_of
from storage.index.catalog import Reading
from storage.nouns import (
    AnyChange,
    Binned,
    Draft,
    DropBinned,
    DropFile,
    DropPackage,
    DropVersion,
    File,
    PutBinned,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    View,
)

Kept = PutPackage | PutVersion | PutFile | PutTag
Key = tuple[str, str, str]
"""Package, Version, and its build; the File where there is no Version."""


def with_bin(reading: Reading, room: Room, draft: Draft, at_ms: int, *, as_one: Key | None = None) -> Draft:
    """The draft with what it does to the bin. `as_one`: all that it drops comes and goes together, under these names.

    Raises Conflict where it would put other bytes under a name that is in the bin.
    """
    at = draft.workspace, draft.repository
    repository = reading.repository(*at)
    if repository is None or not hasattr(room, "home"):
        return draft
    found: list[AnyChange] = []
    if reading.bin_usage(*at).files:
        found += [DropBinned(one) for one in sorted(_back(reading, handled(room), room.name, draft))]
    if repository.bin_s:
        kept = kept_by(handled(room), room.name, draft.changes, reading.view(*at, room.name), as_one)
        found += [PutBinned(_binned(reading, room.name, draft, one, at_ms, repository.bin_s)) for one in kept.items()]
    return msgspec.structs.replace(draft, changes=(*draft.changes, *found)) if found else draft


def _binned(
    reading: Reading, format: str, draft: Draft, what: tuple[Key, list[Kept]], at_ms: int, bin_s: int
) -> Binned:
    """What was put there earlier under this id stays, where it is not the same."""
    (package, version, file), changes = what
    build = file if version else ""
    id = id_of(format, package, version, file)
    before = reading.binned(draft.workspace, draft.repository, id)
    names = {_named(one) for one in changes}
    earlier = [one for one in before.changes if _named(one) not in names] if before is not None else []
    until_ms = at_ms + bin_s * 1000
    return Binned(id, format, package, version, (*earlier, *changes), at_ms, until_ms, draft.actor, draft.reason, build)


def _named(change: Kept) -> tuple[str, ...]:
    match change:
        case PutPackage(_, package):
            return "package", package.name
        case PutVersion(_, name, version):
            return "version", name, version.name
        case PutFile(_, name, file):
            return "file", name, file.name
        case PutTag(_, name, tag):
            return "tag", name, tag


# ---------------------------------------------------------------- what goes


def kept_by(
    room: Handled, format: str, changes: Iterable[AnyChange], view: View, as_one: Key | None
) -> dict[Key, list[Kept]]:
    """What would put there again what these changes take away."""
    found: dict[Key, dict[tuple[str, ...], Kept]] = {}
    about: list[Kept] = []

    def keep(key: Key, change: Kept) -> None:
        found.setdefault(as_one or key, {})[_named(change)] = change

    for change in changes:
        match change:
            case DropFile(_, package, name):
                file = view.file(package, name)
                for one in [file] if file is not None else []:
                    keep(_key(room, package, one), PutFile(format, package, one))
            case DropVersion(_, package, version):
                for key, kept in _of_version(room, format, package, version, view):
                    keep(key, kept)
            case DropPackage(_, package):
                about += _package(format, package, view)
                for key, kept in _of_package(room, format, package, view):
                    keep(key, kept)
            case PutFile(_, package, file):  # it is replaced, not deleted
                for held in found.values():
                    held.pop(("file", package, file.name), None)
            case PutPackage(_, package):
                about += _package(format, package.name, view)
            case PutVersion(_, package, version):
                before = view.version(package, version.name)
                about += [PutVersion(format, package, before)] if before is not None else []
    return {key: [*about, *held.values()] for key, held in found.items() if held}


def _package(format: str, package: str, view: View) -> list[Kept]:
    """What a package was like tells a room what to restore of it, beside what was dropped."""
    before = view.package(package)
    return [PutPackage(format, before)] if before is not None else []


def _of_version(room: Handled, format: str, package: str, name: str, view: View) -> Iterator[tuple[Key, Kept]]:
    files = [file for file in view.files(package) if file.version == name]
    keys = {_key(room, package, file) for file in files} or {(room.home(package), name, "")}
    version = view.version(package, name)
    if version is not None:
        yield from ((key, PutVersion(format, package, version)) for key in sorted(keys))
    for file in files:
        yield _key(room, package, file), PutFile(format, package, file)
    for tag, to in view.tags(package).items():
        if to == name:
            yield from ((key, PutTag(format, package, tag, to)) for key in sorted(keys))


def _of_package(room: Handled, format: str, package: str, view: View) -> Iterator[tuple[Key, Kept]]:
    """All of it, each thing read once, however many versions there are: this is under the write lock."""
    home = room.home(package)
    there = {one.name: one for one in view.versions(package)}
    keys: dict[str, set[Key]] = {}
    for file in view.files(package):
        key = _key(room, package, file)
        keys.setdefault(file.version, set()).add(key)
        yield key, PutFile(format, package, file)
    for version in there.values():
        for key in sorted(keys.get(version.name, {(home, version.name, "")})):
            yield key, PutVersion(format, package, version)
    for tag, to in view.tags(package).items():
        for key in sorted(keys.get(to, {(home, to, "")})) if to in there else ():
            yield key, PutTag(format, package, tag, to)


def _key(room: Handled, package: str, file: File) -> Key:
    return room.home(package), file.version, build_of(room, package, file) if file.version else file.name


# ---------------------------------------------------------------- what comes


def _back(reading: Reading, room: Handled, format: str, draft: Draft) -> set[str]:
    """The ids of what is all there again with this draft. Raises Conflict."""
    at = draft.workspace, draft.repository
    view = reading.view(*at, format)
    puts = {(one.package, one.file.name): one.file for one in draft.changes if isinstance(one, PutFile)}
    touched: dict[str, Binned] = {}
    for (package, _), file in puts.items():
        id = id_of(format, *_key(room, package, file))
        binned = touched.get(id) or reading.binned(*at, id)
        if binned is not None:
            touched[id] = binned
            _may_come(room, package, file, binned, view)

    def is_there(package: str, file: File) -> bool:
        there = puts.get((package, file.name)) or view.file(package, file.name)
        return there is not None and there.sha256 == file.sha256

    return {id for id, one in touched.items() if all(is_there(*held) for held in files_of(one))}


def _may_come(room: Handled, package: str, file: File, binned: Binned, view: View) -> None:
    held = {one.name: one.sha256 for where, one in files_of(binned) if where == package}
    if not room.fixed(package, file) or held.get(file.name) == file.sha256:
        return
    if file.name not in held and any(one.version == file.version for one in view.files(package)):
        return  # some of the version is still there, and it may be added to
    raise Conflict(
        f"{file.name} was deleted, and its name is taken by what is in the recycle bin.",
        f"Restore that ({binned.id}), have the bin emptied, or publish a new version.",
    )
