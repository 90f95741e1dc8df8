"""How does a node come to tell what it notices? An origin writes it down; an edge tells its origin what it refused."""

from functools import partial

import trio

from gateway.assembly.parts import Parts
from gateway.front.complaints import now_ms
from gateway.noticing.customers import CustomerWatch
from gateway.noticing.damage import DamageWatch
from gateway.noticing.noticing import Noticing, Source
from gateway.noticing.quotas import QuotaWatch
from gateway.noticing.refused import RefusalsUp
from gateway.noticing.rot import RotWatch
from storage.upkeep.damaged import damaged_blobs, missing_files


def begin_noticing(parts: Parts, nursery: trio.Nursery) -> None:
    """What a worker does of it. The first one looks after what all of them share."""
    store, limits = parts.store, parts.config.notices
    if store.committer is None:
        if parts.paying.from_parent is not None:
            nursery.start_soon(RefusalsUp(store.quotas, parts.paying.from_parent.refused).run)
        return
    whole = parts.number == 0
    again_ms = limits.quota_again_seconds * 1000
    sources: list[Source] = [QuotaWatch(store.catalog, store.quotas, limits.quota_near_share, again_ms, whole=whole)]
    if whole and parts.paying.ledger is not None:
        sources.append(CustomerWatch(store.catalog, parts.paying.ledger))
        damaged, missing = partial(damaged_blobs, store.blobs), partial(missing_files, store.index)
        sources.append(DamageWatch(store.catalog, damaged, missing))
        sources.append(RotWatch(store.catalog, parts.chores["scrub"].state))
    nursery.start_soon(Noticing(sources, store.committer.commit, now_ms).run)
