"""Are names refused that would mean something else in an address, a scope or a log?"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.names import RESERVED, display, is_slug, slug
from storage.errors import Invalid
from storage.nouns import SYSTEM


@pytest.mark.parametrize("name", ["a", "0", "acme", "a.b_c-d", "a" * 63, "v3", "tt"])
def test_good_names(name: str) -> None:
    assert slug(name, "A workspace") == name


@pytest.mark.parametrize(
    "name", ["", "-", "v2", "t", "A", "-a", ".a", "..", "a/b", "a b", "a\n", "é", "a" * 64, "*", "a%2f", "ａ"]
)
def test_bad_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        slug(name, "A workspace")
    assert caught.value.message.startswith("A workspace")
    assert caught.value.remedy


def test_the_journal_of_the_system_is_no_workspace() -> None:
    assert SYSTEM in RESERVED
    assert not is_slug(SYSTEM)


@given(st.text(max_size=70))
def test_a_slug_needs_no_escaping(name: str) -> None:
    if is_slug(name):
        assert re.fullmatch(r"[a-z0-9._-]{1,63}", name, re.ASCII)
        assert name not in (".", "..")


@pytest.mark.parametrize("name", ["ci", "Build machine 3", "Łódź"])
def test_display_names(name: str) -> None:
    assert display(name, "A token") == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\x1b[0m", "\u202eabc", "a" * 101, "\u2028", "\ud800"])
def test_display_names_that_would_forge_a_log_line(name: str) -> None:
    with pytest.raises(Invalid):
        display(name, "A token")
