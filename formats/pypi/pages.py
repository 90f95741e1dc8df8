"""How is a project, and the list of projects, shown: in HTML and in JSON?

Both are made of the same entries. Links are relative, so a page is the same under every host name and need not be made
for each. PEP 503, 592, 629, 658, 691, 700, 714, 740, 792.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

import msgspec

from formats.kit.contract import Document, Show
from formats.pypi.facts import ACTIVE, QUARANTINED, ProjectFacts, file_facts, is_sibling, project_facts
from storage.errors import Absent
from storage.nouns import File, View

API_VERSION = "1.4"


class _Meta(msgspec.Struct, rename="kebab"):
    api_version: str = API_VERSION


class _Status(msgspec.Struct, omit_defaults=True):
    status: str
    reason: str = ""


class Entry(msgspec.Struct, rename="kebab", omit_defaults=True):
    """A file on a page; its JSON object as it stands."""

    filename: str
    url: str
    hashes: dict[str, str]
    requires_python: str | msgspec.UnsetType = msgspec.UNSET
    size: int | msgspec.UnsetType = msgspec.UNSET
    upload_time: str | msgspec.UnsetType = msgspec.UNSET
    yanked: bool | str = False
    core_metadata: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    dist_info_metadata: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    provenance: str | msgspec.UnsetType = msgspec.UNSET


class _Project(msgspec.Struct, rename="kebab"):
    meta: _Meta
    name: str
    versions: list[str]
    files: list[Entry]
    project_status: _Status


class _Named(msgspec.Struct):
    name: str


class _Root(msgspec.Struct):
    meta: _Meta
    projects: list[_Named]


_encode = msgspec.json.Encoder().encode


def render(show: Show, view: View) -> Document:
    """The page that a Show names. Raises Absent for a project that nobody knows."""
    match show.page:
        case "root.json":
            return Document(_encode(_Root(_Meta(), [_Named(display) for _, display in _projects(view)])))
        case "root.html":
            return Document(_root_html(view))
    package = view.package(show.package)
    if package is None:
        raise Absent("There is no such project.")
    facts = project_facts(package.facts)
    files = [] if facts.status == QUARANTINED else list(_entries(show.package, view.files(show.package)))
    if show.page == "project.html":
        return Document(_project_html(show.package, facts, files))
    versions = [one.name for one in view.versions(show.package)]
    status = _Status(facts.status, facts.reason)
    return Document(_encode(_Project(_Meta(), show.package, versions, files, status)))


def _projects(view: View) -> Iterator[tuple[str, str]]:
    """(normalised name, name as spelt) of every project."""
    for package in view.packages():
        yield package.name, project_facts(package.facts).display or package.name


def _entries(package: str, files: list[File]) -> Iterator[Entry]:
    beside = {file.name for file in files if is_sibling(file.name)}
    for file in files:
        if file.name not in beside:
            yield _entry(package, file, beside)


def _entry(package: str, file: File, beside: set[str]) -> Entry:
    facts = file_facts(file.facts)
    entry = Entry(file.name, f"../../files/{package}/{quote(file.name)}", _hashes(file))
    if facts.requires_python:
        entry.requires_python = facts.requires_python
    if file.size >= 0:
        entry.size = file.size
    if file.at_ms:
        entry.upload_time = _instant(file.at_ms)
    if facts.yanked is not None:
        entry.yanked = facts.yanked or True
    if facts.metadata and f"{file.name}.metadata" in beside:
        entry.core_metadata = entry.dist_info_metadata = {"sha256": facts.metadata}
    if facts.provenance and f"{file.name}.provenance" in beside:
        entry.provenance = f"../../integrity/{package}/{quote(file.version)}/{quote(file.name)}/provenance"
    elif facts.provenance_url:
        entry.provenance = facts.provenance_url
    return entry


def _hashes(file: File) -> dict[str, str]:
    """sha256 where it is known, else what a foreign registry announced, under the names that hashlib has."""
    if file.sha256:
        return {"sha256": file.sha256.hex()}
    if "sha256" in file.digests:
        return {"sha256": file.digests["sha256"]}
    return {name: value for name, value in file.digests.items() if name != "blake2b_256"}


def _instant(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# ---------------------------------------------------------------- HTML


def _html(title: str, lines: Iterator[str], meta: str = "") -> bytes:
    head = f'<meta name="pypi:repository-version" content="{API_VERSION}">{meta}<title>{escape(title)}</title>'
    top = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{head}</head>\n<body>\n'
    return f"{top}<h1>{escape(title)}</h1>\n{''.join(lines)}</body></html>\n".encode()


def _root_html(view: View) -> bytes:
    lines = (f'<a href="{name}/">{escape(display)}</a><br>\n' for name, display in _projects(view))
    return _html("Projects", lines)


def _project_html(package: str, facts: ProjectFacts, files: list[Entry]) -> bytes:
    meta = ""
    if facts.status != ACTIVE:
        meta += f'<meta name="pypi:project-status" content="{escape(facts.status)}">'
    if facts.reason:
        meta += f'<meta name="pypi:project-status-reason" content="{escape(facts.reason)}">'
    return _html(f"Links for {facts.display or package}", (_anchor(one) for one in files), meta)


def _anchor(entry: Entry) -> str:
    algorithm, digest = next(iter(entry.hashes.items()), ("", ""))
    attributes = {"href": f"{entry.url}#{algorithm}={digest}" if digest else entry.url}
    if isinstance(entry.requires_python, str):
        attributes["data-requires-python"] = entry.requires_python
    if isinstance(entry.core_metadata, dict):
        told = f"sha256={entry.core_metadata['sha256']}"
        attributes["data-core-metadata"] = attributes["data-dist-info-metadata"] = told
    if entry.yanked is not False:
        attributes["data-yanked"] = "" if entry.yanked is True else entry.yanked
    if isinstance(entry.provenance, str):
        attributes["data-provenance"] = entry.provenance
    said = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f"<a {said}>{escape(entry.filename)}</a><br>\n"
