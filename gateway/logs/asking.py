"""How are questions about segments answered? Fixed statements with parameters; see `columns`, too.

The text of a statement is made of our own words and of numbers: what a caller gives is a parameter, always.
"""

from typing import Any

import duckdb

from gateway.logs.columns import CLIENTS, ROW, quoted
from gateway.logs.rollups import BY, ROLLUPS
from gateway.logs.tasks import Count, Export, Filter, Find, Latest, Pulled, Span, Tally, Used, Written

ROWS_MAX = 10_000
AROUND = (
    ".metadata", ".provenance", ".sha1", ".sha256", ".sha512", ".md5", ".asc", ".sig", ".attestation", ".prov",
)  # fmt: skip
"""Ends of files that clients fetch beside the one that they came for: no downloads of their own."""
_NARROWED = ("workspace", "repository", "format", "package", "version", "principal", "country", "client")
_AROUND = " or ".join(f"ends_with(lower(file), '{end}')" for end in AROUND)
_PULLS = f"""
    select workspace, repository, format, package, version, tag,
        cast(count(*) filter (method = 'GET' and status = 200) as ubigint), cast(epoch_ms(max(time)) as ubigint)
    from read_parquet($files)
    where {CLIENTS} and file <> '' and package <> '' and method in ('GET', 'HEAD') and status in (200, 206, 304)
        and not ({_AROUND})
    group by all
"""  # noqa: S608  # ours alone


def tally(engine: duckdb.DuckDBPyConnection, task: Tally) -> list[Pulled]:
    """A download is a GET of a whole file; whoever asks whether a file is still the same pulls it, too."""
    if not task.files:
        return []
    return [Pulled(*row) for row in engine.execute(_PULLS, {"files": list(task.files)}).fetchall()]


def latest(engine: duckdb.DuckDBPyConnection, task: Latest) -> list[Used]:
    """What was refused for its credential has no principal; what was refused otherwise was a use."""
    found = engine.execute(
        "select principal, cast(epoch_ms(max(time)) as bigint), arg_max(peer, time), arg_max(node, time) "
        "from read_parquet($files) where starts_with(principal, 'tok_') group by principal",
        {"files": list(task.files)},
    ).fetchall()
    return [Used(id, at_ms, address or "", node or "") for id, at_ms, address, node in found]


def count(engine: duckdb.DuckDBPyConnection, task: Count) -> list[dict[str, Any]]:
    """Rows of what it is counted by, requests and bytes."""
    columns = list(dict.fromkeys(column for one in task.by for column in BY[one][0]))
    told, parts = _given(task.filter), list[str]()
    for number, span in enumerate(one for one in task.rows if one.files):
        told[f"rows{number}"] = list(span.files)
        parts.append(_of_rows(columns, span, f"rows{number}", task.filter))
    for name, span in task.rollups.items():
        key = f"sums{len(parts)}"
        told[key] = list(span.files)
        parts.append(_of_sums(columns, span, ROLLUPS[name.partition(",")[0]][0], key, task.filter))
    if not parts:
        return []
    by = ", ".join(columns)
    out = ", ".join(f"{BY[one][1]} as by_{one}" for one in task.by)
    order = f"{'bytes' if task.by_bytes else 'requests'} desc, {by}"
    found = engine.execute(
        f"select {out}, cast(requests as ubigint), cast(bytes as ubigint) from ("  # noqa: S608  # names of ours alone
        f"select {by}, sum(requests) as requests, sum(bytes) as bytes from ({' union all '.join(parts)}) "
        f"group by all order by {order} limit {min(max(task.limit, 0), ROWS_MAX)}) order by {order}",
        told,
    ).fetchall()
    return [dict(zip((*task.by, "requests", "bytes"), row, strict=True)) for row in found]


