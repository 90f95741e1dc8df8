"""What is a foreign registry asked, and what if it goes away? A relay on loopback that counts and can end."""

import http.client
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REQUESTS_MAX = 5_000
PASSED_ON = ("accept", "if-none-match", "if-modified-since", "range", "user-agent")
PASSED_BACK = ("content-type", "content-length", "content-range", "etag", "last-modified", "cache-control", "location")


class Relay:
    """Stands before `target`; `asked` are (method, path, status) in their order."""

    def __init__(self, target: str) -> None:
        self._target = urllib.parse.urlsplit(target)
        self.asked: list[tuple[str, str, int]] = []
        self._lines = threading.local()
        self._ended = threading.Event()
        self._opened: list[http.client.HTTPConnection] = []
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                relay._pass_on(self)

            do_HEAD = do_GET

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """From now on nobody answers, not on connections that are open either."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        for line in self._opened:
            line.close()

    def _line(self) -> http.client.HTTPConnection:
        """This thread's connection to the target."""
        kept: http.client.HTTPConnection | None = getattr(self._lines, "kept", None)
        if kept is None:
            kind = http.client.HTTPSConnection if self._target.scheme == "https" else http.client.HTTPConnection
            kept = self._lines.kept = kind(self._target.netloc, timeout=60)
            self._opened.append(kept)
        return kept

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        if self._ended.is_set() or len(self.asked) >= REQUESTS_MAX:
            handler.close_connection = True
            return
        headers = {name: handler.headers[name] for name in PASSED_ON if name in handler.headers}
        line = self._line()
        try:
            line.request(handler.command, self._target.path.rstrip("/") + handler.path, headers=headers)
            answer = line.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            line.close()
            handler.send_error(502)
            return
        self.asked.append((handler.command, handler.path, answer.status))
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() in PASSED_BACK and name.lower() != "content-length":
                handler.send_header(name, value)
        length = answer.getheader("content-length") if handler.command == "HEAD" else str(len(body))
        handler.send_header("Content-Length", length or "0")
        handler.end_headers()
        handler.wfile.write(body)
