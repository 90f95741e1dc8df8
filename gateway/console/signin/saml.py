"""How do a Workspace's managed users sign in at its SAML identity provider?

They are taken there with a request, and their browser is made to bring the answer by a POST. That POST comes from
another site, without the cookie of the browser that set out. So it is taken in two steps: `come_back` proves the
answer, uses it up and keeps what it says for a moment; `finish`, a page of our own, gets the cookie, and lets in who
began the request that is answered, in the browser in which he began it (C13).

An answer to no request is taken where the provider is set up so. There is no cookie to compare it with, so whoever it
is of is asked first: nobody is signed in as somebody else by following a link.
"""

import hmac
import logging

import trio
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from quart import Response

from gateway.access.rights.verdicts import ANONYMOUS
from gateway.access.signin import flows, leaving
from gateway.access.signin.arrivals import Arrival, Arrivals
from gateway.access.signin.vouching import Word, person_of, refused
from gateway.console.calls import cookies
from gateway.console.calls.services import latest_ms_of
from gateway.console.people.federating import back_of, begin_of
from gateway.console.signin.addresses import SIGN_IN, base_of, onward
from gateway.console.signin.answers import said_in
from gateway.console.signin.visits import Pages, Visit, seen_other
from gateway.console.signin.vouched import enter, providers_of, speaks_openid
from gateway.saml import descriptions, redirects, requests
from gateway.saml.assertions import Assertion
from gateway.saml.names import TRANSIENT
from storage.errors import Absent, Forbidden, Invalid, Unauthenticated, Unavailable
from storage.nouns import People, Provider, Saml

PAGES = Pages()
AT = f"{SIGN_IN}/saml/<workspace>/<provider>"
GOING = "entrepot-going"
ANSWER_CHARS_MAX = 350_000
_EMAIL = ("email", "mail", "urn:oid:0.9.2342.19200300.100.1.3",
          "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress")  # fmt: skip
_SHOWN = (
    "displayName",
    "urn:oid:2.16.840.1.113730.3.1.241",
    "http://schemas.microsoft.com/identity/claims/displayname",
)
_log = logging.getLogger("entrepot.signin")


@PAGES.add("GET", AT, signed_in=False)
async def leave(visit: Visit) -> Response:
    """Off to the provider."""
    ws, provider, saml = asked(visit)
    now_ms = visit.services.now_ms()
    going = flows.set_out(ws, provider.id, onward(visit.argument("next")), now_ms)
    id, relay = _request_id(going, visit.form_cookie), flows.derived("relay", going, visit.form_cookie)
    request = requests.sign_in(saml.sign_on, provider.audience, _here(visit, ws, provider), id, now_ms)
    key = await signer(visit, ws, provider, saml) if signs(saml) else None
    address = redirects.address(saml.sign_on, redirects.ASKING, request, relay, key)
    return seen_other(
        address,
        cookies.set_cookie(cookies.FORM, visit.form_cookie, secure=visit.secure),
        cookies.set_cookie(GOING, flows.sealed(going, visit.form_cookie), secure=visit.secure),
    )


@PAGES.add("GET", f"{AT}/metadata", signed_in=False)
async def describe(visit: Visit) -> Response:
    """This node, as the provider's administrator wants to know it."""
    ws, provider, saml = asked(visit)
    base = f"{base_of(visit.asked, visit.services.sign_in.url)}{begin_of(ws, provider)}"
    told = descriptions.description(
        provider.audience, f"{base}/return", f"{base}/logout", saml.pairs, signs=signs(saml), cbc=saml.takes_cbc
    )
    return Response(told, content_type=descriptions.MEDIA)


@PAGES.add("POST", f"{AT}/return", signed_in=False, checked=False, field_chars_max=ANSWER_CHARS_MAX)
async def come_back(visit: Visit) -> Response:
    """The provider's answer, in whatever browser: proven, used up, and kept for the next page."""
    visit.services.spend(ANONYMOUS, visit.peer)  # to look into it costs more than to send it
    ws, provider, saml = asked(visit)
    try:
        said = await said_in(visit, ws, provider, saml, _here(visit, ws, provider))
        word = _word_of(provider, saml, said)
        arrival = Arrival(
            ws, provider.id, said.in_response_to, visit.field("RelayState"), word, said.session_until_ms, said.name,
            said.sessions,
        )  # fmt: skip
        now_ms = latest_ms_of(visit.services)
        code = await trio.to_thread.run_sync(_arrivals(visit).add, arrival, said.id, said.until_ms, now_ms)
    except (Unauthenticated, Forbidden, Invalid) as problem:
        _log.info("a SAML answer was refused in workspace %r: %s", ws, problem.message)
        raise
    return seen_other(f"{begin_of(ws, provider)}/finish?code={code}")


