"""What do metrics tell of the client log's way to the origin?"""

from collections.abc import Iterator, Mapping

from gateway.insight.series import written

_SERIES = (
    ("waiting", "Segments that the origin does not have yet."),
    ("waiting_bytes", "Their bytes."),
    ("refused", "Those of them that it refused, and that are tried again each hour."),
    ("unreadable", "Segments of others that cannot be read, set aside."),
)


def lines(told: Mapping[str, int]) -> Iterator[str]:
    """Prometheus text."""
    for name, help in _SERIES:
        yield from written(f"log_segments_{name}", "gauge", help, [({}, told[name])])
