"""How are Tokens made, shown and revoked? The text of one is in the answer that made it, and never anywhere again."""

import msgspec

from gateway.access import tokens
from gateway.access.names import display, slug
from gateway.access.verdicts import EVERYWHERE, Principal, controls, judge, judge_node, judge_workspace
from gateway.console import shown
from gateway.console.calls import Call, Reply, Routes
from gateway.console.permissions import BY_BODY, SOMEBODY, TOKEN_CONTROL, controlled_token
from gateway.console.schemas import NewGrant, NewToken
from storage.catalog import Reading
from storage.commit import Decided
from storage.errors import Invalid
from storage.nouns import SYSTEM, Draft, Grant, PutToken, Token

ROUTES = Routes("/-/api/v1")

RESERVED_NAMES = frozenset({"up", "up-edge"})
"""`entrepot up` revokes tokens of these names when it starts."""


@ROUTES.add("GET", "/whoami", SOMEBODY)
async def whoami(call: Call) -> Reply:
    return Reply(200, shown.principal(call.principal))


@ROUTES.add("GET", "/tokens", SOMEBODY, ("after", "limit"))
async def list_tokens(call: Call) -> Reply:
    after, limit, now_ms = call.argument("after"), call.limit(), call.services.now_ms()
    with call.read() as reading:
        found = [one for one in reading.tokens() if one.id > after and controls(reading, call.principal, one)]
    found.sort(key=_id)
    return Reply(200, shown.page(found, limit, _id, lambda one: shown.token(one, now_ms)))


@ROUTES.add("POST", "/tokens", BY_BODY)
async def create_token(call: Call) -> Reply:
    body = await call.body(NewToken)
    name = display(body.name, "A token")
    if name in RESERVED_NAMES:
        raise Invalid(f'A token cannot be called "{name}": the name is reserved.', "Choose another name.")
    grants = _grants_of(body)
    text, parts = tokens.mint()
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        if body.kind == "edge":
            judge_node(principal, "admin")
        since_ms = max([now_ms, *(_judged_since_ms(reading, principal, grant.scope) for grant in grants)])
        expires_ms = now_ms + body.expires_s * 1000 if body.expires_s else 0
        if principal.expires_ms:
            expires_ms = min(expires_ms or principal.expires_ms, principal.expires_ms)
        token = Token(parts.id, name, parts.sha256, grants, body.kind, since_ms, expires_ms, 0, parts.verify_key)
        return _written(principal, "token.create", token)

    token, headers = await call.change(SYSTEM, decide)
    assert isinstance(token, Token)
    return Reply(201, {"id": token.id, "token": text} | shown.token(token, now_ms), headers)


@ROUTES.add("GET", "/tokens/<id>", TOKEN_CONTROL)
async def show_token(call: Call) -> Reply:
    with call.read() as reading:
        token = controlled_token(reading, call.principal, call.at["id"])
    return Reply(200, shown.token(token, call.services.now_ms()))


@ROUTES.add("DELETE", "/tokens/<id>", TOKEN_CONTROL)
async def revoke_token(call: Call) -> Reply:
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        token = controlled_token(reading, principal, call.at["id"])
        if token.revoked_ms:
            return Decided(None, token)
        return _written(principal, "token.revoke", msgspec.structs.replace(token, revoked_ms=now_ms))

    token, headers = await call.change(SYSTEM, decide)
    assert isinstance(token, Token)
    return Reply(200, shown.token(token, now_ms), headers)


def _grants_of(body: NewToken) -> tuple[Grant, ...]:
    """The grants asked for, well formed. Whether they may be given is decided under the write lock."""
    asked = body.grants
    if body.kind == "edge":
        if asked and asked != (NewGrant(EVERYWHERE),):
            raise Invalid("An edge's token reads everything and does nothing else.", "Leave out its grants.")
        asked = (NewGrant(EVERYWHERE),)
    if not asked:
        raise Invalid("A token without grants can do nothing.", "Name at least one scope and right.")
    if len({one.scope for one in asked}) != len(asked):
        raise Invalid("A scope is named twice.", "Put all rights of a scope into one grant.")
    return tuple(_grant_of(one) for one in asked)


def _grant_of(asked: NewGrant) -> Grant:
    if not (asked.read or asked.write or asked.admin):
        raise Invalid("A grant without any right is none.", "Give it read, write or admin.")
    if asked.scope != EVERYWHERE:
        workspace, slash, repository = asked.scope.partition("/")
        slug(workspace, "A workspace")
        if slash:
            slug(repository, "A repository")
    return Grant(asked.scope, asked.read or asked.admin, asked.write or asked.admin, asked.admin)


def _judged_since_ms(reading: Reading, principal: Principal, scope: str) -> int:
    """When what `scope` names came to be, if `principal` may give rights on it: only admin there may, and has them all.

    Raises Absent or Forbidden as for any other use of the scope.
    """
    workspace, slash, repository = scope.partition("/")
    if scope == EVERYWHERE:
        judge_node(principal, "admin")
        return 0
    if not slash:
        return judge_workspace(reading, principal, workspace, "admin").at_ms
    return judge(reading, principal, workspace, repository, "admin").at_ms


def _written(principal: Principal, action: str, token: Token) -> Decided:
    return Decided(Draft(SYSTEM, "", principal.id, action, (PutToken(token),)), token)


def _id(token: Token) -> str:
    return token.id
