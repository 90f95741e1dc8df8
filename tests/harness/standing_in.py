"""What stands in for the nodes of `entrepot up` in tests of what starts them? A server that answers 200 to everything.

`python -m tests.harness.standing_in up ...` is `entrepot up` over such nodes. Their data directory may hold a file
`behave` with `die` (end at once with 3) or `deaf` (ignore SIGTERM). What a node was called with lands in `called`.
"""

import json
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gateway.cli import main
from gateway.cli.nodes import serving, starting
from gateway.config import Node

TOKEN = re.compile(rb"ent_[0-9A-Za-z]{38}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    allow_reuse_port = True


def tokens_in_memory() -> list[str]:
    """Every text that this process holds and that looks like a token."""
    found: set[bytes] = set()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            bounds, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                start, end = (int(one, 16) for one in bounds.split("-"))
                with suppress(OSError):
                    memory.seek(start)
                    found.update(TOKEN.findall(memory.read(end - start)))
    return [one.decode() for one in found]


def held_of(folder: Path) -> list[str]:
    """Which sockets, and which files below `folder`, this process has open."""
    found = []
    for one in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{one}"))
    return [one for one in found if one.startswith(("socket:", str(folder)))]


def stand(settings: Node, code: str = "") -> int:
    data = Path(settings.data)
    called = {name: getattr(settings, name) for name in ("role", "port", "workers", "parents", "parent_token")}
    called |= {"pid": os.getpid(), "parent": os.getppid(), "tokens": tokens_in_memory(), "held": held_of(data.parent)}
    (data / "called").write_text(json.dumps(called))
    behave = data / "behave"
    manner = behave.read_text() if behave.exists() else ""
    if manner == "die":
        return 3
    server = Server(("127.0.0.1", settings.port), Handler)

    def stop(*_: Any) -> None:
        if manner != "deaf":
            threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print("a word on stdout that no program may read")
    server.serve_forever(0.01)
    return 0


if __name__ == "__main__":
    serving.run_node = stand
    if any(path.read_text() == "deaf" for path in Path(sys.argv[sys.argv.index("--data") + 1]).glob("*/behave")):
        starting.STOP_SECONDS_MAX = 1.0
    sys.exit(main.run(sys.argv[1:]))
