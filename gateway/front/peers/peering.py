"""What does a node tell its edges? The journal as it grows, what foreign registries know, and what it has signed.

Only an edge, known by its certificate or a token of kind `edge`, or an administrator of the node, is heard, and within
the workspaces that it was given; to everybody else there is nothing here but the way to enrol. An edge that others
follow through (a shield) hands the origin's own stream on: the origin makes and signs it for the edge that it is for.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec
import trio

from cache.asking.kept import only_kept
from cache.asking.parents import Parents
from cache.following.feed import AFTER_BYTES_MAX, Sealer, parse_after
from cache.following.follower import Connect, Greeting
from cache.following.peer import journal_stream
from cache.following.scope import SCOPE_BYTES, Scope
from cache.foreign.knowledge import ForeignKnowledge
from cache.replication.drawn import NEVER
from cache.replication.drawn import Place as DrawnPlace
from formats.kit.contract import Room
from gateway.access.clock import latest_ms
from gateway.access.limits.tolls import Lender, Return, Wish
from gateway.access.peers import edges, leases
from gateway.access.rights.verdicts import Principal, check_network, identify
from gateway.delivery.connections.connection import Gone
from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from gateway.front.peers.drawn import MEDIA as DRAWN_MEDIA
from gateway.front.peers.drawn import TellingDrawn
from gateway.front.peers.enrolling import Enrolling
from gateway.front.peers.reporting import Hearing
from gateway.front.reads.needs import upstreams_of
from gateway.front.reads.signed import Place, Signed
from gateway.insight.reports import REPORT_BYTES_MAX
from gateway.logs import segments
from gateway.logs.keeping import MARK_BYTES_MAX, SEGMENT_BYTES_MAX, Receiving
from gateway.noticing.refused import Refused
from storage.errors import Absent, Invalid, MethodRefused, Problem, Unauthenticated, Unavailable, UpstreamFailed
from storage.index.catalog import Catalog, Reading
from storage.index.keys import join
from storage.nouns import Edge
from storage.open import Store

_IDENTITY = re.compile("[0-9a-f]{64}")
WISH_BYTES_MAX = 4 << 10
SIZE_MAX = 1 << 62
FOREIGN_MEDIA = "application/vnd.entrepot.foreign+msgpack"
STREAM_MEDIA = (("Content-Type", "application/octet-stream"), ("X-Accel-Buffering", "no"))
"""A proxy in between that gathers bytes makes the origin silent: by the header nginx passes each on at once."""


class Upward(msgspec.Struct, frozen=True):
    """A shield's way to its own parents."""

    parents: Parents
    connect: Connect


