"""How are Tokens made, shown and revoked? The text of one is in the answer that made it, and never anywhere again."""

import msgspec
import trio

from gateway.access import tokens
from gateway.access.names import display
from gateway.access.rights.grants import EVERYWHERE, PEOPLE
from gateway.access.rights.verdicts import Principal, controls, covers, judge_node, judge_workspace, living, not_allowed
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import (
    account_of,
    bounded,
    grant_of,
    judge_giving,
    judge_passing_on,
    judge_scope,
    judge_standing_in,
    named,
    networks_of,
)
from gateway.console.calls.looking import Looked, look
from gateway.console.calls.permissions import BY_BODY, SOMEBODY, TOKEN_CONTROL, controlled_token
from gateway.console.calls.services import Services, latest_ms_of
from gateway.console.people import replies
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import NewGrant, NewToken, TokenRotation
from storage.commit import Decided
from storage.errors import Absent, Forbidden, Invalid
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Grant, PutToken, Token

ROUTES = Routes("/-/api/v1")

RESERVED_NAMES = frozenset({"up", "up-edge"})
"""`entrepot up` revokes tokens of these names when it starts."""


@ROUTES.add("GET", "/whoami", SOMEBODY, gives=replies.Caller)
async def whoami(call: Call) -> Reply:
    with call.read() as reading:
        account = reading.account(call.principal.owner) if call.principal.owner else None
    who = {"user": account.name} if account is not None and account.kind != "service" else {}
    return Reply(200, shown.principal(call.principal) | who)


@ROUTES.add("GET", "/tokens", SOMEBODY, ("after", "limit"), gives=Page[replies.Token])
async def list_tokens(call: Call) -> Reply:
    """With when and where each was last used. What is shown of one alone, and its ETag, does not change by use. A page
    may be short and not the last."""
    after, limit, now_ms = call.argument("after"), call.limit(), call.services.now_ms()

    def taken() -> Looked[Token]:
        with call.read() as reading:
            return look(
                reading.tokens(after), limit, _id,
                lambda one: one.sign_in is None and controls(reading, call.principal, one),
            )  # fmt: skip

    def names(owned: list[Token]) -> dict[str, str]:
        with call.read() as reading:
            accounts = [reading.account(one) for one in {token.owner for token in owned if token.owner}]
        return {one.id: named(one) for one in accounts if one is not None}

    page = await trio.to_thread.run_sync(taken)
    owners = await trio.to_thread.run_sync(names, page.found)
    register = call.services.register
    uses = register.uses([one.id for one in page.found]) if register is not None else {}

    def told(one: Token) -> shown.Shown:
        return shown.token(one, now_ms, uses.get(one.id)) | (
            {"owner_name": owners[one.owner]} if one.owner in owners else {}
        )

    return Reply(200, page.shown(told))


@ROUTES.add("POST", "/tokens", BY_BODY, takes=NewToken, gives=replies.MintedToken, status=201)
async def create_token(call: Call) -> Reply:
    body = await call.body(NewToken)
    name = display(body.name, "A token")
    if name in RESERVED_NAMES:
        raise Invalid(f'A token cannot be called "{name}": the name is reserved.', "Choose another name.")
    grants = _grants_of(call.services, body)
    cidrs = networks_of(body.cidrs)
    text, parts = tokens.mint()
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        if body.kind == "edge":
            judge_node(principal, "admin")
        owner = _owner_of(reading, principal, body.owner)
        if not owner and not grants:
            raise Invalid("A token without grants can do nothing.", "Name at least one scope and right.")
        since_ms = max([now_ms, *(_since_ms(reading, principal, owner, grant) for grant in grants)])
        expires_ms = now_ms + body.expires_s * 1000 if body.expires_s else 0
        token = Token(
            parts.id,
            name,
            parts.sha256,
            grants,
            body.kind,
            since_ms,
            expires_ms,
            verify_key=parts.verify_key,
            owner=owner,
            cidrs=cidrs,
            requests_max=body.requests_max,
            vouched=principal.vouched if owner and owner == principal.owner else None,
        )
        return _written(principal, "token.create", bounded(principal, token))

    return await call.conclude(SYSTEM, decide, lambda token: _minted(201, token, text, now_ms))


@ROUTES.show("/tokens/<id>", TOKEN_CONTROL, gives=replies.Token)
def show_token(call: Call, reading: Reading) -> shown.Shown:
    return shown.token(controlled_token(reading, call.principal, call.at["id"]), call.services.now_ms())


@ROUTES.add("DELETE", "/tokens/<id>", TOKEN_CONTROL, gives=replies.Token)
async def revoke_token(call: Call) -> Reply:
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        token = controlled_token(reading, principal, call.at["id"])
        if token.revoked_ms:
            return Decided(None, token)
        return _written(principal, "token.revoke", msgspec.structs.replace(token, revoked_ms=now_ms))

    return await call.conclude(SYSTEM, decide, lambda token: Reply(200, shown.token(token, now_ms)))


