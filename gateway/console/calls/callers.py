"""Who makes a call, by what he presents? A credential in a header, or the session in the cookie of a browser."""

import base64
import binascii
from contextlib import suppress

from quart import request
from werkzeug.datastructures import Headers

from gateway.access.rights.verdicts import Principal, identify
from gateway.access.signin import sessions
from gateway.console.calls import cookies
from gateway.console.calls.services import Services, latest_ms_of
from storage.commit import Decided
from storage.errors import Problem, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, PutToken

API = "/-/api/"


def who(reading: Reading, secret: str | None, now_ms: int) -> Principal:
    """The principal behind what was presented: a session's text comes from its cookie alone. Raises Unauthenticated."""
    if secret is not None and sessions.is_session(secret):
        return sessions.holder(reading, secret, now_ms)
    return identify(reading, secret, now_ms)


def presented(services: Services, rule: str, method: str) -> str | None:
    """The credential of the current request, else the text of the session in its cookie; None for neither.

    Raises Unauthenticated, and Forbidden for a change by cookie that no page of ours has sent (C13).
    """
    given = credential(request.headers)
    if given is not None:
        if sessions.is_session(given):
            raise Unauthenticated("A session is good in its cookie alone.", "Make a token: entrepot login.")
        return given
    if not rule.startswith(API):
        return None
    secure = cookies.is_secure(request._get_current_object(), services.sign_in.url)
    text = cookies.cookie(request._get_current_object(), cookies.SESSION, secure=secure)
    if text and method not in cookies.SAFE_METHODS:
        cookies.check_form(request._get_current_object(), text, request.headers.get(cookies.FORM_FIELD, ""))
    return text if sessions.is_session(text) else None


async def renew(services: Services, text: str) -> None:
    """Whoever does something stays signed in. An origin writes that, seldom; where it cannot, the session runs on."""
    if services.commit is None:
        return
    now_ms = latest_ms_of(services)

    def decide(reading: Reading) -> Decided:
        token = sessions.session_of(reading, text, now_ms)
        later = sessions.renewed(token, now_ms)
        draft = None if later is None else Draft(SYSTEM, "", token.id, "session.renew", (PutToken(later),))
        return Decided(draft, None, SYSTEM)

    with services.catalog.read() as reading:
        try:
            due = sessions.renewed(sessions.session_of(reading, text, now_ms), now_ms)
        except Unauthenticated:
            due = None
    if due is not None:
        with suppress(Problem):
            await services.commit(decide)


def credential(headers: Headers) -> str | None:
    """What the client presents: a Bearer, the password of Basic, or X-Api-Key; None for nothing.

    Raises Unauthenticated for an Authorization that is neither.
    """
    given = headers.get("Authorization", "").strip()
    if not given:
        return headers.get("X-Api-Key", "").strip() or None
    scheme, _, rest = given.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            pair = ""
        if ":" in pair:
            return pair.partition(":")[2]
    raise Unauthenticated("This Authorization cannot be read.", "Send a token as Bearer, or as the password of Basic.")
