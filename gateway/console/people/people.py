"""Who is there? Users of the node, and the members, service accounts and teams of a Workspace.

A user is known to the whole node and has no rights by that; a membership gives it a place in a Workspace. A service
account belongs to one Workspace. Ending a membership ends everything that hung on it in that Workspace: its teams, its
grants, and whatever its tokens could do there (THREATS C6).
"""

import secrets
import string
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice

import msgspec
import trio

from gateway.access.names import slug
from gateway.access.rights.grants import OWN, PEOPLE
from gateway.access.rights.rules import OWNER, TEAMS_MAX
from gateway.access.rights.verdicts import Principal, judge_workspace
from gateway.console.calls.call import Call, Decision, Reply, Routes, no_content
from gateway.console.calls.giving import account_of, judge_lifting, member_of, told
from gateway.console.calls.permissions import NODE_ADMIN, TEAM_MANAGE, WORKSPACE_MEMBER, WORKSPACE_PEOPLE, own_teams
from gateway.console.people import replies
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import EditMembership, EditTeammate, NewService, NewTeam, NewUser
from storage.commit import Decided
from storage.errors import Absent, Conflict, Forbidden, Invalid, Problem
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Draft,
    DropMembership,
    DropTeam,
    DropTeammate,
    Membership,
    PutAccount,
    PutMembership,
    PutTeam,
    PutTeammate,
    Team,
    Teammate,
    team_subject,
)

ROUTES = Routes("/-/api/v1")
_PAGE = ("after", "limit")
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_CHARS = 16
MANAGED = "managed"
"""The kind of Account that an identity provider makes and unmakes (gateway.console.scim)."""
EMAIL_CHARS_MAX = 320


# ---------------------------------------------------------------- users of the node


@ROUTES.add("GET", "/users", NODE_ADMIN, _PAGE, gives=Page[replies.Account])
async def list_users(call: Call) -> Reply:
    after, limit = call.argument("after"), call.limit()
    with call.read() as reading:
        return Reply(200, shown.page(_taken(reading.accounts("user", "", after), limit), limit, _name, shown.account))


@ROUTES.add("POST", "/users", NODE_ADMIN, takes=NewUser, gives=replies.Account, status=201)
async def create_user(call: Call) -> Reply:
    body = await call.body(NewUser)
    name, email = slug(body.name, "A user"), _email(body.email)
    user = Account(new_id("usr_"), "user", name, "", email, call.services.now_ms())

    def decide(reading: Reading, principal: Principal) -> Decided:
        if reading.account_named("user", "", name) is not None:
            raise Conflict("There is a user of this name already.")
        return Decided(Draft(SYSTEM, "", principal.id, "user.create", (PutAccount(user),)), user)

    return await call.conclude(SYSTEM, decide, lambda _: Reply(201, shown.account(user)))


@ROUTES.show("/users/<user>", NODE_ADMIN, gives=replies.Account)
def show_user(call: Call, reading: Reading) -> shown.Shown:
    return shown.account(_found(account_of(reading, "", f"user:{call.at['user']}")))


@ROUTES.add("DELETE", "/users/<user>", NODE_ADMIN, gives=None)
async def close_user(call: Call) -> Reply:
    """Closed for good, everywhere: its name is free, its id is not, and no token of it does anything any more."""
    return await _closed(call, lambda reading: account_of(reading, "", f"user:{call.at['user']}"), "user.close")


# ---------------------------------------------------------------- service accounts


@ROUTES.add("GET", "/workspaces/<workspace>/services", WORKSPACE_PEOPLE, _PAGE, gives=Page[replies.Account])
async def list_services(call: Call) -> Reply:
    after, limit = call.argument("after"), call.limit()
    with call.read() as reading:
        found = _taken(reading.accounts("service", call.at["workspace"], after), limit)
    return Reply(200, shown.page(found, limit, _name, shown.account))


@ROUTES.add(
    "POST", "/workspaces/<workspace>/services", WORKSPACE_PEOPLE, takes=NewService, gives=replies.Service, status=201
)
async def create_service(call: Call) -> Reply:
    """Two entries, since an Account is the node's and a membership the Workspace's. Between them it can do nothing."""
    body = await call.body(NewService)
    name, ws = slug(body.name, "A service account"), call.at["workspace"]
    now_ms = call.services.now_ms()
    made = Account(new_id("svc_"), "service", name, ws, "", now_ms)

    def appoint(reading: Reading, principal: Principal) -> Decided:
        _may_appoint(reading, principal, ws, body.role)
        there = reading.account_named("service", ws, name)
        if there is not None and reading.membership(ws, there.id) is not None:
            raise Conflict("There is a service account of this name already.")
        service = there or made  # a first try that broke off between the entries is taken up again
        return Decided(Draft(SYSTEM, "", principal.id, "service.create", (PutAccount(service),)), service)

    service, _ = await call.change(SYSTEM, appoint)
    assert isinstance(service, Account)
    membership = Membership(service.id, body.role, now_ms)
    return await call.conclude(
        ws,
        _written(ws, "member.add", PutMembership(membership), body.role),
        lambda _: Reply(201, shown.account(service) | {"role": body.role}),
    )


