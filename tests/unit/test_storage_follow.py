"""Following a journal: everything once, in order, from anywhere, and never two histories merged (THREATS F3, F4)."""

import random
from pathlib import Path

import msgspec
import pytest

from storage.digest import sha256
from storage.errors import Conflict, Damaged
from storage.index.applier import Applier
from storage.nouns import SYSTEM, Entry, PutWorkspace, Workspace
from storage.open import Store
from tests.harness.stores import opened, publish, write


async def fill(store: Store, count: int = 12) -> None:
    """Entries of three journals, interleaved."""
    for n in range(count):
        if n % 3 == 0:
            await write(store, PutWorkspace(Workspace(f"w{n}")), workspace=SYSTEM, repository="")
        await publish(store, f"f{n}", b"data %d" % n)


def read_all(store: Store, after: dict[str, int], bytes_max: int = 1 << 20) -> list[bytes]:
    assert store.journal is not None
    reader = store.journal.follow(after)
    bodies: list[bytes] = []
    while some := reader.read(bytes_max):
        bodies += some
    return bodies


def applier_of(store: Store) -> Applier:
    assert store.applier is not None
    return store.applier


def places(bodies: list[bytes]) -> list[tuple[str, int]]:
    return [(entry.workspace, entry.serial) for entry in (msgspec.msgpack.decode(body, type=Entry) for body in bodies)]


@pytest.mark.parametrize("bytes_max", [1, 300, 1 << 20])
async def test_a_reader_gives_everything_once_and_in_order(tmp_path: Path, bytes_max: int) -> None:
    with opened(tmp_path, segment_bytes_max=700) as store:
        await fill(store)
        told = places(read_all(store, {}, bytes_max))
        assert sorted(told) == sorted([(SYSTEM, n) for n in range(1, 5)] + [("acme", n) for n in range(1, 13)])
        for workspace in (SYSTEM, "acme"):
            assert [n for name, n in told if name == workspace] == sorted(n for name, n in told if name == workspace)


async def test_a_reader_resumes_at_any_place(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes_max=700) as store:
        await fill(store)
        everything = read_all(store, {})
        for system in range(5):
            for acme in range(0, 13, 4):
                after = {SYSTEM: system, "acme": acme}
                told = places(read_all(store, after))
                assert told == [(name, n) for name, n in places(everything) if n > after[name]]


async def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.journal is not None
        reader = store.journal.follow({})
        assert reader.read() == []
        await publish(store, "a", b"a")
        assert places(reader.read()) == [("acme", 1)]
        assert reader.read() == []
        await publish(store, "b", b"b")
        await publish(store, "c", b"c")
        assert places(reader.read()) == [("acme", 2), ("acme", 3)]


async def test_f3_a_follower_that_is_ahead_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        await publish(store, "a", b"a")
        assert store.journal is not None
        with pytest.raises(Conflict):
            store.journal.follow({"acme": 2}).read()


async def test_an_edge_that_applied_everything_is_equal(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin, opened(tmp_path / "e", role="edge") as edge:
        await fill(origin)
        bodies = read_all(origin, {})
        seen, applier = edge.catalog.moment(), applier_of(edge)
        assert applier.apply_raw(bodies) == len(bodies)
        assert edge.catalog.moment() > seen
        assert applier.heads() == _heads(origin)
        assert applier.epoch() == origin.epoch
        assert [row for row in edge.index.dump().rows if row[0] != "places"] == [
            row for row in origin.index.dump().rows if row[0] != "places"
        ]


def _heads(store: Store) -> dict[str, tuple[int, bytes]]:
    with store.catalog.read() as reading:
        return reading.heads()


async def test_f4_replays_and_overlaps_change_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin, opened(tmp_path / "e", role="edge") as edge:
        await fill(origin)
        bodies, applier, chance = read_all(origin, {}), applier_of(edge), random.Random(4)
        done = 0
        while done < len(bodies):
            start, stop = chance.randint(0, done), chance.randint(done, len(bodies))
            assert applier.apply_raw(bodies[start:stop]) == stop - done
            done = stop
        before = edge.index.dump()
        assert applier.apply_raw(bodies) == 0
        assert edge.index.dump() == before


async def test_f4_gaps_forgeries_and_nonsense_are_damaged_and_leave_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin, opened(tmp_path / "e", role="edge") as edge:
        await fill(origin)
        bodies, applier = read_all(origin, {}), applier_of(edge)
        applier.apply_raw(bodies[:5])
        before = edge.index.dump()
        last = msgspec.msgpack.decode(bodies[5], type=Entry)
        forged = msgspec.msgpack.encode(msgspec.structs.replace(last, previous=bytes(32)))
        other = msgspec.msgpack.decode(bodies[4], type=Entry)
        rewritten = msgspec.msgpack.encode(msgspec.structs.replace(other, actor="mallory"))
        later = msgspec.msgpack.encode(msgspec.structs.replace(last, epoch=origin.epoch + 1))
        for wrong in ([bodies[5], bodies[7]], [forged], [rewritten], [later], [b"\xc1"], [bodies[5][:-1]]):
            with pytest.raises(Damaged):
                applier.apply_raw(wrong)
            assert edge.index.dump() == before
        assert applier.apply_raw(bodies) == len(bodies) - 5


async def test_f3_a_new_epoch_is_followed_after_starting_anew(tmp_path: Path) -> None:
    """A restored origin goes on in a new epoch: its history holds entries of both."""
    with opened(tmp_path / "o") as origin, opened(tmp_path / "e", role="edge") as edge:
        await fill(origin, 2)
        bodies, applier = read_all(origin, {}), applier_of(edge)
        applier.apply_raw(bodies)
        assert origin.journal is not None
        origin.journal.epoch += 1
        await publish(origin, "later", b"later")
        bodies = read_all(origin, {})
        with pytest.raises(Damaged, match="epoch"):
            applier.apply_raw(bodies)
        applier.reset_for_resync(origin.journal.epoch)
        assert applier.heads() == {}
        assert edge.index.dump().rows == ()
        assert applier.apply_raw(bodies) == len(bodies)
        assert applier.heads() == _heads(origin)


async def test_f11_entries_are_chained_by_their_bytes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for n in range(4):
            await publish(store, f"f{n}", b"x")
        previous = bytes(32)
        for body in read_all(store, {}):
            assert msgspec.msgpack.decode(body, type=Entry).previous == previous
            previous = sha256(body)
