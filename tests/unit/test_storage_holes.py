"""An entry that an edge cannot take in takes nobody down: it is passed over, whole, noted, and closes no more than it
must; what follows is taken in (THREATS F10)."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage.digest import sha256
from storage.errors import Damaged, UpstreamFailed
from storage.index import fold, holes
from storage.index.applier import Applier
from storage.index.holes import CLOSES_ALL, HOLES_MAX, Hole
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Binding,
    DropPackage,
    DropQuarantine,
    DropRepository,
    Entry,
    File,
    Grant,
    Membership,
    NetworkRule,
    Package,
    PutAccount,
    PutBinding,
    PutFile,
    PutMembership,
    PutPackage,
    PutQuarantine,
    PutRepository,
    PutTag,
    PutToken,
    PutVersion,
    PutWorkspace,
    Quarantine,
    Repository,
    Token,
    Upstream,
    Version,
    Workspace,
)
from storage.open import Store
from tests.harness.stores import opened

SECRET = "hush"


class Journal:
    """An origin's entries, as they are sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._heads: dict[str, tuple[int, bytes]] = {}

    def add(self, *changes: AnyChange, workspace: str = "acme", repository: str = "main") -> bytes:
        serial, previous = self._heads.get(workspace, (0, bytes(32)))
        entry = Entry(7, workspace, serial + 1, previous, 5, "me", "test.act", repository, changes)
        return self.take(workspace, msgspec.msgpack.encode(entry))

    def unreadable(self, workspace: str = "acme") -> bytes:
        """One with a kind of change that only a later version knows."""
        serial, previous = self._heads.get(workspace, (0, bytes(32)))
        fields: list[Any] = [7, workspace, serial + 1, previous, 5, "me", "x", "main", [["zz", "new"]], "", "", None]
        return self.take(workspace, msgspec.msgpack.encode(fields))

    def take(self, workspace: str, body: bytes) -> bytes:
        self._heads[workspace] = (self._heads.get(workspace, (0, b""))[0] + 1, sha256(body))
        self.bodies.append(body)
        return body

    def head(self, workspace: str) -> tuple[int, bytes]:
        return self._heads[workspace]


@pytest.fixture
def journal() -> Journal:
    return Journal()


def applier_of(store: Store) -> Applier:
    assert store.applier is not None
    return store.applier


def poison(
    monkeypatch: pytest.MonkeyPatch, kind: type[AnyChange], bad: Callable[[Any], bool] = lambda one: True
) -> None:
    """This kind of change makes the fold raise, after it has written something."""
    good = fold._FOLDS[kind]

    def raising(at: fold.Fold, change: Any) -> None:
        good(at, change)
        if bad(change):
            raise KeyError(SECRET)

    monkeypatch.setitem(fold._FOLDS, kind, raising)


def published(name: str) -> tuple[AnyChange, ...]:
    file = File(name, "1", sha256(name.encode()), 1)
    return PutPackage("npm", Package(name)), PutVersion("npm", name, Version("1")), PutFile("npm", name, file)


