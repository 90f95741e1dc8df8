"""The pages on which people register passkeys and sign in with them: alone, or beside a password.

Alone a passkey has to know its person (by a fingerprint or a PIN), so it is two factors by itself. Beside a password it
stands where a one-time code would. Both pages ask the browser for whatever passkey it has for this site and name none.
Who has one, or codes, cannot sign in by the password alone any more.
"""

import logging
from collections.abc import Sequence

import msgspec
import trio
from quart import Response

from gateway.access.names import display
from gateway.access.signin import passkeys, sessions
from gateway.access.signin.passkeys import ALONE, PASSKEYS_MAX, REGISTER, SECOND, Shown, Site
from gateway.access.signin.proving import Proof, settled
from gateway.console.calls.services import latest_ms_of
from gateway.console.people.people import new_id
from gateway.console.signin import methods
from gateway.console.signin.accounts import account_page
from gateway.console.signin.addresses import ACCOUNT, SIGN_IN, onward
from gateway.console.signin.credentials import change_own, with_codes
from gateway.console.signin.methods import Offer
from gateway.console.signin.script import SCRIPT
from gateway.console.signin.style import policy
from gateway.console.signin.visits import Pages, Visit, seen_other
from storage.errors import Absent, Conflict, Invalid, Problem, TooMany, Unauthenticated, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Account, AnyChange, Passkey, PutAccount

PAGES = Pages()
WITH_PASSKEY, WITH_BOTH = f"{SIGN_IN}/passkey", f"{SIGN_IN}/password-and-passkey"
_log = logging.getLogger("entrepot.signin")


def offering(visit: Visit, next: str) -> Sequence[Offer]:
    """Both ways, where the node knows its site."""
    if site_at(visit) is None:
        return ()
    return (
        Offer("With a passkey", f"{WITH_PASSKEY}?next={next}"),
        Offer("With a password and a passkey, such as a security key", f"{WITH_BOTH}?next={next}"),
    )


# ---------------------------------------------------------------- signing in


@PAGES.add("GET", WITH_PASSKEY, signed_in=False)
async def ask_alone(visit: Visit) -> Response:
    return _asking(visit, ALONE, onward(visit.argument("next")))


@PAGES.add("POST", WITH_PASSKEY, signed_in=False)
async def sign_in_alone(visit: Visit) -> Response:
    next = onward(visit.field("next"))
    try:
        visit.signing_in.tries.spend_login(visit.peer)
        account, passkey, count = await _proved(visit, ALONE)
    except (Unauthenticated, TooMany) as no:
        return _asking(visit, ALONE, next, no)
    return await _enter(visit, Proof(account, "passkey"), passkey, count, next)


@PAGES.add("GET", WITH_BOTH, signed_in=False)
async def ask_both(visit: Visit) -> Response:
    return _asking(visit, SECOND, onward(visit.argument("next")))


@PAGES.add("POST", WITH_BOTH, signed_in=False)
async def sign_in_by_both(visit: Visit) -> Response:
    """The password is looked at whatever the passkey was, and there is one refusal for both (C)."""
    next = onward(visit.field("next"))
    try:
        visit.signing_in.tries.spend_login(visit.peer)
        found = await _proved_or_not(visit)
        holder = "" if found is None else found[0].id
        proof = await visit.signing_in.prove_beside(visit.field("name"), visit.field("password"), holder, visit.peer)
    except (Unauthenticated, TooMany, Unavailable) as no:
        return _asking(visit, SECOND, next, no)
    assert found is not None
    return await _enter(visit, proof, found[1], found[2], next)


async def _proved_or_not(visit: Visit) -> tuple[Account, Passkey, int] | None:
    try:
        return await _proved(visit, SECOND)
    except Unauthenticated:
        return None


async def _proved(visit: Visit, purpose: str) -> tuple[Account, Passkey, int]:
    """Whose passkey has signed a challenge of this browser's, and what it counts now. Raises Unauthenticated."""
    shown = passkeys.read_shown(visit.field("credential"))
    ends_ms = _check_challenge(visit, shown, purpose, visit.form_cookie)
    with visit.services.catalog.read() as reading:
        account = reading.account(shown.account) if shown.account.isprintable() and shown.account else None
    passkey = passkeys.found(account.passkeys, shown.credential) if account is not None else None
    if account is None or account.closed_ms or passkey is None:
        raise passkeys.refused()
    count = passkeys.counted(_site(visit), shown, passkey, purpose)
    await _spend(visit, shown, ends_ms)
    if passkeys.is_copied(passkey, count):
        _log.warning(
            "passkey %s of user %s counts %d after %d: a copy?", passkey.id, account.name, count, passkey.count
        )
        raise passkeys.refused()
    return account, passkey, count


async def _enter(visit: Visit, proof: Proof, passkey: Passkey, count: int, next: str) -> Response:
    """The session's entry tells what the passkey counts, and when it was used."""
    id, password_ms = proof.account.id, proof.account.password_ms

    def still(reading: Reading) -> list[AnyChange]:
        now = sessions.living_account(reading, id)
        mine = passkeys.found(now.passkeys, passkey.credential)
        if mine is None or mine.id != passkey.id or passkeys.is_copied(mine, count) or now.password_ms != password_ms:
            raise passkeys.refused()
        after = msgspec.structs.replace(mine, count=count, used_ms=visit.services.now_ms())
        kept = tuple(after if one.id == mine.id else one for one in now.passkeys)
        return [PutAccount(msgspec.structs.replace(now, passkeys=kept))]

    return await methods.enter(visit, id, proof.method, next, still)


