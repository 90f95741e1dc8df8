"""What do metrics tell of entries that an edge could not take in? How many, and which Workspaces are closed for it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from gateway.insight.series import written
from storage.index.holes import Hole, closed


def lines(holes: Sequence[Hole]) -> Iterator[str]:
    """Prometheus text; there are not many, and their Workspaces are this edge's own."""
    told = "Entries of the origin that this edge could not take in."
    yield from written("feed_holes", "gauge", told, [({}, len(holes))])
    found = sorted(Counter(one.workspace for one in holes).items())
    told = "The same by workspace."
    yield from written("feed_workspace_holes", "gauge", told, (({"workspace": name}, count) for name, count in found))
    told = "Workspaces whose private packages are refused for it; * = all."
    yield from written("feed_closed", "gauge", told, (({"workspace": name}, 1) for name in sorted(closed(holes))))
