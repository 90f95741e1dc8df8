"""What does an origin tell its edges? The journal as it grows, what foreign registries know, and what it has signed.

Only a principal of kind `edge`, or an administrator of the node, is heard; to everybody else there is nothing here.
"""

import re

import msgspec
import trio

from cache.feed import AFTER_BYTES_MAX, parse_after
from cache.foreign import ForeignKnowledge
from cache.peer import journal_stream
from formats.kit.contract import Room
from gateway.access.verdicts import Principal, identify, on_node
from gateway.delivery.connections import Gone
from gateway.delivery.requests import Request
from gateway.front.complaints import now_ms
from gateway.front.reading import upstreams_of
from gateway.indexes.generations import Place
from gateway.indexes.sets import Sets
from storage.catalog import Catalog
from storage.errors import Absent, MethodRefused
from storage.open import Store

_IDENTITY = re.compile("[0-9a-f]{64}")
FOREIGN_MEDIA = "application/vnd.entrepot.foreign+msgpack"


class Peering:
    """The /-/peer/ addresses."""

    def __init__(
        self, store: Store, catalog: Catalog, rooms: dict[str, Room], knowledge: ForeignKnowledge, sets: Sets
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._rooms = rooms
        self._knowledge = knowledge
        self._sets = sets

    async def handle(self, request: Request) -> None:
        """Serve one peer request. Raises Absent, Unauthenticated, MethodRefused."""
        head = request.head
        with self._catalog.read() as reading:
            principal = identify(reading, head.secret, now_ms())
        if not is_peer(principal):
            raise Absent("There is nothing at this address.")
        request.principal = principal.name
        match head.method, *head.segments[2:]:
            case ("POST", "journal"):
                await self._journal(request)
            case ("GET", "foreign", workspace, repository, format):
                await self._foreign(request, workspace, repository, format)
            case ("GET", "set", workspace, repository, format):
                place = Place(workspace, repository, format, head.argument("set"))
                sha256 = head.argument("sha256")
                if sha256 and not _IDENTITY.fullmatch(sha256):
                    raise Absent("There is no such document.")
                await self._sets.tell(request, self._rooms, place, sha256)
            case ("GET", "certificates", workspace, repository):
                await self._sets.tell_certificates(request, workspace, repository)
            case (_, "journal") | (_, "foreign", _, _, _):
                raise MethodRefused("This is not how peers ask.", "POST to the journal, GET what is known elsewhere.")
            case _:
                raise Absent("There is nothing at this address.")

    async def _journal(self, request: Request) -> None:
        if self._store.journal is None:
            raise Absent("This node keeps no journal.", "Follow the origin.")
        after = parse_after(await request.body.whole(AFTER_BYTES_MAX))
        stream = await request.start(200, (("Content-Type", "application/octet-stream"),), None)

        async def send(data: bytes) -> None:
            if request.draining:
                raise Gone  # the follower comes back by itself, to whoever takes our place
            await stream.write(data)

        await journal_stream(self._catalog, self._store.journal, after, send)

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
        foreign = await self._knowledge.of(*at, upstreams, since) if upstreams else None
        if foreign is None:
            raise Absent("No upstream knows this package.")
        body = await trio.to_thread.run_sync(msgspec.msgpack.encode, foreign)
        await request.reply(200, (("Content-Type", FOREIGN_MEDIA),), body)


def is_peer(principal: Principal) -> bool:
    """May this principal follow the whole node?"""
    return principal.kind == "edge" or on_node(principal, "admin")
