"""Are tokens unguessable, recognisable, and refused when a letter is wrong?"""

import string

from hypothesis import given
from hypothesis import strategies as st

from gateway.access import tokens

LETTERS = string.digits + string.ascii_letters


def test_c10_a_token_has_more_than_160_random_bits_and_two_are_never_the_same() -> None:
    minted = [tokens.mint() for _ in range(500)]
    assert len({text for text, _ in minted}) == len({parts.id for _, parts in minted}) == 500
    assert 62**tokens.RANDOM_CHARS > 2**160
    # every letter turns up at random places: 16,000 draws leave none of 62 out
    assert {char for text, _ in minted for char in text[4:36]} == set(LETTERS)


def test_the_parts_find_the_text_and_do_not_hold_it() -> None:
    text, parts = tokens.mint()
    assert tokens.hash_of(text) == parts.sha256
    assert len(parts.sha256) == 32
    assert text[4:36] not in parts.id


def test_a_minted_token_is_well_formed() -> None:
    for _ in range(200):
        text, _ = tokens.mint()
        assert tokens.well_formed(text)
        assert len(text) == tokens.TEXT_CHARS == 42


def test_the_checksum_is_the_one_that_is_written_down() -> None:
    # fixed here, so that tokens of an older release stay good
    assert tokens.well_formed("ent_" + "0" * 32 + "34P88z")


@given(st.integers(0, 41), st.sampled_from(LETTERS))
def test_a_wrong_letter_is_noticed(place: int, letter: str) -> None:
    text, _ = tokens.mint()
    changed = text[:place] + letter + text[place + 1 :]
    assert tokens.well_formed(changed) == (changed == text)


@given(st.text(max_size=60))
def test_other_text_is_refused_without_a_fuss(text: str) -> None:
    assert not tokens.well_formed(text)
    assert not tokens.well_formed("ent_" + text)


def test_what_looks_like_a_letter_is_none() -> None:
    text, _ = tokens.mint()
    assert not tokens.well_formed(text[:-1] + "\u0660")
    assert not tokens.well_formed(text + "\n")
    assert not tokens.well_formed(" " + text)
    assert not tokens.well_formed("ENT_" + text[4:])
