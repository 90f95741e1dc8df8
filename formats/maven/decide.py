"""What does an upload or a deletion do to the index, given what is there?

A release's file never gets other bytes, also after it was removed (THREATS C15); the same bytes again are fine. Of a
snapshot, whatever names one build is as fixed, and what does not may be replaced. Which versions and builds there are
is told by the files alone: a client's list of them is not read, so that no two clients can lose each other's.
"""

import re
from collections.abc import Iterator, Mapping, Set

import msgspec

from formats.kit.contract import Ask, Blob, Decision, Finds, Reply
from formats.maven.facts import (
    FORMAT,
    PackageFacts,
    Pom,
    Told,
    VersionFacts,
    alias,
    aliased,
    package_facts,
    packed,
    version_facts,
)
from formats.maven.media import media_of
from formats.maven.names import Route, Snapshot, is_fixed, is_plausible, is_snapshot, route, snapshot
from storage.errors import Absent, Conflict, Invalid
from storage.nouns import (
    AnyChange,
    DropFile,
    DropPackage,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutVersion,
    Version,
    View,
)

HEX_CHARACTERS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_FIRST_WORD = re.compile(rb"\s*([0-9A-Fa-f]{32,128})(?:\s|$)")
_LAST_WORD = re.compile(rb"=\s*([0-9A-Fa-f]{32,128})\s*$")
_CREATED, _OK, _GONE = Reply(201), Reply(200), Reply(204)


def decide(ask: Ask, finds: Finds, view: View) -> Decision:
    """The Decision of a write. Raises Absent, Conflict, Invalid; nothing changes then."""
    at = route(ask.path)
    if ask.method == "DELETE":
        return _delete(at, view)
    if at.digest:
        return _compare(at, finds.body, view)
    if at.kind == "metadata":
        return _merge(ask, at, msgspec.msgpack.decode(finds.facts, type=Told), view)
    pom = msgspec.msgpack.decode(finds.facts, type=Pom) if finds.facts else None
    return _publish(ask, at, finds.blobs["file"], pom, view)


# ---------------------------------------------------------------- publish


def _publish(ask: Ask, at: Route, blob: Blob, pom: Pom | None, view: View) -> Decision:
    build = snapshot(at.package, at.version, at.name)
    if build is not None and not is_plausible(build.stamp, ask.at_ms):
        raise Invalid(
            f"{at.name} says that it was built at {build.stamp.moment}, which is no time or is yet to come.",
            "Set the clock of the machine that builds, in UTC, and deploy again.",
        )
    digests = {**blob.digests, "sha256": blob.sha256.hex()}
    for algorithm in HEX_CHARACTERS:
        announced = ask.headers.get(f"x-checksum-{algorithm}", "").strip().lower()
        if announced and announced != digests[algorithm]:
            raise Invalid(f"The {algorithm} of what came is not the announced one.", "Send it again.")
    there = view.file(at.package, at.file)
    replaced = there is not None and aliased(there)
    if there is not None and not replaced and there.sha256 == blob.sha256:
        return Decision("maven.publish", (), _OK)
    fixed = is_fixed(at)
    if there is not None and fixed:
        raise Conflict(
            f"{at.name} is published, with other contents.",
            "A release is for ever: raise the version." if not is_snapshot(at.version) else "Deploy a new build.",
        )
    if fixed and not is_snapshot(at.version) and view.gone(at.package, at.file) not in (None, blob.sha256):
        raise Conflict(f"{at.name} was removed, and had other contents.", "Raise the version.")
    file = File(at.file, at.version, blob.sha256, blob.size, media_of(at.name), ask.at_ms, blob.digests)
    return Decision("maven.publish", tuple(_changes(ask, at, file, pom, view)), _OK if there else _CREATED)


def _changes(ask: Ask, at: Route, file: File, pom: Pom | None, view: View) -> Iterator[AnyChange]:
    if view.package(at.package) is None:
        yield PutPackage(FORMAT, Package(at.package, ask.at_ms))
    version = view.version(at.package, at.version)
    facts = version_facts(version)
    if pom is not None and at.name.endswith(".pom"):
        facts = VersionFacts(pom.packaging, pom.name, pom.licenses, pom.dependencies)
    # A snapshot was updated when its newest file came.
    at_ms = ask.at_ms if version is None or is_snapshot(at.version) else version.at_ms
    moved = Version(at.version, at_ms, packed(facts))
    if moved != version:
        yield PutVersion(FORMAT, at.package, moved)
    yield PutFile(FORMAT, at.package, file)
    build = snapshot(at.package, at.version, at.name)
    if build is not None:
        name = f"{at.version}/{build.plain}"
        shown = view.file(at.package, name)
        before = _build_of(at, aliased(shown)) if shown is not None else None
        if shown is None or (before is not None and before.stamp <= build.stamp):
            yield PutFile(FORMAT, at.package, alias(file, name))


def _build_of(at: Route, file: str) -> Snapshot | None:
    return snapshot(at.package, at.version, file.partition("/")[2])


# ---------------------------------------------------------------- a client's own metadata and checksums


