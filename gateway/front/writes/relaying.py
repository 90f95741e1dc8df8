"""How does an edge take a write? It hands it to its origin, and answers when its own index shows the result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from cache.following.relay import Relay, Relayed, await_serial, parse_seen
from gateway.delivery.requests.request import Request
from gateway.front.writes.reserving import Refuse
from storage.errors import Unavailable
from storage.index.catalog import Catalog

SERIAL_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.1
LOST_SECONDS_MAX = 2.0
"""What is under way survives a loss that is as short as this; what comes while it lasts is refused at once."""


class Relaying:
    """Writes and API calls at an edge."""

    def __init__(
        self,
        relay: Relay,
        catalog: Catalog,
        lost: Callable[[], bool] = lambda: False,
        synced: Callable[[], bool] = lambda: True,
        refuse: Refuse = lambda place, limit, used, size: None,
    ) -> None:
        """`lost`: the origin was heard before, and is silent now. What is silent would not answer a write either.
        `synced`: this edge shows its origin's own history, and not one that the origin has given up. `refuse`
        is told of an upload that is not sent on, for want of room."""
        self.refuse = refuse
        self._relay = relay
        self._catalog = catalog
        self._lost = lost
        self._synced = synced
        self._asking: set[trio.CancelScope] = set()

    async def run(self) -> None:
        """Give up what is asked of an origin that fell silent meanwhile; until cancelled."""
        lost_s = 0.0
        while True:
            await trio.sleep(LOOK_SECONDS)
            lost_s = lost_s + LOOK_SECONDS if self._lost() else 0.0
            if lost_s >= LOST_SECONDS_MAX:
                for scope in self._asking:
                    scope.cancel()

    async def forward(self, request: Request) -> None:
        """Send the request on and the answer back; read-your-writes holds at this edge when the client is told."""
        request.outcome = "RELAYED"
        if self._lost():
            raise _lost()
        with self._unless_lost():
            answer = await self._asked(request)
        async with answer:
            serial = answer.header("entrepot-serial")
            for one in serial.split(",") if serial else ():  # a move may be told of two workspaces
                await self._caught_up(one)
            stream = await request.start(answer.status, answer.headers, answer.length)
            async for chunk in answer.chunks():
                await stream.write(chunk)
            await stream.finish()

    async def _asked(self, request: Request) -> Relayed:
        head, told = request.head, request.head.told
        client, within = (head.peer, None) if told is None else (told.address, told.listed())
        return await self._relay.forward(
            head.method, head.target, head.headers, head.host, head.length, request.body, client, head.scheme, within
        )

    @contextmanager
    def _unless_lost(self) -> Iterator[None]:
        """What is waited for here ends when the origin falls silent. Raises Unavailable then."""
        with trio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                yield
            finally:
                self._asking.discard(scope)
        if scope.cancelled_caught:
            raise Unavailable(
                "This edge lost its origin while it asked it, and cannot tell whether it was done.",
                "Look whether it was, or repeat the request.",
                retry_after_s=2,
            )

    async def _caught_up(self, serial: str) -> None:
        seen = parse_seen(serial)
        if seen is None:
            return
        with self._unless_lost():
            if await await_serial(self._catalog, *seen, SERIAL_SECONDS_MAX, self._synced):
                return
        raise Unavailable(
            "The origin took this, and this edge has not seen it yet.",
            "It is safe at the origin; repeat the request or wait a moment.",
            retry_after_s=2,
        )


def _lost() -> Unavailable:
    return Unavailable("This edge has lost its origin, and only it can do this.", "Try again.", retry_after_s=2)
