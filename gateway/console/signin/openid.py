"""How do a Workspace's managed users sign in at its OpenID provider?

They are taken there and come back with a code, which is redeemed for an identity token; whose account that leads to is
the same question for every protocol (`vouched.py`).
"""

from collections.abc import Sequence
from urllib.parse import quote

import trio
from quart import Response

from gateway.access.rights.verdicts import ANONYMOUS
from gateway.access.signin import flows, leaving, signon
from gateway.access.signin.flows import Going
from gateway.access.signin.idtokens import Claims, check_times, prove, take_apart
from gateway.access.signin.issuers import Endpoints
from gateway.access.signin.vouching import refused
from gateway.console.calls import cookies
from gateway.console.calls.services import latest_ms_of
from gateway.console.people.federating import back_of, begin_of, secret_of
from gateway.console.signin import methods
from gateway.console.signin.addresses import SIGN_IN, base_of, onward
from gateway.console.signin.methods import Offer
from gateway.console.signin.visits import Pages, Visit, seen_other
from gateway.console.signin.vouched import enter, providers_of, speaks_openid
from storage.errors import Absent, Forbidden, Unauthenticated, UpstreamFailed
from storage.nouns import Provider

PAGES = Pages()
AT = f"{SIGN_IN}/oidc/<workspace>/<provider>"
COMPANY = f"{SIGN_IN}/company"


def offering(visit: Visit, next: str) -> Sequence[Offer]:
    """One for all: which workspaces there are is nobody's business who has not signed in."""
    return (Offer("At the identity provider of your workspace", f"{COMPANY}?next={next}"),)


@PAGES.add("GET", COMPANY, signed_in=False)
async def ask_company(visit: Visit) -> Response:
    return visit.page("company.html", onward=onward(visit.argument("next")), providers=())


@PAGES.add("POST", COMPANY, signed_in=False)
async def show_company(visit: Visit) -> Response:
    """The way on is a link: a form may not lead to another site."""
    ws, next = visit.field("workspace").strip(), onward(visit.field("next"))
    visit.services.spend(ANONYMOUS, visit.peer)
    found = [(one.name, f"{begin_of(ws, one)}?next={quote(next, safe='')}") for one in providers_of(visit, ws)]
    message = "" if found else "This workspace has no identity provider for people here."
    return visit.page("company.html", onward=next, providers=found, message=message)


@PAGES.add("GET", AT, signed_in=False)
async def leave(visit: Visit) -> Response:
    """Off to the provider."""
    ws, provider = asked(visit)
    endpoints = await endpoints_of(visit, ws, provider)
    next, now_ms = onward(visit.argument("next")), visit.services.now_ms()
    address = signon.begin(provider, endpoints, ws, next, _back(visit, ws, provider), visit.form_cookie, now_ms)
    return seen_other(address, cookies.set_cookie(cookies.FORM, visit.form_cookie, secure=visit.secure))


@PAGES.add("GET", f"{AT}/return", signed_in=False)
async def come_back(visit: Visit) -> Response:
    try:
        return await _come_back(visit)
    except (Unauthenticated, Forbidden):
        visit.services.spend(ANONYMOUS, visit.peer)  # whoever guesses is slowed
        raise


async def _come_back(visit: Visit) -> Response:
    ws, provider = asked(visit)
    going = flows.returned(visit.argument("state"), visit.form_cookie, visit.services.now_ms())
    if (going.workspace, going.provider) != (ws, provider.id):
        raise Forbidden("This answer is another identity provider's.", "Begin again.")
    endpoints = await endpoints_of(visit, ws, provider)
    signon.check_issuer(provider, endpoints, {"iss": visit.argument("iss")})
    code = visit.argument("code")
    if visit.argument("error") or not code:
        raise refused("It was cancelled, or not allowed there.")
    claims, hint = await _redeemed(visit, ws, provider, endpoints, going, code)
    person = signon.person_of(provider, claims, going, visit.form_cookie)

    async def keep(session: str) -> None:
        """By what the provider will name this session when it is to end."""
        now_ms = latest_ms_of(visit.services)
        until_ms = now_ms + visit.services.sign_in.session_seconds_max * 1000
        subject = leaving.subject_of(provider.id, claims, hint, until_ms)
        await trio.to_thread.run_sync(visit.signing_in.vault.subjects.put, session, subject, now_ms)

    return await enter(visit, ws, provider, person, going.next, first=keep)


async def _redeemed(
    visit: Visit, ws: str, provider: Provider, endpoints: Endpoints, going: Going, code: str
) -> tuple[Claims, str]:
    """What the provider has signed, for this code, and the text of that. Raises Unauthenticated, UpstreamFailed."""
    services, private = visit.services, provider.private_network
    secret = secret_of(services, ws, provider)
    verifier = signon.verifier_of(going, visit.form_cookie)
    fields, authorization = signon.redemption(provider, endpoints, code, _back(visit, ws, provider), verifier, secret)
    told = await services.issuers.redeem(
        provider.issuer, endpoints, fields, authorization, private_network=private, workspace=ws
    )
    text = told.get("id_token")
    if not isinstance(text, str):
        raise UpstreamFailed("The identity provider gives no identity token.", "Is the scope openid allowed there?")
    unproven = take_apart(text)
    check_times(unproven.claims, services.now_ms())
    key = await services.issuers.key(provider.issuer, unproven.kid, private_network=private, workspace=ws)
    return prove(unproven, key), text


# ---------------------------------------------------------------- where


def asked(visit: Visit) -> tuple[str, Provider]:
    """The Workspace and the provider that the address names. Raises Absent."""
    at = visit.asked.view_args or {}
    ws, name = str(at.get("workspace", "")), str(at.get("provider", ""))
    found = next((one for one in providers_of(visit, ws) if one.name == name), None)
    if found is None or not speaks_openid(found):
        raise Absent("There is no such identity provider for people here.", "Ask who manages your workspace.")
    return ws, found


async def endpoints_of(visit: Visit, ws: str, provider: Provider) -> Endpoints:
    issuers, private = visit.services.issuers, provider.private_network
    return await issuers.endpoints(provider.issuer, private_network=private, workspace=ws)


def _back(visit: Visit, ws: str, provider: Provider) -> str:
    return base_of(visit.asked, visit.services.sign_in.url) + back_of(ws, provider)


methods.OFFERED.append(offering)
