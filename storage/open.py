"""How does a process come to a store it can trust?

Under a lock that the processes of a node take in turn: the identity file is made or checked; the first one to come has
the indexes probed in a process of their own (a damaged LMDB file can end the process that opens it); what a dead
process left is caught up with, and leftovers are removed. An index that cannot be trusted, or was written by a program
that keeps other rows, is set aside and made anew from journal and packs; an edge learns the second anew from its
origin, and shows it meanwhile. While a process has the store open it holds a shared lock, so everybody knows who is
alone.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import lmdb
import msgspec

from storage import disk, recovery
from storage.blobs.intake import MEMORY_BYTES_MAX, Intake
from storage.blobs.sessions import Sessions
from storage.blobs.shelf import CACHE_PACK_BYTES_MAX, PACK_BYTES_MAX, BlobShelf
from storage.commit import ROOM, Committer, Room
from storage.errors import Damaged
from storage.index import stamp
from storage.index.applier import Applier
from storage.index.beside import FOLDER as BESIDE
from storage.index.catalog import Catalog
from storage.index.index import Index, open_environment
from storage.index.tables import BlobTables
from storage.journal.journal import SEGMENT_BYTES_MAX, Journal, segments_in
from storage.probe import OUTDATED as OUTDATED_CODE
from storage.quotas import Quotas

FORMAT = 1
DATA_BYTES_MIN = 8192
PROBE_SECONDS_MAX = 60
GONE = ".gone-"
"""In the name of what is not used any more and has yet to be removed: that takes as long as there is much of it."""
TELL_SECONDS = 2.0
REBUILT = "rebuilt.json"
_LIBRARIES = str(Path(lmdb.__file__).parents[1])
"""Told to the probe, which starts without looking for them: that takes longer than what it is there for."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`store.json`: which store this is. `epoch` (ms since 1970) moves when its history is replaced by another."""

    id: str
    role: str
    epoch: int
    format: int = FORMAT

    @property
    def token(self) -> bytes:
        """The id as 16 bytes: it stands in every file of the store."""
        return bytes.fromhex(self.id)


class CacheMark(msgspec.Struct, frozen=True):
    """`cache/state.json`: under which boot of the machine the cache is in use, whether it was closed in order, and how
    its tables are laid out."""

    boot: str
    clean: bool
    layout: str = stamp.CACHE.hex()


class Probed(Enum):
    """What a process of its own found in an LMDB environment. OUTDATED: it can be read, and a program wrote it that
    keeps other rows."""

    SOUND = 0
    OUTDATED = OUTDATED_CODE
    BROKEN = -1


