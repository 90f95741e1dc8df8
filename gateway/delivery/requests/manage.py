"""How does the management application get its requests? By the strict front, over a unix socket, one a connection.

hypercorn serves the application through its public API alone. It never sees a client's bytes: the head was parsed
strictly here and is written anew, the body is whole and has a length. What the application is told of the client stands
in headers that clients cannot send. An answer that breaks off is broken off for the client too.
"""

import logging
import os
from pathlib import Path

import h11
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework

from gateway.delivery.messages.heads import Head
from gateway.delivery.requests.request import Request
from storage.errors import Unavailable
from storage.spans import carried, lent

BODY_BYTES_MAX = 1 << 20
READ_BYTES = 64 << 10
RESTART_SECONDS = 0.5
SOCKET_PATH_BYTES_MAX = 100
TRUSTED_PREFIX = "x-entrepot-"
CLIENT, CLIENT_WITHIN = "x-entrepot-client", "x-entrepot-client-within"
"""Where the client is, as an edge says, and the workspaces in which that is believed; in others nobody knows."""
PRINCIPAL = "X-Entrepot-Principal"
"""In an answer of the application: whose call it was, for the access log."""

SPAN = "x-entrepot-span"

_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length", "host",
     "proxy-connection", "proxy-authorization", "http2-settings")
)  # fmt: skip

# What of the application's answer is ours to say, or nobody's: a second Date would be a second answer to the question.
_OWN = _HOP - {"host"} | {"date", "server"}

log = logging.getLogger("entrepot.delivery")


class Management:
    """The application behind `/-/`, reached at `socket_path`, which only this user may open."""

    def __init__(self, app: ASGIFramework, socket_path: Path) -> None:
        self._app = app
        self._path = socket_path
        self._folder = -1

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. A failure of the server itself is logged, and it is started again."""
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path.unlink(missing_ok=True)
        config = Config()
        config.bind = [f"unix:{self._address()}"]
        config.umask = 0o077
        config.accesslog = None
        config.errorlog = None
        config.max_app_queue_size = 64
        started = False
        try:
            while True:
                try:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(_serve, self._app, config)
                        if not started:
                            started = True
                            task_status.started()
                except Exception as bug:
                    if not started:
                        raise
                    log.error("the management server failed and starts again", exc_info=bug)
                    await trio.sleep(RESTART_SECONDS)
        finally:
            self._path.unlink(missing_ok=True)
            os.close(self._folder)
            self._folder = -1

    async def proxy(self, request: Request) -> None:
        """Hand one request on and its answer back. Raises TooLarge, Unavailable."""
        body = await request.body.whole(BODY_BYTES_MAX)
        try:
            stream = await trio.open_unix_socket(self._address())
        except OSError:
            raise Unavailable("The management interface is starting.", "Try again.", retry_after_s=1) from None
        async with stream:
            with lent() as span:
                await _exchange(stream, request, body, span)

    def _address(self) -> str:
        """The path, by way of its open directory where it is too long for a socket address."""
        path = str(self._path)
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            return path
        return f"/proc/self/fd/{self._folder}/{self._path.name}"


async def _serve(
    app: ASGIFramework, config: Config, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    await serve(app, config, task_status=task_status, shutdown_trigger=trio.sleep_forever, mode="asgi")


def forwarded(head: Head, length: int, span: str = "") -> h11.Request:
    """The request as it goes on: nothing that concerns only the client's connection, nothing the client may not say.
    `span` is the name by which the application goes on with the trace."""
    nominated = {name.strip().lower() for name in head.headers.get("connection", "").split(",")}
    headers = [
        (name, value)
        for name, value in head.headers.items()
        if name not in _HOP and name not in nominated and not name.startswith(TRUSTED_PREFIX)
    ]
    headers += [("host", head.host or "localhost"), ("connection", "close"), ("content-length", str(length))]
    headers += [("x-entrepot-peer", head.peer), ("x-entrepot-scheme", head.scheme)]
    if head.told is not None:
        headers += [(CLIENT, head.told.address), (CLIENT_WITHIN, head.told.listed())]
    if traced := carried():
        headers = [(name, value) for name, value in headers if name not in ("traceparent", "tracestate")]
        headers += [*traced.items(), (SPAN, span)]
    _, mark, query = head.target.partition(b"?")
    return h11.Request(method=head.method, target=head.raw_path.encode() + mark + query, headers=headers)


async def _exchange(stream: trio.SocketStream, request: Request, body: bytes, span: str) -> None:
    connection = h11.Connection(h11.CLIENT)
    data = connection.send(forwarded(request.head, len(body), span)) or b""
    if body:
        data += connection.send(h11.Data(data=body)) or b""
    await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
    event = await _next(connection, stream)
    if not isinstance(event, h11.Response):
        raise Unavailable("The management interface broke off.", "Try again.", retry_after_s=1)
    headers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
    length = next((int(value) for name, value in headers if name == "content-length"), None)
    request.principal = next((value for name, value in headers if name.lower() == PRINCIPAL.lower()), "")
    told = [(name, value) for name, value in headers if name.lower() not in _OWN | {PRINCIPAL.lower()}]
    out = await request.start(event.status_code, told, length)
    while isinstance(event := await _next(connection, stream), h11.Data):
        await out.write(bytes(event.data))
    if isinstance(event, h11.EndOfMessage):
        await out.finish()


async def _next(connection: h11.Connection, stream: trio.SocketStream) -> h11.Event | None:
    """The next event that matters; None where the other side broke off."""
    while True:
        try:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(READ_BYTES))
            elif isinstance(event, h11.InformationalResponse):
                continue
            else:
                return event if isinstance(event, h11.Response | h11.Data | h11.EndOfMessage) else None
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return None
