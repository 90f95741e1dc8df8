"""How does a customer get what it paid for? Tokens that only read, of some packages, up to limits that hold exactly."""

import msgspec
import trio

from gateway.access import tokens
from gateway.access.names import display
from gateway.access.rights import queried
from gateway.access.rights.grants import ENTITLE, READ, What
from gateway.access.rights.verdicts import Principal, has_all, judge_action, judge_workspace, needs_token, standing
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import grant_of, judge_passing_on, networks_of
from gateway.console.calls.looking import look
from gateway.console.calls.permissions import BY_BODY, SOMEBODY
from gateway.console.people import replies
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import Accepting, EditEntitlement, NewEntitlement, NewGrant
from storage.commit import Decided
from storage.errors import Absent, Conflict, Forbidden, Invalid, Unavailable
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Entitlement, Grant, PutToken, Token

ROUTES = Routes("/-/api/v1")
KIND = "entitlement"
_AT = "/workspaces/<workspace>/entitlements"


@ROUTES.add("GET", _AT, SOMEBODY, ("after", "limit"), gives=Page[replies.Token])
async def list_entitlements(call: Call) -> Reply:
    """Those that the caller may manage. A page may be short and not the last."""
    after, limit, now_ms = call.argument("after"), call.limit(), call.services.now_ms()

    def page() -> shown.Shown:
        with call.read() as reading:
            rows = reading.entitlements(call.at["workspace"], after)
            found = look(rows, limit, lambda one: one.id, lambda one: _governs(reading, call, one))
            return found.shown(lambda one: shown.token(one, now_ms))

    return Reply(200, await trio.to_thread.run_sync(page))


@ROUTES.add("POST", _AT, BY_BODY, takes=NewEntitlement, gives=replies.MintedToken, status=201)
async def create_entitlement(call: Call) -> Reply:
    body = await call.body(NewEntitlement)
    name, ws, now_ms = display(body.name, "An entitlement"), call.at["workspace"], call.services.now_ms()
    grants = _grants(call, body, ws)
    if body.eula and not body.eula.isprintable():
        raise Invalid("This cannot be a revision of terms.")
    limits = Entitlement(
        body.downloads_max,
        body.bytes_max,
        body.clients_max,
        body.period_s,
        now_ms + body.from_s * 1000 if body.from_s else 0,
        eula=body.eula,
        metadata=body.metadata,
    )
    text, parts = tokens.mint()
    expires_ms = now_ms + body.expires_s * 1000 if body.expires_s else 0
    networks = networks_of(body.cidrs)

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        since_ms = max([now_ms, *(_judged(reading, principal, one) for one in grants)])
        token = Token(
            parts.id,
            name,
            parts.sha256,
            grants,
            KIND,
            since_ms,
            expires_ms,
            verify_key=parts.verify_key,
            cidrs=networks,
            entitlement=limits,
        )
        _check_times(token)
        return _written(principal, "entitlement.create", token)

    return await call.conclude(SYSTEM, decide, lambda token: _minted(201, token, text, now_ms))


def show_limits(call: Call, reading: Reading) -> shown.Shown:
    """What the index knows of it: its ETag does not move with what is used."""
    return shown.token(_governed(reading, call, call.principal), call.services.now_ms())


@ROUTES.add("GET", f"{_AT}/<id>", SOMEBODY, gives=replies.UsedToken, shows=show_limits)
async def show_entitlement(call: Call) -> Reply:
    """With what was used: the origin tells, who counts it. Slices that are lent count as used."""
    with call.read() as reading:
        token = _governed(reading, call, call.principal)
    if call.services.used is None:
        raise Unavailable("This node does not count what customers fetch.", "Ask the origin.")
    used = await call.services.used(token)
    told = shown.token(token, call.services.now_ms())
    told["used"] = {
        "since_ms": used.period_ms,
        "downloads": used.downloads,
        "bytes": used.size,
        "clients": used.clients,
    }
    return Reply(200, told)


@ROUTES.add("PATCH", f"{_AT}/<id>", BY_BODY, takes=EditEntitlement, gives=replies.Token)
async def edit_entitlement(call: Call) -> Reply:
    """Other limits, another end or query, or a new period at once. What was lent under the old ones stays counted; one
    whose time was over is good again, in the same hands, once it ends later."""
    body = await call.body(EditEntitlement)
    query = None if body.query is None else queried.query(body.query)
    networks = None if body.cidrs is None else networks_of(body.cidrs)
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        token = _governed(reading, call, principal)
        assert token.entitlement is not None
        if token.revoked_ms:
            raise _revoked()
        asked = {name: value for name in _LIMITS if (value := getattr(body, name)) is not None}
        if body.from_s is not None:
            asked["from_ms"] = now_ms + body.from_s * 1000 if body.from_s else 0
        if body.reset:
            asked["reset_ms"] = max(now_ms, token.entitlement.reset_ms + 1)
        limits, grants = msgspec.structs.replace(token.entitlement, **asked), token.grants
        if query is not None:
            for one in grants:  # another query may give more
                _judged(reading, principal, one)
            grants = tuple(msgspec.structs.replace(one, query=query) for one in grants)
        edited = msgspec.structs.replace(token, entitlement=limits, grants=grants)
        if body.expires_s is not None:
            ends_ms = now_ms + body.expires_s * 1000 if body.expires_s else 0
            edited = msgspec.structs.replace(edited, expires_ms=ends_ms)
        if networks is not None:
            edited = msgspec.structs.replace(edited, cidrs=networks)
        _check_times(edited)
        return _written(principal, "entitlement.edit", edited)

    return await call.conclude(SYSTEM, decide, lambda token: Reply(200, shown.token(token, now_ms)))


