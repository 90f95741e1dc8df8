"""Do places that may have only so much lie in packs of their own, small enough that their most can hold?"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.fills.keeper import ShelfKeeper
from cache.keeping.eviction import Evictor, Queues
from cache.keeping.lanes import PACK_BYTES_MIN, PACKS_OF_CACHE, PACKS_OF_MOST, Lanes
from cache.keeping.shares import Accounts, Owners, parsed
from cache.keeping.shelf import Shelf
from storage.blobs.appending import EVERYBODYS, OPEN_MAX, Lane
from storage.blobs.intake import Intake
from storage.blobs.packs import SINGLE_START
from storage.blobs.shelf import BlobShelf, PackInfo
from storage.digest import sha256
from tests.harness.caches import cache_at
from tests.harness.upstreams import noise
from tests.unit.test_cache_eviction import LARGE, Cache

SMALL = 20_000


def evictor_of(shelf: BlobShelf, bytes_max: int, *texts: str) -> Evictor:
    shares = parsed(texts)
    return Evictor(shelf, bytes_max, shares=shares, owners=Owners(Shelf(shelf.env), shares))


def lanes_of(shelf: BlobShelf, blobs: Sequence[bytes]) -> set[int]:
    """The Lanes of the packs in which these lie."""
    return {pack.lane for pack in shelf.packs() if {one for one, _ in shelf.members(pack.id)} & set(blobs)}


def test_a_place_has_a_lane_where_it_has_a_most_and_the_same_one_after_a_start() -> None:
    shares = parsed(["acme/mirror=-10", "acme=-50", "beta/main=10-", "acme/docs=5-"])
    lanes, again = Lanes(shares, 64 << 30), Lanes(tuple(reversed(shares)), 32 << 30)
    mirror, acme = lanes.of("acme/mirror"), lanes.of("acme/other")
    assert lanes.of("acme/docs") == acme, "its workspace has a most"
    assert {lanes.of(one) for one in ("beta/main", "gamma/x", "")} == {lanes.everybodys}
    assert len({mirror.number, acme.number, lanes.everybodys.number, EVERYBODYS}) == 4
    assert (lanes.place_of(mirror.number), lanes.place_of(acme.number)) == ("acme/mirror", "acme")
    assert again.of("acme/mirror").number == mirror.number
    assert again.everybodys.number == lanes.everybodys.number, "as long as the same places are apart"
    assert Lanes(shares[:1], 64 << 30).everybodys.number != lanes.everybodys.number
    assert Lanes(parsed(["beta/main=10-"]), 64 << 30).everybodys.number == EVERYBODYS
    assert lanes.numbered(acme.number) == acme
    assert lanes.numbered(77) == lanes.everybodys, "of a place that has no most any more"


@given(st.lists(st.integers(1, 99), min_size=1, max_size=100), st.integers(1 << 20, 1 << 40))
def test_packs_of_lanes_are_few_and_small(mosts: list[int], bytes_max: int) -> None:
    """What is being written, and cannot go, is a sixteenth of a most, and for all Lanes a sixty-fourth of the cache."""
    shares = parsed([f"w/r{number}=-{most}" for number, most in enumerate(mosts)])
    lanes = Lanes(shares, bytes_max, 64 << 20)
    found = {lanes.of(one.place) for one in shares}
    assert len({one.number for one in found}) == len(shares), "however many they are, each has its own"
    for one in shares:
        size = lanes.of(one.place).pack_bytes_max
        assert size <= max(PACK_BYTES_MIN, one.most * bytes_max / PACKS_OF_MOST)
    apart = [lanes.of(one.place).pack_bytes_max for one in shares]
    assert sum(apart) <= max(bytes_max / PACKS_OF_CACHE, len(apart) * PACK_BYTES_MIN)
    assert [lanes.place_of(lanes.of(one.place).number) for one in shares] == [one.place for one in shares]


def test_many_places_have_packs_of_their_own_and_few_are_open_at_a_time(tmp_path: Path) -> None:
    """Also beyond those that a process may have open: it goes on with each, and each most is kept."""
    many = 3 * OPEN_MAX
    with cache_at(tmp_path / "cache") as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        evictor = evictor_of(shelf, 400 * LARGE, *(f"w/r{number}=-1" for number in range(many)))
        before = len(os.listdir("/proc/self/fd"))
        blobs: dict[int, list[bytes]] = {}
        for turn in range(4):
            for number in range(many):
                blob = cache.add(SMALL // 8, 10_000 * turn + number, f"w/r{number}", evictor)
                blobs.setdefault(number, []).append(blob)
        assert len(os.listdir("/proc/self/fd")) - before <= OPEN_MAX + 8
        lanes = [lanes_of(shelf, some) for some in blobs.values()]
        assert {len(one) for one in lanes} == {1}
        assert len({next(iter(one)) for one in lanes}) == many
        assert len(shelf.packs()) <= 2 * many, "each is gone on with"


def test_bodies_of_a_lane_lie_apart_and_its_packs_close_at_once(tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache") as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        evictor = evictor_of(shelf, 100 * LARGE, "acme/busy=-10")
        busy = [cache.add(SMALL, seed, "acme/busy", evictor) for seed in range(120)]
        quiet = [cache.add(SMALL, seed, "acme/quiet", evictor) for seed in range(200, 300)]
        large = cache.add(2 * LARGE, 400, "acme/busy", evictor)
        lane = evictor.charge(bytes(32), "acme/busy")
        assert lane.pack_bytes_max == 10 * LARGE // PACKS_OF_MOST
        assert lanes_of(shelf, busy) == lanes_of(shelf, [large]) == {lane.number}
        assert lanes_of(shelf, quiet) == {shelf.everybodys.number}
        theirs = [pack for pack in shelf.packs() if pack.lane == lane.number]
        assert [pack.sealed for pack in theirs].count(False) == 1
        assert all(pack.bytes < lane.pack_bytes_max for pack in theirs if not pack.sealed)
        assert all(shelf.verify(one) for one in (*busy, *quiet, large))


def test_a_lane_is_gone_on_with_after_a_start_and_by_nobody_else(tmp_path: Path) -> None:
    root = tmp_path / "cache"

    def round_of(seed: int, *texts: str) -> tuple[list[PackInfo], list[bytes]]:
        with cache_at(root) as (shelf, _):
            cache = Cache(shelf, root)
            evictor = evictor_of(shelf, 100 * LARGE, *texts)
            added = [cache.add(SMALL, seed + n, place, evictor) for n, place in enumerate(("acme/busy", "acme/quiet"))]
            evictor.make_room({})
            assert all(shelf.verify(one) for one in added)
            return shelf.packs(), added

    first, _ = round_of(0, "acme/busy=-10")
    assert len(first) == 2
    assert [pack.id for pack in round_of(10, "acme/busy=-10")[0]] == [pack.id for pack in first]
    without, added = round_of(20)
    assert [pack.sealed for pack in without] == [True, True, False], "nobody goes on with those, so they may go"
    with cache_at(root) as (shelf, _):
        assert lanes_of(shelf, added) == {EVERYBODYS}


@pytest.mark.parametrize("share", [20, 5, 1])
def test_a_most_holds_however_small_and_others_are_left_alone(tmp_path: Path, share: int) -> None:
    """Far below an eighth of a pack: with everybody's in one it was not kept, or what is others' was written on."""
    with cache_at(tmp_path / "cache", pack_bytes_max=16 * LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        evictor = evictor_of(shelf, 100 * LARGE, f"acme/busy=-{share}")
        held: dict[str, list[bytes]] = {"acme/busy": [], "acme/quiet": []}
        lying = dict[bytes, object]()
        for seed in range(600):
            place = "acme/quiet" if seed % 6 == 0 else "acme/busy"
            blob = cache.add(SMALL if seed % 20 else LARGE // 2, seed, place, evictor)
            held[place].append(blob)
            if place == "acme/quiet":
                lying[blob] = shelf.rows([blob])
            if seed % 10 == 0:
                hot = held["acme/busy"][-30:-20]
                evictor.make_room(dict.fromkeys(hot, 2))
                assert sum(shelf.holds(one) or 0 for one in held["acme/busy"]) <= share * LARGE
        assert all(shelf.rows([one]) == row for one, row in lying.items()), "nothing of it was written on"
        assert sum(shelf.holds(one) or 0 for one in held["acme/busy"]) >= share * LARGE / 2


def test_a_most_that_comes_later_and_goes_again(tmp_path: Path) -> None:
    """What lay together stays so until it goes, and the most holds as far as a pack gives an eighth of itself."""
    root = tmp_path / "cache"
    busy, quiet = list[bytes](), list[bytes]()

    def asked(evictor: Evictor, cache: Cache, seeds: range) -> int:
        for seed in seeds:
            place = "acme/busy" if seed % 3 else "acme/quiet"
            (busy if seed % 3 else quiet).append(cache.add(SMALL, seed, place, evictor))
            if seed % 20 == 0:
                evictor.make_room({})
        evictor.make_room({})
        return sum(cache.shelf.holds(one) or 0 for one in busy)

    with cache_at(root, pack_bytes_max=LARGE) as (shelf, _):
        assert asked(evictor_of(shelf, 40 * LARGE, "acme/quiet=1-"), Cache(shelf, root), range(300)) >= 3 * LARGE
    with cache_at(root, pack_bytes_max=LARGE) as (shelf, _):
        evictor, cache = evictor_of(shelf, 40 * LARGE, "acme/busy=-5"), Cache(shelf, root)
        assert asked(evictor, cache, range(300, 400)) <= 2 * LARGE
        assert all(cache.has(one) for one in quiet)
    with cache_at(root, pack_bytes_max=LARGE) as (shelf, _):
        evictor, cache = evictor_of(shelf, 40 * LARGE, "acme/quiet=1-"), Cache(shelf, root)
        assert asked(evictor, cache, range(400, 600)) >= 3 * LARGE, "it has no most any more"
        assert not [pack for pack in shelf.packs() if pack.lane and not pack.sealed]
        assert all(cache.has(one) for one in quiet)


def test_what_is_larger_than_a_most_goes_and_not_what_fits(tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        evictor = evictor_of(shelf, 20 * LARGE, "acme=-25")
        fits = [cache.add(SMALL, seed, "acme/main", evictor) for seed in range(50)]
        evictor.make_room({})
        large = cache.add(6 * LARGE, 100, "acme/main", evictor)
        evictor.make_room({large: 3})
        assert not cache.has(large)
        assert all(cache.has(one) for one in fits)


def test_a_pin_stays_above_a_most_and_little_beside_it(tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache, shares = Cache(shelf, tmp_path / "cache"), parsed(["acme=-5"])
        pinned = set[bytes]()
        owners = Owners(Shelf(shelf.env), shares)
        evictor = Evictor(shelf, 20 * LARGE, shares=shares, owners=owners, pinned=lambda: pinned)
        others = list[bytes]()
        for seed in range(300):
            blob = cache.add(SMALL, seed, "acme/main", evictor)
            (pinned.add if seed < 100 else others.append)(blob)
            if seed % 10 == 0:
                evictor.make_room({})
        evictor.make_room({})
        assert all(cache.has(one) for one in pinned)
        left = sum(cache.has(one) for one in others)
        assert left * SMALL <= len(pinned) * SMALL / 7 + LARGE / PACKS_OF_MOST


async def test_who_had_it_fetched_first_has_it_until_it_goes(tmp_path: Path) -> None:
    """Both hold the same bytes: the second finds them here, and is charged for them once the first one's went."""
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        evictor = evictor_of(shelf, 20 * LARGE, "acme/busy=-10", "acme/quiet=-50")
        keeper = ShelfKeeper(shelf, evictor)
        body = noise(SMALL, 1)
        name = sha256(body)

        def fetched(place: str) -> None:
            path = tmp_path / "cache" / "1.part"
            path.write_bytes(bytes(SINGLE_START) + body)
            with Intake(tmp_path / "cache" / "staging").stage() as staged:
                staged.write(body)
                staged.seal()
                keeper.keep(path, SMALL, name, staged.sum, place)
            assert not path.exists()

        busy, quiet = evictor.charge(bytes(32), "acme/busy"), evictor.charge(bytes(32), "acme/quiet")
        fetched("acme/busy")
        fetched("acme/quiet")
        assert lanes_of(shelf, [name]) == {busy.number}
        shelf.drop(shelf.packs()[0].id)
        fetched("acme/quiet")
        assert lanes_of(shelf, [name]) == {quiet.number}


