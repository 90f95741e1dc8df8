"""Damage of rows and entries is found by who reads them or by a scrub, and told as that of blobs is (E8)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.insight.upkeep import lines
from gateway.noticing.rot import AGAIN_MS, RotWatch
from gateway.webhooks.catalogue import CATALOGUE
from storage import alarm
from storage.alarm import AGAIN_SECONDS, Alarm
from storage.errors import Damaged
from storage.index.history import History
from storage.index.keys import join, seal, unseal
from storage.notices import ROTTEN, PutNotice
from storage.nouns import SYSTEM, Package, PutPackage, PutRepository, PutWorkspace, Repository, Workspace
from storage.open import Store
from storage.upkeep.rounds import State
from storage.upkeep.scrub import Scrub
from tests.harness.stores import opened, write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as made:
        yield made


async def filled(store: Store) -> None:
    await write(
        store, PutWorkspace(Workspace("acme")), PutWorkspace(Workspace("left")), workspace=SYSTEM, repository=""
    )
    for ws in ("acme", "left"):
        await write(store, PutRepository(Repository(ws, "main")), workspace=ws, repository="")
        for n in range(3):
            await write(store, PutPackage("npm", Package(f"p{n}")), workspace=ws)


def scrubbed(store: Store) -> State:
    run = Scrub(store.index, store.journal, store.blobs, store.cached)
    for _ in run.steps():
        pass
    return State(began_ms=10, progress=run.progress.told())


def rot(store: Store, table: str, *names: str) -> None:
    key = join(*names)
    with store.index.env.begin(write=True) as txn:
        value = bytearray(txn.get(key, db=getattr(store.index.tables, table)) or seal(b"x"))
        value[-1] ^= 1
        txn.put(key, bytes(value), db=getattr(store.index.tables, table))


def rot_entry(store: Store, workspace: str, serial: int) -> None:
    assert store.journal is not None
    with store.index.env.begin() as txn:
        at = store.index.place(txn, workspace, serial)
    fd = os.open(store.journal.path(at.segment), os.O_RDWR)
    (before,) = os.pread(fd, 1, at.offset + 20)
    os.pwrite(fd, bytes([before ^ 1]), at.offset + 20)
    os.close(fd)


async def test_e8_a_scrub_tells_whose_rows_and_entries_are_damaged_and_once_a_week_again(store: Store) -> None:
    await filled(store)
    assert scrubbed(store).progress["rotten"] == {}
    rot(store, "packages", "acme", "main", "npm", "p1")
    rot(store, "claims", "acme", "main", "npm", "p1")
    rot(store, "claims", "acme", "main", "npm", "p2")
    rot(store, "tokens", "t1")
    rot_entry(store, "left", 2)
    state = scrubbed(store)
    assert state.progress["rotten"] == {"acme/packages": 1, "acme/claims": 2, "/tokens": 1, "left/journal": 1}
    watch = RotWatch(store.catalog, lambda: state)
    told = watch.look(0)
    assert {(one.workspace, one.notice.of, one.notice.used) for one in told} == {
        ("acme", "packages", 1), ("acme", "claims", 2), ("left", "journal", 1),
    }  # fmt: skip
    for one in told:
        await write(store, PutNotice(one.notice), workspace=one.workspace, repository="")
    state.began_ms += AGAIN_MS - 1
    assert watch.look(0) == [], "told once"
    state.began_ms += 1
    assert len(watch.look(0)) == 3, "and again a week later"
    text = "".join(lines({"scrub": {"running": False, "ended_ms": 0, "totals": {}, "progress": state.progress}}))
    assert 'scrub_rotten{of="journal"} 1' in text
    assert 'scrub_rotten{of="index"} 4' in text
    assert ROTTEN in {one.name for one in CATALOGUE}


async def test_e8_who_reads_a_damaged_row_or_entry_calls_for_a_scrub(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(store)
    monkeypatch.setattr(alarm, "damage", Alarm())
    rot(store, "packages", "acme", "main", "npm", "p1")
    with store.catalog.read() as reading, pytest.raises(Damaged):
        reading.view("acme", "main", "npm").package("p1")
    assert alarm.damage.count == 1
    rot_entry(store, "left", 2)
    assert store.journal is not None
    with pytest.raises(Damaged):
        History(store.index, store.journal).one("left", 2)
    assert alarm.damage.count == 2
    assert alarm.damage.take()
    assert not alarm.damage.take()


def test_a_call_is_answered_once_a_day_and_never_lost() -> None:
    now_s = 5.0
    one = Alarm(lambda: now_s)
    assert not one.take(), "nothing is damaged"
    one.ring()
    assert one.take()
    one.ring()
    assert not one.take()
    now_s += AGAIN_SECONDS
    assert one.take()
    now_s += AGAIN_SECONDS
    assert not one.take()
    with pytest.raises(Damaged):
        unseal(b"x" * 20, "files")
