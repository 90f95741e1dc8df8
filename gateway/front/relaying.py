"""How does an edge take a write? It hands it to its origin, and answers when its own index shows the result."""

from collections.abc import Callable

from cache.relay import Relay, await_serial
from gateway.delivery.requests import Request
from storage.errors import Unavailable
from storage.index.catalog import Catalog

SERIAL_SECONDS_MAX = 10.0


class Relaying:
    """Writes and API calls at an edge."""

    def __init__(
        self,
        relay: Relay,
        catalog: Catalog,
        lost: Callable[[], bool] = lambda: False,
        synced: Callable[[], bool] = lambda: True,
    ) -> None:
        """`lost`: the origin was heard before, and is silent now. What is silent would not answer a write either.
        `synced`: this edge shows its origin's own history, and not one that the origin has given up."""
        self._relay = relay
        self._catalog = catalog
        self._lost = lost
        self._synced = synced

    async def forward(self, request: Request) -> None:
        """Send the request on and the answer back; read-your-writes holds at this edge when the client is told."""
        head = request.head
        request.outcome = "RELAYED"
        if self._lost():
            raise Unavailable("This edge has lost its origin, and only it can do this.", "Try again.", retry_after_s=2)
        answer = await self._relay.forward(head.method, head.target, head.headers, head.host, head.length, request.body)
        async with answer:
            serial = answer.header("entrepot-serial")
            if serial:
                await self._caught_up(serial)
            stream = await request.start(answer.status, answer.headers, answer.length)
            async for chunk in answer.chunks():
                await stream.write(chunk)
            await stream.finish()

    async def _caught_up(self, serial: str) -> None:
        workspace, _, number = serial.rpartition("=")
        if not number.isdigit():
            return
        if not await await_serial(self._catalog, workspace, int(number), SERIAL_SECONDS_MAX, self._synced):
            raise Unavailable(
                "The origin took this, and this edge has not seen it yet.",
                "It is safe at the origin; repeat the request or wait a moment.",
                retry_after_s=2,
            )