@PAGES.add("GET", f"{AT}/finish", signed_in=False)
async def finish(visit: Visit) -> Response:
    """Who answers a request of this browser is in; who answers none is asked whether he wants that."""
    ws, provider, _ = asked(visit)
    code, now_ms = visit.argument("code"), latest_ms_of(visit.services)
    waiting = await trio.to_thread.run_sync(_arrivals(visit).look, code, now_ms)
    _check_place(waiting, ws, provider)
    if not waiting.answers:
        person = person_of(_people(provider), waiting.word)
        return visit.page("confirm.html", action=f"{begin_of(ws, provider)}/finish", code=code, name=person.user_name)
    going = flows.returned(_cookie(visit), visit.form_cookie, visit.services.now_ms())
    relay = flows.derived("relay", going, visit.form_cookie)
    if (going.workspace, going.provider) != (ws, provider.id):
        raise Forbidden("This answer is another identity provider's.", "Begin again.")
    if not hmac.compare_digest(waiting.answers.encode(), _request_id(going, visit.form_cookie).encode()):
        raise flows.not_begun()
    if not hmac.compare_digest(waiting.relay.encode(), relay.encode()):
        raise flows.not_begun()
    return await _enter(visit, ws, provider, code, going.next)


@PAGES.add("POST", f"{AT}/finish", signed_in=False)
async def confirm(visit: Visit) -> Response:
    """Who began at the provider says that he did."""
    ws, provider, saml = asked(visit)
    code, now_ms = visit.field("code"), latest_ms_of(visit.services)
    waiting = await trio.to_thread.run_sync(_arrivals(visit).look, code, now_ms)
    _check_place(waiting, ws, provider)
    if waiting.answers or not saml.unsolicited:
        raise flows.not_begun()
    return await _enter(visit, ws, provider, code, onward(waiting.relay))


async def _enter(visit: Visit, ws: str, provider: Provider, code: str, next: str) -> Response:
    arrival = await trio.to_thread.run_sync(_arrivals(visit).take, code, latest_ms_of(visit.services))
    person = person_of(_people(provider), arrival.word)

    async def keep(session: str) -> None:
        """By what the provider will name this session when it is to end."""
        known = leaving.known_as(provider.id, provider.issuer, provider.audience, arrival.name)
        now_ms = latest_ms_of(visit.services)
        until_ms = now_ms + visit.services.sign_in.session_seconds_max * 1000
        subject = leaving.Subject(provider.id, (known,), arrival.name, arrival.sessions, until_ms)
        await trio.to_thread.run_sync(visit.signing_in.vault.subjects.put, session, subject, now_ms)

    response = await enter(visit, ws, provider, person, next, arrival.until_ms, keep)
    response.headers.add(*cookies.set_cookie(GOING, "", secure=visit.secure))
    return response


# ---------------------------------------------------------------- what the answer says


def _word_of(provider: Provider, saml: Saml, said: Assertion) -> Word:
    """Raises Unauthenticated where the subject is another one each time."""
    subject = said.values.get(saml.subject, "") if saml.subject else said.name.text
    if not subject or (not saml.subject and said.name.format == TRANSIENT):
        raise refused("It does not tell by what it knows you again.")
    shown, email = (next((said.values[one] for one in names if one in said.values), "") for names in (_SHOWN, _EMAIL))
    return Word(f"saml {provider.issuer} {subject}", shown, email, said.values, said.lists)


# ---------------------------------------------------------------- where, and what for


def asked(visit: Visit) -> tuple[str, Provider, Saml]:
    """The Workspace and the provider that the address names. Raises Absent."""
    at = visit.asked.view_args or {}
    ws, name = str(at.get("workspace", "")), str(at.get("provider", ""))
    found = next((one for one in providers_of(visit, ws) if one.name == name), None)
    if found is None or speaks_openid(found) or found.saml is None:
        raise Absent("There is no such identity provider for people here.", "Ask who manages your workspace.")
    return ws, found, found.saml


def _people(provider: Provider) -> People:
    assert provider.people is not None
    return provider.people


def _check_place(arrival: Arrival, ws: str, provider: Provider) -> None:
    if (arrival.workspace, arrival.provider) != (ws, provider.id):
        raise Forbidden("This answer is another identity provider's.", "Begin again.")


def signs(saml: Saml) -> bool:
    """Are requests to this provider signed?"""
    return saml.signs or saml.wants_signed


async def signer(visit: Visit, ws: str, provider: Provider, saml: Saml) -> RSAPrivateKey:
    """The key that the provider has known for longest. Raises Unavailable, Damaged."""
    keys = visit.services.saml_keys
    if keys is None or not saml.pairs:
        raise Unavailable("This node has no key that your identity provider knows.", "Make one: entrepot sso key add.")
    return await trio.to_thread.run_sync(keys.signer, ws, provider.id, saml.pairs[0].id)


def _request_id(going: flows.Going, cookie: str) -> str:
    """It begins as a name in XML does, and is known to who has the cookie and to the provider."""
    return f"_{flows.derived('request', going, cookie)}"


def _cookie(visit: Visit) -> str:
    return cookies.cookie(visit.asked, GOING, secure=visit.secure)


def _here(visit: Visit, ws: str, provider: Provider) -> str:
    return base_of(visit.asked, visit.services.sign_in.url) + back_of(ws, provider)


def _arrivals(visit: Visit) -> Arrivals:
    return visit.signing_in.vault.arrivals
