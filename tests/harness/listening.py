"""How does a test of the command line get a node to speak to? The real API behind a plain socket, in threads.

What is not under `/-/` is kept in `sent` and answered as `answers` says: enough of a front for tests of pushing.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import trio

from tests.harness.consoles import Console


class Sent(NamedTuple):
    """One request outside the API."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Listening:
    """A node on `url`."""

    def __init__(self, root: Path, **services: Any) -> None:
        self.console = Console(root, **services)
        self.sent: list[Sent] = []
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                node.serve(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if handler.path.startswith("/-/"):
            got = trio.run(self.console.ask, handler.command, handler.path, dict(handler.headers), body or None)
            status, media, answer = got.status, got.headers.get("content-type", ""), got.body
        else:
            self.sent.append(Sent(handler.command, handler.path, dict(handler.headers), body))
            status, media, answer = self.answers.get(handler.path, (201, "text/plain", b""))
        handler.send_response(status)
        handler.send_header("Content-Type", media)
        if status != 204:
            handler.send_header("Content-Length", str(len(answer)))
        # one request a connection: nothing is left open when the test ends
        handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer)

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.console.ledger.close()
