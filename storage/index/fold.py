"""What does one Entry change in the index?

Pure: the rows after depend on the rows before and the entry, on nothing else, so every index that has applied the
same journal holds the same bytes. What could not be applied is refused before anything is written (checking.py).
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from storage.hooks import DropWebhook, PutWebhook
from storage.index import bins, ending, hooks, leaving, noticed, outlines, published
from storage.index.exchanged import note
from storage.index.keys import (
    below,
    join,
    label_access,
    label_account,
    label_edge,
    label_format,
    label_hosts,
    label_package,
    label_repository,
    label_token,
    label_workspace,
    seal,
    split,
    touched,
    unseal,
)
from storage.index.references import References
from storage.index.tables import Table, Tables, Txn
from storage.notices import PutNotice
from storage.nouns import (
    SYSTEM,
    Account,
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
    Edge,
    Entry,
    File,
    Purge,
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
    Team,
    Token,
    Workspace,
    team_subject,
)

_encode = msgspec.msgpack.Encoder().encode
_FILE = msgspec.msgpack.Decoder(File)
_TOKEN = msgspec.msgpack.Decoder(Token)
_ACCOUNT = msgspec.msgpack.Decoder(Account)
_WORKSPACE = msgspec.msgpack.Decoder(Workspace)
_TEAM = msgspec.msgpack.Decoder(Team)
_EDGE = msgspec.msgpack.Decoder(Edge)
_U64 = struct.Struct("<Q")

Labels = set[bytes]


class Fold:
    """One entry being applied: the transaction, the tables, where the entry stands, and the labels it has touched."""

    __slots__ = ("at_ms", "labels", "references", "repository", "serial", "t", "txn", "workspace")

    def __init__(self, txn: Txn, tables: Tables, entry: Entry) -> None:
        self.txn = txn
        self.t = tables
        self.workspace = entry.workspace
        self.repository = entry.repository
        self.serial = entry.serial
        self.at_ms = entry.at_ms
        self.labels: Labels = set()
        self.references = References(txn, tables)

    def key(self, *parts: str) -> bytes:
        return join(self.workspace, self.repository, *parts)

    def put(self, key: bytes, payload: bytes, table: Table) -> None:
        self.txn.put(key, seal(payload), db=table)

    def touch(self, format: str, package: str) -> None:
        self.labels.add(label_package(self.workspace, self.repository, format, package))
        self.labels.add(label_format(self.workspace, self.repository, format))

    def claim(self, format: str, package: str) -> None:
        key = self.key(format, package)
        if self.txn.get(key, db=self.t.claims) is None:
            self.put(key, _U64.pack(self.serial), self.t.claims)

    def under(self, prefix: bytes, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys begin with `prefix`, collected first: the caller deletes among them."""
        cursor = self.txn.cursor(db=table)
        rows = []
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    break
                rows.append((key, value))
        cursor.close()
        yield from rows

    def clear(self, prefix: bytes, table: Table) -> None:
        for key, _ in self.under(prefix, table):
            self.txn.delete(key, db=table)

    def bury(self, key: bytes, value: bytes) -> None:
        """Take a file away and remember its identity."""
        file = _FILE.decode(unseal(value, "files"))
        self.references.went(self.workspace, self.repository, file)
        self.put(key, file.sha256, self.t.gone)
        self.txn.delete(key, db=self.t.files)


def apply(txn: Txn, tables: Tables, entry: Entry) -> set[bytes]:
    """Fold one entry into the tables, and move the labels of what it touched to its Serial; the blobs that nothing
    names any more because of it."""
    if entry.workspace != SYSTEM and ending.ended(txn, tables, entry.workspace) is not None:
        return set()
    fold = Fold(txn, tables, entry)
    if entry.workspace != SYSTEM:
        leaving.finish(txn, tables, fold.references, entry.workspace, entry.repository)
    for change in entry.changes:
        published.follow(txn, tables, entry, change)
        outlines.follow(txn, tables, entry, change)
        _FOLDS[type(change)](fold, change)
    moved = seal(_U64.pack(entry.serial))
    for label in fold.labels:
        if label.startswith(b"p\0"):
            _move(fold, label)
        txn.put(label, moved, db=tables.labels)
    return fold.references.write()


