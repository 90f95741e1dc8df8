"""Whose account is somebody for whom a Workspace's identity provider vouches, whatever protocol that speaks?

One of the Workspace whose provider it is, and nobody's of another Workspace or of the node, whatever names it uses. Who
signed in once is known by issuer and subject from then on: a name that changes hands at the provider opens nothing. Who
is not known is made where the provider is set up so; who was deactivated or removed stays so.
"""

from collections.abc import Awaitable, Callable, Iterator

import msgspec
import trio
from quart import Response

from gateway.access.names import is_slug
from gateway.access.rights.rules import MEMBER
from gateway.access.signin.sessions import Voucher
from gateway.access.signin.vouching import Person, refused
from gateway.console.people.federating import protocol_of
from gateway.console.people.people import MANAGED, new_id
from gateway.console.signin import methods
from gateway.console.signin.visits import Visit
from gateway.scim.resources import Email, User, facts_of, key_of
from storage.commit import Decided
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


def providers_of(visit: Visit, ws: str) -> list[Provider]:
    """Those at which people sign in."""
    if not is_slug(ws):
        return []
    with visit.services.catalog.read() as reading:
        if reading.workspace(ws) is None:
            return []
        return [one for one in reading.providers(ws) if one.people is not None and not one.disabled_ms]


def speaks_openid(provider: Provider) -> bool:
    return provider.saml is None


async def enter(
    visit: Visit,
    ws: str,
    provider: Provider,
    person: Person,
    next: str,
    until_ms: int = 0,
    first: Callable[[str], Awaitable[None]] | None = None,
) -> Response:
    """Begin the session of whom the provider vouches for, until `until_ms` at most where that is told, and go on to
    `next`. `first` is told the session's id before it begins. Raises Unauthenticated."""
    account = await _account_of(visit, ws, provider, person)
    await _join_teams(visit, ws, provider, person, account)

    def still(reading: Reading) -> None:
        _check(reading, ws, provider, person, account.id)

    method, voucher = f"{protocol_of(provider)} {provider.name}", Voucher(ws, provider, until_ms)
    return await methods.enter(visit, account.id, method, next, still, voucher, first)


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
            raise refused("This name is somebody else's here.")
        _check_member(reading, ws, now)
        after = msgspec.structs.replace(now, subject=person.subject, changed_ms=now.changed_ms or now_ms)
        if after == now:
            return Decided(None, None, SYSTEM)
        action = f"{protocol_of(provider)}.bind"
        return Decided(Draft(SYSTEM, "", provider.id, action, (PutAccount(after),)), None, SYSTEM)

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
        raise refused("This name is somebody else's here.")
    return found


async def _made(visit: Visit, ws: str, provider: Provider, person: Person) -> Account:
    """An Account for who is new. Raises Unauthenticated where nobody joins by himself."""
    if provider.people is None or not provider.people.joins:
        raise refused("You are not known in this workspace.")
    user = User(user_name=person.user_name, display_name=person.display_name or None)
    if person.email:
        user.emails = [Email(value=person.email, primary=True)]
    made = Account(
        new_id("usr_"), MANAGED, key_of(person.user_name), ws, person.email, visit.services.now_ms(),
        facts=facts_of(user), subject=person.subject,
    )  # fmt: skip

    def decide(reading: Reading) -> Decided:
        if reading.provider(ws, provider.id) != provider or reading.account_named(MANAGED, ws, made.name) is not None:
            raise refused("Something changed meanwhile.")
        action = f"{protocol_of(provider)}.join"
        return Decided(Draft(SYSTEM, "", provider.id, action, (PutAccount(made),)), None, SYSTEM)

    await visit.commit(decide)
    return made


def _joined(reading: Reading, ws: str, provider: Provider, account: Account, now_ms: int) -> Decided:
    """The membership of who was just made."""
    if reading.membership(ws, account.id) is not None:
        return Decided(None, None, ws)
    made = Membership(account.id, MEMBER, now_ms, now_ms)
    return Decided(Draft(ws, "", provider.id, f"{protocol_of(provider)}.join", (PutMembership(made),)), None, ws)


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
        return Decided(Draft(ws, "", provider.id, f"{protocol_of(provider)}.teams", found) if found else None, None, ws)

    await visit.commit(decide)


def _check(reading: Reading, ws: str, provider: Provider, person: Person, id: str) -> None:
    """Raises Unauthenticated where what the sign-in rests on does not hold any more."""
    account = reading.account(id)
    if reading.provider(ws, provider.id) != provider or account is None or account.subject != person.subject:
        raise refused("Something changed meanwhile.")
    _check_member(reading, ws, account)


def _check_member(reading: Reading, ws: str, account: Account) -> None:
    if account.closed_ms or reading.membership(ws, account.id) is None:
        raise refused("You are no member of the workspace any more.")
