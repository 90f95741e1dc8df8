"""How fast is what the edge does not have: first byte, MB/s, and how often is it fetched when many ask at once?

Two ways: a file that lies at the origin, and a foreign one behind an upstream. The upstream is our own nginx with a
simple index; its access log is the witness of how often a file was fetched.
"""

import hashlib
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

from bench.clients import Refused, own_raw
from bench.numbers import percentile, size_text
from bench.options import Options
from bench.report import Result, Row
from bench.servers import READ_BYTES, Filler, Nginx, Node, ask, put

WAITERS = 200
SHARED_BYTES_MAX = 32 << 20
SHARED_SECONDS_MAX = 120.0


class Readable(Protocol):
    """What has bytes to read."""

    def read(self, size: int, /) -> bytes | None: ...


def timed(url: str, size: int) -> tuple[float, float]:
    """(milliseconds to the first byte of the body, MB/s) of one download."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    begin = time.perf_counter()
    connection.request("GET", parts.path)
    answer = connection.getresponse()
    got = len(answer.read1(READ_BYTES))
    first = time.perf_counter()
    while piece := answer.read1(READ_BYTES):
        got += len(piece)
    end = time.perf_counter()
    connection.close()
    if answer.status != 200 or got != size:
        raise Refused(f"{url}: {answer.status}, {got} of {size} bytes")
    return (first - begin) * 1e3, size / (end - begin) / 1e6


def check(url: str, sha256: str) -> None:
    """Outside the time: are these the bytes that were published?"""
    with urlopen(url, timeout=120) as answer:
        if digest(answer) != sha256:
            raise Refused(f"{url}: other bytes than were published")


def digest(content: Readable) -> str:
    made = hashlib.sha256()
    while chunk := content.read(READ_BYTES):
        made.update(chunk)
    return made.hexdigest()


# ---------------------------------------------------------------- what lies at the origin


def from_origin(node: Node, told: Options) -> list[Row]:
    size = told.big_bytes
    first, speed = Row("origin's file, first byte", "ms"), Row("origin's file", "MB/s", goal=">= 500")
    direct = Row("the same from the origin itself, first byte", "ms")
    for number in range(told.rounds):
        name, path = f"cold {number}", f"{node.public}/generic/cold/{number}"
        put(f"{node.origin}{path}", Filler(name, size), node.bearer)
        visible(node.edge + path)
        ms, rate = timed(node.edge + path, size)
        first.ours.append(ms)
        speed.ours.append(rate)
        direct.ours.append(timed(node.origin + path, size)[0])
        check(node.edge + path, digest(Filler(name, size)))
    return [first, direct, speed, *shared_from_origin(node, told)]


def visible(url: str) -> None:
    """Until the edge knows of the file, without making it fetch the bytes."""
    end = time.monotonic() + 10
    while ask("HEAD", url)[0] != 200:
        if time.monotonic() > end:
            raise Refused(f"{url} does not become visible")
        time.sleep(0.01)


def shared_from_origin(node: Node, told: Options) -> list[Row]:
    size = min(told.big_bytes, SHARED_BYTES_MAX)
    path = f"{node.public}/generic/cold/shared"
    put(f"{node.origin}{path}", Filler("shared", size), node.bearer)
    visible(node.edge + path)
    return [together(node.edge + path, size, "origin's file")]


def together(url: str, size: int, what: str) -> Row:
    """All at once on one cold object; every one of them gets all of it."""
    found = own_raw("fetch", url, connections=WAITERS, seconds=SHARED_SECONDS_MAX, options=["--once", "--latencies"])
    if found.statuses != {"200": WAITERS} or found.body_bytes != WAITERS * size:
        raise Refused(f"{url}: {found.statuses}, {found.body_bytes} bytes")
    p99 = percentile(found.first_byte_ms, 99)
    rate = found.body_bytes / found.seconds / 1e6
    note = f"first byte p99 {p99:.0f} ms"
    return Row(f"{what}, {size_text(size)} to {WAITERS} clients at once", "MB/s", [rate], note=note)


# ---------------------------------------------------------------- what a foreign registry has


class Index:
    """A simple index of one package a file, served by nginx, which writes down each fetch."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._nginx = stack.enter_context(Nginx(home, access_log=True, core=1))
        self.url = f"{self._nginx.url}/simple/"

    def add(self, package: str, size: int) -> str:
        """Publishes a wheel; returns its sha256."""
        sha256, name = digest(Filler(package, size)), f"{package}-1.0-py3-none-any.whl"
        (self._nginx.root / "files").mkdir(exist_ok=True)
        with Filler(package, size) as content, (self._nginx.root / "files" / name).open("wb") as file:
            while chunk := content.read(READ_BYTES):
                file.write(chunk)
        page = self._nginx.root / "simple" / package / "index.html"
        page.parent.mkdir(parents=True)
        anchor = f'<a href="../../files/{name}#sha256={sha256}">{name}</a>'
        page.write_text(f"<!DOCTYPE html><html><body>{anchor}</body></html>")
        return sha256

    def direct(self, package: str) -> str:
        return urljoin(self.url, f"../files/{package}-1.0-py3-none-any.whl")

    def fetches(self, package: str) -> int:
        """How often the file was asked for."""
        lines = self._nginx.access.read_text().splitlines() if self._nginx.access.exists() else []
        return sum(f"GET /files/{package}-" in line for line in lines)


