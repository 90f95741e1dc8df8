"""What do metrics tell of webhooks? One series each, whose names are an administrator's choice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.insight.series import written

WEBHOOKS_MAX = 1_000


class Held(NamedTuple):
    """A webhook, and how far its queue is."""

    workspace: str
    name: str
    enabled: bool
    queue: Mapping[str, Any]


_SERIES = (
    ("delivered_total", "counter", "Events that the receiver took.", "delivered"),
    ("refused_total", "counter", "Attempts that it refused, or that did not reach it.", "refused"),
    ("given_up_total", "counter", "Events that were given up.", "given_up"),
    ("waiting", "gauge", "Events that wait for their next attempt.", "waiting"),
    ("lag_entries", "gauge", "Entries of the journal of which not all was delivered.", "lag_entries"),
)


def lines(held: Sequence[Held]) -> Iterator[str]:
    """Prometheus text of at most WEBHOOKS_MAX."""
    named = [({"workspace": one.workspace, "webhook": one.name}, one) for one in held[:WEBHOOKS_MAX]]
    for name, kind, told, field in _SERIES:
        yield from written(f"webhook_{name}", kind, told, ((labels, one.queue[field]) for labels, one in named))
    enabled = ((labels, int(one.enabled)) for labels, one in named)
    yield from written("webhook_enabled", "gauge", "Is it delivered to, or switched off?", enabled)
