"""How much may a Workspace and a Repository hold, and how much do they?

The operator bounds Workspaces, who manages a Workspace bounds its Repositories. Sizes are logical: the sum of the files
that are visible, and of those in bins, which count as well. What is on its way is told by an origin alone. Sums over
all packages are for who may read all of them (THREATS B9).
"""

import msgspec

from gateway.access.rights.verdicts import Principal, judge, judge_workspace
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.leased import leased
from gateway.console.calls.permissions import NODE_ADMIN, REPOSITORY_WHOLE, WORKSPACE_ADMIN
from gateway.console.repositories import replies
from gateway.console.shapes.schemas import NewQuota
from gateway.console.shapes.shown import Shown
from storage.commit import Decided
from storage.errors import Absent
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, PutRepository, PutWorkspace, Repository, Workspace

ROUTES = Routes("/-/api/v1")
_WORKSPACE = "/workspaces/<workspace>"
_REPOSITORY = "/repositories/<workspace>/<repository>"


@ROUTES.add("GET", f"{_WORKSPACE}/usage", WORKSPACE_ADMIN, gives=replies.WorkspaceUsage)
async def show_workspace(call: Call) -> Reply:
    """With its repositories, the largest first."""
    name = call.at["workspace"]
    with call.read() as reading:
        workspace = judge_workspace(reading, call.principal, name, "admin")
        told = _told(call, reading, workspace)
        found, left_out = leased(call.services, reading.repositories(name), to_people=True)
        repositories = [_told(call, reading, one) for one in found]
    repositories.sort(key=lambda one: (-int(str(one["bytes"])), str(one["repository"])))
    return Reply(200, told | {"repositories": repositories} | left_out)


@ROUTES.show(f"{_WORKSPACE}/quota", WORKSPACE_ADMIN, gives=replies.Quota)
def show_workspace_quota(call: Call, reading: Reading) -> Shown:
    return {"bytes": judge_workspace(reading, call.principal, call.at["workspace"], "read").quota_bytes}


@ROUTES.add("PUT", f"{_WORKSPACE}/quota", NODE_ADMIN, takes=NewQuota, gives=replies.Usage)
async def bound_workspace(call: Call) -> Reply:
    body, name = await call.body(NewQuota), call.at["workspace"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = reading.workspace(name)
        if before is None:
            raise Absent("There is no such workspace.")
        after = msgspec.structs.replace(before, quota_bytes=body.bytes)
        draft = Draft(SYSTEM, "", principal.id, "workspace.quota", (PutWorkspace(after),))
        return Decided(draft, _told(call, reading, after))

    return await call.conclude(SYSTEM, decide, lambda told: Reply(200, told))


@ROUTES.add("GET", f"{_REPOSITORY}/usage", REPOSITORY_WHOLE, gives=replies.Usage)
async def show_repository(call: Call) -> Reply:
    with call.read() as reading:
        repository = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read")
        return Reply(200, _told(call, reading, repository))


@ROUTES.show(f"{_REPOSITORY}/quota", REPOSITORY_WHOLE, gives=replies.Quota)
def show_repository_quota(call: Call, reading: Reading) -> Shown:
    return {"bytes": judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read").quota_bytes}


@ROUTES.add("PUT", f"{_REPOSITORY}/quota", WORKSPACE_ADMIN, takes=NewQuota, gives=replies.Usage)
async def bound_repository(call: Call) -> Reply:
    body = await call.body(NewQuota)
    workspace, name = call.at["workspace"], call.at["repository"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = reading.repository(workspace, name)
        if before is None:
            raise Absent("There is no such repository.")
        after = msgspec.structs.replace(before, quota_bytes=body.bytes)
        draft = Draft(workspace, name, principal.id, "repository.quota", (PutRepository(after),))
        return Decided(draft, _told(call, reading, after))

    return await call.conclude(workspace, decide, lambda told: Reply(200, told))


def _told(call: Call, reading: Reading, noun: Workspace | Repository) -> Shown:
    place = (noun.workspace, noun.name) if isinstance(noun, Repository) else (noun.name,)
    used, binned = reading.usage(*place), reading.bin_usage(*place)
    names = dict(zip(("workspace", "repository"), place, strict=False))
    reserved = call.services.reserved(*place)
    return {
        **names,
        "files": used.files,
        "bytes": used.bytes,
        "bin_files": binned.files,
        "bin_bytes": binned.bytes,
        "reserved_bytes": reserved,
        "quota_bytes": noun.quota_bytes,
    }