def test_a_record_that_was_lost_is_told_by_the_lane() -> None:
    """Records of owners are bounded, and lost on a full disk."""
    shares = parsed(["acme/main=-10", "acme=-40"])
    lanes = Lanes(shares, 1000)
    accounts = Accounts(1000, shares, lambda blob: "", lanes.place_of)
    accounts.admit(PackInfo(1, 90, 80, 0, True, lanes.of("acme/main").number), [(b"a", 50), (b"b", 30)])
    accounts.admit(PackInfo(2, 30, 20, 0, True, lanes.of("acme/other").number), [(b"c", 20)])
    accounts.open([PackInfo(3, 9, 7, 0, False, lanes.of("acme/main").number), PackInfo(4, 9, 9, 0, False)])
    assert (accounts.used("acme/main"), accounts.used("acme")) == (87, 107)
    accounts.forget(1, [(b"b", 30)])
    assert (accounts.used("acme/main"), accounts.used("acme")) == (37, 57)


PACKS = st.lists(
    st.tuples(st.integers(0, 39), st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=6)),
    max_size=40,
)


@given(PACKS, st.integers(1, 30))
def test_whoever_lies_apart_has_no_more_than_its_most_after_a_look(
    packs: list[tuple[int, list[tuple[int, int]]]], most: int
) -> None:
    """Whatever was hit: what is left, and what was written on. Nobody else's pack goes for it."""
    shares = parsed([f"w/r{number}=-{most}" for number in range(4)])
    lanes = Lanes(shares, 300)
    queues = Queues(300, accounts=(accounts := Accounts(300, shares, lambda blob: "", lanes.place_of)))
    inside: dict[int, list[tuple[bytes, int]]] = {}
    lane: dict[int, Lane] = {}
    for id, (place, blobs) in enumerate(packs):
        lane[id] = lanes.of(f"w/r{place % 5}")
        inside[id] = [(b"%d.%d" % (id, number), size) for number, (size, _) in enumerate(blobs)]
        for (blob, _), (_, hits) in zip(inside[id], blobs, strict=True):
            queues.hit(blob, hits)
        queues.admit(PackInfo(id, 60, 60, 0, True, lane[id].number), inside[id])
        gone = list(queues.excess(inside.__getitem__))
        assert all(lane[one.pack].number != EVERYBODYS for one in gone)
        moved = Counter[str]()
        for one in gone:
            sizes = dict(inside.pop(one.pack))
            moved[lanes.place_of(lane[one.pack].number)] += sum(sizes[blob] for blob in one.move)
        for one_of in (share.place for share in shares):
            held = sum(size for number in inside if lane[number] == lanes.of(one_of) for _, size in inside[number])
            assert held + moved[one_of] <= max(most * 3, moved[one_of])
        accounts.open(())
