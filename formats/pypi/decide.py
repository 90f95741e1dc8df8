"""What does an upload or amendment change, given what is there?

A file name never gets other bytes: not by a second upload, not under another spelling, not after it was removed
(THREATS C15). The same bytes again are fine, and change nothing.
"""

from collections.abc import Iterable
from urllib.parse import parse_qs

import msgspec

from formats.kit.contract import Ask, Blob, Decision, Finds, Reply
from formats.pypi import names
from formats.pypi.facts import (
    ARCHIVED,
    FORMAT,
    METADATA,
    PROVENANCE,
    PROVENANCE_MEDIA,
    QUARANTINED,
    FileFacts,
    ProjectFacts,
    file_facts,
    is_sibling,
    packed,
    project_facts,
)
from formats.pypi.unpack import Found, found_in, wish
from storage.errors import Absent, Forbidden, Invalid
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

_REMOVED_MAX = 10_000
_FIELDS_MAX = 32
_DONE = Reply(200, b"OK\n")


def decide(ask: Ask, finds: Finds, view: View) -> Decision:
    """Raises Invalid, Absent, Forbidden; nothing changes then."""
    match finds.context:
        case {"action": "delete", "name": str(name), "file": str(file)}:
            return _delete(name, file, view)
        case {"action": "form"}:
            found = wish(_form(finds.body))
        case _:
            found = found_in(finds)
    match found.action:
        case "publish":
            return _publish(ask, found, finds.blobs, view)
        case "status":
            return _status(found, view)
    return _yank(found, view)