class Peering:
    """The /-/peer/ addresses. `sign` is the origin's hand, `upward` a shield's way up; each node has one of the two."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        rooms: dict[str, Room],
        knowledge: ForeignKnowledge,
        sets: Signed,
        enrolling: Enrolling,
        sign: Callable[[bytes], bytes] | None,
        upward: Upward | None,
        lender: Lender,
        receiving: Receiving,
        drawn: TellingDrawn,
        hearing: Hearing,
        lease: leases.Lease | None = None,
    ) -> None:
        """`lease` is an edge's own."""
        self._hearing = hearing
        self._drawn = drawn
        self._lease = lease
        self._receiving = receiving
        self._lender = lender
        self._store = store
        self._catalog = catalog
        self._rooms = rooms
        self._knowledge = knowledge
        self._sets = sets
        self._enrolling = enrolling
        self._sign = sign
        self._upward = upward

    async def handle(self, request: Request) -> None:
        """Serve one peer request. Raises Absent, Unauthenticated, MethodRefused."""
        head = request.head
        if await self._enrolling.handle(request):
            return
        with self._catalog.read() as reading:
            asking = asking_of(reading, head)
            self._check_lease(reading, head, asking)
        request.principal = asking.principal.name
        match head.method, *head.segments[2:]:
            case ("POST", "journal"):
                await self._journal(request)
            case ("GET", "here"):
                await request.reply(204, ())
            case ("POST", "renew"):
                await self._enrolling.renew(request)
            case ("POST", "segment", name):
                body = await request.body.whole(SEGMENT_BYTES_MAX)
                node = self._marked(asking)
                self._check_maker(asking, node, name)
                await trio.to_thread.run_sync(self._receiving.keep, node, name, body)
                await request.reply(204, ())
            case ("POST", "segment-mark", *of) if len(of) < 2:
                body = await request.body.whole(MARK_BYTES_MAX)
                node = self._marked(asking, *of)
                await trio.to_thread.run_sync(self._receiving.mark, node, body)
                await request.reply(204, ())
            case ("POST", "report", *of) if len(of) < 2:
                body = await request.body.whole(REPORT_BYTES_MAX)
                await self._hearing.hear(self._marked(asking, *of), body)
                await request.reply(204, ())
            case ("GET", "foreign", workspace, repository, format) if asking.sees(workspace):
                await self._foreign(request, workspace, repository, format)
            case ("GET", "drawn", workspace, repository) if asking.sees(workspace):
                behind = head.argument("life", NEVER.hex()), head.argument("after", "0")
                body = await self._drawn.tell(asking.principal, DrawnPlace(workspace, repository), *behind)
                await request.reply(200, (("Content-Type", DRAWN_MEDIA),), body)
            case ("POST", "toll" | "toll-back" as what, *of) if len(of) < 2:
                await self._toll(request, what, asking, *of)
            case ("POST", "refused"):
                await self._refused(request, asking)
            case ("GET", "set", workspace, repository, format) if asking.sees(workspace):
                place = Place(workspace, repository, format, head.argument("set"))
                sha256 = head.argument("sha256")
                if sha256 and not _IDENTITY.fullmatch(sha256):
                    raise Absent("There is no such document.")
                await self._sets.tell(request, self._rooms, place, sha256)
            case ("GET", "certificates", workspace, repository) if asking.sees(workspace):
                await self._sets.tell_certificates(request, workspace, repository)
            case (_, "journal") | (_, "foreign", _, _, _) if head.method != "GET" or head.segments[2] == "journal":
                raise MethodRefused("This is not how peers ask.", "POST to the journal, GET what is known elsewhere.")
            case _:
                raise Absent("There is nothing at this address.")

    def _check_lease(self, reading: Reading, head: Head, asking: "_Asking") -> None:
        """What a shield knows of a private Repository it tells while its own leave lasts, and no longer: whoever
        follows through it, or past it, would take it for the origin's present word. Raises Unavailable."""
        match head.segments[2:]:
            case ("foreign" | "drawn" | "set" | "certificates", workspace, name, *_) if asking.sees(workspace):
                repository = reading.repository(workspace, name)
                if repository is not None:
                    leases.check(self._lease, repository)

    def _marked(self, asking: "_Asking", of: str = "") -> str:
        """The node that a mark, a segment or a report is of: who sends it, or an edge behind it. Raises Absent.

        Whoever has a token for some workspaces speaks for itself alone.
        """
        if not of:
            return asking.name or asking.principal.id
        with self._catalog.read() as reading:
            between, behind = reading.edge(asking.name), reading.edge(of)
        if of == segments.OWN or not may_speak_for(asking, between, behind, nameless=False):
            raise Absent("There is no such edge behind this one.")
        return of

    def _check_maker(self, asking: "_Asking", node: str, name: str) -> None:
        """A segment is of its sender, or of who asks a shield: nobody's lines pass as another's. Raises Absent."""
        made = segments.identity(node, name)
        if made is None or made.node == segments.spelt(node):
            return
        with self._catalog.read() as reading:
            between = reading.edge(asking.name)
            behind = next((one for one in reading.edges() if segments.spelt(one.name) == made.node), None)
        if made.node == segments.OWN or not may_speak_for(asking, between, behind, nameless=True):
            raise Absent("There is no such edge behind this one.")

    # ------------------------------------------------------------ the journal

    async def _journal(self, request: Request) -> None:
        body = await request.body.whole(AFTER_BYTES_MAX)
        after = parse_after(body)
        mark, nonce = _hex(request.head, "entrepot-scope"), _hex(request.head, "entrepot-nonce")
        child = request.head.headers.get(edges.CHILD, "")
        scoping = edges.Scoping()
        with self._catalog.read() as reading:
            name = self._scope(reading, request.head, child, scoping).name  # it may follow, or this raises
        if self._upward is not None:
            secret = request.head.secret or ""
            await self._hand_on(request, self._upward, Greeting(after, mark, nonce, "" if secret else name, secret))
            return
        if self._store.journal is None:
            raise Absent("This node keeps no journal.", "Follow the origin.")
        sealer = Sealer(self._sign, nonce, name) if nonce and self._sign is not None else None
        stream = await request.start(200, STREAM_MEDIA, None)

        async def send(data: bytes) -> None:
            if request.draining:
                raise Gone  # the follower comes back by itself, to whoever takes our place
            await stream.write(data)

        def scope_of(reading: Reading) -> Scope | None:
            try:
                return self._scope(reading, request.head, child, scoping)
            except Problem:
                return None

        def ended() -> bool:
            return request.draining or request.disconnected()

        journal = self._store.journal
        await journal_stream(
            self._catalog, journal, after, send, scope_of=scope_of, mark=mark, sealer=sealer, ended=ended
        )

    def _scope(self, reading: Reading, head: Head, child: str, scoping: edges.Scoping) -> Scope:
        """What the follower at the end of this stream may see now. Raises Absent, Unauthenticated."""
        asking = asking_of(reading, head)
        if not child:
            return scoping.of(reading, asking.name, asking.region, asking.workspaces)
        between, behind = reading.edge(asking.name), reading.edge(child)
        if between is None or behind is None or not between.parent or between.region != behind.region:
            raise Absent("There is no such edge behind this one.")
        if behind.revoked_ms or not behind.key:
            raise Unauthenticated("This edge was revoked.")
        mine = edges.workspaces_of(behind)
        if asking.workspaces is not None:
            mine = asking.workspaces if mine is None else mine & asking.workspaces
        return scoping.of(reading, behind.name, behind.region if behind.parent else "", mine)

    async def _hand_on(self, request: Request, upward: Upward, greeting: Greeting) -> None:
        """The stream as a parent of ours makes it. Whoever follows through us hears us fall silent with it."""
        for parent in upward.parents.order():
            try:
                async with upward.connect(parent, greeting) as pieces:
                    first = await anext(pieces, b"")
                    stream = await request.start(200, STREAM_MEDIA, None)
                    await stream.write(first)
                    async for piece in pieces:
                        if request.draining or not self._still_heard(request.head):
                            raise Gone
                        await stream.write(piece)
                    return
            except UpstreamFailed:
                if request.answered:
                    raise Gone from None
        raise Unavailable("No parent of this node is heard.", "Ask another one.", retry_after_s=1)

    def _still_heard(self, head: Head) -> bool:
        with self._catalog.read() as reading:
            try:
                asking_of(reading, head)
            except (Absent, Unauthenticated):
                return False
        return True

    # ------------------------------------------------------------ what is known elsewhere

    async def _toll(self, request: Request, what: str, asking: "_Asking", of: str = "") -> None:
        """Lend an edge what its customers may still fetch, or take back what they did not: no more than it was lent. A
        shield hands it on, and says for whom: `of`."""
        node = self._marked(asking, of)
        if self._upward is not None and not asking.name:  # a token is no name that a parent knows an edge by
            node = ""
        raw = await request.body.whole(WISH_BYTES_MAX)
        try:
            decode = msgspec.msgpack.decode
            said: Wish | Return = decode(raw, type=Wish) if what == "toll" else decode(raw, type=Return)
        except (msgspec.MsgspecError, OverflowError):
            raise Invalid("This is nothing that could be lent or given back.") from None
        with self._catalog.read() as reading:
            token = reading.token_by_id(said.token_id) if said.token_id.isascii() and len(said.token_id) < 100 else None
        if token is None or not all(asking.sees(one.scope.partition("/")[0]) for one in token.grants):
            raise Absent("There is no such token.")
        told: object = None
        if isinstance(said, Wish):
            told = await self._lender.lend(said, node)
        else:
            await self._lender.take_back(said, node)
        await request.reply(200, (("Content-Type", "application/msgpack"),), msgspec.msgpack.encode(told))

    async def _refused(self, request: Request, asking: "_Asking") -> None:
        """An edge refused an upload for want of room. A shield hands it on when it tells of its own."""
        raw = await request.body.whole(WISH_BYTES_MAX)
        try:
            said = msgspec.msgpack.decode(raw, type=Refused)
            join(said.workspace, said.repository)
        except (msgspec.MsgspecError, OverflowError, Invalid):
            raise Invalid("This is nothing that could have been refused.") from None
        if not asking.sees(said.workspace) or not 0 <= said.size < SIZE_MAX:
            raise Absent("There is no such place.")
        self._store.quotas.hear(said.workspace, said.repository, said.size)
        await request.reply(200, (("Content-Type", "application/msgpack"),), msgspec.msgpack.encode(None))

    async def _foreign(self, request: Request, workspace: str, repository: str, format: str) -> None:
        package = request.head.argument("package")
        room = self._rooms.get(format)
        with self._catalog.read() as reading:
            there = reading.repository(workspace, repository)
            if room is None or there is None or not package:
                raise Absent("There is no such package.")
            upstreams = upstreams_of(there, reading.view(workspace, repository, format), room, package)
            since = reading.purged(workspace, repository, format, package)
        at = (workspace, repository, format, package)
        kept = only_kept(request.head.headers)
        foreign = await self._knowledge.of(*at, upstreams, since, only_kept=kept) if upstreams else None
        if foreign is None:
            raise Absent("No upstream knows this package.")
        body = await trio.to_thread.run_sync(partial(msgspec.msgpack.encode, foreign))
        await request.reply(200, (("Content-Type", FOREIGN_MEDIA),), body)


