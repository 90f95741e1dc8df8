"""By what else than a password can people sign in? What stands on the page for it, and what every such way ends with.

A further way has pages of its own, and one entry in OFFERED. When it knows who somebody is, it calls `enter`.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from quart import Response

from gateway.access.signin import sessions
from gateway.console.calls import cookies
from gateway.console.signin.addresses import onward
from gateway.console.signin.visits import Visit, seen_other
from storage.commit import Decided
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, AnyChange, Draft, PutToken


class Offer(NamedTuple):
    """A link on the page to sign in. `address` is one of our own, with `next` in it."""

    label: str
    address: str


Offering = Callable[[Visit, str], Sequence[Offer]]
"""The offers for a visit, which goes on to this address (quoted for a query)."""

OFFERED: list[Offering] = []


Still = Callable[[Reading], Iterable[AnyChange] | None]
"""Asked under the write lock: raises a Problem where what a method rests on does not hold any more, and says what else
the entry of the session is to change."""


def nothing_more(reading: Reading) -> None:
    """Nothing else has to hold."""


async def enter(
    visit: Visit,
    account: str,
    method: str,
    next: str,
    still: Still = nothing_more,
    voucher: sessions.Voucher | None = None,
    first: Callable[[str], Awaitable[None]] | None = None,
) -> Response:
    """Begin a session for the Account (its id), known by `method` ("password and totp"), and go on to `next`. It lives
    no longer than its `voucher`, if it has one, is believed. `first` is told its id before it begins.

    The session is a new one, whatever the browser brought along (C13: no fixation); what it brought ends. Raises
    Unauthenticated for a closed account.
    """
    services = visit.services
    text, id = minted = sessions.mint()
    if first is not None:
        await first(id)

    def decide(reading: Reading) -> Decided:
        more = still(reading) or ()
        now_ms = services.now_ms()
        _, token = sessions.begun(reading, account, method, visit.agent, services.sign_in, now_ms, voucher, minted)
        changes: list[AnyChange] = [PutToken(token), *more]
        before = reading.token_by_id(visit.token.id) if visit.token is not None else None
        if before is not None:
            changes.append(PutToken(sessions.ended(before, now_ms)))
        return Decided(Draft(SYSTEM, "", account, "session.begin", tuple(changes)), None)

    serial = await visit.commit(decide)
    set_cookie = cookies.set_cookie(cookies.SESSION, text, secure=visit.secure)
    return seen_other(onward(next), set_cookie, serial=serial)
