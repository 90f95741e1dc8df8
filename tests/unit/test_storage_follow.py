"""Following a journal: everything once, in order, from anywhere, and never two histories merged (THREATS F3, F4)."""

import random
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digest import sha256
from storage.errors import Conflict, Damaged
from storage.index.applier import Applier
from storage.index.beside import differences
from storage.index.keys import label_history
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
        before = edge.index.dump()
        applier.reset_for_resync(origin.journal.epoch)
        assert applier.anew
        assert applier.heads() == {}
        assert applier.apply_raw(bodies) == len(bodies)
        assert applier.heads() == _heads(origin)
        assert edge.index.dump() == before, "what was shown stays until all of the other history is here"
        applier.take_over()
        assert not applier.anew
        assert applier.heads() == _heads(origin)
        assert rows_of(edge) == rows_of(origin)


async def test_f3_e12_another_history_takes_the_place_of_the_one_shown_in_one_step(tmp_path: Path) -> None:
    """Byte for byte as in an edge that never knew the first one, and nothing is left beside."""
    with (
        opened(tmp_path / "a") as first,
        opened(tmp_path / "b") as second,
        opened(tmp_path / "e", role="edge") as edge,
        opened(tmp_path / "f", role="edge") as fresh,
    ):
        await fill(first, 9)
        await fill(second, 6)
        await publish(second, "f7", b"of the second alone")
        applier = applier_of(edge)
        applier.apply_raw(read_all(first, {}))
        shown, moment = edge.index.dump(), edge.catalog.moment()
        bodies = read_all(second, {})
        applier.reset_for_resync(second.epoch)
        for body in bodies:
            applier.apply_raw([body])
            assert (edge.index.dump(), edge.catalog.moment()) == (shown, moment)
        with edge.catalog.read() as reading:
            first_history = reading.label(label_history())
            applier.take_over()
            assert rows_of(edge) == rows_of(second)
            assert reading.label(label_history()) == first_history == 0, "who reads has one moment throughout"
        with edge.catalog.read() as reading:
            assert reading.label(label_history()) != first_history, "equal Serials of two histories are told apart"
        applier_of(fresh).apply_raw(bodies)
        assert edge.index.dump() == fresh.index.dump()
        assert applier.epoch() == second.epoch
        assert not (tmp_path / "e" / "index.next").exists()
        await publish(second, "later", b"later")
        assert applier.apply_raw(read_all(second, {name: serial for name, (serial, _) in applier.heads().items()})) == 1


async def test_f3_what_was_learned_beside_is_begun_anew_after_a_death(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin:
        await fill(origin, 6)
        bodies = read_all(origin, {})
        with opened(tmp_path / "e", role="edge") as edge:
            applier_of(edge).apply_raw(bodies)
        copy = tmp_path / "e" / "index.next"
        shutil.copytree(tmp_path / "e" / "index", copy)
        with opened(tmp_path / "e", role="edge") as edge:
            assert not copy.exists()
            applier = applier_of(edge)
            assert not applier.anew
            applier.reset_for_resync()
            applier.apply_raw(bodies[:4])
            applier.reset_for_resync()
            assert applier.heads() == {}, "a second beginning knows nothing of the first"
            assert applier.apply_raw(bodies) == len(bodies)
        assert not copy.exists(), "closing lets go of it"


async def test_what_is_forgotten_meanwhile_is_not_shown_either(tmp_path: Path) -> None:
    with opened(tmp_path / "o") as origin, opened(tmp_path / "e", role="edge") as edge:
        await fill(origin, 6)
        bodies, applier = read_all(origin, {}), applier_of(edge)
        applier.apply_raw(bodies)
        applier.reset_for_resync(origin.epoch)
        applier.apply_raw(bodies)
        assert applier.forget_workspace("acme")
        with edge.catalog.read() as reading:
            assert reading.workspace("acme") is None
            assert "acme" not in reading.heads()
        applier.take_over()
        assert set(applier.heads()) == {SYSTEM}


ROWS = st.dictionaries(st.binary(max_size=3), st.binary(max_size=2))


@given(ROWS, ROWS)
def test_differences_make_one_equal_to_the_other(old: dict[bytes, bytes], new: dict[bytes, bytes]) -> None:
    made, written = dict(old), 0
    for key, value in differences(iter(sorted(old.items())), iter(sorted(new.items()))):
        written += 1
        if value is None:
            del made[key]
        else:
            made[key] = value
    assert made == new
    assert written == len(old.items() ^ new.items()) - sum(old[key] != new[key] for key in old.keys() & new.keys())


def rows_of(store: Store) -> list[tuple[str, bytes, bytes]]:
    return [row for row in store.index.dump().rows if row[0] != "places"]


async def test_f11_entries_are_chained_by_their_bytes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for n in range(4):
            await publish(store, f"f{n}", b"x")
        previous = bytes(32)
        for body in read_all(store, {}):
            assert msgspec.msgpack.decode(body, type=Entry).previous == previous
            previous = sha256(body)
