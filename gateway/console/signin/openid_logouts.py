"""How does somebody who signed in by an OpenID provider sign out in both places, whichever he begins at?

Here: his session ends first, and his browser is taken on to the provider's end of session (OpenID Connect RP-Initiated
Logout 1.0), which sends it back. There: the provider tells this node itself, by no browser (OpenID Connect Back-Channel
Logout 1.0): a token that it has signed ends the sessions that it names, and no others, once.
"""

import logging
from urllib.parse import quote, urlencode

import msgspec
import trio
from quart import Response

from gateway.access.rights.verdicts import ANONYMOUS
from gateway.access.signin import leaving
from gateway.access.signin.idtokens import LEEWAY_S, TOKEN_CHARS_MAX, check_times, prove, take_apart
from gateway.access.signin.logouttokens import Named, named_by
from gateway.console.calls.services import latest_ms_of
from gateway.console.people.federating import begin_of
from gateway.console.signin.addresses import base_of
from gateway.console.signin.ending import end_named
from gateway.console.signin.openid import AT, asked, endpoints_of
from gateway.console.signin.posting import Onward
from gateway.console.signin.visits import Pages, Visit
from storage.errors import Forbidden, Invalid, Unauthenticated
from storage.nouns import Provider

PAGES = Pages()
WAIT_S_MAX = 3.0
"""So long somebody who signs out waits for the provider to tell where it signs people out."""
_log = logging.getLogger("entrepot.signin")


async def farewell(visit: Visit, ws: str, provider: Provider, subject: leaving.Subject) -> Onward | None:
    """Where to go on to, to sign out at the provider by which a session of this subject, which is over, began; None =
    nowhere. Raises Unavailable, UpstreamFailed."""
    if provider.people is None or not provider.people.signs_out:
        return None
    endpoint = ""
    with trio.move_on_after(WAIT_S_MAX):
        endpoint = (await endpoints_of(visit, ws, provider)).end_session
    if not endpoint:
        return None
    told = {
        "id_token_hint": subject.hint,
        "client_id": provider.audience,
        "post_logout_redirect_uri": f"{base_of(visit.asked, visit.services.sign_in.url)}{signed_out_of(ws, provider)}",
        "state": leaving.asking(visit.signing_in.vault.seal, provider.id, visit.services.now_ms()),
    }
    asked_for = urlencode({name: value for name, value in told.items() if value}, quote_via=quote)
    return Onward(f"{endpoint}{'&' if '?' in endpoint else '?'}{asked_for}")


@PAGES.add("GET", f"{AT}/signed-out", signed_in=False)
async def come_back(visit: Visit) -> Response:
    """Who is back from there. It changes nothing: he was out before."""
    _, provider = asked(visit)
    if not leaving.was_asked(
        visit.signing_in.vault.seal, provider.id, visit.argument("state"), visit.services.now_ms()
    ):
        raise Forbidden("This answers no request of this node.", "Sign out on your account's page.")
    told = "Your identity provider has signed you out, too."
    return visit.page("signed_out.html", onward="", told=told, who="")


@PAGES.add("POST", f"{AT}/back-channel", signed_in=False, checked=False, field_chars_max=TOKEN_CHARS_MAX)
async def hear(visit: Visit) -> Response:
    """The provider says who has signed out there (Back-Channel Logout sections 2.5 to 2.8)."""
    ws, provider = asked(visit)
    try:
        serial = await _end(visit, ws, provider, visit.field("logout_token"))
    except (Unauthenticated, Forbidden, Invalid) as problem:
        visit.services.spend(ANONYMOUS, visit.peer)  # whoever guesses is slowed
        _log.info("a logout token was refused in workspace %r: %s", ws, problem.message)
        return _said(400, {"error": "invalid_request", "error_description": problem.message})
    return _said(200, {}, serial)


async def _end(visit: Visit, ws: str, provider: Provider, text: str) -> str:
    """End what a logout token names. Raises Unauthenticated, UpstreamFailed."""
    services, vault = visit.services, visit.signing_in.vault
    unproven = take_apart(text, logout=True)
    check_times(unproven.claims, services.now_ms())
    named = named_by(unproven.claims, provider.issuer, provider.audience)
    key = await services.issuers.key(
        provider.issuer, unproven.kid, private_network=provider.private_network, workspace=ws
    )
    claims = prove(unproven, key)
    used = f"back-channel {claims.once.hex()}"
    until_ms, now_ms = (claims.expires_s + LEEWAY_S) * 1000, latest_ms_of(services)

    def found() -> list[str]:
        vault.arrivals.check(provider.id, used, until_ms, now_ms)
        return vault.subjects.sessions(*_known(provider, named))

    serial = await end_named(visit, ws, provider, await trio.to_thread.run_sync(found))
    # known as used once they are over: what breaks off before that can be sent again
    await trio.to_thread.run_sync(vault.arrivals.use, provider.id, used, until_ms, now_ms)
    return serial


def _known(provider: Provider, named: Named) -> tuple[bytes, frozenset[str]]:
    """By what the sessions are known that a logout token means: all of somebody's, one of his, or that one."""
    if not named.subject:
        return leaving.known_by(provider.id, "sid", named.session), frozenset()
    only = frozenset((named.session,)) if named.session else frozenset[str]()
    return leaving.known_by(provider.id, "sub", named.subject), only


def signed_out_of(ws: str, provider: Provider) -> str:
    """Where a provider sends people back to whom it has signed out, below the address of the node."""
    return f"{begin_of(ws, provider)}/signed-out"


def _said(status: int, told: dict[str, str], serial: str = "") -> Response:
    response = Response(msgspec.json.encode(told), status=status, content_type="application/json")
    if serial:
        response.headers["Entrepot-Serial"] = serial
    return response
