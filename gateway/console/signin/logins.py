"""How does a program on somebody's machine get a token? It asks, its person says yes on a page, and it fetches it once.

After RFC 8628 (by a code that is shown) and RFC 8252 with 7636 (by way of a browser on the same machine), in JSON: the
members are theirs, and so are the codes of refusals. What is asked for is worth nothing until somebody who is signed in
has said yes, and the token is made only when it is fetched, under the write lock, as long as that session lives.
"""

from collections.abc import Callable

import trio

from gateway.access import tokens
from gateway.access.rights.verdicts import Principal, acting, principal_of, vouched_by
from gateway.access.signin import logins, sessions
from gateway.access.signin.logins import Login
from gateway.access.signin.proving import SigningIn
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import judge_scope
from gateway.console.calls.permissions import BY_ASKING, BY_CODE
from gateway.console.calls.services import Services, latest_ms_of
from gateway.console.people import replies as people_replies
from gateway.console.shapes import shown
from gateway.console.shapes.schemas import AskForLogin, FetchToken
from gateway.console.signin.addresses import DEVICE, base_of
from gateway.console.signin.asking import grants_of, lifetime_of, name_of
from gateway.console.signin.replies import DeviceCodes
from storage.commit import Decided
from storage.errors import Invalid, Problem, Unavailable
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, PutToken, Token

ROUTES = Routes("/-/api/v1")


@ROUTES.add("POST", "/login/device", BY_ASKING, takes=AskForLogin, gives=DeviceCodes)
async def ask_for_login(call: Call) -> Reply:
    """A code for the program, and a short one that its user types, or opens, in any browser."""
    services, signing_in = call.services, known(call.services)
    body = await call.body(AskForLogin)
    name, grants = name_of(body.name), grants_of(services, body.scope)
    lifetime_s, now_ms = lifetime_of(services, body.lifetime_s), services.now_ms()
    signing_in.tries.spend_login(call.request.headers.get("X-Entrepot-Peer", ""))
    code, hash = logins.new_code()
    user_code = logins.new_user_code()
    ends_ms = now_ms + logins.DEVICE_SECONDS_MAX * 1000
    login = Login(name, grants, lifetime_s, ends_ms, user_code)
    await trio.to_thread.run_sync(signing_in.vault.add_login, hash, login, now_ms)
    there, typed = f"{base_of(call.request, services.sign_in.url)}{DEVICE}", logins.shown_user_code(user_code)
    told = {
        "device_code": code,
        "user_code": typed,
        "verification_uri": there,
        "verification_uri_complete": f"{there}?user_code={typed}",
        "expires_in": logins.DEVICE_SECONDS_MAX,
        "interval": logins.INTERVAL_S,
    }
    return Reply(200, told)


@ROUTES.add("POST", "/login/token", BY_CODE, takes=FetchToken, gives=people_replies.MintedToken, status=201)
async def fetch_token(call: Call) -> Reply:
    """Once: with a device code that was said yes to, or with the code of the browser's way and its verifier."""
    vault = known(call.services).vault
    body = await call.body(FetchToken)
    now_ms = call.services.now_ms()
    if bool(body.device_code) == bool(body.code):
        raise Invalid("Either a device code is shown or a code.", "Show one of them.")
    step: Callable[[Login | None], tuple[Login | None, logins.Told]]
    if body.device_code:
        step = lambda login: logins.polled(login, now_ms)  # noqa: E731
    else:
        step = lambda login: logins.redeemed(login, body.code_verifier, body.redirect_uri, now_ms)  # noqa: E731
    hash = logins.code_hash(body.device_code or body.code)
    told = await trio.to_thread.run_sync(vault.change_login, hash, step)
    if isinstance(told, Problem):
        raise told
    login = told
    text, parts = tokens.mint()

    def decide(reading: Reading, principal: Principal) -> Decided:
        session = reading.token_by_id(login.session)
        if session is None or not sessions.is_living(reading, session, latest_ms_of(call.services)):
            raise logins.ExpiredCode("Who said yes to this login is signed out.", "Start it again.")
        sessions.living_account(reading, session.owner)
        acting(reading, principal_of(session))
        since_ms = max([now_ms, *(judge_scope(reading, principal_of(session), one) for one in login.grants)])
        token = Token(
            parts.id,
            login.name,
            parts.sha256,
            login.grants,
            "api",
            since_ms,
            now_ms + login.lifetime_s * 1000,
            verify_key=parts.verify_key,
            owner=session.owner,
            vouched=vouched_by(session),
        )
        return Decided(Draft(SYSTEM, "", session.id, "login.token", (PutToken(token),)), token)

    token, headers = await call.change(SYSTEM, decide)
    assert isinstance(token, Token)
    return Reply(201, {"id": token.id, "token": text} | shown.token(token, now_ms), headers)


def known(services: Services) -> SigningIn:
    """Who knows what waits. Raises Unavailable at an edge."""
    if services.signing_in is None:
        raise Unavailable("This node is an edge and knows no logins.", "Send this to the origin.", retry_after_s=5)
    return services.signing_in
