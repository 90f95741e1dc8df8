"""Which work over the whole store does a node do by itself? An origin sweeps, and every node scrubs and clears away."""

from collections.abc import Callable
from pathlib import Path

import trio

from gateway import config as settings
from gateway.access.history.heads import Heads
from gateway.front.complaints import now_ms
from gateway.insight.errorlog import report
from storage.alarm import damage
from storage.errors import Problem
from storage.index.history import History
from storage.open import Store
from storage.upkeep.clearing import Clearing, is_due
from storage.upkeep.rounds import Chore
from storage.upkeep.scrub import Scrub
from storage.upkeep.sweep import Rules, Sweep


def chores_of(
    store: Store,
    limits: settings.Upkeep,
    folder: Path,
    found_damage: Callable[[], None],
    forgotten: Callable[[set[bytes]], None] = lambda blobs: None,
) -> dict[str, Chore]:
    """The chores by name, to be run by every worker: one works at a time."""
    chores: dict[str, Chore] = {
        "scrub": Chore(
            "scrub",
            folder,
            lambda mark: Scrub(
                store.index, store.journal, None if store.journal is None else store.blobs, store.cached, mark
            ),
            now_ms,
            every_s=limits.scrub_every_seconds,
            rate_bytes_s=limits.scrub_rate_max_bytes_s,
            due=lambda: _is_called(chores["scrub"]),
            found_damage=found_damage,
        ),
        "clearing": Chore(
            "clearing",
            folder,
            lambda mark: Clearing(store.index, store.journal, store.blobs, forgotten),
            now_ms,
            due=lambda: is_due(store.index),
        ),
    }
    if (journal := store.journal) is not None:
        rules = Rules(limits.sweep_grace_seconds * 1000, limits.sweep_garbage_share_min)

        def sweep() -> Sweep:
            return Sweep(store.index, journal, store.blobs, now_ms, rules)

        chores["sweep"] = Chore(
            "sweep",
            folder,
            lambda mark: sweep(),
            now_ms,
            every_s=limits.sweep_every_seconds,
            rate_bytes_s=limits.sweep_rate_max_bytes_s,
            look=lambda: sweep().look(),
        )
    return chores


def _is_called(scrub: Chore) -> bool:
    """Damage that this process met while it read is no state of the store's: it is asked for what it calls for."""
    if damage.take():
        scrub.ask()
    return scrub.is_wished()


async def vouch(heads: Heads, history: History, every_s: float) -> None:
    """Sign where the histories end, where they moved (THREATS F11)."""
    while True:
        try:
            await trio.to_thread.run_sync(lambda: heads.keep(history.heads(), now_ms()))
        except (Problem, OSError) as problem:
            report("error", "the heads of the history are not signed", why=str(problem))
        await trio.sleep(every_s)
