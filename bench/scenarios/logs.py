"""What does the client log cost delivery, how fast is it taken, and how soon does a month of it answer?

Delivery: the same file from two origins that differ in the log alone, in turns. Taking: lines as the loop writes them,
made to segments, shipped, counted and merged by one core. A month: drawn rows of 30 days and two nodes, merged as an
origin does it, asked as the API asks.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path

import duckdb
import trio

from bench.clients import wrk
from bench.machine import SERVER_CORE, use_all_cores
from bench.options import Options
from bench.report import Result, Row
from bench.servers import LoneOrigin, put
from gateway.config import Logs
from gateway.insight.requestlog import RequestLog, fragment, peer_tag, stamp
from gateway.logs.columns import ROW
from gateway.logs.jobs import Folders
from gateway.logs.keeping import Keeping, Receiving
from gateway.logs.merging import Merging
from gateway.logs.questions import Questions
from gateway.logs.register import Identity, Register
from gateway.logs.segments import OWN
from gateway.logs.tasks import Filter

REPOSITORY = "bench/files"
HIGHEST, GOAL = 64, 3
"""Connections: with so many a core gives out all it can, and about the 50,000 a second that the goal speaks of."""
DAYS = 30
NODES = ("tokyo", "oslo")
SEGMENTS_A_DAY = 2
DAY_MS = 24 * 3600 * 1000
END = datetime(2026, 11, 1, tzinfo=UTC)
PACKAGES, COUNTRIES, PRINCIPALS = 20_000, 60, 5_000

DRAWN = f"""
copy (
    with drawn as (
        select
            epoch_ms(cast({{start}} + floor(random() * {DAY_MS}) as bigint)) as time,
            cast(floor(exp(random() * ln({PACKAGES}))) - 1 as integer) as p,
            cast(floor(exp(random() * ln({COUNTRIES}))) - 1 as integer) as c,
            cast(floor(3 * pow(random(), 3)) as integer) as v, random() as r
        from range({{rows}})
    )
    select
        time, '{{node}}' as node, '198.51.' || (p % 100) || '.' || (c % 250) as peer,
        chr(65 + c // 26) || chr(65 + c % 26) as country, 'GET' as method,
        cast(case when r < 0.9 then 200 when r < 0.97 then 304 else 404 end as usmallint) as status,
        cast(1000 + p * 13 as ubigint) as bytes, case when r < 0.85 then 'HIT' else 'FILL' end as outcome,
        'tok_' || (p * 7 + c) % {PRINCIPALS} as principal, 'w' || p % 5 as workspace, 'main' as repository,
        case p % 3 when 0 then 'pypi' when 1 then 'npm' else 'oci' end as format, 'package-' || p as package,
        '1.' || v as version, 'package-' || p || '-1.' || v || '.tgz' as file, '' as tag,
        case p % 3 when 0 then 'pip' when 1 then 'npm' else 'docker' end as client, cast(r as float) as seconds,
        cast(null as ubigint) as lost, cast(null as timestamp) as lost_since
    from drawn order by workspace, repository, package, time
) to '{{to}}' (format parquet, compression zstd, row_group_size 100000)
"""


# ---------------------------------------------------------------- what delivery feels


class Everything:
    """All nodes are believed all that they tell."""

    def workspaces(self, node: str, names: frozenset[str]) -> frozenset[str]:
        return names

    def tokens(self, node: str, ids: frozenset[str]) -> frozenset[str]:
        return ids

    def born(self, places: frozenset[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return dict.fromkeys(places, 0)


def delivery(told: Options) -> list[Row]:
    """1 KB from an origin that writes no log and one that does and makes segments of it: at the highest rate, and where
    each of a few connections asks again as soon as it is answered, so that whatever slows an answer lowers the rate."""
    silent = told.home / "silent.toml"
    silent.write_text("[logs]\nwritten = false\n")
    names = {HIGHEST: "1 KB c64, as many as one core gives out", GOAL: "1 KB c3, about the rate of the goal"}
    rows = {
        connections: Row(f"{name}, with the log / without", "requests/s", goal=">= 0.95", note="entrepot = with")
        for connections, name in names.items()
    }
    sides = [
        LoneOrigin(told.home / "on", REPOSITORY),
        LoneOrigin(told.home / "off", REPOSITORY, ("--config", str(silent))),
    ]
    for side in sides:
        with side.start():
            put(f"{side.url}/{REPOSITORY}/generic/file", bytes(1024), side.bearer)
    for number, (connections, row) in product(range(told.rounds), rows.items()):
        for side in sides[:: 1 if number % 2 else -1]:
            with side.start(core=SERVER_CORE) as node:  # alone, so that one's segments are not made in the other's time
                url = f"{side.url}/{REPOSITORY}/generic/file"
                header = [f"Authorization: Bearer {side.token}"]
                wrk(node.pid, url, connections=connections, seconds=1, headers=header)
                found = wrk(node.pid, url, connections=connections, seconds=told.seconds, headers=header)
                rate = found.requests / found.seconds
                cpu = found.server_cpu_seconds / max(found.requests, 1) * 1e6
                (row.ours if side is sides[0] else row.theirs).append(rate)
                (row.ours_cpu if side is sides[0] else row.theirs_cpu).append(cpu)
    return list(rows.values())


# ---------------------------------------------------------------- taking


def taking(told: Options) -> list[Row]:
    """Lines of an edge's log, all on one core: what each step takes of it."""
    lines = 200_000 if told.quick else 3_000_000
    rows = {
        name: Row(name, "lines/s", goal=goal) for name, goal in (
            ("lines joined and written", ">= 50,000"), ("segments made", ">= 50,000"), ("taken in at the origin", ""),
            ("counted", ""), ("merged, with their sums", ""), ("all of it, one after the other", ">= 50,000"),
        )
    }  # fmt: skip
    os.sched_setaffinity(0, {SERVER_CORE})
    for number in range(1 if told.quick else min(told.rounds, 3)):
        edge, origin = told.home / f"edge-{number}", told.home / f"origin-{number}"
        register = Register(Folders(origin).own)
        keeping = Keeping(edge, "tokyo", Logs(), None, None)
        keeping.folders.make(OWN)
        Folders(origin).make(OWN)
        receiving = Receiving(origin, register=register)
        merging = Merging(Folders(origin), Logs(), register, Everything(), now=lambda: time.time() + 3 * 86400)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("lines joined and written", partial(write, edge, lines)),
            ("segments made", keeping.take),
            ("taken in at the origin", partial(ship, keeping, receiving)),
            ("counted", merging.count),
            ("merged, with their sums", merging.round),
        ]
        total = 0.0
        for name, step in steps:
            begin = time.perf_counter()
            step()
            spent = time.perf_counter() - begin
            total += spent
            rows[name].ours.append(lines / spent)
        rows["all of it, one after the other"].ours.append(lines / total)
        register.close()
    use_all_cores()
    return list(rows.values())


