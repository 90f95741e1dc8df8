"""What stands in the bins, of what the caller may know, as a search finds it?

Whoever may delete or publish a package may see it in the bin, by its name and by a search alike.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from gateway.access.rights.grants import DELETE, PUBLISH
from gateway.access.rights.verdicts import Principal
from gateway.console.calls.call import Call
from gateway.console.packages.handling import Named, permitted_in
from gateway.console.packages.knowing import Around, Lost
from gateway.queries.fields import At, Held
from storage.errors import Absent, Forbidden, Invalid, Unauthenticated
from storage.index.bins import files_of
from storage.index.catalog import Reading
from storage.nouns import Binned, File, PutTag, PutVersion, Repository, Version

BIN_LOOKS_MAX = 50_000
"""What is found in a bin that holds more things than these is told by the bin alone."""


class Gone(NamedTuple):
    """What a bin holds of one package; `at_ms` is when the last of it was deleted."""

    name: str
    at_ms: int
    parts: tuple[Binned, ...]


def may_know_gone(
    call: Call, reading: Reading, principal: Principal, at: tuple[str, str], format: str, package: str
) -> bool:
    """May it know what the bin of the Repository at `at` holds of this package?"""
    room = call.services.rooms.get(format)
    if room is None:
        return False
    for action in (DELETE, PUBLISH):
        with suppress(Forbidden, Absent, Unauthenticated):
            permitted_in(call, reading, principal, at, Named(room, package, ""), action)
            return True
    return False


def gone_in(call: Call, reading: Reading, repository: Repository) -> Mapping[str, list[Gone]]:
    """The packages in the bin of a Repository, by format and name. Raises Invalid where it holds too much."""
    at = (repository.workspace, repository.name)
    may = cache(lambda format, package: may_know_gone(call, reading, call.principal, at, format, package))
    parts: dict[tuple[str, str], list[Binned]] = {}
    for looks, one in enumerate(reading.bin(*at)):
        if looks >= BIN_LOOKS_MAX:
            raise Invalid(f"A bin holds more than {BIN_LOOKS_MAX} things.", "Read it with: entrepot bin list.")
        if may(one.format, one.package):
            parts.setdefault((one.format, one.package), []).append(one)
    found: dict[str, list[Gone]] = {}
    for (format, name), held in sorted(parts.items()):
        found.setdefault(format, []).append(Gone(name, max(one.at_ms for one in held), tuple(held)))
    return found


def gone_versions(call: Call, reading: Reading, at: At, gone: Gone) -> Iterator[Held]:
    """The versions that the bin holds of a package; of files without any, one without a name."""
    around = Around(call, reading, at, people=lambda workspace: False)
    changes = [change for one in gone.parts for change in one.changes]
    files: dict[str, list[File]] = {}
    for _, file in (pair for one in gone.parts for pair in files_of(one)):
        files.setdefault(file.version, []).append(file)
    versions = {one.version.name: one.version for one in changes if isinstance(one, PutVersion)}
    bare = {name: Version(name, max(file.at_ms for file in held)) for name, held in files.items()}
    for name, version in sorted((bare | versions).items()):
        mine = files.get(name, [])
        yield Held(
            name,
            sorted({one.tag for one in changes if isinstance(one, PutTag) and one.version == name}),
            [(file.name, file.sha256.hex()) for file in mine],
            sum(max(file.size, 0) for file in mine),
            version.at_ms,
            Lost(around, version, mine),
        )
