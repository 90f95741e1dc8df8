"""Where does the fold of the journal lie, and how is a row of it read and written?

One LMDB environment. Its fold tables are computed from the entries alone by fold.py, so they can be thrown away
and come back equal byte for byte; its physical tables say where bytes lie on this machine. Its write transaction is
the write lock between worker processes.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import lmdb

from storage.digest import sha256
from storage.errors import Conflict, Damaged
from storage.index import answers, fold, holes, leaving, stamp
from storage.index.keys import place, seal, unseal
from storage.index.references import References, loosen
from storage.index.tables import FOLD_TABLES, Tables, Txn
from storage.journal.journal import End
from storage.nouns import Entry

MAP_BYTES = 1 << 40
READERS_MAX = 1024
TABLES_MAX = 64
NO_HASH = bytes(32)

_U64 = struct.Struct("<Q")
_END = struct.Struct("<IQ")
_HEAD = struct.Struct("<Q32s")


@dataclass(frozen=True)
class Dump:
    """The rows of the fold tables, for comparing two indexes."""

    rows: tuple[tuple[str, bytes, bytes], ...]


class Cleared(NamedTuple):
    """Some rows of what was deleted went, and nothing names these blobs any more."""

    step: leaving.Step
    loose: set[bytes]


def open_environment(path: Path, *, durable: bool) -> lmdb.Environment:
    """An LMDB environment with the settings of the house; only after the fork, once per process and path."""
    return lmdb.open(
        str(path),
        map_size=MAP_BYTES,
        max_dbs=TABLES_MAX,
        max_readers=READERS_MAX,
        max_spare_txns=8,
        readahead=False,
        writemap=False,
        metasync=durable,
        sync=durable,
    )


class Index:
    """The tables of one store. Methods with a `txn` work within it; the others open a short read of their own."""

    def __init__(self, path: Path, *, edge: bool = False, durable: bool = True) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.edge = edge
        self.env = open_environment(path, durable=durable)
        self.tables = Tables.open(self.env)

    def close(self) -> None:
        self.env.close()

    # ------------------------------------------------------------ what applies entries

    def apply(self, txn: Txn, entry: Entry, raw: bytes, at: End | None = None) -> None:
        """Fold one entry in, which must be the next of its Workspace; `raw` are its bytes, `at` its place if any."""
        loose = fold.apply(txn, self.tables, entry)
        if entry.once is not None and not self.edge:  # an edge answers no write by itself
            answers.remember(txn, self.tables, entry, entry.once)
        if not self.edge:  # an edge has no packs of its own to sweep
            for blob in loose:
                loosen(txn, self.tables, blob, entry.at_ms)
        txn.put(entry.workspace.encode(), seal(_HEAD.pack(entry.serial, sha256(raw))), db=self.tables.heads)
        if at is not None:
            txn.put(place(entry.workspace, entry.serial), seal(_END.pack(*at)), db=self.tables.places)

    def apply_seen(self, txn: Txn, entry: Entry, hash: bytes) -> None:
        """Fold in what this node may see of the next entry of a Workspace, whose whole bytes have this hash."""
        fold.apply(txn, self.tables, entry)
        txn.put(entry.workspace.encode(), seal(_HEAD.pack(entry.serial, hash)), db=self.tables.heads)

    def pass_over(self, txn: Txn, entry: Entry, hash: bytes) -> None:
        """Go on behind the next entry of a Workspace without what it says."""
        txn.put(entry.workspace.encode(), seal(_HEAD.pack(entry.serial, hash)), db=self.tables.heads)

    def replace_system(self, txn: Txn, entry: Entry, hash: bytes, scope: bytes) -> None:
        """What this node may see of the SYSTEM journal, as of this Serial, in the place of what it saw."""
        fold.replace_system(txn, self.tables, entry)
        txn.put(entry.workspace.encode(), seal(_HEAD.pack(entry.serial, hash)), db=self.tables.heads)
        self.set_scope(txn, scope)

    def forget_workspace(self, txn: Txn, workspace: str) -> set[bytes]:
        """Drop all rows of a Workspace; the blobs that no file names any more."""
        holes.write(txn, self.tables, [one for one in holes.holes(txn, self.tables) if one.workspace != workspace])
        return fold.forget_workspace(txn, self.tables, workspace)

    def clear_some(self, txn: Txn, rows_max: int, of: tuple[str, str] | None = None) -> Cleared | None:
        """Take away some rows of what was deleted, or `of` one Workspace and Repository; None where nothing is left."""
        references = References(txn, self.tables)
        step = leaving.some(txn, self.tables, references, rows_max, of)
        if step is None:
            return None
        loose = references.write()
        if not self.edge:
            for blob in loose:
                loosen(txn, self.tables, blob, step.place.held.at_ms)
        return Cleared(step, loose)

    def scope(self, txn: Txn) -> bytes:
        """By what the SYSTEM rows were chosen for this node; b"" = they are all there are."""
        value = txn.get(b"scope", db=self.tables.state)
        return b"" if value is None else unseal(value, "state")

    def set_scope(self, txn: Txn, scope: bytes) -> None:
        txn.put(b"scope", seal(scope), db=self.tables.state)

    def check_chain(self, txn: Txn, entry: Entry) -> None:
        """Raises Damaged unless `entry` follows the head of its Workspace."""
        serial, hash = self.head(txn, entry.workspace)
        if entry.serial != serial + 1 or entry.previous != hash:
            raise Damaged(
                f"The journal of {entry.workspace!r} is broken: entry {entry.serial} does not follow {serial}.",
                "An edge starts anew from its origin; at an origin, restore the journal from a copy.",
            )

    def drop_fold(self, txn: Txn) -> None:
        """Empty the fold tables."""
        for name in FOLD_TABLES:
            txn.drop(getattr(self.tables, name), delete=False)
        txn.drop(self.tables.leaving, delete=False)
        txn.delete(b"scope", db=self.tables.state)
        holes.write(txn, self.tables, ())

    # ------------------------------------------------------------ heads and places

    def head(self, txn: Txn, workspace: str) -> tuple[int, bytes]:
        """Serial and hash of the last entry of a Workspace; (0, zeros) before the first."""
        value = txn.get(workspace.encode(), db=self.tables.heads)
        return (0, NO_HASH) if value is None else _HEAD.unpack(unseal(value, "heads"))

    def heads(self, txn: Txn) -> dict[str, tuple[int, bytes]]:
        return {key.decode(): _HEAD.unpack(unseal(value, "heads")) for key, value in txn.cursor(db=self.tables.heads)}

    def end(self, txn: Txn) -> End | None:
        """How far the journal counts; None before its first segment."""
        value = txn.get(b"end", db=self.tables.state)
        return None if value is None else End(*_END.unpack(unseal(value, "state")))

    def set_end(self, txn: Txn, end: End) -> None:
        txn.put(b"end", seal(_END.pack(*end)), db=self.tables.state)

    def epoch(self, txn: Txn) -> int:
        """The epoch of the journal that this index follows; 0 where none is known yet."""
        value = txn.get(b"epoch", db=self.tables.state)
        return 0 if value is None else int(_U64.unpack(unseal(value, "state"))[0])

    def set_epoch(self, txn: Txn, epoch: int) -> None:
        txn.put(b"epoch", seal(_U64.pack(epoch)), db=self.tables.state)

    def history(self, txn: Txn) -> int:
        """Another number for each history that this index was ever made of anew; 0 for its first. Two histories may
        have the same Serials, so that what rests on labels alone could not tell them apart."""
        value = txn.get(b"history", db=self.tables.state)
        return 0 if value is None else int(_U64.unpack(unseal(value, "state"))[0])

    def set_history(self, txn: Txn, history: int) -> None:
        txn.put(b"history", seal(_U64.pack(history)), db=self.tables.state)

    def store(self, txn: Txn) -> bytes:
        """The id of the store that this index belongs to; b"" in a fresh one."""
        value = txn.get(b"store", db=self.tables.state)
        return b"" if value is None else unseal(value, "state")

    def set_store(self, txn: Txn, store: bytes) -> None:
        txn.put(b"store", seal(store), db=self.tables.state)

    def is_outdated(self, txn: Txn) -> bool:
        """Was it filled by a program that keeps other rows?"""
        return txn.get(b"stamp", db=self.tables.state) != seal(stamp.INDEX)

    def set_stamp(self, txn: Txn) -> None:
        """What is here is as this program would have written it."""
        txn.put(b"stamp", seal(stamp.INDEX), db=self.tables.state)

    # ------------------------------------------------------------ for readers of the journal (journal.Places)

    def committed(self) -> End:
        with self.env.begin() as txn:
            return self.end(txn) or End(1, 0)

    def start(self, after: dict[str, int], wanted: Callable[[str], bool] | None = None) -> End | None:
        with self.env.begin() as txn:
            heads = {name: head for name, head in self.heads(txn).items() if wanted is None or wanted(name)}
            if ahead := [name for name, serial in after.items() if serial > heads.get(name, (0,))[0]]:
                raise Conflict(
                    f"The follower is ahead of this journal in {len(ahead)} workspace(s).",
                    "It must start anew: this origin was restored from an older copy.",
                )
            firsts = [
                self.place(txn, name, after.get(name, 0) + 1)
                for name, (serial, _) in heads.items()
                if serial > after.get(name, 0)
            ]
        return min(firsts, default=None)

    def place(self, txn: Txn, workspace: str, serial: int) -> End:
        """Where an entry lies. Raises Damaged where that is not known."""
        value = txn.get(place(workspace, serial), db=self.tables.places)
        if value is None:
            raise Damaged(
                f"The index does not know where entry {serial} of {workspace!r} lies.",
                "Stop the node and run `entrepot rebuild-index`.",
            )
        return End(*_END.unpack(unseal(value, "places")))

    # ------------------------------------------------------------ looking after it

    def moment(self) -> int:
        """The number of the last committed transaction of any process: moves whenever anything was applied."""
        with self.env.begin() as txn:
            return txn.id()

    def reap(self) -> int:
        """Free the reader slots of processes that died; returns how many."""
        return self.env.reader_check()

    def rows(self, txn: Txn, names: tuple[str, ...] = FOLD_TABLES) -> Iterator[tuple[str, bytes, bytes]]:
        """Every row of these tables as stored, in order."""
        for name in names:
            for key, value in txn.cursor(db=getattr(self.tables, name)):
                yield name, key, value

    def dump(self) -> Dump:
        """All rows of the fold tables. For tests and comparisons: it holds everything in memory."""
        with self.env.begin() as txn:
            return Dump(tuple(self.rows(txn)))
