"""What does the API answer of what happened?"""

from typing import Any

import msgspec

from gateway.console.shapes.replies import Page, Told


class Actor(Told, frozen=True):
    """Who did it: the id, and what that was called then."""

    id: str
    name: str


class AuditEntry(Told, frozen=True):
    """An entry of the journal. Each of `changes` says what it is, `change`, and what it sets; in one entry alone also
    what stood there `before` and `after`. `trace` is the id of the trace that it was done in, "" for none."""

    workspace: str
    serial: int
    at_ms: int
    actor: Actor
    action: str
    repository: str
    reason: str
    trace: str
    hash: str
    changes: tuple[dict[str, Any], ...]


class SignedHead(Told, frozen=True):
    """The origin's word for an entry. `hash` (sha256), `key` (Ed25519) and `signature` in base64url."""

    store: str
    epoch: int
    workspace: str
    serial: int
    hash: str
    at_ms: int
    key: str
    signature: str


class SignedHeads(Page[SignedHead], frozen=True):
    key: str


class AuditExport(Told, frozen=True):
    """Lines of an export, what stands ahead of them and behind; `next` is the Serial to go on behind."""

    opening: str
    items: tuple[str, ...]
    closing: SignedHead
    next: int | None


class Traffic(msgspec.Struct, frozen=True):
    """What clients were served, beside what it was counted by."""

    requests: int
    bytes: int


class Missing(Told, frozen=True):
    """What is known of lines of the log that no count holds: how many times some were lost, how many as far as that is
    known, and from when to when. All 0 where none was."""

    gaps: int
    lines: int
    since_ms: int
    until_ms: int


class Counted(Page[Traffic], frozen=True):
    """`missing` are lines of anybody that were lost in that time."""

    missing: Missing


class LogLine(Told, frozen=True):
    """A request. The `principal` is an id, or edge:NAME for what that edge fetched for its clients. `seconds` is null
    where it was answered from memory. One whose outcome is LOST is none: between `lost_since_ms` and `time_ms` its node
    lost so many lines (`lost`; null = nobody knows how many), of whomever."""

    time_ms: int
    node: str
    peer: str
    country: str
    method: str
    status: int
    bytes: int
    outcome: str
    principal: str
    workspace: str
    repository: str
    format: str
    package: str
    version: str
    file: str
    tag: str
    client: str
    seconds: float | None
    lost: int | None
    lost_since_ms: int | None
    principal_name: str = ""
    """What the token or session is called now, and whose it is; "" where that is not known any more."""
