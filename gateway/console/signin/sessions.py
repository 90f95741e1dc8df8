"""Who is signed in, and how is that ended? Sessions of people, listed and ended by them and by administrators.

Also what an administrator does where somebody cannot sign in: a link to set a password, which is handed over by other
means, since the node sends no mail. Where a device or passkeys are lost: `lost.py`.
"""

from collections.abc import Callable, Iterable

import msgspec

from gateway.access import tokens
from gateway.access.rights.grants import PEOPLE
from gateway.access.rights.verdicts import Principal, controls, judge_node, judge_workspace, on_node
from gateway.access.signin import sessions
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.giving import account_of, member_of
from gateway.console.calls.permissions import (
    NODE_ADMIN,
    SESSION_CONTROL,
    SOMEBODY,
    WORKSPACE_PEOPLE,
    controlled_session,
)
from gateway.console.people.people import MANAGED
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.signin.addresses import SET_PASSWORD, base_of
from gateway.console.signin.replies import PasswordLink, Session
from storage.commit import Decided
from storage.errors import Absent, Forbidden
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Account, AnyChange, Draft, PutAccount, PutToken, Token

ROUTES = Routes("/-/api/v1")


@ROUTES.add("GET", "/sessions", SOMEBODY, ("after", "limit", "user"), gives=Page[Session])
async def list_sessions(call: Call) -> Reply:
    """The caller's own; with `user` those of somebody else, for an administrator of the node."""
    after, limit, user = call.argument("after"), call.limit(), call.argument("user")
    with call.read() as reading:
        owner = call.principal.owner
        if user:
            account = account_of(reading, "", f"user:{user}")
            if account is None or account.id != owner:
                judge_node(call.principal, "admin")
            owner = "" if account is None else account.id
        found = _seen(reading, call.principal, owner) if owner or not user else ()
        page = shown.page(
            sorted((one for one in found if one.id > after), key=_id),
            limit,
            _id,
            lambda one: _shown(call, reading, one),
        )
    return Reply(200, page)


@ROUTES.show("/sessions/<id>", SESSION_CONTROL, gives=Session)
def show_session(call: Call, reading: Reading) -> shown.Shown:
    token = controlled_session(reading, call.principal, call.at["id"])
    return _shown(call, reading, token)


@ROUTES.add("DELETE", "/sessions/<id>", SESSION_CONTROL, gives=None)
async def end_session(call: Call) -> Reply:
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        token = controlled_session(reading, principal, call.at["id"])
        return _written(principal, "session.end", [] if token.revoked_ms else [PutToken(sessions.ended(token, now_ms))])

    return await call.conclude(SYSTEM, decide, no_content)


@ROUTES.add("DELETE", "/users/<user>/sessions", NODE_ADMIN, gives=None)
async def end_sessions(call: Call) -> Reply:
    """Signs a user out everywhere; its tokens go on."""
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        return _written(principal, "session.end", endings(reading, _user(call, reading).id, now_ms))

    return await call.conclude(SYSTEM, decide, no_content)


@ROUTES.add("DELETE", "/workspaces/<workspace>/members/<member>/sessions", WORKSPACE_PEOPLE, gives=None)
async def sign_member_out(call: Call) -> Reply:
    """Signs a managed user out everywhere; its tokens go on. Of a user of the node other workspaces know the sessions,
    too, so that is for the node's administrators."""
    now_ms, ws = call.services.now_ms(), call.at["workspace"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_workspace(reading, principal, ws, PEOPLE)
        account = member_of(reading, ws, call.at["member"])
        if account.kind != MANAGED:
            raise Forbidden(
                "This member is no managed user, so its sessions are not this workspace's.",
                "An administrator of the node can: entrepot user sign-out.",
            )
        return _written(principal, "session.end", endings(reading, account.id, now_ms))

    return await call.conclude(SYSTEM, decide, no_content)


@ROUTES.add("POST", "/users/<user>/password-link", NODE_ADMIN, gives=PasswordLink, status=201)
async def make_password_link(call: Call) -> Reply:
    """A link with which this user sets a password, once; one that was made before is no good any more."""
    services = call.services
    code = tokens.mint()[0]
    ends_ms = services.now_ms() + services.sign_in.link_seconds * 1000

    def change(account: Account) -> Account:
        return msgspec.structs.replace(account, link=tokens.hash_of(code), link_ms=ends_ms)

    link = f"{base_of(call.request, services.sign_in.url)}{SET_PASSWORD}?user={call.at['user']}&code={code}"
    answer = Reply(201, {"user": call.at["user"], "link": link, "expires_ms": ends_ms})
    return await _changed(call, "password.link", change, answer)


# ---------------------------------------------------------------- steps


def endings(reading: Reading, account: str, now_ms: int, but: str = "") -> list[AnyChange]:
    """What ends all living sessions of an Account, but for one."""
    found = (one for one in reading.sign_ins(account) if one.id != but and sessions.is_living(reading, one, now_ms))
    return [PutToken(sessions.ended(one, now_ms)) for one in found]


def _seen(reading: Reading, principal: Principal, owner: str) -> Iterable[Token]:
    if not owner and not on_node(principal, "admin"):
        return
    for one in reading.sign_ins(owner):
        if controls(reading, principal, one):
            yield one


def _shown(call: Call, reading: Reading, token: Token) -> shown.Shown:
    now_ms = call.services.now_ms()
    living = sessions.is_living(reading, token, now_ms)
    return shown.session(token, _name(reading, token.owner), now_ms, call.principal.id, living=living)


async def _changed(call: Call, action: str, change: Callable[[Account], Account], answer: Reply) -> Reply:
    def decide(reading: Reading, principal: Principal) -> Decided:
        account = _user(call, reading)
        after = change(account)
        return _written(principal, action, [] if after == account else [PutAccount(after)])

    return await call.conclude(SYSTEM, decide, lambda _: answer)


def _user(call: Call, reading: Reading) -> Account:
    account = account_of(reading, "", f"user:{call.at['user']}")
    if account is None:
        raise Absent("There is no such account.")
    return account


def _written(principal: Principal, action: str, changes: list[AnyChange]) -> Decided:
    draft = Draft(SYSTEM, "", principal.id, action, tuple(changes)) if changes else None
    return Decided(draft, None, SYSTEM)


def _name(reading: Reading, id: str) -> str:
    account = reading.account(id)
    return id if account is None else account.name


def _id(token: Token) -> str:
    return token.id