@ROUTES.show("/workspaces/<workspace>/services/<service>", WORKSPACE_PEOPLE, gives=replies.Account)
def show_service(call: Call, reading: Reading) -> shown.Shown:
    return shown.account(_found(account_of(reading, call.at["workspace"], f"service:{call.at['service']}")))


@ROUTES.add("DELETE", "/workspaces/<workspace>/services/<service>", WORKSPACE_PEOPLE, gives=None)
async def close_service(call: Call) -> Reply:
    ws = call.at["workspace"]
    said = f"service:{call.at['service']}"

    def dismiss(reading: Reading, principal: Principal) -> Decided:
        service = account_of(reading, ws, said)
        if service is None:
            raise Absent("There is no such service account in this workspace.")
        return _dismissed(reading, principal, ws, service)

    await call.change(ws, dismiss)
    return await _closed(call, lambda reading: account_of(reading, ws, said), "service.close")


# ---------------------------------------------------------------- members of a Workspace


@ROUTES.add("GET", "/workspaces/<workspace>/members", WORKSPACE_PEOPLE, _PAGE, gives=Page[replies.Member])
async def list_members(call: Call) -> Reply:
    after, limit, ws = call.argument("after"), call.limit(), call.at["workspace"]
    with call.read() as reading:
        found = list(islice(reading.memberships(ws, after), limit + 1))
        page = shown.page(found, limit, lambda one: one.account, lambda one: _member(reading, ws, one))
    return Reply(200, page)


@ROUTES.add(
    "PUT", "/workspaces/<workspace>/members/<member>", WORKSPACE_PEOPLE, takes=EditMembership, gives=replies.Member
)
async def put_member(call: Call) -> Reply:
    """Add `user:NAME`, or give a member another role."""
    body = await call.body(EditMembership)
    ws, now_ms = call.at["workspace"], call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        account = account_of(reading, ws, call.at["member"])
        if account is None:
            raise Absent("There is nobody of this name.", "Users are made by the node's administrators.")
        before = reading.membership(ws, account.id)
        if before is not None and before.role == body.role:
            return Decided(None, _member(reading, ws, before))
        if before is None and account.kind == MANAGED:
            raise Forbidden("This user was deactivated by the identity provider.", "Activate it there.")
        _may_appoint(reading, principal, ws, body.role)
        if before is not None:
            _may_depose(reading, principal, ws, before)
        made = Membership(account.id, body.role, now_ms, 0 if before is None else before.since_ms)
        action, put = "member.add" if before is None else "member.role", PutMembership(made)
        return _draft(principal, ws, action, put, value=_member(reading, ws, made))

    return await call.conclude(ws, decide, lambda told: Reply(200, told))


@ROUTES.show("/workspaces/<workspace>/members/<member>", WORKSPACE_PEOPLE, gives=replies.Member)
def show_member(call: Call, reading: Reading) -> shown.Shown:
    ws = call.at["workspace"]
    membership = reading.membership(ws, member_of(reading, ws, call.at["member"]).id)
    assert membership is not None
    return _member(reading, ws, membership)


