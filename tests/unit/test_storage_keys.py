"""Keys are injective and bounded; values show a flipped bit (THREATS C15, E8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Damaged, Invalid
from storage.index import keys

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(NAMES, min_size=3, max_size=3), st.lists(NAMES, min_size=3, max_size=3))
def test_c15_two_tuples_never_share_a_key(a: list[str], b: list[str]) -> None:
    assert (keys.join(*a) == keys.join(*b)) == (a == b)
    assert keys.split(keys.join(*a)) == a


@given(st.lists(NAMES, unique=True, max_size=10))
def test_keys_sort_as_their_names_do(names: list[str]) -> None:
    assert sorted(names) == [keys.split(key)[1] for key in sorted(keys.join("a", name) for name in names)]


@pytest.mark.parametrize("name", ["a\0b", "\0", "\ud800", "x" * 501, "é" * 251])
def test_names_that_no_key_can_hold_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        keys.join(name)


def test_labels_of_different_kinds_differ() -> None:
    made = [
        keys.label_package("a", "b", "c", "d"),
        keys.label_format("a", "b", "c"),
        keys.label_repository("a", "b"),
        keys.label_workspace("a"),
        keys.label_token("a"),
    ]
    assert len(set(made)) == len(made)


def test_places_count_up_in_byte_order() -> None:
    places = [keys.place("a", serial) for serial in (1, 2, 255, 256, 65536)]
    assert places == sorted(places)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_e8_every_flipped_bit_of_a_value_is_seen(payload: bytes, data: st.DataObject) -> None:
    value = bytearray(keys.seal(payload))
    assert keys.unseal(bytes(value), "t") == payload
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged):
        keys.unseal(bytes(value), "t")
