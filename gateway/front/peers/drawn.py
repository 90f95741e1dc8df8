"""Which foreign files does a node tell its edges of? Those that anybody drew through it, while it keeps their bytes.

    GET /-/peer/drawn/WORKSPACE/REPOSITORY?life=HEX&after=NUMBER

An origin answers from its own rows; a shield hands the question on, since the origin alone hears of all. Who may read
some packages of a Repository alone hears of those (F5).
"""

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote

import msgspec
import trio

from cache.asking.upstream import Fetched
from cache.replication.drawn import NEVER, Drawn, Place, Row, Told
from formats.kit.contract import Room
from gateway.access.rights.permits import Permit
from gateway.access.rights.verdicts import Principal, admit
from gateway.front.peers.mirroring import request_of
from storage.errors import Absent, Forbidden, UpstreamFailed
from storage.index.catalog import Catalog, Reading

MEDIA = "application/vnd.entrepot.drawn+msgpack"
TOLD_BYTES_MAX = 32 << 20


class Fetch(Protocol):
    """How a parent is asked (cache.asking.upstream.Remote.fetch_document)."""

    def __call__(
        self, url: str, headers: Mapping[str, str] | None = None, *, bytes_max: int, private_network: bool
    ) -> Fetched: ...


def ask_parent(fetch: Fetch, parent: str, token: str) -> Callable[[Place, bytes, int], Told]:
    """The question to a parent. Blocking; raises Absent, UpstreamFailed."""

    def ask(place: Place, life: bytes, after: int) -> Told:
        path = "/".join(quote(one, safe="") for one in place)
        url = f"{parent.rstrip('/')}/-/peer/drawn/{path}?life={life.hex()}&after={after}"
        headers = {"authorization": f"Bearer {token}"} if token else {}
        told = fetch(url, headers, bytes_max=TOLD_BYTES_MAX, private_network=True)
        if told.status == 404:
            raise Absent("The parent tells nothing of this repository.")
        if told.status != 200:
            raise UpstreamFailed(f"The parent answered {told.status} when it was asked what was drawn.", "Try again.")
        try:
            return msgspec.msgpack.decode(told.body, type=Told)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed("The parent's answer of what was drawn makes no sense.") from error

    return ask


class TellingDrawn:
    """`upward` asks this node's own parent; None at an origin."""

    def __init__(
        self,
        catalog: Catalog,
        rooms: Mapping[str, Room],
        drawn: Drawn,
        here: Callable[[bytes], bool],
        now_ms: Callable[[], int],
        upward: Callable[[Place, bytes, int], Told] | None,
    ) -> None:
        self._catalog = catalog
        self._rooms = rooms
        self._drawn = drawn
        self._here = here
        self._now_ms = now_ms
        self._upward = upward

    async def tell(self, principal: Principal, place: Place, life: str, after: str) -> bytes:
        """The body of an answer. Raises Absent, Unauthenticated, Forbidden, UpstreamFailed."""
        if not (after.isascii() and after.isdigit() and len(after) < 19) or len(life) != 2 * len(NEVER):
            raise Absent("There is nothing at this address.")
        try:
            behind = bytes.fromhex(life), int(after)
        except ValueError:
            raise Absent("There is nothing at this address.") from None
        with self._catalog.read() as reading:
            admit(reading, principal, *place, "read")
        return await trio.to_thread.run_sync(self._told, principal, place, *behind)

    def _told(self, principal: Principal, place: Place, life: bytes, after: int) -> bytes:
        if self._upward is not None:
            told = self._upward(place, life, after)
        else:
            told = self._drawn.tell(place, life, after, self._now_ms(), self._here)
        with self._catalog.read() as reading:
            rows = tuple(one for one in told.rows if self._may_hear(reading, principal, place, one))
        return msgspec.msgpack.encode(msgspec.structs.replace(told, rows=rows))

    def _may_hear(self, reading: Reading, principal: Principal, place: Place, row: Row) -> bool:
        try:
            cleared = admit(reading, principal, *place, "read", row.format)
            if cleared.whole:
                return True
            request = request_of(self._rooms, place, row)
            if request is None:
                return False
            Permit(cleared, request.room).may_read(request.package)
        except (Absent, Forbidden):
            return False
        return True
