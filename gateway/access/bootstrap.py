"""What must be there before a node answers for the first time? Somebody who may do anything, and for `entrepot up`
a place to try things.

It is done on the store itself, by one process, before any worker of the node has opened it. The text of a token leaves
here in the return value, or in a file of mode 0600 for a node of ours to present; the store has its hash alone.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from gateway.access import tokens
from gateway.access.rights.grants import EVERYWHERE
from gateway.access.rights.verdicts import identify, principal_of
from storage.commit import Decided
from storage.errors import Conflict, Invalid, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    AnyChange,
    Draft,
    Grant,
    PutRepository,
    PutToken,
    PutWorkspace,
    Repository,
    Token,
    Workspace,
)
from storage.open import Store, open_store

ACTOR = "entrepot"
"""Who the journal says did this: no token can have this for its id."""

LOCK_NAME = "node.lock"
EDGE_FILE_NAME = "up-edge.token"
ADMIN_FILE_NAME = "admin.id"
"""Which admin token was there at the last start: its id, which opens nothing."""
ADMIN_NAME, UP_NAME, EDGE_NAME = "admin", "up", "up-edge"
ADMIN = (Grant(EVERYWHERE, True, True, True),)
READER = (Grant(EVERYWHERE),)

DEMO_WORKSPACE, DEMO_PRIVATE, DEMO_PUBLIC = "demo", "main", "open"

Clock = Callable[[], int]


class Ready(NamedTuple):
    """What `entrepot up` needs: the admin token to print, and the file with the edge's token."""

    admin: str
    edge_token_file: Path


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def alone(root: Path) -> Iterator[int]:
    """Be the only node, or the only command, that works on the data in `root`: as long as somebody has the descriptor
    that it gives. Raises Conflict at once."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"A node is running on {root}.", "Stop it first, or use another --data.") from None
        yield descriptor
    finally:
        os.close(descriptor)


def prepare(root: Path, clock: Clock = now_ms) -> str | None:
    """See to it that an origin has an admin token. Its text at the first start, to be shown this once; else None."""
    text, parts = tokens.mint()
    made = Token(parts.id, ADMIN_NAME, parts.sha256, ADMIN, at_ms=clock(), verify_key=parts.verify_key)

    with alone(root), _opened(root) as store:
        with store.catalog.read() as reading:
            found = _some_admin(reading, root / ADMIN_FILE_NAME, made.at_ms)
        if not found:
            _commit(store, lambda reading: Decided(_draft(SYSTEM, "", "token.create", PutToken(made)), None))
        (root / ADMIN_FILE_NAME).write_text(found or made.id, "ascii")
    return None if found else text


def renew_admin(root: Path, clock: Clock = now_ms) -> str:
    """A new admin token for an origin whose own are lost; the text of it. The others stay as they are."""
    text, parts = tokens.mint()
    made = Token(parts.id, ADMIN_NAME, parts.sha256, ADMIN, at_ms=clock(), verify_key=parts.verify_key)
    with alone(root), _opened(root) as store:
        _commit(store, lambda reading: Decided(_draft(SYSTEM, "", "token.create", PutToken(made)), None))
    return text


def prepare_up(root: Path, edge_root: Path, clock: Clock = now_ms) -> Ready:
    """Make an origin ready for `entrepot up`: the demo repositories, a fresh admin token, a token for the edge.

    The admin token of the last start is revoked, since only its hash was kept; the edge's is used again.
    """
    edge_file = edge_root / EDGE_FILE_NAME
    with alone(root), _opened(root) as store:
        _demo(store, clock())
        admin = _renewed(store, UP_NAME, ADMIN, "api", clock())
        if not _still_good(store, edge_file, clock()):
            _keep(edge_file, _renewed(store, EDGE_NAME, READER, "edge", clock()))
    return Ready(admin, edge_file)


def write(root: Path, drafts: Iterable[Draft]) -> None:
    """Put entries into the journal of an origin that is not running."""
    with alone(root), _opened(root) as store:
        for draft in drafts:
            _commit(store, lambda reading, draft=draft: Decided(draft, None))  # type: ignore[misc]


# ---------------------------------------------------------------- steps


def _demo(store: Store, at_ms: int) -> None:
    """The Workspace and its two Repositories, each where it is missing: `up` promises that they are there, unless
    somebody deleted that Workspace."""
    with store.catalog.read() as now:
        if now.ended(DEMO_WORKSPACE) is not None:
            return
    workspace = Workspace(DEMO_WORKSPACE, at_ms)

    def decide(reading: Reading) -> Decided:
        if reading.workspace(workspace.name) is not None:
            return Decided(None, None, SYSTEM)
        return Decided(_draft(SYSTEM, "", "workspace.create", PutWorkspace(workspace)), None)

    _commit(store, decide)
    for name, public in ((DEMO_PRIVATE, False), (DEMO_PUBLIC, True)):
        _repository(store, Repository(workspace.name, name, public, at_ms=at_ms))


def _repository(store: Store, made: Repository) -> None:
    def decide(reading: Reading) -> Decided:
        if reading.repository(made.workspace, made.name) is not None:
            return Decided(None, None, made.workspace)
        return Decided(_draft(made.workspace, made.name, "repository.create", PutRepository(made)), None)

    _commit(store, decide)


def _renewed(store: Store, name: str, grants: tuple[Grant, ...], kind: str, at_ms: int) -> str:
    """The text of a new token called `name`; the living ones of that name are revoked in the same entry."""
    text, parts = tokens.mint()
    made = Token(parts.id, name, parts.sha256, grants, kind, at_ms, verify_key=parts.verify_key)

    def decide(reading: Reading) -> Decided:
        old = [one for one in reading.tokens() if one.name == name and one.kind == kind and not one.revoked_ms]
        changes = [PutToken(msgspec.structs.replace(one, revoked_ms=at_ms)) for one in old]
        return Decided(_draft(SYSTEM, "", "token.renew", *changes, PutToken(made)), None)

    _commit(store, decide)
    return text


def _still_good(store: Store, file: Path, at_ms: int) -> bool:
    """Does the edge's file hold a token that this origin takes?"""
    try:
        secret = file.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    with store.catalog.read() as reading:
        try:
            return bool(secret) and identify(reading, secret, at_ms).kind == "edge"
        except Unauthenticated:
            return False