@dataclass
class Store:
    """One process's hold on a store. `committer` and `journal` are an origin's, `applier` is an edge's."""

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
    quotas: Quotas
    committer: Committer | None
    journal: Journal | None
    applier: Applier | None
    live: int

    @property
    def epoch(self) -> int:
        """The epoch of an origin's own journal."""
        return self.identity.epoch

    def reap(self) -> int:
        """Free what dead processes hold of the indexes, and packs that are gone; for every 30 s. Takes microseconds.

        Returns how many reader slots were freed.
        """
        self.blobs.trim()
        self.cached.trim()
        self.quotas.reap()
        return self.index.reap() + self.cache_env.reader_check()

    def close(self) -> None:
        """Finish what is being committed, then let go. The last of the node's processes leaves a clean cache."""
        if self.committer is not None:
            self.committer.close()
        if self.journal is not None:
            self.journal.close()
        if self.applier is not None:
            self.applier.close()
        self.blobs.close()
        self.cached.close()
        with _taking_turns(self.root):
            if _is_alone(self.live):
                _leave_clean(self.root / "cache", self.cache_env, self.cached)
            self.cache_env.close()
            self.quotas.close()
            self.index.close()
            os.close(self.live)


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
    sessions_workspace_max: int = 2_000,
    pack_bytes_max: int = PACK_BYTES_MAX,
    cache_pack_bytes_max: int = CACHE_PACK_BYTES_MAX,
    segment_bytes_max: int = SEGMENT_BYTES_MAX,
    room: Room = ROOM,
) -> Store:
    """Open or create; `worker` names this process among the node's. After the fork, once per process and root.

    Raises Damaged where something is broken that cannot be made anew from what is there.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _taking_turns(root), ExitStack() as undo:
        live = os.open(root / "live.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, live)
        alone = _is_alone(live)
        identity = _identity(root, role)
        index, shelf, journal = _open_index(root, identity, alone, pack_bytes_max, segment_bytes_max, undo)
        cache_env, cached = _open_cache(root / "cache", identity.token, alone, cache_pack_bytes_max, undo)
        intake = Intake(root / "staging", memory_bytes_max=memory_bytes_max)
        cache_intake = Intake(root / "cache" / "staging", memory_bytes_max=memory_bytes_max)
        intake.clean()
        cache_intake.clean()
        index.reap()
        cache_env.reader_check()
        quotas = _open_quotas(root, index, alone, undo)
        sessions = Sessions(
            root / "sessions",
            seconds_max=session_seconds_max,
            sessions_max=sessions_max,
            sessions_workspace_max=sessions_workspace_max,
            ended=quotas.forget_session,
        )
        quotas.start(alone, sessions.held())
        disk.lock(live, shared=True, wait=True)
        undo.pop_all()
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
        quotas,
        Committer(index, journal, shelf, quotas, now_ms, room=room) if journal is not None else None,
        journal,
        None if journal is not None else Applier(index),
        live,
    )


def clear_away(root: Path) -> int:
    """Remove what starts have set aside for good; returns how many folders. Slow: in a thread of one process."""
    gone = sorted(root.glob(f"*{GONE}*"))
    for folder in gone:
        disk.remove_tree(folder)
    return len(gone)


def rebuild_index(root: Path) -> tuple[int, int]:
    """Make an origin's index anew: (entries, blobs that are named and in no pack). The node must be stopped.

    The old index is kept aside. Raises Damaged where the journal is broken, or processes have the store open.
    """
    with _taking_turns(root):
        live = os.open(root / "live.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _is_alone(live):
                raise Damaged("The node is running.", "Stop it, then rebuild its index.")
            identity = _identity(root, "origin")
            _set_aside(root / "index")
            index = Index(root / "index")
            shelf = BlobShelf(root / "packs", index.env, index.tables.shelf, identity.token, durable=True)
            journal = Journal(_folder(root / "journal"), identity.epoch, identity.token, index)
            try:
                return _rebuild(root, index, journal, shelf)
            finally:
                journal.close()
                shelf.close()
                index.close()
        finally:
            os.close(live)


# ---------------------------------------------------------------- the identity, and who else is here


@contextmanager
def _taking_turns(root: Path) -> Iterator[None]:
    fd = os.open(root / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        disk.lock(fd, wait=True)
        yield
    finally:
        os.close(fd)


def _is_alone(live: int) -> bool:
    """Has no other process this store open? Asked while taking turns. Leaves the lock exclusive where it is so."""
    return disk.lock(live)


def read_identity(root: Path) -> Identity:
    """Raises Damaged where it is of another version or cannot be read."""
    try:
        identity = msgspec.json.decode((root / "store.json").read_bytes(), type=Identity)
    except (msgspec.DecodeError, FileNotFoundError):
        raise Damaged("The file store.json is missing or broken.", "Restore it from a copy.") from None
    if identity.format != FORMAT:
        raise Damaged("This store was written by another version of Entrepot.", "Run that version.")
    return identity


def _identity(root: Path, role: str) -> Identity:
    if not (root / "store.json").exists():
        if segments_in(root / "journal"):
            raise Damaged("The file store.json is gone and the journal is there.", "Restore it from a copy.")
        disk.replace_file(
            root / "store.json", msgspec.json.encode(Identity(secrets.token_bytes(16).hex(), role, now_ms()))
        )
    identity = read_identity(root)
    if identity.role != role:
        raise Damaged(f"This store is that of an {identity.role}, not of an {role}.", "Choose another folder.")
    return identity


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


# ---------------------------------------------------------------- the index


def _open_index(
    root: Path, identity: Identity, alone: bool, pack_bytes_max: int, segment_bytes_max: int, undo: ExitStack
) -> tuple[Index, BlobShelf, Journal | None]:
    origin = identity.role == "origin"
    if alone:
        disk.remove_tree(root / BESIDE)  # what an edge was learning when its processes died
    found = _found(root / "index", identity) if alone else Probed.SOUND
    sound = found is Probed.SOUND or (found is Probed.OUTDATED and not origin)
    if not sound:
        _set_aside(root / "index")
    index = Index(root / "index", edge=not origin)
    undo.callback(index.close)
    shelf = BlobShelf(
        root / "packs",
        index.env,
        index.tables.shelf,
        identity.token,
        durable=True,
        pack_bytes_max=pack_bytes_max,
    )
    if not origin:
        with index.env.begin(write=True) as txn:
            index.set_store(txn, identity.token)
            if not index.heads(txn):
                index.set_stamp(txn)
        return index, shelf, None
    journal = Journal(
        _folder(root / "journal"), identity.epoch, identity.token, index, segment_bytes_max=segment_bytes_max
    )
    undo.callback(journal.close)
    if not sound:
        if found is Probed.OUTDATED:
            _say("the index was written by another version of Entrepot")
        _rebuild(root, index, journal, shelf)
        if found is Probed.OUTDATED:
            disk.remove_tree(_aside(root / "index"))
    else:
        with index.env.begin(write=True) as txn:
            recovery.catch_up(txn, index, journal, shelf)
    with index.env.begin(write=True) as txn:
        recovery.sweep_strays(txn, shelf)
    return index, shelf, journal


class Rebuilt(msgspec.Struct, frozen=True):
    """An index was made anew from so many entries; times are of the wall clock, in ns."""

    start_ns: int
    end_ns: int
    entries: int


def take_rebuilt(root: Path) -> Rebuilt | None:
    """How the index was made anew, where nobody was told yet: whoever opens a store is not yet one who can tell."""
    try:
        told = msgspec.json.decode((root / REBUILT).read_bytes(), type=Rebuilt)
        (root / REBUILT).unlink()
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return told


def _rebuild(root: Path, index: Index, journal: Journal, shelf: BlobShelf) -> tuple[int, int]:
    """Tells how far it is where that takes a while."""
    told_s, start_ns = time.monotonic(), time.time_ns()

    def tell(progress: recovery.Progress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_SECONDS:
            told_s = time.monotonic()
            _say(f"making the index anew: {progress}")

    with index.env.begin(write=True) as txn:
        entries, lost = recovery.rebuild(txn, index, journal, shelf, tell)
    if entries:
        disk.replace_file(root / REBUILT, msgspec.json.encode(Rebuilt(start_ns, time.time_ns(), entries)))
        _say(f"the index is made anew from {entries:,} entries")
    for sha256 in sorted(lost):
        _say(f"the journal names blob {sha256.hex()}, which is in no pack")
    return entries, len(lost)


def _say(text: str) -> None:
    os.write(2, f"entrepot: {text}\n".encode())


def _found(path: Path, identity: Identity) -> Probed:
    """Is there an index that a process can read, is it this store's, and are its rows those of this program?"""
    data = path / "data.mdb"
    if not data.exists() or data.stat().st_size < DATA_BYTES_MIN:
        return Probed.BROKEN
    return probe(path, identity.token, identity.role)


