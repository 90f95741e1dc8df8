"""What does an administrator do for somebody who has lost the device, the passkeys, or both?

What is asked for beside the password is taken away, and its person is signed out everywhere: whoever has found the
device may be in one of these sessions. An entry tells who did it. The password stays what it was; a link to set another
one is the way where that is gone as well (`sessions.py`).
"""

from collections.abc import Callable

import msgspec

from gateway.access.rights.verdicts import Principal
from gateway.access.signin.proving import settled
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.giving import account_of
from gateway.console.calls.permissions import NODE_ADMIN
from gateway.console.signin.logins import known
from gateway.console.signin.recovery import forget
from gateway.console.signin.sessions import endings
from storage.commit import Decided
from storage.errors import Absent
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Account, AnyChange, Draft, PutAccount

ROUTES = Routes("/-/api/v1")


@ROUTES.add("DELETE", "/users/<user>/device", NODE_ADMIN, gives=None)
async def forget_device(call: Call) -> Reply:
    """One-time codes are asked for no more until others are set up; passkeys stay."""
    return await _taken(call, "device.forget", lambda now: settled(msgspec.structs.replace(now, device_ms=0)))


@ROUTES.add("DELETE", "/users/<user>/second-factors", NODE_ADMIN, gives=None)
async def reset(call: Call) -> Reply:
    """One-time codes, passkeys and recovery codes: the password is enough until one of them is set up."""
    return await _taken(
        call, "factors.reset", lambda now: msgspec.structs.replace(now, device_ms=0, passkeys=(), recovery_ms=0)
    )


async def _taken(call: Call, action: str, change: Callable[[Account], Account]) -> Reply:
    """Change the account and end its sessions, in one entry; what was kept of what is gone goes after that."""
    now_ms, of = call.services.now_ms(), list[str]()

    def decide(reading: Reading, principal: Principal) -> Decided:
        account = account_of(reading, "", f"user:{call.at['user']}")
        if account is None:
            raise Absent("There is no such account.")
        of.append(account.id)
        after = change(account)
        changes: list[AnyChange] = [] if after == account else [PutAccount(after)]
        changes += endings(reading, account.id, now_ms)
        draft = Draft(SYSTEM, "", principal.id, action, tuple(changes)) if changes else None
        return Decided(draft, None, SYSTEM)

    reply = await call.conclude(SYSTEM, decide, no_content)
    for id in of[-1:]:
        await forget(call.services, known(call.services).vault, id)
    return reply
