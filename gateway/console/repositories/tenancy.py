"""How are Workspaces and Repositories listed, made, changed and dropped?"""

import msgspec
import trio

from gateway.access.names import one_line, slug
from gateway.access.rights.grants import CREATE
from gateway.access.rights.verdicts import Principal, judge, judge_node, judge_workspace, seen, sees_workspace
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.leased import leased
from gateway.console.calls.permissions import (
    ANYBODY,
    BY_BODY,
    NODE_ADMIN,
    REPOSITORY_ADMIN,
    REPOSITORY_READ,
    WORKSPACE_ADMIN,
    WORKSPACE_READ,
)
from gateway.console.repositories import replies
from gateway.console.repositories.addresses import may_know_addresses
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import EditRepository, EditWorkspace, NewRepository, NewWorkspace
from storage.commit import Decided
from storage.errors import Conflict, Invalid
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, DropRepository, PutRepository, PutWorkspace, Repository, Workspace

ROUTES = Routes("/-/api/v1")

LEASE_SECONDS_MIN = 5

_PAGE = ("after", "limit")


@ROUTES.add("GET", "/workspaces", ANYBODY, ("deleted", *_PAGE), gives=Page[replies.Workspace])
async def list_workspaces(call: Call) -> Reply:
    """With `deleted` those that are not there any more, for administrators of the node."""
    after, limit = call.argument("after"), call.limit()
    with call.read() as reading:
        if call.flag("deleted"):
            judge_node(call.principal, "admin")
            found = [one for one in reading.every_workspace() if one.closed_ms]
        else:
            found = [one for one in reading.workspaces() if sees_workspace(reading, call.principal, one.name)]
    found = sorted((one for one in found if one.name > after), key=_name)
    return Reply(200, shown.page(found, limit, _name, shown.workspace))


@ROUTES.add("POST", "/workspaces", NODE_ADMIN, takes=NewWorkspace, gives=replies.Workspace, status=201)
async def create_workspace(call: Call) -> Reply:
    body = await call.body(NewWorkspace)
    name, description = slug(body.name, "A workspace"), one_line(body.description)
    workspace = Workspace(name, call.services.now_ms(), description=description)

    def decide(reading: Reading, principal: Principal) -> Decided:
        if reading.workspace(workspace.name) is not None:
            raise Conflict("There is a workspace of this name already.")
        reading.check_name(workspace.name)
        return Decided(Draft(SYSTEM, "", principal.id, "workspace.create", (PutWorkspace(workspace),)), workspace)

    return await call.conclude(SYSTEM, decide, lambda _: Reply(201, shown.workspace(workspace)))


@ROUTES.show("/workspaces/<workspace>", WORKSPACE_READ, gives=replies.Workspace)
def show_workspace(call: Call, reading: Reading) -> shown.Shown:
    return shown.workspace(judge_workspace(reading, call.principal, call.at["workspace"], "read"))


@ROUTES.add("PATCH", "/workspaces/<workspace>", WORKSPACE_ADMIN, takes=EditWorkspace, gives=replies.Workspace)
async def edit_workspace(call: Call) -> Reply:
    body = await call.body(EditWorkspace)
    description = one_line(body.description)

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = judge_workspace(reading, principal, call.at["workspace"], "admin")
        after = msgspec.structs.replace(before, description=description)
        if after == before:
            return Decided(None, before)
        return Decided(Draft(SYSTEM, "", principal.id, "workspace.edit", (PutWorkspace(after),)), after)

    return await call.conclude(SYSTEM, decide, lambda workspace: Reply(200, shown.workspace(workspace)))


@ROUTES.add("GET", "/repositories", ANYBODY, ("workspace", *_PAGE), gives=replies.Repositories)
async def list_repositories(call: Call) -> Reply:
    workspace, after, limit = call.argument("workspace"), call.argument("after"), call.limit()
    with call.read() as reading:
        if workspace:
            judge_workspace(reading, call.principal, workspace, "read")
        found, left_out = leased(call.services, seen(reading, call.principal, workspace))
        addresses = {_names(one): may_know_addresses(call, reading, one) for one in found}
    # by both names, as a tuple: joined with a slash they would sort otherwise
    start = tuple(after.split("/", 1))
    found = sorted((one for one in found if not after or (one.workspace, one.name) > start), key=_names)

    def show(one: Repository) -> shown.Shown:
        return shown.repository(one, addresses=addresses[_names(one)])

    return Reply(200, shown.page(found, limit, _full_name, show) | left_out)


