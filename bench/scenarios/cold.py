"""How fast is what a node does not have: first byte, MB/s, and how often is it fetched when many ask at once?

Three ways: a file that lies at the origin, a foreign one behind an upstream at hand, and one behind an upstream that is
far away. The upstream is our own nginx with a simple index; its access log is the witness of how often a file was
fetched. Beside each speed stands that of a chain of plain loops (`bench.plain`) with as many hops in the same round,
beside each first byte that of the upstream itself, asked by the same client over the same path.
"""

import hashlib
import sys
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

from bench.clients import ROOT, Refused, own_raw
from bench.machine import use_all_cores, warm_memory
from bench.numbers import percentile, size_text
from bench.options import Options
from bench.report import Result, Row
from bench.servers import READ_BYTES, Filler, Nginx, Node, Running, ask, put

WAITERS = 200
SHARED_BYTES_MAX = 32 << 20
SHARED_SECONDS_MAX = 120.0
ONE_WAY_MS = 10.0
FAR_BYTES = 256 << 10
WARM_BYTES_MAX = 4 << 30


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
    first = Row("origin's file, first byte", "ms", note="beside: the origin itself")
    speed = Row("origin's file", "MB/s", goal=">= 500")
    for number in range(told.rounds):
        name, path = f"cold {number}", f"{node.public}/generic/cold/{number}"
        put(f"{node.origin}{path}", Filler(name, size), node.bearer)
        visible(node.edge + path)
        warm(told)
        ms, rate = timed(node.edge + path, size)
        first.ours.append(ms)
        speed.ours.append(rate)
        first.theirs.append(timed(node.origin + path, size)[0])
        check(node.edge + path, digest(Filler(name, size)))
    return [first, speed, shared_from_origin(node, told)]


def warm(told: Options) -> None:
    warm_memory(told.home, min(4 * told.big_bytes, WARM_BYTES_MAX))


def visible(url: str) -> None:
    """Until the edge knows of the file, without making it fetch the bytes."""
    end = time.monotonic() + 10
    while ask("HEAD", url)[0] != 200:
        if time.monotonic() > end:
            raise Refused(f"{url} does not become visible")
        time.sleep(0.01)


def shared_from_origin(node: Node, told: Options) -> Row:
    size = min(told.big_bytes, SHARED_BYTES_MAX)
    path = f"{node.public}/generic/cold/shared"
    put(f"{node.origin}{path}", Filler("shared", size), node.bearer)
    visible(node.edge + path)
    return together(node.edge + path, size, "origin's file")


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
    """A simple index of one package a file, served by nginx, which writes down each fetch. `far`: behind a relay."""

    def __init__(self, home: Path, stack: ExitStack, *, far: bool = False) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._nginx = stack.enter_context(Nginx(home, access_log=True, core=None))
        self.port = self._nginx.port
        if far:
            command = [sys.executable, "-m", "bench.distance", str(self.port), str(ONE_WAY_MS)]
            relay = stack.enter_context(Running(command, home / "relay.log", None, cwd=ROOT, speaks=True))
            self.port = int(relay.line())
        self.url = f"http://127.0.0.1:{self.port}/simple/"

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


def link(node: Node, package: str, repository: str = "") -> str:
    """The file's address as the edge's own page tells it."""
    page = f"{node.edge}{repository or node.public}/pypi/simple/{package}/"
    status, _, body = ask("GET", page, {"Accept": "text/html"})
    at = body.decode().find('href="')
    if status != 200 or at < 0:
        raise Refused(f"{page}: {status} {body[:200]!r}")
    return urljoin(page, body.decode()[at + 6 :].split('"', 1)[0].split("#", 1)[0])


def chained(told: Options, index: Index, package: str, hops: int) -> float:
    """MB/s through so many plain loops."""
    port = index.port
    with ExitStack() as stack:
        for number in range(hops):
            command = [sys.executable, "-m", "bench.plain", str(port)]
            loop = Running(command, told.home / f"plain{number}.log", None, cwd=ROOT, speaks=True)
            port = int(stack.enter_context(loop).line())
        return timed(f"http://127.0.0.1:{port}{urlsplit(index.direct(package)).path}", told.big_bytes)[1]


