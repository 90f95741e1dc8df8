"""How are questions about segments answered? Fixed statements with parameters; see `columns`, too.

The text of a statement is made of our own words and of numbers: what a caller gives is a parameter, always.
"""

from collections.abc import Sequence
from typing import Any

import duckdb

from gateway.logs.columns import CLIENTS, GAPS, OF_EDGES, ROW, TYPES, quoted
from gateway.logs.rollups import BY, ROLLUPS
from gateway.logs.tasks import (
    Count,
    Counted,
    Export,
    Filter,
    Find,
    Latest,
    Missing,
    Pulled,
    Span,
    Tally,
    Used,
    Written,
)  # fmt: skip

ROWS_MAX = 10_000
AROUND = (
    ".metadata", ".provenance", ".sha1", ".sha256", ".sha512", ".md5", ".asc", ".sig", ".attestation", ".prov",
)  # fmt: skip
"""Ends of files that clients fetch beside the one that they came for: no downloads of their own."""
_NARROWED = ("workspace", "repository", "format", "package", "version", "country", "client")
_NARROWED_OR_STATUS = (*_NARROWED, "status")
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
    check(engine, task.files)
    return [Pulled(*row) for row in engine.execute(_PULLS, {"files": list(task.files)}).fetchall()]


def check(engine: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """Can all of these segments be read to their last value? Other nodes made them. Raises ValueError, duckdb.Error."""
    for file in files:
        found = engine.execute(f"describe select * from read_parquet('{quoted(file)}')").fetchall()  # noqa: S608
        if {row[0]: row[1] for row in found} != TYPES:
            raise ValueError("this has not the columns of a segment")
    all_of = ", ".join(f"max({name})" for name in ROW)
    engine.execute(f"select {all_of} from read_parquet($files)", {"files": list(files)}).fetchall()  # noqa: S608


def latest(engine: duckdb.DuckDBPyConnection, task: Latest) -> list[Used]:
    """What was refused for its credential has no principal; what was refused otherwise was a use."""
    found = engine.execute(
        "select principal, cast(epoch_ms(max(time)) as bigint), arg_max(peer, time), arg_max(node, time) "
        "from read_parquet($files) where starts_with(principal, 'tok_') group by principal",
        {"files": list(task.files)},
    ).fetchall()
    return [Used(id, at_ms, address or "", node or "") for id, at_ms, address, node in found]


def count(engine: duckdb.DuckDBPyConnection, task: Count) -> Counted:
    """Rows of what it is counted by, requests and bytes; and what is missing."""
    return Counted(_counted(engine, task), _missing(engine, task))


def _missing(engine: duckdb.DuckDBPyConnection, task: Count) -> Missing:
    """Whose lines were lost nobody knows: it is told whatever was asked."""
    if not task.gaps:
        return Missing()
    row = engine.execute(
        "select count(*), cast(coalesce(sum(lost), 0) as ubigint), "  # noqa: S608  # words of ours, and numbers
        "cast(coalesce(epoch_ms(min(coalesce(lost_since, time))), 0) as bigint), "
        "cast(coalesce(epoch_ms(max(time)), 0) as bigint) from read_parquet($files) "
        f"where {GAPS} and time >= {_at(task.filter.since_ms)} "
        f"and coalesce(lost_since, time) < {_at(task.filter.until_ms)}",
        {"files": list(task.gaps)},
    ).fetchone()
    assert row is not None
    return Missing(*row)


def _counted(engine: duckdb.DuckDBPyConnection, task: Count) -> list[dict[str, Any]]:
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
        f"{_chosen(task.filter)} order by time_ms desc, {_STABLE} "
        f"limit {min(max(task.limit, 0), ROWS_MAX)} offset {int(task.skip)}",
        {"files": list(task.files), **_given(task.filter)},
    ).fetchall()
    return [dict(zip(SHOWN, row, strict=True)) for row in found]


def export(engine: duckdb.DuckDBPyConnection, task: Export) -> Written:
    """Write lines in the order of their times."""
    target = quoted(task.target)
    to = "(format parquet, compression zstd)" if task.parquet else "(format json)"
    engine.execute(
        f"copy ({_chosen(task.filter)} order by {_STABLE} limit {int(task.limit)} offset {int(task.skip)}) "
        f"to '{target}' {to}",
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
            f"select epoch_ms(min(time)) from read_parquet($files) where time >= {_at(task.filter.until_ms)} "  # noqa: S608
            f"and (({GAPS}) or (true{_narrowed(task.filter)}{_asking(task.filter)}))",
            {"files": list(task.files), **_given(task.filter)},
        ).fetchone()
        return Written(0, 0, 0, later[0] or 0 if later else 0)
    if task.skip and rows == same and last_ms == task.filter.since_ms:
        same += task.skip
    return Written(rows, last_ms, same)


_TOLD = ", ".join(
    ("cast(epoch_ms(time) as bigint) as time_ms", *ROW[1:-1], "cast(epoch_ms(lost_since) as bigint) as lost_since_ms")
)
SHOWN = ("time_ms", *ROW[1:-1], "lost_since_ms")
"""The members of a line as it is told."""
_STABLE = ", ".join(SHOWN)


def _chosen(filter: Filter) -> str:
    """The lines that a filter takes, and between them those that tell of lost ones, which may have been among them. Two
    selects, since each is found by the order of the rows."""
    select = f"select {_TOLD} from read_parquet($files) where {_during(filter)}"  # noqa: S608
    narrowed, asking = _narrowed(filter), _asking(filter)
    return f"{select}{narrowed}{asking} union all {select} and {GAPS}" if narrowed else f"{select}{asking}"


def _asking(filter: Filter) -> str:
    """Who asked: clients alone, or edges, too. Nobody did for a line that tells of lost ones, so this takes them."""
    return "" if filter.edges else f" and not {OF_EDGES}"


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
    names = "".join(f" and {name} = ${name}" for name in _NARROWED_OR_STATUS if getattr(filter, name))
    whose = ", ".join(f"$whose{number}" for number in range(len(filter.principals)))
    return f"{names} and principal in ({whose})" if whose else names


def _given(filter: Filter) -> dict[str, Any]:
    named = {name: getattr(filter, name) for name in _NARROWED_OR_STATUS if getattr(filter, name)}
    return named | {f"whose{number}": one for number, one in enumerate(filter.principals)}
