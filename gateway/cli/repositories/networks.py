"""How is it told from a terminal from where a repository can be used?"""

from typing import Annotated, Any

from cyclopts import App, Parameter

from gateway.cli.terminal.client import Client, reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.sizes import count_of
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, place

app = App(name="network", help="From where a repository can be used: rules, the first that is about a client decides.")

Rule = dict[str, Any]
FromNetworks = Annotated[tuple[str, ...], Parameter(name="--network", help="ADDRESS/BITS; may be given several times.")]
FromCountries = Annotated[
    tuple[str, ...], Parameter(name="--country", help="Two letters (ISO 3166) as DE; may be given several times.")
]
AtNumber = Annotated[int, Parameter(name="--at", help="Its number, from 1; behind all others without.")]
Note = Annotated[str, Parameter(name="--note", help="What it is for.")]


@app.command(name="list")
def list_rules(where: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the rules of a WORKSPACE/REPOSITORY, or those of a WORKSPACE, which are asked behind.

    Parameters
    ----------
    where
        WORKSPACE/REPOSITORY, or WORKSPACE.
    """
    with reach(url, profile) as node:
        rules = node.get(_address(where))["rules"]
    _show(rules, json)


@app.command(name="allow")
def allow(
    where: str,
    /,
    *,
    network: FromNetworks = (),
    country: FromCountries = (),
    at: AtNumber = 0,
    note: Note = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let clients in that are in one of these networks or countries; all, if neither is given.

    Parameters
    ----------
    where
        WORKSPACE/REPOSITORY, or WORKSPACE.
    """
    rule = {"action": "allow", "networks": network, "countries": [one.upper() for one in country], "note": note}
    with reach(url, profile) as node:
        _show(_added(node, where, rule, at), json)


@app.command(name="deny")
def deny(
    where: str,
    /,
    *,
    network: FromNetworks = (),
    country: FromCountries = (),
    at: AtNumber = 0,
    note: Note = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Keep clients out that are in one of these networks or countries; all, if neither is given.

    Parameters
    ----------
    where
        WORKSPACE/REPOSITORY, or WORKSPACE.
    """
    rule = {"action": "deny", "networks": network, "countries": [one.upper() for one in country], "note": note}
    with reach(url, profile) as node:
        _show(_added(node, where, rule, at), json)


@app.command(name="remove")
def remove(where: str, number: int, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Take one rule away, by its number.

    Parameters
    ----------
    where
        WORKSPACE/REPOSITORY, or WORKSPACE.
    number
        As network list shows it.
    """
    with reach(url, profile) as node:
        known = node.get(_address(where))["rules"]
        if not 1 <= number <= len(known):
            raise Usage(f"There is no rule {number}.", "Find the number with: entrepot network list.")
        left = [*known[: number - 1], *known[number:]]
        _show(_set(node, where, left, known), json)


@app.command(name="test")
def try_address(
    repository: str, /, *, address: str, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Show what the node that is asked says to a client at an address, and why.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    address
        An IPv4 or IPv6 address.
    """
    with reach(url, profile) as node:
        told = node.get(f"/repositories/{place(repository)}/networks/test", address=address)
    country = f" ({told['country']})" if told["country"] else ""
    said = "is let in" if told["allowed"] else "is kept out"
    Output(json).fact(told, f"{told['address']}{country} {said}. {told['why']}")


def _added(node: Client, where: str, rule: Rule, at: int) -> list[Rule]:
    known = node.get(_address(where))["rules"]
    number = at or len(known) + 1
    if not 1 <= number <= len(known) + 1:
        raise Usage(f"A rule cannot be the number {number}.", f"The place has {count_of(len(known), 'rule')}.")
    return _set(node, where, [*known[: number - 1], rule, *known[number - 1 :]], known)


def _set(node: Client, where: str, rules: list[Rule], known: list[Rule]) -> list[Rule]:
    found: list[Rule] = node.put(_address(where), {"rules": rules, "replaces": known})["rules"]
    return found


def _show(rules: list[Rule], json: bool) -> None:
    rows = [(number, one["action"], _about(one), one["note"]) for number, one in enumerate(rules, 1)]
    Output(json).rows({"rules": rules}, ("number", "action", "clients in", "note"), rows)


def _about(rule: Rule) -> str:
    return ", ".join([*rule["networks"], *rule["countries"]]) or "any network"


def _address(where: str) -> str:
    return f"/repositories/{place(where)}/networks" if "/" in where else f"/workspaces/{where}/networks"
