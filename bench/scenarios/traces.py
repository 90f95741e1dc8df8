"""What do traces cost whoever is served? The same requests of two origins that differ in `[traces]` alone, in turns.

A collector of the bench takes what is sent and keeps nothing of it. A remembered answer passes no line for tracing; a
call of the API goes through a request task, and makes four Spans or so where it is traced.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from bench.clients import wrk
from bench.machine import SERVER_CORE
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin, put

REPOSITORY = "bench/files"


class Case(NamedTuple):
    """So many connections ask for a path; `ratio` of it is traced where it is traced at all."""

    name: str
    path: str
    connections: int
    ratio: float
    goal: str


CASES = (
    Case("1 KB c64, 1 % traced / none", f"/{REPOSITORY}/generic/file", 64, 0.01, ">= 0.95"),
    Case("API call c8, 1 % traced / none", "/-/api/v1/whoami", 8, 0.01, ">= 0.95"),
    Case("API call c8, all traced / none", "/-/api/v1/whoami", 8, 1.0, ""),
)


@contextmanager
def collector() -> Iterator[str]:
    """Its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    finally:
        server.shutdown()
        server.server_close()


def compared(told: Options, number: int, case: Case, endpoint: str) -> Row:
    """One case, traced and not."""
    config = told.home / f"traced-{number}.toml"
    config.write_text(f'[traces]\nendpoint = "{endpoint}"\nsample_ratio = {case.ratio}\n')
    row = Row(case.name, "requests/s", goal=case.goal, note="entrepot = traced")
    traced = LoneOrigin(told.home / f"on-{number}", REPOSITORY, ("--config", str(config)))
    bare = LoneOrigin(told.home / f"off-{number}", REPOSITORY)
    for side in (traced, bare):
        with side.start():
            put(f"{side.url}/{REPOSITORY}/generic/file", bytes(1024), side.bearer)
    for turn in range(told.rounds):
        for side in (traced, bare)[:: 1 if turn % 2 else -1]:
            with side.start(core=SERVER_CORE) as node:
                header = [f"Authorization: Bearer {side.token}"]
                url = f"{side.url}{case.path}"
                wrk(node.pid, url, connections=case.connections, seconds=1, headers=header)
                found = wrk(node.pid, url, connections=case.connections, seconds=told.seconds, headers=header)
                (row.ours if side is traced else row.theirs).append(found.requests / found.seconds)
                spent = found.server_cpu_seconds / max(found.requests, 1) * 1e6
                (row.ours_cpu if side is traced else row.theirs_cpu).append(spent)
    return row


def run(told: Options) -> Result:
    result = Result("traces", against="none")
    with collector() as endpoint:
        for number, case in enumerate(CASES):
            if told.cases in case.name:
                result.rows.append(compared(told, number, case, endpoint))
    result.notes.append("a collector of the bench, on the clients' core; one worker on the other")
    return result
