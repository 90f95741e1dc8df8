"""How does an origin come to tell receivers what happens?"""

from pathlib import Path

from gateway import config as settings
from gateway.assembly import rooms
from gateway.console.calls.clock import version
from gateway.front.complaints import now_ms
from gateway.insight.tracing import Tracer
from gateway.webhooks.delivering import Deliverer
from gateway.webhooks.queue import Rules
from gateway.webhooks.records import Records
from gateway.webhooks.sealed import FILE_NAME, Sealing
from gateway.webhooks.sending import Sender
from gateway.webhooks.telling import Telling
from storage.commit import Committer
from storage.index.history import History
from storage.open import Store

FOLDER = "webhooks"


def telling_of(
    config: settings.Node, store: Store, history: History | None, root: Path, tracer: Tracer | None
) -> Telling | None:
    """One worker's; None at an edge."""
    if history is None:
        return None
    return Telling(
        store.catalog,
        history,
        Sealing(root / FILE_NAME),
        Records(root / FOLDER),
        Sender(f"entrepot/{version()}", seconds_max=config.webhooks.answer_seconds_max),
        rooms.governed,
        rooms.version_order,
        now_ms,
        tracer,
    )


def deliverer_of(config: settings.Node, root: Path, telling: Telling, committer: Committer) -> Deliverer:
    """Every worker runs one; one of them delivers."""
    limits = config.webhooks
    rules = Rules(
        limits.attempts_max,
        limits.retry_seconds_min,
        limits.retry_seconds_max,
        limits.disable_seconds,
        limits.parallel_each_max,
    )
    return Deliverer(root / FOLDER / "deliver.lock", telling, committer.commit, rules, parallel_max=limits.parallel_max)
