"""What does it cost that much is there: a publish beside a million packages, a look-up among ten million chunks?

For each size a node of its own is filled through the store's own commit path (`filling`), an entry a package, and
published to from one connection and from 64; beside it, in the same rounds, one that was empty when it began. The
largest has `--count` thousand packages, the others a tenth and a hundredth. The table of chunks grows up to ten times
as many rows and is looked at on the way. `--cases packages` or `chunks` measures one of them; `--png` draws the curves.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from bench.clients import Refused, own_raw
from bench.filling import fill
from bench.machine import SERVER_CORE
from bench.numbers import percentile
from bench.options import Options
from bench.report import Curve, Result, Row
from bench.servers import LoneOrigin
from storage.blobs.ledger import ChunkRow, PackRow
from storage.blobs.shelf import BlobShelf
from storage.index.index import open_environment
from storage.index.tables import BlobTables

REPOSITORY = "bench/files"
READY = "ready"
BODY_BYTES = 1 << 10
CROWD = 64
CHUNKS_A_PACKAGE = 10
BATCH = 2_000
ASKED_EVERY = 100
LOOKS = 5


# ---------------------------------------------------------------- packages


def amounts(told: Options) -> list[int]:
    """Of packages, the largest last."""
    return [told.count * 10, told.count * 100, told.count * 1_000]


def filled(told: Options, count: int) -> LoneOrigin:
    """A stopped origin with so many packages; one that an earlier run left where the run is told to keep."""
    home = (told.keep or told.home) / f"growth-{count}"
    ready = home / READY
    if ready.exists():
        port, token = ready.read_text().split()
        return LoneOrigin.kept(home, int(port), token)
    origin = LoneOrigin(home, REPOSITORY)
    fill(home / "data", REPOSITORY, "generic", count)
    os.sync()  # what the kernel has yet to write of it is no cost of a publish
    ready.write_text(f"{origin.port} {origin.token}")
    return origin


def prepare(told: Options) -> None:
    """Fills the nodes, where they are to be kept and are not there yet."""
    if told.keep is not None and told.cases in "packages":
        for count in amounts(told):
            filled(told, count)


def publish_ms(origin: LoneOrigin, connections: int, told: Options) -> list[float]:
    """Milliseconds until each of some publishes was acknowledged."""
    found = own_raw(
        "put",
        f"{origin.url}/{REPOSITORY}/generic/bench",
        connections=connections,
        seconds=told.seconds,
        options=["--size", str(BODY_BYTES), "--header", f"Authorization: Bearer {origin.token}", "--latencies"],
    )
    if set(found.statuses) - {"200", "201", "204"} or not found.first_byte_ms:
        raise Refused(f"publishes answered {found.statuses}")
    return found.first_byte_ms


class Packages:
    """What is told of a publish, size by size."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        about = "a publish, of one in an empty node"
        self.alone = Curve(f"{about}: p50, one connection", "times", "packages", 1.5)
        self.crowd = Curve(f"{about}: p99, {CROWD} connections", "times", "packages", 1.5)
        self.index = Curve("index", "bytes a package", "packages")
        self.start = Curve("from start to listening", "s", "packages")
        self.curves = [self.alone, self.crowd, self.index, self.start]

    def measure(self, told: Options, count: int) -> None:
        """The node of this size beside a new one; sides take turns, and the first one changes."""
        origin, empty = filled(told, count), LoneOrigin(told.home / f"empty-{count}", REPOSITORY)
        self.index.points.append((count, [used_bytes(origin.home / "data" / "index") / count]))
        with empty.start(core=SERVER_CORE):
            began = time.perf_counter()
            with origin.start(core=SERVER_CORE):
                self.start.points.append((count, [time.perf_counter() - began]))
                self._publish(told, count, origin, empty)

    def _publish(self, told: Options, count: int, origin: LoneOrigin, empty: LoneOrigin) -> None:
        for connections, curve, percent in ((1, self.alone, 50), (CROWD, self.crowd, 99)):
            row = Row(f"{count:,} packages: publish p{percent}, {connections} connections", "ms", goal="<= 1.5")
            sides = [(origin, row.ours), (empty, row.theirs)]
            for number in range(told.rounds + 1):
                for side, found in sides[:: 1 if number % 2 else -1]:
                    told_ms = percentile(publish_ms(side, connections, told), percent)
                    if number:  # the first brings both into memory
                        found.append(told_ms)
            self.rows.append(row)
            curve.points.append((count, [a / b for a, b in zip(row.ours, row.theirs, strict=True)]))