def _keep(file: Path, text: str) -> None:
    """Write a secret for a node of ours to read, whole and for its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as content:
        content.write(text + "\n")
        content.flush()
        os.fsync(descriptor)
    fresh.replace(file)


def _some_admin(reading: Reading, noted: Path, at_ms: int) -> str:
    """The id of a living admin token, "" for none. The one that was found last is noted in a file and asked for first:
    an origin may have a million of others, and would look through half of them at each start."""
    try:
        known = reading.token_by_id(noted.read_text("ascii").strip())
    except (FileNotFoundError, UnicodeDecodeError, Invalid):
        known = None
    if known is not None and known.grants == ADMIN and _living(known, at_ms):
        return known.id
    return next((one.id for one in reading.tokens() if one.grants == ADMIN and _living(one, at_ms)), "")


def _living(token: Token, at_ms: int) -> bool:
    who = principal_of(token)
    return not token.revoked_ms and not 0 < who.expires_ms <= at_ms


def _draft(workspace: str, repository: str, action: str, *changes: AnyChange) -> Draft:
    return Draft(workspace, repository, ACTOR, action, changes)


def _commit(store: Store, decide: Callable[[Reading], Decided]) -> Any:
    assert store.committer is not None
    return trio.run(store.committer.commit, decide).value


@contextmanager
def _opened(root: Path) -> Iterator[Store]:
    store = open_store(root, role="origin", worker=0)
    try:
        yield store
    finally:
        store.close()