def _move(fold: Fold, label: bytes) -> None:
    """A Package stands once among the touched, at its last change; dropped ones too, since whoever remembers them
    must learn of it."""
    _, ws, repo, format, package = split(label)
    before = fold.txn.get(label, db=fold.t.labels)
    if before is not None:
        (serial,) = _U64.unpack(unseal(before, "labels"))
        fold.txn.delete(touched(ws, repo, format, serial, package), db=fold.t.touched)
    fold.put(touched(ws, repo, format, fold.serial, package), b"", fold.t.touched)


# ---------------------------------------------------------------- packages


def _put_package(fold: Fold, change: PutPackage) -> None:
    fold.put(fold.key(change.format, change.package.name), _encode(change.package), fold.t.packages)
    fold.claim(change.format, change.package.name)
    fold.touch(change.format, change.package.name)


def _drop_package(fold: Fold, change: DropPackage) -> None:
    prefix = below(fold.workspace, fold.repository, change.format, change.package)
    fold.txn.delete(fold.key(change.format, change.package), db=fold.t.packages)
    fold.clear(prefix, fold.t.versions)
    fold.clear(prefix, fold.t.tags)
    for key, value in fold.under(prefix, fold.t.files):
        fold.bury(key, value)
    fold.touch(change.format, change.package)


def _put_version(fold: Fold, change: PutVersion) -> None:
    fold.put(fold.key(change.format, change.package, change.version.name), _encode(change.version), fold.t.versions)
    fold.touch(change.format, change.package)


def _drop_version(fold: Fold, change: DropVersion) -> None:
    prefix = below(fold.workspace, fold.repository, change.format, change.package)
    fold.txn.delete(fold.key(change.format, change.package, change.version), db=fold.t.versions)
    for key, value in fold.under(prefix, fold.t.files):
        if _FILE.decode(unseal(value, "files")).version == change.version:
            fold.bury(key, value)
    for key, value in fold.under(prefix, fold.t.tags):
        if unseal(value, "tags").decode() == change.version:
            fold.txn.delete(key, db=fold.t.tags)
    fold.touch(change.format, change.package)


def _put_file(fold: Fold, change: PutFile) -> None:
    key = fold.key(change.format, change.package, change.file.name)
    before = fold.txn.get(key, db=fold.t.files)
    if before is not None:
        fold.references.went(fold.workspace, fold.repository, _FILE.decode(unseal(before, "files")))
    fold.references.came(fold.workspace, fold.repository, change.file)
    fold.put(key, _encode(change.file), fold.t.files)
    fold.txn.delete(key, db=fold.t.gone)
    fold.claim(change.format, change.package)
    fold.touch(change.format, change.package)


def _drop_file(fold: Fold, change: DropFile) -> None:
    key = fold.key(change.format, change.package, change.file)
    value = fold.txn.get(key, db=fold.t.files)
    if value is not None:
        fold.bury(key, value)
    if change.forget:
        fold.txn.delete(key, db=fold.t.gone)
    fold.touch(change.format, change.package)


def _put_tag(fold: Fold, change: PutTag) -> None:
    fold.put(fold.key(change.format, change.package, change.tag), change.version.encode(), fold.t.tags)
    fold.touch(change.format, change.package)


def _drop_tag(fold: Fold, change: DropTag) -> None:
    fold.txn.delete(fold.key(change.format, change.package, change.tag), db=fold.t.tags)
    fold.touch(change.format, change.package)


# ---------------------------------------------------------------- what is withheld, and what is to be got anew


def _put_quarantine(fold: Fold, change: PutQuarantine) -> None:
    made = change.quarantine
    fold.put(fold.key(made.format, made.package, made.version), _encode(made), fold.t.quarantines)
    fold.touch(made.format, made.package)


def _drop_quarantine(fold: Fold, change: DropQuarantine) -> None:
    fold.txn.delete(fold.key(change.format, change.package, change.version), db=fold.t.quarantines)
    fold.touch(change.format, change.package)


