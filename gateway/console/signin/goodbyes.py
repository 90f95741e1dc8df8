"""Where does somebody go on to who has signed out here? To the provider by which he came in, to sign out there, too.

His session is over before that, whatever comes then: a provider that is away, or lost, keeps nobody signed in.
"""

import logging

import trio
from quart import Response

from gateway.access.signin.leaving import Subject
from gateway.console.calls import cookies
from gateway.console.signin import logouts, openid_logouts
from gateway.console.signin.posting import Onward, posting
from gateway.console.signin.visits import Visit
from storage.errors import Problem
from storage.nouns import Provider, Token

_log = logging.getLogger("entrepot.signin")
NEXT = "Next, sign out at your identity provider."


async def goodbye(visit: Visit, token: Token, serial: str) -> Response | None:
    """The page that leads on to the provider of a session that is over, by itself; a form of another page may not lead
    to another site. None = there is none."""
    onward = await _onward(visit, token)
    if onward is None:
        return None
    if onward.fields:
        page = posting(visit, onward, NEXT)
    else:
        page = visit.page("signed_out.html", onward=onward.address, who="")
    page.headers["Entrepot-Serial"] = serial
    page.headers.add(*cookies.set_cookie(cookies.SESSION, "", secure=visit.secure))
    return page


async def _onward(visit: Visit, token: Token) -> Onward | None:
    sign_in = token.sign_in
    if sign_in is None or not sign_in.provider:
        return None
    with visit.services.catalog.read() as reading:
        provider = reading.provider(sign_in.workspace, sign_in.provider)
    if provider is None:
        return None
    try:
        subject = await trio.to_thread.run_sync(visit.signing_in.vault.subjects.of, token.id)
        return None if subject is None else await _farewell(visit, sign_in.workspace, provider, subject)
    except Problem as problem:  # he is out here, and that must not fail for what is said elsewhere
        _log.warning("nobody is signed out at the provider %r: %s", provider.name, problem.message)
        return None


async def _farewell(visit: Visit, ws: str, provider: Provider, subject: Subject) -> Onward | None:
    if provider.saml is None:
        return await openid_logouts.farewell(visit, ws, provider, subject)
    return await logouts.farewell(visit, ws, provider, subject)