def probe(path: Path, store: bytes = b"", role: str = "") -> Probed:
    """Can a process of its own open this LMDB environment and walk its tables? With `store`: and is it that one's?"""
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-PS",
                str(Path(__file__).with_name("probe.py")),
                *(str(path), store.hex(), role, stamp.INDEX.hex()),
            ],
            timeout=PROBE_SECONDS_MAX,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": _LIBRARIES},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probed.BROKEN
    return Probed(done.returncode) if done.returncode in (0, OUTDATED_CODE) else Probed.BROKEN


def _set_aside(path: Path) -> None:
    """Keep one damaged index for whoever wants to know why; a younger one replaces it."""
    if (path / "data.mdb").exists():
        disk.remove_tree(_aside(path))
        path.rename(_aside(path))


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def _open_quotas(root: Path, index: Index, alone: bool, undo: ExitStack) -> Quotas:
    """What is reserved: not synced, so the first to come begins it anew."""
    if alone:
        disk.remove_tree(root / "reserved")
    quotas = Quotas(root / "reserved", index)
    undo.callback(quotas.close)
    return quotas


# ---------------------------------------------------------------- the cache


def _open_cache(
    folder: Path, store: bytes, alone: bool, pack_bytes_max: int, undo: ExitStack
) -> tuple[lmdb.Environment, BlobShelf]:
    """The cache's own environment. Not synced, so it is only trusted after a clean end or within one boot."""
    mark = folder / "state.json"
    boot = _BOOT_ID.read_text().strip()
    if alone:
        if folder.exists() and not _can_be_trusted(folder, boot):
            folder.rename(folder.with_name(f"{folder.name}{GONE}{time.time_ns()}"))
        _folder(folder / "index")
        disk.replace_file(mark, msgspec.json.encode(CacheMark(boot, clean=False)))
    env = open_environment(folder / "index", durable=False)
    undo.callback(env.close)
    shelf = BlobShelf(folder / "packs", env, BlobTables.of(env), store, durable=False, pack_bytes_max=pack_bytes_max)
    with env.begin(write=True) as txn:
        recovery.sweep_strays(txn, shelf)
    return env, shelf


def _can_be_trusted(folder: Path, boot: str) -> bool:
    try:
        mark = msgspec.json.decode((folder / "state.json").read_bytes(), type=CacheMark)
    except (FileNotFoundError, msgspec.DecodeError):
        return False
    if mark.layout != stamp.CACHE.hex() or (mark.boot != boot and not mark.clean):
        return False
    data = folder / "index" / "data.mdb"
    if not data.exists() or data.stat().st_size < DATA_BYTES_MIN:
        return False
    return probe(folder / "index") is Probed.SOUND


def _leave_clean(folder: Path, env: lmdb.Environment, shelf: BlobShelf) -> None:
    shelf.settle_all()
    env.sync(True)
    mark = CacheMark(_BOOT_ID.read_text().strip(), clean=True)
    disk.replace_file(folder / "state.json", msgspec.json.encode(mark))
