"""How does a version come and go by its name, outside of npm's documents?"""

import msgspec

from formats.kit.contract import ABOUT, Ask
from formats.kit.handling import Wanted, chosen, missing, no_such
from formats.npm.decide import dropped, pointed, touched, unpointed, with_latest
from formats.npm.facts import FORMAT, PackageFacts, package_facts
from formats.npm.names import highest
from storage.errors import Conflict
from storage.nouns import AnyChange, DropPackage, File, PutFile, PutTag, PutVersion, View


def remove(name: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
    """The package goes with its last version; `latest` falls back to the highest that is left. Raises Absent."""
    package = view.package(name)
    if package is None:
        raise no_such(name, version)
    if not version:
        return (DropPackage(FORMAT, name),)
    if chosen(name, version, view) == [one.name for one in view.versions(name)]:
        return (DropPackage(FORMAT, name),)
    return dropped(_ask(at_ms), package, version, view).changes


def bring(wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
    """With the tags that point to what comes, but for those that the target has already. Raises Absent, Conflict."""
    name = wanted.package
    versions = chosen(name, wanted.version, source)
    coming = [one for one in versions if _is_missing(name, one, source, target)]
    tags = {tag: to for tag, to in source.tags(name).items() if to in versions and target.tag(name, tag) is None}
    if not coming and not tags:
        return ()
    latest = target.tag(name, "latest")
    if latest is None:
        tags["latest"] = tags.get("latest", highest(coming))
    elif _goes_before(coming, source.tag(name, "latest"), latest, [one.name for one in target.versions(name)]):
        tags["latest"] = source.tag(name, "latest") or latest
    existing = target.package(name)
    facts = package_facts(existing) if existing is not None else _first(name, source)
    if "latest" in tags:
        facts = with_latest(facts, name, tags["latest"], source)
    changes: list[AnyChange] = [touched(_ask(at_ms), name, existing, facts)]
    for one in coming:
        version = source.version(name, one)
        assert version is not None, "it was chosen of what is there"
        changes.append(PutVersion(FORMAT, name, version))
        changes += [PutFile(FORMAT, name, file) for file in _files(name, one, source)]
    changes += [PutTag(FORMAT, name, tag, to) for tag, to in sorted(tags.items())]
    return tuple(changes)


def _goes_before(coming: list[str], theirs: str | None, mine: str, there: list[str]) -> bool:
    """Nobody has pointed `latest` to anything but the highest version, and this one comes and is higher."""
    return theirs in coming and mine == highest(there) and highest([mine, theirs]) == theirs


def retag(name: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
    """As npm dist-tag. Raises Absent, Conflict, Invalid."""
    package = view.package(name)
    if package is None:
        raise no_such(name)
    move = pointed(_ask(at_ms), package, tag, version, view) if version else unpointed(_ask(at_ms), package, tag, view)
    return move.changes


def _is_missing(name: str, version: str, source: View, target: View) -> bool:
    lacking = missing(name, _files(name, version, source), target)
    there = target.version(name, version) is not None
    if there and lacking:
        raise Conflict(f"Version {version} is there already, with other files.", "Raise the version.")
    return not there


def _files(name: str, version: str, view: View) -> list[File]:
    return [one for one in view.files(name) if one.version == version and one.sha256]


def _first(name: str, source: View) -> PackageFacts:
    """The facts of a package that is new where it comes to: its maintainers are known, its changes counted anew."""
    theirs = package_facts(source.package(name))
    return msgspec.structs.replace(PackageFacts(), maintainers=theirs.maintainers)


def _ask(at_ms: int) -> Ask:
    return msgspec.structs.replace(ABOUT, at_ms=at_ms)