def test_f10_an_entry_that_raises_is_passed_over_whole_and_the_others_are_taken_in(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal.add(PutRepository(Repository("acme", "main", True)), repository="")
    for name in ("a", "bad", "c"):
        journal.add(*published(name))
    journal.add(*published("d"), workspace="other")
    poison(monkeypatch, PutFile, lambda change: change.file.name == "bad")
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        assert applier.apply_raw(journal.bodies) == 5
        assert applier.heads() == {name: journal.head(name) for name in ("acme", "other")}
        with edge.catalog.read() as reading:
            view = reading.view("acme", "main", "npm")
            assert [one.name for one in view.packages()] == ["a", "c"], "and nothing of half an entry"
            assert view.versions("bad") == []
        (hole,) = applier.holes()
        assert (hole.workspace, hole.serial, hole.repository, hole.action) == ("acme", 3, "main", "test.act")
        assert hole.why.startswith("KeyError at test_storage_holes.py:")
        assert hole.closes == (), "nobody has more by a package that is not there"
        assert applier.apply_raw(journal.bodies) == 0, "told again, nothing changes"
        assert applier.apply_raw([journal.add(PutTag("npm", "a", "latest", "1"))]) == 1
    with opened(tmp_path, role="edge") as edge:
        assert applier_of(edge).holes() == (hole,), "a start forgets none"
    assert "entry 3 of acme (test.act) cannot be taken in: KeyError" in caplog.text
    assert SECRET not in caplog.text


def test_f10_what_only_a_later_version_can_read_closes_its_workspace(tmp_path: Path, journal: Journal) -> None:
    journal.add(*published("a"))
    journal.unreadable()
    journal.add(*published("b"))
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        assert applier.apply_raw(journal.bodies) == 3
        with edge.catalog.read() as reading:
            assert [one.name for one in reading.view("acme", "main", "npm").packages()] == ["a", "b"]
        assert holes.closed(applier.holes()) == {"acme"}
        applier.apply_raw([journal.unreadable(SYSTEM)])
        assert holes.closed(applier.holes()) == {"acme", CLOSES_ALL}
        with pytest.raises(Damaged):
            applier.apply_raw([b"\xc1 no head either"])


GRANT = Grant("acme/main")
OPEN = NetworkRule(True, ("10.0.0.0/8",))
BEFORE: list[tuple[str, str, AnyChange]] = [
    ("acme", "", PutRepository(Repository("acme", "main", True))),
    ("acme", "", PutMembership(Membership("u1", "owner"))),
    ("acme", "", PutBinding(Binding("b1", "u1", GRANT))),
    (SYSTEM, "", PutWorkspace(Workspace("acme"))),
]
LOST: list[tuple[str, AnyChange, tuple[str, ...]]] = [
    ("acme", PutRepository(Repository("acme", "main", True, (Upstream("npm", "https://u.example"),))), ()),
    ("acme", PutRepository(Repository("acme", "main", False)), ("acme",)),
    ("acme", PutRepository(Repository("acme", "main", True, networks=(OPEN,))), ("acme",)),
    ("acme", PutRepository(Repository("acme", "new")), ()),
    ("acme", DropRepository("acme", "main"), ("acme",)),
    ("acme", PutMembership(Membership("u2", "member")), ()),
    ("acme", PutMembership(Membership("u1", "member")), ("acme",)),
    ("acme", PutBinding(Binding("b1", "u1", GRANT)), ("acme",)),
    ("acme", PutBinding(Binding("b2", "u1", GRANT)), ()),
    ("acme", PutBinding(Binding("b2", "u1", Grant("acme/main", deny=True))), ("acme",)),
    ("acme", PutQuarantine(Quarantine("npm", "a")), ("acme",)),
    ("acme", DropQuarantine("npm", "a"), ()),
    ("acme", DropPackage("npm", "a"), ("acme",)),
    (SYSTEM, PutWorkspace(Workspace("acme", quota_bytes=5)), ()),
    (SYSTEM, PutWorkspace(Workspace("acme", networks=(OPEN,))), ("acme",)),
    (SYSTEM, PutWorkspace(Workspace("new")), ()),
]


@pytest.mark.parametrize(("workspace", "lost", "closes"), LOST)
def test_f10_a_lost_entry_closes_what_it_may_have_taken_away(
    tmp_path: Path,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    workspace: str,
    lost: AnyChange,
    closes: tuple[str, ...],
) -> None:
    for place, repository, change in BEFORE:
        journal.add(change, workspace=place, repository=repository)
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        applier.apply_raw(journal.bodies)
        body = journal.add(lost, workspace=workspace)
        with monkeypatch.context() as once:
            poison(once, type(lost))
            assert applier.apply_raw([body]) == 1
        (hole,) = applier.holes()
        assert hole.closes == closes
        assert applier.apply_raw([journal.add(*published("z"))]) == 1
        assert applier.holes() == (hole,), "another thing mends nothing"
        assert applier.apply_raw([journal.add(lost, workspace=workspace)]) == 1
        assert applier.holes() == (), "said anew, it is not missing any more"


def test_f10_a_token_that_cannot_be_changed_is_good_for_nothing_and_closes_nothing_else(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = Token("t1", "t", b"1" * 32, (GRANT,))
    revoked = msgspec.structs.replace(token, revoked_ms=9)
    journal.add(PutToken(token), PutAccount(Account("u1", "user", "ann")), workspace=SYSTEM, repository="")
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        applier.apply_raw(journal.bodies)
        with edge.catalog.read() as reading:
            label = reading.label(b"t\0t1")
            assert reading.token(b"1" * 32) == token
        poison(monkeypatch, PutToken)
        assert applier.apply_raw([journal.add(PutToken(revoked), workspace=SYSTEM, repository="")]) == 1
        with edge.catalog.read() as reading:
            assert reading.token(b"1" * 32) is None
            assert reading.label(b"t\0t1") > label, "what was remembered of it rests on this"
            assert reading.account("u1") is not None
        assert holes.closed(applier.holes()) == frozenset()


def test_f10_what_an_edge_may_see_of_an_entry_is_passed_over_in_the_same_way(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = journal.add(PutWorkspace(Workspace("acme")), workspace=SYSTEM, repository="")
    second = journal.add(PutWorkspace(Workspace("acme", 5)), workspace=SYSTEM, repository="")
    third = journal.add(PutAccount(Account("u1", "user", "ann")), workspace=SYSTEM, repository="")
    poison(monkeypatch, PutWorkspace, lambda change: change.workspace.at_ms == 5)
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        for body in (first, second, third):
            assert applier.apply_seen(body, sha256(body)) == 1
        with edge.catalog.read() as reading:
            assert reading.account("u1") is not None
        assert [hole.serial for hole in applier.holes()] == [2]


def test_f10_a_snapshot_is_taken_in_without_what_cannot_be(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [PutAccount(Account(f"u{number}", "user", f"n{number}")) for number in range(9)]
    workspaces = [PutWorkspace(Workspace("acme")), PutWorkspace(Workspace("bad", networks=(OPEN,)))]
    body = journal.add(*accounts, *workspaces, workspace=SYSTEM, repository="")
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        with monkeypatch.context() as once:
            poison(once, PutAccount, lambda change: change.account.id in ("u3", "u8"))
            poison(once, PutWorkspace, lambda change: change.workspace.name == "bad")
            applier.replace_system(body, b"h" * 32, b"s" * 32)
        with edge.catalog.read() as reading:
            assert [one.id for one in reading.every_account()] == [f"u{n}" for n in (0, 1, 2, 4, 5, 6, 7)]
        assert len(applier.holes()) == 3
        assert holes.closed(applier.holes()) == {"bad"}, "its networks are not known, and everybody would get in"
        assert applier.scope() == b"s" * 32
        applier.replace_system(body, b"h" * 32, b"s" * 32)
        assert applier.holes() == ()
        with pytest.raises(UpstreamFailed, match="cannot be read"):
            applier.replace_system(b"\x93\x01", b"h" * 32, b"s" * 32)


def test_f10_a_later_build_learns_all_of_it_anew(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(*published("a"))
    journal.add(*published("b"))
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        with monkeypatch.context() as once:
            poison(once, PutVersion, lambda change: change.package == "b")
            once.setattr(holes, "build", lambda: "an older one")
            applier.apply_raw(journal.bodies)
            assert applier.outdated is False, "by itself it would only fail once more"
        assert bool(applier.outdated)
        applier.reset_for_resync(7)
        applier.apply_raw(journal.bodies)
        applier.take_over()
        assert applier.holes() == ()
        assert not applier.outdated
        with edge.catalog.read() as reading:
            assert [one.name for one in reading.view("acme", "main", "npm").packages()] == ["a", "b"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "disk"), MemoryError(), Damaged("a row")])
def test_what_is_wrong_with_this_machine_is_no_entrys_fault(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    journal.add(*published("a"))

    def failing(at: fold.Fold, change: Any) -> None:
        raise error

    with opened(tmp_path, role="edge") as edge:
        with monkeypatch.context() as once:
            once.setitem(fold._FOLDS, PutFile, failing)
            with pytest.raises(type(error)):
                applier_of(edge).apply_raw(journal.bodies)
        assert applier_of(edge).heads() == {}
        assert applier_of(edge).holes() == ()
        assert applier_of(edge).apply_raw(journal.bodies) == 1


def test_where_hardly_anything_can_be_taken_in_everything_is_closed(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(HOLES_MAX + 5):
        journal.add(*published(f"p{number}"))
    poison(monkeypatch, PutFile)
    with opened(tmp_path, role="edge") as edge:
        applier = applier_of(edge)
        assert applier.apply_raw(journal.bodies) == HOLES_MAX + 5
        assert len(applier.holes()) == HOLES_MAX
        assert holes.closed(applier.holes()) == {CLOSES_ALL}


def test_a_workspace_that_is_taken_away_takes_its_holes_along(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(*published("a"))
    poison(monkeypatch, PutFile)
    with opened(tmp_path, role="edge") as edge:
        applier_of(edge).apply_raw(journal.bodies)
        assert [type(one) for one in applier_of(edge).holes()] == [Hole]
        applier_of(edge).forget_workspace("acme")
        assert applier_of(edge).holes() == ()
