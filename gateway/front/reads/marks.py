"""Under which keys and labels is what was read remembered?"""

from cache.foreign.files import Record
from cache.foreign.knowledge import purged
from formats.kit.contract import Ask, Room, Serve, Show
from storage.index import keys

PULLED = "pulled"
"""Shelf records of foreign files that are here: place → sha256."""


PURGED = "purged"
"""Shelf records of files whose bytes were forgotten for a purge: Serial (8), sha256 → done."""


def pulled_key(ask: Ask, room: Room, plan: Serve, since: int) -> bytes:
    """The shelf key of a foreign file; none that was pulled before a purge is found after it."""
    return "\0".join((ask.workspace, ask.repository, room.name, plan.package, plan.file, *purged(since))).encode()


def document_key(ask: Ask, room: Room, plan: Show) -> bytes:
    """The shelf key of a document; its base is part of it where it carries addresses."""
    base = ask.base if plan.absolute else ""
    parts = (ask.workspace, ask.repository, room.name, plan.page, plan.package, plan.argument, plan.media, base)
    return "\0".join(parts).encode()


def document_labels(ask: Ask, room: Room, plan: Show) -> tuple[bytes, ...]:
    """The labels that a document of this plan depends on."""
    always = keys.label_history(), keys.label_repository(ask.workspace, ask.repository)
    if plan.package:
        return (*always, keys.label_package(ask.workspace, ask.repository, room.name, plan.package))
    return (*always, keys.label_format(ask.workspace, ask.repository, room.name))


def known_digest(record: Record, algorithm: str) -> str:
    """The digest of a kept file as hex, "" where it was not computed."""
    return record.sha256.hex() if algorithm == "sha256" else record.digests.get(algorithm, "")