@ROUTES.add("POST", "/tokens/<id>/rotate", TOKEN_CONTROL, takes=TokenRotation, gives=replies.MintedToken, status=201)
async def rotate_token(call: Call) -> Reply:
    """A new token that can do the same, for as long or for `expires_s`; the old one goes on for a while, so that
    nothing stands still meanwhile."""
    body = await call.body(TokenRotation)
    text, parts = tokens.mint()
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        old = controlled_token(reading, principal, call.at["id"])
        judge_passing_on(principal)
        if old.kind != "api":
            raise Invalid("This is no token of the API.", "Others are refreshed, made anew, or exchanged again.")
        living(old, latest_ms_of(call.services))
        if old.owner and old.owner != principal.owner:
            account = reading.account(old.owner)
            if account is None or account.kind != "service":
                judge_node(principal, "admin")
            else:
                judge_standing_in(reading, principal, account.workspace, account.id)
        fresh = msgspec.structs.replace(old, id=parts.id, sha256=parts.sha256, verify_key=parts.verify_key)
        if body.expires_s:
            fresh = msgspec.structs.replace(fresh, expires_ms=now_ms + body.expires_s * 1000)
        fresh = bounded(principal, fresh)
        ends_ms = now_ms + body.overlap_s * 1000
        ending = msgspec.structs.replace(old, expires_ms=min(old.expires_ms or ends_ms, ends_ms))
        changes = (PutToken(fresh), PutToken(ending))
        return Decided(Draft(SYSTEM, "", principal.id, "token.rotate", changes), fresh)

    return await call.conclude(SYSTEM, decide, lambda token: _minted(201, token, text, now_ms))


def _minted(status: int, token: Token, text: str, now_ms: int) -> Reply:
    """The one answer that holds a token's text."""
    return Reply(status, {"id": token.id, "token": text} | shown.token(token, now_ms))


def _grants_of(services: Services, body: NewToken) -> tuple[Grant, ...]:
    """The grants asked for, well formed. Whether they may be given is decided under the write lock."""
    asked = body.grants
    if body.kind == "edge":
        if body.owner or (asked and asked != (NewGrant(EVERYWHERE),)):
            raise Invalid("An edge's token reads everything and does nothing else.", "Leave out its grants.")
        asked = (NewGrant(EVERYWHERE),)
    plain = [one for one in asked if one == NewGrant(one.scope, one.read, one.write, one.admin)]
    if len({one.scope for one in plain}) != len(plain):
        raise Invalid("A scope is named twice.", "Put all rights of a scope into one grant.")
    return tuple(grant_of(services, one) for one in asked)


def _owner_of(reading: Reading, principal: Principal, said: str) -> str:
    """The Account that a new token acts for: the caller's own, or one that the caller manages. Raises Absent, Invalid.

    A token that is limited itself makes none that is not (C8): for an owner it must be without grants.
    """
    if not said:
        if principal.owner and principal.grants:
            raise Forbidden("A token with grants of its own makes no others.", "Log in, or use one without grants.")
        return principal.owner
    kind, _, name = said.partition(":")
    ws, slash, service = name.partition("/")
    if kind == "service" and not slash:
        raise Invalid("This names no service account.", "Write service:WORKSPACE/NAME.")
    if kind != "service":  # of a person nobody else makes tokens but the node's administrators
        account = account_of(reading, ws, said if kind == "user" else f"{kind}:{service}")
        if not principal.owner or account is None or account.id != principal.owner:
            judge_node(principal, "admin")
    else:
        judge_workspace(reading, principal, ws, PEOPLE)
        account = account_of(reading, ws, f"{kind}:{service}")
        membership = reading.membership(ws, account.id) if account is not None else None
        if membership is not None and account is not None:
            judge_standing_in(reading, principal, ws, account.id)
    if account is None:
        raise Absent("There is no such account.", "Write service:WORKSPACE/NAME, managed:WORKSPACE/NAME, or user:NAME.")
    return account.id


def _since_ms(reading: Reading, principal: Principal, owner: str, grant: Grant) -> int:
    """When what the scope names came to be, if the grant may be given. The grants of a token with an owner only take
    away from what that one has. Raises Absent or Forbidden as for any other use of the scope."""
    if owner:
        return judge_scope(reading, principal, grant)
    since_ms = judge_giving(reading, principal, grant)
    if not covers(reading, principal, grant.scope):
        raise not_allowed("admin", "repository" if "/" in grant.scope else "workspace")
    return since_ms


def _written(principal: Principal, action: str, token: Token) -> Decided:
    return Decided(Draft(SYSTEM, "", principal.id, action, (PutToken(token),)), token)


def _id(token: Token) -> str:
    return token.id
