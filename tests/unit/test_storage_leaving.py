"""What was deleted ends at once however large it is, and its rows go in short steps that a killed node goes on with:
then the tables are as if all had gone at once (C6, E11)."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storage.commit import Decided
from storage.errors import Absent, Conflict
from storage.index import applier as applying
from storage.index import leaving
from storage.index.applier import Applier
from storage.index.catalog import Catalog
from storage.index.index import Index
from storage.index.references import count_of
from storage.nouns import (
    SYSTEM,
    AnyChange,
    Binned,
    Draft,
    DropRepository,
    DropWorkspace,
    Entry,
    File,
    Membership,
    Package,
    PutBinned,
    PutFile,
    PutMembership,
    PutPackage,
    PutRepository,
    PutTag,
    PutVersion,
    PutWorkspace,
    Repository,
    Version,
    Workspace,
)
from storage.open import Store, rebuild_index
from storage.upkeep.clearing import Clearing, is_due, left
from storage.upkeep.verify import verify
from tests.harness.stores import opened

MANY = 40
AT_ONCE = 25
Written = tuple[str, str, tuple[AnyChange, ...]]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "ROWS_AT_ONCE", AT_ONCE)


def sha256_of(n: int) -> bytes:
    return hashlib.sha256(b"%d" % n).digest()


def package(n: int) -> tuple[AnyChange, ...]:
    name, file = f"p{n:03}", File(f"f{n}", "1", sha256_of(n), n + 1)
    return (
        PutPackage("generic", Package(name)),
        PutVersion("generic", name, Version("1")),
        PutFile("generic", name, file),
        PutTag("generic", name, "latest", "1"),
    )


def binned(n: int) -> PutBinned:
    files = tuple(PutFile("generic", "old", File(f"b{n}-{one}", "1", sha256_of(1000 + n), 7)) for one in range(3))
    return PutBinned(Binned(f"bin_{n}", "generic", "old", "1", files, 5, 60 + n))


WORLD: list[Written] = [
    (SYSTEM, "", (PutWorkspace(Workspace("acme")), PutWorkspace(Workspace("left")))),
    *((ws, "", (PutRepository(Repository(ws, "main", True)), PutRepository(Repository(ws, "other"))))
      for ws in ("acme", "left")),
    ("acme", "", (PutMembership(Membership("u1", "owner")),)),
    *((ws, repo, package(n)) for n in range(MANY) for ws, repo in (("acme", "main"), ("left", "main"))),
    ("acme", "other", package(3)),
    *(("acme", "main", (binned(n),)) for n in range(9)),
]  # fmt: skip
GONE = (SYSTEM, "", (DropWorkspace("acme"),))
DROPPED = ("acme", "", (DropRepository("acme", "main"),))


def entries_of(made: list[Written]) -> list[tuple[Entry, bytes]]:
    told, heads = list[tuple[Entry, bytes]](), dict[str, tuple[int, bytes]]()
    for number, (workspace, repository, changes) in enumerate(made):
        serial, previous = heads.get(workspace, (0, bytes(32)))
        entry = Entry(7, workspace, serial + 1, previous, 1000 + number, "t", "x", repository, changes)
        raw = msgspec.msgpack.encode(entry)
        heads[workspace] = (serial + 1, hashlib.sha256(raw).digest())
        told.append((entry, raw))
    return told


@contextmanager
def filled(root: Path, made: list[Written], *, edge: bool = False) -> Iterator[Index]:
    index = Index(root, edge=edge)
    with index.env.begin(write=True) as txn:
        for entry, raw in entries_of(made):
            index.apply(txn, entry, raw)
    try:
        yield index
    finally:
        index.close()


def stepped(index: Index, rows: int = 7) -> int:
    """All the steps, so many rows each."""
    count = 0
    while True:
        with index.env.begin(write=True) as txn:
            if index.clear_some(txn, rows) is None:
                return count
        count += 1


def whole(root: Path, made: list[Written], monkeypatch: pytest.MonkeyPatch) -> tuple[object, object]:
    """As it is where all goes with the entry: fold tables, and what sweep finds."""
    monkeypatch.setattr(leaving, "ROWS_AT_ONCE", 1 << 40)
    with filled(root, made) as index:
        assert not is_due(index)
        found = index.dump(), loose(index)
    monkeypatch.setattr(leaving, "ROWS_AT_ONCE", AT_ONCE)
    return found


def loose(index: Index) -> list[tuple[bytes, bytes]]:
    with index.env.begin() as txn:
        return list(txn.cursor(db=index.tables.loose))


@pytest.mark.parametrize("last", [DROPPED, GONE], ids=["repository", "workspace"])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_in_steps_comes_to_the_same_rows_as_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: Written, rows: int
) -> None:
    made = [*WORLD, last]
    wanted = whole(tmp_path / "at-once", made, monkeypatch)
    with filled(tmp_path / "stepped", made) as index:
        assert is_due(index)
        assert stepped(index, rows) >= 1
        assert not is_due(index)
        assert (index.dump(), loose(index)) == wanted


@pytest.mark.parametrize("last", [DROPPED, GONE], ids=["repository", "workspace"])
def test_c6_it_has_ended_for_everybody_before_a_single_step(tmp_path: Path, last: Written) -> None:
    with filled(tmp_path, [*WORLD, last]) as index:
        with Catalog(index).read() as reading:
            assert reading.repository("acme", "main") is None
            assert not reading.outline("acme", "main").exists
            assert (reading.usage("acme", "main").files, reading.bin_usage("acme", "main").files) == (0, 0)
            assert reading.usage("acme").files == (1 if last is DROPPED else 0), "a quota has its room at once"
            assert list(reading.bins_due(1 << 50)) == [], "nobody is to empty what goes anyway"
            assert reading.usage("left").files == MANY
        (told,) = left(index)
        assert (told["files"], told["deleted_ms"]) == (MANY + 27 + (last is GONE), 1000 + len(WORLD))
        with index.env.begin() as txn:
            cited = [count_of(txn, index.tables, sha256_of(n)) for n in range(MANY)]
        assert min(cited) == 2, "nothing is let go of before its row goes"
        stepped(index)
        with index.env.begin() as txn:
            cited = [count_of(txn, index.tables, sha256_of(n)) for n in range(MANY)]
            assert (min(cited), max(cited)) == (1, 1 + (last is DROPPED)), "what others name stays"
            assert [count_of(txn, index.tables, sha256_of(1000 + n)) for n in range(9)] == [0] * 9


def test_labels_of_packages_and_what_was_touched_move_with_the_steps(tmp_path: Path) -> None:
    with filled(tmp_path, [*WORLD, DROPPED]) as index:
        stepped(index, 3)
        with Catalog(index).read() as reading:
            serial = reading.serial("acme")
            assert list(reading.view("acme", "main", "generic").touched(serial - 1)) == [
                (serial, f"p{n:03}") for n in range(MANY)
            ]


def test_e11_a_place_for_something_new_is_cleared_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is slower than its origin was, or makes its index anew, meets the new one while it has the old."""
    made: list[Written] = [*WORLD, DROPPED, ("acme", "", (PutRepository(Repository("acme", "main")),))]
    made += [("acme", "main", package(7)), GONE]
    for count in (1, 2, 3):
        cut = made[: len(made) - 3 + count]
        wanted = whole(tmp_path / f"{count}-at-once", cut, monkeypatch)
        for edge in (False, True):
            with filled(tmp_path / f"{count}-{edge}", cut, edge=edge) as index:
                if count < 3:
                    with Catalog(index).read() as reading:
                        held = [one.name for one in reading.view("acme", "main", "generic").packages()]
                    assert held == (["p007"] if count == 2 else [])
                stepped(index)
                assert index.dump() == wanted[0]


