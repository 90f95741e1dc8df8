"""What does one more package cost in a Debian repository of 100,000, and what does an update with nothing new cost?

Four repositories of one origin hold 0, 1,000, 10,000 and 100,000 packages. Each gets one package more at a time: its
PUT, then the signed manifest that covers it, which is where the indexes are put together. Beside it stands what cannot
be saved, *the concatenation*: a plain loop that hashes and writes as many bytes as the indexes of that manifest have.
"""

import hashlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.clients import own_raw
from bench.filling import deb, fill
from bench.hostile.watching import processes
from bench.machine import SERVER_CORE, memory_bytes
from bench.numbers import spread
from bench.options import Options
from bench.report import Result, Row
from bench.scenarios.publish import Memory
from bench.servers import LoneOrigin, Running, ask, entrepot, put

WORKSPACE, SUITE = "bench", "stable"
SIZES = (0, 1_000, 10_000, 100_000)
QUICK_SIZES = (0, 200, 2_000)
BURST = 64
CONNECTIONS = 64
READY = "ready"
WRITE_BYTES = 1 << 20
_LISTED = re.compile(r"^ [0-9a-f]{64} +(\d+) (\S+)$", re.M)


@dataclass
class Cost:
    """Milliseconds of one more package, by round, in a repository of `size`."""

    size: int
    first_ms: float
    publish_ms: list[float] = field(default_factory=list)
    manifest_ms: list[float] = field(default_factory=list)
    plain_ms: list[float] = field(default_factory=list)
    index_bytes: int = 0
    grown_bytes: int = 0
    grown_anonymous_bytes: int = 0

    @property
    def whole_ms(self) -> list[float]:
        return [a + b for a, b in zip(self.publish_ms, self.manifest_ms, strict=True)]


