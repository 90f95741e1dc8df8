"""Does every principal get, everywhere, exactly the verdict and the words that are declared?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import tokens
from gateway.access.rights.grants import ACTIONS, RIGHTS, What
from gateway.access.rights.verdicts import (
    ANONYMOUS,
    Principal,
    controls,
    covers,
    identify,
    judge,
    judge_node,
    judge_sight,
    judge_workspace,
    sees_workspace,
    standing,
)
from storage.errors import Absent, Forbidden, Problem, Unauthenticated
from storage.nouns import Grant
from tests.harness.worlds import NOW_MS, Memory, small_world

PLACES = {
    "public": ("acme", "open"),
    "private": ("acme", "main"),
    "absent repository": ("acme", "gone"),
    "absent workspace": ("nowhere", "main"),
    "no name": ("acme", "../main"),
}
OK, WHO, NO, HIDDEN = "ok", Unauthenticated.code, Forbidden.code, Absent.code
# principal: public, private, absent repository, absent workspace, no name; each read, write, admin
VERDICTS = {
    "anonymous": [(OK, WHO, WHO), (WHO,) * 3, (WHO,) * 3, (WHO,) * 3, (WHO,) * 3],
    "reader": [(OK, NO, NO), (OK, NO, NO), (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3],
    "writer": [(OK, OK, NO), (NO, OK, NO), (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3],
    "admin": [(OK,) * 3, (OK,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3],
    "node admin": [(OK,) * 3, (OK,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3],
    "other workspace": [(OK, NO, NO), (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3],
    "no grants": [(OK, NO, NO), (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3, (HIDDEN,) * 3],
    "expired": [(WHO,) * 3] * 5,
    "revoked": [(WHO,) * 3] * 5,
    "malformed": [(WHO,) * 3] * 5,
    "unknown": [(WHO,) * 3] * 5,
}


def credentials(world: Memory) -> dict[str, str | None]:
    full = Grant("*", True, True, True)
    return {
        "anonymous": None,
        "reader": world.add_token(Grant("acme/open"), Grant("acme/main")),
        "writer": world.add_token(Grant("acme", read=False, write=True)),
        "admin": world.add_token(Grant("acme", read=False, admin=True)),
        "node admin": world.add_token(Grant("*", read=False, admin=True)),
        "other workspace": world.add_token(Grant("other", True, True, True), Grant("acm", True, True, True)),
        "no grants": world.add_token(Grant("acme/main", read=False)),
        "expired": world.add_token(full, expires_ms=NOW_MS),
        "revoked": world.add_token(full, revoked_ms=1),
        "malformed": world.add_token(full)[:-1] + "!",
        "unknown": tokens.mint()[0],
    }


@pytest.mark.parametrize("who", VERDICTS)
def test_b9_every_principal_at_every_place_with_every_right(who: str) -> None:
    world = small_world()
    secret = credentials(world)[who]
    for (place, (ws, repo)), expected in zip(PLACES.items(), VERDICTS[who], strict=True):
        for right, told in zip(RIGHTS, expected, strict=True):
            assert outcome(world, secret, ws, repo, right) == told, (who, place, right)


def outcome(world: Memory, secret: str | None, ws: str, repo: str, right: str) -> str:
    try:
        found = judge(world, identify(world, secret, NOW_MS), ws, repo, right)
    except Problem as problem:
        return problem.code
    assert (found.workspace, found.name) == (ws, repo)
    return OK


def said(world: Memory, principal: Principal, ws: str, repo: str, right: str) -> tuple[object, ...]:
    with pytest.raises(Problem) as caught:
        judge(world, principal, ws, repo, right)
    problem = caught.value
    return type(problem), problem.message, problem.remedy, problem.retry_after_s, problem.status


@pytest.mark.parametrize("right", RIGHTS)
def test_b9_absent_and_not_allowed_are_the_same_words(right: str) -> None:
    world = small_world()
    stranger = identify(world, world.add_token(Grant("other", True, True, True)), NOW_MS)
    for principal in (stranger, ANONYMOUS):
        told = {said(world, principal, *PLACES[place], right) for place in PLACES if place != "public"}
        assert len(told) == 1


def test_b9_a_hidden_workspace_is_told_like_an_absent_one() -> None:
    world = small_world()
    world.add_workspace("secret")
    world.add_repository("secret", "main")
    stranger = identify(world, world.add_token(Grant("other", True, True, True)), NOW_MS)
    for principal, kind in ((stranger, Absent), (ANONYMOUS, Unauthenticated)):
        for right in ("read", "admin"):
            texts = set()
            for ws in ("secret", "nowhere", "*", ".."):
                with pytest.raises(kind) as caught:
                    judge_workspace(world, principal, ws, right)
                texts.add(caught.value.text())
            assert len(texts) == 1
    assert judge_workspace(world, ANONYMOUS, "acme", "read").name == "acme"
    with pytest.raises(Forbidden):
        judge_workspace(world, stranger, "acme", "admin")
    assert judge_workspace(world, stranger, "other", "admin").name == "other"


def test_only_a_grant_on_everything_is_a_right_on_the_node() -> None:
    judge_node(Principal("i", "n", "api", (Grant("*"),)), "read")
    with pytest.raises(Forbidden):
        judge_node(Principal("i", "n", "api", (Grant("*"),)), "admin")
    with pytest.raises(Forbidden):
        judge_node(Principal("i", "n", "api", (Grant("acme", True, True, True),)), "read")
    with pytest.raises(Unauthenticated):
        judge_node(ANONYMOUS, "read")


def test_a_token_is_good_until_the_moment_it_expires() -> None:
    world = small_world()
    text = world.add_token(Grant("acme"), expires_ms=NOW_MS)
    assert identify(world, text, NOW_MS - 1).expires_ms == NOW_MS
    with pytest.raises(Unauthenticated, match="expired"):
        identify(world, text, NOW_MS)


def test_c11_a_refusal_never_repeats_the_credential() -> None:
    world = small_world()
    for who, secret in credentials(world).items():
        if secret and VERDICTS[who][0][0] == WHO:
            with pytest.raises(Unauthenticated) as caught:
                identify(world, secret, NOW_MS)
            assert secret[4:20] not in caught.value.text()


def test_an_empty_credential_is_none() -> None:
    assert identify(small_world(), "", NOW_MS) is ANONYMOUS
    assert identify(small_world(), None, NOW_MS) is ANONYMOUS


def test_c6_a_repository_made_again_lets_no_old_grant_in() -> None:
    world = small_world()
    old = identify(world, world.add_token(Grant("acme/main", True, True, True)), NOW_MS)
    wide = identify(world, world.add_token(Grant("acme")), NOW_MS)
    assert judge(world, old, "acme", "main", "admin")
    world.add_repository("acme", "main", at_ms=NOW_MS + 5)
    with pytest.raises(Absent):
        judge(world, old, "acme", "main", "read")
    assert not covers(world, old, "acme/main")
    assert judge(world, wide, "acme", "main", "read")


# ---------------------------------------------------------------- properties

NAMES = st.sampled_from(["a", "ab", "b", "a.b", "a-b", "x"])
SCOPES = st.one_of(st.just("*"), NAMES, st.tuples(NAMES, NAMES).map("/".join))
GRANTS = st.lists(st.builds(Grant, SCOPES, st.booleans(), st.booleans(), st.booleans()), max_size=4).map(tuple)


def principal(grants: tuple[Grant, ...]) -> Principal:
    return Principal("tok_x", "x", "api", grants, since_ms=NOW_MS)


def allowed(world: Memory, grants: tuple[Grant, ...], ws: str, repo: str, right: str) -> bool:
    try:
        judge(world, principal(grants), ws, repo, right)
    except (Absent, Forbidden):
        return False
    return True


@given(GRANTS, NAMES, NAMES, st.sampled_from(RIGHTS))
def test_scopes_never_leak(grants: tuple[Grant, ...], ws: str, repo: str, right: str) -> None:
    """A private Repository opens exactly for a grant whose scope names it, its Workspace or everything."""
    world = Memory()
    world.add_repository(ws, repo)
    granted = False
    for grant in grants:
        fits = grant.scope == "*" or grant.scope.split("/") in ([ws], [ws, repo])
        holds = {"read": grant.read, "write": grant.write, "admin": grant.admin}[right] or grant.admin
        granted = granted or (fits and holds)
    assert allowed(world, grants, ws, repo, right) == granted


@given(GRANTS, NAMES, NAMES)
def test_nobody_sees_what_no_right_reaches(grants: tuple[Grant, ...], ws: str, repo: str) -> None:
    world = Memory()
    world.add_repository(ws, repo)
    assert in_sight(world, principal(grants), ws, repo) == any(
        allowed(world, grants, ws, repo, right) for right in RIGHTS
    )
    world.add_repository(ws, repo, public=True)
    assert in_sight(world, ANONYMOUS, ws, repo)


def in_sight(world: Memory, who: Principal, ws: str, repo: str) -> bool:
    try:
        judge_sight(world, who, ws, repo)
    except Absent:
        return False
    return True


@given(GRANTS, st.lists(st.tuples(NAMES, NAMES, st.booleans())), NAMES)
def test_b9_a_workspace_is_seen_by_whoever_sees_anything_in_it(
    grants: tuple[Grant, ...], places: list[tuple[str, str, bool]], ws: str
) -> None:
    """Found without a look at each Repository: those that no rule names are seen as the Workspace is."""
    world = Memory()
    for place in places:
        world.add_repository(*place)
    who = principal(grants)
    anything = any(in_sight(world, who, one.workspace, one.name) for one in world.repositories(ws))
    itself = any(standing(world, who, ws).possible(What(action, ws)) for action in ACTIONS)
    assert sees_workspace(world, who, ws) == (anything or itself)


@given(GRANTS, GRANTS, NAMES, NAMES, st.sampled_from(RIGHTS))
def test_c8_what_is_covered_is_never_more(
    parent: tuple[Grant, ...], child: tuple[Grant, ...], ws: str, repo: str, right: str
) -> None:
    """If the parent covers every scope of the child, then the child can do nothing that the parent cannot."""
    world = Memory()
    world.add_repository(ws, repo)
    if all(covers(world, principal(parent), grant.scope) for grant in child) and allowed(world, child, ws, repo, right):
        assert allowed(world, parent, ws, repo, right)


def test_c5_a_token_is_controlled_by_itself_and_by_who_is_admin_of_all_it_reaches() -> None:
    world = small_world()
    world.add_token(Grant("acme/main"), Grant("other/main"))
    target = list(world.all_tokens.values())[-1]
    for grants, expected in {
        (Grant("*", True, True, True),): True,
        (Grant("acme", True, True, True), Grant("other", True, True, True)): True,
        (Grant("acme", True, True, True),): False,
        (Grant("acme/main", True, True, True), Grant("other/main", True, True, True)): True,
        (Grant("*", True, True),): False,
        (): False,
    }.items():
        assert controls(world, principal(grants), target) == expected, grants
    assert controls(world, Principal(target.id, "n", "api", target.grants), target)
    assert not controls(world, ANONYMOUS, target)
