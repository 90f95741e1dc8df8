"""How are versions, builds and digests shown? As maven-metadata.xml of a group, an artifact or a snapshot.

https://maven.apache.org/repositories/metadata.html. All of it is made from what is in the repository, and what an
upstream told of it; a client's own metadata is not among that.
"""

import hashlib

from formats.kit.contract import Document, Show
from formats.kit.xmls import escaped
from formats.maven.decide import digest_of
from formats.maven.facts import PackageFacts, aliased, package_facts, stamp
from formats.maven.names import METADATA, Snapshot, in_order, is_snapshot, snapshot
from formats.maven.wire import TOLD
from storage.errors import Absent
from storage.nouns import Package, Version, View


def render(show: Show, view: View) -> Document:
    """The Document of a Show. Raises Absent."""
    if show.page == "digest":
        algorithm, _, file = show.argument.partition(" ")
        return Document(_digest(show.package, file, algorithm, view).encode())
    if show.page == "snapshot":
        version, _, algorithm = show.argument.partition(" ")
        return _document(_snapshot(show.package, version, view), algorithm)
    return _document(_metadata(show.package, view), show.argument)


def _document(text: str, algorithm: str) -> Document:
    """The text, or its digest; the text with its digests in headers."""
    body = text.encode()
    digests = {name: hashlib.new(name, body, usedforsecurity=False).hexdigest() for _, name, _ in TOLD}
    if algorithm:
        return Document(digests[algorithm].encode())
    return Document(body, tuple((header, ahead + digests[name]) for header, name, ahead in TOLD))


def _digest(package: str, name: str, algorithm: str, view: View) -> str:
    file = view.file(package, name)
    found = digest_of(file, algorithm) if file is not None else ""
    if not found:
        raise Absent(f"There is no {algorithm} of {name} here.")
    return found


# ---------------------------------------------------------------- a group, an artifact


def _metadata(package: str, view: View) -> str:
    """Of a directory, which may be an artifact, a group with plug-ins, or both."""
    facts, versions = package_facts(view.package(package)), view.versions(package)
    if not versions and not facts.plugins:
        raise Absent(f"There is no {METADATA} of {package} here.")
    group, _, artifact = package.rpartition("/")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<metadata>"]
    if versions:
        lines += [f"  <groupId>{_dotted(group)}</groupId>", f"  <artifactId>{escaped(artifact)}</artifactId>"]
        lines += _versioning(view.package(package), facts, versions)
    if facts.plugins:
        lines.append("  <plugins>")
        for name, plugin in facts.plugins.items():
            lines.append("    <plugin>")
            lines.append(f"      <name>{escaped(plugin.name)}</name>")
            lines.append(f"      <prefix>{escaped(plugin.prefix)}</prefix>")
            lines.append(f"      <artifactId>{escaped(name)}</artifactId>")
            lines.append("    </plugin>")
        lines.append("  </plugins>")
    return "\n".join([*lines, "</metadata>", ""])


def _versioning(package: Package | None, facts: PackageFacts, versions: list[Version]) -> list[str]:
    names = sorted((one.name for one in versions), key=in_order)
    releases = [one for one in names if not is_snapshot(one)]
    newest_ms = max(one.at_ms for one in versions)
    updated = max(facts.updated, stamp(newest_ms) if newest_ms else "")
    lines = ["  <versioning>", f"    <latest>{escaped(names[-1])}</latest>"]
    if releases:
        lines.append(f"    <release>{escaped(releases[-1])}</release>")
    lines.append("    <versions>")
    lines += [f"      <version>{escaped(one)}</version>" for one in names]
    lines.append("    </versions>")
    if updated:
        lines.append(f"    <lastUpdated>{updated}</lastUpdated>")
    return [*lines, "  </versioning>"]


def _dotted(group: str) -> str:
    return escaped(group.replace("/", "."))


# ---------------------------------------------------------------- a snapshot


def _snapshot(package: str, version: str, view: View) -> str:
    """The builds of a snapshot: the newest of each classifier and extension."""
    held = view.version(package, version)
    if held is None:
        raise Absent(f"There is no {version} of {package} here.")
    newest: dict[tuple[str, str], tuple[Snapshot, int]] = {}
    for file in view.files(package):
        name = file.name.partition("/")[2]
        build = snapshot(package, version, name) if file.version == version and not aliased(file) else None
        if build is not None:
            place = (build.classifier, build.extension)
            if place not in newest or newest[place][0].stamp < build.stamp:
                newest[place] = (build, file.at_ms)
    group, _, artifact = package.rpartition("/")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<metadata modelVersion="1.1.0">',
        f"  <groupId>{_dotted(group)}</groupId>",
        f"  <artifactId>{escaped(artifact)}</artifactId>",
        f"  <version>{escaped(version)}</version>",
        "  <versioning>",
        *_builds(newest),
        f"    <lastUpdated>{stamp(held.at_ms)}</lastUpdated>",
        "  </versioning>",
        "</metadata>",
        "",
    ]
    return "\n".join(lines)


def _builds(newest: dict[tuple[str, str], tuple[Snapshot, int]]) -> list[str]:
    """Nothing where no build has a stamp: clients then take the plain names."""
    if not newest:
        return []
    last = max(build.stamp for build, _ in newest.values())
    lines = [
        "    <snapshot>",
        f"      <timestamp>{last.moment}</timestamp>",
        f"      <buildNumber>{last.build}</buildNumber>",
        "    </snapshot>",
        "    <snapshotVersions>",
    ]
    for (classifier, extension), (build, at_ms) in sorted(newest.items()):
        lines.append("      <snapshotVersion>")
        if classifier:
            lines.append(f"        <classifier>{escaped(classifier)}</classifier>")
        lines.append(f"        <extension>{escaped(extension)}</extension>")
        lines.append(f"        <value>{escaped(build.value)}</value>")
        lines.append(f"        <updated>{stamp(at_ms)}</updated>")
        lines.append("      </snapshotVersion>")
    return [*lines, "    </snapshotVersions>"]
