"""Which passkeys has a user, and how is one taken away where a page is of no help?

They are registered on the pages alone, by whoever shows the password. Their person may see and remove them with a token
that is limited to nothing, and an administrator of the node those of everybody: for who has lost them. What is asked
for beside the password goes with its last passkey, so the last one its person removes on the page, with the password.
"""

import msgspec

from gateway.access.rights.verdicts import Principal, on_node
from gateway.access.signin.proving import settled
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.giving import account_of
from gateway.console.calls.permissions import USER_ITSELF
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.signin import replies
from gateway.console.signin.sessions import endings
from storage.commit import Decided
from storage.errors import Absent, Conflict
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Account, Draft, Passkey, PutAccount

ROUTES = Routes("/-/api/v1")


@ROUTES.add("GET", "/users/<user>/passkeys", USER_ITSELF, ("after", "limit"), gives=Page[replies.Passkey])
async def list_passkeys(call: Call) -> Reply:
    """With their names, and when they were last used."""
    after, limit = call.argument("after"), call.limit()
    with call.read() as reading:
        found = sorted((one for one in _user(call, reading).passkeys if one.id > after), key=_id)
    return Reply(200, shown.page(found, limit, _id, lambda one: shown_passkey(one, call.at["user"])))


@ROUTES.show("/users/<user>/passkeys/<passkey>", USER_ITSELF, gives=replies.Passkey)
def show_passkey(call: Call, reading: Reading) -> shown.Shown:
    return shown_passkey(_found(_user(call, reading), call.at["passkey"]), call.at["user"])


@ROUTES.add("DELETE", "/users/<user>/passkeys/<passkey>", USER_ITSELF, gives=None)
async def remove_passkey(call: Call) -> Reply:
    """And all sessions of the user end: who has the passkey now may be in one of them."""
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        account = _user(call, reading)
        gone = _found(account, call.at["passkey"])
        left = tuple(one for one in account.passkeys if one.id != gone.id)
        if not left and not account.device_ms and not on_node(principal, "admin"):
            raise Conflict(
                "Without this one your password alone would be enough.", "Remove it at /-/account, with your password."
            )
        after = settled(msgspec.structs.replace(account, passkeys=left))
        changes = (PutAccount(after), *endings(reading, account.id, now_ms))
        return Decided(Draft(SYSTEM, "", principal.id, "passkey.remove", changes), None, SYSTEM)

    return await call.conclude(SYSTEM, decide, no_content)


def shown_passkey(passkey: Passkey, user: str) -> shown.Shown:
    return {
        "id": passkey.id,
        "user": user,
        "name": passkey.name,
        "created_ms": passkey.at_ms,
        "used_ms": passkey.used_ms,
        "synced": passkey.synced,
    }


def _user(call: Call, reading: Reading) -> Account:
    account = account_of(reading, "", f"user:{call.at['user']}")
    if account is None:
        raise Absent("There is no such account.")
    return account


def _found(account: Account, id: str) -> Passkey:
    found = next((one for one in account.passkeys if one.id == id), None)
    if found is None:
        raise Absent("This user has no such passkey.")
    return found


def _id(passkey: Passkey) -> str:
    return passkey.id
