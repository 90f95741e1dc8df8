"""How do lines of a log become columns, and segments one, with their rollups?

One of the two files that meet the query engine (DuckDB, which reads and writes Parquet by itself); `asking` is the
other. It carries out fixed statements: no text of a caller's is ever part of one.
"""

import os
from contextlib import suppress
from pathlib import Path

import duckdb
import maxminddb
import msgspec

from gateway.insight.gaps import LOST
from gateway.logs.rollups import LOST_FILE, ROLLUPS, SOURCES
from gateway.logs.tasks import Build, Built, Made, Merge

_LINES = """
create temp table lines as
select
    cast(time as timestamp) as time, peer, method, status, bytes, outcome, principal, repository as place,
    format, package, version, file, tag, client, seconds, lost, cast(lost_since as timestamp) as lost_since,
    cast(null as varchar) as country
from read_json(?, format = 'newline_delimited', ignore_errors = true, columns = {
    time: 'TIMESTAMPTZ', peer: 'VARCHAR', method: 'VARCHAR', status: 'USMALLINT', bytes: 'UBIGINT',
    outcome: 'VARCHAR', principal: 'VARCHAR', repository: 'VARCHAR', format: 'VARCHAR', package: 'VARCHAR',
    version: 'VARCHAR', file: 'VARCHAR', tag: 'VARCHAR', client: 'VARCHAR', seconds: 'FLOAT',
    lost: 'UBIGINT', lost_since: 'TIMESTAMPTZ'
})
"""
TYPES = {
    "time": "TIMESTAMP", "node": "VARCHAR", "peer": "VARCHAR", "country": "VARCHAR", "method": "VARCHAR",
    "status": "USMALLINT", "bytes": "UBIGINT", "outcome": "VARCHAR", "principal": "VARCHAR", "workspace": "VARCHAR",
    "repository": "VARCHAR", "format": "VARCHAR", "package": "VARCHAR", "version": "VARCHAR", "file": "VARCHAR",
    "tag": "VARCHAR", "client": "VARCHAR", "seconds": "FLOAT", "lost": "UBIGINT", "lost_since": "TIMESTAMP",
}  # fmt: skip
ROW = tuple(TYPES)
"""The columns of a segment."""
_ORDER = "workspace, repository, package, time"
_PARQUET = "(format parquet, compression zstd, row_group_size 100000)"
_WRITE = f"""
copy (
    select
        time, $node as node, coalesce(peer, '') as peer, coalesce(country, '') as country,
        coalesce(method, '') as method, coalesce(status, 0::usmallint) as status, coalesce(bytes, 0::ubigint) as bytes,
        coalesce(outcome, '') as outcome, coalesce(principal, '') as principal,
        split_part(coalesce(place, ''), '/', 1) as workspace, split_part(coalesce(place, ''), '/', 2) as repository,
        coalesce(format, '') as format, coalesce(package, '') as package, coalesce(version, '') as version,
        coalesce(file, '') as file, coalesce(tag, '') as tag, coalesce(client, '') as client, seconds,
        lost, lost_since
    from lines where time is not null order by {_ORDER}
) to '{{}}' {_PARQUET}
"""  # noqa: S608  # ours alone
OF_EDGES = "starts_with(principal, 'edge:')"
CLIENTS = f"outcome <> 'RELAYED' and workspace <> '' and not {OF_EDGES}"
"""What clients were served, each once: an edge's own line of a write that it handed on is the origin's to count, and
what an edge fetched for its clients is its clients'."""


GAPS = f"workspace = '' and outcome = '{LOST}'"
"""Lines that tell of lines that were lost: of whomever these were."""


def quoted(path: str) -> str:
    """A path of ours within a literal of a statement that takes no parameter there."""
    return path.replace("'", "''")


