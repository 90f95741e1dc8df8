"""How does a release come and go by its name, outside of the upload form?"""

from collections.abc import Iterable

import msgspec

from formats.kit.handling import Wanted, missing, no_such, taken
from formats.pypi import names
from formats.pypi.decide import check_open, files_of, identity_of, removed_with
from formats.pypi.facts import FORMAT, ProjectFacts, is_sibling, packed, project_facts
from storage.errors import Conflict
from storage.nouns import (
    AnyChange,
    DropFile,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutVersion,
    Version,
    View,
)


def remove(name: str, version: str, view: View) -> tuple[AnyChange, ...]:
    """The files of a release, or of all of them. The project stays: its name is taken. Raises Absent, Forbidden."""
    package = view.package(name)
    releases = _releases(name, version, view)
    if package is None or not releases:
        raise no_such(name, version)
    files = [one for one in view.files(name) if one.version in releases]
    changes: list[AnyChange] = [removed_with(package, [one for one in files if not is_sibling(one.name)])]
    changes += [DropFile(FORMAT, name, one.name, forget=is_sibling(one.name)) for one in files]
    changes += [DropVersion(FORMAT, name, one) for one in releases]
    return tuple(changes)


def bring(wanted: Wanted, source: View, target: View) -> tuple[AnyChange, ...]:
    """Raises Absent, Conflict where a file, in whatever spelling, belongs to other bytes in the target, and Forbidden
    where the project there takes none."""
    name = wanted.package
    releases = _releases(name, wanted.version, source)
    if not releases:
        raise no_such(name, wanted.version)
    project = target.package(name)
    facts = project_facts(project.facts) if project is not None else ProjectFacts()
    changes: list[AnyChange] = []
    back: set[str] = set()
    for release in releases:
        files = [one for one in source.files(name) if one.version == release and one.sha256]
        lacking = missing(name, files, target)
        for file in lacking:
            if not is_sibling(file.name):
                back.add(_checked(name, file, facts, target))
        there = [one.name for one in target.versions(name) if names.same_version(one.name, release)]
        joined = there[0] if there else release
        if lacking and not there:
            changes.append(PutVersion(FORMAT, name, source.version(name, release) or Version(release)))
        changes += [PutFile(FORMAT, name, msgspec.structs.replace(one, version=joined)) for one in lacking]
    if changes:
        check_open(name, facts)
        changes.insert(0, _project(name, project, facts, back, source))
    return tuple(changes)


def _releases(name: str, version: str, view: View) -> list[str]:
    """The spellings of a release that are there, or all releases; also one that has files alone."""
    known = {one.name for one in view.versions(name)} | {one.version for one in view.files(name)}
    return sorted(one for one in known if not version or names.same_version(one, version))


def _checked(name: str, file: File, facts: ProjectFacts, target: View) -> str:
    """The identity of a file that may come. Raises Conflict."""
    identity = identity_of(file.name) or file.name
    for other in files_of(name, file.version, target):
        if identity_of(other.name) == identity:
            raise taken(other.name)
    if facts.removed.get(identity) not in (None, file.sha256):
        raise Conflict(f"{file.name} was removed there, and had other bytes.", "Publish a new version.")
    return identity


def _project(name: str, project: Package | None, facts: ProjectFacts, back: Iterable[str], source: View) -> PutPackage:
    """The project as it is, no more remembering what is back as removed; a new one is spelt as in the source."""
    if project is None:
        theirs = source.package(name)
        display = project_facts(theirs.facts).display if theirs is not None else name
        at_ms = theirs.at_ms if theirs is not None else 0
        return PutPackage(FORMAT, Package(name, at_ms, packed(ProjectFacts(display))))
    left = {one: sha256 for one, sha256 in facts.removed.items() if one not in set(back)}
    kept = msgspec.structs.replace(facts, removed=left)
    return PutPackage(FORMAT, msgspec.structs.replace(project, facts=packed(kept)))
