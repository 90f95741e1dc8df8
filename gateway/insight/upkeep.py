"""What do metrics tell of sweep, scrub and quotas? One series a number, of the node and not of a worker."""

from collections.abc import Iterator, Mapping
from typing import Any

TOLD = {
    "sweep": ("forgotten", "forgotten_bytes", "copied_bytes", "reclaimed_bytes"),
    "scrub": ("blobs", "bytes", "forgotten"),
}


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
