"""Nodes of several versions follow one journal: what only informs is passed over by who does not know it, what takes
something away must be understood, and closes what it bears on where it is not (F10)."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from cache.following.scope import Scope
from storage import entries
from storage.contents import BEARING, INFORMING, Bearing, Informing
from storage.digest import sha256
from storage.entries import NotUnderstood, read, told
from storage.errors import Damaged
from storage.index import fold, holes
from storage.index.applier import Applier
from storage.index.holes import CLOSES_ALL
from storage.notices import Notice, PutNotice
from storage.nouns import (
    SYSTEM,
    AnyChange,
    DropWorkspace,
    Entry,
    Package,
    PutAccount,
    PutPackage,
    PutQuarantine,
    PutRepository,
    PutWorkspace,
    Quarantine,
    Repository,
    Workspace,
)
from storage.open import rebuild_index
from tests.harness.stores import opened, write
from tests.unit.test_storage_holes import Journal

KINDS: tuple[type[Any], ...] = get_args(AnyChange)
NOTICE = PutNotice(Notice("quota.near", "", 5, 100, 90))


def become_older(monkeypatch: pytest.MonkeyPatch, *unknown: type[Any]) -> None:
    """This program does not know these kinds of changes any more: not in what it reads, nor in what it folds."""
    strict = entries._ENTRY

    class Older:
        def decode(self, body: bytes) -> Entry:
            found = strict.decode(body)
            if any(isinstance(one, unknown) for one in found.changes):
                raise msgspec.ValidationError("Invalid value")
            return found

    monkeypatch.setattr(entries, "_ENTRY", Older())
    monkeypatch.setattr(entries, "KNOWN", entries.KNOWN - {kind.__struct_config__.tag for kind in unknown})
    for kind in unknown:
        monkeypatch.delitem(fold._FOLDS, kind)


def body_of(*changes: Any, workspace: str = "acme") -> bytes:
    return msgspec.msgpack.encode(
        [7, workspace, 1, bytes(32), 5, "me", "x", "main", changes, "", "", None, "", "later"]
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_says_in_its_tag_what_it_is(kind: type[Any]) -> None:
    tag = kind.__struct_config__.tag
    assert tag.startswith(INFORMING) == issubclass(kind, Informing)
    assert tag.startswith(BEARING) == issubclass(kind, Bearing)
    if issubclass(kind, Informing):
        assert kind in holes._GIVING, "nobody has less by it"
    if issubclass(kind, Bearing):
        first = msgspec.structs.fields(kind)[0]
        assert (first.type, first.name) == (str, "name"), "the workspace"


def test_what_only_informs_is_passed_over_and_a_new_field_too() -> None:
    put = PutPackage("npm", Package("a"))
    entry, passed = told(body_of(["~zz", "who", {"knows": 1}], put, ["~yy"]))
    assert (entry.changes, passed) == ((put,), ("~zz", "~yy"))
    assert (entry.workspace, entry.action, entry.repository) == ("acme", "x", "main")


@pytest.mark.parametrize(
    ("changes", "bears_on"),
    [
        ([["zz", "acme"]], None),
        ([["@zz", "acme"]], {"acme"}),
        ([["@zz", "acme"], ["@yy", "left", 3]], {"acme", "left"}),
        ([["@zz", "acme"], ["yy"]], None),
        ([["@zz", 5]], None),
        ([["@zz"]], None),
        ([["@zz", ""]], None),
        ([["~zz", "left"], ["@zz", "acme"]], {"acme"}),
    ],
)
def test_what_must_be_understood_is_not_guessed_at(changes: list[Any], bears_on: set[str] | None) -> None:
    put = PutPackage("npm", Package("a"))
    with pytest.raises(NotUnderstood) as caught:
        read(body_of(put, *changes))
    assert caught.value.bears_on == bears_on
    assert caught.value.entry.changes == (put,)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgspec.msgpack.encode([7, "acme"]),
        body_of(["pp", 5]),
        body_of([5]),
        body_of([]),
        body_of("pp"),
        body_of(["pp", "npm", 5], ["~zz"]),
        msgspec.msgpack.encode([7, "acme", "1", b"", 5, "", "", "", [["~zz"]]]),
    ],
)
def test_what_is_no_entry_is_none(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        read(body)
    assert not isinstance(caught.value, NotUnderstood)


def filled(journal: Journal) -> None:
    journal.add(PutWorkspace(Workspace("acme")), PutWorkspace(Workspace("left")), workspace=SYSTEM, repository="")
    journal.add(PutRepository(Repository("acme", "main")), repository="")
    journal.add(PutPackage("npm", Package("a")), NOTICE)
    journal.add(DropWorkspace("left"), workspace=SYSTEM, repository="")
    journal.add(PutPackage("npm", Package("b")))


def test_f10_an_edge_that_is_upgraded_after_its_origin_closes_only_what_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal()
    filled(journal)
    with opened(tmp_path, role="edge") as edge:
        assert edge.applier is not None
        applier: Applier = edge.applier
        with monkeypatch.context() as patch:
            become_older(patch, PutNotice, DropWorkspace)
            assert applier.apply_raw(journal.bodies) == len(journal.bodies)
            with edge.catalog.read() as reading:
                assert [one.name for one in reading.view("acme", "main", "npm").packages()] == ["a", "b"]
                assert reading.workspace("left") is not None, "as far as it knows"
            (hole,) = applier.holes()
            assert (hole.workspace, hole.serial, hole.closes) == (SYSTEM, 2, ("left",))
            assert "@xw" in hole.why
            assert applier.heads() == {name: journal.head(name) for name in ("acme", SYSTEM)}, "no hash is another"
        monkeypatch.setattr(holes, "build", lambda: "the code of today")
        assert applier.outdated, "upgraded, it learns all of it"
        applier.reset_for_resync(7)
        assert applier.apply_raw(journal.bodies) == len(journal.bodies)
        applier.take_over()
        assert applier.holes() == ()
        with edge.catalog.read() as reading:
            assert reading.workspace("left") is None
            assert reading.noticed("acme", "main", "quota.near", "") is not None


def test_f10_a_snapshot_with_something_newer_is_taken_without_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, role="edge") as edge:
        assert edge.applier is not None
        body = body_of(PutWorkspace(Workspace("acme")), ["~zz", "x"], workspace=SYSTEM)
        edge.applier.replace_system(body, b"h" * 32, b"s" * 32)
        assert holes.closed(edge.applier.holes()) == frozenset()
        body = body_of(PutWorkspace(Workspace("acme")), ["@zz", "acme"], workspace=SYSTEM)
        edge.applier.replace_system(body, b"h" * 32, b"s" * 32)
        assert holes.closed(edge.applier.holes()) == {"acme"}
        body = body_of(PutWorkspace(Workspace("acme")), ["zz", "acme"], workspace=SYSTEM)
        edge.applier.replace_system(body, b"h" * 32, b"s" * 32)
        assert holes.closed(edge.applier.holes()) == {CLOSES_ALL}
        with edge.catalog.read() as reading:
            assert reading.workspace("acme") is not None


async def test_f10_an_origin_that_is_put_back_to_an_older_version_reads_on_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:
        await write(store, NOTICE)
        await write(store, PutQuarantine(Quarantine("npm", "a")))
    with monkeypatch.context() as patch:
        become_older(patch, PutNotice)
        assert rebuild_index(tmp_path)[0] >= 2
        with opened(tmp_path) as store, store.catalog.read() as reading:
            assert reading.quarantine("acme", "main", "npm", "a") is not None
    with monkeypatch.context() as patch:
        become_older(patch, PutQuarantine)
        with pytest.raises(Damaged, match="written by a later version"):
            rebuild_index(tmp_path)
    rebuild_index(tmp_path)


def test_f5_an_entry_of_which_a_part_is_seen_says_the_rest_to_an_older_edge_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an edge may not see closes nothing there, whether it would know it or not."""
    journal = Journal()
    filled(journal)
    scope = Scope("tokyo", "", frozenset({"acme"}))
    with opened(tmp_path, role="edge") as edge:
        assert edge.applier is not None
        become_older(monkeypatch, DropWorkspace, PutAccount)
        for body in journal.bodies:
            entry = msgspec.msgpack.decode(body, type=Entry)
            seen = msgspec.msgpack.encode(scope.seen(entry)) if entry.workspace == SYSTEM else body
            edge.applier.apply_seen(seen, sha256(body))
        assert edge.applier.holes() == ()