def _purge(fold: Fold, change: Purge) -> None:
    """What was made from the old copies is made anew: all of it rests on one of these labels."""
    fold.put(fold.key(change.format, change.package), _U64.pack(fold.serial), fold.t.purges)
    if change.package:
        fold.touch(change.format, change.package)
    else:
        fold.labels.add(label_repository(fold.workspace, fold.repository))


def _put_binned(fold: Fold, change: PutBinned) -> None:
    bins.put(fold.txn, fold.t, fold.references, fold.workspace, fold.repository, change.binned)


def _drop_binned(fold: Fold, change: DropBinned) -> None:
    bins.drop(fold.txn, fold.t, fold.references, fold.workspace, fold.repository, change.id)


# ---------------------------------------------------------------- tenancy and access


def _put_workspace(fold: Fold, change: PutWorkspace) -> None:
    fold.put(join(change.workspace.name), _encode(change.workspace), fold.t.workspaces)
    fold.labels.add(label_workspace(change.workspace.name))


def _drop_workspace(fold: Fold, change: DropWorkspace) -> None:
    """No label of its own journal is moved but all go: a Serial of SYSTEM's could be the one that they had."""
    key = join(change.name)
    before = fold.txn.get(key, db=fold.t.workspaces)
    found = Workspace(change.name) if before is None else _WORKSPACE.decode(unseal(before, "workspaces"))
    if found.closed_ms:
        return
    at_ms = max(fold.at_ms, 1)
    for one in list(ending.following(fold.txn, fold.t, change.name, at_ms)):
        _FOLDS[type(one)](fold, one)
    ending.clear(fold.txn, fold.t, fold.references, change.name, (at_ms, fold.serial), forgotten=False)
    over = Workspace(change.name, found.at_ms, closed_ms=at_ms, closed_serial=fold.serial)
    fold.put(key, _encode(over), fold.t.workspaces)
    fold.labels.add(label_workspace(change.name))


def _put_repository(fold: Fold, change: PutRepository) -> None:
    leaving.finish(fold.txn, fold.t, fold.references, fold.workspace, change.repository.name)
    fold.put(join(fold.workspace, change.repository.name), _encode(change.repository), fold.t.repositories)
    fold.labels.add(label_repository(fold.workspace, change.repository.name))


def _drop_repository(fold: Fold, change: DropRepository) -> None:
    """The labels of its formats move with its own, those of its packages as they leave: a new Repository of this name
    must not revive what was remembered of it."""
    prefix, t = below(fold.workspace, change.name), fold.t
    leaving.finish(fold.txn, t, fold.references, fold.workspace, change.name)
    fold.txn.delete(join(fold.workspace, change.name), db=t.repositories)
    fold.clear(prefix, t.webhooks)
    fold.labels.add(label_repository(fold.workspace, change.name))
    fold.labels.update(key for key, _ in fold.under(b"f\0" + prefix, t.labels))
    leaving.begin(fold.txn, t, fold.references, fold.workspace, change.name, (max(fold.at_ms, 1), fold.serial))


def _put_host(fold: Fold, change: PutHost) -> None:
    fold.put(join(change.host.name), _encode(change.host), fold.t.hosts)
    fold.labels.add(label_hosts())


def _drop_host(fold: Fold, change: DropHost) -> None:
    fold.txn.delete(join(change.name), db=fold.t.hosts)
    fold.labels.add(label_hosts())


def _put_token(fold: Fold, change: PutToken) -> None:
    key = join(change.token.id)
    before = fold.txn.get(key, db=fold.t.tokens)
    if before is not None:
        old = _TOKEN.decode(unseal(before, "tokens"))
        if old.sha256 != change.token.sha256:
            fold.txn.delete(old.sha256, db=fold.t.secrets)
    fold.put(key, _encode(change.token), fold.t.tokens)
    fold.put(change.token.sha256, key, fold.t.secrets)
    fold.labels.add(label_token(change.token.id))
    note(fold.txn, fold.t, change.token, fold.at_ms)


