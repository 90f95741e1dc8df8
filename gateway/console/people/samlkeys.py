"""How does a SAML provider come to know another key of this node's, and this node to do without the old one?

A new pair is made here and stands in this node's metadata beside the old one: the provider may encrypt for either, and
requests are signed with the old key as long as it is there. Once the provider has the new metadata, the old pair is
retired. A pair counts by standing in the journal: its secret half is on the disk before that, and goes after.
"""

import msgspec
import trio

from gateway.access.rights.grants import OWN
from gateway.access.rights.verdicts import Principal, judge_workspace
from gateway.access.secrets.samlkeys import PAIRS_MAX, SamlKeys
from gateway.console.calls.call import Call, Decision, Reply, Routes, no_content
from gateway.console.calls.giving import judge_passing_on
from gateway.console.calls.permissions import WORKSPACE_PEOPLE
from gateway.console.people import replies
from gateway.console.people.oidc import named
from gateway.console.shapes import shown
from storage.commit import Decided
from storage.errors import Absent, Conflict, Problem, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Draft, Provider, PutProvider, Saml, SamlPair

ROUTES = Routes("/-/api/v1/workspaces/<workspace>/saml/<provider>/keys")


@ROUTES.show("/<key>", WORKSPACE_PEOPLE, gives=replies.SamlPair)
def show_pair(call: Call, reading: Reading) -> shown.Shown:
    _, saml = saml_named(reading, call.at["workspace"], call.at["provider"])
    return shown.saml_pair(_found(saml, call.at["key"]))


@ROUTES.add("POST", "", WORKSPACE_PEOPLE, gives=replies.SamlPair, status=201)
async def add_pair(call: Call) -> Reply:
    """One more pair, which stands in this node's metadata from now on."""
    ws, name = call.at["workspace"], call.at["provider"]
    with call.read() as reading:
        judge_workspace(reading, call.principal, ws, OWN)
        before, saml = saml_named(reading, ws, name)
    made = await new_pair(call, ws, before.id, saml)

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        judge_workspace(reading, principal, ws, OWN)
        now, saml = saml_named(reading, ws, name)
        if now.id != before.id or len(saml.pairs) >= PAIRS_MAX:
            raise Conflict("The keys for this provider were changed meanwhile.", "Look again.")
        return Decided(_written(principal, ws, now, saml, "add", (*saml.pairs, made)), shown.saml_pair(made))

    return await concluded(call, ws, before.id, made, decide)


@ROUTES.add("DELETE", "/<key>", WORKSPACE_PEOPLE, gives=None)
async def retire_pair(call: Call) -> Reply:
    """What is encrypted for it cannot be read from then on."""
    ws, keys = call.at["workspace"], keys_of(call)
    of: list[str] = []

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        judge_workspace(reading, principal, ws, OWN)
        now, saml = saml_named(reading, ws, call.at["provider"])
        gone = _found(saml, call.at["key"])
        left = tuple(one for one in saml.pairs if one.id != gone.id)
        if not left:
            raise Conflict("These are the only keys that the provider has of this node.", "Add others first.")
        of.append(now.id)
        return Decided(_written(principal, ws, now, saml, "retire", left), None)

    with trio.CancelScope(shield=True):  # what is told no longer is not kept because its caller hung up
        reply = await call.conclude(ws, decide, no_content)
        for one in of:
            await trio.to_thread.run_sync(keys.forget, ws, one, call.at["key"])
    return reply


async def new_pair(call: Call, ws: str, provider: str, saml: Saml | None = None) -> SamlPair:
    """A pair that is kept, and told nowhere yet. Raises Conflict, Unavailable."""
    told, now_ms = () if saml is None else saml.pairs, call.services.now_ms()
    made = await trio.to_thread.run_sync(keys_of(call).add, ws, provider, [one.id for one in told], now_ms)
    return SamlPair(made.id, made.signing, made.encryption, now_ms)


async def concluded(call: Call, ws: str, provider: str, made: SamlPair, decide: Decision) -> Reply:
    """Tell of a new pair; where that fails, or was done before, it is not kept."""
    done: list[bool] = []

    def noted(reading: Reading, principal: Principal) -> Decided:
        decided = decide(reading, principal)
        done.append(True)
        return decided

    with trio.CancelScope(shield=True):  # who hangs up leaves no secret behind of what is not there
        try:
            reply = await call.conclude(ws, noted, lambda told: Reply(201, told))
        except Problem:
            done.clear()
            raise
        finally:
            if not done:
                await trio.to_thread.run_sync(keys_of(call).forget, ws, provider, made.id)
    return reply


def keys_of(call: Call) -> SamlKeys:
    if call.services.saml_keys is None:
        raise Unavailable("This node is an edge and keeps no keys.", "Send this to the origin.", retry_after_s=5)
    return call.services.saml_keys


def saml_named(reading: Reading, ws: str, name: str) -> tuple[Provider, Saml]:
    """Raises Absent."""
    found = named(reading, ws, name)
    if found.saml is None:
        raise Absent("There is no such SAML provider in this workspace.")
    return found, found.saml


def _found(saml: Saml, id: str) -> SamlPair:
    found = next((one for one in saml.pairs if one.id == id), None)
    if found is None:
        raise Absent("There are no such keys of this node for this provider.")
    return found


def _written(
    principal: Principal, ws: str, provider: Provider, saml: Saml, what: str, pairs: tuple[SamlPair, ...]
) -> Draft:
    after = msgspec.structs.replace(provider, saml=msgspec.structs.replace(saml, pairs=pairs))
    return Draft(ws, "", principal.id, f"saml.key.{what}", (PutProvider(after),))