def from_upstream(node: Node, told: Options) -> list[Row]:
    """Through the origin (one hop) and through the edge (two), each time a file that neither has."""
    note = "beside: the upstream itself, on the same machine"
    rows: dict[int, tuple[Row, Row]] = {}
    for hops, through in ((1, "foreign file through an origin"), (2, "foreign file through edge and origin")):
        first = Row(f"{through}, first byte", "ms", note=note)
        rows[hops] = first, Row(through, "MB/s", goal=">= 500", note=f"beside: plain loops, {hops} of them")
    with ExitStack() as stack:
        index = Index(told.home / "index", stack)
        node.command("upstream", "add", node.public.strip("/"), "pypi", index.url, "--private-network")
        for number in range(told.rounds):
            for hops, (first, speed) in rows.items():
                package = f"cold{hops}package{number}"
                sha256 = index.add(package, told.big_bytes)
                # The upstream's own file is read first, so that all read it from the page cache.
                first.theirs.append(timed(index.direct(package), told.big_bytes)[0])
                warm(told)
                speed.theirs.append(chained(told, index, package, hops))
                address = link(node, package).replace(node.edge, node.edge if hops == 2 else node.origin)
                warm(told)
                ms, rate = timed(address, told.big_bytes)
                first.ours.append(ms)
                speed.ours.append(rate)
                check(address, sha256)
        size = min(told.big_bytes, SHARED_BYTES_MAX)
        index.add("sharedpackage", size)
        shared = together(link(node, "sharedpackage"), size, "foreign file")
        fetched = index.fetches("sharedpackage")
    count = Row(f"fetches from the upstream for {WAITERS} clients", "fetches", [float(fetched)], goal="1")
    return [*rows[1], *rows[2], shared, count]


def from_afar(node: Node, told: Options) -> list[Row]:
    """First bytes of an upstream that is a round trip of 2 * ONE_WAY_MS away from origin and client alike."""
    where = f"upstream {2 * ONE_WAY_MS:.0f} ms away, first byte"
    known = Row(f"{where}, page read before", "ms", goal="<= 1.2", note="beside: the upstream itself, new connection")
    unknown = Row(f"{where}, page never asked for", "ms", note="page and file, beside: the file alone")
    both = Row(f"{where}, page and file", "ms", goal="<= 1.2", note="beside: page and file of the upstream itself")
    repository = f"/{node.workspace}/afar"
    with ExitStack() as stack:
        index = Index(told.home / "afar", stack, far=True)
        node.command("repo", "create", repository[1:], "--public")
        node.command("upstream", "add", repository[1:], "pypi", index.url, "--private-network")
        index.add("pattern", FAR_BYTES)
        pattern = link(node, "pattern", repository)
        for number in range(told.rounds):
            for row, package in ((known, f"known{number}"), (unknown, f"unknown{number}"), (both, f"both{number}")):
                index.add(package, FAR_BYTES)
                address = pattern.replace("pattern", package)
                theirs, ours = 0.0, 0.0
                if row is both:
                    theirs, ours = asked_page(index, package), asked_page(index, package, node, repository)
                elif row is known:
                    link(node, package, repository)
                row.theirs.append(theirs + timed(index.direct(package), FAR_BYTES)[0])
                row.ours.append(ours + timed(address, FAR_BYTES)[0])
    return [known, unknown, both]


def asked_page(index: Index, package: str, node: Node | None = None, repository: str = "") -> float:
    """Milliseconds for the page of a package: the upstream's own, or that of the node."""
    begin = time.perf_counter()
    if node is None:
        ask("GET", f"{index.url}{package}/")
    else:
        link(node, package, repository)
    return (time.perf_counter() - begin) * 1e3


def run(told: Options) -> Result:
    use_all_cores()
    result = Result("cold", against="beside")
    result.conditions["asked"] = f"{told.rounds} rounds of {size_text(told.big_bytes)}, each a new file"
    result.conditions["placed"] = "origin, edge, upstream and client share all cores: none has one of its own"
    with Node(told.home / "node", core=None) as node:
        for part in (from_origin, from_upstream, from_afar):
            if told.cases not in part.__name__:
                continue
            try:
                result.rows += part(node, told)
            except (Refused, RuntimeError) as reason:
                result.notes.append(f"{part.__name__} is void: {reason}")
    result.notes += [
        "each hop checks sha256 while it stores and streams; a second download is checked here, outside the time",
        "ratio: ours / beside; for a first byte less is better, for a speed more is",
        "before each pull a file is written and removed, so that the pages written next are backed by the host",
    ]
    return result
