"""Which sums are kept beside a merged segment, and which of them answers a question?

A rollup is a pure function of the rows of one merged segment, made with it and named in the same move: what is counted
once there is counted once here. `days` and `hours` count packages, `traffic` is small and counts all else by the hour.
Sums of hours are exact for whole hours alone; what a question asks beyond these is read from the rows (`spans`).
"""

from typing import NamedTuple

from gateway.logs.tasks import Filter, Span

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS

PLACE = ("node", "workspace", "repository", "format")
ROLLUPS = {
    "traffic": ("hour", *PLACE, "country", "client", "outcome", "status"),
    "hours": ("hour", *PLACE, "package", "version", "country", "status"),
    "days": ("day", *PLACE, "package", "version", "country", "status"),
    "pairs": ("day", *PLACE, "package", "country"),
}
"""The columns of each, beside requests and bytes; hour and day are when they began. Days are made of hours, and pairs,
which most questions are about, of days."""
SOURCES = {"days": "hours", "pairs": "days"}

LOST_FILE = "lost.parquet"
"""Beside the rollups: the rows that tell of lost lines, which stay as long as these."""

BY = {
    "workspace": (("workspace",), "workspace"),
    "repository": (("workspace", "repository"), "workspace || '/' || repository"),
    "package": (("format", "package"), "format || ':' || package"),
    "version": (("format", "package", "version"), "format || ':' || package || '@' || version"),
    "country": (("country",), "country"),
    "client": (("client",), "client"),
    "principal": (("principal",), "principal"),
    "day": (("day",), "strftime(day, '%Y-%m-%d')"),
    "hour": (("hour",), "strftime(hour, '%Y-%m-%dT%H:00Z')"),
    "node": (("node",), "node"),
    "outcome": (("outcome",), "outcome"),
    "status": (("status",), "cast(status as varchar)"),
}
"""What answers can be grouped by: the columns, and how they are told."""


class Held(NamedTuple):
    """One merged segment: its folder, the times it holds (ms, until excluded), whether its rows are still kept, and how
    many rows of it tell of lost lines."""

    path: str
    from_ms: int
    until_ms: int
    rows: bool
    gaps: int = 0


def needed(by: tuple[str, ...], filter: Filter) -> set[str]:
    """The columns that a question looks at, but for the time."""
    columns = {column for one in by for column in BY[one][0]}
    named = ("workspace", "repository", "format", "package", "version", "country", "client", "status")
    whose = {"principal"} if filter.principals else set[str]()
    return columns | whose | {name for name in named if getattr(filter, name)}


def spans(by: tuple[str, ...], filter: Filter, held: list[Held]) -> tuple[tuple[Span, ...], dict[str, Span]]:
    """(of rows, of rollups by name) that answer for these merged segments, each line once.

    A segment whose rows are gone answers by whole hours: those that begin in the time asked for.
    """
    columns = needed(by, filter) - {"day", "hour"}
    kind = next((name for name in ("traffic", "hours") if columns <= set(ROLLUPS[name])), "")
    since, until = filter.since_ms, filter.until_ms
    mine = [one for one in held if one.from_ms < until and one.until_ms > since]
    if not kind:
        return (_rows(mine, since, until, since, since),), {}
    first, end = _up(since, HOUR_MS), until - until % HOUR_MS
    if first >= end:
        first = end = since
    rollups: dict[str, Span] = {}
    whole_from, whole_until = _up(first, DAY_MS), end - end % DAY_MS
    if kind == "traffic" or "hour" in by or whole_from >= whole_until:
        whole_from = whole_until = first
    add = _within(mine, first, end)
    rollups[kind] = Span(_files(add, kind), first, end, whole_from, whole_until)
    if whole_from < whole_until:
        days = _within(mine, whole_from, whole_until)
        short = "pairs" if columns <= set(ROLLUPS["pairs"]) else "days"
        rollups[short] = Span(_files(days, short), whole_from, whole_until)
        ragged = [one for one in add if one.from_ms < whole_from or one.until_ms > whole_until]
        rollups["hours"] = Span(_files(ragged, "hours"), first, end, whole_from, whole_until)
    alone = [one for one in _within(mine, end, until) if not one.rows]
    rollups[f"{kind}, alone"] = Span(_files(alone, kind), max(end, _up(since, HOUR_MS)), until)
    return (_rows(mine, since, until, first, end),), {name: span for name, span in rollups.items() if span.files}


def _rows(held: list[Held], since: int, until: int, hole_from: int, hole_until: int) -> Span:
    """Those whose rows are not all in the hole."""
    files = tuple(
        f"{one.path}/rows.parquet" for one in held if one.rows
        and (max(one.from_ms, since) < hole_from or min(one.until_ms, until) > hole_until)
    )  # fmt: skip
    return Span(files, since, until, hole_from, hole_until)


def _within(held: list[Held], first: int, end: int) -> list[Held]:
    return [one for one in held if one.from_ms < end and one.until_ms > first]


def _files(held: list[Held], kind: str) -> tuple[str, ...]:
    return tuple(f"{one.path}/{kind}.parquet" for one in held)


def _up(at_ms: int, step: int) -> int:
    return -(-at_ms // step) * step
