"""How are edges invited, shown, changed and revoked?

The code of an invitation is in the answer that made it, and never anywhere again. A change of an edge's workspaces
takes effect on its stream at once: what is taken away is forgotten there, what is given is sent. With each goes what it
last said of itself, which the origin alone hears.
"""

import msgspec
import trio

from gateway.access.names import slug
from gateway.access.peers.authority import fingerprint
from gateway.access.peers.edges import mint_code
from gateway.access.rights.grants import EVERYWHERE
from gateway.access.rights.verdicts import Principal
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import NODE_ADMIN
from gateway.console.nodes import replies
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import EditEdge, NewEdge
from storage.commit import Decided
from storage.errors import Absent, Conflict, Invalid, Unavailable
from storage.index.catalog import Reading
from storage.nouns import SYSTEM, Draft, Edge, PutEdge

ROUTES = Routes("/-/api/v1")


@ROUTES.add("GET", "/edges", NODE_ADMIN, ("after", "limit"), gives=Page[replies.Edge])
async def list_edges(call: Call) -> Reply:
    after, limit, now_ms = call.argument("after"), call.limit(), call.services.now_ms()
    with call.read() as reading:
        found = [one for one in reading.edges() if one.name > after]
    return Reply(200, shown.page(found, limit, _name, lambda one: _shown(call, one, now_ms)))


@ROUTES.add("POST", "/edges", NODE_ADMIN, takes=NewEdge, gives=replies.InvitedEdge, status=201)
async def invite_edge(call: Call) -> Reply:
    body = await call.body(NewEdge)
    name, region = slug(body.name, "An edge"), slug(body.region, "A region")
    if call.services.authority is None:
        raise Unavailable("Only the origin invites edges.", "Send this to the origin.", retry_after_s=5)
    certificate = await trio.to_thread.run_sync(call.services.authority.certificate)
    code, hash = mint_code(fingerprint(certificate))
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = reading.edge(name)
        if before is not None and before.key and not before.revoked_ms:
            raise Conflict(
                "There is an edge of this name already.",
                f"Choose another name, or revoke that one first: entrepot edge revoke {name}.",
            )
        made = Edge(
            name,
            region,
            _workspaces(reading, body.workspaces),
            body.parent,
            now_ms,
            hash,
            now_ms + body.expires_s * 1000,
        )
        return _written(principal, "edge.invite", made)

    return await call.conclude(SYSTEM, decide, lambda edge: Reply(201, {"code": code} | _shown(call, edge, now_ms)))


def show_known(call: Call, reading: Reading) -> shown.Shown:
    """What the journal has of it: its ETag does not move with what the edge says every few seconds."""
    return shown.edge(_here(reading, call.at["name"]), call.services.now_ms())


@ROUTES.add("GET", "/edges/<name>", NODE_ADMIN, gives=replies.Edge, shows=show_known)
async def show_edge(call: Call) -> Reply:
    with call.read() as reading:
        edge = _here(reading, call.at["name"])
    return Reply(200, _shown(call, edge, call.services.now_ms()))


@ROUTES.add("PATCH", "/edges/<name>", NODE_ADMIN, takes=EditEdge, gives=replies.Edge)
async def edit_edge(call: Call) -> Reply:
    body = await call.body(EditEdge)

    def decide(reading: Reading, principal: Principal) -> Decided:
        before = _here(reading, call.at["name"])
        after = msgspec.structs.replace(before, workspaces=_workspaces(reading, body.workspaces))
        return Decided(None, before) if after == before else _written(principal, "edge.change", after)

    return await call.conclude(SYSTEM, decide, lambda edge: Reply(200, _shown(call, edge, call.services.now_ms())))


@ROUTES.add("DELETE", "/edges/<name>", NODE_ADMIN, gives=replies.Edge)
async def revoke_edge(call: Call) -> Reply:
    now_ms = call.services.now_ms()

    def decide(reading: Reading, principal: Principal) -> Decided:
        edge = _here(reading, call.at["name"])
        if edge.revoked_ms:
            return Decided(None, edge)
        revoked = msgspec.structs.replace(edge, revoked_ms=now_ms, code=b"", code_expires_ms=0)
        return _written(principal, "edge.revoke", revoked)

    return await call.conclude(SYSTEM, decide, lambda edge: Reply(200, _shown(call, edge, now_ms)))


def _workspaces(reading: Reading, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The workspaces an edge is given: those that are there, each once; none named = all. Raises Invalid."""
    names = tuple(sorted(set(asked))) or (EVERYWHERE,)
    if EVERYWHERE in names:
        return (EVERYWHERE,)
    if missing := [one for one in names if reading.workspace(one) is None]:
        raise Invalid(f"There is no workspace {missing[0]}.", "Make it first: entrepot workspace create.")
    return names


def _here(reading: Reading, name: str) -> Edge:
    edge = reading.edge(slug(name, "An edge"))
    if edge is None:
        raise Absent("There is no such edge.", "List them with: entrepot edge list.")
    return edge


def _written(principal: Principal, action: str, edge: Edge) -> Decided:
    return Decided(Draft(SYSTEM, "", principal.id, action, (PutEdge(edge),)), edge)


def _shown(call: Call, edge: Edge, now_ms: int) -> shown.Shown:
    """With what it last said of itself; one that may not follow any more says nothing."""
    reports = call.services.reports
    said = reports.of(edge.name) if reports is not None and edge.key and not edge.revoked_ms else None
    return shown.edge(edge, now_ms) | {"report": shown.report(said, now_ms)}


def _name(edge: Edge) -> str:
    return edge.name
