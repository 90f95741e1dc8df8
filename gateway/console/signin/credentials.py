"""The pages on which people set a password, by a link or the old one, and set up one-time codes."""

import hmac
from collections.abc import Callable

import msgspec
import trio
from quart import Response

from gateway.access.names import is_slug
from gateway.access.signin import onetime, sessions
from gateway.access.signin.passwords import check_choice
from gateway.access.signin.proving import settled
from gateway.access.signin.vault import Device
from gateway.access.tokens import hash_of, well_formed
from gateway.console.signin.accounts import account_page
from gateway.console.signin.addresses import ACCOUNT, SET_PASSWORD, SIGN_IN
from gateway.console.signin.qr import drawing
from gateway.console.signin.recovery import check_recoverable, forget, kept_codes
from gateway.console.signin.sessions import endings
from gateway.console.signin.visits import Pages, Visit, seen_other
from storage.commit import Decided
from storage.errors import Conflict, Invalid, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Account, AnyChange, Draft, PutAccount

PAGES = Pages()


@PAGES.add("GET", SET_PASSWORD, signed_in=False)
async def show_link(visit: Visit) -> Response:
    code = visit.argument("code")
    return visit.page("set_password.html", code=code, name=_of_link(visit, visit.argument("user"), code).name)


@PAGES.add("POST", SET_PASSWORD, signed_in=False)
async def use_link(visit: Visit) -> Response:
    """The link is spent with the entry that tells of the password, and so are all sessions."""
    code = visit.field("code")
    account = _of_link(visit, visit.field("username"), code)
    try:
        new = _chosen(visit, account)
    except Invalid as refused:
        return visit.page(
            "set_password.html", 400, code=code, name=account.name, message=refused.message, remedy=refused.remedy
        )
    set_ms = await _kept(visit, account, new)

    def decide(reading: Reading) -> Decided:
        now = sessions.living_account(reading, account.id)
        if now.link != account.link or now.link_ms <= visit.services.now_ms() or now.password_ms != account.password_ms:
            raise _no_link()
        after = msgspec.structs.replace(now, password_ms=set_ms, link=b"", link_ms=0)
        changes = (PutAccount(after), *endings(reading, account.id, visit.services.now_ms()))
        return Decided(Draft(SYSTEM, "", account.id, "password.set", changes), None, SYSTEM)

    serial = await visit.commit(decide)
    await forget(visit.services, visit.signing_in.vault, account.id)
    return seen_other(SIGN_IN, serial=serial)


@PAGES.add("POST", f"{ACCOUNT}/password", signed_in=True)
async def change_password(visit: Visit) -> Response:
    """The other sessions end; tokens go on, and can be revoked on the same page."""
    account = visit.account
    try:
        await visit.signing_in.check_password(account, visit.field("old"), visit.peer)
        new = _chosen(visit, account)
    except (Invalid, Unauthenticated) as refused:
        return account_page(visit, 400, refused.message, refused.remedy)
    set_ms = await _kept(visit, account, new)

    def changed(now: Account) -> Account:
        return msgspec.structs.replace(now, password_ms=set_ms)

    serial = await change_own(visit, account, "password.set", changed)
    return seen_other(ACCOUNT, serial=serial)


# ---------------------------------------------------------------- one-time codes


@PAGES.add("POST", f"{ACCOUNT}/device/begin", signed_in=True)
async def begin_device(visit: Visit) -> Response:
    """Make a secret and show it. It counts once a code of it was shown."""
    account = visit.account
    try:
        await visit.signing_in.check_password(account, visit.field("password"), visit.peer)
    except Unauthenticated as refused:
        return account_page(visit, 400, refused.message, refused.remedy)
    secret, set_ms = onetime.new_secret(), visit.services.now_ms()
    vault = visit.signing_in.vault
    await trio.to_thread.run_sync(vault.put_device, account.id, set_ms, Device(secret))
    return _device_page(visit, account, secret, set_ms)


@PAGES.add("POST", f"{ACCOUNT}/device/confirm", signed_in=True)
async def confirm_device(visit: Visit) -> Response:
    account, vault, set_ms = visit.account, visit.signing_in.vault, _moment(visit.field("at"))
    device = vault.device(account.id, set_ms)
    if device is None or account.device_ms:
        raise Conflict("This is not waited for (any more).", "Begin anew on your account's page.")
    visit.signing_in.tries.spend(visit.peer, account.name)
    step = onetime.step_of(device.secret, visit.field("code"), visit.services.now_ms() / 1000, device.spent)
    if step is None:
        return _device_page(visit, account, device.secret, set_ms, 400, message="This is not the code it shows now.")
    await trio.to_thread.run_sync(vault.put_device, account.id, set_ms, Device(device.secret, step))

    def changed(now: Account) -> Account:
        return msgspec.structs.replace(now, device_ms=set_ms)

    return await with_codes(visit, account, "device.set", changed)


