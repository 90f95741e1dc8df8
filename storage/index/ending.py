"""What goes when a Workspace is deleted, and what stays of it?

Part of the fold, and one entry of the SYSTEM journal: whoever has applied it knows nothing of what the Workspace held,
and nobody ever sees half of it gone. With it go the Accounts that belong to it, the Tokens that reach nothing else, and
host names. Its own journal stays as it was written, with its head, and nothing is ever added to it. Its webhooks stay
until they have told of the end (gateway.webhooks.delivering); those of its Repositories go with these.

Its row stays as well and says that it is over, so that no other gets its name. Entries of a history that is over change
nothing: an edge may be told of the end before it is told the rest.
"""

from collections.abc import Iterator

import msgspec

from storage.errors import Absent, Conflict
from storage.index import bins
from storage.index.keys import below, join, label_access, split, unseal
from storage.index.references import References
from storage.index.tables import Table, Tables, Txn, rows_below
from storage.nouns import (
    SYSTEM,
    Account,
    Draft,
    DropHost,
    File,
    Host,
    PutAccount,
    PutToken,
    PutWorkspace,
    Token,
    Workspace,
)

_WORKSPACE = msgspec.msgpack.Decoder(Workspace)
_ACCOUNT = msgspec.msgpack.Decoder(Account)
_TOKEN = msgspec.msgpack.Decoder(Token)
_HOST = msgspec.msgpack.Decoder(Host)
_FILE = msgspec.msgpack.Decoder(File)
BELONGING = ("service", "managed")
"""The kinds of Accounts that belong to a Workspace."""
EDGE = "edge"

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


def clear(txn: Txn, tables: Tables, references: References, name: str, *, hooks: bool) -> None:
    """Drop all rows of what its own journal put, and all labels below it: nothing that was remembered holds. `hooks`:
    also its own webhooks."""
    prefix = below(name)
    for key, payload in rows_below(txn, tables.files, "files", prefix):
        references.went(name, split(key)[1], _FILE.decode(payload))
    bins.clear(txn, tables, references, name)
    t = tables
    for table in (
        t.repositories, t.outlines, t.packages, t.versions, t.files, t.tags, t.gone, t.claims, t.quarantines, t.purges,
        t.touched, t.memberships, t.teams, t.teammates, t.roles, t.bindings, t.providers, t.published, t.mates,
        t.groups, t.notices,
    ):  # fmt: skip
        _drop(txn, table, prefix)
    own = below(name, "")  # they are of no Repository
    for key in [key for key, _ in rows_below(txn, t.webhooks, "webhooks", prefix)]:
        if hooks or not key.startswith(own):
            txn.delete(key, db=t.webhooks)
    for kind in (b"r\0", b"f\0", b"p\0"):
        _drop(txn, t.labels, kind + prefix)
    txn.delete(join(name), db=t.outlines)
    txn.delete(label_access(name), db=t.labels)


def forget(txn: Txn, tables: Tables, references: References, name: str) -> None:
    """Drop all that is here of a Workspace, where its history lies and its head too."""
    clear(txn, tables, references, name, hooks=True)
    _drop(txn, tables.places, below(name))
    txn.delete(name.encode(), db=tables.heads)


def _drop(txn: Txn, table: Table, prefix: bytes) -> None:
    """However many there are, none is held in memory."""
    with txn.cursor(db=table) as cursor:
        going = cursor.set_range(prefix)
        while going and cursor.key().startswith(prefix):
            going = cursor.delete()
