"""How much quicker is a large file pushed over a long way in parts at the same time than in one request?

The origin stands in a namespace of its own at the end of a slow wire, and `entrepot push` asks it from here, as a user
does: its start, the digest of the file, the parts and the last word are all in the figure.
"""

import os
import subprocess
import time
from pathlib import Path

from bench.machine import use_all_cores
from bench.namespaces import Site, Sites, Way
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin, Running, ask, entrepot

REPOSITORY = "bench/files"
WAYS = (("40 ms each way", Way(40.0)), ("40 ms each way, 1 of 1,000 lost", Way(40.0, loss=0.001)))
FILE_BYTES_MIN, FILE_BYTES_MAX = 64 << 20, 128 << 20
"""Smaller ones are not cut."""
START_SECONDS_MAX = 60.0


def run(told: Options) -> Result:
    use_all_cores()
    size = max(FILE_BYTES_MIN, min(told.big_bytes, FILE_BYTES_MAX))
    file = told.home / "large.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as content:
        for _ in range(size >> 20):
            content.write(os.urandom(1 << 20))
    result = Result("push")
    origin = LoneOrigin(told.home / "node", REPOSITORY)
    for words, way in WAYS:
        site = Site(1, way)
        with Sites([site], told.home), _serving(origin, site) as node:
            url = f"http://{site.address}:{origin.port}"
            _wait(node, url)
            rows = {parts: Row(f"{size >> 20} MiB in {parts}, {words}", "MB/s") for parts in (1, 4, 8)}
            for number in range(told.rounds):
                for parts, row in rows.items():
                    seconds = _pushed(origin, url, file, f"{number}-{parts}.bin", parts, told.home)
                    row.ours.append(size / seconds / 1e6)
            result.rows += rows.values()
    result.notes += [
        "one worker of an origin in a network namespace at the end of a wire, the command in another; on this machine",
        "in 1: one PUT; in 4 and 8: parts of a resumable upload at the same time; the command's start is in the figure",
    ]
    return result


def _serving(origin: LoneOrigin, site: Site) -> Running:
    data = str(origin.home / "data")
    at = ["--host", site.address, "--port", str(origin.port)]
    command = [entrepot(), "serve", "--role", "origin", "--data", data, *at]
    return Running(site.entering(*command), origin.home / "far.log", None, cwd=origin.home)


def _wait(node: Running, url: str) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            ask("GET", f"{url}/-/health")
            return
        except OSError:
            if time.monotonic() > end or node.process.poll() is not None:
                raise
            time.sleep(0.1)


def _pushed(origin: LoneOrigin, url: str, file: Path, name: str, parts: int, home: Path) -> float:
    environment = os.environ | {"ENTREPOT_URL": url, "ENTREPOT_TOKEN": origin.token, "XDG_CACHE_HOME": str(home)}
    command = [entrepot(), "push", str(file), f"{REPOSITORY}/generic/{name}", "--at-a-time", str(parts)]
    begun_s = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    return time.perf_counter() - begun_s