class Repository:
    """One of them, as clients see it."""

    def __init__(self, origin: LoneOrigin, size: int) -> None:
        self.name = f"{WORKSPACE}/debs-{size}"
        self.base = f"{origin.url}/{self.name}/deb"
        self.dist = f"{self.base}/dists/{SUITE}"
        self._bearer = origin.bearer
        # of numbers that no repository was filled with, other ones in each run
        self._numbers = iter(range(200_000 + time.time_ns() // 10**9 % 700_000, 1_000_000))

    def publish(self) -> bytes:
        data = deb(next(self._numbers))
        put(f"{self.base}/upload/{SUITE}/main/one.deb", data, self._bearer)
        return data

    def get(self, url: str) -> tuple[dict[str, str], bytes]:
        status, headers, body = ask("GET", url, self._bearer)
        if status != 200:
            raise RuntimeError(f"GET {url}: {status} {body[:200]!r}")
        return headers, body

    def manifest(self) -> tuple[str, str]:
        headers, body = self.get(f"{self.dist}/InRelease")
        return headers["etag"], body.decode()


def sizes(told: Options) -> tuple[int, ...]:
    return QUICK_SIZES if told.quick else SIZES


def filled(told: Options) -> LoneOrigin:
    """The origin with its repositories; kept where the run is told to keep it, so that the next one begins at once."""
    home = (told.keep or told.home) / ("deb-quick" if told.quick else "deb")
    ready = home / READY
    if ready.exists():
        port, token = ready.read_text().split()
        return LoneOrigin.kept(home, int(port), token)
    origin = LoneOrigin(home, f"{WORKSPACE}/debs-0")
    environment = os.environ | {"ENTREPOT_URL": origin.url, "ENTREPOT_TOKEN": origin.token}
    with origin.start():
        for size in sizes(told)[1:]:
            command = [entrepot(), "repo", "create", f"{WORKSPACE}/debs-{size}"]
            subprocess.run(command, env=environment, check=True, capture_output=True)
    for size in sizes(told)[1:]:
        fill(home / "data", f"{WORKSPACE}/debs-{size}", f"deb/{SUITE}", size)
    ready.write_text(f"{origin.port} {origin.token}")
    return origin


def one_more(origin: LoneOrigin, node: Running, size: int, told: Options) -> Cost:
    """Packages one at a time, each until the manifest that covers it is there."""
    repository = Repository(origin, size)
    if not size:
        repository.publish()  # there is no distribution before that
    began = time.perf_counter()
    repository.manifest()
    cost = Cost(size, (time.perf_counter() - began) * 1e3)
    (worker,) = processes(node.pid)["worker"]
    before = memory_bytes(worker)
    with Memory(worker) as memory:
        for _ in range(told.rounds):
            begin = time.perf_counter()
            data = repository.publish()
            published = time.perf_counter()
            _, text = repository.manifest()
            done = time.perf_counter()
            cost.publish_ms.append((published - begin) * 1e3)
            cost.manifest_ms.append((done - published) * 1e3)
            check(repository, data)
            cost.plain_ms.append(plain(told.home / "plain", text))
    cost.index_bytes = sum(int(count) for count, _ in _LISTED.findall(text))
    after = memory_bytes(worker)
    cost.grown_bytes = max(memory.resident_bytes, after[0]) - before[0]
    cost.grown_anonymous_bytes = max(memory.anonymous_bytes, after[1]) - before[1]
    return cost


def check(repository: Repository, data: bytes) -> None:
    """Raises RuntimeError unless the package stands in the index."""
    _, index = repository.get(f"{repository.dist}/main/binary-amd64/Packages")
    if f"SHA256: {hashlib.sha256(data).hexdigest()}\n".encode() not in index:
        raise RuntimeError("what was published is not in the index")


def plain(path: Path, manifest: str) -> float:
    """Milliseconds to hash every index of the manifest, and to write those that are compressed."""
    block, told = bytes(WRITE_BYTES), _LISTED.findall(manifest)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for count, name in told:
            hasher, packed = hashlib.sha256(), name.endswith((".gz", ".xz", ".zst"))
            for part in parts(int(count)):
                hasher.update(memoryview(block)[:part])
                if packed:
                    file.write(memoryview(block)[:part])
    spent = (time.perf_counter() - began) * 1e3
    path.unlink()
    return spent


def parts(size: int) -> Iterator[int]:
    while size > 0:
        yield min(size, WRITE_BYTES)
        size -= WRITE_BYTES


def burst(origin: LoneOrigin, size: int) -> tuple[float, int]:
    """(seconds, generations seen) of 64 clients that publish at once, each until its own package is covered."""
    repository, seen, failed, lock = Repository(origin, size), set[str](), list[Exception](), threading.Lock()
    ready = threading.Barrier(BURST + 1)

    def work() -> None:
        try:
            ready.wait()
            with lock:
                number = next(repository._numbers)
            data = deb(number)
            put(f"{repository.base}/upload/{SUITE}/main/one.deb", data, origin.bearer)
            etag, _text = repository.manifest()
            with lock:
                seen.add(etag)
        except Exception as error:
            failed.append(error)

    crowd = [threading.Thread(target=work) for _ in range(BURST)]
    for one in crowd:
        one.start()
    ready.wait()
    began = time.perf_counter()
    for one in crowd:
        one.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - began, len(seen)


def unchanged(origin: LoneOrigin, size: int, told: Options) -> list[Row]:
    """304s of what apt asks again, beside those of a file."""
    repository = Repository(origin, size)
    put(f"{origin.url}/{WORKSPACE}/debs-0/generic/file", b"x" * 1024, origin.bearer)
    file = f"{origin.url}/{WORKSPACE}/debs-0/generic/file"
    rows = []
    for name, url in (
        ("InRelease", f"{repository.dist}/InRelease"),
        ("Packages.xz", f"{repository.dist}/main/binary-amd64/Packages.xz"),
    ):
        row = Row(f"304 of {name}, {size:,} packages, 64 connections", "req/s", goal="as a file's")
        for _ in range(told.rounds):
            row.ours.append(rate(origin, repository, url, told))
            row.theirs.append(rate(origin, repository, file, told))
        row.note = f"a file's: {spread(row.theirs).median:,.0f}"
        row.theirs = []
        rows.append(row)
    return rows


def rate(origin: LoneOrigin, repository: Repository, url: str, told: Options) -> float:
    headers, _ = repository.get(url)
    said = f"If-Modified-Since: {headers['last-modified']}" if "last-modified" in headers else ""
    told_again = said if url.endswith("InRelease") else f"If-None-Match: {headers['etag']}"
    found = own_raw(
        "fetch", url, connections=CONNECTIONS, seconds=told.seconds / 3,
        options=["--header", f"Authorization: Bearer {origin.token}", "--header", told_again],
    )  # fmt: skip
    if set(found.statuses) != {"304"}:
        raise RuntimeError(f"{url} was answered {found.statuses}")
    return found.responses / found.seconds


def rows_of(costs: list[Cost]) -> list[Row]:
    empty, rows = costs[0], []
    for cost in costs:
        at = f"{cost.size:,} packages"
        allowed = [2 * a + b for a, b in zip(empty.whole_ms, cost.plain_ms, strict=True)]
        goal = f"<= {spread(allowed).median:,.0f}" if cost.size else ""
        note = f"indexes {cost.index_bytes / 1e6:,.1f} MB; the first time {cost.first_ms:,.0f} ms"
        rows += [
            Row(f"one more in {at}: PUT", "ms", cost.publish_ms),
            Row(f"one more in {at}: the manifest after it", "ms", cost.manifest_ms, note=note),
            Row(
                f"one more in {at}: both",
                "ms",
                cost.whole_ms,
                goal=goal,
                note="goal: twice the empty, and the plain loop",
            ),
            Row(f"the concatenation of {at}: plain loop", "ms", cost.plain_ms),
            Row(f"worker grew meanwhile, {at}", "MB anonymous", [cost.grown_anonymous_bytes / 1e6], goal="<= 64"),
            Row(f"worker grew meanwhile, {at}", "MB resident", [cost.grown_bytes / 1e6], note="with the mapped index"),
        ]
    return rows


def prepare(told: Options) -> None:
    """Fills the repositories, where they are to be kept and are not there yet."""
    if told.keep is not None:
        filled(told)


def run(told: Options) -> Result:
    result = Result("deb")
    origin = filled(told)
    with origin.start(core=SERVER_CORE) as node:
        result.rows += rows_of([one_more(origin, node, size, told) for size in sizes(told)])
        for size in (sizes(told)[0], sizes(told)[-1]):
            seconds, generations = burst(origin, size)
            row = Row(f"{BURST} publishes at once in {size:,} packages", "ms", [seconds * 1e3])
            row.note = f"{generations} generations, each client until its own is covered"
            result.rows.append(row)
        result.rows += unchanged(origin, sizes(told)[-1], told)
    result.notes += [
        "one worker of an origin on one core, the clients on the other; every publish is durable before it is answered",
        "filled through the store's own commit path, an entry a package, without HTTP and sandbox (bench/filling.py)",
    ]
    return result
