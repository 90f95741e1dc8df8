"""Which teams does a Workspace's identity provider keep? SCIM's Groups: Teams with an id.

A Group never takes over a Team that is there already: it gets one with another name. What its members may do is given
to the Team, here; the identity provider says who they are. Who is not a user of its own in the Team is no member of
the Group, and is not touched by it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from scim2_models import SearchRequest

from gateway.access.rights.rules import TEAMS_MAX
from gateway.access.rights.verdicts import Principal
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import WORKSPACE_PROVISION
from gateway.console.people.people import MANAGED, new_id
from gateway.console.scim.asking import (
    ATTRIBUTES,
    PREFIX,
    QUERY,
    Moved,
    arguments_of,
    aside,
    at_of,
    check_match,
    listed,
    settled,
    told,
    window,
)
from gateway.scim.reading import leaves_out, patch_group, read_group, search_of, wanted_of
from gateway.scim.refusing import INVALID_VALUE, Refused, Taken
from gateway.scim.resources import (
    Group,
    facts_of,
    group_of,
    key_of,
    name_of,
    shown,
    team_names,
    version_of_group,
)
from storage.commit import Decided
from storage.errors import Absent
from storage.index.catalog import Reading
from storage.nouns import AnyChange, Draft, DropTeam, DropTeammate, PutTeam, PutTeammate, Team, Teammate

ROUTES = Routes(PREFIX)
ID_CHARS_MAX = 100


class State(NamedTuple):
    """What a change is made of. `members` are the ids of users, sorted."""

    team: Team
    members: tuple[str, ...]


# ---------------------------------------------------------------- questions


@ROUTES.add("GET", "/<workspace>/Groups", WORKSPACE_PROVISION, QUERY, gives=dict[str, Any])
async def list_groups(call: Call) -> Reply:
    return await _listing(call, search_of(Group, arguments_of(call, QUERY)))


@ROUTES.add("POST", "/<workspace>/Groups/.search", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any])
async def search_groups(call: Call) -> Reply:
    """The same, for questions that no address should hold."""
    return await _listing(call, search_of(Group, await call.body(dict)))


async def _listing(call: Call, search: SearchRequest[Group]) -> Reply:
    start, count = window(search.start_index_0, search.count)
    found = await aside(_found, call, search)
    page = await aside(lambda: [shown(one, search) for one in found[start : start + count]])
    return listed(page, len(found), start)


@ROUTES.add("GET", "/<workspace>/Groups/<group>", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def show_group(call: Call) -> Reply:
    wanted = wanted_of(Group, arguments_of(call, ATTRIBUTES))
    with call.read() as reading:
        state = _state(reading, call.at["workspace"], call.at["group"])
    return told(200, await aside(lambda: shown(_group(state, at_of(call)), wanted)), {"ETag": _version(state)})


def _found(call: Call, search: SearchRequest[Group]) -> list[Group]:
    ws, at = call.at["workspace"], at_of(call)
    bare = leaves_out(search, "members") and (search.filter is None or "members" not in search.filter.lower())
    with call.read() as reading:
        found = every_group(reading, ws, at, bare=bare)
    if search.filter is not None:
        found = [one for one in found if search.filter.match(one)]
    return search.sort(found)


def every_group(reading: Reading, ws: str, at: str, *, bare: bool = False) -> list[Group]:
    """All of a Workspace; `bare` = without their members."""
    members = {} if bare else _members(reading, ws)
    return [group_of(one, members.get(one.name, ()), at) for one in reading.teams(ws) if one.id]


def _members(reading: Reading, ws: str, team: str = "") -> dict[str, list[str]]:
    """The users of the identity provider by Team, of one or of all."""
    found: dict[str, list[str]] = {}
    for mate in reading.teammates(ws, team):
        account = reading.account(mate.account)
        if account is not None and account.kind == MANAGED and not account.closed_ms:
            found.setdefault(mate.team, []).append(mate.account)
    return found


def _state(reading: Reading, ws: str, id: str) -> State:
    """Raises Absent."""
    team = reading.group(ws, id) if id.isascii() and id.isprintable() and len(id) < ID_CHARS_MAX else None
    if team is None:
        raise Absent("There is no such group in this workspace.")
    return State(team, tuple(sorted(_members(reading, ws, team.name).get(team.name, ()))))


def _group(state: State, at: str = "") -> Group:
    return group_of(state.team, state.members, at)


def _version(state: State) -> str:
    return version_of_group(state.team, state.members)


# ---------------------------------------------------------------- changes


@ROUTES.add(
    "POST", "/<workspace>/Groups", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any], status=201
)
async def create_group(call: Call) -> Reply:
    body, ws, now_ms = await call.body(dict), call.at["workspace"], call.services.now_ms()
    wanted = wanted_of(Group, arguments_of(call, ATTRIBUTES))
    group = await aside(read_group, body)
    id, members = new_id("grp_"), _ids(group)

    def decide(reading: Reading, principal: Principal) -> Decided:
        display = group.display_name or ""
        _check_free(reading, ws, display)
        name = next(one for one in team_names(display) if reading.team(ws, one) is None)
        team = Team(name, at_ms=now_ms, id=id, facts=facts_of(group), changed_ms=now_ms)
        _check_users(reading, ws, members)
        mates = (PutTeammate(Teammate(name, one, at_ms=now_ms)) for one in members)
        changes: tuple[AnyChange, ...] = (PutTeam(team), *mates)
        return _draft(principal, ws, "scim.group.create", changes, State(team, members))

    made, headers = await call.change(ws, decide)
    assert isinstance(made, State)
    return told(201, shown(_group(made, at_of(call)), wanted), {"ETag": _version(made)} | headers)


@ROUTES.add("PUT", "/<workspace>/Groups/<group>", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any])
async def replace_group(call: Call) -> Reply:
    body, wanted = await call.body(dict), wanted_of(Group, arguments_of(call, ATTRIBUTES))
    state, headers = await _changed(call, body, read_group)
    return told(200, await aside(lambda: shown(_group(state, at_of(call)), wanted)), headers)


@ROUTES.add("PATCH", "/<workspace>/Groups/<group>", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=None)
async def change_group(call: Call) -> Reply:
    """Nothing is told but the new entity tag: a group can be large, and changes by one member at a time."""
    _, headers = await _changed(call, await call.body(dict), patch_group)
    return Reply(204, None, headers)


@ROUTES.add("DELETE", "/<workspace>/Groups/<group>", WORKSPACE_PROVISION, gives=None)
async def delete_group(call: Call) -> Reply:
    """The Team goes with it, and what was given to that."""
    ws = call.at["workspace"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        state = _state(reading, ws, call.at["group"])
        check_match(call, _version(state))
        return _draft(principal, ws, "scim.group.delete", (DropTeam(state.team.name),))

    _, headers = await call.change(ws, decide)
    return Reply(204, None, headers)


async def _changed(
    call: Call, body: Mapping[str, Any], change: Callable[[Mapping[str, Any], Group], Group]
) -> tuple[State, dict[str, str]]:
    ws, id, now_ms = call.at["workspace"], call.at["group"], call.services.now_ms()

    async def attempt() -> tuple[State, dict[str, str]]:
        with call.read() as reading:
            before = _state(reading, ws, id)
        check_match(call, _version(before))
        group = await aside(lambda: change(body, _group(before)))
        facts, members = facts_of(group), _ids(group)

        def decide(reading: Reading, principal: Principal) -> Decided:
            if _state(reading, ws, id) != before:
                raise Moved
            team = before.team
            if facts != team.facts:
                team = msgspec.structs.replace(team, facts=facts)
                if key_of(name_of(team)) != key_of(name_of(before.team)):
                    _check_free(reading, ws, name_of(team))
            changes = tuple(_moves(reading, ws, team.name, before.members, members, now_ms))
            if team == before.team and not changes:
                return Decided(None, before)
            team = msgspec.structs.replace(team, changed_ms=now_ms)
            return _draft(principal, ws, "scim.group.change", (PutTeam(team), *changes), State(team, members))

        made, headers = await call.change(ws, decide)
        assert isinstance(made, State)
        return made, {"ETag": _version(made)} | headers

    return await settled(attempt)


def _moves(
    reading: Reading, ws: str, team: str, before: Iterable[str], after: Iterable[str], now_ms: int
) -> Iterator[AnyChange]:
    """Who comes, and who goes."""
    old, new = set(before), set(after)
    _check_users(reading, ws, new - old)
    yield from (DropTeammate(team, one) for one in sorted(old - new))
    yield from (PutTeammate(Teammate(team, one, at_ms=now_ms)) for one in sorted(new - old))


def _check_users(reading: Reading, ws: str, ids: Iterable[str]) -> None:
    """Raises Refused where one of these is no user of the Workspace's identity provider."""
    for id in ids:
        account = reading.account(id) if id.isascii() and id.isprintable() and len(id) < 100 else None
        if account is None or account.kind != MANAGED or account.workspace != ws or account.closed_ms:
            raise Refused("A member is no user of this workspace that was made by SCIM.", scim_type=INVALID_VALUE)
        if len(reading.teams_of(ws, id)) >= TEAMS_MAX:
            raise Refused(f"A user can be in {TEAMS_MAX} groups.", scim_type=INVALID_VALUE)


def _ids(group: Group) -> tuple[str, ...]:
    return tuple(sorted({one.value for one in group.members or () if one.value}))


def _check_free(reading: Reading, ws: str, display: str) -> None:
    key = key_of(display)
    if any(one.id and key_of(name_of(one)) == key for one in reading.teams(ws)):
        raise Taken("There is a group of this displayName already.")


def _draft(principal: Principal, ws: str, action: str, changes: tuple[AnyChange, ...], value: object = None) -> Decided:
    return Decided(Draft(ws, "", principal.id, action, changes), value)
