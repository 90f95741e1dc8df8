"""How do tests sweep a store: with which rules, and in one go?"""

from storage.open import Store, now_ms
from storage.upkeep.sweep import Progress, Rules, Sweep

AT_ONCE = Rules(grace_ms=0, waste_bytes_min=0)


def sweeping(store: Store, rules: Rules = AT_ONCE) -> Sweep:
    """A run over an origin's shelf, not begun."""
    assert store.journal is not None
    return Sweep(store.index, store.journal, store.blobs, now_ms, rules)


def swept(store: Store, rules: Rules = AT_ONCE) -> Progress:
    """Sweep to the end."""
    run = sweeping(store, rules)
    for _ in run.steps():
        pass
    return run.progress
