"""How does somebody who signed in by a SAML provider sign out in both places, whichever he begins at?

Here: his session ends first, whatever comes then, and his browser takes a signed request on to the provider. There: the
provider's signed request, in any browser or none of his, ends the sessions that it names, and no others; each is taken
once (C13). Nobody else can end anything: what is not signed, or was brought before, is refused before anything is read.
"""

import logging
from functools import partial

import trio
from quart import Response

from formats.kit.xmls import Element
from gateway.access.rights.verdicts import ANONYMOUS
from gateway.access.signin import leaving, sessions
from gateway.console.calls import cookies
from gateway.console.calls.services import latest_ms_of
from gateway.console.people.federating import begin_of
from gateway.console.signin.addresses import base_of
from gateway.console.signin.answers import decoded, documents_of
from gateway.console.signin.saml import ANSWER_CHARS_MAX, AT, asked, signer
from gateway.console.signin.visits import FIELD_CHARS_MAX, Pages, Visit, seen_other
from gateway.saml import logouts, redirects
from gateway.saml.proving import prove
from gateway.saml.shapes import Sent
from storage.commit import Decided
from storage.errors import Forbidden, Invalid, Problem, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, AnyChange, Draft, Provider, PutToken, Saml, Token

PAGES = Pages()
HERE = f"{AT}/logout"
ENDED_MAX = 1_000
_log = logging.getLogger("entrepot.signin")


@PAGES.add("GET", HERE, signed_in=False)
async def heard_by_address(visit: Visit) -> Response:
    """A message in the address, signed with that."""
    visit.services.spend(ANONYMOUS, visit.peer)
    ws, provider, saml = asked(visit)
    brought = await trio.to_thread.run_sync(redirects.brought, visit.asked.query_string, saml.certificates)
    return await _heard(visit, ws, provider, saml, brought.message, brought.relay)


@PAGES.add("POST", HERE, signed_in=False, checked=False, field_chars_max=ANSWER_CHARS_MAX)
async def heard_by_form(visit: Visit) -> Response:
    """A message in a form, signed in itself."""
    visit.services.spend(ANONYMOUS, visit.peer)
    ws, provider, saml = asked(visit)
    told = [visit.field(one) for one in (redirects.ASKING, redirects.ANSWERING) if visit.field(one)]
    if len(told) != 1 or len(visit.field("RelayState")) > FIELD_CHARS_MAX:
        raise Invalid("This is no message of an identity provider.")
    sent = await documents_of(visit).read("message", list(saml.certificates), decoded(told[0]), Sent)
    proven = [prove(one, saml.certificates) for one in sent.seals]
    if len(proven) != 1:
        raise Unauthenticated("The identity provider has not signed this.", "Have it sign what it says of signing out.")
    return await _heard(visit, ws, provider, saml, proven[0], visit.field("RelayState"))


async def farewell(visit: Visit, token: Token) -> str:
    """Where to go on to, to sign out at the provider by which this session, which is over, began; "" = nowhere."""
    sign_in = token.sign_in
    if sign_in is None or not sign_in.provider:
        return ""
    with visit.services.catalog.read() as reading:
        provider = reading.provider(sign_in.workspace, sign_in.provider)
    if provider is None or provider.saml is None or not provider.saml.logout or not provider.saml.pairs:
        return ""
    vault = visit.signing_in.vault
    try:
        subject = await trio.to_thread.run_sync(vault.subjects.of, token.id)
        if subject is None:
            return ""
        now_ms, to = visit.services.now_ms(), provider.saml.logout
        id = leaving.asking(vault.seal, provider.id, now_ms)
        request = logouts.request(to, provider.audience, id, subject.name, subject.indexes, now_ms)
        key = await signer(visit, sign_in.workspace, provider, provider.saml)
        return redirects.address(to, redirects.ASKING, request, "", key)
    except Problem as problem:  # he is out here, and that must not fail for what is said elsewhere
        _log.warning("nobody is signed out at the provider %r: %s", provider.name, problem.message)
        return ""


