"""What stands in for `entrepot serve` in tests of what starts it? A process that answers 200 to everything.

`python -m tests.harness.standing_in up ...` is `entrepot up` over such nodes. Their data directory may hold a file
`behave` with `die` (end at once with 3) or `deaf` (ignore SIGTERM). What a node was called with lands in `called`.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gateway.cli import main
from gateway.cli.nodes import starting
from gateway.cli.nodes.lifeline import end_with


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    allow_reuse_port = True


def serve(arguments: list[str]) -> int:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    end_with(int(options["--with-parent"]))
    data = Path(options["--data"])
    (data / "called").write_text(json.dumps(options | {"pid": os.getpid()}))
    behave = data / "behave"
    manner = behave.read_text() if behave.exists() else ""
    if manner == "die":
        return 3
    server = Server(("127.0.0.1", int(options["--port"])), Handler)

    def stop(*_: Any) -> None:
        if manner != "deaf":
            threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print("a word on stdout that no program may read")
    server.serve_forever(0.01)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        sys.exit(serve(sys.argv[2:]))
    starting.SERVE = (sys.executable, "-m", "tests.harness.standing_in", "serve")
    if any(path.read_text() == "deaf" for path in Path(sys.argv[sys.argv.index("--data") + 1]).glob("*/behave")):
        starting.STOP_SECONDS_MAX = 1.0
    sys.exit(main.run(sys.argv[1:]))
