"""Who are the users that a Workspace's identity provider manages? SCIM's Users: Accounts of kind `managed`.

They belong to the Workspace: its identity provider has a word on them and on nobody else, whatever names it uses. One
that is deactivated is no member any more; with that its grants are gone, and its tokens and sessions for ever (C6).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from scim2_models import SearchRequest

from gateway.access.rights.rules import MEMBER
from gateway.access.rights.verdicts import Principal
from gateway.console.calls.call import Call, Decision, Reply, Routes
from gateway.console.calls.permissions import WORKSPACE_PROVISION
from gateway.console.people.people import MANAGED, ended, new_id
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
from gateway.scim.reading import one_value, patch_user, read_user, search_of, wanted_of
from gateway.scim.refusing import Taken
from gateway.scim.resources import (
    Shown,
    User,
    email_of,
    external_id_of,
    facts_of,
    key_of,
    shown,
    user_of,
    version_of_user,
)
from storage.commit import Decided
from storage.errors import Absent
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Draft,
    DropMembership,
    Membership,
    PutAccount,
    PutMembership,
    Team,
)

ROUTES = Routes(PREFIX)


class State(NamedTuple):
    """What a change is made of."""

    account: Account
    active: bool
    teams: tuple[Team, ...]


# ---------------------------------------------------------------- questions


@ROUTES.add("GET", "/<workspace>/Users", WORKSPACE_PROVISION, QUERY, gives=dict[str, Any])
async def list_users(call: Call) -> Reply:
    return await _listing(call, search_of(User, arguments_of(call, QUERY)))


@ROUTES.add("POST", "/<workspace>/Users/.search", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any])
async def search_users(call: Call) -> Reply:
    """The same, for questions that no address should hold."""
    return await _listing(call, search_of(User, await call.body(dict)))


async def _listing(call: Call, search: SearchRequest[User]) -> Reply:
    start, count = window(search.start_index_0, search.count)
    found, total = await aside(_page, call, search, start, count)
    return listed(found, total, start)


@ROUTES.add("GET", "/<workspace>/Users/<person>", WORKSPACE_PROVISION, ATTRIBUTES, gives=dict[str, Any])
async def show_user(call: Call) -> Reply:
    wanted = wanted_of(User, arguments_of(call, ATTRIBUTES))
    with call.read() as reading:
        state = _state(reading, call.at["workspace"], call.at["person"])
    return told(200, shown(_user(state, at_of(call)), wanted), {"ETag": _version(state)})


def _page(call: Call, search: SearchRequest[User], start: int, count: int) -> tuple[list[Shown], int]:
    ws, at = call.at["workspace"], at_of(call)
    with call.read() as reading:
        found = _matching(reading, ws, search, at)
        if search.sort_by is not None:
            users = search.sort(_user(one, at) for one in found)
            return [shown(one, search) for one in users[start : start + count]], len(users)
        page, total = [], 0
        for state in found:
            if start <= total < start + count:
                page.append(shown(_user(state, at), search))
            total += 1
    return page, total


def _matching(reading: Reading, ws: str, search: SearchRequest[User], at: str) -> Iterator[State]:
    """Whom the filter lets through. What identity providers ask for most is looked up, or compared without more ado."""
    name, value = one_value(search)
    if name == "username":
        account = reading.account_named(MANAGED, ws, key_of(value)) if value and "\0" not in value else None
        if account is not None:
            yield _state_of(reading, account)
        return
    for account in reading.accounts(MANAGED, ws):
        if name == "id" and account.id != value:
            continue
        if name == "externalid" and external_id_of(account.facts) != value:
            continue
        state = _state_of(reading, account)
        if search.filter is None or search.filter.match(_user(state, at)):
            yield state


def _state(reading: Reading, ws: str, id: str) -> State:
    """Raises Absent."""
    account = reading.account(id) if id.isascii() and id.isprintable() and len(id) < 100 else None
    if account is None or account.kind != MANAGED or account.workspace != ws or account.closed_ms:
        raise Absent("There is no such user in this workspace.")
    return _state_of(reading, account)


def _state_of(reading: Reading, account: Account) -> State:
    ws = account.workspace
    teams = (reading.team(ws, one.team) for one in reading.teams_of(ws, account.id))
    return State(
        account,
        reading.membership(ws, account.id) is not None,
        tuple(one for one in teams if one is not None and one.id),
    )


def every_user(reading: Reading, ws: str, at: str) -> Iterator[User]:
    """All of a Workspace, the inactive ones too."""
    return (_user(_state_of(reading, one), at) for one in reading.accounts(MANAGED, ws))


def _user(state: State, at: str = "") -> User:
    return user_of(state.account, state.active, state.teams, at)


def _version(state: State) -> str:
    return version_of_user(state.account, state.active)


# ---------------------------------------------------------------- changes


@ROUTES.add("POST", "/<workspace>/Users", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any], status=201)
async def create_user(call: Call) -> Reply:
    """Two entries, since an Account is the node's and a membership the Workspace's. Between them it is inactive."""
    body, ws = await call.body(dict), call.at["workspace"]
    wanted = wanted_of(User, arguments_of(call, ATTRIBUTES))
    user, now_ms = await aside(read_user, body), call.services.now_ms()
    name = key_of(user.user_name or "")
    made = Account(
        new_id("usr_"), MANAGED, name, ws, email_of(user), now_ms, facts=facts_of(user), changed_ms=now_ms
    )  # fmt: skip

    def decide(reading: Reading, principal: Principal) -> Decided:
        _check_free(reading, ws, name)
        return _draft(principal, SYSTEM, "scim.user.create", PutAccount(made), value=made)

    _, headers = await call.change(SYSTEM, decide)
    if user.active:
        _, headers = await call.change(ws, _activation(ws, made, now_ms, now_ms))
    return told(201, shown(user_of(made, bool(user.active), (), at_of(call)), wanted), headers)


@ROUTES.add("PUT", "/<workspace>/Users/<person>", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any])
async def replace_user(call: Call) -> Reply:
    return await _changed(call, await call.body(dict), read_user)


@ROUTES.add("PATCH", "/<workspace>/Users/<person>", WORKSPACE_PROVISION, ATTRIBUTES, takes=dict, gives=dict[str, Any])
async def change_user(call: Call) -> Reply:
    return await _changed(call, await call.body(dict), patch_user)


@ROUTES.add("DELETE", "/<workspace>/Users/<person>", WORKSPACE_PROVISION, gives=None)
async def delete_user(call: Call) -> Reply:
    """Closed for good: its name is free, its id is not."""
    ws, now_ms = call.at["workspace"], call.services.now_ms()

    def dismiss(reading: Reading, principal: Principal) -> Decided:
        state = _state(reading, ws, call.at["person"])
        check_match(call, _version(state))
        return _draft(principal, ws, "scim.user.delete", DropMembership(state.account.id))

    def close(reading: Reading, principal: Principal) -> Decided:
        account = _state(reading, ws, call.at["person"]).account
        closed = msgspec.structs.replace(account, closed_ms=now_ms)
        return _draft(principal, SYSTEM, "scim.user.delete", PutAccount(closed))

    await call.change(ws, dismiss)
    _, headers = await call.change(SYSTEM, close)
    return Reply(204, None, headers)


async def _changed(call: Call, body: Mapping[str, Any], change: Callable[[Mapping[str, Any], User], User]) -> Reply:
    ws, id = call.at["workspace"], call.at["person"]
    wanted = wanted_of(User, arguments_of(call, ATTRIBUTES))

    async def attempt() -> Mapping[str, str]:
        with call.read() as reading:
            state = _state(reading, ws, id)
        check_match(call, _version(state))
        return await _write(call, state, await aside(lambda: change(body, _user(state))))

    headers = await settled(attempt)
    with call.read() as reading:
        state = _state(reading, ws, id)
    return told(200, shown(_user(state, at_of(call)), wanted), {"ETag": _version(state)} | dict(headers))


async def _write(call: Call, state: State, user: User) -> Mapping[str, str]:
    """Who is deactivated is that first, and who is activated is that last. What is so already is not written."""
    ws, now_ms, headers = call.at["workspace"], call.services.now_ms(), dict[str, str]()
    before, name = state.account, key_of(user.user_name or "")
    after = msgspec.structs.replace(before, name=name, email=email_of(user), facts=facts_of(user))
    if state.active and not user.active:
        _, headers = await call.change(ws, _deactivation(ws, before))
    if after != before:
        after = msgspec.structs.replace(after, changed_ms=now_ms)

        def decide(reading: Reading, principal: Principal) -> Decided:
            _check_still(reading, before)
            if name != before.name:
                _check_free(reading, ws, name)
            return _draft(principal, SYSTEM, "scim.user.change", PutAccount(after))

        _, headers = await call.change(SYSTEM, decide)
    if user.active and not state.active:
        _, headers = await call.change(ws, _activation(ws, after, now_ms, now_ms + 1))
    return headers


def _deactivation(ws: str, account: Account) -> Decision:
    def decide(reading: Reading, principal: Principal) -> Decided:
        _check_still(reading, account)
        if reading.membership(ws, account.id) is None:
            return Decided(None, None)
        return _draft(principal, ws, "scim.user.deactivate", *ended(reading, ws, account.id))

    return decide


def _activation(ws: str, account: Account, now_ms: int, since_ms: int) -> Decision:
    """What was made for it before `since_ms` stays closed."""

    def decide(reading: Reading, principal: Principal) -> Decided:
        _check_still(reading, account)
        if reading.membership(ws, account.id) is not None:
            return Decided(None, None)
        made = Membership(account.id, MEMBER, now_ms, since_ms)
        return _draft(principal, ws, "scim.user.activate", PutMembership(made))

    return decide


def _check_still(reading: Reading, account: Account) -> None:
    if reading.account(account.id) != account:
        raise Moved


def _check_free(reading: Reading, ws: str, name: str) -> None:
    if reading.account_named(MANAGED, ws, name) is not None:
        raise Taken("There is a user of this userName already.")


def _draft(principal: Principal, journal: str, action: str, *changes: AnyChange, value: object = None) -> Decided:
    return Decided(Draft(journal, "", principal.id, action, changes), value)
