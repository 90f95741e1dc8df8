"""The pages on which a person says whether a program may have a token: one for each way of asking.

Nothing is given by following a link: a page tells who asks for what, and a form of ours carries the answer. A browser
is led on to a port of the person's own machine and nowhere else (C13), with a code that the program alone can use.
"""

import datetime
from urllib.parse import urlencode

import trio
from quart import Response

from gateway.access.signin import logins
from gateway.access.signin.logins import Login
from gateway.console.calls.giving import judge_scope
from gateway.console.signin.addresses import AUTHORIZE, DEVICE
from gateway.console.signin.asking import LIFETIME_S, grants_of, lifetime_of, name_of, said
from gateway.console.signin.style import POLICY, policy
from gateway.console.signin.visits import Pages, Visit, seen_other
from storage.errors import Invalid, Problem
from storage.nouns import Grant

PAGES = Pages()
CLIENT = "entrepot-cli"
_ASKED = (
    "client_id", "code_challenge", "code_challenge_method", "lifetime", "name", "redirect_uri", "response_type",
    "scope", "state",
)  # fmt: skip


@PAGES.add("GET", AUTHORIZE, signed_in=True)
async def ask_for_code(visit: Visit) -> Response:
    return _consent(visit, {one: visit.argument(one) for one in _ASKED})


@PAGES.add("POST", AUTHORIZE, signed_in=True)
async def give_code(visit: Visit) -> Response:
    """Redirects to the program: with a code, or with access_denied (RFC 6749 section 4.1.2)."""
    asked = {one: visit.field(one) for one in _ASKED}
    login = _asked(visit, asked)
    if visit.field("answer") != "yes":
        return seen_other(f"{login.redirect_uri}?{urlencode({'error': 'access_denied', 'state': asked['state']})}")
    assert visit.token is not None
    _check_places(visit, login.grants)
    code, hash = logins.new_code()
    vault, now_ms = visit.signing_in.vault, visit.services.now_ms()
    ready, told = logins.answered(login, visit.token.id, True, now_ms)
    if ready is None or isinstance(told, Problem):
        raise Invalid("This login is not waited for (any more).", "Start it again.")
    await trio.to_thread.run_sync(vault.add_login, hash, ready, now_ms)
    return seen_other(f"{login.redirect_uri}?{urlencode({'code': code, 'state': asked['state']})}")


@PAGES.add("GET", DEVICE, signed_in=True)
async def ask_for_user_code(visit: Visit) -> Response:
    typed = visit.argument("user_code")
    return _device(visit, typed) if typed else visit.page("user_code.html")


@PAGES.add("POST", DEVICE, signed_in=True)
async def answer_device(visit: Visit) -> Response:
    typed, answer = visit.field("user_code"), visit.field("answer")
    if answer not in ("yes", "no"):
        return _device(visit, typed)
    hash, login = _waiting(visit, typed)
    if answer == "yes":
        _check_places(visit, login.grants)
    assert visit.token is not None
    session, now_ms = visit.token.id, visit.services.now_ms()
    told = await trio.to_thread.run_sync(
        visit.signing_in.vault.change_login, hash, lambda now: logins.answered(now, session, answer == "yes", now_ms)
    )
    if isinstance(told, Problem):
        raise told
    return visit.page("answered.html", yes=answer == "yes", name=login.name)


# ---------------------------------------------------------------- steps


def _consent(visit: Visit, asked: dict[str, str]) -> Response:
    login = _asked(visit, asked)
    port = login.redirect_uri.removeprefix("http://").partition("/")[0]
    return _page(visit, login, AUTHORIZE, asked, policy(f"'self' http://{port}"))


def _device(visit: Visit, typed: str) -> Response:
    try:
        _, login = _waiting(visit, typed)
    except Invalid as refused:
        return visit.page("user_code.html", 400, message=refused.message, remedy=refused.remedy)
    return _page(visit, login, DEVICE, {"user_code": typed}, POLICY)


def _page(visit: Visit, login: Login, action: str, hidden: dict[str, str], with_policy: str) -> Response:
    ends_s = visit.services.now_ms() / 1000 + login.lifetime_s
    until = datetime.datetime.fromtimestamp(ends_s, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return visit.page(
        "consent.html",
        policy=with_policy,
        name=login.name,
        may=said(login.grants),
        until=until,
        action=action,
        hidden=hidden,
        elsewhere=action == DEVICE,
    )


def _asked(visit: Visit, asked: dict[str, str]) -> Login:
    """What the browser's way asks for. Raises Invalid; nobody is redirected to an address that is not good."""
    redirect_uri = logins.check_redirect(asked["redirect_uri"])
    challenge = logins.check_challenge(asked["code_challenge"], asked["code_challenge_method"])
    if asked["response_type"] != "code" or asked["client_id"] != CLIENT or not asked["state"]:
        raise Invalid("This is not how a login is asked for.", f"response_type code, client_id {CLIENT}, a state.")
    lifetime = asked["lifetime"] or str(LIFETIME_S)
    if not (lifetime.isascii() and lifetime.isdigit() and len(lifetime) < 12):
        raise Invalid("The life that is asked for cannot be understood.", "Ask in seconds.")
    return Login(
        name_of(asked["name"]),
        grants_of(visit.services, asked["scope"]),
        lifetime_of(visit.services, int(lifetime)),
        visit.services.now_ms() + logins.CODE_SECONDS_MAX * 1000,
        challenge=challenge,
        redirect_uri=redirect_uri,
    )


def _waiting(visit: Visit, typed: str) -> tuple[bytes, Login]:
    """The login that shows this code. Guesses are counted. Raises Invalid, TooMany."""
    visit.signing_in.tries.spend_code(visit.account.id)
    found = visit.signing_in.vault.login_of(logins.read_user_code(typed))
    if found is None or found[1].ends_ms <= visit.services.now_ms() or found[1].session or found[1].denied:
        raise Invalid("No program waits with this code.", "Look at it again: each is good once, for 15 minutes.")
    return found


def _check_places(visit: Visit, grants: tuple[Grant, ...]) -> None:
    """Raises Absent for a place that the person may not know of."""
    with visit.services.catalog.read() as reading:
        for one in grants:
            judge_scope(reading, visit.principal, one)
