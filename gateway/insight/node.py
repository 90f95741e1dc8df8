"""What do metrics tell of the node as a whole: what it is, how far behind its origin, how full?"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from cache.keeping.shares import Portion
from gateway.insight.series import written

PLACES_MAX = 1_000

_PORTIONS = {
    "bytes": "What a place with a share has of the cache.",
    "guaranteed_bytes": "What of it stays, however little it is asked for.",
    "most_bytes": "The most that it may have, 0 = no bound.",
}


class Node(NamedTuple):
    """`connected` and `lag_ms` are an edge's, None at an origin. `cache_bytes` are evictable."""

    version: str
    role: str
    draining: bool
    connected: bool | None
    lag_ms: int | None
    cache_bytes: int
    disk_free_bytes: int


def lines(node: Node) -> Iterator[str]:
    """Prometheus text."""
    build = {"version": node.version, "role": node.role}
    yield from written("build_info", "gauge", "Which program this is, and what for.", [(build, 1)])
    yield from written("draining", "gauge", "Is it about to stop?", [({}, int(node.draining))])
    yield from written("cache_bytes", "gauge", "Bytes of packs that can be evicted.", [({}, node.cache_bytes)])
    yield from written("disk_free_bytes", "gauge", "Bytes free where its data is.", [({}, node.disk_free_bytes)])
    if node.connected is not None:
        told = "Does it follow its origin's journal at this moment?"
        yield from written("origin_connected", "gauge", told, [({}, int(node.connected))])
        lag = "How long ago it last knew all that its origin had, as far as it can tell."
        yield from written("origin_lag_seconds", "gauge", lag, [({}, (node.lag_ms or 0) / 1000)])


def portion_lines(portions: Sequence[Portion]) -> Iterator[str]:
    """Prometheus text of at most PLACES_MAX places, which the configuration names; a workspace as a whole has
    repository ""."""
    for field, told in _PORTIONS.items():
        rows = ((_place(one), getattr(one, field)) for one in portions)
        yield from written(f"cache_share_{field}", "gauge", told, islice(rows, PLACES_MAX))


def _place(portion: Portion) -> dict[str, str]:
    workspace, _, repository = portion.place.partition("/")
    return {"workspace": workspace, "repository": repository}
