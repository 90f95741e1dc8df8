"""What can the process that works on segments be told to do? Shapes alone, without the engine that does it."""

from typing import Any

import msgspec


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lines: times in ms since 1970, until excluded; "" and 0 and () = any. `principals` are ids, one of which it
    was. With `edges` also what edges fetched for their clients, whose own requests these are beside; no count has
    them."""

    since_ms: int
    until_ms: int
    workspace: str = ""
    repository: str = ""
    format: str = ""
    package: str = ""
    version: str = ""
    principals: tuple[str, ...] = ()
    country: str = ""
    client: str = ""
    status: int = 0
    edges: bool = False


class Build(msgspec.Struct, frozen=True, tag="build"):
    """Lines of a log at `source` (removed afterwards) become the segment `target`. `countries`: see config. Gives a
    Built."""

    folder: str
    source: str
    target: str
    node: str
    countries: str


class Built(msgspec.Struct, frozen=True):
    """How many lines, and up to when (ms) they tell of lost ones; 0 = they tell of none."""

    rows: int
    lost_ms: int


class Merge(msgspec.Struct, frozen=True, tag="merge"):
    """Segments become one, in the new folder `target`, with its rollups. Gives a Made."""

    folder: str
    files: tuple[str, ...]
    target: str


class Made(msgspec.Struct, frozen=True):
    """What a merged segment holds: rows, times of its first and behind its last (ms; 0 and 0 without rows), and how
    many rows tell of lost lines."""

    rows: int
    from_ms: int
    until_ms: int
    gaps: int = 0


class Tally(msgspec.Struct, frozen=True, tag="tally"):
    """Downloads and last pulls of versions and tags in these segments. Gives Pulled."""

    folder: str
    files: tuple[str, ...]


class Pulled(msgspec.Struct, frozen=True, array_like=True):
    """Of one version and tag ("" = was not asked for by one) of a package."""

    workspace: str
    repository: str
    format: str
    package: str
    version: str
    tag: str
    downloads: int
    last_ms: int


class Latest(msgspec.Struct, frozen=True, tag="latest"):
    """When each token was last used, by these segments. Gives Used."""

    folder: str
    files: tuple[str, ...]


class Used(msgspec.Struct, frozen=True, array_like=True):
    """The last use of a token: its id, when, from which address, at which node."""

    token_id: str
    at_ms: int
    address: str
    node: str


class Span(msgspec.Struct, frozen=True):
    """Files of one kind, and the times for which they answer (ms, until excluded), less a hole in the middle."""

    files: tuple[str, ...]
    from_ms: int
    until_ms: int
    hole_from_ms: int = 0
    hole_until_ms: int = 0


class Count(msgspec.Struct, frozen=True, tag="count"):
    """Requests and bytes of what clients were served, by any of BY, the most requests first. Each line is in one span
    alone: of `rows` as they are, or of rollups by name (see rollups.ROLLUPS). What tells of lost lines is in `gaps`.
    Gives a Counted."""

    folder: str
    rows: tuple[Span, ...]
    rollups: dict[str, Span]
    by: tuple[str, ...]
    filter: Filter
    limit: int
    by_bytes: bool = False
    gaps: tuple[str, ...] = ()


class Missing(msgspec.Struct, frozen=True):
    """What is known of lines that no count holds: of so many `gaps` in the log, `lines` as far as their number is
    known, between these times (ms); all 0 where none is missing."""

    gaps: int = 0
    lines: int = 0
    since_ms: int = 0
    until_ms: int = 0


class Counted(msgspec.Struct, frozen=True):
    """Rows of what it was counted by, requests and bytes; and what is missing in them."""

    items: list[dict[str, Any]]
    missing: Missing


class Find(msgspec.Struct, frozen=True, tag="find"):
    """Lines, the latest first, those of one moment always in the same order; without the first `skip`."""

    folder: str
    files: tuple[str, ...]
    filter: Filter
    limit: int
    skip: int = 0


class Export(msgspec.Struct, frozen=True, tag="export"):
    """`limit` lines behind the first `skip` of those that the filter takes, by time, into the file `target`: as NDJSON
    or Parquet. Gives a Written."""

    folder: str
    files: tuple[str, ...]
    filter: Filter
    skip: int
    limit: int
    target: str
    parquet: bool


class Written(msgspec.Struct, frozen=True):
    """How many lines were written, the time of the last one (ms), and how many of that very time there were so far,
    those that were skipped included. `later_ms`: where none was written, the time of the first one behind the filter's
    times; 0 = there is none."""

    rows: int
    last_ms: int
    same: int
    later_ms: int = 0


Task = Build | Merge | Tally | Latest | Count | Find | Export


class Job(msgspec.Struct, frozen=True):
    """A task and its bounds. `parent` is the process that started the one which carries it out."""

    task: Task
    memory_bytes_max: int
    seconds_max: float
    parent: int
    threads: int = 1
    nice: int = 19
