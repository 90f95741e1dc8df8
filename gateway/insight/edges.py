"""What do an origin's metrics tell of its edges? What each of them last said, and how long ago."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from gateway.insight.reports import Report, closed_by
from gateway.insight.series import written

EDGES_MAX = 1_000


class Heard(NamedTuple):
    """An edge that was enrolled, and what it said last."""

    name: str
    region: str
    report: Report


def lines(heard: Sequence[Heard], now_ms: int) -> Iterator[str]:
    """Prometheus text of at most EDGES_MAX; their names and regions are an administrator's choice."""
    series: dict[str, tuple[str, Callable[[Report], float]]] = {
        "silent_seconds": (
            "For how long this edge has said nothing of itself.",
            lambda one: max(0, now_ms - one.heard_ms) / 1000,
        ),
        "lag_seconds": ("How far behind this edge said that it is.", lambda one: one.lag_ms / 1000),
        "waiting_bytes": ("What its policies ask for and it does not hold yet.", lambda one: one.waiting_bytes),
        "holes": ("Entries that this edge could not take in.", lambda one: len(one.holes)),
        "closed_workspaces": (
            "Workspaces whose private packages it refuses for that; all of them count as one.",
            lambda one: len(closed_by(one)),
        ),
    }
    for name, (told, value) in series.items():
        rows = (({"edge": one.name, "region": one.region}, value(one.report)) for one in heard)
        yield from written(f"edge_{name}", "gauge", told, islice(rows, EDGES_MAX))
