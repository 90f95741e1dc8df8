"""What do metrics tell of webhooks? One series each, whose names are an administrator's choice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

WEBHOOKS_MAX = 1_000


class Held(NamedTuple):
    """A webhook, and how far its queue is."""

    workspace: str
    name: str
    enabled: bool
    queue: Mapping[str, Any]


_SERIES = (
    ("delivered_total", "counter", "delivered"),
    ("refused_total", "counter", "refused"),
    ("given_up_total", "counter", "given_up"),
    ("waiting", "gauge", "waiting"),
    ("lag_entries", "gauge", "lag_entries"),
)


def lines(held: Sequence[Held]) -> Iterator[str]:
    """Prometheus text of at most WEBHOOKS_MAX."""
    for name, kind, field in _SERIES:
        yield f"# TYPE entrepot_webhook_{name} {kind}\n"
        for one in held[:WEBHOOKS_MAX]:
            yield f'entrepot_webhook_{name}{{workspace="{one.workspace}",webhook="{one.name}"}} {one.queue[field]}\n'
    yield "# TYPE entrepot_webhook_enabled gauge\n"
    for one in held[:WEBHOOKS_MAX]:
        yield f'entrepot_webhook_enabled{{workspace="{one.workspace}",webhook="{one.name}"}} {int(one.enabled)}\n'
