"""How does somebody who signed in by a SAML provider sign out in both places, whichever he begins at?

Here: his session ends first, whatever comes then, and his browser takes a signed request on to the provider. There: the
provider's signed request, in any browser or none of his, ends the sessions that it names, and no others; each is taken
once (C13). Nobody else can end anything: what is not signed, or was brought before, is refused before anything is read.
What is said goes by address, or by a form where the provider takes nothing else.
"""

import base64
import logging

import trio
from quart import Response

from formats.kit.xmls import Element
from gateway.access.rights.verdicts import ANONYMOUS
from gateway.access.signin import leaving
from gateway.console.calls.services import latest_ms_of
from gateway.console.people.federating import begin_of
from gateway.console.signin.addresses import base_of
from gateway.console.signin.answers import decoded, documents_of, named_in
from gateway.console.signin.ending import end_named
from gateway.console.signin.posting import Onward, posting
from gateway.console.signin.saml import ANSWER_CHARS_MAX, AT, asked, signer
from gateway.console.signin.visits import FIELD_CHARS_MAX, Pages, Visit, seen_other
from gateway.saml import logouts, redirects, writing
from gateway.saml.proving import prove
from gateway.saml.shapes import Sent
from storage.errors import Forbidden, Invalid, Unauthenticated
from storage.nouns import Provider, Saml

PAGES = Pages()
HERE = f"{AT}/logout"
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


async def farewell(visit: Visit, ws: str, provider: Provider, subject: leaving.Subject) -> Onward | None:
    """With what to go on, to sign out at the provider by which a session of this subject, which is over, began; None =
    nowhere. Raises Unavailable, Damaged."""
    saml, now_ms = provider.saml, visit.services.now_ms()
    if saml is None or not saml.logout or not saml.pairs:
        return None
    id = leaving.asking(visit.signing_in.vault.seal, provider.id, now_ms)
    request = logouts.request(saml.logout, provider.audience, id, subject.name, subject.indexes, now_ms)
    return await _sent(visit, ws, provider, saml, (saml.logout, redirects.ASKING, request, id, ""))


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
        named = await named_in(visit, ws, provider, saml, message)
        return await _leave(visit, ws, provider, saml, logouts.leaving_of(message, expected, named), relay)
    except (Unauthenticated, Forbidden, Invalid) as problem:
        _log.info("a SAML message about signing out was refused in workspace %r: %s", ws, problem.message)
        raise


async def _leave(visit: Visit, ws: str, provider: Provider, saml: Saml, who: logouts.Leaving, relay: str) -> Response:
    """End what is named, and tell the provider."""
    vault, now_ms = visit.signing_in.vault, latest_ms_of(visit.services)
    known = leaving.known_as(provider.id, provider.issuer, provider.audience, who.name)

    def named() -> list[str]:
        vault.arrivals.check(provider.id, f"logout {who.id}", who.until_ms, now_ms)
        return vault.subjects.sessions(known, who.indexes)

    serial = await end_named(visit, ws, provider, await trio.to_thread.run_sync(named))
    # known as used once they are over: what breaks off before that can be asked for again
    await trio.to_thread.run_sync(vault.arrivals.use, provider.id, f"logout {who.id}", who.until_ms, now_ms)
    if not saml.logout_answers or not saml.pairs:
        return visit.page("signed_out.html", onward="", told="Your identity provider has asked for it.", who="")
    id = leaving.asking(vault.seal, provider.id, now_ms)
    answer = logouts.answer(saml.logout_answers, provider.audience, id, who.id, visit.services.now_ms())
    onward = await _sent(visit, ws, provider, saml, (saml.logout_answers, redirects.ANSWERING, answer, id, relay))
    if not onward.fields:
        return seen_other(onward.address, serial=serial)
    page = posting(visit, onward, "Next, your identity provider is told.")
    page.headers["Entrepot-Serial"] = serial
    return page


async def _sent(visit: Visit, ws: str, provider: Provider, saml: Saml, said: tuple[str, str, str, str, str]) -> Onward:
    """A message of ours, signed: where to, in which field, the text and its id, and what goes along."""
    to, field, message, id, relay = said
    key = await signer(visit, ws, provider, saml)
    if not saml.logout_posts:
        return Onward(redirects.address(to, field, message, relay, key))
    whole = writing.signed(message, id, key, saml.pairs[0].signing)
    told = {field: base64.b64encode(whole.encode()).decode()} | ({"RelayState": relay} if relay else {})
    return Onward(to, told, plain=provider.private_network)


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
