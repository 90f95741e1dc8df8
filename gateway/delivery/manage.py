"""How does the management application get its requests? By the strict front, over a unix socket, one a connection.

hypercorn serves the application through its public API alone; it never sees a client's bytes, only a head that was
parsed strictly here and written anew. What it is told of the client stands in headers that clients cannot send.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework

from gateway.delivery.requests import Request
from storage.errors import Unavailable

BODY_BYTES_MAX = 1 << 20
READ_BYTES = 64 << 10
_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length", "host",
     "proxy-connection")
)  # fmt: skip
TRUSTED_PREFIX = "x-entrepot-"


class Management:
    """The application behind `/-/`."""

    def __init__(self, app: ASGIFramework, socket_path: Path) -> None:
        self._app = app
        self._path = socket_path

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        self._path.unlink(missing_ok=True)
        config = Config()
        config.bind = [f"unix:{self._path}"]
        config.umask = 0o077
        config.accesslog = None
        config.errorlog = None
        config.max_app_queue_size = 64
        old = os.umask(0o077)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(_serve, self._app, config)
                task_status.started()
        finally:
            os.umask(old)
            self._path.unlink(missing_ok=True)

    async def proxy(self, request: Request) -> None:
        """Hand one request on and its answer back. Raises TooLarge, Unavailable."""
        body = await request.body.whole(BODY_BYTES_MAX)
        try:
            stream = await trio.open_unix_socket(str(self._path))
        except OSError:
            raise Unavailable("The management interface is starting.", "Try again.", retry_after_s=1) from None
        async with stream:
            await _exchange(stream, request, body)


async def _serve(
    app: ASGIFramework, config: Config, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    await serve(app, config, task_status=task_status, shutdown_trigger=trio.sleep_forever, mode="asgi")


async def _exchange(stream: trio.SocketStream, request: Request, body: bytes) -> None:
    connection = h11.Connection(h11.CLIENT)
    head = request.head
    headers = [(name, value) for name, value in head.headers.items() if _passes(name)]
    headers += [("host", head.host or "localhost"), ("connection", "close"), ("content-length", str(len(body)))]
    headers += [("x-entrepot-peer", head.peer), ("x-entrepot-scheme", head.scheme)]
    asked = h11.Request(method=head.method, target=head.target, headers=headers)
    data = (connection.send(asked) or b"") + (connection.send(h11.Data(data=body)) or b"" if body else b"")
    await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
    events = _events(connection, stream)
    answer = await anext(events)
    assert isinstance(answer, h11.Response)
    kept = [(name.decode(), value.decode("latin-1")) for name, value in answer.headers]
    length = next((int(value) for name, value in kept if name == "content-length"), None)
    out = await request.start(answer.status_code, [pair for pair in kept if pair[0] not in _HOP], length)
    async for event in events:
        if isinstance(event, h11.Data):
            await out.write(bytes(event.data))
    await out.finish()


def _passes(name: str) -> bool:
    return name not in _HOP and not name.startswith(TRUSTED_PREFIX)


async def _events(connection: h11.Connection, stream: trio.SocketStream) -> AsyncIterator[h11.Event]:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(READ_BYTES))
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return
        elif isinstance(event, h11.Event) and not isinstance(event, h11.InformationalResponse):
            yield event
