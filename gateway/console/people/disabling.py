"""How is an identity provider stopped at once, and let in again, without being told anew?

While it is disabled nobody comes in by it: people do not sign in, builds exchange nothing, and what its word has let in
before is over for good (THREATS C6). Whoever manages people may disable one. Enabling gives what adding gives, so it
takes what adding takes.
"""

import msgspec

from gateway.access.rights.grants import OWN
from gateway.access.rights.verdicts import Principal, judge_node, judge_workspace
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import judge_passing_on, judge_standing_in
from gateway.console.calls.permissions import WORKSPACE_PEOPLE
from gateway.console.people import replies
from gateway.console.people.federating import protocol_of
from gateway.console.people.oidc import named, told_of
from gateway.console.shapes.schemas import ChangedProvider
from storage.commit import Decided
from storage.index.catalog import Reading
from storage.nouns import Draft, Provider, PutProvider

ROUTES = Routes("/-/api/v1")


@ROUTES.add(
    "PATCH",
    "/workspaces/<workspace>/providers/<provider>",
    WORKSPACE_PEOPLE,
    takes=ChangedProvider,
    gives=replies.Provider,
)
async def change_provider(call: Call) -> Reply:
    """Disable it, or enable it again."""
    body = await call.body(ChangedProvider)
    ws, name, now_ms = call.at["workspace"], call.at["provider"], call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        now = named(reading, ws, name)
        if body.disabled == bool(now.disabled_ms):
            return Decided(None, told_of(reading, ws, now))
        if not body.disabled:
            _judge_enabling(reading, principal, ws, now)
        after = disabled(now, now_ms) if body.disabled else enabled(now)
        action = f"{protocol_of(now)}.{'disable' if body.disabled else 'enable'}"
        return Decided(Draft(ws, "", principal.id, action, (PutProvider(after),)), told_of(reading, ws, after))

    return await call.conclude(ws, decide, lambda told: Reply(200, told))


def disabled(provider: Provider, now_ms: int) -> Provider:
    return msgspec.structs.replace(provider, disabled_ms=now_ms)


def enabled(provider: Provider) -> Provider:
    """Believed again, and nothing that it let in before."""
    return msgspec.structs.replace(provider, disabled_ms=0, trust=provider.trust + 1)


def _judge_enabling(reading: Reading, principal: Principal, ws: str, provider: Provider) -> None:
    """As for one that is added. Raises Forbidden."""
    if provider.private_network:
        judge_node(principal, "admin")
    if provider.people is not None:
        judge_workspace(reading, principal, ws, OWN)
    for rule in provider.rules:
        judge_standing_in(reading, principal, ws, rule.account)
