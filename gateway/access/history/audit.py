"""How is an entry of the journal told to people, and how does a part of the history leave, so that it proves itself?

An export is JSON Lines: what it is, an entry a line, and the origin's signed head of the last one. The entry's own
bytes stand in each line, beside what they say; whoever reads it can make every other byte of the export anew from them,
so a bit that was changed anywhere shows.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from gateway.access.history.heads import SignedHead, read_head, verified
from storage import entries
from storage.digest import sha256
from storage.errors import Damaged, Problem
from storage.hooks import DropWebhook
from storage.index.history import Head
from storage.index.index import NO_HASH
from storage.nouns import (
    AnyChange,
    DropBinding,
    DropBinned,
    DropFile,
    DropHost,
    DropMembership,
    DropPackage,
    DropProvider,
    DropQuarantine,
    DropRepository,
    DropRole,
    DropTag,
    DropTeam,
    DropTeammate,
    DropVersion,
    DropWorkspace,
    Entry,
    Noun,
)
from storage.spans import marked
from storage.upkeep.chain import Checked, check_bodies

KIND = "audit export 1"
_HELD = ("package", "version", "file", "tag", "quarantine", "binned", "webhook", "notice")
"""What goes with a Repository."""
LOOK_ENTRIES_MAX = 100_000
"""How far back the state before an entry is looked for."""
_SECRET = ("code", "key", "link", "verify_key")
_DROPS = (
    DropPackage, DropVersion, DropFile, DropTag, DropRepository, DropHost, DropQuarantine, DropMembership, DropTeam,
    DropTeammate, DropRole, DropBinding, DropProvider, DropBinned, DropWebhook,
    DropWorkspace,
)  # fmt: skip

Shown = dict[str, object]


# ---------------------------------------------------------------- told


def shown(entry: Entry, hash: bytes) -> Shown:
    """An entry with what it changed; `hash` is that of its bytes."""
    return {
        "workspace": entry.workspace,
        "serial": entry.serial,
        "at_ms": entry.at_ms,
        "actor": {"id": entry.actor, "name": entry.actor_name},
        "action": entry.action,
        "repository": entry.repository,
        "reason": entry.reason,
        "trace": trace_of(entry),
        "hash": hash.hex(),
        "changes": [
            {"change": type(one).__name__, "subject": list(subject(one, entry.repository)), **_fields(one)}
            for one in entry.changes
        ],
    }


def trace_of(entry: Entry) -> str:
    """The id of the trace that it was done in, 32 hex digits; "" where it was not traced."""
    found = marked(entry.trace)
    return "" if found is None else found[0]


def _fields(noun: Noun) -> Shown:
    """The members of a noun in JSON's words. What only checks a secret is left out."""
    told: Shown = {}
    for name in noun.__struct_fields__:
        value = getattr(noun, name)
        if isinstance(value, bytes) and (name in _SECRET or (name == "sha256" and hasattr(noun, "grants"))):
            continue
        told[name] = _plain(value, name)
    return told


def _plain(value: object, name: str) -> object:
    match value:
        case Noun():
            return _fields(value)
        case bytes() if name == "sha256":
            return value.hex()
        case bytes():
            return {"bytes": len(value), "sha256": sha256(value).hex()} if value else None
        case tuple():
            return [_plain(one, name) for one in value]
    return value


# ---------------------------------------------------------------- before and after


def compared(entry: Entry, earlier: Iterable[Entry]) -> list[Shown]:
    """Each change with what stood in its place `before`, and what stands `after`; null for nothing. `earlier` are the
    entries of the same journal before it, the latest first. `before` is missing where it was not found in
    bounds."""
    repository = entry.repository
    subjects = [subject(one, repository) for one in entry.changes]
    found: dict[tuple[str, ...], object] = {}
    wanted = set(subjects)
    ended = True
    for number, older in enumerate(earlier):
        if not wanted:
            break
        if number >= LOOK_ENTRIES_MAX:
            ended = False
            break
        for change in reversed(older.changes):
            for one in [one for one in wanted if _decides(change, older.repository, one)]:
                found[one] = None if isinstance(change, _DROPS) else _fields(change)
                wanted.discard(one)
    told = []
    for change, about in zip(entry.changes, subjects, strict=True):
        line: Shown = {"change": type(change).__name__, "subject": list(about)}
        if about in found or ended:
            line["before"] = found.get(about)
        line["after"] = None if isinstance(change, _DROPS) else _fields(change)
        told.append(line)
    return told


def subject(change: AnyChange, repository: str) -> tuple[str, ...]:
    """What a change is about: its kind without the verb, and its names."""
    kind = type(change).__name__.removeprefix("Put").removeprefix("Drop").lower()
    names: list[str] = [kind, repository]
    for field in change.__struct_fields__:
        value = getattr(change, field)
        if isinstance(value, Noun):
            names += [str(getattr(value, one)) for one in _NAMED_BY.get(type(value).__name__, ("name",))]
        elif isinstance(value, str) and not (isinstance(change, DropHost) and field == "scope"):
            names.append(value)
    if kind == "tag" and not isinstance(change, DropTag):
        names.pop()  # what it points to is no part of its name
    if kind == "repository":
        names = [kind, names[-1]]
    return tuple(names)