def used_bytes(folder: Path) -> int:
    """What the files of a folder take of the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- chunks


def table(home: Path, counts: list[int]) -> Iterator[tuple[int, float, float, list[float]]]:
    """Rows as publishing leaves them: keys at random, some thousand a transaction. For each count, when there are so
    many: (count, bytes a chunk, the same with pages that are free for reuse, us of a look-up by round)."""
    home.mkdir(parents=True)
    env = open_environment(home, durable=False)
    tables = BlobTables.of(env)
    shelf = BlobShelf(home / "packs", env, tables, bytes(16), durable=False)
    ledger, keys = shelf.ledger, []
    with env.begin(write=True) as txn:
        ledger.put_pack(txn, 1, PackRow(True, 0, 64, 0))
    there = 0
    for count in counts:
        for at in range(there, count, BATCH):
            batch = [os.urandom(32) for _ in range(min(BATCH, count - at))]
            with env.begin(write=True) as txn:
                for number, key in enumerate(batch):
                    ledger.put_chunk(txn, key, ChunkRow(1, (at + number) << 16, 65_536))
            keys += batch[::ASKED_EVERY]
        there = count
        with env.begin() as txn:
            stat = txn.stat(tables.chunks)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        file = (env.info()["last_pgno"] + 1) * stat["psize"] / count
        yield count, pages * stat["psize"] / count, file, [look_up_us(shelf, keys) for _ in range(LOOKS)]
    shelf.close()
    env.close()


def look_up_us(shelf: BlobShelf, keys: list[bytes]) -> float:
    """Of each of these, in another order each time."""
    asked = random.Random(os.urandom(8)).sample(keys, len(keys))
    begin = time.perf_counter()
    found = shelf.find_chunks(asked)
    spent = time.perf_counter() - begin
    if None in found:
        raise Refused("a chunk was not found")
    return spent / len(asked) * 1e6


def chunks(told: Options) -> tuple[list[Row], list[Curve]]:
    most = told.count * 1_000 * CHUNKS_A_PACKAGE
    size = Curve("index of chunks", "bytes a chunk", "chunks", 120)
    speed = Curve("look-up of a chunk", "us", "chunks", 10)
    rows = []
    for count, bytes_, file, looks in table(told.home / "chunks", [most // 100, most // 10, most * 3 // 10, most]):
        note = f"with pages free for reuse {file:.0f}"
        rows += [
            Row(f"{count:,} chunks: index", "bytes a chunk", [bytes_], goal="<= 120", note=note),
            Row(f"{count:,} chunks: look-up", "us", looks, goal="<= 10"),
        ]
        size.points.append((count, [bytes_]))
        speed.points.append((count, looks))
    return rows, [size, speed]


def run(told: Options) -> Result:
    result = Result("growth", against="empty")
    if told.cases in "packages":
        found = Packages()
        for count in amounts(told):
            found.measure(told, count)
        result.rows += found.rows
        result.curves += found.curves
        for curve in (found.index, found.start):
            told_of = [f"{values[0]:,.2f} beside {count:,.0f}" for count, values in curve.points]
            result.notes.append(f"{curve.name}, {curve.unit}: {', '.join(told_of)} packages")
    if told.cases in "chunks":
        rows, curves = chunks(told)
        result.rows += rows
        result.curves += curves
    return result
