"""Does a deleted workspace leave nothing behind that anybody could use, and is its name lost for good (C6, F5)?"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from cache.following.scope import Scope
from storage.commit import Decided
from storage.errors import Absent, Conflict
from storage.index.applier import Applier
from storage.index.catalog import Catalog
from storage.index.history import History
from storage.index.index import Index
from storage.index.references import count_of
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Draft,
    DropWorkspace,
    Entry,
    Grant,
    Package,
    PutAccount,
    PutPackage,
    PutToken,
    PutWorkspace,
    Token,
    Workspace,
)
from storage.open import open_store
from storage.upkeep.chain import check_journal
from tests.house.test_layout import ENTRIES, FILE

OVER = (SYSTEM, "", (DropWorkspace("acme"),))
TOKENS = (
    Token("all", "a", b"a" * 32, (Grant("acme/main"), Grant("acme", deny=True))),
    Token("both", "b", b"b" * 32, (Grant("acme"), Grant("left"))),
    Token("node", "n", b"n" * 32, (Grant("*"),)),
    Token("free", "f", b"f" * 32, (), owner="u1"),
    Token("bound", "o", b"o" * 32, (Grant("acme"),), owner="u1"),
    Token("denied", "d", b"d" * 32, (Grant("left"), Grant("acme", deny=True))),
)
MORE = (SYSTEM, "", (*(PutToken(one) for one in TOKENS), PutAccount(Account("u9", "managed", "mia", "acme"))))
WORLD = [*(one for one in ENTRIES if not isinstance(one[2][0], DropWorkspace)), MORE]


def written(entries: Sequence[tuple[str, str, tuple[AnyChange, ...]]]) -> list[tuple[Entry, bytes]]:
    made, heads = list[tuple[Entry, bytes]](), dict[str, tuple[int, bytes]]()
    for number, (workspace, repository, changes) in enumerate(entries):
        serial, previous = heads.get(workspace, (0, bytes(32)))
        entry = Entry(7, workspace, serial + 1, previous, 1000 + number, "t", "x", repository, changes)
        raw = msgspec.msgpack.encode(entry)
        heads[workspace] = (serial + 1, hashlib.sha256(raw).digest())
        made.append((entry, raw))
    return made


def filled(root: Path, entries: Sequence[tuple[Entry, bytes]]) -> Index:
    index = Index(root)
    with index.env.begin(write=True) as txn:
        for entry, raw in entries:
            index.apply(txn, entry, raw)
    return index


def rows(index: Index) -> dict[tuple[str, bytes], bytes]:
    return {(table, key): value for table, key, value in index.dump().rows}


def test_c6_of_a_deleted_workspace_no_row_is_left_but_its_name_its_head_and_its_own_webhooks(tmp_path: Path) -> None:
    index = filled(tmp_path, written([*WORLD, OVER]))
    left = {
        (table, key.partition(b"\0")[0])
        for table, key in rows(index)
        if b"acme" in key.split(b"\0") and not (table == "webhooks" and key.startswith(b"acme\0\0"))
    }
    assert left == {("workspaces", b"acme"), ("heads", b"acme"), ("labels", b"w"), ("entitled", b"acme")}
    with Catalog(index).read() as reading:
        assert (reading.workspace("acme"), reading.repositories("acme")) == (None, [])
        over = reading.ended("acme")
        assert over is not None
        assert (over.closed_ms, over.closed_serial) == (1000 + len(WORLD), reading.serial(SYSTEM))
        closed = {id: bool(account.closed_ms) for id in ("u1", "u2", "u9") if (account := reading.account(id))}
        assert closed == {"u1": False, "u2": True, "u9": True}, "those that belong to it, and no user of the node"
        revoked = {one.id for one in reading.tokens() if one.revoked_ms}
        assert revoked == {"all", "bound", "t1", "t4"}, "those that reach nothing else"
        assert reading.host("a.example") is None
        assert (reading.usage("acme").files, reading.bin_usage("acme").files) == (0, 0)
    with index.env.begin() as txn:
        assert count_of(txn, index.tables, FILE.sha256) == 1, "the other workspace has it too; else it is the sweep's"
    index.close()


def test_every_label_of_it_tells_something_else_than_before(tmp_path: Path) -> None:
    """Whatever was remembered rests on one of them, and none may happen to have the value that it had."""
    entries = written([*WORLD, OVER])
    before, after = filled(tmp_path / "a", entries[:-1]), filled(tmp_path / "b", entries)
    one, two = rows(before), rows(after)
    labels = [key for table, key in one if table == "labels" and b"acme" in key.split(b"\0")]
    assert len(labels) > 5
    assert all(two.get(("labels", key)) != one["labels", key] for key in labels)
    for gone in ("u2", "u9"):
        assert two["labels", b"u\0" + gone.encode()] != one.get(("labels", b"u\0" + gone.encode()))
    before.close()
    after.close()


def test_f5_an_edge_that_hears_of_the_end_first_learns_nothing_of_the_rest(tmp_path: Path) -> None:
    """One that is given everything anew is told of all that there is and was by a snapshot, and of histories later."""
    entries = written([*WORLD, OVER])
    origin = filled(tmp_path / "origin", entries)
    with Catalog(origin).read() as reading:
        hash, body = Scope().snapshot(reading, 7)
    edge = Index(tmp_path / "edge", edge=True)
    applier = Applier(edge)
    applier.replace_system(body, hash, b"")
    assert applier.apply_raw([raw for entry, raw in entries if entry.workspace != SYSTEM])
    assert applier.heads() == _heads(origin)
    theirs, mine = rows(origin), rows(edge)
    skipped = ("labels", "answers", "answered", "heads", "places", "webhooks", "hosts", "exchanged", "entitled")
    for table in {table for table, _ in theirs} - set(skipped):
        assert {key: row for (at, key), row in mine.items() if at == table} == {
            key: row for (at, key), row in theirs.items() if at == table
        }, table
    assert not [
        key for table, key in mine if table == "labels" and key.startswith((b"p\0acme", b"r\0acme", b"a\0acme"))
    ]
    origin.close()
    edge.close()


def _heads(index: Index) -> dict[str, tuple[int, bytes]]:
    with index.env.begin() as txn:
        return index.heads(txn)


def test_to_drop_it_again_changes_nothing(tmp_path: Path) -> None:
    once = filled(tmp_path / "a", written([*WORLD, OVER]))
    twice = filled(tmp_path / "b", written([*WORLD, OVER, OVER]))
    one, two = rows(once), rows(twice)
    assert {key for key in one if one[key] != two.get(key)} == {("heads", b"-")}
    assert set(two) == set(one)
    once.close()
    twice.close()


async def test_f11_its_history_stays_whole_nothing_is_added_and_its_name_is_not_given_again(tmp_path: Path) -> None:
    store = open_store(tmp_path, role="origin")
    assert store.committer is not None
    assert store.journal is not None

    async def write(workspace: str, repository: str, *changes: AnyChange) -> None:
        assert store.committer is not None
        draft = Draft(workspace, repository, "t", "t", changes)
        await store.committer.commit(lambda reading: Decided(draft, None))

    await write(SYSTEM, "", PutWorkspace(Workspace("acme", 1)))
    for _, repository, changes in [one for one in ENTRIES if one[0] == "acme"][:1]:
        await write("acme", repository, *changes)
    await write(SYSTEM, "", DropWorkspace("acme"))
    with pytest.raises(Absent):
        await write("acme", "main", PutPackage("generic", Package("late")))
    with pytest.raises(Conflict, match="never given again"):
        await write(SYSTEM, "", PutWorkspace(Workspace("acme", 2)))
    history = History(store.index, store.journal)
    assert [kept.entry.serial for kept in history.after("acme", 0)] == [1]
    store.close()
    checked = check_journal(tmp_path)
    assert (checked.problems, checked.heads["acme"][0]) == ([], 1)
    again = open_store(tmp_path, role="origin")
    with again.catalog.read() as reading:
        assert reading.ended("acme") is not None
    again.close()