_NAMED_BY: dict[str, tuple[str, ...]] = {
    "Token": ("id",),
    "Account": ("id",),
    "Provider": ("id",),
    "Webhook": ("repository", "id"),
    "Membership": ("account",),
    "Teammate": ("team", "account"),
    "Binding": ("subject", "id"),
    "Quarantine": ("format", "package", "version"),
    "Repository": ("name",),
    "Binned": ("id",),
    "Notice": ("kind", "cause"),
}


def _decides(change: AnyChange, repository: str, about: tuple[str, ...]) -> bool:
    """Does `change` say in what state `about` was behind it?"""
    mine = subject(change, repository)
    if mine == about:
        return True
    match change:
        case DropRepository():
            return about[0] in _HELD and about[1] == change.name
        case DropPackage():
            return about[0] in ("version", "file", "tag") and about[1:4] == mine[1:4]
        case DropMembership():
            return about[0] in ("teammate", "binding") and change.account in about[2:]
        case DropTeam():
            return (about[0] == "teammate" and about[2] == change.name) or (
                about[0] == "binding" and about[2] == f"team:{change.name}"
            )
    return False


# ---------------------------------------------------------------- an export


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: of which origin and Workspace, and the entry that it begins behind."""

    entrepot: str
    store: str
    workspace: str
    epoch: int
    serial: int
    hash: str
    key: str


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry: what it says, its hash, and its own bytes (msgpack) in base64."""

    serial: int
    at_ms: int
    actor: str
    actor_name: str
    action: str
    repository: str
    reason: str
    trace: str
    hash: str
    entry: str


def opening(store: str, first: Head, key: str) -> str:
    """The first line of an export that goes on behind the entry `first`."""
    told = Opening(KIND, store, first.workspace, first.epoch, first.serial, first.hash.hex(), key)
    return msgspec.json.encode(told).decode()


def line_of(body: bytes) -> str:
    """The line of one entry."""
    entry = entries.read(body)
    told = Line(
        entry.serial, entry.at_ms, entry.actor, entry.actor_name, entry.action, entry.repository, entry.reason,
        trace_of(entry), sha256(body).hex(), base64.b64encode(body).decode(),
    )  # fmt: skip
    return msgspec.json.encode(told).decode()


def closing(head: SignedHead) -> str:
    """The last line."""
    return msgspec.json.encode(head).decode()


class Proof(NamedTuple):
    """What a verification found: of which Workspace, how much, by whose word, and what is wrong."""

    workspace: str
    key: str
    checked: Checked


def check_export(raw: Iterable[bytes], claims: Iterable[Head] = (), key: str = "") -> Proof:
    """Look at the lines of an export (with their ends); `key` is the public key that must have signed it ("" = the one
    that it names), `claims` are heads from elsewhere. Raises Damaged for what is no export."""
    lines = iter(raw)
    begun = next(lines, b"")
    try:
        first = msgspec.json.decode(begun, type=Opening)
        start = Head(first.epoch, first.workspace, first.serial, bytes.fromhex(first.hash))
    except (msgspec.MsgspecError, ValueError):
        raise Damaged("This is no export of an audit, or its first line was changed.") from None
    same = begun == opening(first.store, start, first.key).encode() + b"\n" and first.entrepot == KIND
    reader = _Reader(lines)
    mine = [one for one in claims if one.workspace == start.workspace and one.serial > start.serial]
    checked = check_bodies(reader, start, mine)
    checked.problems += reader.problems
    if not same or (start.serial == 0 and start.hash != NO_HASH):
        checked.say("The first line was changed.")
    _check_closing(reader.closing, checked, first, key or first.key)
    return Proof(first.workspace, first.key, checked)


class _Reader:
    """The bodies of the entries, then the last line in `closing`. Iterated once."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.closing: SignedHead | None = None
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        for number, raw in enumerate(self._lines, start=2):
            if self.closing is not None:
                self.problems.append("There is more behind the signed head.")
                return
            body = _body_of(raw)
            if body is not None:
                yield body
                continue
            try:
                self.closing = read_head(raw)
                whole = raw == closing(self.closing).encode() + b"\n"
            except Damaged:
                whole = False
            if not whole:
                self.problems.append(f"Line {number} was changed.")
                return


def _body_of(raw: bytes) -> bytes | None:
    """The entry's bytes, where the line is exactly what they say."""
    try:
        body = base64.b64decode(msgspec.json.decode(raw, type=Line).entry, validate=True)
        return body if raw == line_of(body).encode() + b"\n" else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _check_closing(head: SignedHead | None, checked: Checked, first: Opening, key: str) -> None:
    """The last line must be the origin's word for the last entry."""
    if head is None:
        checked.say("The signed head at its end is missing: it was cut.")
        return
    last = checked.heads[first.workspace]
    try:
        claimed = head.head
    except Problem:
        claimed = Head(0, "", 0, b"")
    place = (first.store, first.epoch, first.workspace, *last)
    if (head.store, claimed.epoch, claimed.workspace, claimed.serial, claimed.hash) != place:
        checked.say("The signed head is not that of the last entry.")
    if head.key != first.key or not verified(head, key):
        checked.say("The signature of the head is not that of the key.")
    elif not checked.problems:
        checked.signed += 1
