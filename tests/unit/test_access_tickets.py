"""Is a ticket good for the one request that it was signed for, for a minute, and for nothing else? THREATS C11, C12."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.credentials import passes
from gateway.access.credentials.passes import Scope
from gateway.access.credentials.tickets import ARGUMENT, SECONDS_MAX, holder, issue, known_when_sent, network_of
from gateway.access.rights.grants import EVERYWHERE
from gateway.access.rights.verdicts import check_network, token_of
from gateway.delivery.messages.heads import Head
from storage.errors import Unauthenticated
from storage.nouns import Account, Grant
from tests.harness.worlds import NOW_MS, Memory, small_world
from tests.unit.test_access_passes import replaced

EDGE, PEER = "edge.example:8080", "203.0.113.7"
SEGMENTS = ("acme", "main", "generic", "a", "b.bin")


def asked(secret: str = "", ticket: str = "", **fields: Any) -> Head:
    query = (*fields.pop("query", (("x", "1"),)), *(((ARGUMENT, ticket),) if ticket else ()))
    given_fields = {"method": "GET", "segments": SEGMENTS, "host": EDGE, "peer": PEER, **fields}
    return Head(query=query, secret=secret or None, **given_fields)


def signed(world: Memory, secret: str, **fields: Any) -> str:
    return issue(world, asked(secret, host="pkgs.example", **fields), SEGMENTS[0], EDGE, NOW_MS)


def held(world: Memory, ticket: str, at_ms: int = NOW_MS, **fields: Any) -> Any:
    return holder(world, ticket, asked(ticket=ticket, **fields), at_ms, at_ms)


@pytest.fixture(params=["token", "pass"])
def shown(request: pytest.FixtureRequest) -> tuple[Memory, str, str]:
    """A world, the text of a token, and what its holder shows: that text, or a pass for it."""
    world = small_world()
    text = world.add_token(Grant(EVERYWHERE, True, True, True))
    if request.param == "token":
        return world, text, text
    scopes = (Scope("acme/main/app", ("pull",)),)
    return world, text, passes.issue(text, token_of(world, text, NOW_MS), scopes, NOW_MS)[0]


def test_c12_it_is_the_token_for_one_request(shown: tuple[Memory, str, str]) -> None:
    world, text, secret = shown
    ticket = signed(world, secret)
    assert secret not in ticket
    principal = held(world, ticket)
    assert principal.id == token_of(world, text, NOW_MS).id
    assert principal.cidrs == ("203.0.113.0/24",)
    assert principal.ticket
    assert principal.expires_ms == NOW_MS + SECONDS_MAX * 1000
    assert principal.only == (None if secret == text else {("acme/main/app", "read")})
    check_network(principal, PEER)
    assert held(world, ticket, peer="203.0.113.99").id, "a client's address may change within its network"
    assert held(world, ticket, host=EDGE.upper()).id


def test_it_says_what_was_known_where_it_was_made(shown: tuple[Memory, str, str]) -> None:
    """So that an edge that is behind waits; what nobody signed makes no edge wait."""
    world, text, secret = shown
    world.serials["acme"] = 41
    ticket = signed(world, secret)
    assert known_when_sent(world, asked(ticket=ticket)) == ("acme", 41)
    stranger = Memory()
    assert known_when_sent(stranger, asked(ticket=ticket)) is None
    assert known_when_sent(world, asked(ticket=ticket[:-4] + "AAAA")) is None
    assert known_when_sent(world, asked(text, ticket=ticket)) is None
    assert known_when_sent(world, asked()) is None


@pytest.mark.parametrize(
    "other",
    [
        {"method": "HEAD"},
        {"method": "PUT"},
        {"host": "other.example"},
        {"host": "edge.example"},
        {"segments": (*SEGMENTS[:-1], "c.bin")},
        {"segments": ("acme", "other", *SEGMENTS[2:])},
        {"segments": ("acme", "main", "generic", "a/b.bin")},
        {"query": ()},
        {"query": (("x", "1"), ("y", "2"))},
        {"peer": "203.0.112.7"},
        {"peer": "2001:db8::1"},
        {"peer": ""},
    ],
)
def test_c12_anything_else_is_refused(shown: tuple[Memory, str, str], other: dict[str, Any]) -> None:
    world, _, secret = shown
    ticket = signed(world, secret)
    with pytest.raises(Unauthenticated, match="another request"):
        held(world, ticket, **other)


def test_c12_it_is_good_for_a_minute_and_clocks_may_differ_a_little(shown: tuple[Memory, str, str]) -> None:
    world, _, secret = shown
    ticket = signed(world, secret)
    skew_ms = passes.SKEW_SECONDS_MAX * 1000
    last_ms = NOW_MS + SECONDS_MAX * 1000 + skew_ms
    assert held(world, ticket, last_ms - 1).id
    assert held(world, ticket, NOW_MS - skew_ms).id
    for at_ms in (last_ms, NOW_MS - skew_ms - 1, NOW_MS + 5 * 3600 * 1000):
        with pytest.raises(Unauthenticated, match="a minute"):
            held(world, ticket, at_ms)


def test_c6_it_ends_with_its_token(shown: tuple[Memory, str, str]) -> None:
    world, text, secret = shown
    ticket = signed(world, secret)
    replaced(world, text, cidrs=("198.51.100.0/24",))
    with pytest.raises(Unauthenticated, match="network"):
        held(world, ticket)
    replaced(world, text, cidrs=(), revoked_ms=NOW_MS)
    with pytest.raises(Unauthenticated, match="revoked"):
        held(world, ticket)


def test_c6_it_ends_with_the_account_that_its_token_acts_for(shown: tuple[Memory, str, str]) -> None:
    world, text, secret = shown
    replaced(world, text, owner="usr_ann")
    world.all_accounts["usr_ann"] = Account("usr_ann", "user", "ann")
    ticket = signed(world, secret)
    assert held(world, ticket).owner == "usr_ann"
    world.all_accounts["usr_ann"] = Account("usr_ann", "user", "ann", closed_ms=NOW_MS)
    with pytest.raises(Unauthenticated, match="closed"):
        held(world, ticket)


def test_c10_what_a_ticket_shows_is_no_pass_and_makes_no_ticket() -> None:
    """Whoever sees a ticket has the signed part of the pass, and not its seed."""
    world = small_world()
    text = world.add_token(Grant(EVERYWHERE))
    given_pass = passes.issue(text, token_of(world, text, NOW_MS), (), NOW_MS)[0]
    body, signature, seed = given_pass.removeprefix(passes.PREFIX).split(".")
    ticket = signed(world, given_pass)
    assert seed not in ticket
    other = passes.issue(text, token_of(world, text, NOW_MS), (), NOW_MS)[0].rpartition(".")[2]
    for forged in (f"{body}.{signature}", f"{body}.{signature}.", f"{body}.{signature}.{other}"):
        with pytest.raises(Unauthenticated):
            passes.holder(world, passes.PREFIX + forged, NOW_MS, NOW_MS)
    elsewhere = signed(world, f"{passes.PREFIX}{body}.{signature}.{other}")
    with pytest.raises(Unauthenticated, match="nobody"):
        held(world, elsewhere)


def test_a_ticket_lives_no_longer_than_the_pass_that_it_comes_from() -> None:
    world = small_world()
    text = world.add_token(Grant(EVERYWHERE))
    given_pass = passes.issue(text, token_of(world, text, NOW_MS), (), NOW_MS)[0]
    late_ms = NOW_MS + (passes.PASS_SECONDS_MAX - 10) * 1000
    ticket = issue(world, asked(given_pass), SEGMENTS[0], EDGE, late_ms)
    assert held(world, ticket, late_ms).expires_ms == late_ms + 10_000


def test_none_is_given_where_none_would_be_good(shown: tuple[Memory, str, str]) -> None:
    world, text, secret = shown
    assert signed(world, secret, peer="") == ""
    assert signed(world, secret, method="PUT") == ""
    assert signed(world, "") == ""
    if secret == text:
        replaced(world, text, verify_key=b"")
        assert signed(world, secret) == "", "of a token that was made before there were passes"


def test_networks() -> None:
    assert network_of("203.0.113.7") == network_of("::ffff:203.0.113.200") == "203.0.113.0/24"
    assert network_of("2001:db8:1:2::7%eth0") == "2001:db8:1::/56"
    assert network_of("a name") == network_of("") == ""


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode())))
def test_nonsense_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(Unauthenticated):
        held(small_world(), text)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_ticket_that_was_changed_anywhere_is_refused(at: int, mask: int) -> None:
    world = small_world()
    ticket = signed(world, world.add_token(Grant(EVERYWHERE)))
    raw = bytearray(base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4)))
    raw[at % len(raw)] ^= mask
    with pytest.raises(Unauthenticated):
        held(world, base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))
