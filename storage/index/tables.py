"""Which tables does the index have?

Fold tables follow from the journal alone. Physical tables say where bytes lie here; those of blobs exist in the
environment of the cache as well.

    workspaces    workspace                                  -> Workspace
    repositories  workspace, repository                      -> Repository
    outlines      workspace[, repository]                    -> see storage.index.outlines
    tokens        id                                         -> Token
    secrets       sha256 of the credential (32 bytes)        -> token id
    accounts      id                                         -> Account
    names         kind, workspace ("" for users), name       -> id of the Account that bears it
    memberships   workspace, account                         -> Membership
    teams         workspace, team                            -> Team
    teammates     workspace, account, team                   -> Teammate
    mates         workspace, team, account                   -> nothing: them by their Team
    groups        workspace, id                              -> name of the Team that an identity provider keeps by it
    roles         workspace, role                            -> Role
    bindings      workspace, subject, id                     -> Binding
    providers     workspace, id                              -> Provider
    exchanged     until (u64 ms, big-endian), id             -> nothing: tokens that are forgotten then
    sign_ins      account, id                                -> nothing: the sessions of an Account
    owned         account, id                                -> nothing: the other tokens that act for an Account
    entitled      workspace, id                              -> nothing: the tokens of its customers
    edge_tokens   id                                         -> nothing: the tokens of edges
    answers       see storage.index.answers                  -> answers to requests that came with a key
    answered      since (u64 ms, big-endian), key of answers -> nothing: them by their age
    webhooks      workspace, repository ("" = of all), id    -> Webhook
    notices       workspace, repository, kind, cause         -> storage.index.noticed.Noticed
    edges         name                                       -> Edge
    edge_keys     sha256 of the public key (32 bytes)        -> name of the edge
    packages      workspace, repository, format, package     -> Package
    versions      ... package, version                       -> Version
    published     ... format, version, package               -> who published it first (storage.index.published)
    files         ... package, file                          -> File
    tags          ... package, tag                           -> version
    gone          ... package, file                          -> sha256 of the removed file
    claims        workspace, repository, format, package     -> Serial of the first claim (u64)
    quarantines   ... format, package, version ("" = all)    -> Quarantine
    hosts         name                                       -> Host
    purges        ... format, package ("" = all)             -> Serial of the last purge (u64)
    labels        see keys.py                                -> Serial of the last change (u64)
    touched       ... format, Serial (u64 big-endian), package -> nothing: packages by their last change
    heads         workspace                                  -> Serial (u64), sha256 of the last entry
    places        workspace, Serial (u64 big-endian)         -> segment (u32), offset (u64)
    refs          sha256                                     -> how many files name this blob (u64)
    usage         workspace[, repository]                    -> files (u64) and bytes (u64) as visible
    bins          workspace, repository, id                  -> Binned: what was deleted and can come back
    bin_due       until (u64 ms, big-endian), workspace, repository, id -> nothing: by when it is emptied
    bin_usage     workspace[, repository]                    -> files (u64) and bytes (u64) in bins

    blobs         sha256                                     -> storage.blobs.ledger.BlobRow
    members       pack (u32 big-endian), sha256              -> bytes of the blob in that pack (u64)
    packs         pack (u32 big-endian)                      -> storage.blobs.ledger.PackRow
    chunks        blake3                                     -> blobs.ledger.ChunkRow: a hint, good while its pack is
    uncut         sha256                                     -> nothing: a large blob that nobody has looked at yet
    open          pack (u32 big-endian)                      -> nothing: a shared pack that may still be appended to
    damaged       sha256                                     -> since when (u64 ms): a scrub found its bytes rotten
    state         end, epoch, store, next                    -> see index.py, blobs

    loose         sha256                                     -> since when nothing names this blob (u64 ms); physical:
                                                                sweep takes rows away (see storage.upkeep.sweep)
    settled       id of a reservation                        -> nothing: its files are visible (see storage.quotas)
    leaving       workspace, repository ("" = all of it)     -> what of it is still to go (see storage.index.leaving)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import lmdb

from storage.index.keys import unseal

FOLD_TABLES = (
    "workspaces", "repositories", "outlines", "tokens", "secrets", "edges", "edge_keys", "accounts", "names",
    "memberships", "teams", "teammates", "mates", "groups",
    "roles", "bindings", "providers", "exchanged", "sign_ins", "owned", "entitled",
    "edge_tokens",
    "answers", "answered", "packages",
    "versions", "published", "files", "tags", "gone", "claims", "quarantines", "purges", "hosts", "labels", "touched",
    "heads", "places", "refs", "usage", "bins", "bin_due", "bin_usage",
    "webhooks", "notices",
)  # fmt: skip
WORK_TABLES = ("loose", "settled", "leaving")
BLOB_TABLES = ("blobs", "members", "packs", "chunks", "uncut", "open", "state", "damaged")

Table = lmdb._Database
type Txn = lmdb.Transaction[bytes]


@dataclass(frozen=True, slots=True)
class BlobTables:
    """Where blobs lie."""

    blobs: Table
    members: Table
    packs: Table
    chunks: Table
    uncut: Table
    open: Table
    state: Table
    damaged: Table

    @classmethod
    def of(cls, env: lmdb.Environment) -> "BlobTables":
        return cls(**_opened(env, BLOB_TABLES))


@dataclass(frozen=True, slots=True)
class Tables:
    """The handles of every table of the index."""

    workspaces: Table
    repositories: Table
    outlines: Table
    tokens: Table
    secrets: Table
    accounts: Table
    names: Table
    memberships: Table
    teams: Table
    teammates: Table
    mates: Table
    groups: Table
    roles: Table
    bindings: Table
    providers: Table
    webhooks: Table
    notices: Table
    exchanged: Table
    sign_ins: Table
    owned: Table
    entitled: Table
    edge_tokens: Table
    answers: Table
    answered: Table
    edges: Table
    edge_keys: Table
    packages: Table
    versions: Table
    published: Table
    files: Table
    tags: Table
    gone: Table
    claims: Table
    quarantines: Table
    purges: Table
    hosts: Table
    labels: Table
    touched: Table
    heads: Table
    places: Table
    refs: Table
    usage: Table
    bins: Table
    bin_due: Table
    bin_usage: Table
    loose: Table
    settled: Table
    leaving: Table
    state: Table
    shelf: BlobTables

    @classmethod
    def open(cls, env: lmdb.Environment) -> "Tables":
        shelf = BlobTables.of(env)
        return cls(**_opened(env, FOLD_TABLES + WORK_TABLES), state=shelf.state, shelf=shelf)


def _opened(env: lmdb.Environment, names: tuple[str, ...]) -> dict[str, Table]:
    """Handles of these tables, created in one transaction where they are not there."""
    with env.begin(write=True) as txn:
        return {name: env.open_db(name.encode(), txn=txn) for name in names}


def rows_below(txn: Txn, table: Table, name: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and payload of the rows whose keys begin with `prefix`, in order; nothing is written meanwhile. `name` is the
    table's. Raises Damaged."""
    with txn.cursor(db=table) as cursor:
        going = cursor.set_range(prefix) if prefix else cursor.first()
        while going and cursor.key().startswith(prefix):
            yield bytes(cursor.key()), unseal(bytes(cursor.value()), name)
            going = cursor.next()
