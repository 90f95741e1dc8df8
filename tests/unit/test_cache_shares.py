"""Does a Repository keep what it is guaranteed, get no more than it may have, and does metadata outlive large files?"""

from collections.abc import Sequence, Set
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.policies import Packs
from cache.keeping.eviction import Evictor, Queues
from cache.keeping.shares import Accounts, Owners, Share, parse, parsed
from cache.keeping.shelf import Shelf
from storage.blobs.shelf import PackInfo
from tests.harness.caches import cache_at
from tests.unit.test_cache_eviction import LARGE, Cache


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("acme/main=10-40", Share("acme/main", 0.1, 0.4)),
        ("acme=5-", Share("acme", 0.05, 1.0)),
        ("acme=-50", Share("acme", 0.0, 0.5)),
        ("acme=-", Share("acme", 0.0, 1.0)),
    ],
)
def test_a_share_is_written_as_it_is_said(text: str, share: Share) -> None:
    assert parse(text) == share


@pytest.mark.parametrize(
    "text",
    ["", "acme", "acme=", "acme=10", "=10-20", "a/b/c=1-2", "a=20-10", "a=-0", "a=1-101", "a/=1-2", "a=x-2", "a=nan-"],
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no share"):
        parse(text)


def test_shares_must_hold_together() -> None:
    assert len(parsed(["a=40-", "a/b=30-", "a/c=10-", "c=45-"], 0.05)) == 4, "a repository's is part of its workspace's"
    for texts in (["a=50-", "b=45-"], ["a=10-", "a/b=40-", "a/c=46-"]):
        with pytest.raises(ValueError, match="guaranteed"):
            parsed(texts, 0.05)
    with pytest.raises(ValueError, match="two shares"):
        parsed(["a=1-", "a=2-"])


def test_what_is_guaranteed_stays_and_what_is_too_much_goes(tmp_path: Path) -> None:
    """Large files, through the real shelf: least, most, and who has neither."""
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        shares = parsed(["acme/quiet=25-", "acme/busy=-30"])
        owners = Owners(Shelf(shelf.env), shares)
        evictor = Evictor(shelf, 20 * LARGE, shares=shares, owners=owners)
        held: dict[str, list[bytes]] = {"acme/quiet": [], "acme/busy": [], "acme/other": []}

        def add(place: str, seed: int) -> None:
            blob = cache.add(LARGE, seed, place, evictor)
            held[place].append(blob)
            evictor.make_room({})

        def has(place: str) -> int:
            return sum(cache.has(one) for one in held[place])

        for seed in range(4):
            add("acme/quiet", seed)
        for seed in range(100, 112):
            add("acme/busy", seed)
            assert has("acme/busy") <= 6, "no more than its most, though there is room"
        assert has("acme/busy") == 6
        for seed in range(200, 240):
            add("acme/other", seed)
        assert has("acme/quiet") == 4, "however little it is asked for"
        assert cache.used <= 20.1 * LARGE
        assert has("acme/other") >= 10, "the rest is anybody's"


def test_what_each_place_has_is_told_to_every_process_open_packs_and_shared_ones_too(tmp_path: Path) -> None:
    """A guarantee without a most has no packs of its own: what lies in everybody's is counted by its owner."""
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        shares = parsed(["acme=20-", "acme/quiet=10-", "acme/busy=-30", "idle=-5"])
        owners = Owners(Shelf(shelf.env), shares)
        evictor = Evictor(shelf, 20 * LARGE, shares=shares, owners=owners)
        other = Evictor(shelf, 20 * LARGE, shares=shares, owners=owners)
        assert other.portions() == [], "nobody has looked"

        def had() -> dict[str, int]:
            evictor.look({})
            told = other.portions()
            assert [one.guaranteed_bytes for one in told] == [4 * LARGE, 2 * LARGE, 0, 0]
            assert [one.most_bytes for one in told] == [0, 0, 6 * LARGE, LARGE]
            return {one.place: one.bytes for one in told}

        cache.add(5_000, 1, "acme/quiet", evictor)
        cache.add(7_000, 2, "acme/busy", evictor)
        cache.add(9_000, 3, "elsewhere/x", evictor)
        assert had() == {"acme": 12_000, "acme/quiet": 5_000, "acme/busy": 7_000, "idle": 0}
        assert had() == {"acme": 12_000, "acme/quiet": 5_000, "acme/busy": 7_000, "idle": 0}, "and again"
        large = [cache.add(LARGE, seed, "acme/quiet", evictor) for seed in range(10, 13)]
        assert had()["acme/quiet"] == 5_000 + 3 * LARGE, "sealed ones and the open one"
        for seed in range(100, 110):
            cache.add(LARGE, seed, "acme/busy", evictor)
        assert had()["acme/busy"] <= 6 * LARGE
        assert all(cache.has(one) for one in large)
        fewer = Evictor(shelf, 20 * LARGE, shares=shares[1:2], owners=owners)
        assert [one.place for one in fewer.portions()] == ["acme/quiet"], "of none that is configured no more"
        assert Evictor(shelf, 20 * LARGE).portions() == []


def test_of_one_who_has_too_much_what_was_asked_for_stays_longest(tmp_path: Path) -> None:
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        shares = parsed(["acme=-25"])
        evictor = Evictor(shelf, 20 * LARGE, shares=shares, owners=Owners(Shelf(shelf.env), shares))
        blobs = [cache.add(LARGE, seed, "acme/main", evictor) for seed in range(8)]
        evictor.make_room({blobs[0]: 3})
        assert cache.has(blobs[0])
        assert [cache.has(one) for one in blobs[1:]] == [False] * 3 + [True] * 4, "five may stay"


def test_small_objects_of_a_guaranteed_place_are_written_on(tmp_path: Path) -> None:
    """They lie in packs together with those of others."""
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        shares = parsed(["acme/quiet=10-"])
        evictor = Evictor(shelf, 8 * LARGE, shares=shares, owners=Owners(Shelf(shelf.env), shares))
        quiet = []
        for seed in range(600):
            ours = seed % 30 == 0 and seed < 300
            blob = cache.add(40_000, seed, "acme/quiet" if ours else "acme/busy", evictor)
            if ours:
                quiet.append(blob)
            if seed % 20 == 0:
                evictor.make_room({})
        evictor.make_room({})
        assert all(cache.has(one) for one in quiet)
        assert cache.used <= 10 * LARGE


def test_of_one_who_has_too_much_small_objects_go_and_nobody_elses(tmp_path: Path) -> None:
    """They lie in packs with those of a quiet one, from before there was a most: to whom nothing is guaranteed, and who
    is not asked for; by now the busy one has not even most of any pack."""
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        shares = parsed(["acme/busy=-10"])
        evictor = Evictor(shelf, 40 * LARGE, shares=shares, owners=Owners(Shelf(shelf.env), shares))
        quiet, busy = list[bytes](), list[bytes]()
        for seed in range(600):
            blob = cache.add(40_000, seed)
            (busy if seed % 3 == 0 else quiet).append(blob)
            evictor.charge(blob, "acme/busy" if seed % 3 == 0 else "acme/quiet")
        hot = busy[:5]
        evictor.make_room(dict.fromkeys(hot, 1))
        assert all(cache.has(one) for one in quiet), "there is room for them"
        assert all(cache.has(one) for one in hot), "what was asked for goes last"
        held = sum(40_000 for one in busy if cache.has(one))
        assert held <= 5 * LARGE, "its most, and what is in the pack that is being written"
        assert held >= 2 * LARGE, "and no more than that went"


def test_who_has_too_much_is_found_in_one_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk for each pack that goes would be the square of what is there."""
    packs = {number: [(b"%d" % number, 10)] for number in range(4_000)}
    accounts = Accounts(40_000, parsed(["a=-10"]), lambda sha256: "a/x" if int(sha256) >= 2_000 else "b/x")
    queues = Queues(40_000, accounts=accounts)
    for number, inside in packs.items():
        queues.admit(PackInfo(number, 10, 10, 0, True), inside)
    asked = 0
    known = accounts.held

    def counted(pack: int, places: Set[str]) -> int:
        nonlocal asked
        asked += 1
        return known(pack, places)

    monkeypatch.setattr(accounts, "held", counted)
    assert [one.pack for one in queues.excess(packs.__getitem__)] == list(range(2_000, 3_600))
    assert asked <= 4_000


def test_metadata_is_not_driven_out_by_large_files(tmp_path: Path) -> None:
    for share, stays in ((0.2, True), (0.0, False)):
        with cache_at(tmp_path / f"cache-{share}", pack_bytes_max=LARGE // 4) as (shelf, _):
            cache = Cache(shelf, tmp_path / f"cache-{share}")
            evictor = Evictor(shelf, 20 * LARGE, small_share_min=share)
            small = [cache.add(20_000, seed) for seed in range(100)]
            for seed in range(1000, 1200):
                blob = cache.add(LARGE, seed)
                evictor.make_room({blob: 2})
            assert (sum(cache.has(one) for one in small) > 90) is stays
            assert cache.used <= 20.5 * LARGE


def test_guarantees_are_shares_of_what_the_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose disk is smaller than its configuration says can still forget."""
    with cache_at(tmp_path / "cache", pack_bytes_max=LARGE // 4) as (shelf, _):
        cache = Cache(shelf, tmp_path / "cache")
        shares = parsed(["acme=50-"], 0.05)
        evictor = Evictor(
            shelf, 64 << 30, free_bytes_min=4 * LARGE, shares=shares, owners=Owners(Shelf(shelf.env), shares)
        )
        for seed in range(20):
            cache.add(LARGE, seed, "acme/main", evictor)
        monkeypatch.setattr("storage.disk.free_bytes", lambda path: 0)
        assert 4 * LARGE <= evictor.make_room({}) <= 6 * LARGE


PACKS = st.lists(st.tuples(st.sampled_from(["a/x", "a/y", "b/x", ""]), st.integers(1, 50)), min_size=1, max_size=60)


@given(PACKS, st.integers(10, 400), st.integers(0, 60), st.integers(10, 100))
def test_the_sums_are_those_of_the_packs(packs: Sequence[tuple[str, int]], room: int, least: int, most: int) -> None:
    """Whatever comes and goes: what is counted is what is there, the least stays, and the rest fits."""
    shares = (Share("a/x", least / 100, 1.0), Share("a", 0.0, most / 100))
    owner = {b"%d" % number: place for number, (place, _) in enumerate(packs)}
    inside = {number: [(b"%d" % number, size)] for number, (_, size) in enumerate(packs)}
    accounts = Accounts(room, shares, lambda sha256: owner[sha256])
    queues = Queues(room, accounts=accounts)
    there: dict[int, int] = {}
    for number, (_, size) in enumerate(packs):
        queues.admit(PackInfo(number, size, size, 0, True), inside[number])
        there[number] = size
        had = accounts.used("a/x")
        for over in queues.excess(inside.__getitem__):
            del there[over.pack]
        if not accounts.over():
            had = accounts.used("a/x")
        while sum(there.values()) > room and (drop := queues.next(inside.__getitem__)) is not None:
            del there[drop.pack]
        assert accounts.used("a/x") >= min(had, least / 100 * room) or accounts.used("a/x") == had
        for place in ("a/x", "a"):
            held = sum(size for pack, size in there.items() if packs[pack][0] in (place, f"{place}/x", f"{place}/y"))
            assert accounts.used(place) == held


def test_the_simulator_counts_with_shares() -> None:
    """A quiet repository beside a busy one that never asks twice."""
    quiet = [(b"q%d" % n, 1 << 16) for n in range(50)]
    bytes_max = 200 << 16

    def hits(shares: tuple[Share, ...]) -> int:
        policy = Packs(bytes_max, shares, lambda key: "a/quiet" if key.startswith(b"q") else "a/busy")
        found = 0
        for turn in range(20):
            found += sum(policy.ask(*one) for one in quiet)
            for number in range(600):
                policy.ask(b"b%d-%d" % (turn, number), 1 << 16)
        return found

    assert hits(()) < 10 * 50 < 18 * 50 <= hits((parse("a/quiet=40-"),))
