"""How do a Workspace's managed users sign in at its OpenID provider?

They are taken there and come back with a code, which is redeemed for an identity token; what that proves leads to one
Account of the Workspace whose provider it is, and to nobody of another Workspace or of the node, whatever names it
uses. Who signed in once is known by issuer and subject from then on: a name that changes hands at the provider opens
nothing. Who is not known is made where the provider is set up so; who was deactivated or removed stays so.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

import msgspec
import trio
from quart import Response

from gateway.access.names import is_slug
from gateway.access.rights.rules import MEMBER
from gateway.access.rights.verdicts import ANONYMOUS
from gateway.access.signin import signon
from gateway.access.signin.idtokens import Claims, check_times, prove, take_apart
from gateway.access.signin.issuers import Endpoints
from gateway.access.signin.signon import Going, Person
from gateway.console.calls import cookies
from gateway.console.people.federating import SIGN_IN_AT, back_of, secret_of
from gateway.console.people.people import MANAGED, new_id
from gateway.console.signin import methods
from gateway.console.signin.addresses import SIGN_IN, base_of, onward
from gateway.console.signin.methods import Offer
from gateway.console.signin.visits import Pages, Visit, seen_other
from gateway.scim.resources import Email, User, facts_of, key_of
from storage.commit import Decided
from storage.errors import Absent, Forbidden, Unauthenticated, UpstreamFailed
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    Draft,
    DropTeammate,
    Membership,
    Provider,
    PutAccount,
    PutMembership,
    PutTeammate,
    Teammate,
)

PAGES = Pages()
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
    found = [(one.name, f"{SIGN_IN_AT}/{ws}/{one.name}?next={quote(next, safe='')}") for one in _providers(visit, ws)]
    message = "" if found else "This workspace has no identity provider for people here."
    return visit.page("company.html", onward=next, providers=found, message=message)


@PAGES.add("GET", f"{SIGN_IN_AT}/<workspace>/<provider>", signed_in=False)
async def leave(visit: Visit) -> Response:
    """Off to the provider."""
    ws, provider = _asked(visit)
    endpoints = await _endpoints(visit, provider)
    next, now_ms = onward(visit.argument("next")), visit.services.now_ms()
    address = signon.begin(provider, endpoints, ws, next, _back(visit, ws, provider), visit.form_cookie, now_ms)
    return seen_other(address, cookies.set_cookie(cookies.FORM, visit.form_cookie, secure=visit.secure))


@PAGES.add("GET", f"{SIGN_IN_AT}/<workspace>/<provider>/return", signed_in=False)
async def come_back(visit: Visit) -> Response:
    try:
        return await _come_back(visit)
    except (Unauthenticated, Forbidden):
        visit.services.spend(ANONYMOUS, visit.peer)  # whoever guesses is slowed
        raise


async def _come_back(visit: Visit) -> Response:
    ws, provider = _asked(visit)
    going = signon.returned(visit.argument("state"), visit.form_cookie, visit.services.now_ms())
    if (going.workspace, going.provider) != (ws, provider.id):
        raise Forbidden("This answer is another identity provider's.", "Begin again.")
    endpoints = await _endpoints(visit, provider)
    signon.check_issuer(provider, endpoints, {"iss": visit.argument("iss")})
    code = visit.argument("code")
    if visit.argument("error") or not code:
        raise signon.refused("It was cancelled, or not allowed there.")
    claims = await _redeemed(visit, ws, provider, endpoints, going, code)
    person = signon.person_of(provider, claims, going, visit.form_cookie)
    account = await _account_of(visit, ws, provider, person)
    await _join_teams(visit, ws, provider, person, account)

    def still(reading: Reading) -> None:
        _check(reading, ws, provider, person, account.id)

    return await methods.enter(visit, account.id, f"oidc {provider.name}", going.next, still)


async def _redeemed(visit: Visit, ws: str, provider: Provider, endpoints: Endpoints, going: Going, code: str) -> Claims:
    """What the provider has signed, for this code. Raises Unauthenticated, UpstreamFailed."""
    services, private = visit.services, provider.private_network
    secret = secret_of(services, ws, provider)
    verifier = signon.verifier_of(going, visit.form_cookie)
    fields, authorization = signon.redemption(provider, endpoints, code, _back(visit, ws, provider), verifier, secret)
    told = await services.issuers.redeem(endpoints, fields, authorization, private_network=private)
    text = told.get("id_token")
    if not isinstance(text, str):
        raise UpstreamFailed("The identity provider gives no identity token.", "Is the scope openid allowed there?")
    unproven = take_apart(text)
    check_times(unproven.claims, services.now_ms())
    return prove(unproven, await services.issuers.key(provider.issuer, unproven.kid, private_network=private))


# ---------------------------------------------------------------- whose account


async def _account_of(visit: Visit, ws: str, provider: Provider, person: Person) -> Account:
    """The Account of this person, which is known by its subject from now on. Raises Unauthenticated."""
    now_ms = visit.services.now_ms()
    found = await trio.to_thread.run_sync(_known, visit, ws, person)
    if found is None:
        found = await _made(visit, ws, provider, person)
    if not found.changed_ms:  # it was made here a moment ago, or a moment like this broke off
        await visit.commit(lambda reading: _joined(reading, ws, provider, found, now_ms))

    def bind(reading: Reading) -> Decided:
        now = reading.account(found.id)
        if now is None or now.closed_ms or now.subject not in ("", person.subject):
            raise signon.refused("This name is somebody else's here.")
        _check_member(reading, ws, now)
        after = msgspec.structs.replace(now, subject=person.subject, changed_ms=now.changed_ms or now_ms)
        if after == now:
            return Decided(None, None, SYSTEM)
        return Decided(Draft(SYSTEM, "", provider.id, "oidc.bind", (PutAccount(after),)), None, SYSTEM)

    await visit.commit(bind)
    return found


def _known(visit: Visit, ws: str, person: Person) -> Account | None:
    """By its subject; else by its name, if nobody has signed in as it yet. Raises Unauthenticated."""
    with visit.services.catalog.read() as reading:
        for account in reading.accounts(MANAGED, ws):
            if account.subject == person.subject:
                return account
        found = reading.account_named(MANAGED, ws, key_of(person.user_name))
    if found is not None and found.subject:
        raise signon.refused("This name is somebody else's here.")
    return found


async def _made(visit: Visit, ws: str, provider: Provider, person: Person) -> Account:
    """An Account for who is new. Raises Unauthenticated where nobody joins by himself."""
    if provider.people is None or not provider.people.joins:
        raise signon.refused("You are not known in this workspace.")
    user = User(user_name=person.user_name, display_name=person.display_name or None)
    if person.email:
        user.emails = [Email(value=person.email, primary=True)]
    made = Account(
        new_id("usr_"), MANAGED, key_of(person.user_name), ws, person.email, visit.services.now_ms(),
        facts=facts_of(user), subject=person.subject,
    )  # fmt: skip

    def decide(reading: Reading) -> Decided:
        if reading.provider(ws, provider.id) != provider or reading.account_named(MANAGED, ws, made.name) is not None:
            raise signon.refused("Something changed meanwhile.")
        return Decided(Draft(SYSTEM, "", provider.id, "oidc.join", (PutAccount(made),)), None, SYSTEM)

    await visit.commit(decide)
    return made


def _joined(reading: Reading, ws: str, provider: Provider, account: Account, now_ms: int) -> Decided:
    """The membership of who was just made."""
    if reading.membership(ws, account.id) is not None:
        return Decided(None, None, ws)
    made = Membership(account.id, MEMBER, now_ms, now_ms)
    return Decided(Draft(ws, "", provider.id, "oidc.join", (PutMembership(made),)), None, ws)


async def _join_teams(visit: Visit, ws: str, provider: Provider, person: Person, account: Account) -> None:
    """In the teams that its groups lead to, one is as long as the provider says so; others are not its business."""
    people = provider.people
    if people is None or not people.teams:
        return

    def changes(reading: Reading) -> Iterator[AnyChange]:
        here = {one.team for one in reading.teams_of(ws, account.id)}
        for name in sorted(set(people.teams.values())):
            team = reading.team(ws, name)
            if team is None or team.id:
                continue
            if name in person.teams and name not in here:
                yield PutTeammate(Teammate(name, account.id, at_ms=visit.services.now_ms()))
            elif name not in person.teams and name in here:
                yield DropTeammate(name, account.id)

    def decide(reading: Reading) -> Decided:
        _check(reading, ws, provider, person, account.id)
        found = tuple(changes(reading))
        return Decided(Draft(ws, "", provider.id, "oidc.teams", found) if found else None, None, ws)

    await visit.commit(decide)


def _check(reading: Reading, ws: str, provider: Provider, person: Person, id: str) -> None:
    """Raises Unauthenticated where what the sign-in rests on does not hold any more."""
    account = reading.account(id)
    if reading.provider(ws, provider.id) != provider or account is None or account.subject != person.subject:
        raise signon.refused("Something changed meanwhile.")
    _check_member(reading, ws, account)


def _check_member(reading: Reading, ws: str, account: Account) -> None:
    if account.closed_ms or reading.membership(ws, account.id) is None:
        raise signon.refused("You are no member of the workspace any more.")


# ---------------------------------------------------------------- where


def _providers(visit: Visit, ws: str) -> list[Provider]:
    if not is_slug(ws):
        return []
    with visit.services.catalog.read() as reading:
        if reading.workspace(ws) is None:
            return []
        return [one for one in reading.providers(ws) if one.people is not None]


def _asked(visit: Visit) -> tuple[str, Provider]:
    """The Workspace and the provider that the address names. Raises Absent."""
    at = visit.asked.view_args or {}
    ws, name = str(at.get("workspace", "")), str(at.get("provider", ""))
    found = next((one for one in _providers(visit, ws) if one.name == name), None)
    if found is None:
        raise Absent("There is no such identity provider for people here.", "Ask who manages your workspace.")
    return ws, found


async def _endpoints(visit: Visit, provider: Provider) -> Endpoints:
    return await visit.services.issuers.endpoints(provider.issuer, private_network=provider.private_network)


def _back(visit: Visit, ws: str, provider: Provider) -> str:
    return base_of(visit.asked, visit.services.sign_in.url) + back_of(ws, provider.name)


methods.OFFERED.append(offering)
