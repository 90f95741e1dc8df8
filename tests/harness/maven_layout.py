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
