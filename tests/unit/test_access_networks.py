"""Which rule says whether a client may use a repository from where it is?"""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.rights.networks import check, decide, is_ruled
from storage.errors import Forbidden
from storage.nouns import NetworkRule, Repository, Workspace

COUNTRIES = {"203.0.113.5": "DE", "198.51.100.7": "CA"}
ALLOW, DENY = True, False


def country_of(address: str) -> str | None:
    return COUNTRIES.get(address, "")


def no_file(address: str) -> str | None:
    return None


def repository(*rules: NetworkRule) -> Repository:
    return Repository("acme", "main", networks=rules)


def test_the_first_rule_that_is_about_a_client_decides() -> None:
    place = repository(
        NetworkRule(DENY, ("10.0.0.8/29",)),
        NetworkRule(ALLOW, ("10.0.0.0/8", "2001:db8::/32")),
        NetworkRule(ALLOW, (), ("DE",)),
        NetworkRule(DENY),
    )
    for peer, allowed, number in (
        ("10.0.0.9", False, 1),
        ("::ffff:10.0.0.9", False, 1),
        ("10.0.0.7", True, 2),
        ("2001:db8::1", True, 2),
        ("2001:db8::1%eth0", True, 2),
        ("203.0.113.5", True, 3),
        ("198.51.100.7", False, 4),
        ("192.0.2.1", False, 4),
        ("", False, 1),
        ("nonsense", False, 1),
    ):
        ruling = decide(place, None, peer, country_of)
        assert (ruling.allowed, ruling.number, ruling.place) == (allowed, number, "repository"), peer
        if not allowed:
            with pytest.raises(Forbidden):
                check(place, None, peer, country_of)


def test_the_workspace_is_asked_behind_the_repository() -> None:
    workspace = Workspace("acme", networks=(NetworkRule(DENY, (), ("CA",)),))
    own = repository(NetworkRule(ALLOW, ("198.51.100.0/24",)))
    assert decide(own, workspace, "198.51.100.7", country_of)[:3] == (True, "repository", 1)
    ruling = decide(repository(), workspace, "198.51.100.7", country_of)
    assert (ruling[:3], ruling.country) == ((False, "workspace", 1), "CA")
    assert decide(repository(), workspace, "203.0.113.5", country_of)[:3] == (True, "", 0)
    assert is_ruled(repository(), workspace)
    assert not is_ruled(repository(), Workspace("acme"))
    assert not is_ruled(repository(), None)


def test_what_cannot_be_told_keeps_out_and_lets_nobody_in() -> None:
    """No geo-IP file, or no address: a node that lacks something is stricter, never more open."""
    keeps = repository(NetworkRule(DENY, (), ("CA",)))
    assert not decide(keeps, None, "203.0.113.5", no_file).allowed
    assert decide(keeps, None, "192.0.2.1", country_of).allowed
    lets = repository(NetworkRule(ALLOW, (), ("DE",)), NetworkRule(DENY))
    assert not decide(lets, None, "203.0.113.5", no_file).allowed
    assert not decide(lets, None, "192.0.2.1", country_of).allowed
    either = repository(NetworkRule(ALLOW, ("203.0.113.0/24",), ("DE",)), NetworkRule(DENY))
    assert decide(either, None, "203.0.113.5", no_file).allowed


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
rules = st.lists(
    st.tuples(st.booleans(), st.lists(st.sampled_from(("0.0.0.0/1", "128.0.0.0/1", "::/1", "10.0.0.0/8")), max_size=2)),
    max_size=5,
)


@given(addresses, rules)
def test_the_ruling_is_what_a_reader_of_the_list_would_say(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, listed: list[tuple[bool, list[str]]]
) -> None:
    place = repository(*(NetworkRule(allow, tuple(networks)) for allow, networks in listed))
    plain = getattr(address, "ipv4_mapped", None) or address
    expected = (True, 0)
    for number, (allow, networks) in enumerate(listed, 1):
        if not networks or any(plain in ipaddress.ip_network(one) for one in networks):
            expected = (allow, number)
            break
    ruling = decide(place, None, str(address), country_of)
    assert (ruling.allowed, ruling.number) == expected
