"""What lies in a Maven repository? Poms, modules, metadata and archives made for tests."""

import io
import json
import zipfile


def pom(group: str, artifact: str, version: str, *, packaging: str = "jar", more: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"<packaging>{packaging}</packaging>{more}</project>\n"
    ).encode()


def jar(text: str = "hello") -> bytes:
    """An archive with one entry; the same text gives the same bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("hello.txt"), text)
    return made.getvalue()


def module(group: str, name: str, version: str) -> bytes:
    component = {"group": group, "module": name, "version": version}
    return json.dumps({"formatVersion": "1.1", "component": component, "variants": []}).encode()


def group_metadata(**plugins: str) -> bytes:
    """Of a group, with plug-ins by prefix."""
    listed = "".join(
        f"<plugin><name>{prefix}</name><prefix>{prefix}</prefix><artifactId>{artifact}</artifactId></plugin>"
        for prefix, artifact in plugins.items()
    )
    return f"<metadata><plugins>{listed}</plugins></metadata>".encode()


def artifact_metadata(*versions: str, updated: str = "20200102030405") -> bytes:
    listed = "".join(f"<version>{one}</version>" for one in versions)
    return (
        f"<metadata><groupId>a</groupId><artifactId>b</artifactId><versioning><latest>{versions[-1]}</latest>"
        f"<versions>{listed}</versions><lastUpdated>{updated}</lastUpdated></versioning></metadata>"
    ).encode()


def snapshot_metadata(group: str, artifact: str, version: str, build: str, names: list[str]) -> bytes:
    """Of one build, whose files end in `names` ("-sources.jar", ".pom")."""
    moment, number = build.rsplit("-", 2)[1:]
    listed = ""
    for name in names:
        classifier, _, extension = name.rpartition(".")
        told = f"<classifier>{classifier[1:]}</classifier>" if classifier else ""
        listed += f"<snapshotVersion>{told}<extension>{extension}</extension><value>{build}</value></snapshotVersion>"
    return (
        f'<metadata modelVersion="1.1.0"><groupId>{group}</groupId><artifactId>{artifact}</artifactId>'
        f"<version>{version}</version><versioning><snapshot><timestamp>{moment}</timestamp>"
        f"<buildNumber>{number}</buildNumber></snapshot><snapshotVersions>{listed}</snapshotVersions>"
        "</versioning></metadata>"
    ).encode()


def marker(plugin: str, group: str, artifact: str, version: str) -> bytes:
    """The pom by which Gradle finds the module of a plug-in."""
    needs = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
    more = f"<dependencies><dependency>{needs}</dependency></dependencies>"
    return pom(plugin, f"{plugin}.gradle.plugin", version, packaging="pom", more=more)
