"""What do metrics tell of how far an edge is with what it is to hold? One series a Repository, whose policy asks for
it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from cache.replication.replicator import Held
from gateway.insight.series import written

REPOSITORIES_MAX = 1_000


def lines(held: Sequence[Held], now_ms: int) -> Iterator[str]:
    """Prometheus text of at most REPOSITORIES_MAX; their names are an administrator's choice."""
    series: dict[str, tuple[str, Callable[[Held], float]]] = {
        "files": ("Files that the policy asks for.", lambda one: one.files),
        "bytes": ("Bytes of these files.", lambda one: one.bytes),
        "waiting_files": ("Files of them that are not here yet.", lambda one: one.files - one.here_files),
        "waiting_bytes": ("Bytes of them that are not here yet.", lambda one: one.bytes - one.here_bytes),
        "left_out_bytes": ("Bytes that there is no room for.", lambda one: one.left_out_bytes),
        "foreign_files": ("Files drawn from upstreams that it asks for.", lambda one: one.foreign_files),
        "foreign_bytes": ("Bytes of these files.", lambda one: one.foreign_bytes),
        "foreign_waiting_files": (
            "Files of them that are not here yet.",
            lambda one: one.foreign_files - one.foreign_here_files,
        ),
        "foreign_waiting_bytes": (
            "Bytes of them that are not here yet.",
            lambda one: one.foreign_bytes - one.foreign_here_bytes,
        ),
        "lag_entries": ("Entries behind the last one of which all is here.", lambda one: one.serial - one.whole_serial),
        "lag_seconds": ("For how long not all has been here.", lambda one: one.lag_ms(now_ms) / 1000),
    }
    for name, (told, value) in series.items():
        rows = (({"workspace": one.workspace, "repository": one.repository}, value(one)) for one in held)
        yield from written(f"replication_{name}", "gauge", told, islice(rows, REPOSITORIES_MAX))
