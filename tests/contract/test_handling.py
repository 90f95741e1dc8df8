"""Does every room handle packages by name: deleted, restored and copied, they are what they were?

What is kept of a deletion is what the gateway keeps (gateway.access.binning), so this is the bin of every format.
"""

from typing import Any, cast

import pytest

from formats.kit.handling import Handled, Held, Wanted, handled
from gateway.access.binning import kept_by
from storage.errors import Absent, Conflict, Unsupported
from storage.nouns import AnyChange, File, PutFile, View
from tests.contract.cases import CASES
from tests.contract.rooms import Case, World
from tests.harness.views import MemoryView

NAMES = sorted(CASES)


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def filled(case: Case) -> World:
    world = World(case.room)
    for upload in case.good:
        world.upload(upload)
    return world


def told(view: View, packages: list[str]) -> Any:
    """Everything of these packages but what a room remembers of their history."""
    return {
        package: (view.versions(package), view.files(package), view.tags(package))
        for package in packages
        if view.versions(package) or view.files(package) or view.tags(package)
    }


def named(world: World) -> list[str]:
    """All packages that hold something, hidden ones too."""
    return sorted({package for package, _ in world.published} | {one.name for one in world.view.packages()})


def deletable(world: World) -> list[tuple[str, str]]:
    """Package and Version of what can be deleted, "" for packages without."""
    pairs: set[tuple[str, str]] = set()
    for package in named(world):
        versions = {one.name for one in world.view.versions(package)} | {
            one.version for one in world.view.files(package) if one.version
        }
        pairs |= {(package, one) for one in versions} if versions else {(package, "")}
    return sorted((package, version) for package, version in pairs if world.view.files(package))


def binned(case: Case, world: World, changes: tuple[AnyChange, ...]) -> tuple[AnyChange, ...]:
    """What a bin keeps of a deletion."""
    groups = kept_by(handled(case.room), case.room.name, changes, world.view, None)
    return tuple(change for group in groups.values() for change in group)


def test_every_room_is_handled_by_name(case: Case) -> None:
    """A room that lacks a method of Handled is found here, not by whoever deletes something."""
    room: Handled = handled(case.room)
    assert all(hasattr(room, name) for name in ("home", "fixed", "remove", "bring", "retag"))


def test_what_is_deleted_is_seen_no_more_and_comes_back_as_it_was(case: Case) -> None:
    room = handled(case.room)
    for package, version in deletable(filled(case)):
        world = filled(case)
        before = told(world.view, named(world))
        files = [one for one in world.view.files(package) if version in ("", one.version)]
        changes = room.remove(package, version, world.view, 1)
        kept = binned(case, world, changes)
        world.view.apply(changes)
        for file in files:
            assert world.view.file(package, file.name) is None, (package, version)
        with pytest.raises(Absent):
            room.remove(package, version, world.view, 1)
        back = room.bring(Wanted(package), Held(case.room.name, kept), world.view, 2)
        world.view.apply(back)
        assert told(world.view, named(world)) == before, (package, version)
        assert room.bring(Wanted(package), Held(case.room.name, kept), world.view, 3) == ()


def test_what_is_published_again_is_taken_as_if_it_had_not_been_deleted(case: Case) -> None:
    """The room itself stands nothing in the way of the same bytes; a deletion by name leaves no half of anything."""
    room = handled(case.room)
    world = filled(case)
    before = told(world.view, named(world)).keys()
    for package, version in deletable(world):
        world.view.apply(room.remove(package, version, world.view, 1))
    for upload in case.good:
        world.upload(upload)
    assert told(world.view, named(world)).keys() == before


def test_a_copy_is_what_the_source_has(case: Case) -> None:
    """From one repository into an empty one, version by version, and then into one that has all of it."""
    room = handled(case.room)
    world = filled(case)
    target = MemoryView()
    for package, version in deletable(world):
        target.apply(room.bring(Wanted(package, version), world.view, target, 5))
    mine, theirs = told(world.view, named(world)), told(target, named(world))
    assert theirs.keys() == mine.keys()
    for package, (versions, files, _) in mine.items():
        # what no version names (a layer that was pushed and is in no image) comes with the whole package alone
        came = {one.name for one in theirs[package][1]}
        files = [one for one in files if one.version or one.name in came or not versions]
        assert theirs[package][0] == versions, package
        assert identities(theirs[package][1]) == identities(files), package
    for package, version in deletable(world):
        assert room.bring(Wanted(package, version), world.view, target, 6) == (), (package, version)
    for package in {package for package, _ in deletable(world)}:
        target.apply(room.bring(Wanted(package), world.view, target, 7))
    assert {one: identities(files) for one, (_, files, _) in told(target, named(world)).items()} == {
        one: identities(files) for one, (_, files, _) in mine.items()
    }


def identities(files: list[File]) -> list[tuple[str, str, bytes]]:
    return [(one.name, one.version, one.sha256) for one in files]


def test_a_copy_never_replaces_other_bytes(case: Case) -> None:
    room = handled(case.room)
    world = filled(case)
    for package, version in deletable(world):
        changes = room.bring(Wanted(package, version), world.view, MemoryView(), 5)
        files = [one for one in changes if isinstance(one, PutFile) and room.fixed(one.package, one.file)]
        for put in files:
            if put.file.name.startswith(("b/", "m/")):
                continue  # named by their digest: no other bytes can have the name
            target = MemoryView(*changes, PutFile(put.format, put.package, other(put.file)))
            with pytest.raises(Conflict):
                room.bring(Wanted(package, version), world.view, target, 6)


def other(file: File) -> File:
    return cast("File", type(file)(file.name, file.version, b"\xee" * 32, 3, facts=file.facts))


def test_what_is_not_there_is_absent(case: Case) -> None:
    room = handled(case.room)
    world = filled(case)
    package = deletable(world)[0][0]
    for wanted in ("no-such-version", "9.9.9"):
        with pytest.raises(Absent):
            room.remove(package, wanted, world.view, 1)
        with pytest.raises(Absent):
            room.bring(Wanted(package, wanted), world.view, MemoryView(), 1)
    with pytest.raises(Absent):
        room.bring(Wanted(package), MemoryView(), MemoryView(), 1)


def test_tags_are_moved_where_a_format_has_them(case: Case) -> None:
    room = handled(case.room)
    world = filled(case)
    package, version = next((one for one in deletable(world) if one[1]), deletable(world)[0])
    if case.room.name not in ("npm", "oci"):
        with pytest.raises(Unsupported):
            room.retag(package, "stable", version, world.view, 1)
        return
    world.view.apply(room.retag(package, "stable", version, world.view, 1))
    assert world.view.tag(package, "stable") == version
    assert room.retag(package, "stable", version, world.view, 1) == ()
    world.view.apply(room.retag(package, "stable", "", world.view, 1))
    assert world.view.tag(package, "stable") is None
    with pytest.raises(Absent):
        room.retag(package, "stable", "", world.view, 1)
    with pytest.raises(Absent):
        room.retag(package, "stable", "no-such-version", world.view, 1)
