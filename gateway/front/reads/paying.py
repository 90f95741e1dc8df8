"""Where does a worker get the slices from that its customers' downloads are charged to? From the ledger on its disk
where it is an origin, else from its origin, through whichever parent is there.

A wish and a return are told once: an answer that got lost costs the customer a slice, and never gives one twice.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from cache.following.relay import Relay, SmallBody
from gateway.access.limits.tolls import Ledger, Lender, Lending, Lent, Return, Tolls, Used, Wish
from gateway.noticing.refused import Refused
from storage.errors import Unavailable, UpstreamFailed
from storage.index.catalog import Catalog
from storage.nouns import Token

FOLDER = "tolls"
TOLD_BYTES_MAX = 4 << 10


class FromParent:
    """An edge's way: implements gateway.access.limits.tolls.Lender."""

    def __init__(self, relay: Relay, token: str) -> None:
        self._relay = relay
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def lend(self, wish: Wish, to: str = "") -> Lent:
        return await self._told(_for("toll", to), wish, Lent)

    async def take_back(self, back: Return, of: str = "") -> None:
        await self._told(_for("toll-back", of), back, type(None))

    async def refused(self, said: Refused) -> None:
        """Tell the origin of an upload that had no room. Raises Unavailable."""
        await self._told(b"/-/peer/refused", said, type(None))

    async def _told[T](self, target: bytes, said: object, shape: type[T]) -> T:
        body = msgspec.msgpack.encode(said)
        raw = bytearray()
        try:
            sending = self._relay.forward("POST", target, self._headers, "", len(body), SmallBody(body))
            async with await sending as answer:
                async for chunk in answer.chunks():
                    raw += chunk
                    if len(raw) > TOLD_BYTES_MAX:
                        break
                if answer.status == 200:
                    return msgspec.msgpack.decode(raw, type=shape)
        except (UpstreamFailed, msgspec.MsgspecError):
            pass
        raise Unavailable(
            "This token has limits, and the origin that counts them cannot be asked.", "Try again.", retry_after_s=5
        )


class Paying:
    """One worker's. `relay` is an edge's way to its origin."""

    def __init__(
        self, root: Path, catalog: Catalog, now_ms: Callable[[], int], relay: Relay | None, token: str
    ) -> None:
        self._now_ms = now_ms
        self.ledger = Ledger(root / FOLDER) if relay is None else None
        self.from_parent = FromParent(relay, token) if relay is not None else None
        self.lender: Lender
        if self.from_parent is not None:
            self.lender = self.from_parent
        else:
            assert self.ledger is not None
            self.lender = Lending(self.ledger, lambda id: _token(catalog, id), now_ms)
        self.tolls = Tolls(self.lender)

    async def used(self, token: Token) -> Used:
        """What a token has used; an origin's to tell."""
        assert self.ledger is not None
        return await trio.to_thread.run_sync(self.ledger.used, token, self._now_ms())

    def close(self) -> None:
        """After the last download."""
        if self.ledger is not None:
            self.ledger.close()


def _for(what: str, node: str) -> bytes:
    """Where a parent is asked, for a node behind this one or ("") for this one."""
    return f"/-/peer/{what}{f'/{node}' if node else ''}".encode()


def _token(catalog: Catalog, id: str) -> Token | None:
    with catalog.read() as reading:
        return reading.token_by_id(id)
