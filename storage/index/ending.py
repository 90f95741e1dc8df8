"""What goes when a Workspace is deleted, and what stays of it?

Part of the fold, and one entry of the SYSTEM journal: whoever has applied it knows nothing of what the Workspace held,
and nobody ever sees half of it gone, though its rows go in steps (storage.index.leaving). With it go the Accounts that
belong to it, the Tokens that reach nothing else, and host names. Its own journal stays as it was written, with its
head, and nothing is ever added to it. Its webhooks stay until they have told of the end (gateway.webhooks.delivering);
those of its Repositories go with these.

Its row stays as well and says that it is over, so that no other gets its name. Entries of a history that is over change
nothing: an edge may be told of the end before it is told the rest.
"""

from collections.abc import Iterator

import msgspec

from storage.errors import Absent, Conflict
from storage.index import leaving
from storage.index.keys import below, join, label_access, unseal
from storage.index.references import References
from storage.index.tables import Table, Tables, Txn, rows_below
from storage.nouns import (
    SYSTEM,
    Account,
    Draft,
    DropHost,
    Host,
    PutAccount,
    PutRepository,
    PutToken,
    PutWorkspace,
    Token,
    Workspace,
)

_WORKSPACE = msgspec.msgpack.Decoder(Workspace)
_ACCOUNT = msgspec.msgpack.Decoder(Account)
_TOKEN = msgspec.msgpack.Decoder(Token)
_HOST = msgspec.msgpack.Decoder(Host)
BELONGING = ("service", "managed")
"""The kinds of Accounts that belong to a Workspace."""
EDGE = "edge"
RETRY_SECONDS = 5

Following = PutAccount | PutToken | DropHost


def ended(txn: Txn, tables: Tables, name: str) -> Workspace | None:
    """The Workspace of this name, if it was deleted."""
    value = txn.get(join(name), db=tables.workspaces) if name and name != SYSTEM else None
    found = None if value is None else _WORKSPACE.decode(unseal(value, "workspaces"))
    return found if found is not None and found.closed_ms else None


def check(txn: Txn, tables: Tables, draft: Draft) -> None:
    """Raises Absent for a change to what is over, Conflict for a name that is not given again."""
    if ended(txn, tables, draft.workspace) is not None:
        raise Absent("There is no such workspace, or this token may not know of it.")
    for change in draft.changes:
        if isinstance(change, PutWorkspace) and ended(txn, tables, change.workspace.name) is not None:
            raise taken_for_good()
        if isinstance(change, PutRepository):
            name = change.repository.name
            if (left := leaving.find(txn, tables, draft.workspace, name)) is not None:
                raise _still_leaving(name, left)
    if draft.repository and leaving.find(txn, tables, draft.workspace, draft.repository) is not None:
        raise Absent("There is no such repository, or this token may not know of it.")


def _still_leaving(name: str, left: leaving.Leaving) -> Conflict:
    far = f"{100 * left.files_gone // max(left.files, 1)} % of {left.files:,} files" if left.files else "it"
    return Conflict(
        f"There was a repository called {name}, which was deleted and is still being cleared away ({far} is done).",
        "Try again in a moment, or use another name.",
        retry_after_s=RETRY_SECONDS,
    )


def taken_for_good() -> Conflict:
    return Conflict(
        "There was a workspace of this name, and it was deleted: the name is never given again.", "Use another name."
    )


def following(txn: Txn, tables: Tables, name: str, at_ms: int) -> Iterator[Following]:
    """What ends outside of a Workspace when that ends at `at_ms`, as the changes that would do it one by one."""
    for kind in BELONGING:
        for _, id in rows_below(txn, tables.names, "names", below(kind, name)):
            value = txn.get(id, db=tables.accounts)
            if value is not None:
                account = _ACCOUNT.decode(unseal(value, "accounts"))
                yield PutAccount(msgspec.structs.replace(account, closed_ms=at_ms))
    spelt = name.encode()
    for _, payload in rows_below(txn, tables.tokens, "tokens", b""):
        if spelt not in payload:  # most are of others, and need not be read for it
            continue
        token = _TOKEN.decode(payload)
        if not token.revoked_ms and token.kind != EDGE and _only_within(token, name):
            yield PutToken(msgspec.structs.replace(token, revoked_ms=at_ms))
    for _, payload in rows_below(txn, tables.hosts, "hosts", b""):
        host = _HOST.decode(payload)
        if host.scope.partition("/")[0] == name:
            yield DropHost(host.name, host.scope)


def _only_within(token: Token, name: str) -> bool:
    """Does all that it allows lie in this Workspace? A token without grants can do what its Account can."""
    scopes = [one.scope for one in token.grants if not one.deny]
    return bool(scopes) and all(one.partition("/")[0] == name for one in scopes)


def clear(txn: Txn, tables: Tables, references: References, name: str, at: tuple[int, int], *, forgotten: bool) -> None:
    """Its Repositories go, and each label that any verdict or answer rests on: nothing that was remembered holds. The
    rows below them are leaving from then on. `at`: when (ms) and by which Serial. `forgotten`: also its own webhooks.
    """
    prefix, t = below(name), tables
    for table in (t.repositories, t.outlines):
        _drop(txn, table, prefix)
    own = below(name, "")  # they are of no Repository
    for key in [key for key, _ in rows_below(txn, t.webhooks, "webhooks", prefix)]:
        if forgotten or not key.startswith(own):
            txn.delete(key, db=t.webhooks)
    for kind in (b"r\0", b"f\0"):
        _drop(txn, t.labels, kind + prefix)
    txn.delete(join(name), db=t.outlines)
    txn.delete(label_access(name), db=t.labels)
    leaving.begin(txn, t, references, name, "", at, forgotten=forgotten)


def forget(txn: Txn, tables: Tables, references: References, name: str) -> None:
    """All that is here of a Workspace goes, where its history lies and its head too."""
    clear(txn, tables, references, name, (1, 0), forgotten=True)
    _drop(txn, tables.places, below(name))
    txn.delete(name.encode(), db=tables.heads)


def _drop(txn: Txn, table: Table, prefix: bytes) -> None:
    """However many there are, none is held in memory."""
    with txn.cursor(db=table) as cursor:
        going = cursor.set_range(prefix)
        while going and cursor.key().startswith(prefix):
            going = cursor.delete()
