"""How fast is the room of deleted files given back, and how much do clients feel of it?

An origin with one worker is filled; three files in four are deleted, small ones that share packs and large ones that
have their own. Then the same reads are measured idle and while the sweep runs, in the same run, until it is done; it
runs at the rate that is a node's default, or without a bound (`--cases unbounded`). Reclaimed is what the disk has more
than before: the packs that went, less what was copied out of them.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from bench.clients import Refused, own_raw
from bench.machine import SERVER_CORE
from bench.numbers import size_text
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Filler, LoneOrigin, Running, ask, entrepot, put

REPOSITORY = "bench/files"
SMALL_BYTES = 256 << 10
LARGE_BYTES = 64 << 20
LARGE_SHARE = 0.25
KEPT_EVERY = 4
READ_BYTES = 64 << 10
READ_CONNECTIONS = 64
WRITERS = 8
SLICE_SECONDS = 1.0
SETTLE_SECONDS = 0.2
SWEEP_SECONDS_MAX = 120.0


def run(told: Options) -> Result:
    """As much as `--big-bytes` is deleted."""
    origin = LoneOrigin(told.home / "origin", REPOSITORY)
    settings = told.home / "sweep.toml"
    rate = "sweep_rate_max_bytes_s = 0\n" if told.cases == "unbounded" else ""
    settings.write_text(f"[upkeep]\nsweep_grace_seconds = 0\nsweep_every_seconds = 0\n{rate}")
    command = [entrepot(), "serve", "--role", "origin", "--data", str(origin.home / "data"), "--port", str(origin.port)]
    with Running([*command, "--config", str(settings)], origin.home / "node.log", SERVER_CORE, cwd=origin.home) as node:
        node.wait_for_port(origin.port)
        deleted = _fill(origin, told.big_bytes)
        read = f"{origin.url}/{REPOSITORY}/generic/read"
        put(read, Filler("read", READ_BYTES), origin.bearer)
        idle = [_reads(read, origin, told.seconds) for _ in range(told.rounds)]
        slices, after = _swept(read, origin)
    net = after["reclaimed_bytes"] - after["copied_bytes"]
    reading = f"{size_text(READ_BYTES)} reads from {READ_CONNECTIONS} connections"
    if not slices:
        raise Refused("the sweep was over before anything could be measured: give more --big-bytes")
    busy = [rate for rate, _ in slices]
    middle = sorted(idle)[len(idle) // 2]
    return Result(
        "sweep",
        rows=[
            Row("reclaimed, net", "MB/s", [net / after["seconds"] / 1e6], goal=">= 200"),
            Row("reclaimed in each slice, net", "MB/s", [size / 1e6 for _, size in slices]),
            Row(f"{reading}, idle", "MB/s", idle),
            Row(f"{reading}, during the sweep", "MB/s", busy),
            Row("during the sweep, of idle", "ratio", [rate / middle for rate in busy], goal=">= 0.8"),
        ],
        notes=[
            f"{size_text(deleted)} were deleted; {size_text(int(after['reclaimed_bytes']))} of packs went, "
            f"{size_text(int(after['copied_bytes']))} were copied, in {after['seconds']:.1f} s"
        ],
    )


def _fill(origin: LoneOrigin, size: int) -> int:
    """Publish, and delete three in four; how many bytes were deleted."""
    small = int(size * (1 - LARGE_SHARE) / SMALL_BYTES * KEPT_EVERY / (KEPT_EVERY - 1))
    large = max(1, int(size * LARGE_SHARE / LARGE_BYTES))
    names = [f"small/{n}" for n in range(small)] + [f"large/{n}" for n in range(large)]
    gone = [f"small/{n}" for n in range(small) if n % KEPT_EVERY] + names[small:]

    def publish(name: str) -> None:
        length = SMALL_BYTES if name.startswith("small") else LARGE_BYTES
        put(f"{origin.url}/{REPOSITORY}/generic/{name}", Filler(name, length), origin.bearer)

    def delete(name: str) -> None:
        status, _, body = ask("DELETE", f"{origin.url}/{REPOSITORY}/generic/{name}", origin.bearer)
        if status != 204:
            raise Refused(f"DELETE {name}: {status} {body[:200]!r}")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(publish, names))
        list(pool.map(delete, gone))
    return sum(SMALL_BYTES if name.startswith("small") else LARGE_BYTES for name in gone)


def _reads(url: str, origin: LoneOrigin, seconds: float) -> float:
    options = ["--header", f"Authorization: Bearer {origin.token}"]
    found = own_raw("fetch", url, connections=READ_CONNECTIONS, seconds=seconds, options=options)
    return found.body_bytes / found.seconds / 1e6


def _state(origin: LoneOrigin) -> dict[str, object]:
    return dict(json.loads(ask("GET", f"{origin.url}/-/api/v1/sweep", origin.bearer)[2]))


def _net(state: dict[str, object]) -> int:
    progress = state["progress"]
    assert isinstance(progress, dict)
    return int(progress.get("reclaimed_bytes", 0)) - int(progress.get("copied_bytes", 0))


def _swept(url: str, origin: LoneOrigin) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """Ask for a sweep, and read until it is over: (reads in MB/s, bytes a second given back) by slice, and its sums."""
    headers = origin.bearer | {"Content-Type": "application/json"}
    status, _, body = ask("POST", f"{origin.url}/-/api/v1/sweep", headers, b"{}")
    if status != 202:
        raise Refused(f"the sweep is refused: {status} {body[:200]!r}")
    end = time.monotonic() + SWEEP_SECONDS_MAX
    while not (state := _state(origin))["running"] and not state["runs"]:
        time.sleep(SETTLE_SECONDS / 10)
    slices = []
    while time.monotonic() < end:
        before, began = _net(state), time.monotonic()
        rate = _reads(url, origin, SLICE_SECONDS)
        state = _state(origin)
        if not state["running"]:
            break
        slices.append((rate, (_net(state) - before) / (time.monotonic() - began)))
    progress = state["progress"]
    assert isinstance(progress, dict)
    seconds = (int(str(state["ended_ms"])) - int(str(state["began_ms"]))) / 1e3
    sums = {name: float(progress[name]) for name in ("reclaimed_bytes", "copied_bytes")}
    return slices, sums | {"seconds": max(seconds, 1e-3)}