async def goodbye(visit: Visit, token: Token, serial: str) -> Response | None:
    """The page that leads on to the provider, by itself; a form may not lead to another site. None = there is none."""
    onward = await farewell(visit, token)
    if not onward:
        return None
    page = visit.page("signed_out.html", onward=onward, who="")
    page.headers["Entrepot-Serial"] = serial
    page.headers.add(*cookies.set_cookie(cookies.SESSION, "", secure=visit.secure))
    return page


# ---------------------------------------------------------------- steps


async def _heard(visit: Visit, ws: str, provider: Provider, saml: Saml, message: Element, relay: str) -> Response:
    """What the provider has signed. Raises Unauthenticated, Forbidden, Invalid."""
    here = f"{base_of(visit.asked, visit.services.sign_in.url)}{begin_of(ws, provider)}/logout"
    expected = logouts.Heard(provider.issuer, here, visit.services.now_ms())
    try:
        if message.name == logouts.ANSWER:
            return await _left(visit, provider, logouts.left_of(message, expected))
        if message.name != logouts.REQUEST:
            raise Invalid("This is no message about signing out.")
        return await _leave(visit, ws, provider, saml, logouts.leaving_of(message, expected), relay)
    except (Unauthenticated, Forbidden, Invalid) as problem:
        _log.info("a SAML message about signing out was refused in workspace %r: %s", ws, problem.message)
        raise


async def _leave(visit: Visit, ws: str, provider: Provider, saml: Saml, who: logouts.Leaving, relay: str) -> Response:
    """End what is named, and tell the provider."""
    vault, now_ms = visit.signing_in.vault, latest_ms_of(visit.services)
    await trio.to_thread.run_sync(vault.arrivals.use, provider.id, f"logout {who.id}", who.until_ms, now_ms)
    known = leaving.known_as(provider.id, provider.issuer, provider.audience, who.name)
    named = await trio.to_thread.run_sync(vault.subjects.sessions, known, who.indexes)
    serial = ""
    for at in range(0, len(named), ENDED_MAX):
        serial = await visit.commit(partial(_endings, ws, provider, named[at : at + ENDED_MAX], now_ms)) or serial
    if not saml.logout_answers or not saml.pairs:
        return visit.page("signed_out.html", onward="", told="Your identity provider has asked for it.", who="")
    id = leaving.asking(vault.seal, provider.id, now_ms)
    answer = logouts.answer(saml.logout_answers, provider.audience, id, who.id, visit.services.now_ms())
    key = await signer(visit, ws, provider, saml)
    return seen_other(redirects.address(saml.logout_answers, redirects.ANSWERING, answer, relay, key), serial=serial)


def _endings(ws: str, provider: Provider, ids: list[str], now_ms: int, reading: Reading) -> Decided:
    """The sessions of these ids that began by this provider and are not over."""
    found = [token for id in ids if (token := reading.token_by_id(id)) is not None and token.sign_in is not None]
    changes: list[AnyChange] = [
        PutToken(sessions.ended(one, now_ms))
        for one in found
        if one.sign_in is not None
        and (one.sign_in.workspace, one.sign_in.provider) == (ws, provider.id)
        and sessions.is_living(reading, one, now_ms)
    ]
    draft = Draft(SYSTEM, "", provider.id, "session.end", tuple(changes)) if changes else None
    return Decided(draft, None, SYSTEM)


async def _left(visit: Visit, provider: Provider, left: logouts.Left) -> Response:
    """What the provider says to a request of ours. It changes nothing: who asked was out before."""
    vault, now_ms = visit.signing_in.vault, latest_ms_of(visit.services)
    if not leaving.was_asked(vault.seal, provider.id, left.in_response_to, visit.services.now_ms()):
        raise Forbidden("This answers no request of this node.", "Sign out on your account's page.")
    await trio.to_thread.run_sync(vault.arrivals.use, provider.id, f"logout {left.id}", left.until_ms, now_ms)
    told = "Your identity provider has signed you out, too."
    if not left.everywhere:
        told = "Your identity provider could not sign you out everywhere. Close your browser to be sure."
    return visit.page("signed_out.html", onward="", told=told, who="")
