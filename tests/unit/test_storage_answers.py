"""Is the answer to a request with a key there if and only if what it tells of was done, whatever dies in between?"""

from pathlib import Path

import msgspec
import pytest

from storage.commit import Committed, Decided
from storage.errors import Full
from storage.index.answers import KEPT_MS
from storage.nouns import Once, PutTag
from storage.open import Store, rebuild_index
from tests.harness.stores import draft, opened, publish
from tests.unit.test_storage_commit import FailingIndex

KEY, REQUEST = b"k" * 32, b"r" * 32


async def keyed(store: Store, tag: str, key: bytes = KEY) -> Committed:
    assert store.committer is not None
    wanted = draft(PutTag("generic", "pkg", tag, "1"))
    once = Once("tok_1", key, REQUEST, tag.encode())
    return await store.committer.commit(lambda reading: Decided(msgspec.structs.replace(wanted, once=once)))


def kept(store: Store, key: bytes = KEY) -> tuple[bytes, int] | None:
    with store.catalog.read() as reading:
        at_ms = next(iter([one.at_ms for one in reading.view("acme", "main", "generic").files("pkg")]), 0)
        found = reading.answer("tok_1", key, at_ms)
    return None if found is None else (found.answer, found.serial)


async def test_an_answer_outlives_a_restart_and_a_rebuild(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        await keyed(store, "one")
        assert kept(store) == (b"one", 2)
        assert kept(store, b"x" * 32) is None
        before = store.index.dump()
    rebuild_index(tmp_path)
    with opened(tmp_path) as store:
        assert store.index.dump() == before
        assert kept(store) == (b"one", 2)


async def test_e1_who_finds_what_a_dead_process_journaled_finds_its_answer(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        real, committer = store.index.env, store.committer
        assert committer is not None

        def other_process() -> None:
            store.index.env = real
            txn, _ = committer._begin()
            txn.abort()
            assert kept(store) == (b"one", 2)

        store.index.env = FailingIndex(real, 1, other_process)  # type: ignore[assignment]
        assert (await keyed(store, "one")).serial == 2
        assert kept(store) == (b"one", 2)


async def test_e1_what_was_taken_back_left_no_answer(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        real = store.index.env
        store.index.env = FailingIndex(real, 1)  # type: ignore[assignment]
        with pytest.raises(Full):
            await keyed(store, "one")
        store.index.env = real
        assert kept(store) is None


async def test_an_entry_may_keep_an_answer_and_change_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        assert store.committer is not None
        empty = msgspec.structs.replace(draft(), once=Once("tok_1", KEY, REQUEST, b"nothing"))
        done = await store.committer.commit(lambda reading: Decided(empty))
        assert done.serial == 2
        assert done.entry is not None
        assert done.entry.changes == ()
        assert kept(store) == (b"nothing", 2)


async def test_the_number_of_answers_stays_that_of_a_day(tmp_path: Path) -> None:
    """By the entries' own clock, so that every index that applied them holds the same rows."""
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        committer = store.committer
        assert committer is not None
        clock = committer._now_ms
        start_ms = clock()
        for number in range(12):
            committer._now_ms = lambda number=number: start_ms + number * KEPT_MS // 4  # type: ignore[misc]
            await keyed(store, f"t{number}", bytes([number]) * 32)
        now_ms = start_ms + 11 * KEPT_MS // 4
        with store.catalog.read() as reading:
            assert reading.answers_kept("tok_1", 100, now_ms) == 5
            assert reading.answers_kept("tok_1", 1, now_ms) == 4, "one of them has had its time"
            assert [reading.answer("tok_1", bytes([n]) * 32, now_ms) is not None for n in range(12)] == [
                *[False] * 8,
                *[True] * 4,
            ]
        with store.index.env.begin() as txn:
            assert sum(1 for _ in store.index.rows(txn, ("answered",))) == 5
