"""How does a machine become an edge? With a code that is good once, it gets a certificate for a key of its own.

The key never leaves the edge; the code is known here by its hash alone, good for a short time, and used up by the entry
that enrols. The origin alone can sign; once enrolled, an edge may follow through others.
"""

from typing import Protocol

import msgspec
import trio

from gateway.access.peers.authority import Authority
from gateway.access.peers.edges import code_hash, living_edge
from gateway.delivery.requests.request import Request
from gateway.front.complaints import now_ms
from storage.commit import Committer, Decided
from storage.errors import Absent, Forbidden, Invalid, Unauthenticated
from storage.index.catalog import Catalog, Reading
from storage.nouns import SYSTEM, Draft, Edge, PutEdge

BODY_BYTES_MAX = 16 << 10
PEM_MEDIA = (("Content-Type", "application/x-pem-file"), ("Cache-Control", "no-store"))
JSON_MEDIA = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a machine sends: its code ("" to renew), and a signing request (PEM)."""

    request: str
    code: str = ""

    def __repr__(self) -> str:
        return "Asked(hidden)"


class Enrolled(msgspec.Struct, frozen=True):
    """What it gets."""

    name: str
    region: str
    parent: bool
    certificate: str


class Enrolling(Protocol):
    """The questions of machines that are to become edges, or go on being one."""

    async def handle(self, request: Request) -> bool:
        """Serve what needs no certificate yet; False = something else was asked. Raises Problem."""
        ...

    async def renew(self, request: Request) -> None:
        """A fresh certificate for the key of the old one. Raises Problem."""
        ...


class AtOrigin:
    """Implements Enrolling where the authority is."""

    def __init__(self, catalog: Catalog, committer: Committer, authority: Authority) -> None:
        self._catalog = catalog
        self._committer = committer
        self._authority = authority

    async def handle(self, request: Request) -> bool:
        """See Enrolling."""
        match request.head.method, *request.head.segments[2:]:
            case ("GET", "authority"):
                certificate = await trio.to_thread.run_sync(self._authority.certificate)
                await request.reply(200, PEM_MEDIA, certificate.encode())
            case ("POST", "enrol"):
                await self._enrol(request)
            case _:
                return False
        return True

    async def _enrol(self, request: Request) -> None:
        asked = await _asked(request)
        if request.head.scheme != "https":
            raise Forbidden("An edge enrols over TLS alone.", "Use the address of the listener for peers.")
        hash, at_ms = code_hash(asked.code), now_ms()
        with self._catalog.read() as reading:
            invited = _invited(reading, hash, at_ms)
        sign = self._authority.enrolled
        certificate, key = await trio.to_thread.run_sync(
            lambda: sign(asked.request, invited.name, parent=invited.parent)
        )

        def decide(reading: Reading) -> Decided:
            edge = _invited(reading, hash, at_ms)
            if edge != invited:
                raise Invalid("The invitation was changed meanwhile.", "Enrol again.")
            if reading.edge_by_key(key) is not None:
                raise Invalid("Another edge has this key.", "Make a fresh one: remove the edge's peers directory.")
            made = msgspec.structs.replace(edge, code=b"", code_expires_ms=0, key=key, enrolled_ms=at_ms)
            return Decided(Draft(SYSTEM, "", f"edge:{edge.name}", "edge.enrol", (PutEdge(made),)), made)

        edge: Edge = (await self._committer.commit(decide)).value
        await _told(request, edge, certificate)

    async def renew(self, request: Request) -> None:
        """See Enrolling."""
        asked = await _asked(request)
        with self._catalog.read() as reading:
            edge = living_edge(reading, request.head.key)
        sign = self._authority.enrolled
        certificate, key = await trio.to_thread.run_sync(lambda: sign(asked.request, edge.name, parent=edge.parent))
        if key != edge.key:
            raise Invalid("A certificate is renewed for the key that it is for.", "Invite the edge anew.")
        await _told(request, edge, certificate)


class AtEdge:
    """Implements Enrolling at a node that cannot sign: it says where to go."""

    def __init__(self, authority: str) -> None:
        self._authority = authority

    async def handle(self, request: Request) -> bool:
        """See Enrolling."""
        match request.head.method, *request.head.segments[2:]:
            case ("GET", "authority") if self._authority:
                await request.reply(200, PEM_MEDIA, self._authority.encode())
            case ("POST", "enrol"):
                raise Absent(
                    "An edge enrols at the origin.", "Name the origin's listener for peers as the first parent."
                )
            case _:
                return False
        return True

    async def renew(self, request: Request) -> None:
        """See Enrolling."""
        raise Absent("A certificate is renewed at the origin.")


async def _asked(request: Request) -> Asked:
    try:
        return msgspec.json.decode(await request.body.whole(BODY_BYTES_MAX), type=Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Invalid("This is not how an edge enrols.", "Use: entrepot serve --role edge --enrol CODE.") from None


async def _told(request: Request, edge: Edge, certificate: str) -> None:
    told = Enrolled(edge.name, edge.region, edge.parent, certificate)
    await request.reply(200, JSON_MEDIA, msgspec.json.encode(told))


def _invited(reading: Reading, hash: bytes, at_ms: int) -> Edge:
    """The edge that the code was made for. Raises Unauthenticated, one sentence for every reason."""
    for edge in reading.edges():
        if edge.code == hash and edge.code_expires_ms > at_ms and not edge.revoked_ms and not edge.key:
            return edge
    raise Unauthenticated("This code is not good: mistyped, used, or too old.", "Make one: entrepot edge invite.")
