"""Which rules bind a principal in a Workspace? Derived from the catalog, never copied (THREATS C6).

A token without an owner has its own grants. One that acts for an Account has what the Account has, and of that no more
than its own grants say, so its rules come as two sets, and each of them must allow:

    the Account's: its role in the Workspace, Bindings to it, to its Teams, and to the members
    the token's own, where it has any

No denial reaches what an owner needs to take it away again: else one mistake, or one manager, shuts out everybody.

An Account has rights in a Workspace as long as it is a member there. When the membership ends, every token, session and
pass that rests on it ends with it, wherever the entry arrives.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from gateway.access.rights.grants import EVERYTHING, GRANT, OWN, Rule, rule_of
from storage.nouns import MEMBERS, Account, Binding, Grant, Membership, Provider, Role, Teammate, team_subject

OWNER, MANAGER, MEMBER, COLLABORATOR = "owner", "manager", "member", "collaborator"
_ROLE_ACTIONS = {OWNER: EVERYTHING, MANAGER: EVERYTHING - {OWN}}

BINDINGS_MAX = 1_000
"""Of one subject in a Workspace: all of them are read for a decision."""

TEAMS_MAX = 100
"""Of one Account in a Workspace."""


class Given(Protocol):
    """What of a Reading the rules are made from."""

    def account(self, id: str) -> Account | None: ...
    def membership(self, ws: str, account: str) -> Membership | None: ...
    def teams_of(self, ws: str, account: str) -> list[Teammate]: ...
    def role(self, ws: str, name: str) -> Role | None: ...
    def bindings(self, ws: str, subject: str = "") -> list[Binding]: ...
    def provider(self, ws: str, id: str) -> Provider | None: ...
    def recall(self, key: object) -> Any: ...
    def remember[T](self, key: object, value: T) -> T: ...


def own_rules(reading: Given, grants: Iterable[Grant], since_ms: int, name: str) -> tuple[Rule, ...]:
    """The rules that a token carries itself."""
    return tuple(
        rule_of(grant, f'grant {number} of the token "{name}"', since_ms, _role_of(reading, grant))
        for number, grant in enumerate(grants, 1)
    )


def account_rules(reading: Given, account: str, ws: str) -> tuple[Rule, ...]:
    """The rules that an Account has in a Workspace: none without a membership, none once it is closed. They are worked
    out once a moment, whatever the Account asks for in it: whoever has many is not slower for it."""
    at = (account_rules, account, ws)
    rules: tuple[Rule, ...] | None = reading.recall(at)
    return reading.remember(at, _account_rules(reading, account, ws)) if rules is None else rules


def _account_rules(reading: Given, account: str, ws: str) -> tuple[Rule, ...]:
    membership = reading.membership(ws, account)
    if membership is None:
        return ()
    found = reading.account(account)
    if found is None or found.closed_ms:
        return ()
    rules = []
    if membership.role in _ROLE_ACTIONS:
        grant = Grant(ws, read=False)
        role_rule = rule_of(
            grant, f'role {membership.role} in "{ws}"', membership.at_ms, _ROLE_ACTIONS[membership.role]
        )
        rules.append(role_rule)
    rules += _bound(reading, ws, account, "")
    if membership.role != COLLABORATOR:
        rules += _bound(reading, ws, MEMBERS, " to the members")
    for mate in reading.teams_of(ws, account):
        rules += _bound(reading, ws, team_subject(mate.team), f' to the team "{mate.team}"')
    return tuple(map(_spared, rules) if membership.role == OWNER else rules)


def _spared(rule: Rule) -> Rule:
    """A denial as it binds an owner."""
    return rule._replace(actions=rule.actions - {GRANT, OWN}) if rule.grant.deny else rule


def _bound(reading: Given, ws: str, subject: str, whom: str) -> list[Rule]:
    return [
        rule_of(one.grant, f"binding {one.id}{whom}", one.at_ms, _role_of(reading, one.grant, ws))
        for one in reading.bindings(ws, subject)
    ]


def _role_of(reading: Given, grant: Grant, ws: str = "") -> tuple[str, ...]:
    """The actions of the Role that a Grant names; none where there is no such Role (any more)."""
    if not grant.role:
        return ()
    role = reading.role(ws or grant.scope.partition("/")[0], grant.role)
    return () if role is None else role.actions
