"""Who asks for a package, may they, and what do they want? No byte of a package is sent but through here.

The order of a judgement: place → room → principal → verdict → plan.
"""

from collections.abc import Mapping
from typing import cast

from cache.following.relay import RELAYED
from formats.kit.contract import (
    Accept,
    Amend,
    Ask,
    Listed,
    Login,
    Manifest,
    Resume,
    Room,
    Scoped,
)
from gateway.access.clock import latest_ms
from gateway.access.credentials import passes, tickets
from gateway.access.limits.terms import check_terms
from gateway.access.peers import edges, leases
from gateway.access.rights import networks
from gateway.access.rights.permits import Permit
from gateway.access.rights.verdicts import (
    Principal,
    admit,
    check_network,
    identify,
    judge,
    no_repository,
)
from gateway.delivery.messages.heads import Head
from gateway.front.complaints import now_ms
from gateway.front.naming import place_named, plan_named
from gateway.front.peers.peering import asking_of
from gateway.front.reads.admitted import Admitted
from gateway.front.reads.grounds import ground_of, scope_of
from gateway.front.reads.needs import Scope, foreign_set
from gateway.front.routes import OCI, Place, ask_of, check_slashes
from storage.errors import Absent, Problem, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import Edge, Repository

LOGIN_METHODS = ("PUT", "POST")


class Admission:
    """What the judgement of a request rests on, beside the index: the rooms, the countries of addresses, and at an edge
    the lease of its knowledge."""

    def __init__(
        self,
        rooms: Mapping[str, Room],
        lease: leases.Lease | None = None,
        country_of: networks.CountryOf = networks.without_file,
    ) -> None:
        self._rooms = rooms
        self._lease = lease
        self._country_of = country_of

    def admit(self, reading: Reading, head: Head, place: Place) -> Admitted:
        """Who asks, may they, and what do they want? Raises Unauthenticated, Forbidden, Absent, Invalid."""
        at_ms = now_ms()
        principal = who(reading, place, head, at_ms)
        room = self._rooms.get(place.format)
        if room is None:
            judge(reading, principal, place.workspace, place.repository, "read")
            raise Absent(f"There is no format {place.format} here.", f"Known: {', '.join(sorted(self._rooms))}.")
        check_slashes(place, room)
        ask = ask_of(head, place, principal.name if principal.id else "", at_ms)
        right = room.right(ask)
        if head.method in LOGIN_METHODS and not principal.id and (login := _login_of(room, ask)) is not None:
            # its credential is in the body; nothing of the repository is told before that was checked
            scope = Scope(Repository(ask.workspace, ask.repository), (), 0.0)
            return Admitted(ask, room, principal, scope, right, login)
        permit = self.verdict(reading, principal, ask, room, right, head.peer_in(ask.workspace))
        repository = permit.clearance.repository
        plan = room.read(ask)
        if right == "read" and not permit.clearance.whole:
            permit.read(plan, reading.view(ask.workspace, ask.repository, room.name))
        if isinstance(plan, Accept | Amend | Resume):
            scope = Scope(repository, (), 0.0)  # nothing of a write is remembered
        else:
            scope = scope_of(reading, principal, repository, self._lease)
        if isinstance(plan, Manifest | Listed):
            plan = foreign_set(reading.view(ask.workspace, ask.repository, room.name), repository, room, plan)
        return Admitted(ask, room, principal, scope, right, plan, permit)

    def admit_named(self, reading: Reading, head: Head) -> Admitted:
        """As `admit`, for a peer that names a published file as the index does. Raises Absent, Unauthenticated."""
        at_ms = now_ms()
        place = place_named(head)
        room = self._rooms.get(place.format) if place is not None else None
        if place is None or room is None or head.method != "GET" or not asking_of(reading, head).sees(place.workspace):
            raise Absent("There is nothing at this address.")
        principal = who(reading, place, head, at_ms)
        ask = ask_of(head, place, principal.name, at_ms)
        permit = self.verdict(reading, principal, ask, room, "read", head.peer_in(ask.workspace))
        plan = plan_named(ask)
        view = reading.view(ask.workspace, ask.repository, room.name)
        permit.read(plan, view)
        if view.file(plan.package, plan.file) is None:
            raise Absent("No such file was published here.")
        scope = scope_of(reading, principal, permit.clearance.repository, self._lease)
        return Admitted(ask, room, principal, scope, "read", plan, permit)

    def verdict(self, reading: Reading, principal: Principal, ask: Ask, room: Room, right: str, peer: str) -> Permit:
        cleared = admit(reading, principal, ask.workspace, ask.repository, right, room.name)
        repository = cleared.repository
        self.check_network(reading, principal, repository, peer)
        limits = principal.entitlement
        if limits is not None and not repository.public:
            check_terms(limits)
        if principal.only is not None:
            require(principal, cast("Scoped", room).resource(ask), right)
        leases.check(self._lease, repository)
        return Permit(cleared, room)

    def check_network(self, reading: Reading, principal: Principal, repository: Repository, peer: str) -> None:
        """Raises Forbidden. Edges judge their own clients."""
        ground = ground_of(reading, repository)
        if ground.is_ruled and principal.kind != edges.KIND:
            networks.check(repository, ground.workspace, peer, self._country_of)


def who(reading: Reading, place: Place, head: Head, at_ms: int) -> Principal:
    """The principal behind the credential of a request that began at `at_ms`. Passes are known by OCI alone.

    A ticket counts where nothing else is shown.

    An edge with a certificate asks as itself, within the workspaces that it was given; what it hands on for a client
    without a credential is nobody's.

    Raises Unauthenticated, Absent.
    """
    secret = place.secret or head.secret
    ticket = "" if secret or head.key or not head.query else head.argument(tickets.ARGUMENT)
    if head.key:
        edge = check_sight(reading, head, place.workspace)
        if edge is not None and not secret and RELAYED not in head.headers:
            return edges.principal_of(edge)
    if secret and place.format == OCI and passes.is_pass(secret):
        principal = passes.holder(reading, secret, at_ms, latest_ms())
    elif ticket:
        principal = tickets.holder(reading, ticket, head, at_ms, latest_ms())
    else:
        principal = identify(reading, secret, latest_ms())
    check_network(principal, head.peer)
    return principal


def check_sight(reading: Reading, head: Head, workspace: str) -> Edge | None:
    """The edge whose certificate was shown. Raises Absent where it may not see the Workspace, whoever it asks for."""
    if not head.key:
        return None
    edge = edges.living_edge(reading, head.key)
    if not edges.sees(edge, workspace):
        raise no_repository()
    return edge


def require(principal: Principal, resource: str, right: str) -> None:
    """Raises Unauthenticated where a pass is not for this: the client may fetch another, as its refusal says."""
    if principal.only is not None and (resource, right) not in principal.only:
        raise Unauthenticated("The pass is not for this.", "Fetch one with the scope that is named.")


def _login_of(room: Room, ask: Ask) -> Login | None:
    """The plan of a login. What else is to be said of the request is said behind the verdict, as of any other."""
    try:
        plan = room.read(ask)
    except Problem:
        return None
    return plan if isinstance(plan, Login) else None
