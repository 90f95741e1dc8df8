"""The pages on which people sign in and out, and see where they are signed in and which tokens act for them."""

import datetime
from urllib.parse import quote

import msgspec
from quart import Response

from gateway.access.rights.verdicts import controls
from gateway.access.signin import sessions
from gateway.access.signin.passkeys import site_of
from gateway.access.signin.proving import needs_more
from gateway.console.calls import cookies
from gateway.console.calls.services import latest_ms_of
from gateway.console.signin import methods
from gateway.console.signin.addresses import ACCOUNT, SIGN_IN, SIGN_OUT, onward
from gateway.console.signin.goodbyes import goodbye
from gateway.console.signin.visits import Pages, Visit, seen_other
from storage.errors import Absent, TooMany, Unauthenticated, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Account, AnyChange, Passkey, PutToken, Token

PAGES = Pages()
TOKENS_SHOWN_MAX = 200


@PAGES.add("GET", SIGN_IN, signed_in=False)
async def show_sign_in(visit: Visit) -> Response:
    return _form(visit, onward(visit.argument("next")))


@PAGES.add("POST", SIGN_IN, signed_in=False)
async def sign_in(visit: Visit) -> Response:
    next = onward(visit.field("next"))
    try:
        proof = await visit.signing_in.prove(
            visit.field("name"), visit.field("password"), visit.field("code"), visit.peer
        )
    except (Unauthenticated, TooMany, Unavailable) as refused:
        response = _form(visit, next, refused.status, message=refused.message, remedy=refused.remedy)
        if refused.retry_after_s is not None:
            response.headers["Retry-After"] = str(refused.retry_after_s)
        return response
    shown = proof.account

    def still(reading: Reading) -> None:
        now = sessions.living_account(reading, shown.id)
        if _asked_for(now) != _asked_for(shown):
            raise Unauthenticated("What you showed was changed meanwhile.", "Sign in again.")

    return await methods.enter(visit, shown.id, proof.method, next, still)


@PAGES.add("POST", SIGN_OUT, signed_in=True)
async def sign_out(visit: Visit) -> Response:
    def decide(reading: Reading) -> list[AnyChange]:
        now_ms = visit.services.now_ms()
        return [PutToken(sessions.ended(sessions.session_of(reading, visit.text, now_ms), now_ms))]

    token = visit.token
    serial = await visit.change("session.end", decide)
    if token is not None and (page := await goodbye(visit, token, serial)) is not None:
        return page
    gone = cookies.set_cookie(cookies.SESSION, "", secure=visit.secure)
    return seen_other(SIGN_IN, gone, serial=serial)


@PAGES.add("GET", ACCOUNT, signed_in=True)
async def show_account(visit: Visit) -> Response:
    return account_page(visit)


@PAGES.add("POST", f"{ACCOUNT}/end-session", signed_in=True)
async def end_session(visit: Visit) -> Response:
    def decide(reading: Reading) -> list[AnyChange]:
        token = _own(visit, reading)
        if token.sign_in is None:
            raise Absent("There is no such session.")
        return [] if token.revoked_ms else [PutToken(sessions.ended(token, visit.services.now_ms()))]

    return seen_other(ACCOUNT, serial=await visit.change("session.end", decide))


@PAGES.add("POST", f"{ACCOUNT}/revoke-token", signed_in=True)
async def revoke_token(visit: Visit) -> Response:
    def decide(reading: Reading) -> list[AnyChange]:
        token = _own(visit, reading)
        if token.sign_in is not None:
            raise Absent("There is no such token.")
        revoked = msgspec.structs.replace(token, revoked_ms=visit.services.now_ms())
        return [] if token.revoked_ms else [PutToken(revoked)]

    return seen_other(ACCOUNT, serial=await visit.change("token.revoke", decide))


# ---------------------------------------------------------------- steps


def account_page(visit: Visit, status: int = 200, message: str = "", remedy: str = "") -> Response:
    """The account's page, with something to say on top."""
    account, now_ms = visit.account, visit.services.now_ms()
    own = visit.token.id if visit.token is not None else ""
    with visit.services.catalog.read() as reading:
        living = [one for one in reading.sign_ins(account.id) if sessions.is_living(reading, one, now_ms)]
        tokens = [one for one in reading.tokens_of(account.id) if _is_shown(one, now_ms)]
    return visit.page(
        "account.html",
        status,
        message=message,
        remedy=remedy,
        sessions=[_session(one, own) for one in sorted(living, key=_began, reverse=True)],
        tokens=[_token(one) for one in tokens[:TOKENS_SHOWN_MAX]],
        has_password=bool(account.password_ms),
        has_device=bool(account.device_ms),
        recoverable=needs_more(account),
        recovery_left=visit.signing_in.vault.recovery_left(account.id, account.recovery_ms),
        has_site=site_of(visit.services.sign_in.url) is not None,
        passkeys=[_passkey(one) for one in account.passkeys],
    )


def _form(visit: Visit, next: str, status: int = 200, message: str = "", remedy: str = "") -> Response:
    quoted = quote(next, safe="")
    offers = [one for offering in methods.OFFERED for one in offering(visit, quoted)]
    return visit.page("sign_in.html", status, onward=next, offers=offers, message=message, remedy=remedy)


def _own(visit: Visit, reading: Reading) -> Token:
    """The token that the form names, if it is the person's own; others are as absent as those that never were (C5)."""
    id = visit.field("id")
    principal = sessions.holder(reading, visit.text, latest_ms_of(visit.services))
    token = reading.token_by_id(id) if id.isascii() and id.isprintable() and len(id) < 100 else None
    if token is None or token.owner != principal.owner or not controls(reading, principal, token):
        raise Absent("There is nothing of this kind.")
    return token


def _asked_for(account: Account) -> tuple[object, ...]:
    """What signing in with a password rests on."""
    return account.password_ms, account.device_ms, account.recovery_ms, bool(account.passkeys)


def _passkey(passkey: Passkey) -> dict[str, str]:
    used = _day(passkey.used_ms) if passkey.used_ms else "never"
    return {"id": passkey.id, "name": passkey.name, "added": _day(passkey.at_ms), "used": used}


def _is_shown(token: Token, now_ms: int) -> bool:
    return token.sign_in is None and not token.revoked_ms and not 0 < token.expires_ms <= now_ms


def _session(token: Token, own: str) -> dict[str, object]:
    assert token.sign_in is not None
    about = token.sign_in
    return {
        "id": token.id, "method": about.method, "agent": about.agent, "began": _day(about.began_ms),
        "own": token.id == own,
    }  # fmt: skip


def _token(token: Token) -> dict[str, str]:
    may = ", ".join(one.scope for one in token.grants) or "all that you may"
    return {
        "id": token.id,
        "name": token.name,
        "may": may,
        "until": _day(token.expires_ms) if token.expires_ms else "–",
    }


def _began(token: Token) -> int:
    return token.sign_in.began_ms if token.sign_in is not None else 0


def _day(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
