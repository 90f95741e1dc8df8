"""How does a version of an artifact come and go by its name, outside of a deployment?"""

from collections.abc import Iterator

import msgspec

from formats.kit.handling import Wanted, chosen, missing, no_such
from formats.maven.decide import with_plugins, without_files, without_package, without_version
from formats.maven.facts import FORMAT, alias, aliased, package_facts
from formats.maven.names import Route, Stamp, is_fixed, is_snapshot, snapshot
from storage.nouns import AnyChange, File, Package, PutFile, PutPackage, PutVersion, View


def remove(package: str, version: str, view: View) -> tuple[AnyChange, ...]:
    """The artifact goes with its last version, and its place among the plug-ins of its group. A version may also be
    that of one build of a snapshot. Raises Absent."""
    files = [one for one in view.files(package) if version and build(package, one) == version]
    if files:
        return tuple(without_files(package, files[0].version, {one.name for one in files if not aliased(one)}, view))
    chosen(package, version, view)
    return tuple(without_version(package, version, view) if version else without_package(package, view))


def bring(wanted: Wanted, source: View, target: View) -> tuple[AnyChange, ...]:
    """Raises Absent, Conflict. Of a snapshot its builds come, and the newest of both sides is what its plain names
    show."""
    package = wanted.package
    changes: list[AnyChange] = []
    for version in _versions(package, wanted.version, source):
        files = [one for one in source.files(package) if one.version == version and one.sha256 and not aliased(one)]
        lacking = missing(package, files, _Builds(target) if is_snapshot(version) else target)
        changes += [PutFile(FORMAT, package, one) for one in lacking]
        changes += _plain(package, version, lacking, target)
        known = source.version(package, version)
        if lacking and known is not None and target.version(package, version) is None:
            changes.append(PutVersion(FORMAT, package, known))
    if changes and target.package(package) is None:
        kept = source.package(package) or Package(package)
        changes.insert(0, PutPackage(FORMAT, msgspec.structs.replace(kept, facts=b"")))
    return (*changes, *_plugin(package, source, target)) if changes else ()


def _versions(package: str, version: str, view: View) -> list[str]:
    """Also one that has files alone: a bin may hold some of a version."""
    known = {one.name for one in view.versions(package)} | {one.version for one in view.files(package)}
    found = sorted(one for one in known if version in ("", one))
    if not found:
        raise no_such(package, version)
    return found


class _Builds:
    """A target to which builds of a snapshot may come back, whatever was removed under their names."""

    def __init__(self, view: View) -> None:
        self._view = view

    def file(self, package: str, name: str) -> File | None:
        return self._view.file(package, name)

    def gone(self, package: str, name: str) -> bytes | None:
        return None


def _plain(package: str, version: str, came: list[File], target: View) -> Iterator[AnyChange]:
    """The plain names of a snapshot that show another build now."""
    newest: dict[str, tuple[Stamp, File]] = {}
    for file in came:
        build = snapshot(package, version, file.name.partition("/")[2])
        if build is None:
            continue
        best = newest.get(build.plain)
        if best is None or best[0] < build.stamp:
            newest[build.plain] = (build.stamp, file)
    for plain, (stamp, file) in sorted(newest.items()):
        shown = target.file(package, f"{version}/{plain}")
        before = snapshot(package, version, aliased(shown).partition("/")[2]) if shown is not None else None
        if shown is None or (before is not None and before.stamp < stamp):
            yield PutFile(FORMAT, package, alias(file, f"{version}/{plain}"))


def _plugin(package: str, source: View, target: View) -> Iterator[AnyChange]:
    """A plug-in is one in the target's group as well."""
    group, _, artifact = package.rpartition("/")
    plugin = package_facts(source.package(group)).plugins.get(artifact) if group else None
    if plugin is None:
        return
    there = target.package(group)
    facts = package_facts(there)
    if artifact not in facts.plugins:
        yield with_plugins(there or Package(group), facts, {**facts.plugins, artifact: plugin})


def build(package: str, file: File) -> str:
    """The version that stands in the names of one build of a snapshot; "" for what is of none."""
    found = snapshot(package, file.version, (aliased(file) or file.name).partition("/")[2])
    return found.value if found is not None else ""


def is_fixed_file(package: str, file: File) -> bool:
    """Can it never have other bytes? Plain names of snapshots show whatever build is the newest."""
    version, _, name = file.name.partition("/")
    return not aliased(file) and is_fixed(Route("file", package, version, name))
