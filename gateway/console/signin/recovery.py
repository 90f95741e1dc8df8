"""How does somebody get recovery codes, for when passkeys or what shows one-time codes are lost?

Ten at a time, each good once, beside the password, where one of these would be asked for. They are made with the first
of them, and anew on the account's page or by the API: with the password again, since a token alone must not be enough
to weaken what is asked for beside it; or by an administrator of the node, who hands them over. Those of before are
over. What is stored are hashes, in the vault, for the moment that the journal names.
"""

import msgspec
import trio

from gateway.access.rights.verdicts import Principal, on_node
from gateway.access.signin import onetime, sessions
from gateway.access.signin.proving import needs_more
from gateway.access.signin.vault import Vault
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import account_of
from gateway.console.calls.permissions import USER_ITSELF
from gateway.console.calls.services import Services
from gateway.console.shapes.schemas import NewRecoveryCodes
from gateway.console.signin.logins import known
from gateway.console.signin.replies import RecoveryCodes
from gateway.console.signin.sessions import endings
from storage.commit import Decided
from storage.errors import Absent, Conflict
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Account, Draft, PutAccount

ROUTES = Routes("/-/api/v1")


@ROUTES.add(
    "POST", "/users/<user>/recovery-codes", USER_ITSELF, takes=NewRecoveryCodes, gives=RecoveryCodes, status=201
)
async def make_recovery_codes(call: Call) -> Reply:
    """New ones, shown this once; all sessions of the user end."""
    signing_in, body = known(call.services), await call.body(NewRecoveryCodes)
    with call.read() as reading:
        account = _user(call, reading)
    check_recoverable(account)
    by_password = not on_node(call.principal, "admin")
    if by_password:
        await signing_in.check_password(account, body.password, call.peer)
    codes, set_ms = await kept_codes(signing_in.vault, account, call.services.now_ms())

    def decide(reading: Reading, principal: Principal) -> Decided:
        now = sessions.living_account(reading, account.id)
        check_recoverable(now)
        if (by_password and now.password_ms != account.password_ms) or now.recovery_ms != account.recovery_ms:
            raise Conflict("The account was changed meanwhile.", "Do it again.")
        after = msgspec.structs.replace(now, recovery_ms=set_ms)
        changes = (PutAccount(after), *endings(reading, now.id, call.services.now_ms()))
        return Decided(Draft(SYSTEM, "", principal.id, "recovery.set", changes), after, SYSTEM)

    told = {"user": account.name, "codes": codes, "made_ms": set_ms}
    reply = await call.conclude(SYSTEM, decide, lambda _: Reply(201, told))
    await forget(call.services, signing_in.vault, account.id)
    return reply


async def kept_codes(vault: Vault, account: Account, now_ms: int) -> tuple[tuple[str, ...], int]:
    """New codes, and the moment from which on they will count; their hashes are kept for that."""
    codes, set_ms = onetime.recovery_codes(), max(now_ms, account.recovery_ms + 1)
    await trio.to_thread.run_sync(vault.put_recovery, account.id, set_ms, onetime.recovery_hashes(codes))
    return codes, set_ms


async def forget(services: Services, vault: Vault, account: str) -> None:
    """What does not count any more of what an Account signs in with."""
    with services.catalog.read() as reading:
        now = reading.account(account)
    if now is not None:
        told = now.password_ms, now.device_ms, now.recovery_ms
        await trio.to_thread.run_sync(vault.forget_before, account, *told)


def check_recoverable(account: Account) -> None:
    """Raises Conflict where a recovery code could stand in for nothing."""
    if not needs_more(account):
        raise Conflict("Nothing is asked for beside the password.", "Set up a passkey or one-time codes first.")


def _user(call: Call, reading: Reading) -> Account:
    account = account_of(reading, "", f"user:{call.at['user']}")
    if account is None:
        raise Absent("There is no such account.")
    return account
