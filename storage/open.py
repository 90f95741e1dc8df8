"""How does a process come to a store it can trust?

Under a lock that the processes of a node take in turn: the identity file is made or checked, the index is probed in a
process of its own (a damaged LMDB file can end the process that opens it), what a dead process left is caught up with,
and leftovers are removed. An index that cannot be trusted is set aside and made anew from journal and packs.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb
import msgspec

from storage import commit, disk, recovery
from storage.blobs import CACHE_PACK_BYTES_MAX, BlobShelf
from storage.catalog import Catalog
from storage.commit import Applier, Committer
from storage.errors import Damaged
from storage.frames import HEADER_BYTES
from storage.index import Index, open_environment
from storage.intake import MEMORY_BYTES_MAX, Intake
from storage.journal import End, Journal
from storage.nouns import Entry
from storage.sessions import Sessions
from storage.tables import BlobTables

FORMAT = 1
DATA_BYTES_MIN = 8192
PROBE_SECONDS_MAX = 30
_ENTRY = msgspec.msgpack.Decoder(Entry)


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`store.json`: which store this is. `epoch` moves when its history is replaced by another."""

    id: str
    role: str
    epoch: int = 1
    format: int = FORMAT


@dataclass
class Store:
    """One process's hold on a store. `committer` and `journal` are an origin's, `applier` an edge's."""

    root: Path
    identity: Identity
    index: Index
    catalog: Catalog
    blobs: BlobShelf
    cached: BlobShelf
    cache_env: lmdb.Environment
    intake: Intake
    cache_intake: Intake
    sessions: Sessions
    committer: Committer | None
    journal: Journal | None
    applier: Applier | None

    def close(self) -> None:
        """Finish what is being committed, then let go."""
        if self.committer is not None:
            self.committer.close()
        if self.journal is not None:
            self.journal.close()
        self.blobs.close()
        self.cached.close()
        self.cache_env.close()
        self.index.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_store(
    root: Path,
    *,
    role: str,
    worker: int = 0,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
    session_seconds_max: int = 7 * 24 * 3600,
    sessions_max: int = 10_000,
) -> Store:
    """Open or create. Raises Damaged where something is broken that cannot be rebuilt from what is there."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(root):
        identity = _identity(root, role)
        token = bytes.fromhex(identity.id)
        origin = role == "origin"
        trusted = _index_is_sound(root, origin)
        index = Index(root / "index", edge=not origin)
        shelf = BlobShelf(root / "packs", index.env, index.tables.shelf, token, durable=True)
        journal = Journal(_folder(root / "journal"), identity.epoch, token, index) if origin else None
        if journal is not None:
            _settle_index(index, journal, shelf, token, trusted)
            if worker == 0:
                recovery.clean(shelf)
        cache_env, cached = _cache(root, token)
        intake = Intake(root / "staging", memory_bytes_max=memory_bytes_max)
        cache_intake = Intake(_folder(root / "cache" / "staging"), memory_bytes_max=memory_bytes_max)
        if worker == 0:
            intake.clean()
            cache_intake.clean()
        sessions = Sessions(root / "sessions", seconds_max=session_seconds_max, sessions_max=sessions_max)
        index.reap()
    return Store(
        root,
        identity,
        index,
        Catalog(index),
        shelf,
        cached,
        cache_env,
        intake,
        cache_intake,
        sessions,
        Committer(index, journal, shelf, now_ms) if journal is not None else None,
        journal,
        None if origin else Applier(index),
    )


def rebuild_index(root: Path) -> int:
    """Make the index anew from journal and packs; returns how many entries there are. The node must be stopped."""
    with _alone(root):
        identity = _identity(root, "origin")
        _set_aside(root / "index")
        store = bytes.fromhex(identity.id)
        index = Index(root / "index")
        shelf = BlobShelf(root / "packs", index.env, index.tables.shelf, store, durable=True)
        journal = Journal(_folder(root / "journal"), identity.epoch, store, index)
        try:
            return _refold(index, journal, shelf, store)
        finally:
            journal.close()
            shelf.close()
            index.close()


def _refold(index: Index, journal: Journal, shelf: BlobShelf, store: bytes) -> int:
    count, wanted = 0, set[bytes]()
    with index.env.begin(write=True) as txn:
        index.drop_fold(txn)
        recovery.rebuild(txn, shelf)
        index.set_store(txn, store)
        index.set_epoch(txn, journal.epoch)
        stop = End(1, HEADER_BYTES)
        for at, body in journal.walk():
            entry = _ENTRY.decode(body)
            index.check_chain(txn, entry)
            index.apply(txn, entry, body, at)
            wanted |= commit.wanted_by(entry)
            stop = End(at.segment, at.offset + 8 + len(body))
            count += 1
        journal.cut(stop)
        index.set_end(txn, stop)
        lost = {one for one in wanted if not shelf.ledger.has(txn, one)}
    if lost:
        raise Damaged(f"{len(lost)} files have their bytes in no pack.", "Restore the packs from a copy.")
    return count


def _settle_index(index: Index, journal: Journal, shelf: BlobShelf, store: bytes, trusted: bool) -> None:
    if not trusted:
        _refold(index, journal, shelf, store)
        return
    with index.env.begin(write=True) as txn:
        known = index.store(txn)
        if known and known != store:
            raise Damaged("This index belongs to another store.", "Remove the folder index, then start again.")
        index.set_store(txn, store)
        index.set_epoch(txn, journal.epoch)
        commit.catch_up(txn, index, journal, shelf)


# ---------------------------------------------------------------- the identity, and the lock around opening


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    fd = os.open(root / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        disk.lock(fd, wait=True)
        yield
    finally:
        os.close(fd)


def _identity(root: Path, role: str) -> Identity:
    path = root / "store.json"
    if path.exists():
        identity = msgspec.json.decode(path.read_bytes(), type=Identity)
        if identity.format != FORMAT:
            raise Damaged("This store was written by another version of Entrepot.", "Run that version.")
        if identity.role != role:
            raise Damaged(f"This store is that of an {identity.role}, not of an {role}.", "Choose another folder.")
        return identity
    if any((root / "journal").glob("*.seg")):
        raise Damaged("The file store.json is gone and the journal is there.", "Restore it from a copy.")
    identity = Identity(secrets.token_bytes(16).hex(), role)
    disk.replace_file(path, msgspec.json.encode(identity))
    return identity


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


# ---------------------------------------------------------------- can what is there be trusted?


def _index_is_sound(root: Path, origin: bool) -> bool:
    """False where the index was set aside: it is missing, short, or ends the process that opens it."""
    data = root / "index" / "data.mdb"
    has_journal = any((root / "journal").glob("*.seg"))
    if not data.exists():
        return not has_journal
    if data.stat().st_size >= DATA_BYTES_MIN and probe(root / "index"):
        return True
    _set_aside(root / "index")
    return not (origin and has_journal)


def _set_aside(path: Path) -> None:
    if path.exists():
        path.rename(path.with_name(f"{path.name}.damaged-{now_ms()}"))


def probe(path: Path) -> bool:
    """Can a process of its own open this LMDB environment and read its tables?"""
    done = subprocess.run(
        [sys.executable, "-m", "storage.probe", str(path)], timeout=PROBE_SECONDS_MAX, capture_output=True, check=False
    )
    return done.returncode == 0


# ---------------------------------------------------------------- the cache


def _cache(root: Path, store: bytes) -> tuple[lmdb.Environment, BlobShelf]:
    """The cache's own environment: not synced, so it is wiped after the machine itself went down."""
    folder = root / "cache"
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    mark = folder / "boot"
    data = folder / "index" / "data.mdb"
    if data.exists() and (not mark.exists() or mark.read_bytes() != boot or not probe(folder / "index")):
        disk.remove_tree(folder)
    _folder(folder / "index")
    mark.write_bytes(boot)
    env = open_environment(folder / "index", durable=False)
    shelf = BlobShelf(
        folder / "packs", env, BlobTables.of(env), store, durable=False, pack_bytes_max=CACHE_PACK_BYTES_MAX
    )
    return env, shelf