def _put_account(fold: Fold, change: PutAccount) -> None:
    """A closed Account's name is free; its id stays taken."""
    made = change.account
    key = join(made.id)
    before = fold.txn.get(key, db=fold.t.accounts)
    if before is not None:
        old = _ACCOUNT.decode(unseal(before, "accounts"))
        if not old.closed_ms:
            fold.txn.delete(join(old.kind, old.workspace, old.name), db=fold.t.names)
    if not made.closed_ms:
        fold.put(join(made.kind, made.workspace, made.name), key, fold.t.names)
    fold.put(key, _encode(made), fold.t.accounts)
    fold.labels.add(label_account(made.id))


def _put_membership(fold: Fold, change: PutMembership) -> None:
    fold.put(join(fold.workspace, change.membership.account), _encode(change.membership), fold.t.memberships)
    fold.labels.add(label_access(fold.workspace))


def _drop_membership(fold: Fold, change: DropMembership) -> None:
    """Nothing stays that would come back to life with a later membership (C6)."""
    fold.txn.delete(join(fold.workspace, change.account), db=fold.t.memberships)
    for key, _ in fold.under(below(fold.workspace, change.account), fold.t.teammates):
        fold.txn.delete(key, db=fold.t.teammates)
        fold.txn.delete(join(fold.workspace, split(key)[2], change.account), db=fold.t.mates)
    fold.clear(below(fold.workspace, change.account), fold.t.bindings)
    fold.labels.add(label_access(fold.workspace))


def _put_team(fold: Fold, change: PutTeam) -> None:
    fold.put(join(fold.workspace, change.team.name), _encode(change.team), fold.t.teams)
    if change.team.id:
        fold.put(join(fold.workspace, change.team.id), change.team.name.encode(), fold.t.groups)
    fold.labels.add(label_access(fold.workspace))


def _drop_team(fold: Fold, change: DropTeam) -> None:
    key = join(fold.workspace, change.name)
    before = fold.txn.get(key, db=fold.t.teams)
    if before is not None and (id := _TEAM.decode(unseal(before, "teams")).id):
        fold.txn.delete(join(fold.workspace, id), db=fold.t.groups)
    fold.txn.delete(key, db=fold.t.teams)
    fold.clear(below(fold.workspace, team_subject(change.name)), fold.t.bindings)
    for mate, _ in fold.under(below(fold.workspace, change.name), fold.t.mates):
        fold.txn.delete(mate, db=fold.t.mates)
        fold.txn.delete(join(fold.workspace, split(mate)[2], change.name), db=fold.t.teammates)
    fold.labels.add(label_access(fold.workspace))


def _put_teammate(fold: Fold, change: PutTeammate) -> None:
    made = change.teammate
    fold.put(join(fold.workspace, made.account, made.team), _encode(made), fold.t.teammates)
    fold.put(join(fold.workspace, made.team, made.account), b"", fold.t.mates)
    fold.labels.add(label_access(fold.workspace))


def _drop_teammate(fold: Fold, change: DropTeammate) -> None:
    fold.txn.delete(join(fold.workspace, change.account, change.team), db=fold.t.teammates)
    fold.txn.delete(join(fold.workspace, change.team, change.account), db=fold.t.mates)
    fold.labels.add(label_access(fold.workspace))


def _put_role(fold: Fold, change: PutRole) -> None:
    fold.put(join(fold.workspace, change.role.name), _encode(change.role), fold.t.roles)
    fold.labels.add(label_access(fold.workspace))


def _drop_role(fold: Fold, change: DropRole) -> None:
    fold.txn.delete(join(fold.workspace, change.name), db=fold.t.roles)
    fold.labels.add(label_access(fold.workspace))


def _put_binding(fold: Fold, change: PutBinding) -> None:
    made = change.binding
    fold.put(join(fold.workspace, made.subject, made.id), _encode(made), fold.t.bindings)
    fold.labels.add(label_access(fold.workspace))


