"""What does a pom, a Gradle module or a client's own metadata say? Read in the sandbox, and bounded.

A pom must speak of the place where it is put. Maven itself would believe the path, Gradle the pom: two readers of one
repository must not see two artifacts (THREATS D9).
"""

import re
from itertools import islice
from typing import Any

import msgspec

from formats.kit import jsons, xmls
from formats.kit.contract import Ask, Finds, Received
from formats.kit.traits import license_said
from formats.maven.facts import Plugin, Pom, Told, packed
from formats.maven.names import Route, is_segment, route
from formats.maven.wire import METADATA_BYTES_MAX, MODULE_BYTES_MAX, POM_BYTES_MAX
from storage.errors import Invalid

PLUGINS_MAX = 10_000
LICENSES_MAX = 20
DEPENDENCIES_MAX = 200
NAME_CHARACTERS_MAX = 200
_PROPERTY = re.compile(r"\$\{([^{}]+)\}")


class _Component(msgspec.Struct):
    group: str
    module: str
    version: str


class _Module(msgspec.Struct, rename="camel"):
    format_version: str
    component: _Component


def unpack(ask: Ask, received: Received) -> Finds:
    """The Pom, or the Told, in an upload. Raises Invalid, TooLarge."""
    at = route(ask.path)
    raw = _whole(received)
    if at.kind == "metadata":
        return Finds(packed(told(raw)))
    if at.name.endswith(".module"):
        check_module(raw, at)
        return Finds()
    pom = pom_of(raw)
    check_pom(pom, at)
    return Finds(packed(pom))


def _whole(received: Received) -> bytes:
    with open(received.descriptor, "rb", closefd=False) as file:
        file.seek(received.start)
        return file.read(MODULE_BYTES_MAX + 1)


# ---------------------------------------------------------------- pom


def pom_of(raw: bytes) -> Pom:
    """What a pom says of itself. Raises Invalid, TooLarge."""
    project = xmls.read(raw, POM_BYTES_MAX)
    if project.name != "project":
        raise Invalid("This is no pom: its root element is not <project>.")
    parent = next(project.all("parent"), xmls.Element("parent"))
    _once(project, "parent", "groupId", "artifactId", "version", "packaging")
    _once(parent, "groupId", "artifactId", "version")
    licenses = {said for one in project.all("licenses", "license") if (said := license_said(one.said("name")))}
    return Pom(
        project.said("groupId") or parent.said("groupId"),
        project.said("artifactId"),
        project.said("version") or parent.said("version"),
        project.said("packaging")[:NAME_CHARACTERS_MAX] or "jar",
        project.said("name")[:NAME_CHARACTERS_MAX],
        tuple(sorted(licenses))[:LICENSES_MAX],
        dependencies_of(project, parent),
    )


def dependencies_of(project: xmls.Element, parent: xmls.Element) -> tuple[str, ...]:
    """What users of the artifact need too, so none of its tests, as GROUP:ARTIFACT:VERSION. What the pom has as a
    property of its own is put in; one that only a parent knows stands there as it is written."""
    known = {
        f"{what}{name}": project.said(name) or parent.said(name)
        for what in ("project.", "pom.")
        for name in ("groupId", "artifactId", "version")
    }
    known |= {one.name: one.text for all in project.all("properties") for one in all.children}

    def said(one: xmls.Element, name: str) -> str:
        text = _PROPERTY.sub(lambda found: known.get(found[1], found[0]), one.said(name)[:NAME_CHARACTERS_MAX])
        return text[:NAME_CHARACTERS_MAX]

    found = (
        f"{said(one, 'groupId')}:{said(one, 'artifactId')}:{said(one, 'version')}"
        for one in project.all("dependencies", "dependency")
        if one.said("scope") != "test"
    )
    return tuple(islice(dict.fromkeys(found), DEPENDENCIES_MAX))


def _once(element: xmls.Element, *names: str) -> None:
    """Raises Invalid where a coordinate is said twice, or is more than text: some readers take the first, some the
    last, some none."""
    for name in names:
        found = list(element.all(name))
        if len(found) > 1 or (found and found[0].children and name != "parent"):
            raise Invalid(f"The pom's {name} can be read in two ways.", "Say it once, as plain text.")


def check_pom(pom: Pom, at: Route) -> None:
    """Raises Invalid where the pom speaks of another artifact. What it holds as a property cannot be compared."""
    group, _, artifact = at.package.rpartition("/")
    for what, said, there in (
        ("groupId", pom.group.replace(".", "/"), group.replace(".", "/")),
        ("artifactId", pom.artifact, artifact),
        ("version", pom.version, at.version),
    ):
        # sbt puts its plug-ins into NAME_SCALA_SBT, and their pom says NAME.
        crossed = what == "artifactId" and said and there.startswith(said + "_")
        if said != there and "${" not in said and not crossed:
            raise Invalid(
                f"The pom's {what} is {said[:200]!r}, and it is put where {there!r} belongs.",
                "Deploy it under its own coordinates.",
            )


def check_module(raw: bytes, at: Route) -> None:
    """Raises Invalid, TooLarge for what is no Gradle module metadata of this place."""
    try:
        component = msgspec.json.decode(jsons.strict(raw).decode(), type=_Module).component
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("This is no Gradle module metadata.", "Publish it with Gradle.") from None
    there = (at.package.rpartition("/")[0], at.package.rpartition("/")[2], at.version)
    if (component.group.replace(".", "/"), component.module, component.version) != there:
        raise Invalid("The Gradle module metadata speaks of another module.", "Publish it under its own coordinates.")


# ---------------------------------------------------------------- metadata


def told(raw: bytes) -> Told:
    """What only the client knows. Versions and builds are not read: they are what is here. Raises Invalid, TooLarge."""
    metadata = metadata_of(raw)
    return Told(plugins_of(metadata))


def metadata_of(raw: bytes) -> xmls.Element:
    """The root of a maven-metadata.xml. Raises Invalid, TooLarge."""
    metadata = xmls.read(raw, METADATA_BYTES_MAX)
    if metadata.name != "metadata":
        raise Invalid("This is no maven-metadata.xml: its root element is not <metadata>.")
    return metadata


def plugins_of(metadata: xmls.Element) -> dict[str, Plugin]:
    """The plug-ins of a group, by artifact. What makes no sense is left out."""
    found: dict[str, Any] = {}
    for one in metadata.all("plugins", "plugin"):
        artifact, prefix = one.said("artifactId"), one.said("prefix")
        if is_segment(artifact) and is_segment(prefix) and len(found) < PLUGINS_MAX:
            found.setdefault(artifact, Plugin(prefix, one.said("name")[:NAME_CHARACTERS_MAX]))
    return found
