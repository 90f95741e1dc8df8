"""Do rules say exactly what they should: what is allowed, what is denied, to which packages and tags?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.rights.grants import (
    ACTIONS,
    DELETE,
    EVERYTHING,
    MANAGE,
    OF_PACKAGES,
    PUBLISH,
    READ,
    TAG,
    Rule,
    What,
    decide,
    matches,
    pattern,
    possible,
    rule_of,
    whole,
)
from storage.errors import Invalid
from storage.nouns import Grant


def rules(*grants: Grant) -> tuple[Rule, ...]:
    return tuple(rule_of(one, f"rule {number}", 10) for number, one in enumerate(grants, 1))


def may(given: tuple[Rule, ...], action: str, format: str = "pypi", package: str = "lib", tag: str = "") -> bool:
    return decide(given, What(action, "acme", "main", format, package, tag), 5).allowed


def test_a_denial_goes_before_everything_and_says_so() -> None:
    given_rules = rules(
        Grant("acme", admin=True), Grant("acme/main", True, formats=("pypi",), packages=("secret-*",), deny=True)
    )
    assert may(given_rules, READ)
    assert not may(given_rules, READ, package="secret-lib")
    assert may(given_rules, PUBLISH, package="secret-lib"), "what was denied is reading"
    verdict = decide(given_rules, What(READ, "acme", "main", "pypi", "secret-lib"), 5)
    assert verdict.why() == "denied by rule 2"
    assert decide(given_rules, What(READ, "acme", "main", "pypi", "lib"), 5).why() == "allowed by rule 1"
    assert decide(given_rules, What(READ, "other", "main", "pypi", "lib"), 5).why() == "nothing allows it"


def test_o30_a_grant_by_format_name_and_action() -> None:
    given_rules = rules(Grant("acme/main", False, actions=(PUBLISH,), formats=("npm",), packages=("@web/*",)))
    assert may(given_rules, PUBLISH, "npm", "@web/app")
    assert not may(given_rules, PUBLISH, "pypi", "@web/app")
    assert not may(given_rules, PUBLISH, "npm", "@core/app")
    assert not may(given_rules, DELETE, "npm", "@web/app")
    assert not may(given_rules, PUBLISH, "npm", ""), "all packages at once is more than it was given"


def test_tags_narrow_the_setting_of_tags_and_give_nothing_else() -> None:
    given_rules = rules(Grant("acme/main", True, True, tags=("dev-*",)))
    assert may(given_rules, TAG, tag="dev-1")
    assert not may(given_rules, TAG, tag="latest")
    assert not any(may(given_rules, action) for action in ACTIONS if action != TAG)


def test_a_narrowed_grant_gives_nothing_over_the_repository() -> None:
    given_rules = rules(Grant("acme/main", admin=True, formats=("npm",), packages=("*",)))
    assert {one for one in ACTIONS if may(given_rules, one, "npm", "x")} == OF_PACKAGES


def test_what_was_given_on_a_predecessor_of_the_repository_does_not_count_and_its_denials_do() -> None:
    old = rules(Grant("acme/main", admin=True))
    assert decide(old, What(MANAGE, "acme", "main"), 10).allowed
    assert not decide(old, What(MANAGE, "acme", "main"), 11).allowed
    denied = rules(Grant("acme", admin=True), Grant("acme/main", True, deny=True))
    assert not decide(denied, What(READ, "acme", "main", "npm", "x"), 11).allowed


@pytest.mark.parametrize(
    ("text", "fits", "fails"),
    [
        ("lib", ("lib",), ("lib2", "Lib", "")),
        ("lib*", ("lib", "lib/x", "lib.x"), ("alib",)),
        ("*", ("", "a/b"), ()),
        ("?ib", ("lib",), ("ib", "llib")),
        ("a.c", ("a.c",), ("abc",)),
        ("@acme/*", ("@acme/x",), ("@acme", "@acme2/x")),
        ("*-x-*", ("a-x-b",), ("a-x",)),
    ],
)
def test_patterns(text: str, fits: tuple[str, ...], fails: tuple[str, ...]) -> None:
    assert all(matches(text, one) for one in fits)
    assert not any(matches(text, one) for one in fails)
    assert not matches(text, "lib\nx") or "*" in text


@pytest.mark.parametrize("text", ["", "[a-z]*", "x" * 201, "a\nb", "a\0"])
def test_what_can_be_no_pattern(text: str) -> None:
    with pytest.raises(Invalid):
        pattern(text)


def test_no_pattern_searches_for_long() -> None:
    """The time that nested wildcards would need by trying is beyond any test's: this ends, or the run does not."""
    assert not matches("*a" * 99 + "b", "a" * 500)


NAMES = st.sampled_from(["a", "ab", "b", "b/a"])
PATTERNS = st.lists(st.sampled_from(["*", "a*", "b", "?"]), max_size=2).map(tuple)
FORMATS = st.lists(st.sampled_from(["npm", "pypi"]), max_size=2, unique=True).map(tuple)
GRANTS = st.builds(
    Grant,
    scope=st.sampled_from(["acme", "acme/main", "acme/other", "*", "other"]),
    read=st.booleans(),
    write=st.booleans(),
    admin=st.booleans(),
    actions=st.lists(st.sampled_from(ACTIONS), max_size=2).map(tuple),
    formats=FORMATS,
    packages=PATTERNS,
    tags=PATTERNS,
    deny=st.booleans(),
)
RULES = st.lists(GRANTS, max_size=4).map(lambda found: rules(*found))
WHATS = st.builds(
    What,
    action=st.sampled_from(ACTIONS),
    workspace=st.just("acme"),
    repository=st.sampled_from(["main", "other"]),
    format=st.sampled_from(["npm", "pypi"]),
    package=NAMES,
    tag=st.sampled_from(["a", "v1"]),
    sought=st.none(),
)


@given(RULES, WHATS)
def test_whole_then_allowed_then_possible(given_rules: tuple[Rule, ...], what: What) -> None:
    """What is allowed to all packages is allowed to each, and what is allowed to one was thought possible."""
    if whole(given_rules, what._replace(package="", tag="")):
        assert decide(given_rules, what).allowed
    if decide(given_rules, what).allowed:
        assert possible(given_rules, what._replace(package="", tag=""))


@given(RULES, RULES, WHATS)
def test_more_rules_never_take_back_a_denial(some: tuple[Rule, ...], more: tuple[Rule, ...], what: What) -> None:
    first = decide(some, what)
    if first.rule is not None and not first.allowed:
        assert not decide(some + more, what).allowed
        assert not decide(more + some, what).allowed


@given(RULES, WHATS)
def test_all_packages_at_once_is_allowed_to_nobody_who_may_not_each(given_rules: tuple[Rule, ...], what: What) -> None:
    if decide(given_rules, what._replace(package="", format="")).allowed:
        assert decide(given_rules, what).allowed or what.action == TAG


def test_the_rights_of_old_are_sets_of_actions() -> None:
    assert rule_of(Grant("acme", admin=True), "", 0).actions == EVERYTHING
    assert rule_of(Grant("acme", False, True), "", 0).actions == {PUBLISH, TAG, DELETE}
    assert rule_of(Grant("acme"), "", 0).actions == {READ}
    assert rule_of(Grant("acme", False, role="r"), "", 0, (PUBLISH,)).actions == {PUBLISH}