def write(edge: Path, count: int) -> None:
    """Lines as the loop hands them to the thread that writes, through that thread."""
    log = RequestLog(edge / "log" / "access-0.jsonl", file_bytes_max=1 << 40)
    drawn = random.Random(7)
    peers = [peer_tag(f"198.51.100.{n}", "https") for n in range(250)]
    told = [
        fragment("GET", b"/acme/main/pypi/files/package-%d-1.0.tgz" % n, 200, 1000 + n, outcome="HIT",
                 principal=f"tok_{n % 50}", repository="acme/main", client="pip",
                 about=("pypi", f"package-{n}", "1.0", f"package-{n}-1.0.tgz"))
        for n in range(2000)
    ]  # fmt: skip
    at_s, batch = time.time() - 60, 2048
    for at in range(0, count, batch):
        mark = stamp(at_s + at / 50_000)
        for _ in range(min(batch, count - at)):
            log.pending += (mark, peers[drawn.randrange(250)], told[int(2000 * drawn.random() ** 3)])
        while log.behind():
            time.sleep(0.001)
        log.flush()
    log.close()
    assert log.dropped == 0


def ship(keeping: Keeping, receiving: Receiving) -> None:
    for path in sorted(keeping.folders.out.iterdir()):
        receiving.keep("tokyo", path.name, path.read_bytes())
        path.unlink()


# ---------------------------------------------------------------- a month