@ROUTES.add("DELETE", "/workspaces/<workspace>/members/<member>", WORKSPACE_PEOPLE, gives=None)
async def remove_member(call: Call) -> Reply:
    ws = call.at["workspace"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        return _dismissed(reading, principal, ws, member_of(reading, ws, call.at["member"]))

    return await call.conclude(ws, decide, no_content)


# ---------------------------------------------------------------- teams


@ROUTES.add("GET", "/workspaces/<workspace>/teams", WORKSPACE_MEMBER, _PAGE, gives=Page[replies.TeamWithMembers])
async def list_teams(call: Call) -> Reply:
    """Members see those that are not hidden, and their own; who may manage people sees all."""
    after, limit, ws = call.argument("after"), call.limit(), call.at["workspace"]
    with call.read() as reading:
        seen = _seen(reading, call.principal, ws)
        found = list(islice((one for one in reading.teams(ws, after) if seen(one)), limit + 1))
        page = shown.page(found, limit, lambda one: one.name, lambda one: _team(reading, ws, one))
    return Reply(200, page)


@ROUTES.add("POST", "/workspaces/<workspace>/teams", WORKSPACE_PEOPLE, takes=NewTeam, gives=replies.Team, status=201)
async def create_team(call: Call) -> Reply:
    body = await call.body(NewTeam)
    ws = call.at["workspace"]
    team = Team(slug(body.name, "A team"), body.hidden, call.services.now_ms())

    def decide(reading: Reading, principal: Principal) -> Decided:
        if reading.team(ws, team.name) is not None:
            raise Conflict("There is a team of this name already.")
        return _draft(principal, ws, "team.create", PutTeam(team))

    return await call.conclude(ws, decide, lambda _: Reply(201, shown.team(team)))


@ROUTES.show("/workspaces/<workspace>/teams/<team>", WORKSPACE_MEMBER, gives=replies.TeamWithMembers)
def show_team(call: Call, reading: Reading) -> shown.Shown:
    """A hidden one is to others as absent as one that never was (C5)."""
    ws = call.at["workspace"]
    team = _found_team(reading, ws, call.at["team"])
    if not _seen(reading, call.principal, ws)(team):
        raise _no_team()
    return _team(reading, ws, team)


@ROUTES.add("DELETE", "/workspaces/<workspace>/teams/<team>", WORKSPACE_PEOPLE, gives=None)
async def drop_team(call: Call) -> Reply:
    ws, name = call.at["workspace"], call.at["team"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        if _found_team(reading, ws, name).id:
            raise Conflict("This team is kept by the workspace's identity provider.", "Remove the group there.")
        _judge_leaving(reading, principal, ws, name)
        return _draft(principal, ws, "team.drop", DropTeam(name))

    return await call.conclude(ws, decide, no_content)


@ROUTES.add(
    "PUT",
    "/workspaces/<workspace>/teams/<team>/members/<member>",
    TEAM_MANAGE,
    takes=EditTeammate,
    gives=replies.PlacedTeammate,
)
async def put_teammate(call: Call) -> Reply:
    body = await call.body(EditTeammate)
    ws, name, now_ms = call.at["workspace"], call.at["team"], call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        team, account = _found_team(reading, ws, name), member_of(reading, ws, call.at["member"])
        _check_hand(team, account)
        if len(reading.teams_of(ws, account.id)) >= TEAMS_MAX:
            raise Invalid(f"A member can be in {TEAMS_MAX} teams.", "Take it out of another one first.")
        mate = Teammate(name, account.id, body.role, now_ms)
        return _draft(principal, ws, "team.add", PutTeammate(mate))

    return await call.conclude(
        ws, decide, lambda _: Reply(200, {"team": name, "member": call.at["member"], "role": body.role})
    )


@ROUTES.show("/workspaces/<workspace>/teams/<team>/members/<member>", TEAM_MANAGE, gives=replies.PlacedTeammate)
def show_teammate(call: Call, reading: Reading) -> shown.Shown:
    ws, name = call.at["workspace"], call.at["team"]
    _found_team(reading, ws, name)
    account = member_of(reading, ws, call.at["member"])
    for one in reading.teams_of(ws, account.id):
        if one.team == name:
            return {"team": name, "member": told(reading, account.id), "role": one.role}
    raise Absent("There is no such member in this team.")


@ROUTES.add("DELETE", "/workspaces/<workspace>/teams/<team>/members/<member>", TEAM_MANAGE, gives=None)
async def remove_teammate(call: Call) -> Reply:
    ws, name = call.at["workspace"], call.at["team"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        team, account = _found_team(reading, ws, name), member_of(reading, ws, call.at["member"])
        _check_hand(team, account)
        _judge_leaving(reading, principal, ws, name)
        return _draft(principal, ws, "team.remove", DropTeammate(name, account.id))

    return await call.conclude(ws, decide, no_content)


# ---------------------------------------------------------------- steps


def new_id(prefix: str) -> str:
    """An id that says nothing, and was never given before."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(ID_CHARS))


def _seen(reading: Reading, principal: Principal, ws: str) -> Callable[[Team], bool]:
    """Which teams the caller, a member or somebody who manages people, may know of."""
    with suppress(Problem):
        judge_workspace(reading, principal, ws, PEOPLE)
        return lambda team: True
    own = {one.team for one in own_teams(reading, principal, ws)}
    return lambda team: not team.hidden or team.name in own


def _draft(principal: Principal, ws: str, action: str, *changes: AnyChange, value: object = None) -> Decided:
    return Decided(Draft(ws, "", principal.id, action, changes), value)


def _written(ws: str, action: str, change: AnyChange, role: str) -> Decision:
    def decide(reading: Reading, principal: Principal) -> Decided:
        _may_appoint(reading, principal, ws, role)
        return _draft(principal, ws, action, change)

    return decide


def _may_appoint(reading: Reading, principal: Principal, ws: str, role: str) -> None:
    """Owners are made by owners alone."""
    judge_workspace(reading, principal, ws, OWN if role == OWNER else "people")


def _may_depose(reading: Reading, principal: Principal, ws: str, before: Membership) -> None:
    """An owner goes by another owner's word, and the last one stays."""
    if before.role != OWNER:
        return
    judge_workspace(reading, principal, ws, OWN)
    owners = (one for one in reading.memberships(ws) if one.role == OWNER)
    if len(list(islice(owners, 2))) == 1 and principal.owner:
        raise Forbidden("This is the last owner of the workspace.", "Make another one first.")


def _dismissed(reading: Reading, principal: Principal, ws: str, account: Account) -> Decided:
    membership = reading.membership(ws, account.id)
    if membership is not None:
        _may_depose(reading, principal, ws, membership)
    return _draft(principal, ws, "member.remove", *ended(reading, ws, account.id))


def ended(reading: Reading, ws: str, account: str) -> tuple[AnyChange, ...]:
    """What ends a membership. That its identity provider counts somebody to a Group stays, as it alone says so; without
    a membership it gives nothing."""
    kept = [one for one in reading.teams_of(ws, account) if _is_kept(reading.team(ws, one.team))]
    return (DropMembership(account), *(PutTeammate(one) for one in kept))


def _is_kept(team: Team | None) -> bool:
    return team is not None and bool(team.id)


def _check_hand(team: Team, account: Account) -> None:
    """Raises Conflict where the identity provider says whether this one is in the team."""
    if team.id and account.kind == MANAGED:
        raise Conflict("Who of its users is in this team, the identity provider says.", "Change the group there.")


async def _closed(call: Call, find: Callable[[Reading], Account | None], action: str) -> Reply:
    now_ms = call.services.now_ms()
    gone: list[str] = []

    def decide(reading: Reading, principal: Principal) -> Decided:
        account = _found(find(reading))
        closed = msgspec.structs.replace(account, closed_ms=now_ms, passkeys=(), recovery_ms=0)
        gone.append(account.id)
        return Decided(Draft(SYSTEM, "", principal.id, action, (PutAccount(closed),)), closed)

    reply = await call.conclude(SYSTEM, decide, no_content)
    if call.services.signing_in is not None and gone:  # what it signed in with is no use to anybody
        await trio.to_thread.run_sync(call.services.signing_in.vault.forget_before, gone[-1], 0, 0, 0)
    return reply


def _judge_leaving(reading: Reading, principal: Principal, ws: str, team: str) -> None:
    """Whoever leaves a team leaves its denials: that is for who may give what they deny (C8). Raises Forbidden."""
    judge_lifting(reading, principal, ws, (one for one in reading.bindings(ws, team_subject(team)) if one.grant.deny))


def _found(account: Account | None) -> Account:
    if account is None:
        raise Absent("There is no such account.")
    return account


def _found_team(reading: Reading, ws: str, name: str) -> Team:
    team = reading.team(ws, name) if "\0" not in name else None
    if team is None:
        raise _no_team()
    return team


def _no_team() -> Absent:
    return Absent("There is no such team in this workspace.")


def _member(reading: Reading, ws: str, one: Membership) -> shown.Shown:
    return {
        "member": told(reading, one.account),
        "account": one.account,
        "role": one.role,
        "teams": [mate.team for mate in reading.teams_of(ws, one.account)],
        "created_ms": one.at_ms,
    }


def _team(reading: Reading, ws: str, team: Team) -> shown.Shown:
    mates = [
        {"member": told(reading, one.account), "role": one.role}
        for one in reading.teammates(ws, team.name)
        if reading.membership(ws, one.account) is not None
    ]
    return shown.team(team) | {"members": mates}


def _taken(found: Iterable[Account], limit: int) -> list[Account]:
    return [one for one, _ in zip(found, range(limit + 1), strict=False)]


def _email(text: str) -> str:
    if text and (len(text) > EMAIL_CHARS_MAX or "@" not in text or not text.isprintable() or " " in text):
        raise Invalid("This is no e-mail address.")
    return text


def _name(account: Account) -> str:
    return account.name