@ROUTES.add("POST", "/repositories", BY_BODY, takes=NewRepository, gives=replies.Repository, status=201)
async def create_repository(call: Call) -> Reply:
    body = await call.body(NewRepository)
    name = slug(body.name, "A repository")
    lease_s = lease(body.lease_s)
    at_ms = call.services.now_ms()
    repository = Repository(body.workspace, name, body.public, at_ms=at_ms, lease_s=lease_s, bin_s=body.bin_s)

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_workspace(reading, principal, body.workspace, CREATE)
        if reading.repository(body.workspace, name) is not None:
            raise Conflict("There is a repository of this name in the workspace already.")
        return _written(principal, "repository.create", repository)

    return await call.conclude(body.workspace, decide, lambda _: Reply(201, shown.repository(repository)))


@ROUTES.show("/repositories/<workspace>/<repository>", REPOSITORY_READ, gives=replies.RepositoryWithFormats)
def show_repository(call: Call, reading: Reading) -> shown.Shown:
    repository = _here(call, reading, call.principal, "read")
    told = shown.repository(repository, addresses=may_know_addresses(call, reading, repository))
    return told | {"formats": call.services.formats}


@ROUTES.add(
    "PATCH", "/repositories/<workspace>/<repository>", REPOSITORY_ADMIN, takes=EditRepository, gives=replies.Repository
)
async def edit_repository(call: Call) -> Reply:
    body = await call.body(EditRepository)

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = _here(call, reading, principal, "admin")
        after = before
        if body.public is not None:
            after = msgspec.structs.replace(after, public=body.public)
        if body.lease_s is not None:
            after = msgspec.structs.replace(after, lease_s=lease(body.lease_s))
        if body.bin_s is not None:
            after = msgspec.structs.replace(after, bin_s=body.bin_s)
        if after == before:
            return Decided(None, before)
        action = "repository.publish" if after.public else "repository.hide"
        return _written(principal, action if after.public != before.public else "repository.edit", after)

    return await call.conclude(
        call.at["workspace"], decide, lambda repository: Reply(200, shown.repository(repository))
    )


@ROUTES.add("DELETE", "/repositories/<workspace>/<repository>", REPOSITORY_ADMIN, gives=None)
async def drop_repository(call: Call) -> Reply:
    workspace, name = call.at["workspace"], call.at["repository"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        dropped = DropRepository(workspace, name)
        return Decided(Draft(workspace, name, principal.id, "repository.drop", (dropped,)), None)

    reply = await call.conclude(workspace, decide, no_content)
    with trio.CancelScope(shield=True):  # a caller who hangs up must not leave secrets for a successor of this name
        for kept in (call.services.signing, call.services.secrets):
            if kept is not None:
                await trio.to_thread.run_sync(kept.remove_repository, workspace, name)
    return reply


def lease(seconds: int) -> int:
    """The lease as asked for. Raises Invalid for one that is too short to bridge a reconnect."""
    if 0 < seconds < LEASE_SECONDS_MIN:
        raise Invalid(f"A lease is {LEASE_SECONDS_MIN} to 300 seconds, or 0 for the edge's own.", "Give a longer one.")
    return seconds


def _here(call: Call, reading: Reading, principal: Principal, right: str) -> Repository:
    return judge(reading, principal, call.at["workspace"], call.at["repository"], right)


def _written(principal: Principal, action: str, repository: Repository) -> Decided:
    put = PutRepository(repository)
    return Decided(Draft(repository.workspace, repository.name, principal.id, action, (put,)), repository)


def _name(noun: Workspace) -> str:
    return noun.name


def _names(noun: Repository) -> tuple[str, str]:
    return noun.workspace, noun.name


def _full_name(noun: Repository) -> str:
    return f"{noun.workspace}/{noun.name}"
