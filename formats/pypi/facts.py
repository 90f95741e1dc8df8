"""What is remembered of projects and files, beside what every format has?"""

from functools import lru_cache

import msgspec

FORMAT = "pypi"

METADATA = ".metadata"
PROVENANCE = ".provenance"
"""Siblings: FILE.metadata (PEP 658) and FILE.provenance (PEP 740) lie beside FILE in its package, and on no page."""

PROVENANCE_MEDIA = "application/vnd.pypi.integrity.v1+json"

ACTIVE, ARCHIVED, DEPRECATED, QUARANTINED = "active", "archived", "deprecated", "quarantined"
STATUSES = (ACTIVE, ARCHIVED, DEPRECATED, QUARANTINED)


class FileFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a wheel or sdist. `yanked` None = it is not; "" = without a reason. `metadata` is the sibling's sha256 (hex).

    `provenance`: there is a sibling. `provenance_url`: a foreign file's, which stays where it is. `requires` is a line
    for each project that it needs: its name as normalised, and the versions that are named with it.
    """

    requires_python: str = ""
    yanked: str | None = None
    metadata: str = ""
    provenance: bool = False
    provenance_url: str = ""
    license: str = ""
    requires: str = ""


class ProjectFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a project: its name as its maker spells it, its PEP 792 status, and which files were removed from it.

    `removed` maps the identity of a distribution (names.Distribution) to its sha256: a file name written in another way
    is still the same file.
    """

    display: str = ""
    status: str = ACTIVE
    reason: str = ""
    removed: dict[str, bytes] = {}


_file = msgspec.msgpack.Decoder(FileFacts)
_project = msgspec.msgpack.Decoder(ProjectFacts)
_encode = msgspec.msgpack.Encoder().encode
_PLAIN = FileFacts()


def packed(facts: FileFacts | ProjectFacts) -> bytes:
    """Facts as they are stored."""
    return _encode(facts)


@lru_cache(4096)
def file_facts(raw: bytes) -> FileFacts:
    """The facts of a File."""
    return _file.decode(raw) if raw else _PLAIN


def project_facts(raw: bytes) -> ProjectFacts:
    """The facts of a Package."""
    return _project.decode(raw) if raw else ProjectFacts()


def is_sibling(name: str) -> bool:
    """Does this File belong to another one, and not on a page?"""
    return name.endswith((METADATA, PROVENANCE))
