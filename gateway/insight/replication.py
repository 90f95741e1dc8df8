"""What do metrics tell of how far an edge is with what it is to hold? One series a Repository, whose policy asks for
it."""

from collections.abc import Callable, Iterator, Sequence

from cache.replicator import Held

REPOSITORIES_MAX = 1_000


def lines(held: Sequence[Held], now_ms: int) -> Iterator[str]:
    """Prometheus text of at most REPOSITORIES_MAX; their names are an administrator's choice."""
    series: dict[str, Callable[[Held], float]] = {
        "files": lambda one: one.files,
        "bytes": lambda one: one.bytes,
        "waiting_files": lambda one: one.files - one.here_files,
        "waiting_bytes": lambda one: one.bytes - one.here_bytes,
        "left_out_bytes": lambda one: one.left_out_bytes,
        "foreign_files": lambda one: one.foreign_files,
        "foreign_bytes": lambda one: one.foreign_bytes,
        "foreign_waiting_files": lambda one: one.foreign_files - one.foreign_here_files,
        "foreign_waiting_bytes": lambda one: one.foreign_bytes - one.foreign_here_bytes,
        "lag_entries": lambda one: one.serial - one.whole_serial,
        "lag_seconds": lambda one: one.lag_ms(now_ms) / 1000,
    }
    for name, value in series.items():
        yield f"# TYPE entrepot_replication_{name} gauge\n"
        for one in held[:REPOSITORIES_MAX]:
            labels = f'workspace="{one.workspace}",repository="{one.repository}"'
            yield f"entrepot_replication_{name}{{{labels}}} {value(one)}\n"
