"""What does a next version cost: on the disk of the origin, on the way to an edge, and for those who read it?

Real version series come from the package index that this machine's own pip is set up for; a model, a layer and what
shares nothing are made here. Every version is published over HTTP, cut in the background, and pulled through an edge
that has the former one. The access log of the origin is the witness of what went over the wire. Beside what is stored
stands what MEASURED found for the like; beside a warm read of a cut blob that of as many bytes in one piece.
"""

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.clients import Refused
from bench.machine import Skipped
from bench.numbers import ratios, size_text
from bench.options import Options
from bench.report import Result, Row
from bench.scenarios.cold import timed
from bench.servers import Filler, Node, ask, put
from storage.blobs.intake import Staged
from storage.blobs.shelf import BlobShelf
from storage.index.index import open_environment
from storage.index.tables import BlobTables
from storage.upkeep.composing import Composer

WHEELS = {"numpy": ("2.3.0", "2.3.1", "2.3.2", "2.3.3"), "scipy": ("1.15.0", "1.15.1", "1.15.2", "1.15.3")}
MEASURED = {
    "numpy": 64.0,
    "scipy": 53.0,
    "model, a quarter retrained": 63.0,
    "model, longer header": 50.0,
    "noise": 100.0,
}
"""Unique bytes of such a series, in % of all: zip members of 16 KB and more, content-defined cuts of 64 KB."""
WARM_READS = 51
PATIENCE_S = 60.0

Series = Callable[[Path, Options], Iterator[Path]]


def wheels_of(package: str) -> Series:
    def made(home: Path, told: Options) -> Iterator[Path]:
        for version in WHEELS[package][: 2 if told.quick else None]:
            yield next(wheels_at(told).glob(f"{package}-{version}-*.whl"))

    return made


def wheels_at(told: Options) -> Path:
    return _made(told.keep or told.home / "wheels")


def prepare(told: Options) -> None:
    """Download what is not there yet, while the machine's network is. Raises Skipped where no index answers."""
    for package, versions in WHEELS.items():
        for version in versions if told.cases in package else ():
            if not list(wheels_at(told).glob(f"{package}-{version}-*.whl")):
                command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
                command += ["-d", str(wheels_at(told)), f"{package}=={version}"]
                if subprocess.run(command, check=False).returncode:
                    raise Skipped(f"{package} {version} cannot be had from this machine's package index")


def made_of(*parts: Callable[[int], bytes]) -> Series:
    def made(home: Path, told: Options) -> Iterator[Path]:
        size = (20 << 20) if told.quick else (128 << 20)
        for number, part in enumerate(parts):
            path = home / f"made-{number}"
            path.write_bytes(part(size))
            yield path

    return made


def tensors(seed: str, header: bytes = b"", kept: float = 1.0) -> Callable[[int], bytes]:
    """A safetensors file with weights that nothing compresses, of which the last part was trained again."""

    def made(size: int) -> bytes:
        told = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size) + header
        weights = random.Random(seed).randbytes(size)[: int(size * kept)]
        more = random.Random(seed + "again").randbytes(size - len(weights))
        return len(told).to_bytes(8, "little") + told + weights + more

    return made


SERIES: dict[str, Series] = {
    "numpy": wheels_of("numpy"),
    "scipy": wheels_of("scipy"),
    "model, a quarter retrained": made_of(tensors("a"), tensors("a", kept=0.75)),
    "model, longer header": made_of(tensors("b"), tensors("b", b" " * 321)),
    "noise": made_of(tensors("c"), tensors("d")),
}


# ---------------------------------------------------------------- one series through origin and edge


def published(node: Node, path: str, file: Path) -> None:
    put(f"{node.origin}{path}", file.read_bytes(), node.bearer)


