"""How do lines of a log become columns, and how is a question about them answered?

The only file that meets the query engine (DuckDB, which reads and writes Parquet by itself). It runs in a process of
its own, at low priority, with bounds on memory and time, sees one folder, and carries out fixed statements with
parameters: no text of a caller's is ever part of one.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import maxminddb
import msgspec

_LINES = """
create temp table lines as
select
    cast(time as timestamp) as time, peer, method, status, bytes, outcome, principal, repository as place,
    format, package, version, file, client, seconds, cast(null as varchar) as country
from read_json(?, format = 'newline_delimited', ignore_errors = true, columns = {
    time: 'TIMESTAMPTZ', peer: 'VARCHAR', method: 'VARCHAR', status: 'USMALLINT', bytes: 'UBIGINT',
    outcome: 'VARCHAR', principal: 'VARCHAR', repository: 'VARCHAR', format: 'VARCHAR', package: 'VARCHAR',
    version: 'VARCHAR', file: 'VARCHAR', client: 'VARCHAR', seconds: 'FLOAT'
})
"""
_WRITE = """
copy (
    select
        time, $node as node, peer, coalesce(country, '') as country, method, status, bytes,
        coalesce(outcome, '') as outcome, coalesce(principal, '') as principal,
        split_part(coalesce(place, ''), '/', 1) as workspace, split_part(coalesce(place, ''), '/', 2) as repository,
        coalesce(format, '') as format, coalesce(package, '') as package, coalesce(version, '') as version,
        coalesce(file, '') as file, coalesce(client, '') as client, seconds
    from lines where time is not null order by workspace, repository, package, time
) to '{}' (format parquet, compression zstd, row_group_size 100000)
"""
ROWS_MAX = 10_000
BY = {
    "workspace": "workspace",
    "repository": "workspace || '/' || repository",
    "package": "format || ':' || package",
    "country": "country",
    "client": "client",
    "principal": "principal",
    "day": "strftime(time, '%Y-%m-%d')",
    "node": "node",
    "outcome": "outcome",
    "status": "cast(status as varchar)",
}
"""What answers can be grouped by."""
_WHERE = """
    time >= make_timestamp($since_ms * 1000) and time < make_timestamp($until_ms * 1000)
    and ($workspace = '' or workspace = $workspace) and ($repository = '' or repository = $repository)
    and ($format = '' or format = $format) and ($package = '' or package = $package)
    and ($principal = '' or principal = $principal) and ($country = '' or country = $country)
    and ($client = '' or client = $client) and ($status = 0 or status = $status)
"""
_CLIENTS = " and outcome <> 'RELAYED' and workspace <> '' and not starts_with(principal, 'edge:')"
"""What clients were served, each once: an edge's own line of a write that it handed on is the origin's to count, and
what an edge fetched for its clients is its clients'."""
ROW = (
    "time", "node", "peer", "country", "method", "status", "bytes", "outcome", "principal", "workspace", "repository",
    "format", "package", "version", "file", "client", "seconds",
)  # fmt: skip


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lines: times in ms since 1970, until excluded; "" and 0 = any."""

    since_ms: int
    until_ms: int
    workspace: str = ""
    repository: str = ""
    format: str = ""
    package: str = ""
    principal: str = ""
    country: str = ""
    client: str = ""
    status: int = 0


class Build(msgspec.Struct, frozen=True, tag="build"):
    """Lines of a log at `source` (removed afterwards) become the segment `target`. `countries`: see config."""

    folder: str
    source: str
    target: str
    node: str
    countries: str


class Count(msgspec.Struct, frozen=True, tag="count"):
    """Requests and bytes of what clients were served, by any of BY, the most requests first."""

    folder: str
    files: tuple[str, ...]
    by: tuple[str, ...]
    filter: Filter
    limit: int
    by_bytes: bool = False


class Find(msgspec.Struct, frozen=True, tag="find"):
    """Lines, the latest first. `below_ms`: older than this."""

    folder: str
    files: tuple[str, ...]
    filter: Filter
    limit: int


Task = Build | Count | Find


def run(task: Task, memory_bytes_max: int, threads: int) -> Any:
    """Carry out one task: rows of a Count or Find, the number of lines of a Build."""
    with duckdb.connect(":memory:") as engine:
        engine.execute(f"set memory_limit = '{memory_bytes_max >> 20}MB'")
        engine.execute(f"set threads = {threads}")
        engine.execute("set timezone = 'UTC'")
        folder = task.folder.replace("'", "''")
        engine.execute(f"set temp_directory = '{folder}/spill'")
        engine.execute(f"set allowed_directories = ['{folder}']")
        engine.execute("set enable_external_access = false")
        engine.execute("set lock_configuration = true")
        match task:
            case Build():
                return _build(engine, task)
            case Count():
                return _count(engine, task)
            case Find():
                return _find(engine, task)


def _build(engine: duckdb.DuckDBPyConnection, task: Build) -> int:
    engine.execute(_LINES, [task.source])
    if task.countries:
        _locate(engine, task)
    new = f"{task.target}.new"
    engine.execute(_WRITE.format(new.replace("'", "''")), {"node": task.node})
    row = engine.execute("select count(*) from lines where time is not null").fetchone()
    Path(new).replace(task.target)
    Path(task.source).unlink()
    return int(row[0]) if row else 0


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


def _count(engine: duckdb.DuckDBPyConnection, task: Count) -> list[dict[str, Any]]:
    if not task.files:
        return []
    columns = ", ".join(f"{BY[one]} as by_{one}" for one in task.by)
    order = "bytes" if task.by_bytes else "requests"
    found = engine.execute(
        f"select {columns}, count(*) as requests, cast(sum(bytes) as ubigint) as bytes "  # noqa: S608  # from BY alone
        f"from read_parquet($files) where {_WHERE}{_CLIENTS} group by all order by {order} desc, 1 limit $limit",
        {"files": list(task.files), "limit": min(task.limit, ROWS_MAX), **msgspec.structs.asdict(task.filter)},
    ).fetchall()
    return [dict(zip((*task.by, "requests", "bytes"), row, strict=True)) for row in found]


def _find(engine: duckdb.DuckDBPyConnection, task: Find) -> list[dict[str, Any]]:
    if not task.files:
        return []
    columns = ", ".join(("cast(epoch_ms(time) as bigint)", *ROW[1:]))
    found = engine.execute(
        f"select {columns} from read_parquet($files) where {_WHERE} order by time desc limit $limit",  # noqa: S608  # ours
        {"files": list(task.files), "limit": min(task.limit, ROWS_MAX), **msgspec.structs.asdict(task.filter)},
    ).fetchall()
    return [dict(zip(("time_ms", *ROW[1:]), row, strict=True)) for row in found]