class _Asking(NamedTuple):
    """Who asks, and which workspaces it may see, None = all. `name` and `region` are those of an enrolled edge."""

    principal: Principal
    workspaces: frozenset[str] | None
    name: str = ""
    region: str = ""

    def sees(self, workspace: str) -> bool:
        return self.workspaces is None or workspace in self.workspaces


def may_speak_for(asking: _Asking, between: Edge | None, behind: Edge | None, *, nameless: bool) -> bool:
    """May who asks, the edge `between`, hand on what is of `behind`? A shield may for its region, and where there may
    be `nameless` ones also for an edge that has a token and no name; a token may that is for every workspace."""
    if not asking.name:
        return asking.workspaces is None
    if between is None or not between.parent:
        return False
    return nameless if behind is None else behind.region == between.region


def asking_of(reading: Reading, head: Head) -> _Asking:
    """Raises Absent, Unauthenticated."""
    if head.key and not head.secret:
        edge = edges.living_edge(reading, head.key)
        region = edge.region if edge.parent else ""
        return _Asking(edges.principal_of(edge), edges.workspaces_of(edge), edge.name, region)
    principal = identify(reading, head.secret, latest_ms())
    check_network(principal, head.peer)
    return _Asking(principal, edges.workspaces_of_token(principal))


def _hex(head: Head, name: str) -> bytes:
    """A header of 64 hex digits; b"" without it. Raises Absent for anything else."""
    text = head.headers.get(name, "")
    if text and not (_IDENTITY.fullmatch(text) and len(text) == 2 * SCOPE_BYTES):
        raise Absent("There is nothing at this address.")
    return bytes.fromhex(text)