def cut(url: str, node: Node, path: str, file: Path) -> None:
    """Wait until the node knows of which chunks a file consists."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    end = time.monotonic() + PATIENCE_S
    while ask("GET", f"{url}/-/peer/recipe{path}?piece-sha256={sha256}", node.bearer)[0] != 200:
        if time.monotonic() > end:
            raise Refused(f"{path} was not cut")
        time.sleep(0.05)


def sent(node: Node, home: Path, path: str) -> int:
    """What the origin sent of a file, as it is or in pieces."""
    mark = f"{node.public}/generic/mark/{time.time_ns()}"
    ask("GET", node.origin + mark)
    end = time.monotonic() + PATIENCE_S
    while True:
        lines = "".join(one.read_text() for one in sorted((home / "data" / "origin" / "log").glob("*.jsonl")))
        if mark in lines:
            break
        if time.monotonic() > end:
            raise Refused("the access log is not written")
        time.sleep(0.05)
    told = [json.loads(line) for line in lines.splitlines()]
    ours = [one for one in told if one.get("method") == "GET"]
    wanted = (path, f"/-/peer/pieces{path}", f"/-/peer/recipe{path}")
    return sum(int(one["bytes"]) for one in ours if one["target"].startswith(wanted))


def on_disk(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / "data" / "origin" / "packs").glob("*.pack"))


def series(node: Node, home: Path, name: str, files: list[Path]) -> list[Row]:
    slug = name.replace(" ", "-").replace(",", "")
    paths = [f"{node.public}/generic/{slug}-{number}/1/{file.name}" for number, file in enumerate(files)]
    total = unique = crossed = fresh = 0
    for number, (path, file) in enumerate(zip(paths, files, strict=True)):
        size, before = file.stat().st_size, on_disk(home)
        published(node, path, file)
        cut(node.origin, node, path, file)
        time.sleep(0.2)
        grown = on_disk(home) - before
        total, unique = total + size, unique + grown
        crossed_before = sent(node, home, path)
        status, _, body = ask("GET", node.edge + path)
        if status != 200 or hashlib.sha256(body).digest() != hashlib.sha256(file.read_bytes()).digest():
            raise Refused(f"{path}: {status}, or other bytes than were published")
        cut(node.edge, node, path, file)
        if number:
            fresh += grown
            crossed += sent(node, home, path) - crossed_before
    note = f"{len(files)} versions, {size_text(total)}"
    stored = Row(f"{name}: stored", "% of all", goal="<= 1.1", note=note)
    stored.ours, stored.theirs = [100 * unique / total], [MEASURED[name]]
    wire = Row(f"{name}: over the wire, later versions", "MB", goal="<= 1.1", note="beside: their unique bytes on disk")
    wire.ours, wire.theirs = [crossed / 1e6], [fresh / 1e6]
    return [stored, wire, warm(node, name, paths[-1], files[-1].stat().st_size)]


def warm(node: Node, name: str, path: str, size: int) -> Row:
    """The last version from the origin, cut and shared, beside as many bytes in one piece. Sides take turns."""
    row = Row(f"{name}: warm read", "MB/s", goal=">= 0.9", note="beside: as many bytes in one piece")
    whole = f"{node.public}/generic/whole/{time.time_ns()}"
    put(node.origin + whole, Filler(name, size), node.bearer)
    sides = [(whole, row.theirs), (path, row.ours)]
    for number in range(WARM_READS + 1):
        for asked, found in sides[:: 1 if number % 2 else -1]:
            speed = timed(node.origin + asked, size)[1]
            if number:  # the first brings both into memory
                found.append(speed)
    return row


# ---------------------------------------------------------------- cutting, and the table of chunks


def composing(home: Path, files: list[Path]) -> Row:
    """How fast is stored again in pieces what was uploaded? In this process: read, cut, hash, write, prove, sync."""
    row = Row("cut and composed", "MB/s", goal=">= 300", note="beside the upload, not in its way")
    with tempfile.TemporaryDirectory(dir=home) as folder:
        env = open_environment(_made(Path(folder) / "index"), durable=True)
        shelf = BlobShelf(Path(folder) / "packs", env, BlobTables.of(env), bytes(16), durable=True)
        for file in files:
            data = file.read_bytes()
            _kept(shelf, Path(folder), data)
            begin = time.perf_counter()
            while Composer(shelf).work():
                pass
            row.ours.append(len(data) / (time.perf_counter() - begin) / 1e6)
        shelf.close()
        env.close()
    return row


def _kept(shelf: BlobShelf, folder: Path, data: bytes) -> None:
    """A blob as an upload leaves it."""
    with Staged(_made(folder / "staging")) as staged:
        staged.write(data)
        staged.seal()
        shelf.prepare(staged)
        with shelf.env.begin(write=True) as txn:
            shelf.write(txn, [staged])
        staged.keep()


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def run(told: Options) -> Result:
    result = Result("dedup", against="beside")
    files = {}
    for name, make in SERIES.items():
        if told.cases in name:
            folder = _made(told.home / name.replace(" ", "-"))
            files[name] = list(make(folder, told))
    if files:
        with Node(told.home / "node") as node:
            for name, some in files.items():
                result.rows += series(node, told.home / "node", name, some)
        result.rows.append(composing(told.home, max(files.values(), key=lambda some: sum(map(_size, some)))))
    for row in result.rows:
        if (found := ratios(row.ours, row.theirs)) is not None and "warm" in row.case:
            result.notes.append(f"{row.case}: {found.text()} of one piece")
    return result


def _size(path: Path) -> int:
    return path.stat().st_size
