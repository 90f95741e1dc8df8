"""How does a Repository get a new signing key, and lose an old one?

A new one is added and signs beside the old one, clients get both certificates, then the old one is retired. What the
journal tells decides: a key signs as long as its certificate is there. So a new secret half is on the disk before its
certificate is told, and an old one goes after.
"""

import msgspec
import trio

from gateway.access.rights.verdicts import Principal, judge
from gateway.access.secrets.signing import KEYS_MAX, SigningKeys, fingerprint
from gateway.console.calls.call import PAGE, Call, Reply, Routes, no_content
from gateway.console.calls.permissions import REPOSITORY_ADMIN
from gateway.console.repositories import replies
from gateway.console.shapes.replies import Page
from gateway.console.shapes.shown import Shown
from storage.commit import Decided
from storage.errors import Absent, Conflict, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Draft, PutRepository, Repository

ROUTES = Routes("/-/api/v1/repositories/<workspace>/<repository>/keys")


@ROUTES.add("GET", "", REPOSITORY_ADMIN, PAGE, gives=Page[replies.Key])
async def list_keys(call: Call) -> Reply:
    with call.read() as reading:
        repository = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "admin")
    return call.page_in_order(repository.certificates, fingerprint, _shown)


@ROUTES.show("/<fingerprint>", REPOSITORY_ADMIN, gives=replies.Key)
def show_key(call: Call, reading: Reading) -> Shown:
    repository = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "admin")
    for one in repository.certificates:
        if fingerprint(one) == call.at["fingerprint"].lower():
            return _shown(one)
    raise _no_key()


@ROUTES.add("POST", "", REPOSITORY_ADMIN, gives=replies.Key, status=201)
async def add_key(call: Call) -> Reply:
    signing, at = _signing(call), (call.at["workspace"], call.at["repository"])
    certificate = await trio.to_thread.run_sync(signing.add, *at, call.services.now_ms())
    name = fingerprint(certificate)

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = judge(reading, principal, *at, "admin")
        if len(before.certificates) >= KEYS_MAX:
            raise Conflict(f"A repository tells of {KEYS_MAX} keys at most.", "Retire one first.")
        return _written(principal, "key.add", before, (*before.certificates, certificate))

    with trio.CancelScope(shield=True):  # a caller who hangs up leaves no half of a key
        try:
            reply = await call.conclude(at[0], decide, lambda _: Reply(201, {"fingerprint": name}))
        except Exception:
            await trio.to_thread.run_sync(signing.forget, *at, name)
            raise
    return reply


@ROUTES.add("DELETE", "/<fingerprint>", REPOSITORY_ADMIN, gives=None)
async def retire_key(call: Call) -> Reply:
    signing, at = _signing(call), (call.at["workspace"], call.at["repository"])
    name = call.at["fingerprint"].lower()

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = judge(reading, principal, *at, "admin")
        left = tuple(one for one in before.certificates if fingerprint(one) != name)
        if left == before.certificates:
            raise _no_key()
        if not left:
            raise Conflict("This is the only key that the repository signs with.", "Add another one first.")
        return _written(principal, "key.retire", before, left)

    with trio.CancelScope(shield=True):  # what is told no longer is not kept because its caller hung up
        reply = await call.conclude(at[0], decide, no_content)
        await trio.to_thread.run_sync(signing.forget, *at, name)
    return reply


def _shown(certificate: bytes) -> Shown:
    return {"fingerprint": fingerprint(certificate)}


def _no_key() -> Absent:
    return Absent("This repository has no such key.")


def _signing(call: Call) -> SigningKeys:
    if call.services.signing is None:
        raise Unavailable("This node keeps no signing keys.", "Send this to the origin.")
    return call.services.signing


def _written(principal: Principal, action: str, before: Repository, certificates: tuple[bytes, ...]) -> Decided:
    put = PutRepository(msgspec.structs.replace(before, certificates=certificates))
    return Decided(Draft(before.workspace, before.name, principal.id, action, (put,)), None)
