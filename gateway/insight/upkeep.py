"""What do metrics tell of sweep, scrub and quotas? One series a number, of the node and not of a worker."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

WORKSPACES_MAX = 1_000

TOLD = {
    "sweep": ("forgotten", "forgotten_bytes", "copied_bytes", "reclaimed_bytes"),
    "scrub": ("blobs", "bytes", "forgotten"),
}


class Held(NamedTuple):
    """What a Workspace holds as visible, may hold (0 = no bound), what is on its way into it, and what is in bins."""

    workspace: str
    files: int
    bytes: int
    quota_bytes: int
    reserved_bytes: int
    bin_bytes: int


def held_lines(held: Sequence[Held]) -> Iterator[str]:
    """Prometheus text of at most WORKSPACES_MAX Workspaces; their names are an administrator's choice."""
    for field in ("files", "bytes", "quota_bytes", "reserved_bytes", "bin_bytes"):
        yield f"# TYPE entrepot_workspace_{field} gauge\n"
        for one in held[:WORKSPACES_MAX]:
            yield f'entrepot_workspace_{field}{{workspace="{one.workspace}"}} {getattr(one, field)}\n'


def lines(work: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Prometheus text of `work` by name, as storage.upkeep.Chore tells it."""
    for name, told in work.items():
        yield f"# TYPE entrepot_{name}_running gauge\n"
        yield f"entrepot_{name}_running {int(told['running'])}\n"
        yield f"# TYPE entrepot_{name}_ended_seconds gauge\n"
        yield f"entrepot_{name}_ended_seconds {told['ended_ms'] / 1000}\n"
        yield f"# TYPE entrepot_{name}_damaged gauge\n"
        yield f"entrepot_{name}_damaged {len(told['progress'].get('damaged', ()))}\n"
        for field in TOLD[name]:
            yield f"# TYPE entrepot_{name}_{field}_total counter\n"
            yield f"entrepot_{name}_{field}_total {told['totals'].get(field, 0)}\n"
