"""Are the cache's records what was put, bounded, and forgotten when they cannot be trusted?"""

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from cache.keeping.shelf import Held, Shelf
from storage.errors import Full


@pytest.fixture
def env(tmp_path: Path) -> Iterator[lmdb.Environment]:
    opened = lmdb.open(str(tmp_path / "cache"), map_size=64 << 20, max_dbs=16, sync=False)
    yield opened
    opened.close()


def test_a_record_is_found_under_its_kind_and_key_only(env: lmdb.Environment) -> None:
    shelf = Shelf(env)
    shelf.put("document", b"key", b"value")
    assert shelf.get("document", b"key") == b"value"
    assert shelf.get("documen", b"t\0key") is None
    assert shelf.get("foreign", b"key") is None
    shelf.put("document", b"key", b"")
    assert shelf.get("document", b"key") == b""
    shelf.drop("document", b"key")
    assert shelf.get("document", b"key") is None
    shelf.drop("document", b"key")


def test_long_keys_do_not_meet(env: lmdb.Environment) -> None:
    shelf = Shelf(env)
    shelf.put("k", b"a" * 600, b"one")
    shelf.put("k", b"a" * 601, b"two")
    assert (shelf.get("k", b"a" * 600), shelf.get("k", b"a" * 601)) == (b"one", b"two")


def test_e8_a_torn_value_is_forgotten(env: lmdb.Environment) -> None:
    shelf = Shelf(env)
    shelf.put("document", b"key", b"value")
    table = env.open_db(b"records")
    with env.begin(write=True) as writing:
        row = bytearray(writing.get(b"document\0key", db=table) or b"")
        row[-1] ^= 1
        writing.put(b"document\0key", bytes(row), db=table)
    assert shelf.get("document", b"key") is None
    assert shelf.bytes_used() == 0


def test_the_oldest_go_first_and_the_weight_stays_bounded(env: lmdb.Environment) -> None:
    shelf = Shelf(env, bytes_max=10_000)
    for number in range(40):
        shelf.put("document", b"%d" % number, b"x" * 500)
        shelf.put("document", b"kept", b"young")
    assert shelf.bytes_used() <= 10_000
    assert shelf.get("document", b"0") is None
    assert shelf.get("document", b"39") == b"x" * 500
    assert shelf.get("document", b"kept") == b"young"


def test_the_weight_is_the_sum_of_what_is_there(env: lmdb.Environment) -> None:
    shelf = Shelf(env)
    assert shelf.bytes_used() == 0
    for number in range(10):
        shelf.put("document", b"%d" % (number % 3), b"y" * number)
    for number in range(3):
        shelf.drop("document", b"%d" % number)
    assert shelf.bytes_used() == 0


def test_what_is_too_large_is_not_kept_and_neither_is_what_it_replaces(env: lmdb.Environment) -> None:
    shelf = Shelf(env, value_bytes_max=100)
    shelf.put("document", b"key", b"old")
    shelf.put("document", b"key", b"z" * 101)
    assert shelf.get("document", b"key") is None


def test_scan_lists_one_kind(env: lmdb.Environment) -> None:
    shelf = Shelf(env)
    shelf.put("heat", b"b", b"2")
    shelf.put("heat", b"a", b"1")
    shelf.put("heatx", b"c", b"3")
    assert list(shelf.scan("heat")) == [(b"a", b"1"), (b"b", b"2")]


def test_a_claim_is_one_callers_until_it_is_released(env: lmdb.Environment) -> None:
    one, other = Shelf(env), Shelf(env)
    assert one.claim(b"package", 60)
    assert not other.claim(b"package", 60)
    one.release(b"package")
    assert other.claim(b"package", 0)
    assert one.claim(b"package", 60), "a claim ends by itself"


def test_e5_e6_what_a_full_disk_does_not_take_is_held_for_a_while(tmp_path: Path) -> None:
    """By its process alone; what it forgot is forgotten too. What is too large for that is a Problem with a name."""
    small = lmdb.open(str(tmp_path / "small"), map_size=128 << 10, max_dbs=16, sync=False)
    shelf, other = Shelf(small), Shelf(small)
    keys = [b"%d" % number for number in range(100)]
    for key in keys:
        shelf.put("document", key, b"x" * 4000)
    assert {shelf.get("document", key) for key in keys} == {b"x" * 4000}
    with shelf.reading() as get:
        assert bytes(get("document", keys[-1]) or b"") == b"x" * 4000
    on_disk = [key for key in keys if other.get("document", key)]
    assert 0 < len(on_disk) < 100
    shelf.drop("document", keys[-1])
    assert shelf.get("document", keys[-1]) is None
    assert shelf.claim(b"package", 60)
    shelf._held = Held(seconds=-1)
    shelf.put("document", b"late", b"x" * 40_000)
    assert shelf.get("document", b"late") is None, "it is not held for long"
    shelf._held = Held(bytes_max=30_000)
    with pytest.raises(Full):
        shelf.put("document", b"large", b"x" * 40_000)
    small.close()


def test_what_is_held_is_bounded_and_the_oldest_goes() -> None:
    held = Held(bytes_max=1000)
    for number in range(20):
        assert held.put(b"%d" % number, b"y" * 100)
    assert held.get(b"0") is None
    assert held.get(b"19") == b"y" * 100
    assert not held.put(b"large", b"y" * 1000)
    for number in range(20):
        held.forget(b"%d" % number)
    assert not held
