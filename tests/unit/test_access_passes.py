"""Is a pass worth less than its token, only for a while, and nothing once the token is gone? (C6, C8, C10)"""

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import tokens
from gateway.access.credentials import passes
from gateway.access.credentials.passes import Scope, holder, issue
from gateway.access.rights.grants import EVERYWHERE
from gateway.access.rights.verdicts import ANONYMOUS, identify, token_of
from storage.errors import Unauthenticated
from storage.nouns import Grant, Token
from tests.harness.untimed import untimed
from tests.harness.worlds import NOW_MS, Memory, small_world

PULL = (Scope("acme/main/app", ("pull",)),)


def fetched(world: Memory, text: str, scopes: tuple[Scope, ...] = PULL, at_ms: int = NOW_MS) -> str:
    return issue(text, token_of(world, text, at_ms), scopes, at_ms)[0]


def replaced(world: Memory, text: str, **fields: Any) -> None:
    sha256 = tokens.hash_of(text)
    world.all_tokens[sha256] = msgspec.structs.replace(world.all_tokens[sha256], **fields)


def test_a_pass_is_its_token_narrowed_to_what_it_names() -> None:
    world = small_world()
    text = world.add_token(Grant(EVERYWHERE, True, True, True))
    principal = holder(world, fetched(world, text), NOW_MS, NOW_MS)
    own = identify(world, text, NOW_MS)
    assert (principal.id, principal.grants, principal.kind) == (own.id, own.grants, own.kind)
    assert principal.only == {("acme/main/app", "read")}
    assert own.only is None


@pytest.mark.parametrize(
    ("actions", "rights"),
    [
        (("pull",), {"read"}),
        (("push",), {"write"}),
        (("delete",), {"write"}),
        (("*",), {"read", "write"}),
        (("admin", ""), set()),
    ],
)
def test_actions_become_rights(actions: tuple[str, ...], rights: set[str]) -> None:
    world = small_world()
    text = world.add_token(Grant("acme"))
    principal = holder(world, fetched(world, text, (Scope("acme/main/app", actions),)), NOW_MS, NOW_MS)
    assert principal.only == {("acme/main/app", right) for right in rights}


def test_c6_a_pass_dies_with_its_token_and_not_later() -> None:
    world = small_world()
    text = world.add_token(Grant("acme"))
    given_pass = fetched(world, text)
    replaced(world, text, revoked_ms=NOW_MS + 1)
    with pytest.raises(Unauthenticated):
        holder(world, given_pass, NOW_MS, NOW_MS + 2)


def test_c6_rights_are_those_of_now_and_not_of_when_it_was_fetched() -> None:
    world = small_world()
    text = world.add_token(Grant("acme", True, True))
    given_pass = fetched(world, text)
    replaced(world, text, grants=(Grant("other"),))
    assert holder(world, given_pass, NOW_MS, NOW_MS).grants == (Grant("other"),)


def test_a_pass_is_short_lived_and_lives_no_longer_than_its_token() -> None:
    world = small_world()
    text = world.add_token(Grant("acme"))
    given_pass = fetched(world, text)
    last_ms = NOW_MS + (passes.PASS_SECONDS_MAX + passes.SKEW_SECONDS_MAX) * 1000
    assert holder(world, given_pass, last_ms - 1, last_ms - 1).id
    for at_ms in (last_ms, NOW_MS - (passes.SKEW_SECONDS_MAX + 1) * 1000):
        with pytest.raises(Unauthenticated):
            holder(world, given_pass, at_ms, NOW_MS)
    brief = world.add_token(Grant("acme"), expires_ms=NOW_MS + 10_000)
    text, seconds = issue(brief, token_of(world, brief, NOW_MS), PULL, NOW_MS)
    assert seconds == 10
    assert holder(world, text, NOW_MS, NOW_MS).expires_ms == NOW_MS + 10_000
    with pytest.raises(Unauthenticated):
        holder(world, text, NOW_MS, NOW_MS + 10_000)


def test_an_upload_may_outlast_the_pass_that_began_it() -> None:
    world = small_world()
    text = world.add_token(Grant("acme", True, True))
    hours_later_ms = NOW_MS + 3 * 3600 * 1000
    assert holder(world, fetched(world, text), NOW_MS, hours_later_ms).id


def test_c10_nobody_makes_a_pass_without_the_text_of_its_token() -> None:
    world = small_world()
    text, other = world.add_token(Grant("acme")), world.add_token(Grant("other"))
    token, mine = token_of(world, text, NOW_MS), token_of(world, other, NOW_MS)
    with pytest.raises(Unauthenticated):
        issue(other, token, PULL, NOW_MS)
    # a body that names another token, signed with one's own key
    own = Ed25519PrivateKey.generate()
    body = msgspec.msgpack.encode(passes.Body(token.id, NOW_MS + 1000, PULL, own.public_key().public_bytes_raw()))
    signature = tokens.signing_key(other).sign(passes.MARK + body)
    parts = (body, signature, own.private_bytes_raw())
    forged = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    with pytest.raises(Unauthenticated):
        holder(world, passes.PREFIX + forged, NOW_MS, NOW_MS)
    assert mine.verify_key != token.verify_key
    # what every node stores does not help: the stored parts are neither the text nor the key
    for stored in (token.sha256, token.verify_key):
        with pytest.raises(Unauthenticated):
            issue(stored.hex(), token, PULL, NOW_MS)


def test_a_token_from_before_there_were_passes_is_told_so() -> None:
    world = small_world()
    text = world.add_token(Grant("acme"))
    replaced(world, text, verify_key=b"")
    with pytest.raises(Unauthenticated, match="older"):
        fetched(world, text)
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(["id", "n", b"x" * 32, [], "api", 0, 0, 0]), type=Token)
    assert old.verify_key == b""


def test_no_credential_gets_a_pass_that_is_worth_nothing() -> None:
    assert holder(small_world(), passes.ANONYMOUS_PASS, NOW_MS, NOW_MS) == ANONYMOUS


def test_a_pass_is_no_token_and_a_token_no_pass() -> None:
    world = small_world()
    text = world.add_token(Grant("acme"))
    with pytest.raises(Unauthenticated):
        identify(world, fetched(world, text), NOW_MS)
    assert not passes.is_pass(text)


@given(st.data())
@untimed
def test_c10_no_changed_pass_is_taken(data: st.DataObject) -> None:
    world = small_world()
    good = fetched(world, world.add_token(Grant("acme")))
    place = data.draw(st.integers(len(passes.PREFIX), len(good) - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_.é\u0660 "))
    changed = good[:place] + letter + good[place + 1 :]
    last_of_part = place == len(good) - 1 or good[place + 1] == "."
    if changed != good and not last_of_part:  # the last letter of base64 has bits that mean nothing
        with pytest.raises(Unauthenticated):
            holder(world, changed, NOW_MS, NOW_MS)


@given(st.text(max_size=80))
@untimed
def test_other_text_is_refused_without_a_fuss(text: str) -> None:
    if text != "anonymous":
        with pytest.raises(Unauthenticated):
            holder(small_world(), passes.PREFIX + text, NOW_MS, NOW_MS)
