"""Does an edge with a narrow sight see what is its business, nothing else, and never a wider right than there is?"""

from pathlib import Path

import msgspec
import pytest

from cache.following.scope import NOWHERE, Scope
from storage.digest import sha256
from storage.errors import Damaged
from storage.index.applier import Applier
from storage.index.index import Index
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Edge,
    Entry,
    File,
    Grant,
    Host,
    PutAccount,
    PutEdge,
    PutFile,
    PutHost,
    PutRepository,
    PutToken,
    PutWorkspace,
    Repository,
    SignIn,
    Token,
    Workspace,
)

MINE = Scope("tokyo", "", frozenset(["mine"]), frozenset(["usr_member"]))
ASIA, EUROPE = Edge("tokyo", "asia", ("mine", "theirs"), code=b"c" * 32), Edge("paris", "europe", ("theirs",))


def token(number: int, *grants: Grant, owner: str = "") -> Token:
    return Token(f"tok_{number}", "t", bytes([number]) * 32, grants, owner=owner)


def test_f5_of_a_session_an_edge_sees_until_when_it_is_good_and_not_what_it_was_begun_with() -> None:
    begun = SignIn("password", 1, 100, 10, 50, "Firefox on Linux")
    session = msgspec.structs.replace(token(7, owner="usr_member"), kind="session", name="Firefox", sign_in=begun)
    seen = MINE.seen(Entry(1, SYSTEM, 1, bytes(32), 0, "", "", "", (PutToken(session),)))
    bare = msgspec.structs.replace(session, name="", sign_in=SignIn("", 1, 100, 10, 50))
    assert seen.changes == (PutToken(bare),)


def test_f5_of_the_system_journal_an_edge_sees_what_is_its_business() -> None:
    changes: tuple[AnyChange, ...] = (
        PutWorkspace(Workspace("mine")),
        PutWorkspace(Workspace("theirs")),
        PutAccount(Account("usr_member", "user", "m", email="m@example")),
        PutAccount(Account("usr_stranger", "user", "s")),
        PutEdge(ASIA),
        PutEdge(EUROPE),
        PutHost(Host("theirs.example", "theirs/one")),
        PutToken(token(1, Grant("mine"), Grant("theirs/one"))),
        PutToken(token(2, Grant("theirs"))),
    )
    seen = MINE.seen(Entry(1, SYSTEM, 1, bytes(32), 0, "tok_9", "all", "", changes))
    assert seen.changes == (
        PutWorkspace(Workspace("mine")),
        PutAccount(Account("usr_member", "user", "m")),
        PutEdge(msgspec.structs.replace(ASIA, workspaces=("mine",), code=b"")),
        PutToken(token(1, Grant("mine"))),
    )
    nothing = MINE.seen(Entry(1, SYSTEM, 2, bytes(32), 0, "tok_9", "all", "", changes[1:2]))
    assert (nothing.changes, nothing.actor, nothing.action) == ((), "", "")
    assert b"theirs" not in msgspec.msgpack.encode(seen)


def test_f5_a_token_is_never_told_wider_than_it_is() -> None:
    def told(one: Token) -> Token | None:
        changes = MINE.seen(Entry(1, SYSTEM, 1, bytes(32), 0, "", "", "", (PutToken(one),))).changes
        assert len(changes) < 2
        return changes[0].token if changes and isinstance(changes[0], PutToken) else None

    assert told(token(1, owner="usr_member")) == token(1, owner="usr_member")
    assert told(token(1, owner="usr_stranger")) is None
    assert told(token(1, Grant("theirs"), owner="usr_member")) is None, "without its limit it would be all of its owner"
    denied = told(token(1, Grant("*", True, True, True), Grant("theirs", deny=True)))
    assert denied is not None
    assert [(one.scope, one.deny) for one in denied.grants] == [("*", False), (NOWHERE, True)]
    assert told(token(1, Grant("theirs", deny=True))) is None


def test_f5_what_is_taken_away_leaves_no_trace_in_the_index(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", edge=True)
    applier = Applier(index)
    empty = index.dump()
    previous = bytes(32)
    file = PutFile("generic", "a", File("a.bin", "1", b"a" * 32, 5))
    for serial, change in enumerate((PutRepository(Repository("theirs", "one")), file), 1):
        body = msgspec.msgpack.encode(Entry(1, "theirs", serial, previous, 0, "me", "x", "one", (change,)))
        assert applier.apply_raw([body]) == 1
        previous = sha256(body)
    assert applier.forget_workspace("theirs") == {b"a" * 32}
    assert index.dump() == empty
    index.close()


def test_f4_a_snapshot_replaces_all_and_never_goes_back(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", edge=True)
    applier = Applier(index)

    def snapshot(serial: int, *changes: AnyChange) -> bytes:
        return msgspec.msgpack.encode(Entry(1, SYSTEM, serial, bytes(32), 0, "", "", "", changes))

    host = PutHost(Host("mine.example", "mine/one"))
    first = snapshot(5, PutWorkspace(Workspace("mine")), PutToken(token(1, Grant("mine"))), host)
    applier.replace_system(first, b"h" * 32, b"s" * 32)
    assert (applier.heads(), applier.scope()) == ({SYSTEM: (5, b"h" * 32)}, b"s" * 32)
    applier.replace_system(snapshot(6, PutWorkspace(Workspace("mine"))), b"i" * 32, b"t" * 32)
    assert not [name for name, _, _ in index.dump().rows if name in ("tokens", "secrets", "hosts")]
    for serial, hash in ((4, b"g" * 32), (6, b"x" * 32)):
        with pytest.raises(Damaged):
            applier.replace_system(snapshot(serial), hash, b"u" * 32)
    with pytest.raises(Damaged):
        applier.replace_system(snapshot(7, PutRepository(Repository("mine", "one"))), b"j" * 32, b"u" * 32)
    assert applier.heads() == {SYSTEM: (6, b"i" * 32)}
    index.close()