def link(node: Node, package: str) -> str:
    """The file's address as the edge's own page tells it."""
    page = f"{node.edge}{node.public}/pypi/simple/{package}/"
    status, _, body = ask("GET", page, {"Accept": "text/html"})
    at = body.decode().find('href="')
    if status != 200 or at < 0:
        raise Refused(f"{page}: {status} {body[:200]!r}")
    return urljoin(page, body.decode()[at + 6 :].split('"', 1)[0].split("#", 1)[0])


def from_upstream(node: Node, told: Options) -> list[Row]:
    first, speed = Row("foreign file, first byte", "ms"), Row("foreign file", "MB/s", goal=">= 500")
    direct = Row("the same from the upstream itself, first byte", "ms")
    with ExitStack() as stack:
        index = Index(told.home / "index", stack)
        node.command("upstream", "add", node.public.strip("/"), "pypi", index.url, "--private-network")
        for number in range(told.rounds):
            package = f"coldpackage{number}"
            sha256 = index.add(package, told.big_bytes)
            # The upstream's own file is read first, so that both read it from the page cache.
            direct.ours.append(timed(index.direct(package), told.big_bytes)[0])
            address = link(node, package)
            ms, rate = timed(address, told.big_bytes)
            first.ours.append(ms)
            speed.ours.append(rate)
            check(address, sha256)
        size = min(told.big_bytes, SHARED_BYTES_MAX)
        index.add("sharedpackage", size)
        shared = together(link(node, "sharedpackage"), size, "foreign file")
        fetched = index.fetches("sharedpackage")
    count = Row(f"fetches from the upstream for {WAITERS} clients", "fetches", [float(fetched)], goal="1")
    return [first, direct, speed, shared, count]


def run(told: Options) -> Result:
    result = Result("cold")
    result.conditions["asked"] = f"the edge, {told.rounds} rounds of {size_text(told.big_bytes)}, each a new file"
    with Node(told.home / "node") as node:
        for part in (from_origin, from_upstream):
            if told.cases not in part.__name__:
                continue
            try:
                result.rows += part(node, told)
            except (Refused, RuntimeError) as reason:
                result.notes.append(f"{part.__name__} is void: {reason}")
    result.notes += [
        "the edge checks sha256 while it stores and streams; a second download is checked here, outside the time",
        "origin and edge share a core; client and upstream share another",
        "first byte should be at most 1.2 times the upstream's own",
    ]
    return result
