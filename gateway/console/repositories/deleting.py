"""How is a Workspace deleted, and never by accident?

One entry of the SYSTEM journal ends it with all that belongs to it (storage.index.ending), so nothing is ever half
gone. What holds Repositories goes only where its name is given again; what would go is told before, and what went
after. Secrets that lie beside the journal go right behind; what a crash leaves of them is taken later
(gateway.assembly.retaining).
"""

from collections import Counter

import trio

from gateway.access.rights.grants import OWN
from gateway.access.rights.verdicts import Principal, judge_workspace
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import WORKSPACE_OWN
from gateway.console.repositories import replies
from gateway.console.shapes import shown
from storage.commit import Decided
from storage.errors import Conflict, Invalid
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, DropHost, DropWorkspace, PutAccount, PutToken

ROUTES = Routes("/-/api/v1")
PACKAGES_COUNTED_MAX = 100_000


@ROUTES.add("GET", "/workspaces/<workspace>/deletion", WORKSPACE_OWN, gives=replies.Deletion)
async def look_at_deletion(call: Call) -> Reply:
    """What would go with it now."""
    return Reply(200, await trio.to_thread.run_sync(_told, call))


@ROUTES.add("DELETE", "/workspaces/<workspace>", WORKSPACE_OWN, ("confirm",), gives=replies.Deletion)
async def delete_workspace(call: Call) -> Reply:
    """With all that it holds, for good: `confirm` is its name once more, needed where it has repositories. Its name is
    never given again."""
    name, confirmed = call.at["workspace"], call.argument("confirm")
    told = await trio.to_thread.run_sync(_told, call)

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_workspace(reading, principal, name, OWN)
        if confirmed and confirmed != name:
            raise Invalid("The name that confirms is not that of the workspace.", "Nothing was deleted.")
        if not confirmed and (holds := len(reading.repositories(name))):
            raise Conflict(
                f"The workspace holds {holds} repositories.",
                "Look at what would go (GET .../deletion), then confirm with its name: confirm=WORKSPACE.",
            )
        return Decided(Draft(SYSTEM, "", principal.id, "workspace.delete", (DropWorkspace(name),)), told)

    reply = await call.conclude(SYSTEM, decide, lambda told: Reply(200, told))
    with trio.CancelScope(shield=True):  # who hangs up must not leave secrets behind
        for kept in (call.services.signing, call.services.secrets, call.services.saml_keys):
            if kept is not None:
                await trio.to_thread.run_sync(kept.remove_workspace, name)
    return reply


def _told(call: Call) -> shown.Shown:
    """Blocking. Raises as the route's Permission does, where it ended meanwhile."""
    name = call.at["workspace"]
    with call.read() as reading:
        judge_workspace(reading, call.principal, name, OWN)
        repositories = reading.repositories(name)
        used, binned = reading.usage(name), reading.bin_usage(name)
        with_it = Counter(
            "entitlements" if isinstance(one, PutToken) and one.token.kind == "entitlement" else _KINDS[type(one)]
            for one in reading.ending_with(name, 1)
        )
        return {
            "workspace": name,
            "repositories": len(repositories),
            "packages": reading.packages_in(name, PACKAGES_COUNTED_MAX),
            "files": used.files,
            "bytes": used.bytes,
            "bin_files": binned.files,
            "bin_bytes": binned.bytes,
            "members": sum(1 for _ in reading.memberships(name)),
            "teams": sum(1 for _ in reading.teams(name)),
            "providers": len(reading.providers(name)),
            "webhooks": len(reading.webhooks(name)),
            "upstreams": sum(len(one.upstreams) for one in repositories),
            "signing_keys": sum(len(one.certificates) for one in repositories),
            **{kind: with_it[kind] for kind in ("accounts", "tokens", "entitlements", "hosts")},
        }


_KINDS = {PutAccount: "accounts", PutToken: "tokens", DropHost: "hosts"}
