"""Who may call a route? Every route declares one of these, and a test fails where one does not (THREATS C7).

A Permission is checked before the handler runs, and for a change a second time under the write lock, against the
index that the change is applied to: a token revoked a moment ago changes nothing any more.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway.access.names import is_slug
from gateway.access.rights.grants import AUDIT, GRANT, OWN, PEOPLE, PROVISION, STATISTICS
from gateway.access.rights.permits import too_wide
from gateway.access.rights.verdicts import (
    Principal,
    admit,
    controls,
    judge,
    judge_node,
    judge_workspace,
    needs_token,
    on_node,
)
from gateway.console.calls.services import Services
from storage.errors import Absent
from storage.index.catalog import Reading
from storage.nouns import Teammate, Token

TEAM_MANAGER = "manager"

Check = Callable[[Services, Reading, Principal, Mapping[str, str]], None]


class Permission(NamedTuple):
    """`check` gets the parts of the path by name, and raises Unauthenticated, Absent or Forbidden."""

    name: str
    check: Check


def _anybody(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    return


def _somebody(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    if not principal.id:
        raise needs_token()


def _node_admin(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    judge_node(principal, "admin")


def _metrics(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    if not services.metrics_open:
        judge_node(principal, "read")


def _workspace_read(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    judge_workspace(reading, principal, at["workspace"], "read")


def _workspace(action: str) -> Check:
    def check(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
        judge_workspace(reading, principal, at["workspace"], action)

    return check


def _history(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    ws = at["workspace"]
    if on_node(principal, "admin") and is_slug(ws) and reading.ended(ws) is not None:
        return
    judge_workspace(reading, principal, ws, AUDIT)


def _workspace_member(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    if not is_member(reading, principal, at["workspace"]):
        judge_workspace(reading, principal, at["workspace"], PEOPLE)


def _asks_of_itself(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    if not is_member(reading, principal, at["workspace"]):
        judge_workspace(reading, principal, at["workspace"], GRANT)


def _team(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    """Looked for among the caller's own teams, so that others are told the same of every name (B9)."""
    mates = own_teams(reading, principal, at["workspace"])
    if not any(one.team == at["team"] and one.role == TEAM_MANAGER for one in mates):
        judge_workspace(reading, principal, at["workspace"], PEOPLE)


def is_member(reading: Reading, principal: Principal, ws: str) -> bool:
    """Does it act for a member, without being less? Derived at each use, so it ends with the membership (C6, C8)."""
    whole = bool(principal.owner) and not principal.grants and principal.only is None
    return whole and is_slug(ws) and reading.membership(ws, principal.owner) is not None


def own_teams(reading: Reading, principal: Principal, ws: str) -> list[Teammate]:
    """Where the caller is a teammate."""
    return reading.teams_of(ws, principal.owner) if is_member(reading, principal, ws) else []


def _repository_read(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    judge(reading, principal, at["workspace"], at["repository"], "read")


def _repository_whole(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    if not reads_whole(reading, principal, at["workspace"], at["repository"]):
        raise too_wide()


def reads_whole(reading: Reading, principal: Principal, ws: str, repository: str) -> bool:
    """May it read each package there is, and so know what they come to? Raises as `judge` does where it reads none."""
    return admit(reading, principal, ws, repository, "read").whole


def _repository_write(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    judge(reading, principal, at["workspace"], at["repository"], "write")


def _repository_admin(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    judge(reading, principal, at["workspace"], at["repository"], "admin")


def _token(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    controlled_token(reading, principal, at["id"])


def controlled_token(reading: Reading, principal: Principal, id: str) -> Token:
    """The Token, if `principal` may see and revoke it; to others it is as absent as one that never was (C5)."""
    if not principal.id:
        raise needs_token()
    token = reading.token_by_id(id) if id.isascii() and id.isprintable() and len(id) < 100 else None
    if token is None or not controls(reading, principal, token):
        raise Absent("There is no such token, or this one may not know of it.")
    return token


def _session(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    controlled_session(reading, principal, at["id"])


def controlled_session(reading: Reading, principal: Principal, id: str) -> Token:
    """The session, if `principal` may see and end it; to others it is as absent as one that never was (C5)."""
    token = controlled_token(reading, principal, id)
    if token.sign_in is None:
        raise Absent("There is no such token, or this one may not know of it.")
    return token


def _user_itself(services: Services, reading: Reading, principal: Principal, at: Mapping[str, str]) -> None:
    """Others are told the same of every name (B9)."""
    account = reading.account_named("user", "", at["user"]) if is_slug(at["user"]) else None
    whole = not principal.grants and not principal.provider and principal.only is None
    if account is None or not whole or principal.owner != account.id:
        judge_node(principal, "admin")


ANYBODY = Permission("anybody; lists hold what the caller may see", _anybody)
SOMEBODY = Permission("any living token", _somebody)
BY_BODY = Permission("any living token; the scope named in the body is judged under the write lock", _somebody)
BY_PROOF = Permission("whoever shows an identity token, in the body, that a provider vouches for", _anybody)
BY_ASKING = Permission("anybody; what it gets is worth nothing until somebody says yes to it", _anybody)
BY_CODE = Permission("whoever shows a code, in the body, that a signed-in person said yes to", _anybody)
NODE_ADMIN = Permission("admin on *", _node_admin)
METRICS = Permission("read on *, unless the metrics are configured open", _metrics)
WORKSPACE_READ = Permission("something to see in the workspace", _workspace_read)
WORKSPACE_MEMBER = Permission("a member of the workspace", _workspace_member)
TEAM_MANAGE = Permission("people in the workspace, or a manager of the team", _team)
WORKSPACE_PEOPLE = Permission("people in the workspace", _workspace(PEOPLE))
WORKSPACE_OWN = Permission("own in the workspace", _workspace(OWN))
WORKSPACE_PROVISION = Permission("a token of its identity provider, of kind scim", _workspace(PROVISION))
WORKSPACE_GRANT = Permission("grant in the workspace", _workspace(GRANT))
GRANTS_OR_ITSELF = Permission("grant in the workspace, or a member that asks of itself", _asks_of_itself)
WORKSPACE_ADMIN = Permission("manage the workspace", _workspace("admin"))
WORKSPACE_HISTORY = Permission("audit in the workspace; of a deleted one, admin on *", _history)
WORKSPACE_STATISTICS = Permission("statistics in the workspace", _workspace(STATISTICS))
REPOSITORY_READ = Permission("read on the repository", _repository_read)
REPOSITORY_WHOLE = Permission("read on all of the repository", _repository_whole)
REPOSITORY_WRITE = Permission("write on the repository; each package is judged by its name", _repository_write)
REPOSITORY_ADMIN = Permission("admin on the repository", _repository_admin)
SESSION_CONTROL = Permission("whose session it is, or admin on *", _session)
USER_ITSELF = Permission("the user itself, by a token without limits; or admin on *", _user_itself)
TOKEN_CONTROL = Permission("the token itself, or admin of all it reaches", _token)
