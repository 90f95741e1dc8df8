"""How does a test get a receiver of webhooks? A real HTTP server on loopback, which checks what it is sent.

The signatures are checked by the words of the specification (Standard Webhooks 1.0), not by the product's code.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

WAIT_SECONDS_MAX = 30.0


class Came(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> str:
        """Its kind, "" where a template left that out."""
        kind: str = self.json.get("type", "")
        return kind

    def signed_by(self, secret: str) -> bool:
        """Is one of its signatures made with this secret, over what came?"""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        mine = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return mine in self.headers["webhook-signature"].split(" ")


class Receiver:
    """`answers(came)` gives (status, headers, body) of each request; it may also wait."""

    def __init__(self, answers: Callable[[Came], tuple[int, dict[str, str], bytes]] | None = None) -> None:
        self.answers = answers or (lambda came: (204, {}, b""))
        self.came: list[Came] = []
        self._lock = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                came = Came(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with receiver._lock:
                    receiver.came.append(came)
                    receiver._lock.notify_all()
                status, headers, answer = receiver.answers(came)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    return  # whoever asked has gone

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def until(self, enough: Callable[[list[Came]], bool]) -> list[Came]:
        """Wait until what came is enough; all of it."""
        end_s = time.monotonic() + WAIT_SECONDS_MAX
        with self._lock:
            while not enough(self.came):
                left_s = end_s - time.monotonic()
                assert left_s > 0, f"only this came: {[(one.path, one.body[:300]) for one in self.came[-5:]]}"
                self._lock.wait(left_s)
            return list(self.came)

    def events(self, kind: str) -> list[Came]:
        with self._lock:
            return [one for one in self.came if one.event == kind]

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