def month(told: Options) -> list[Row]:
    """Questions over a month of rows, through the process that answers them, as the API has it."""
    millions = max(1, told.count // 10) if told.quick else told.count
    root = (told.keep or told.home) / f"month-{millions}M"
    use_all_cores()
    made = root / "made.json"
    if not made.exists():
        root.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps(fill(root, millions * 1_000_000)))
    spent = json.loads(made.read_text())
    asking = Questions(root, Logs())
    since = int((END - timedelta(days=DAYS)).timestamp() * 1000)
    until = int(END.timestamp() * 1000)
    odd = 1_234_567
    rows = [
        Row(f"{millions} M rows: {name}", "s", goal=goal) for name, goal in (
            ("top packages by country", "<= 2"), ("the same of one workspace", ""),
            ("the same, from and to an odd millisecond", ""), ("requests by day and repository", ""),
            ("by client", ""), ("by principal, from the rows", ""),
        )
    ]  # fmt: skip
    whole = Filter(since, until)
    questions = (
        (("package", "country"), whole), (("package", "country"), Filter(since, until, workspace="w1")),
        (("package", "country"), Filter(since + odd, until - odd)), (("repository", "day"), whole),
        (("client",), whole), (("principal",), whole),
    )  # fmt: skip
    for _ in range(told.rounds):
        for row, (by, wanted) in zip(rows, questions, strict=True):
            begin = time.perf_counter()
            found = trio.run(asked, asking, wanted, by)
            row.ours.append(time.perf_counter() - begin)
            assert found
            assert by[0] != "client" or sum(one["requests"] for one in found) == millions * 1_000_000
    rows.append(Row(f"{millions} M rows: drawn and merged", "s", [spent["drawn_s"] + spent["merged_s"]]))
    rows.append(Row(f"{millions} M rows: merging alone", "rows/s", [millions * 1e6 / spent["merged_s"]]))
    rows.append(Row(f"{millions} M rows: rows", "MB", [spent["rows_bytes"] / 1e6]))
    rows.append(Row(f"{millions} M rows: sums", "MB", [spent["sums_bytes"] / 1e6]))
    return rows


async def asked(asking: Questions, wanted: Filter, by: tuple[str, ...]) -> list[dict[str, int]]:
    return (await asking.count(wanted, lambda node: True, by, 100, by_bytes=False)).items


def fill(root: Path, rows: int) -> dict[str, float]:
    """A month of segments, drawn, taken in and merged."""
    folders, limits = Folders(root), Logs(keep_bytes_max=1 << 40, keep_days=10_000)
    folders.make(OWN)
    register = Register(folders.own)
    now_s = END.timestamp() + 2 * 86400
    merging = Merging(folders, limits, register, Everything(), now=lambda: now_s)
    drawn_s = merged_s = 0.0
    each = rows // (DAYS * len(NODES) * SEGMENTS_A_DAY)
    left = rows - each * DAYS * len(NODES) * SEGMENTS_A_DAY
    for number, (day, node, part) in enumerate(parts()):
        begin = time.perf_counter()
        draw(folders, register, day, node, part, each + (left if not number else 0))
        drawn_s += time.perf_counter() - begin
        if part == SEGMENTS_A_DAY - 1:
            begin = time.perf_counter()
            merging.round()
            merged_s += time.perf_counter() - begin
            for path in (folders.kept / node).glob("*.parquet"):
                path.unlink()
    register.close()
    sizes = {path: path.stat().st_size for path in folders.kept.rglob("*.parquet")}
    rows_bytes = sum(size for path, size in sizes.items() if path.name == "rows.parquet")
    sums_bytes = sum(sizes.values()) - rows_bytes
    return {"drawn_s": drawn_s, "merged_s": merged_s, "rows_bytes": rows_bytes, "sums_bytes": sums_bytes}


def parts() -> Iterator[tuple[datetime, str, int]]:
    for back in range(DAYS, 0, -1):
        for node in NODES:
            for part in range(SEGMENTS_A_DAY):
                yield END - timedelta(days=back), node, part


def draw(folders: Folders, register: Register, day: datetime, node: str, part: int, rows: int) -> None:
    """One segment of a day."""
    mark = f"{day.toordinal():08x}{NODES.index(node):04x}{part:04x}"
    name = f"{day:%Y%m%d}T235959-0-{mark}-0-{rows}.parquet"
    fresh = folders.work / name
    start = int(day.timestamp() * 1000)
    settings: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(folders.own / "spill")}
    with duckdb.connect(":memory:", config=settings) as engine:
        engine.execute("set timezone = 'UTC'")
        engine.execute(DRAWN.format(start=start, rows=rows, node=node, to=fresh))
        columns = engine.execute(f"describe select * from read_parquet('{fresh}')").fetchall()
        assert [one[0] for one in columns] == list(ROW)
    (folders.kept / node).mkdir(exist_ok=True)
    assert register.take(Identity(node, mark, 0, rows), folders.kept / node / name, fresh)


def run(told: Options) -> Result:
    result = Result("logs", against="other")
    for part in (delivery, taking, month):
        if told.cases in part.__name__:
            result.rows += part(told)
    result.notes += [
        "delivery: each origin has one worker on one core; segments are made on that core, too, at the lowest priority",
        "taking: one core for all steps; the month: both cores, a process for each question, as an origin does it",
    ]
    return result
