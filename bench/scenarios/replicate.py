"""How long after a publish at the origin can the same file be had at the edge?"""

import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench.clients import Refused
from bench.numbers import percentile
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Node

PAUSE_SECONDS = 0.001
VISIBLE_SECONDS_MAX = 10.0


def connect(url: str) -> HTTPConnection:
    parts = urlsplit(url)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=30)


def status_of(connection: HTTPConnection, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
    connection.request(method, path, body=body or None, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def run(told: Options) -> Result:
    """One publish at a time, each asked for at the edge until it is there."""
    acknowledged: list[float] = []
    visible: list[float] = []
    with Node(told.home / "node") as node:
        origin, edge = connect(node.origin), connect(node.edge)
        for number in range(told.count):
            path = f"{node.private}/generic/replicate/{number}"
            begin = time.perf_counter()
            status = status_of(origin, "PUT", path, node.bearer, f"body {number}".encode())
            known = time.perf_counter()
            if not 200 <= status < 300:
                raise Refused(f"PUT {path}: {status}")
            while (status := status_of(edge, "GET", path, node.bearer)) != 200:
                if status != 404 or time.perf_counter() - known > VISIBLE_SECONDS_MAX:
                    raise Refused(f"the edge answers {status} for {path}")
                time.sleep(PAUSE_SECONDS)
            acknowledged.append((known - begin) * 1e3)
            visible.append((time.perf_counter() - known) * 1e3)
        origin.close()
        edge.close()
    note = f"{told.count} publishes, one after the other; the edge is asked every {PAUSE_SECONDS * 1e3:.0f} ms"
    result = Result("replicate", notes=[note])
    for name, values, goal in (
        ("publish to acknowledgement", acknowledged, ""),
        ("acknowledgement to edge", visible, "<= 150"),
    ):
        result.rows += [
            Row(f"{name}, p50", "ms", [percentile(values, 50)]),
            Row(f"{name}, p99", "ms", [percentile(values, 99)], goal=goal),
        ]
    return result
