"""What do metrics tell of sweep, scrub, clearing and quotas? One series a number, of the node and not of a worker."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.insight.series import written

WORKSPACES_MAX = 1_000

TOLD = {
    "sweep": ("forgotten", "forgotten_bytes", "copied_bytes", "reclaimed_bytes"),
    "scrub": ("blobs", "bytes", "forgotten"),
    "clearing": ("places", "files", "rows"),
}


class Held(NamedTuple):
    """What a Workspace holds as visible, may hold (0 = no bound), what is on its way into it, and what is in bins."""

    workspace: str
    files: int
    bytes: int
    quota_bytes: int
    reserved_bytes: int
    bin_bytes: int


_HELD = {
    "files": "Files that are visible in a workspace.",
    "bytes": "Bytes of these files, whoever shares them.",
    "quota_bytes": "The most that they may come to, 0 = no bound.",
    "reserved_bytes": "Bytes of uploads that are on their way.",
    "bin_bytes": "Bytes of what was deleted and can come back.",
}
_TOTALS = {
    "forgotten": "Blobs that no file named any more.",
    "forgotten_bytes": "Bytes of these blobs.",
    "copied_bytes": "Bytes that were copied out of packs that were mostly dead.",
    "reclaimed_bytes": "Bytes of packs that were given back.",
    "blobs": "Blobs that were read and checked.",
    "bytes": "Bytes that were read and checked.",
    "places": "Deleted repositories and workspaces of which nothing is left.",
    "files": "Files of what was deleted that were cleared away.",
    "rows": "Rows of the index that were cleared away.",
}


def held_lines(held: Sequence[Held]) -> Iterator[str]:
    """Prometheus text of at most WORKSPACES_MAX Workspaces; their names are an administrator's choice."""
    for field, told in _HELD.items():
        rows = (({"workspace": one.workspace}, getattr(one, field)) for one in held[:WORKSPACES_MAX])
        yield from written(f"workspace_{field}", "gauge", told, rows)


def lines(work: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Prometheus text of `work` by name, as storage.upkeep.Chore tells it."""
    for name, told in work.items():
        damaged = len(told["progress"].get("damaged", ()))
        yield from written(f"{name}_running", "gauge", f"Is a {name} at work?", [({}, int(told["running"]))])
        yield from written(
            f"{name}_ended_timestamp_seconds", "gauge", f"When a {name} last came to its end, 0 = never.",
            [({}, told["ended_ms"] / 1000)],
        )  # fmt: skip
        if name != "clearing":
            what = f"Blobs, rows and entries that this {name} found damaged."
            yield from written(f"{name}_damaged", "gauge", what, [({}, damaged)])
        if name == "scrub":
            rotten = told["progress"].get("rotten", {})
            entries = sum(count for key, count in rotten.items() if key.endswith("/journal"))
            rows = (({"of": "journal"}, entries), ({"of": "index"}, sum(rotten.values()) - entries))
            yield from written("scrub_rotten", "gauge", "Entries and rows that this scrub found damaged.", rows)
        for field in TOLD[name]:
            value = told["totals"].get(field, 0)
            yield from written(f"{name}_{field}_total", "counter", _TOTALS[field], [({}, value)])
