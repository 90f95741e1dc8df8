"""What do metrics tell of entries that an edge could not take in? How many, and which Workspaces are closed for it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from storage.index.holes import Hole, closed


def lines(holes: Sequence[Hole]) -> Iterator[str]:
    """Prometheus text; there are not many, and their Workspaces are this edge's own."""
    yield "# HELP entrepot_feed_holes Entries of the origin that this edge could not take in.\n"
    yield "# TYPE entrepot_feed_holes gauge\n"
    yield f"entrepot_feed_holes {len(holes)}\n"
    for workspace, count in sorted(Counter(one.workspace for one in holes).items()):
        yield f'entrepot_feed_workspace_holes{{workspace="{workspace}"}} {count}\n'
    yield "# HELP entrepot_feed_closed Workspaces whose private packages are refused for it; * = all.\n"
    yield "# TYPE entrepot_feed_closed gauge\n"
    for workspace in sorted(closed(holes)):
        yield f'entrepot_feed_closed{{workspace="{workspace}"}} 1\n'