def _drop_binding(fold: Fold, change: DropBinding) -> None:
    fold.txn.delete(join(fold.workspace, change.subject, change.id), db=fold.t.bindings)
    fold.labels.add(label_access(fold.workspace))


def _put_provider(fold: Fold, change: PutProvider) -> None:
    fold.put(join(fold.workspace, change.provider.id), _encode(change.provider), fold.t.providers)
    fold.labels.add(label_access(fold.workspace))


def _drop_provider(fold: Fold, change: DropProvider) -> None:
    fold.txn.delete(join(fold.workspace, change.id), db=fold.t.providers)
    fold.labels.add(label_access(fold.workspace))


def _put_edge(fold: Fold, change: PutEdge) -> None:
    key = join(change.edge.name)
    before = fold.txn.get(key, db=fold.t.edges)
    old = _EDGE.decode(unseal(before, "edges")).key if before is not None else b""
    if old and old != change.edge.key:
        fold.txn.delete(old, db=fold.t.edge_keys)
    fold.put(key, _encode(change.edge), fold.t.edges)
    if change.edge.key:
        fold.put(change.edge.key, key, fold.t.edge_keys)
    fold.labels.add(label_edge(change.edge.name))


_FOLDS: dict[type, Callable[[Fold, Any], None]] = {
    PutPackage: _put_package,
    DropPackage: _drop_package,
    PutVersion: _put_version,
    DropVersion: _drop_version,
    PutFile: _put_file,
    DropFile: _drop_file,
    PutTag: _put_tag,
    DropTag: _drop_tag,
    PutWorkspace: _put_workspace,
    DropWorkspace: _drop_workspace,
    PutRepository: _put_repository,
    DropRepository: _drop_repository,
    PutToken: _put_token,
    PutHost: _put_host,
    DropHost: _drop_host,
    PutQuarantine: _put_quarantine,
    DropQuarantine: _drop_quarantine,
    Purge: _purge,
    PutBinned: _put_binned,
    DropBinned: _drop_binned,
    PutAccount: _put_account,
    PutMembership: _put_membership,
    DropMembership: _drop_membership,
    PutTeam: _put_team,
    DropTeam: _drop_team,
    PutTeammate: _put_teammate,
    DropTeammate: _drop_teammate,
    PutRole: _put_role,
    DropRole: _drop_role,
    PutBinding: _put_binding,
    DropBinding: _drop_binding,
    PutProvider: _put_provider,
    DropProvider: _drop_provider,
    PutWebhook: lambda fold, change: hooks.put(fold.txn, fold.t, fold.workspace, change.webhook),
    DropWebhook: lambda fold, change: hooks.drop(fold.txn, fold.t, fold.workspace, change),
    PutEdge: _put_edge,
    PutNotice: lambda fold, change: noticed.put(fold.txn, fold.t, fold.workspace, fold.repository, change.notice),
}


# ---------------------------------------------------------------- what a node may not see any more


def replace_system(txn: Txn, tables: Tables, entry: Entry) -> None:
    """The rows of the SYSTEM journal are those that `entry` puts and no others; every label of it moves."""
    fold = Fold(txn, tables, entry)
    t = tables
    for table in (
        t.workspaces, t.tokens, t.secrets, t.exchanged, t.sign_ins, t.owned, t.entitled,
        t.edge_tokens, t.accounts, t.names, t.edges, t.edge_keys, t.hosts,
    ):  # fmt: skip
        txn.drop(table, delete=False)
    for kind in (b"w\0", b"t\0", b"u\0", b"e\0"):
        fold.labels.update(key for key, _ in fold.under(kind, tables.labels))
    fold.labels.add(label_hosts())
    for change in entry.changes:
        _FOLDS[type(change)](fold, change)
    for label in fold.labels:
        txn.put(label, seal(_U64.pack(entry.serial)), db=tables.labels)


def forget_workspace(txn: Txn, tables: Tables, workspace: str) -> set[bytes]:
    """Drop every row of a Workspace, its labels too: nothing that was remembered of it holds. The blobs that no file
    names any more."""
    references = References(txn, tables)
    ending.forget(txn, tables, references, workspace)
    return references.write()