@PAGES.add("POST", f"{ACCOUNT}/device/forget", signed_in=True)
async def forget_device(visit: Visit) -> Response:
    account = visit.account
    try:
        await visit.signing_in.check_password(account, visit.field("password"), visit.peer)
    except Unauthenticated as refused:
        return account_page(visit, 400, refused.message, refused.remedy)

    def changed(now: Account) -> Account:
        return settled(msgspec.structs.replace(now, device_ms=0))

    return seen_other(ACCOUNT, serial=await change_own(visit, account, "device.forget", changed))


# ---------------------------------------------------------------- recovery codes


@PAGES.add("POST", f"{ACCOUNT}/recovery", signed_in=True)
async def make_recovery_codes(visit: Visit) -> Response:
    """New ones; those of before are good for nothing from then on."""
    account = visit.account
    try:
        await visit.signing_in.check_password(account, visit.field("password"), visit.peer)
        check_recoverable(account)
    except (Conflict, Unauthenticated) as refused:
        return account_page(visit, 400, refused.message, refused.remedy)
    return await with_codes(visit, account, "recovery.set", lambda now: now)


async def with_codes(visit: Visit, account: Account, action: str, change: Callable[[Account], Account]) -> Response:
    """Change the person's own account and show new recovery codes, this once."""
    codes, set_ms = await kept_codes(visit.signing_in.vault, account, visit.services.now_ms())

    def changed(now: Account) -> Account:
        return msgspec.structs.replace(change(now), recovery_ms=set_ms)

    serial = await change_own(visit, account, action, changed)
    response = visit.page("recovery.html", codes=codes)
    response.headers["Entrepot-Serial"] = serial
    return response


# ---------------------------------------------------------------- steps


async def change_own(visit: Visit, before: Account, action: str, change: Callable[[Account], Account]) -> str:
    """Change the person's own account, if it still has the password that was shown, and end its other sessions: they
    began when something else was asked for."""
    own = visit.token.id if visit.token is not None else ""

    def decide(reading: Reading) -> list[AnyChange]:
        now = sessions.living_account(reading, before.id)
        if _shown_of(now) != _shown_of(before):
            raise Conflict("Your account was changed meanwhile.", "Load the page again.")
        return [PutAccount(change(now)), *endings(reading, now.id, visit.services.now_ms(), own)]

    serial = await visit.change(action, decide)
    await forget(visit.services, visit.signing_in.vault, before.id)
    return serial


def _shown_of(account: Account) -> tuple[int, ...]:
    return account.password_ms, account.device_ms, account.recovery_ms


async def _kept(visit: Visit, account: Account, password: str) -> int:
    """The moment from which on the password will count; its hash is kept for that."""
    signing_in = visit.signing_in
    set_ms = max(visit.services.now_ms(), account.password_ms + 1)
    hash = await signing_in.passwords.hash(password)
    await trio.to_thread.run_sync(signing_in.vault.put_password, account.id, set_ms, hash)
    return set_ms


def _of_link(visit: Visit, name: str, code: str) -> Account:
    """Whose link this is. Raises Invalid, the same for every name."""
    with visit.services.catalog.read() as reading:
        found = reading.account_named("user", "", name) if is_slug(name) else None
    hash = hash_of(code)
    good = well_formed(code) and found is not None and hmac.compare_digest(found.link, hash)
    if found is None or not good or found.link_ms <= visit.services.now_ms():
        raise _no_link()
    return found


def _no_link() -> Invalid:
    return Invalid("This link is no good (any more): each is good once, and not for long.", "Ask for another one.")


def _chosen(visit: Visit, account: Account) -> str:
    """Raises Invalid."""
    new = visit.field("new")
    if new != visit.field("again"):
        raise Invalid("These are two different passwords.", "Type the same one twice.")
    check_choice(new, account.name)
    return new


def _device_page(
    visit: Visit, account: Account, secret: str, set_ms: int, status: int = 200, message: str = ""
) -> Response:
    address = onetime.address(secret, f"Entrepot {visit.asked.host}", account.name)
    return visit.page(
        "device_setup.html",
        status,
        secret=secret,
        drawing=drawing(address),
        address=address,
        at=str(set_ms),
        message=message,
    )


def _moment(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
