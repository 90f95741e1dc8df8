"""How does a version of a Debian package come and go by its name, outside of uploads?"""

import msgspec

from formats.deb import names
from formats.deb.decide import Listing, distributions, with_spots
from formats.deb.facts import FORMAT, Spot, VersionFacts, file_facts, packed, version_facts
from formats.kit.contract import ABOUT
from formats.kit.handling import Wanted, missing, no_such
from storage.errors import Conflict, Invalid
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


def remove(key: str, version: str, view: View) -> tuple[AnyChange, ...]:
    """Its files leave the pool, and all distributions; a source package takes its members along. The name stays taken.
    Raises Absent."""
    files = view.files(key)
    going = [one for one in files if version in ("", one.version) and (not version or one.version)]
    if not going:
        raise no_such(key, version)
    left = {member for one in files if one not in going for member in file_facts(one.facts).members}
    members = {member for one in going for member in file_facts(one.facts).members} - left
    names_going = sorted({one.name for one in going} | {one.name for one in files if one.name in members})
    changes: list[AnyChange] = [DropFile(FORMAT, key, one) for one in names_going]
    versions = {one.version for one in going} & {one.name for one in view.versions(key)}
    return (*changes, *(DropVersion(FORMAT, key, one) for one in sorted(versions)))


def bring(wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
    """Listed in the DISTRIBUTION/COMPONENT of `place`, or where it is listed in the source. Raises Absent, Conflict,
    Invalid."""
    key, files = wanted.package, source.files(wanted.package)
    meant = [one for one in files if one.version and wanted.version in ("", one.version)]
    members = {member for one in meant for member in file_facts(one.facts).members}
    loose = [one for one in files if not one.version and (one.name in members or not wanted.version)]
    if not meant and not loose:
        raise no_such(key, wanted.version)
    lacking = {one.name for one in missing(key, [*loose, *meant], target)}
    _all_there(members, lacking, key, target)
    changes: list[AnyChange] = [PutFile(FORMAT, key, one) for one in loose if one.name in lacking]
    listings: list[Listing] = []
    for file in meant:
        facts = file_facts(file.facts)
        spots = _spots(wanted.place) or facts.spots
        there = target.file(key, file.name)
        old = file_facts(there.facts).spots if there is not None else ()
        new = with_spots(old, spots)
        if there is None or new != old:
            kept = packed(msgspec.structs.replace(facts, spots=new))
            changes.append(PutFile(FORMAT, key, msgspec.structs.replace(file, facts=kept)))
            listings += [Listing(spot, facts) for spot in spots]
    changes += _versions(key, [one for one in meant if one.name in lacking], source, target)
    if changes and target.package(key) is None:
        changes.insert(0, PutPackage(FORMAT, source.package(key) or Package(key, at_ms)))
    return (*changes, *distributions(msgspec.structs.replace(ABOUT, at_ms=at_ms), listings, target))


def _all_there(members: set[str], lacking: set[str], key: str, target: View) -> None:
    """Raises Conflict where a source package would lack a file that is neither there nor comes."""
    for member in sorted(members - lacking):
        if target.file(key, member) is None:
            raise Conflict(f"{member}, which the source package needs, is not here.", "Bring the package that has it.")


def _versions(key: str, files: list[File], source: View, target: View) -> list[AnyChange]:
    """What paths the files have, joined to what is known of other architectures."""
    changes: list[AnyChange] = []
    for name in sorted({one.version for one in files}):
        theirs, mine = source.version(key, name), target.version(key, name)
        if theirs is None:
            continue
        came = {one.name for one in files}
        paths = {file: data for file, data in version_facts(theirs.facts).paths.items() if file in came}
        known = version_facts(mine.facts).paths if mine is not None else {}
        facts = packed(VersionFacts(known | paths)) if known or paths else b""
        changes.append(PutVersion(FORMAT, key, Version(name, mine.at_ms if mine is not None else theirs.at_ms, facts)))
    return changes


def _spots(place: str) -> tuple[Spot, ...]:
    """DISTRIBUTION/COMPONENT, "" for none. Raises Invalid."""
    if not place:
        return ()
    distribution, slash, component = place.rpartition("/")
    if not slash:
        raise Invalid("It is not said into which component.", "Write the place as DISTRIBUTION/COMPONENT.")
    return (Spot(names.distribution(distribution), names.component(component)),)
