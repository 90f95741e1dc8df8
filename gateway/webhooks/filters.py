"""Does a webhook want to hear of an event? Pure: only what the event says counts, so a replay finds the same."""

from collections.abc import Callable
from typing import Any

from gateway.queries.fields import LOOKED_UP, At, Held
from gateway.queries.needs import fields_of
from gateway.queries.parsing import parse
from gateway.webhooks.catalogue import kinds_of
from gateway.webhooks.events import Told
from storage.errors import Invalid
from storage.hooks import Webhook

OrderOf = Callable[[str], Callable[[str], Any] | None]
"""The order of versions of a format, None where it has none."""


class Filter:
    """What one webhook wants. Raises Invalid for a query that cannot be read, or an event that there is none of.
    `since_ms`: when the Repository was made that it is of; what was told of a predecessor of its name is others'."""

    def __init__(self, hook: Webhook, order_of: OrderOf, since_ms: int = 0) -> None:
        self._hook = hook
        self._order_of = order_of
        self._since_ms = since_ms
        self._kinds = frozenset(one.name for one in kinds_of(hook.events, of_repository=bool(hook.repository)))
        self._query = parse(hook.query) if hook.query else None
        self.hears_system = not hook.repository and any(
            kind.of_system for kind in kinds_of(hook.events, of_repository=bool(hook.repository))
        )

    def hears(self, told: Told) -> bool:
        hook, event = self._hook, told.event
        if event.kind not in self._kinds or (hook.repository and event.repository != hook.repository):
            return False
        if hook.repository and told.entry.at_ms < self._since_ms:
            return False
        if self._query is None:
            return True
        subject = event.subject
        if subject is None:
            return False
        at = At(hook.workspace, event.repository, subject.format, subject.name)
        held = Held(subject.version, subject.tags, subject.files, subject.size_bytes, told.entry.at_ms)
        return bool(self._query.holds(at, held, self._order_of(subject.format)))


def check_filter(hook: Webhook) -> None:
    """Raises Invalid where nothing could ever come of it."""
    Filter(hook, lambda format: None)
    if untold := fields_of(parse(hook.query)) & set(LOOKED_UP):
        raise Invalid(f"An event does not tell of {', '.join(sorted(untold))}.", "Narrow by what it tells.")
    kinds = kinds_of(hook.events, of_repository=bool(hook.repository))
    if hook.query and not any(kind.name.startswith("package.") for kind in kinds):
        raise Invalid("A query finds packages, and none of these events is of one.", "Add package.*.")
