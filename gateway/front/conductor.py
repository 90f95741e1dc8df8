"""What happens to a request for a package? Admit, read, decide, act, answer: this file keeps the order.

`look` answers at once from local knowledge, on the delivery loop. `handle` does everything else in a request task.
Both go the same way: place → room → principal → verdict → plan. No byte of a package is sent but through `Admission`.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol, cast

from formats.kit.contract import (
    Accept,
    Amend,
    Borrow,
    Greeting,
    Keyring,
    Listed,
    Login,
    Manifest,
    Reply,
    Resume,
    Room,
    Scoped,
    Serve,
    Show,
)
from gateway.access.clock import latest_ms
from gateway.access.credentials import tickets
from gateway.access.peers import edges
from gateway.access.peers.leases import Lease
from gateway.access.rights.permits import Permit
from gateway.access.rights.verdicts import (
    admit,
    check_network,
    identify,
)
from gateway.delivery.connections.connection import Gone
from gateway.delivery.messages.answers import Answer
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from gateway.front import registry
from gateway.front.admission import Admission, check_sight, require, who
from gateway.front.charging import Charging
from gateway.front.complaints import answer_of, complain, finds_of, headers_of, now_ms, with_signals
from gateway.front.leave import Leave, Subject, stands
from gateway.front.naming import place_named
from gateway.front.nearest import PROBE_SECONDS, Nearest
from gateway.front.peers.peering import Peering
from gateway.front.peers.piecing import KINDS, Piecing
from gateway.front.peers.seeing import Seeing
from gateway.front.peers.vouching import settle
from gateway.front.reads.admitted import Admitted, Looked, about_of, leave_of, logged_as
from gateway.front.reads.pulling import Puller
from gateway.front.reads.reading import Reads, holds, release
from gateway.front.reads.signed import Signed
from gateway.front.reads.streaming import Feed
from gateway.front.routes import OCI, V2, Place, ask_of, host_name, is_the_origins, place_of
from gateway.front.writes.relaying import Relaying
from gateway.front.writes.reserving import foretell
from gateway.front.writes.writing import Writes
from gateway.insight.errorlog import report_bug
from storage.errors import Absent, Full, Problem, Unauthenticated, Unavailable
from storage.index.catalog import Catalog, Reading
from storage.nouns import Host
from storage.spans import note, step

PIECED = tuple((kind,) for kind in KINDS)
LEASE_SECONDS_MIN = 5
"""No repository has a shorter lease; so long, silence ends nothing."""


class Manage(Protocol):
    """Who serves /-/ beyond peers."""

    async def proxy(self, request: Request) -> None: ...


class Front:
    """The conductor; implements gateway.delivery's Handler."""

    def __init__(
        self,
        catalog: Catalog,
        rooms: Mapping[str, Room],
        reads: Reads,
        puller: Puller,
        sets: Signed,
        writes: Writes | None,
        relaying: Relaying | None,
        peering: Peering,
        manage: Manage,
        admission: Admission,
        charging: Charging,
        nearest: Nearest | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._admission = admission
        self._charging = charging
        self._catalog = catalog
        self._rooms = rooms
        self._reads = reads
        self._puller = puller
        self._sets = sets
        self._writes = writes
        self._relaying = relaying
        self._peering = peering
        self._piecing = Piecing(catalog, reads)
        self._manage = manage
        self._nearest = nearest
        self._lease = lease
        self._registry = registry.Registry(catalog)
        self._seeing = Seeing(catalog, lease)

    # ------------------------------------------------------------ the delivery loop's questions

    def moment(self) -> int:
        return self._catalog.moment()

    def holds(self, answer: Answer) -> bool:
        with self._catalog.read() as reading:
            return holds(reading, answer.depends)

    def standing(self) -> tuple[int, int]:
        silent_s = 0.0 if self._lease is None else self._lease.silent_s()
        return self._catalog.moment(), int(silent_s * 10) if silent_s > LEASE_SECONDS_MIN else 0

    def stands(self, leave: object) -> bool:
        if not isinstance(leave, Leave):
            return True
        with self._catalog.read() as reading:
            return stands(reading, self._rooms.get, self._lease, leave.subject)

    def in_use(self, answer: Answer) -> None:
        self._reads.in_use(answer)

    def look(self, head: Head) -> Answer | None:
        """An answer from local knowledge, or None where a request task is needed."""
        if head.segments[0] == "-" or self._asked_again(head):
            return None
        head.looked = place = admitted = None
        try:
            with self._catalog.read() as reading:
                host = reading.host(host_name(head.host))
                place = place_of(head, host)
                if place is None or self._seeing.ahead(reading, head) is not None:
                    return None
                vouched = settle(reading, head, place.workspace)
                admitted = self._admission.admit(reading, head, place)
                answer = self._elsewhere(reading, admitted, head, host) or self._known(reading, admitted, place, head)
                if answer is not None and host is not None and host.redirects:
                    answer.until_s = min(answer.until_s, time.monotonic() + PROBE_SECONDS)  # soon an edge may be well
                if vouched:
                    head.looked = None
                if answer is not None and vouched:
                    answer.until_s = 0.0  # the head alone does not tell that it was an edge who said it
                if answer is None or not self._charging.chargeable(admitted, head, answer):
                    return None
                return self._charging.counted(admitted, head, answer)
        except Problem as problem:
            problem = self._charging.as_counted(head, problem)
            if place is None:
                return None
            answer = answer_of(self._refusal(head, place, self._as_known(problem)), place)
            if admitted is not None:
                answer.principal, answer.about = logged_as(admitted.principal), about_of(admitted)
            return answer

    def _still(self, head: Head) -> Looked | None:
        """What a look at this head came to, where it is still true."""
        looked = head.looked
        if not isinstance(looked, Looked) or not looked.holds(self._catalog.moment(), time.monotonic()):
            return None
        if looked.feed is not None and looked.feed.open:
            return looked
        return None if looked.joined and not self._puller.under_way(looked.need) else looked

    def _asked_again(self, head: Head) -> bool:
        """Was this very head looked at a moment ago, in vain, and what it needs not brought since? So it is with all
        but the first of a crowd."""
        looked = self._still(head)
        if looked is None:
            return False
        if looked.feed is not None and looked.feed.open:
            return True
        looked.joined = self._puller.under_way(looked.need)
        return looked.joined or not looked.taken

    def _elsewhere(self, reading: Reading, admitted: Admitted, head: Head, host: Host | None) -> Answer | None:
        """The way to the nearest edge, for who reads by a global name. Who shows a credential is sent there for files
        alone, with a ticket in its place: what a page names is asked for where the page came from, and tools drop their
        credential on the way (C11, C12). Of images only files are sent for elsewhere: not every client follows where it
        asks for a manifest by its tag or for a list."""
        if host is None or not host.redirects or self._nearest is None:
            return None
        if not isinstance(admitted.plan, Serve | Show | Manifest | Listed | Keyring):
            return None
        if admitted.room.name == OCI and not (isinstance(admitted.plan, Serve) and "/blobs/" in admitted.ask.path):
            return None
        if not admitted.principal.id:
            return self._nearest.answer(head, reading.hosts, host)
        if not isinstance(admitted.plan, Serve) or admitted.principal.kind == edges.KIND or in_path(head):
            return None
        sign = partial(tickets.issue, reading, head, admitted.ask.workspace, now_ms=now_ms())
        return self._nearest.answer(head, reading.hosts, host, sign)

    def _known(self, reading: Reading, admitted: Admitted, place: Place, head: Head) -> Answer | None:
        if isinstance(admitted.plan, Manifest | Listed | Keyring):
            return self._sets.resolve(reading, admitted)
        if not isinstance(admitted.plan, Serve | Show):
            return answer_of(admitted.plan, place) if isinstance(admitted.plan, Reply) else None
        found = self._reads.resolve(reading, admitted.scope, admitted.ask, admitted.room, admitted.plan)
        if isinstance(found, Answer):
            return found
        head.looked = Looked(place, admitted, found, reading.moment())
        return None

    # ------------------------------------------------------------ the request task

    async def handle(self, request: Request) -> None:
        """Answer `request`, whatever it takes; a Problem is told in the client's dialect, a bug as a plain 500."""
        place = None
        try:
            looked = self._still(request.head)
            if looked is not None and looked.feed is not None and looked.feed.open:
                place = looked.place
                await self._join(request, looked, looked.feed)
                return
            await self._seeing.catch_up(request.head)
            with self._catalog.read() as reading:
                place = _place(reading, request.head)
                settle(reading, request.head, place.workspace if place is not None else "")
            if request.head.segments[:1] == ("-",):
                await self._own(request)
            elif registry.is_own(request.head):
                await self._registry.handle(request)
            elif place is None:
                raise Absent("There is nothing at this address.", "Packages are at /workspace/repository/format/.")
            else:
                await self._package(request, place)
        except Gone:
            raise
        except Problem as problem:
            if isinstance(problem, Full):
                self._reads.make_room()
            if request.answered:
                raise Gone from problem  # the body broke off: the client must see that, not a second answer
            request.fields, problem = (), self._charging.as_counted(request.head, problem)
            request.principal = request.principal or self._refused(request.head, place)
            reply = self._refusal(request.head, place, self._as_known(problem))
            await request.reply(reply.status, headers_of(reply), reply.body)
        except Exception as bug:
            report_bug(bug, request.head.method)
            if request.answered:
                raise Gone from bug
            reply = complain(Problem("This node failed to answer.", "The operator finds the reason in its log."))
            await request.reply(reply.status, headers_of(reply), reply.body)

    async def _own(self, request: Request) -> None:
        """Everything under /-/: peers here, the API and pages in the management application."""
        if request.head.key:
            with self._catalog.read() as reading:
                edges.living_edge(reading, request.head.key)
        if request.head.segments[:2] == ("-", "peer") and request.head.segments[2:3] in PIECED:
            await self._piecing.handle(request, self._admission.admit, self._admission.admit_named)
        elif place_named(request.head) is not None:
            await self._named(request)
        elif request.head.segments[:2] == ("-", "peer"):
            await self._peering.handle(request)
        elif self._relaying is not None and is_the_origins(request.head):
            await self._relaying.forward(request)
        else:
            await self._manage.proxy(request)

    async def _named(self, request: Request) -> None:
        """A peer fetches a file by its name in the index, to hold it."""
        with step("authorise"), self._catalog.read() as reading:
            admitted = self._admission.admit_named(reading, request.head)
        request.repository = f"{admitted.ask.workspace}/{admitted.ask.repository}"
        request.principal = logged_as(admitted.principal)
        request.leave = leave_of(admitted)
        await self._puller.answer(request, admitted)

    async def _join(self, request: Request, looked: Looked, feed: Feed) -> None:
        """One of a crowd: the very head was judged at this moment, and what it asks for is under way."""
        place, admitted = looked.place, looked.admitted
        request.repository = f"{place.workspace}/{place.repository}"
        request.fields = self._charging.spend(admitted.principal, request.head.peer, place.workspace)
        request.principal = logged_as(admitted.principal)
        self._charging.charge(request, admitted)
        await self._puller.join(request, feed)

    async def _package(self, request: Request, place: Place) -> None:
        request.repository = f"{place.workspace}/{place.repository}"
        looked = self._still(request.head)
        with step("authorise"):
            if looked is not None:
                admitted, looked.taken = looked.admitted, True
            else:
                with self._catalog.read() as reading:
                    admitted = self._admission.admit(reading, request.head, place)
            note("entrepot.right", admitted.right)
        request.fields = self._charging.spend(admitted.principal, request.head.peer, place.workspace)
        request.principal, request.about = logged_as(admitted.principal), about_of(admitted)
        request.leave = leave_of(admitted)
        plan = admitted.plan
        if isinstance(plan, Reply):
            await request.reply(plan.status, headers_of(plan), plan.body)
        elif isinstance(plan, Serve | Show):
            self._charging.charge(request, admitted)
            await self._puller.answer(request, admitted, looked)
        elif isinstance(plan, Manifest | Listed | Keyring):
            await self._sets.answer(request, admitted)
        elif isinstance(plan, Login):
            await self._login(request, admitted)
        elif isinstance(plan, Amend) and admitted.right == "read":
            await self._question(request, admitted, plan)
        elif self._relaying is not None:
            if isinstance(plan, Accept):
                with self._catalog.read() as reading:
                    foretell(
                        reading, place.workspace, place.repository, plan.body, request.head.length,
                        self._relaying.refuse,
                    )  # fmt: skip
            await self._relaying.forward(request)
        elif self._writes is not None:
            await self._write(self._writes, request, place, admitted, plan)

    async def _write(
        self, writes: Writes, request: Request, place: Place, admitted: Admitted, plan: Accept | Amend | Resume | Borrow
    ) -> None:
        ask, room = admitted.ask, admitted.room

        def still_allowed(reading: Reading) -> Permit:
            """The body may have taken hours: the credential itself is looked at again, not what it once was."""
            principal = who(reading, place, request.head, ask.at_ms)
            return self._admission.verdict(
                reading, principal, ask, room, admitted.right, request.head.peer_in(ask.workspace)
            )

        def may_borrow(reading: Reading, plan: Borrow) -> None:
            principal, peer = who(reading, place, request.head, ask.at_ms), request.head.peer_in(plan.workspace)
            check_sight(reading, request.head, plan.workspace)
            check_network(principal, peer)
            cleared = admit(reading, principal, plan.workspace, plan.repository, "read", room.name)
            self._admission.check_network(reading, principal, cleared.repository, peer)
            source = reading.view(plan.workspace, plan.repository, room.name)
            Permit(cleared, room).may_read_file(plan.package, plan.file, source)
            release(reading, Subject(plan.workspace, plan.repository, "", room.name, plan.package))
            require(principal, cast("Scoped", room).borrowed(plan), "read")

        done = await writes.perform(request, ask, room, admitted.principal.id, plan, still_allowed, may_borrow)
        request.about = (ask.format, *done.about) if done.about else request.about
        await request.reply(done.reply.status, [*headers_of(done.reply), *done.headers], done.reply.body)

    async def _question(self, request: Request, admitted: Admitted, plan: Amend) -> None:
        """A POST that only reads (an audit, a query): decide over the local view, nothing is written."""
        body = await request.body.whole(plan.bytes_max)
        with self._catalog.read() as reading:
            ask, room = admitted.ask, admitted.room
            self._admission.verdict(
                reading, admitted.principal, ask, room, admitted.right, request.head.peer_in(ask.workspace)
            ).reads_all()
            view = reading.view(admitted.ask.workspace, admitted.ask.repository, admitted.room.name)
            decision = admitted.room.decide(admitted.ask, finds_of(body, plan), view)
        assert not decision.changes, "a read right never leads to a change"
        await request.reply(decision.reply.status, headers_of(decision.reply), decision.reply.body)

    async def _login(self, request: Request, admitted: Admitted) -> None:
        assert isinstance(admitted.plan, Login)
        body = await request.body.whole(admitted.plan.bytes_max)
        secret = cast("Greeting", admitted.room).credential(admitted.ask, body)
        with self._catalog.read() as reading:
            principal = identify(reading, secret, latest_ms())
        reply = cast("Greeting", admitted.room).greet(admitted.ask, body, principal.name, secret)
        await request.reply(reply.status, headers_of(reply), reply.body)

    # ------------------------------------------------------------ admission

    def _as_known(self, problem: Problem) -> Problem:
        """An edge that has not caught up once cannot say that a thing is absent, or a token unknown."""
        if self._lease is None or self._lease.synced() or not isinstance(problem, Absent | Unauthenticated):
            return problem
        return Unavailable("This edge is still learning what its origin holds.", "Try again.", retry_after_s=1)

    def _refused(self, head: Head, place: Place | None) -> str:
        """Who was refused a package, to the client log; "" = nobody that is let in anywhere."""
        with suppress(Problem), self._catalog.read() as reading:
            return logged_as(who(reading, place, head, now_ms())) if place is not None else ""
        return ""

    def _refusal(self, head: Head, place: Place | None, problem: Problem) -> Reply:
        """The refusal in the format's own dialect where one is known."""
        room = self._rooms.get(place.format) if place is not None else None
        if place is None and head.segments[0] == V2:
            return registry.refusal(head, problem)
        if place is None or room is None:
            return complain(problem)
        return with_signals(room.refuse(ask_of(head, place, "", now_ms()), problem), problem)


def in_path(head: Head) -> bool:
    """Is a credential part of the path itself? Then no Location may hold that path."""
    return head.segments[0] == "t"


def _place(reading: Reading, head: Head) -> Place | None:
    return place_of(head, reading.host(host_name(head.host)))