def build(engine: duckdb.DuckDBPyConnection, task: Build) -> Built:
    """Lines become a segment."""
    engine.execute(_LINES, [task.source])
    if task.countries:
        _locate(engine, task)
    new = f"{task.target}.new"
    engine.execute(_WRITE.format(quoted(new)), {"node": task.node})
    told = engine.execute(
        "select count(*), coalesce(epoch_ms(max(time) filter (outcome = $lost)), 0) from lines where time is not null",
        {"lost": LOST},
    ).fetchone()
    _settle(Path(new))
    Path(new).replace(task.target)
    Path(task.source).unlink()
    assert told is not None
    return Built(told[0], told[1])


def merge(engine: duckdb.DuckDBPyConnection, task: Merge) -> Made:
    """Rows and rollups in a new folder, all durable."""
    folder = Path(task.target)
    folder.mkdir(mode=0o700)
    rows = folder / "rows.parquet"
    columns = ", ".join(ROW)
    engine.execute(
        f"copy (select {columns} from read_parquet($files) order by {_ORDER}) to '{quoted(str(rows))}' {_PARQUET}",  # noqa: S608
        {"files": list(task.files)},
    )
    for name, (time, *rest) in ROLLUPS.items():
        of = SOURCES.get(name, "rows")
        when, count, which = (
            ("time", "count(*)", CLIENTS) if of == "rows" else (ROLLUPS[of][0], "sum(requests)", "true")
        )
        _summed(
            engine,
            f"select date_trunc('{time}', {when}) as {time}, {', '.join(rest)}, cast({count} as ubigint) as requests, "  # noqa: S608
            f"cast(sum(bytes) as ubigint) as bytes from read_parquet('{quoted(str(folder / of))}.parquet') "
            f"where {which} group by all",
            folder / f"{name}.parquet",
        )
    lost = folder / LOST_FILE
    engine.execute(
        f"copy (select {columns} from read_parquet('{quoted(str(rows))}') where {GAPS}) to '{quoted(str(lost))}' "  # noqa: S608
        f"{_PARQUET}"
    )
    told = engine.execute(
        f"select count(*), epoch_ms(min(time)), epoch_ms(max(time)), count(*) filter ({GAPS}) "  # noqa: S608
        f"from read_parquet('{quoted(str(rows))}')"
    ).fetchone()
    for path in (rows, lost, *(folder / f"{name}.parquet" for name in ROLLUPS)):
        _settle(path)
    assert told is not None
    return Made(told[0], told[1], told[2] + 1, told[3]) if told[0] else Made(0, 0, 0)


def _summed(engine: duckdb.DuckDBPyConnection, select: str, to: Path) -> None:
    engine.execute(f"copy ({select}) to '{quoted(str(to))}' {_PARQUET}")


def _settle(path: Path) -> None:
    """On the disk before it gets its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _locate(engine: duckdb.DuckDBPyConnection, task: Build) -> None:
    """The country of each address, where the file knows it; of none where the file is gone since the node's start."""
    peers = [row[0] for row in engine.execute("select distinct peer from lines where peer is not null").fetchall()]
    found: list[dict[str, str]] = []
    with suppress(OSError, maxminddb.InvalidDatabaseError), maxminddb.open_database(task.countries) as database:
        for peer in peers:
            if code := _country(database, peer):
                found.append({"address": peer, "code": code})
    if not found:
        return
    listed = Path(f"{task.source}.countries")
    listed.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in found))
    engine.execute(
        "update lines set country = code from read_json(?, format = 'newline_delimited', "
        "columns = {address: 'VARCHAR', code: 'VARCHAR'}) where peer = address",
        [str(listed)],
    )
    listed.unlink()


def _country(database: maxminddb.Reader, peer: str) -> str:
    try:
        record = database.get(peer)
    except ValueError:
        return ""
    if not isinstance(record, dict):
        return ""
    code = record.get("country_code")
    country = record.get("country")
    if isinstance(country, dict):
        code = country.get("iso_code")
    return code if isinstance(code, str) and len(code) == 2 and code.isalpha() else ""