_LIMITS = ("downloads_max", "bytes_max", "clients_max", "period_s", "eula", "metadata")


@ROUTES.add("POST", f"{_AT}/<id>/refresh", BY_BODY, gives=replies.MintedToken)
async def refresh_entitlement(call: Call) -> Reply:
    """A new text for the same entitlement: the old one ends at once, what was used stays used."""
    text, parts = tokens.mint()
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        token = _governed(reading, call, principal)
        if token.revoked_ms:
            raise _revoked()
        fresh = msgspec.structs.replace(token, sha256=parts.sha256, verify_key=parts.verify_key)
        return _written(principal, "entitlement.refresh", fresh)

    return await call.conclude(SYSTEM, decide, lambda token: _minted(200, token, text, now_ms))


@ROUTES.add("DELETE", f"{_AT}/<id>", BY_BODY, gives=replies.Token)
async def revoke_entitlement(call: Call) -> Reply:
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        token = _governed(reading, call, principal)
        if token.revoked_ms:
            return Decided(None, token)
        return _written(principal, "entitlement.revoke", msgspec.structs.replace(token, revoked_ms=now_ms))

    return await call.conclude(SYSTEM, decide, lambda token: Reply(200, shown.token(token, now_ms)))


@ROUTES.add("POST", "/eula", BY_BODY, takes=Accepting, gives=replies.Accepted)
async def accept_eula(call: Call) -> Reply:
    """The customer accepts the terms of its own token."""
    body = await call.body(Accepting)

    def decide(reading: Reading, principal: Principal) -> Decided:
        token = reading.token_by_id(principal.id)
        if token is None or token.entitlement is None or not token.entitlement.eula:
            raise Absent("This token has no terms to accept.")
        if token.entitlement.eula != body.revision:
            raise Conflict(
                "This is not the revision that is to be accepted.",
                "Ask for a file with this token: the refusal says which it is.",
            )
        limits = msgspec.structs.replace(token.entitlement, accepted=body.revision)
        return _written(principal, "entitlement.accept", msgspec.structs.replace(token, entitlement=limits))

    return await call.conclude(SYSTEM, decide, lambda _: Reply(200, {"accepted": body.revision}))


# ---------------------------------------------------------------- steps


def _check_times(token: Token) -> None:
    """Raises Invalid for a customer's token that would never be good."""
    assert token.entitlement is not None
    if 0 < token.expires_ms <= token.entitlement.from_ms:
        raise Invalid("It would end before it begins.", "Let it begin earlier, or end later.")


def _revoked() -> Conflict:
    return Conflict("This entitlement was revoked.", "Make a new one.")


def _minted(status: int, token: Token, text: str, now_ms: int) -> Reply:
    return Reply(status, {"id": token.id, "token": text} | shown.token(token, now_ms))


def _grants(call: Call, body: NewEntitlement, ws: str) -> tuple[Grant, ...]:
    scopes = [f"{ws}/{one}" for one in body.repositories] or [ws]
    asked = (NewGrant(one, True, formats=body.formats, packages=body.packages) for one in dict.fromkeys(scopes))
    query = queried.query(body.query)
    return tuple(msgspec.structs.replace(grant_of(call.services, one), query=query) for one in asked)


def _judged(reading: Reading, principal: Principal, grant: Grant) -> int:
    """When the place came to be, if `principal` may entitle customers there, and may read all that it gives."""
    ws, slash, repository = grant.scope.partition("/")
    if not slash:
        found_ms = judge_workspace(reading, principal, ws, ENTITLE).at_ms
        if not _reads_all(reading, principal, ws):
            raise Forbidden("You cannot give what you do not have.", "Ask an owner of the workspace.")
        return found_ms
    judge_action(reading, principal, ws, repository, READ)
    return judge_action(reading, principal, ws, repository, ENTITLE).at_ms


def _reads_all(reading: Reading, principal: Principal, ws: str) -> bool:
    return standing(reading, principal, ws).whole(What(READ, ws))


def _governs(reading: Reading, call: Call, token: Token, principal: Principal | None = None) -> bool:
    """Is it of this Workspace, and the caller's to manage?"""
    ws = call.at["workspace"]
    if token.kind != KIND or any(one.scope.partition("/")[0] != ws for one in token.grants):
        return False
    bound = standing(reading, principal or call.principal, ws)
    return all(has_all(bound, one.scope, (ENTITLE,), _at_ms(reading, one.scope)) for one in token.grants)


def _at_ms(reading: Reading, scope: str) -> int:
    ws, slash, name = scope.partition("/")
    found = reading.repository(ws, name) if slash else None
    return 0 if found is None else found.at_ms


def _governed(reading: Reading, call: Call, principal: Principal) -> Token:
    """The entitlement that the path names; to others it is as absent as one that never was (C5)."""
    if not principal.id:
        raise needs_token()
    id = call.at["id"]
    token = reading.token_by_id(id) if id.isascii() and id.isprintable() and len(id) < 100 else None
    if token is None or not _governs(reading, call, token, principal):
        raise Absent("There is no such entitlement, or this token may not know of it.")
    return token


def _written(principal: Principal, action: str, token: Token) -> Decided:
    return Decided(Draft(SYSTEM, "", principal.id, action, (PutToken(token),)), token)
