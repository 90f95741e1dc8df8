"""May a client use this Repository from where it is, and which rule says so?

Rules stand in an order: those of the Repository, then those of its Workspace. The first that is about the client's
address decides; where none is, the client is let in. They hold for public and private, for reading and writing alike.
A rule that denies what cannot be told counts, one that allows it does not: countries on a node without a geo-IP file,
networks for a client without an address. So a node that lacks something is stricter, never more open.

Edges are not asked where they are: they judge their own clients, by the same rules. Whether a client may know of the
Repository at all is decided before: a rule tells nothing to whom it is hidden from (THREATS B9).
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.delivery.connections.addresses import Address, address_of, network_of
from storage.errors import Forbidden
from storage.nouns import NetworkRule, Repository, Workspace

CountryOf = Callable[[str], str | None]
"""The country of an address: "" = it is not known, None = this node knows of none."""

REPOSITORY, WORKSPACE = "repository", "workspace"


class Ruling(NamedTuple):
    """Whether, and why: rule `number` (from 1) of the rules of `place`; 0 and "" where none is about the client.
    `country` is None where it was not asked for or this node cannot tell."""

    allowed: bool
    place: str = ""
    number: int = 0
    rule: NetworkRule | None = None
    country: str | None = None


def without_file(address: str) -> str | None:
    """What a node without a geo-IP file knows of countries."""
    return None


def is_ruled(repository: Repository, workspace: Workspace | None) -> bool:
    """Is there any rule?"""
    return bool(repository.networks or (workspace is not None and workspace.networks))


def decide(repository: Repository, workspace: Workspace | None, peer: str, country_of: CountryOf) -> Ruling:
    """What the rules say of a client at the address `peer`, "" = not known."""
    address = address_of(peer)
    country: str | None = None
    asked = False
    for place, rules in ((REPOSITORY, repository.networks), (WORKSPACE, workspace.networks if workspace else ())):
        for number, rule in enumerate(rules, 1):
            if rule.countries and not asked:
                country, asked = country_of(str(address)) if address is not None else None, True
            if _is_about(rule, address, country):
                return Ruling(rule.allow, place, number, rule, country)
    return Ruling(True, country=country)


def check(repository: Repository, workspace: Workspace | None, peer: str, country_of: CountryOf) -> None:
    """Raises Forbidden where the rules keep a client out."""
    if not decide(repository, workspace, peer, country_of).allowed:
        raise Forbidden(
            "This repository cannot be used from this network.", "Ask an administrator of it which ones are let in."
        )


def _is_about(rule: NetworkRule, address: Address | None, country: str | None) -> bool:
    if not (rule.networks or rule.countries):
        return True
    if address is None:
        return not rule.allow
    if any(address in network_of(one) for one in rule.networks):
        return True
    if not rule.countries:
        return False
    return not rule.allow if country is None else country in rule.countries
