"""Which names, versions and tags does the npm room take, and does it order versions as semver says?"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.npm import names
from storage.errors import Absent, Invalid

IDENTIFIER = st.one_of(
    st.integers(0, 10**6).map(str), st.from_regex(r"[0-9]{0,3}[A-Za-z-][0-9A-Za-z-]{0,5}", fullmatch=True)
)
NUMBER = st.integers(0, 10**9)


@st.composite
def versions(draw: st.DrawFn) -> str:
    text = f"{draw(NUMBER)}.{draw(NUMBER)}.{draw(NUMBER)}"
    if prerelease := draw(st.lists(IDENTIFIER, max_size=4)):
        text += "-" + ".".join(prerelease)
    if build := draw(st.lists(st.from_regex(r"[0-9A-Za-z-]{1,5}", fullmatch=True), max_size=2)):
        text += "+" + ".".join(build)
    return text


def compare(a: str, b: str) -> int:
    """Semver section 11 as it is written, without keys: the oracle."""
    (core_a, _, pre_a), (core_b, _, pre_b) = (one.partition("+")[0].partition("-") for one in (a, b))
    for left, right in zip(core_a.split("."), core_b.split("."), strict=True):
        if int(left) != int(right):
            return -1 if int(left) < int(right) else 1
    if not pre_a or not pre_b:
        return bool(pre_b) - bool(pre_a) if pre_a != pre_b and not (pre_a and pre_b) else 0
    ones, others = pre_a.split("."), pre_b.split(".")
    for left, right in zip(ones, others, strict=False):
        if left == right:
            continue
        if left.isdigit() and right.isdigit():
            return -1 if int(left) < int(right) else 1
        if left.isdigit() != right.isdigit():
            return -1 if left.isdigit() else 1
        return -1 if left < right else 1
    return (len(ones) > len(others)) - (len(ones) < len(others))


@given(versions(), versions())
def test_versions_are_ordered_as_semver_says(a: str, b: str) -> None:
    left, right = names.semver(a), names.semver(b)
    assert left is not None
    assert right is not None
    assert (left.order > right.order) - (left.order < right.order) == compare(a, b)


def test_the_specifications_own_chain_is_in_order() -> None:
    chain = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1"
    for lower, higher in pairwise(chain.split()):
        left, right = names.semver(lower), names.semver(higher)
        assert left is not None
        assert right is not None
        assert left.order < right.order


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0+",
        "v1.0.0",
        "1.0.0 ",
        "1.0.0\n",
        "1.0.0-a..b",
        "1.0.0-ä",
        "9007199254740992.0.0",
        "1.0.0-9007199254740992",
        "1.0.0-" + "a" * 256,
        "１.0.0",
        "1.0.0-a_b",
        "-1.0.0",
    ],
)
def test_what_is_no_semver_is_refused(text: str) -> None:
    assert names.semver(text) is None
    with pytest.raises(Invalid):
        names.new_version(text)


def test_c15_versions_that_differ_in_build_metadata_alone_cannot_be_published() -> None:
    assert names.semver("1.0.0+a") is not None
    with pytest.raises(Invalid, match="build"):
        names.new_version("1.0.0+a")


@pytest.mark.parametrize("name", ["demo", "@acme/demo", "a.b_c~d-e", "-x", "0", "@a-b/c.d", "constructor", "x" * 214])
def test_good_names(name: str) -> None:
    assert names.new_name(name) == name
    assert names.checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-",
        ".x",
        "_x",
        "__proto__",
        "@/x",
        "@acme/",
        "@acme/.x",
        "@acme/x/y",
        "a/b",
        "a b",
        "a%2fb",
        "a\\b",
        "..",
        "ä",
        "node_modules",
        "favicon.ico",
        "x" * 215,
        "a?b",
        "a#b",
        "a\n",
        "@acme",
        "@@a/b",
        "a:b",
    ],
)
def test_a6_c15_names_that_nothing_can_have(name: str) -> None:
    with pytest.raises(Invalid):
        names.new_name(name)
    with pytest.raises(Absent):
        names.checked_name(name)


@pytest.mark.parametrize("name", ["JSONStream", "it's", "@Acme/demo", "a(b)!*"])
def test_names_of_earlier_days_are_read_and_not_published(name: str) -> None:
    assert names.checked_name(name) == name
    with pytest.raises(Invalid):
        names.new_name(name)


@pytest.mark.parametrize("tag", ["latest", "next", "v17-lts", "next-7", "a.b", "canary+1", "1-lts"])
def test_good_tags(tag: str) -> None:
    assert names.new_tag(tag) == tag


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "1",
        "1.0",
        "v1.0.0",
        "1.0.0-beta",
        "x",
        "*",
        "1.x",
        "=1.0.0",
        "^1",
        ">2",
        "a b",
        "a/b",
        "__proto__",
        "_a",
        "-a",
        "constructor",
        "a\n",
        "t" * 215,
    ],
)
def test_tags_that_clients_would_misread(tag: str) -> None:
    with pytest.raises(Invalid):
        names.new_tag(tag)


def test_latest_falls_back_to_the_highest_release() -> None:
    assert names.highest(["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"]) == "1.10.0"
    assert names.highest(["1.0.0-b", "1.0.0-a"]) == "1.0.0-b"
    assert names.highest([]) == ""