def _compare(at: Route, body: bytes, view: View) -> Decision:
    """A checksum that is uploaded is compared and not kept: what is served is computed. That of a client's own metadata
    speaks of a document which is not served, so that only its form is judged."""
    announced = checksum(body, at.digest)
    if at.kind == "metadata":
        return Decision("maven.checksum", (), _CREATED)
    file = view.file(at.package, at.file)
    if file is None:
        raise Conflict(f"There is no {at.name} here to compare this {at.digest} with.", "Upload the file first.")
    known = digest_of(file, at.digest)
    if known != announced:
        raise Invalid(
            f"The {at.digest} of {at.name} here is {known}, not {announced}.",
            "It was changed on its way, or another build sent it: deploy it again.",
        )
    return Decision("maven.checksum", (), _CREATED)


def checksum(body: bytes, algorithm: str) -> str:
    """The digest that a checksum file holds: hex, with or without a file's name. Raises Invalid."""
    match = _FIRST_WORD.match(body) or _LAST_WORD.search(body)
    found = match[1].decode().lower() if match else ""
    if len(found) != HEX_CHARACTERS[algorithm]:
        raise Invalid(f"This is no {algorithm} in hexadecimal.", "Send the digest of the file.")
    return found


def digest_of(file: File, algorithm: str) -> str:
    """The digest of a published file as hex, "" where it is not known."""
    return file.sha256.hex() if algorithm == "sha256" else file.digests.get(algorithm, "")


def _merge(ask: Ask, at: Route, told: Told, view: View) -> Decision:
    """The plug-ins of a group that are published here join those that are known."""
    package = view.package(at.package)
    facts = package_facts(package)
    plugins = {**facts.plugins}
    for artifact, plugin in told.plugins.items():
        if view.package(f"{at.package}/{artifact}") is not None:
            plugins[artifact] = plugin
    if at.version or plugins == facts.plugins:
        return Decision("maven.metadata", (), _OK if package is not None else _CREATED)
    put = with_plugins(package or Package(at.package, ask.at_ms), facts, plugins)
    return Decision("maven.metadata", (put,), _CREATED)


def with_plugins(package: Package, facts: PackageFacts, plugins: Mapping[str, object]) -> PutPackage:
    """The group with these plug-ins."""
    changed = msgspec.structs.replace(facts, plugins=dict(sorted(plugins.items())))
    return PutPackage(FORMAT, msgspec.structs.replace(package, facts=packed(changed)))


# ---------------------------------------------------------------- remove


def _delete(at: Route, view: View) -> Decision:
    if at.kind == "file":
        return Decision("maven.delete", tuple(_without_file(at, view)), _GONE)
    package, _, version = at.package.rpartition("/")
    if version and view.version(package, version) is not None:
        return Decision("maven.delete", tuple(without_version(package, version, view)), _GONE)
    if view.package(at.package) is None:
        raise Absent("There is no such artifact or version here.")
    return Decision("maven.delete", tuple(without_package(at.package, view)), _GONE)


def _without_file(at: Route, view: View) -> Iterator[AnyChange]:
    file = view.file(at.package, at.file)
    if file is None or aliased(file):
        raise Absent("There is no such file here.", "The newest build of a snapshot goes by its own name.")
    yield from without_files(at.package, at.version, {file.name}, view)


def without_files(package: str, version: str, names: Set[str], view: View) -> Iterator[AnyChange]:
    """These files of one version go; the version with its last one. A plain name of a snapshot then shows another build
    or nothing."""
    of_version = [one for one in view.files(package) if one.version == version]
    left = {one.name: one for one in of_version if one.name not in names and not aliased(one)}
    if not left:
        yield from without_version(package, version, view)
        return
    for name in sorted(names):
        yield DropFile(FORMAT, package, name, forget=is_snapshot(version))
    for plain in of_version:
        if aliased(plain) not in names:
            continue
        builds = {name: snapshot(package, version, name.partition("/")[2]) for name in left}
        others = [(one.stamp, name) for name, one in builds.items() if one and f"{version}/{one.plain}" == plain.name]
        if others:
            yield PutFile(FORMAT, package, alias(left[max(others)[1]], plain.name))
        else:
            yield DropFile(FORMAT, package, plain.name, forget=True)


def without_version(package: str, version: str, view: View) -> Iterator[AnyChange]:
    """The version, and the artifact with its last one: its name stays taken."""
    if [one.name for one in view.versions(package)] == [version]:
        yield from without_package(package, view)
        return
    yield DropVersion(FORMAT, package, version)


def without_package(package: str, view: View) -> Iterator[AnyChange]:
    """All of an artifact, and its place among the plug-ins of its group."""
    if package_facts(view.package(package)).plugins:
        # It is also a group, whose plug-ins stay.
        for one in view.versions(package):
            yield DropVersion(FORMAT, package, one.name)
    else:
        yield DropPackage(FORMAT, package)
    group, _, artifact = package.rpartition("/")
    above = view.package(group) if group else None
    facts = package_facts(above)
    if above is not None and artifact in facts.plugins:
        left = {name: one for name, one in facts.plugins.items() if name != artifact}
        yield with_plugins(above, facts, left) if left or view.versions(group) else DropPackage(FORMAT, group)
