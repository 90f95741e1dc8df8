"""What do those feel who publish and read while a repository or workspace with very many packages is deleted?

A node of its own is filled with `--count` thousand packages (through the store's own commit path), published to and
read from as before, and again while what was filled is deleted and cleared away. Told are also the answer to the
deletion itself, the longest that a step held the write lock, and how long all of it takes. `--cases` repository or
workspace.
"""

import json
import os
import subprocess
import time
from typing import Any

from bench.clients import Refused, own_raw
from bench.filling import fill
from bench.machine import SERVER_CORE
from bench.numbers import percentile
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin, ask, entrepot, put

BIG, SMALL = "big/files", "small/files"
CONNECTIONS = 16
BODY_BYTES = 1 << 10
FILE = "read.bin"
WAIT_SECONDS_MAX = 900.0


class Node:
    """An origin with one large repository, and a small one beside it."""

    def __init__(self, told: Options, kind: str) -> None:
        self.told = told
        self.origin = LoneOrigin(told.home / f"deleting-{kind}", BIG)
        fill(self.origin.home / "data", BIG, "generic", told.count * 1_000)
        os.sync()

    def call(self, method: str, path: str) -> Any:
        url = f"{self.origin.url}/-/api/v1{path}"
        status, _, body = ask(method, url, self.origin.bearer)
        if status >= 300:
            raise Refused(f"{method} {path} answered {status}")
        return json.loads(body) if body else None

    def prepare(self) -> None:
        """The small repository, with a file to read."""
        told = os.environ | {"ENTREPOT_URL": self.origin.url, "ENTREPOT_TOKEN": self.origin.token}
        for line in (["workspace", "create", "small"], ["repo", "create", SMALL]):
            subprocess.run([entrepot(), *line], env=told, check=True, capture_output=True)
        put(f"{self.origin.url}/{SMALL}/generic/{FILE}", bytes(BODY_BYTES), self.origin.bearer)

    def ms(self, what: str, path: str, seconds: float) -> list[float]:
        size = ["--size", str(BODY_BYTES)] if what == "put" else []
        found = own_raw(
            what,
            f"{self.origin.url}/{path}",
            connections=CONNECTIONS,
            seconds=seconds,
            options=[*size, "--header", f"Authorization: Bearer {self.origin.token}", "--latencies"],
        )
        if set(found.statuses) - {"200", "201", "204"} or not found.first_byte_ms:
            raise Refused(f"{what} answered {found.statuses}")
        return found.first_byte_ms

    def p99(self) -> tuple[float, float]:
        """Of publishes, and of reads, one after the other."""
        publishes = self.ms("put", f"{SMALL}/generic/bench", self.told.seconds)
        return percentile(publishes, 99), percentile(self.ms("fetch", f"{SMALL}/generic/{FILE}", self.told.seconds), 99)

    def left(self) -> list[Any]:
        found: list[Any] = self.call("GET", "/status")["clearing"]
        return found


def measure(told: Options, kind: str) -> list[Row]:
    node = Node(told, kind)
    what = f"{told.count},000 packages, {kind}"
    answer, whole = Row(f"{what}: DELETE answered", "ms"), Row(f"{what}: all cleared away", "s")
    publish = Row(f"{what}: publish p99 meanwhile", "ms", goal="<= 3")
    read = Row(f"{what}: read p99 meanwhile", "ms", goal="<= 3")
    with node.origin.start(core=SERVER_CORE):
        node.prepare()
        before = [node.p99() for _ in range(3)]
        began_s = time.monotonic()
        node.call("DELETE", "/workspaces/big?confirm=big" if kind == "workspace" else f"/repositories/{BIG}")
        answer.ours.append(1000 * (time.monotonic() - began_s))
        while node.left():
            for row, now, then in zip((publish, read), node.p99(), before[len(publish.ours) % 3], strict=True):
                row.ours.append(now)
                row.theirs.append(then)
            if time.monotonic() - began_s > WAIT_SECONDS_MAX:
                raise Refused("what was deleted is not cleared away")
        whole.ours.append(time.monotonic() - began_s)
        whole.note = held_of(node)
    return [answer, publish, read, whole]


def held_of(node: Node) -> str:
    """What the last run tells of itself."""
    path = node.origin.home / "data" / "upkeep" / "clearing.json"
    progress = json.loads(path.read_text())["progress"]
    return f"{progress['rows']:,} rows, write lock held {progress['held_ms']} ms at most"


def run(told: Options) -> Result:
    result = Result("deleting", against="before")
    for kind in ("repository", "workspace"):
        if told.cases in kind:
            result.rows += measure(told, kind)
    return result
