"""Which entries could an edge not take in, and what may it still serve without them?

What an origin has journaled reaches every edge at once, so an entry that one of them cannot read, or that makes the
fold raise, would take all of them down together (THREATS F10). Such an entry is passed over, whole, and noted as a
Hole: the next ones are taken in, so that no revocation waits behind it. If the entry may have taken something away, the
Hole closes the Workspace (or, by CLOSES_ALL, every one): its private packages are then served for as long as a lease
lasts, as if the origin were away, and no longer. A token, account or edge that could not be changed is taken away
instead, which closes nothing else. A Hole ends when later entries say anew all that the lost one said, and when the
code that takes entries in is another one: then all is learned anew.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from traceback import extract_tb

import lmdb
import msgspec

from storage.entries import NotUnderstood
from storage.errors import Damaged
from storage.hooks import DropWebhook, PutWebhook
from storage.index.keys import join, label_account, label_edge, label_token, seal, unseal
from storage.index.tables import Table, Tables, Txn
from storage.notices import PutNotice
from storage.nouns import (
    SYSTEM,
    AnyChange,
    DropBinding,
    DropBinned,
    DropFile,
    DropHost,
    DropProvider,
    DropQuarantine,
    DropRole,
    DropTag,
    DropTeammate,
    DropWorkspace,
    Entry,
    Noun,
    PutAccount,
    PutBinding,
    PutBinned,
    PutEdge,
    PutFile,
    PutHost,
    PutMembership,
    PutPackage,
    PutProvider,
    PutQuarantine,
    PutRepository,
    PutRole,
    PutTag,
    PutTeam,
    PutTeammate,
    PutToken,
    PutVersion,
    PutWorkspace,
    Repository,
    Workspace,
)

HOLES_MAX = 100
"""With one more it is not an entry that is wrong: then all is closed, until it is learned anew."""
CLOSES_ALL = "*"
_NOUNS = tuple(
    Path(__file__).parent.parent / name for name in ("nouns.py", "contents.py", "hooks.py", "notices.py", "spaces.py")
)
_ROW = b"holes"
_UNKNOWN = b"?"
_U64_BYTES = 8


class Hole(Noun, frozen=True):
    """An entry that was passed over. `why` names the error and its place in the code; `about` is what the entry said
    something of and no later one has said anew, `closes` the Workspaces of which nothing private may be told because of
    it. `build` is that of the code that could not take it in."""

    workspace: str
    serial: int
    repository: str
    action: str
    at_ms: int
    why: str
    about: tuple[bytes, ...]
    closes: tuple[str, ...]
    build: str


_HOLES = msgspec.msgpack.Decoder(tuple[Hole, ...])
_REPOSITORY = msgspec.msgpack.Decoder(Repository)
_WORKSPACE = msgspec.msgpack.Decoder(Workspace)


@cache
def build() -> str:
    """Another for each change of the code that takes entries in."""
    whole = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *_NOUNS):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def is_of_the_entry(error: Exception) -> bool:
    """Is it the entry that is wrong, rather than the disk, the memory, or the rows that are here?"""
    if isinstance(error, lmdb.Error):
        return isinstance(error, lmdb.BadValsizeError)
    return not isinstance(error, Damaged | OSError | MemoryError)


def why(error: Exception) -> str:
    """The error and its place in the code, and nothing of what the entry says."""
    frames = extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{at}"


# ---------------------------------------------------------------- the row


def holes(txn: Txn, tables: Tables) -> tuple[Hole, ...]:
    value = txn.get(_ROW, db=tables.state)
    return () if value is None else _HOLES.decode(unseal(value, "state"))


def write(txn: Txn, tables: Tables, found: Sequence[Hole]) -> None:
    if found:
        txn.put(_ROW, seal(msgspec.msgpack.encode(tuple(found))), db=tables.state)
    else:
        txn.delete(_ROW, db=tables.state)


def note(
    txn: Txn, tables: Tables, entry: Entry, error: Exception, *, readable: bool = True, replaced: bool = False
) -> Hole:
    """An entry is passed over. Where it cannot be read, only its head is known and nothing of some or all of its
    changes, unless they say what they bear on (storage.entries). `replaced`: what it says is not here in an older form
    either, which closes all that it would have narrowed."""
    known = holes(txn, tables)
    everything = CLOSES_ALL if entry.workspace == SYSTEM else entry.workspace
    closing = {name for change in entry.changes for name in _closed_by(txn, tables, entry, change)}
    closing |= set() if readable else _borne_on(error) or {everything}
    if replaced:
        closing = {change.workspace.name for change in entry.changes if isinstance(change, PutWorkspace)}
    closing |= {CLOSES_ALL} if len(known) >= HOLES_MAX - 1 else set()
    about = {thing(entry.workspace, entry.repository, change) for change in entry.changes}
    made = Hole(
        entry.workspace,
        entry.serial,
        entry.repository,
        entry.action,
        entry.at_ms,
        why(error) if not isinstance(error, NotUnderstood) else str(error),
        tuple(sorted(about)) if readable else (_UNKNOWN,),
        tuple(sorted(closing)),
        build(),
    )
    write(txn, tables, (*known[: HOLES_MAX - 1], made))
    return made


def _borne_on(error: Exception) -> frozenset[str]:
    """The Workspaces that a change of unknown kind says it is about; none where it may be about all."""
    return error.bears_on or frozenset() if isinstance(error, NotUnderstood) else frozenset()


def _closed_by(txn: Txn, tables: Tables, entry: Entry, change: AnyChange) -> tuple[str, ...]:
    """The Workspaces that are closed since this change is missing here."""
    try:
        if _withdrawn(txn, tables, change, entry.serial) or not _may_take_away(txn, tables, entry, change):
            return ()
    except Exception as error:  # whatever it is that the fold could not bear
        if not is_of_the_entry(error):
            raise
    if isinstance(change, PutWorkspace):
        return (change.workspace.name,)
    if isinstance(change, DropWorkspace):
        return (change.name,)
    return (CLOSES_ALL if entry.workspace == SYSTEM else entry.workspace,)


def mend(txn: Txn, tables: Tables, known: Sequence[Hole], entry: Entry) -> tuple[Hole, ...]:
    """What is left of the Holes once this entry is taken in."""
    said = {thing(entry.workspace, entry.repository, change) for change in entry.changes}
    left = []
    for hole in known:
        about = tuple(one for one in hole.about if one not in said)
        if about:
            left.append(hole if about == hole.about else msgspec.structs.replace(hole, about=about))
    if left != list(known):
        write(txn, tables, left)
    return tuple(left)


def closed(found: Iterable[Hole]) -> frozenset[str]:
    """The Workspaces that are closed by these."""
    return frozenset(name for hole in found for name in hole.closes)


# ---------------------------------------------------------------- what a change is about


def thing(workspace: str, repository: str, change: AnyChange) -> bytes:
    """What a change says all there is to say of. Two that are equal: the later one holds, whatever the first was.

    Dropping what holds other things says more than putting it, and is made up for by dropping it again alone.
    """
    return "\0".join((workspace, repository, *_named(change))).encode(errors="surrogatepass")


def _named(change: AnyChange) -> tuple[str, ...]:
    match change:
        case PutWorkspace(made) | PutEdge(made) | PutHost(made):
            return type(change).__name__, made.name
        case DropHost(name):
            return "PutHost", name
        case PutToken(made) | PutAccount(made):
            return type(change).__name__, made.id
        case PutRepository(made) | PutTeam(made) | PutRole(made):
            return type(change).__name__, made.name
        case DropRole(name):
            return "PutRole", name
        case PutMembership(made):
            return "PutMembership", made.account
        case PutTeammate(made):
            return "PutTeammate", made.team, made.account
        case DropTeammate(team, account):
            return "PutTeammate", team, account
        case PutBinding(made):
            return "PutBinding", made.subject, made.id
        case DropBinding(subject, id):
            return "PutBinding", subject, id
        case PutProvider(made):
            return "PutProvider", made.id
        case DropProvider(id):
            return "PutProvider", id
        case PutWebhook(made):
            return "PutWebhook", made.repository, made.id
        case DropWebhook(where, id):
            return "PutWebhook", where, id
        case PutNotice(told):
            return "PutNotice", told.kind, told.cause
        case PutBinned(made):
            return "PutBinned", made.id
        case DropBinned(id):
            return "PutBinned", id
        case PutQuarantine(made):
            return "PutQuarantine", made.format, made.package, made.version
        case DropQuarantine(format, package, version):
            return "PutQuarantine", format, package, version
    return _named_in_a_package(change)


def _named_in_a_package(change: AnyChange) -> tuple[str, ...]:
    match change:
        case PutPackage(format, made):
            return "PutPackage", format, made.name
        case PutVersion(format, package, made) | PutFile(format, package, made):
            return type(change).__name__, format, package, made.name
        case PutTag(format, package, tag) | DropTag(format, package, tag):
            return "PutTag", format, package, tag
        case DropFile(format, package, name):
            return "PutFile", format, package, name
    return type(change).__name__, *(str(one) for one in msgspec.structs.astuple(change))


# ---------------------------------------------------------------- what may be served without it

_GIVING = (
    PutPackage, PutVersion, PutFile, PutTag, DropTag, PutTeam, PutHost, DropHost, PutWebhook, DropWebhook, PutBinned,
    DropBinned, DropQuarantine, PutNotice,
)  # fmt: skip


def _may_take_away(txn: Txn, tables: Tables, entry: Entry, change: AnyChange) -> bool:
    """Could somebody have less than before by this change? Without it he would go on having it here."""
    ws = entry.workspace
    match change:
        case PutRepository(made):
            before = txn.get(join(ws, made.name), db=tables.repositories)
            if before is None:
                return False
            old = _REPOSITORY.decode(unseal(before, "repositories"))
            return (old.public, old.networks, old.lease_s, old.at_ms) != (
                made.public,
                made.networks,
                made.lease_s,
                made.at_ms,
            )
        case PutWorkspace(made):
            before = txn.get(join(made.name), db=tables.workspaces)
            return before is not None and _WORKSPACE.decode(unseal(before, "workspaces")).networks != made.networks
        case PutMembership(made):
            return _is_there(txn, tables.memberships, ws, made.account)
        case PutTeammate(made):
            return _is_there(txn, tables.teammates, ws, made.account, made.team)
        case PutRole(made):
            return _is_there(txn, tables.roles, ws, made.name)
        case PutBinding(made):
            return made.grant.deny or _is_there(txn, tables.bindings, ws, made.subject, made.id)
        case PutProvider(made):
            return _is_there(txn, tables.providers, ws, made.id)
    return not isinstance(change, _GIVING)


def _is_there(txn: Txn, table: Table, *names: str) -> bool:
    return txn.get(join(*names), db=table) is not None


def _withdrawn(txn: Txn, tables: Tables, change: AnyChange, serial: int) -> bool:
    """A token, account or edge whose change was lost: nothing may be done by it until it is told anew."""
    match change:
        case PutToken(made):
            table, name, label = tables.tokens, made.id, label_token(made.id)
        case PutAccount(made):
            table, name, label = tables.accounts, made.id, label_account(made.id)
        case PutEdge(made):
            table, name, label = tables.edges, made.name, label_edge(made.name)
        case _:
            return False
    txn.delete(join(name), db=table)
    txn.put(label, seal(serial.to_bytes(_U64_BYTES, "little")), db=tables.labels)
    return True