def _form(body: bytes) -> dict[str, list[str]]:
    try:
        text = body.decode("ascii")
        return parse_qs(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise Invalid("The form is malformed.") from None


# ---------------------------------------------------------------- publish


def _publish(ask: Ask, found: Found, blobs: dict[str, Blob], view: View) -> Decision:
    package = view.package(found.name)
    facts = project_facts(package.facts) if package else ProjectFacts(found.display)
    file = blobs["file"]
    check_open(found.name, facts)
    if _is_there(found, facts, file.sha256, view):
        return Decision("pypi.publish", (), _DONE)
    changes: list[AnyChange] = []
    if package is None:
        changes.append(PutPackage(FORMAT, Package(found.name, ask.at_ms, packed(facts))))
    version = _version(found, view)
    if view.version(found.name, version) is None:
        changes.append(PutVersion(FORMAT, found.name, Version(version, ask.at_ms)))
    metadata, provenance = blobs.get("metadata"), blobs.get("provenance")
    said = FileFacts(
        found.requires_python,
        yanked=_yanked(found.name, version, view),
        metadata=metadata.sha256.hex() if metadata else "",
        provenance=provenance is not None,
        license=found.license,
        requires=found.requires,
    )

    def put(name: str, blob: Blob, facts: bytes, media: str) -> PutFile:
        kept = File(name, version, blob.sha256, blob.size, media, ask.at_ms, blob.digests, facts)
        return PutFile(FORMAT, found.name, kept)

    changes.append(put(found.filename, file, packed(said), "application/octet-stream"))
    if metadata:
        changes.append(put(found.filename + METADATA, metadata, b"", "application/octet-stream"))
    if provenance:
        changes.append(put(found.filename + PROVENANCE, provenance, b"", PROVENANCE_MEDIA))
    return Decision("pypi.publish", tuple(changes), _DONE)


def check_open(project: str, facts: ProjectFacts) -> None:
    """Raises Forbidden where the project's status lets no file in."""
    if facts.status in (ARCHIVED, QUARANTINED):
        remedy = (
            f"Set its status to active first: {facts.reason}" if facts.reason else "Set its status to active first."
        )
        raise Forbidden(f"The project {project} is {facts.status} and takes no files.", remedy)


def _is_there(found: Found, facts: ProjectFacts, sha256: bytes, view: View) -> bool:
    """Is this very file there? Raises Invalid where its name, in whatever spelling, belongs to other bytes."""
    # Tools that skip what is there look for "already exists" in a 400: only the truth may be told in these words.
    for file in files_of(found.name, found.version, view):
        if file.name == found.filename:
            if file.sha256 == sha256:
                return True
            raise Invalid(f"File already exists: {file.name}, with other contents.", "Publish a new version.")
        if identity_of(file.name) == found.identity:
            raise Invalid(f"This release has {file.name}, which is the same distribution.", "Publish a new version.")
    gone = view.gone(found.name, found.filename) or facts.removed.get(found.identity)
    if gone is not None and gone != sha256:
        raise Invalid(f"{found.filename} was removed, and had other contents.", "Publish a new version.")
    return False


def identity_of(filename: str) -> str:
    """What is equal for file names of one distribution; "" for what names none."""
    try:
        return names.distribution(filename).identity
    except Invalid:
        return ""


def _version(found: Found, view: View) -> str:
    """The release that the file joins: 1.0.0 joins 1.0 where that is there."""
    if view.version(found.name, found.version) is not None:
        return found.version
    others = (one.name for one in view.versions(found.name) if names.same_version(one.name, found.version))
    return next(others, found.version)


def _yanked(name: str, version: str, view: View) -> str | None:
    """A release that was yanked whole stays so when a file joins it."""
    said = [file_facts(one.facts).yanked for one in files_of(name, version, view)]
    return said[0] if said and all(one is not None for one in said) else None


def files_of(name: str, version: str, view: View) -> list[File]:
    """The distributions of a release that are published here."""
    return [
        one
        for one in view.files(name)
        if not is_sibling(one.name) and one.sha256 and names.same_version(one.version, version)
    ]


# ---------------------------------------------------------------- change and remove


def _yank(found: Found, view: View) -> Decision:
    files = files_of(found.name, found.version, view)
    if found.filename:
        files = [one for one in files if one.name == found.filename]
    if not files:
        raise Absent("There is no such release.")
    yanked = found.reason if found.action == "yank" else None
    changes: list[AnyChange] = []
    for one in files:
        facts = file_facts(one.facts)
        if facts.yanked != yanked:
            kept = msgspec.structs.replace(facts, yanked=yanked)
            changes.append(PutFile(FORMAT, found.name, _with_facts(one, packed(kept))))
    return Decision(f"pypi.{found.action}", tuple(changes), _DONE)


def _with_facts(file: File, facts: bytes) -> File:
    return File(file.name, file.version, file.sha256, file.size, file.media, file.at_ms, file.digests, facts)


def _status(found: Found, view: View) -> Decision:
    package = view.package(found.name)
    if package is None:
        raise Absent("There is no such project.")
    old = project_facts(package.facts)
    new = ProjectFacts(old.display, found.status, found.reason, old.removed)
    if new == old:
        return Decision("pypi.status", (), _DONE)
    return Decision("pypi.status", (_put(package, new),), _DONE)


def _put(package: Package, facts: ProjectFacts) -> PutPackage:
    return PutPackage(FORMAT, Package(package.name, package.at_ms, packed(facts)))


def _delete(name: str, filename: str, view: View) -> Decision:
    """The file goes with its siblings, the release with its last file. The project stays: its name is taken."""
    package, file = view.package(name), view.file(name, filename)
    if package is None or file is None or is_sibling(filename):
        raise Absent("There is no such file.")
    changes: list[AnyChange] = [removed_with(package, [file])]
    for one in (filename, filename + METADATA, filename + PROVENANCE):
        if view.file(name, one) is not None:
            changes.append(DropFile(FORMAT, name, one, forget=one != filename))
    if not [one for one in files_of(name, file.version, view) if one.name != filename]:
        changes.append(DropVersion(FORMAT, name, file.version))
    return Decision("pypi.delete", tuple(changes), Reply(204))


def removed_with(package: Package, files: Iterable[File]) -> PutPackage:
    """The project, remembering that these were removed from it. Raises Forbidden for too many."""
    facts = project_facts(package.facts)
    removed = facts.removed | {(identity_of(one.name) or one.name): one.sha256 for one in files}
    if len(removed) > _REMOVED_MAX:
        raise Forbidden(f"The project {package.name} has had {_REMOVED_MAX} files removed.", "Yank releases instead.")
    return _put(package, ProjectFacts(facts.display, facts.status, facts.reason, removed))