async def write(store: Store, workspace: str, repository: str, *changes: AnyChange) -> None:
    assert store.committer is not None
    draft = Draft(workspace, repository, "t", "t", changes)
    await store.committer.commit(lambda reading: Decided(draft, None))


def clearing_of(store: Store) -> Clearing:
    return Clearing(store.index, store.journal, store.blobs)


async def test_e3_a_store_killed_between_steps_goes_on_and_its_name_is_free_then(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for workspace, repository, changes in WORLD[:4]:
            await write(store, workspace, repository, *changes)
        for n in range(MANY):
            await write(store, "acme", "main", *(one for one in package(n) if not isinstance(one, PutFile)))
        await write(store, *DROPPED[:2], *DROPPED[2])
        steps = clearing_of(store).steps()
        with store.index.env.begin(write=True) as txn:
            assert store.index.clear_some(txn, 5) is not None
        with pytest.raises(Conflict, match="is still being cleared away"):
            await write(store, "acme", "", PutRepository(Repository("acme", "main")))
        with pytest.raises(Absent):  # else the fold would have to make way for it, under the lock
            await write(store, "acme", "main", PutPackage("generic", Package("late")))
        await write(store, "acme", "", PutRepository(Repository("acme", "another")))
        steps.close()  # type: ignore[attr-defined]
    assert verify(tmp_path, deep=True).problems == [], "what is leaving is no damage"
    with opened(tmp_path) as store:
        assert is_due(store.index)
        run = clearing_of(store)
        assert len(list(run.steps())) >= 1
        assert (run.progress.phase, run.progress.places, run.progress.place) == ("done", 1, "acme/main")
        await write(store, "acme", "", PutRepository(Repository("acme", "main")))
        with store.catalog.read() as reading:
            assert list(reading.view("acme", "main", "generic").packages()) == []
        before = store.index.dump()
    assert verify(tmp_path, deep=True).problems == []
    rebuild_index(tmp_path)
    with opened(tmp_path) as store:
        assert not is_due(store.index), "the name was given again, so nothing could be left"
        assert store.index.dump() == before


def test_f5_an_edge_that_may_not_see_a_workspace_any_more_tells_which_blobs_nobody_names(tmp_path: Path) -> None:
    with filled(tmp_path / "edge", WORLD, edge=True) as index:
        applier = Applier(index)
        told = applier.forget_workspace("acme")
        with Catalog(index).read() as reading:
            assert reading.repositories("acme") == []
            assert reading.serial("acme") == 0
        shelf = None
        steps = Clearing(index, None, shelf, told.update)  # type: ignore[arg-type]
        list(steps.steps())
        assert told == {sha256_of(1000 + n) for n in range(9)}, "in its bins alone; the rest the other has too"
        assert not [key for _, key, _ in index.dump().rows if b"acme" in key.split(b"\0")[1:] and key != b"w\0acme"]
        again = [raw for entry, raw in entries_of(WORLD) if entry.workspace == "acme"]
        assert applier.apply_raw(again) == len(again), "given it again, it learns it from the first entry on"
        assert not is_due(index)
        with Catalog(index).read() as reading:
            assert len(list(reading.view("acme", "main", "generic").packages())) == MANY


def test_an_edge_makes_way_for_a_new_repository_in_short_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of an old one of its name of which it has rows yet; nothing is left for the entry itself to do."""
    made: list[Written] = [*WORLD, DROPPED, ("acme", "", (PutRepository(Repository("acme", "main")),))]
    made.append(("acme", "main", package(7)))
    wanted = whole(tmp_path / "at-once", made, monkeypatch)
    rows: list[int] = []
    step = leaving._step

    def counting(*told: Any) -> leaving.Step:
        done = step(*told)
        rows.append(done.rows)
        return done

    monkeypatch.setattr(leaving, "_step", counting)
    monkeypatch.setattr(applying, "CLEAR_ROWS", 30)
    with filled(tmp_path / "edge", [], edge=True) as index:
        bodies = [raw for _, raw in entries_of(made)]
        assert Applier(index).apply_raw(bodies[:-2]) == len(bodies) - 2
        assert is_due(index)
        assert Applier(index).apply_raw(bodies[-2:]) == 2
        assert not is_due(index)
        assert index.dump() == wanted[0]
    assert len(rows) > 3
    assert max(rows) <= 40
