"""From where may a Repository be used: rules set and shown as a whole, and a test of what they say of an address.

They hold for packages. Whoever manages a Repository can read and set them from anywhere, so that nobody locks himself
out; a token that shall be good in some networks alone is bound to them.
"""

import msgspec

from gateway.access.rights.networks import Ruling, decide
from gateway.access.rights.verdicts import Principal, judge, judge_workspace
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import networks_of
from gateway.console.calls.permissions import REPOSITORY_ADMIN, WORKSPACE_ADMIN
from gateway.console.repositories import replies
from gateway.console.shapes import shown
from gateway.console.shapes.schemas import NETWORKS_MAX, NewNetworkRule, NewNetworkRules
from gateway.delivery.connections.addresses import address_of
from storage.commit import Decided
from storage.errors import Conflict, Invalid, TooLarge
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, NetworkRule, PutRepository, PutWorkspace, Repository, Workspace

ROUTES = Routes("/-/api/v1")
_WORKSPACE = "/workspaces/<workspace>/networks"
_REPOSITORY = "/repositories/<workspace>/<repository>/networks"

Rules = tuple[NetworkRule, ...]


@ROUTES.show(_REPOSITORY, REPOSITORY_ADMIN, gives=replies.NetworkRules)
def show_of_repository(call: Call, reading: Reading) -> shown.Shown:
    return _told(_repository(call, reading, call.principal).networks)


@ROUTES.add("PUT", _REPOSITORY, REPOSITORY_ADMIN, takes=NewNetworkRules, gives=replies.NetworkRules)
async def set_of_repository(call: Call) -> Reply:
    rules, replaced = _asked(await call.body(NewNetworkRules))

    def change(reading: Reading, principal: Principal) -> Decided:
        before = _repository(call, reading, principal)
        _same(before.networks, replaced)
        if before.networks == rules:
            return Decided(None, None)
        put = PutRepository(msgspec.structs.replace(before, networks=rules))
        return Decided(Draft(before.workspace, before.name, principal.id, "repository.networks", (put,)), None)

    return await call.conclude(call.at["workspace"], change, lambda _: Reply(200, _told(rules)))


@ROUTES.add("GET", f"{_REPOSITORY}/test", REPOSITORY_ADMIN, ("address",), gives=replies.Ruling)
async def test_address(call: Call) -> Reply:
    """What this node says to a client at that address, and which rule makes it do so."""
    address = address_of(call.argument("address"))
    if address is None:
        raise Invalid("This is no address.", "Give an IPv4 or IPv6 address as ?address=.")
    with call.read() as reading:
        repository = _repository(call, reading, call.principal)
        workspace = reading.workspace(repository.workspace)
    country_of, at = call.services.country_of, str(address)
    ruling = decide(repository, workspace, at, country_of)
    told = {"address": at, "country": country_of(at), "allowed": ruling.allowed, "why": _why(ruling)}
    return Reply(200, told | _more(ruling))


@ROUTES.show(_WORKSPACE, WORKSPACE_ADMIN, gives=replies.NetworkRules)
def show_of_workspace(call: Call, reading: Reading) -> shown.Shown:
    return _told(_workspace(call, reading, call.principal).networks)


@ROUTES.add("PUT", _WORKSPACE, WORKSPACE_ADMIN, takes=NewNetworkRules, gives=replies.NetworkRules)
async def set_of_workspace(call: Call) -> Reply:
    rules, replaced = _asked(await call.body(NewNetworkRules))

    def change(reading: Reading, principal: Principal) -> Decided:
        before = _workspace(call, reading, principal)
        _same(before.networks, replaced)
        if before.networks == rules:
            return Decided(None, None)
        put = PutWorkspace(msgspec.structs.replace(before, networks=rules))
        return Decided(Draft(SYSTEM, "", principal.id, "workspace.networks", (put,)), None)

    return await call.conclude(SYSTEM, change, lambda _: Reply(200, _told(rules)))


def _asked(body: NewNetworkRules) -> tuple[Rules, Rules | None]:
    """The rules, and those that they replace, None = whichever. Raises Invalid, TooLarge."""
    return _rules(body.rules), None if body.replaces is None else _rules(body.replaces)


def _rules(asked: tuple[NewNetworkRule, ...]) -> Rules:
    if sum(len(one.networks) for one in asked) > NETWORKS_MAX:
        raise TooLarge(f"All rules of a place may hold at most {NETWORKS_MAX} networks.")
    if any(not one.note.isprintable() for one in asked):
        raise Invalid("A note holds characters that cannot be shown.")
    return tuple(
        NetworkRule(one.action == "allow", networks_of(one.networks), one.countries, one.note) for one in asked
    )


def _same(known: Rules, replaced: Rules | None) -> None:
    """Raises Conflict where somebody else has changed them meanwhile."""
    if replaced is not None and replaced != known:
        raise Conflict("The rules are others by now.", "Read them again, and change those.")


def _told(rules: Rules) -> dict[str, object]:
    return {"rules": [shown.network_rule(one) for one in rules]}


def _more(ruling: Ruling) -> dict[str, object]:
    rule = None if ruling.rule is None else shown.network_rule(ruling.rule)
    return {"place": ruling.place, "number": ruling.number, "rule": rule}


def _why(ruling: Ruling) -> str:
    if ruling.rule is None:
        return "No rule is about it, and what no rule is about is let in."
    said = "lets it in" if ruling.allowed else "keeps it out"
    if ruling.rule.countries and ruling.country is None and not ruling.rule.networks:
        return f"Rule {ruling.number} of the {ruling.place} {said}: this node has no geo-IP file, and cannot tell."
    return f"Rule {ruling.number} of the {ruling.place} {said}."


def _repository(call: Call, reading: Reading, principal: Principal) -> Repository:
    return judge(reading, principal, call.at["workspace"], call.at["repository"], "admin")


def _workspace(call: Call, reading: Reading, principal: Principal) -> Workspace:
    return judge_workspace(reading, principal, call.at["workspace"], "admin")