def find(engine: duckdb.DuckDBPyConnection, task: Find) -> list[dict[str, Any]]:
    """Lines, the latest first."""
    if not task.files:
        return []
    found = engine.execute(
        f"select {_TOLD} from read_parquet($files) where {_during(task.filter)}{_narrowed(task.filter)} "  # noqa: S608
        f"order by time desc, {_STABLE} limit {min(max(task.limit, 0), ROWS_MAX)} offset {int(task.skip)}",
        {"files": list(task.files), **_given(task.filter)},
    ).fetchall()
    return [dict(zip(("time_ms", *ROW[1:]), row, strict=True)) for row in found]


def export(engine: duckdb.DuckDBPyConnection, task: Export) -> Written:
    """Write lines in the order of their times."""
    target = quoted(task.target)
    to = "(format parquet, compression zstd)" if task.parquet else "(format json)"
    select = f"select {_TOLD} from read_parquet($files) where {_during(task.filter)}{_narrowed(task.filter)}"  # noqa: S608
    engine.execute(
        f"copy ({select} order by {_STABLE} limit {int(task.limit)} offset {int(task.skip)}) to '{target}' {to}",
        {"files": list(task.files), **_given(task.filter)},
    )
    read = f"read_parquet('{target}')" if task.parquet else f"read_json('{target}', columns = {{time_ms: 'BIGINT'}})"
    row = engine.execute(
        f"select count(*), max(time_ms), count(*) filter (time_ms = (select max(time_ms) from {read})) from {read}"  # noqa: S608
    ).fetchone()
    assert row is not None
    rows, last_ms, same = row[0], row[1] or 0, row[2]
    if not rows:
        later = engine.execute(
            f"select epoch_ms(min(time)) from read_parquet($files) where time >= {_at(task.filter.until_ms)}"  # noqa: S608
            f"{_narrowed(task.filter)}",
            {"files": list(task.files), **_given(task.filter)},
        ).fetchone()
        return Written(0, 0, 0, later[0] or 0 if later else 0)
    if task.skip and rows == same and last_ms == task.filter.since_ms:
        same += task.skip
    return Written(rows, last_ms, same)


_TOLD = ", ".join(("cast(epoch_ms(time) as bigint) as time_ms", *ROW[1:]))
_STABLE = ", ".join(ROW)


def _of_rows(columns: list[str], span: Span, files: str, filter: Filter) -> str:
    names = {"day": "date_trunc('day', time) as day", "hour": "date_trunc('hour', time) as hour"}
    by = ", ".join(names.get(one, one) for one in columns)
    return (
        f"select {by}, 1 as requests, bytes from read_parquet(${files}) "  # noqa: S608
        f"where {_in('time', span)} and {CLIENTS}{_narrowed(filter)}"
    )


def _of_sums(columns: list[str], span: Span, time: str, files: str, filter: Filter) -> str:
    names = {"day": f"date_trunc('day', {time}) as day"} if time == "hour" else {}
    by = ", ".join(names.get(one, one) for one in columns)
    return f"select {by}, requests, bytes from read_parquet(${files}) where {_in(time, span)}{_narrowed(filter)}"  # noqa: S608


def _in(column: str, span: Span) -> str:
    hole = ""
    if span.hole_from_ms < span.hole_until_ms:
        hole = f" and not ({column} >= {_at(span.hole_from_ms)} and {column} < {_at(span.hole_until_ms)})"
    return f"{column} >= {_at(span.from_ms)} and {column} < {_at(span.until_ms)}{hole}"


def _during(filter: Filter) -> str:
    return f"time >= {_at(filter.since_ms)} and time < {_at(filter.until_ms)}"


def _at(at_ms: int) -> str:
    return f"make_timestamp({int(at_ms) * 1000})"


def _narrowed(filter: Filter) -> str:
    return "".join(f" and {name} = ${name}" for name in _given(filter))


def _given(filter: Filter) -> dict[str, Any]:
    return {name: getattr(filter, name) for name in (*_NARROWED, "status") if getattr(filter, name)}
