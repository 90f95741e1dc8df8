"""How does an edge hand a request to its origin and the answer back, without keeping either?"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import httpx2
import trio

from storage.catalog import Catalog
from storage.errors import Unavailable

PIECE_BYTES = 256 << 10
LOOK_SECONDS = 0.002
ANSWER_SECONDS_MAX = 300.0
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "expect", "host", "content-length", "date")
)  # fmt: skip


class Readable(Protocol):
    """A request body as it arrives."""

    async def read(self, mv: memoryview) -> int: ...


class Relayed:
    """The origin's answer; `async with` it."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = [pair for pair in response.headers.multi_items() if pair[0].lower() not in HOP_BY_HOP]
        length = response.headers.get("content-length")
        self.length = int(length) if length is not None else None

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it was sent."""
        async for chunk in self._response.aiter_raw():
            yield chunk

    async def __aenter__(self) -> "Relayed":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._response.aclose()


class Relay:
    """The way to one parent. Connections are kept shorter than the parent keeps them."""

    def __init__(self, parent: str) -> None:
        self._parent = parent.rstrip("/")
        self._client = httpx2.AsyncClient(
            trust_env=False,
            timeout=httpx2.Timeout(ANSWER_SECONDS_MAX, connect=5.0),
            limits=httpx2.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=20.0),
        )

    async def forward(
        self, method: str, target: bytes, headers: Mapping[str, str], host: str, length: int, body: Readable
    ) -> Relayed:
        """Send a request on, with the client's own credential. Raises Unavailable where the origin is not reached."""
        passed = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
        passed["host"] = host
        if length >= 0:
            passed["content-length"] = str(length)
        content = None if length == 0 else _pieces(body)
        url = f"{self._parent}{target.decode('ascii')}"
        request = self._client.build_request(method, url, headers=passed, content=content)
        try:
            return Relayed(await self._client.send(request, stream=True))
        except httpx2.HTTPError as error:
            raise Unavailable(
                "The origin cannot be reached, and only it can do this.", "Try again in a moment.", retry_after_s=2
            ) from error


async def _pieces(body: Readable) -> AsyncIterator[bytes]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    while n := await body.read(buffer):
        yield bytes(buffer[:n])


async def await_serial(catalog: Catalog, workspace: str, serial: int, seconds: float) -> bool:
    """Has the own index passed this Serial, now or within `seconds`?"""
    with trio.move_on_after(seconds):
        while True:
            with catalog.read() as reading:
                if reading.serial(workspace) >= serial:
                    return True
            await trio.sleep(LOOK_SECONDS)
    return False