# ---------------------------------------------------------------- one's own passkeys


@PAGES.add("POST", f"{ACCOUNT}/passkeys/begin", signed_in=True)
async def begin_passkey(visit: Visit) -> Response:
    """Who has shown the password is asked for a passkey: the challenge says that it was shown."""
    account, site = visit.account, _site(visit)
    try:
        name = display(visit.field("name").strip(), "A passkey")
        await visit.signing_in.check_password(account, visit.field("password"), visit.peer)
        _check_room(account)
    except (Invalid, Conflict, Unauthenticated) as no:
        return account_page(visit, 400, no.message, no.remedy)
    challenge = passkeys.new_challenge(
        visit.signing_in.vault.seal, REGISTER, _session(visit), latest_ms_of(visit.services)
    )
    return _page(visit, "passkey_setup.html", name=name, asked=passkeys.asked_to_make(site, account, challenge))


@PAGES.add("POST", f"{ACCOUNT}/passkeys/confirm", signed_in=True)
async def confirm_passkey(visit: Visit) -> Response:
    """The other sessions end: they began when less was asked for."""
    account = visit.account
    try:
        name = display(visit.field("name"), "A passkey")
        shown = passkeys.read_shown(visit.field("credential"))
        ends_ms = _check_challenge(visit, shown, REGISTER, _session(visit))
        new = passkeys.made(_site(visit), shown, new_id("pky_"), name, visit.services.now_ms())
        await _spend(visit, shown, ends_ms)
    except (Invalid, Unauthenticated) as no:
        return account_page(visit, 400, no.message, no.remedy)

    def added(now: Account) -> Account:
        _check_room(now)
        if passkeys.found(now.passkeys, new.credential) is not None:
            raise Conflict("This passkey is registered already.")
        return msgspec.structs.replace(now, passkeys=(*now.passkeys, new))

    if not account.recovery_ms:  # from now on there is something to lose
        return await with_codes(visit, account, "passkey.add", added)
    return seen_other(ACCOUNT, serial=await change_own(visit, account, "passkey.add", added))


@PAGES.add("POST", f"{ACCOUNT}/passkeys/remove", signed_in=True)
async def remove_passkey(visit: Visit) -> Response:
    """The other sessions end: one of them may be that of whoever has it now."""
    account, id = visit.account, visit.field("id")
    try:
        await visit.signing_in.check_password(account, visit.field("password"), visit.peer)
    except Unauthenticated as no:
        return account_page(visit, 400, no.message, no.remedy)

    def removed(now: Account) -> Account:
        left = tuple(one for one in now.passkeys if one.id != id)
        if left == now.passkeys:
            raise Absent("There is no such passkey (any more).", "Load the page again.")
        return settled(msgspec.structs.replace(now, passkeys=left))

    return seen_other(ACCOUNT, serial=await change_own(visit, account, "passkey.remove", removed))


# ---------------------------------------------------------------- steps


def site_at(visit: Visit) -> Site | None:
    return passkeys.site_of(visit.services.sign_in.url)


def _site(visit: Visit) -> Site:
    site = site_at(visit)
    if site is None:
        raise Absent("There are no passkeys at this node.", "Its operator sets [sign_in] url to https and its name.")
    return site


def _asking(visit: Visit, purpose: str, next: str, no: Problem | None = None) -> Response:
    """The page with a challenge for this browser, and perhaps with a refusal on top."""
    site = _site(visit)
    challenge = passkeys.new_challenge(
        visit.signing_in.vault.seal, purpose, visit.form_cookie, latest_ms_of(visit.services)
    )
    response = _page(
        visit,
        "passkey.html",
        200 if no is None else no.status,
        action=WITH_PASSKEY if purpose == ALONE else WITH_BOTH,
        beside=purpose == SECOND,
        asked=passkeys.asked_to_show(site, challenge, purpose),
        onward=next,
        message="" if no is None else no.message,
        remedy="" if no is None else no.remedy,
    )
    if no is not None and no.retry_after_s is not None:
        response.headers["Retry-After"] = str(no.retry_after_s)
    return response


def _page(visit: Visit, template: str, status: int = 200, **told: object) -> Response:
    """A page with the one script, which its policy lets run."""
    return visit.page(template, status, policy=policy(script=SCRIPT), script=SCRIPT, **told)


def _session(visit: Visit) -> str:
    return visit.token.id if visit.token is not None else ""


def _check_room(account: Account) -> None:
    if account.kind != "user":
        raise Conflict("Your identity provider signs you in.", "Register passkeys there.")
    if len(account.passkeys) >= PASSKEYS_MAX:
        raise Conflict(f"An account has at most {PASSKEYS_MAX} passkeys.", "Remove one first.")


def _challenge(visit: Visit, purpose: str, holder: str) -> bytes:
    return passkeys.new_challenge(visit.signing_in.vault.seal, purpose, holder, latest_ms_of(visit.services))


def _check_challenge(visit: Visit, shown: Shown, purpose: str, holder: str) -> int:
    seal, now_ms = visit.signing_in.vault.seal, latest_ms_of(visit.services)
    return passkeys.check_challenge(seal, shown.challenge, purpose, holder, now_ms)


async def _spend(visit: Visit, shown: Shown, ends_ms: int) -> None:
    """Each challenge is answered once. Raises Unauthenticated."""
    spend = visit.signing_in.vault.spend_challenge
    if not await trio.to_thread.run_sync(spend, shown.challenge, ends_ms, latest_ms_of(visit.services)):
        raise passkeys.refused()


methods.OFFERED.append(offering)
