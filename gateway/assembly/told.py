"""What does the API know of its node, and what is told of how it does?"""

from functools import partial
from itertools import islice

import trio
from msgspec import to_builtins

from cache.asking.addresses import inside_only
from cache.asking.greeting import status_of as greeted
from cache.foreign.noted import noted_in
from cache.keeping.eviction import ROOM_BYTES_MIN
from cache.replication.wanted import Ties
from formats import ROOMS
from gateway.access.clock import latest_ms
from gateway.assembly import rooms
from gateway.assembly.parts import Parts
from gateway.console.calls.clock import version
from gateway.console.calls.once import Running
from gateway.console.calls.services import Health, Services
from gateway.front.complaints import now_ms
from gateway.insight.edges import Heard
from gateway.insight.edges import lines as edge_lines
from gateway.insight.holes import lines as hole_lines
from gateway.insight.node import Node, portion_lines
from gateway.insight.node import lines as node_lines
from gateway.insight.replication import lines as replication_lines
from gateway.insight.reports import Report, missing
from gateway.insight.shipping import lines as shipping_lines
from gateway.insight.upkeep import WORKSPACES_MAX, Held, held_lines
from gateway.insight.upkeep import lines as upkeep_lines
from gateway.insight.webhooks import WEBHOOKS_MAX
from gateway.insight.webhooks import Held as HeldWebhook
from gateway.insight.webhooks import lines as webhook_lines
from gateway.logs import shipping
from gateway.logs.jobs import Folders
from gateway.webhooks.telling import Telling
from storage.disk import free_bytes
from storage.nouns import Upstream
from storage.upkeep.clearing import left as left_of


def services_of(parts: Parts) -> Services:
    """The API's view. An edge writes nothing by itself and holds no secrets."""
    store, uplink = parts.store, parts.uplink
    committer, is_origin = store.committer, uplink is None
    return Services(
        role=parts.config.role,
        catalog=store.catalog,
        health=lambda: health_of(parts),
        status=lambda: status_of(parts),
        metrics=lambda: metrics_of(parts),
        formats=tuple(ROOMS),
        drawing=tuple(name for name, room in ROOMS.items() if room.draws),
        resigning=tuple(name for name, room in ROOMS.items() if room.draws and hasattr(room, "believed")),
        commit=committer.commit if committer is not None else None,
        secrets=parts.secrets if is_origin else None,
        signing=parts.signing if is_origin else None,
        saml_keys=parts.saml_keys if is_origin else None,
        reserved=store.quotas.reserved,
        work=parts.chores,
        authority=parts.authority if is_origin else None,
        history=parts.history,
        heads=parts.heads if is_origin else None,
        questions=parts.questions if is_origin else None,
        signing_in=parts.signing_in,
        sign_in=parts.config.sign_in,
        documents=parts.documents if is_origin else None,
        register=parts.register,
        address_of=rooms.address,
        ties=Ties(rooms.needs, rooms.followers),
        reports=parts.reports if is_origin else None,
        telling=parts.telling,
        normalise=rooms.normalise,
        latest_ms=latest_ms,
        lease=uplink.lease if uplink is not None else None,
        spend=parts.rates.spend,
        governed=rooms.governed,
        rooms=ROOMS,
        version_order=rooms.version_order,
        used=parts.paying.used if is_origin else None,
        inside_only=inside_only,
        try_credential=partial(_try_credential, parts),
        country_of=parts.geography.country_of,
        noted=lambda *asked: noted_in(parts.shelf, asked[:3], *asked[3:]),
        running=Running(parts.root / "running.lock") if is_origin else None,
        keys_max=parts.config.limits.idempotency_keys_max,
        replicated=lambda: [one.told(now_ms()) for one in parts.replicated.read()],
        stored=(store.blobs if is_origin else store.cached).rows,
    )


async def _try_credential(parts: Parts, upstream: Upstream, authorization: str) -> int:
    url = rooms.beginning(upstream.format, upstream.url)
    ask = partial(greeted, parts.remote, url, authorization, private_network=upstream.private_network)
    return await trio.to_thread.run_sync(ask)


def health_of(parts: Parts) -> Health:
    """Is it well enough to be sent clients?"""
    if parts.uplink is None:
        return Health(draining=parts.draining)
    follower = parts.uplink.follower
    return Health(
        draining=parts.draining,
        ready=follower.connected,
        lag_ms=follower.lag_ms,
        connected=follower.connected,
        lost=parts.uplink.lost(),
    )


def status_of(parts: Parts) -> dict[str, object]:
    """What an administrator may know of this node."""
    with parts.store.catalog.read() as reading:
        heads = {name or "-": serial for name, (serial, _) in reading.heads().items()}
    return {
        "role": parts.config.role,
        "serials": heads,
        "cache_bytes": sum(one.bytes for one in parts.store.cached.packs()),
        "cache_shares": to_builtins(parts.evictor.portions()),
        "disk_free_bytes": (free := free_bytes(parts.root)),
        "disk_full": free < ROOM_BYTES_MIN,
        "workers": parts.config.workers,
        "region": parts.holding.region,
        "replication": [one.told(now_ms()) for one in parts.replicated.read()],
        "log": {"lost_lines": parts.metrics.sum("log_dropped")} | shipping.told(Folders(parts.root)),
        "clearing": left_of(parts.store.index),
        "holes": to_builtins(missing(parts.uplink.follower.holes())) if parts.uplink is not None else [],
    }


def report_of(parts: Parts) -> Report:
    """What an edge says of itself to its origin."""
    assert parts.uplink is not None
    follower, held = parts.uplink.follower, parts.replicated.read()
    return Report(
        version(),
        follower.lag_ms,
        sum(max(0, one.files - one.here_files) for one in held),
        sum(max(0, one.bytes - one.here_bytes) for one in held),
        missing(follower.holes()),
    )


def heard_of(parts: Parts) -> list[Heard]:
    """What an origin's edges said last, by name."""
    with parts.store.catalog.read() as reading:
        enrolled = [one for one in reading.edges() if one.key and not one.revoked_ms]
    said = ((one, parts.reports.of(one.name)) for one in enrolled)
    return [Heard(one.name, one.region, report) for one, report in said if report is not None]


def node_of(parts: Parts) -> Node:
    """What it is and how it is."""
    health = health_of(parts)
    return Node(
        version(),
        parts.config.role,
        health.draining,
        health.connected,
        health.lag_ms,
        sum(one.bytes for one in parts.store.cached.packs()),
        free_bytes(parts.root),
    )


def metrics_of(parts: Parts) -> str:
    """For Prometheus."""
    work = {name: chore.told() for name, chore in parts.chores.items()}
    told = parts.metrics.render() + "".join(node_lines(node_of(parts))) + "".join(upkeep_lines(work))
    told += "".join(shipping_lines(shipping.told(Folders(parts.root))))
    told += "".join(portion_lines(parts.evictor.portions()))
    if parts.uplink is not None:
        told += "".join(hole_lines(parts.uplink.follower.holes()))
        return told + "".join(replication_lines(parts.replicated.read(), now_ms()))
    if parts.telling is not None:
        told += "".join(webhook_lines(told_of_webhooks(parts.telling)))
    held = []
    with parts.store.catalog.read() as reading:
        for one in islice(reading.workspaces(), WORKSPACES_MAX):
            used = reading.usage(one.name)
            reserved = parts.store.quotas.reserved(one.name)
            binned = reading.bin_usage(one.name).bytes
            held.append(Held(one.name, used.files, used.bytes, one.quota_bytes, reserved, binned))
    return told + "".join(held_lines(held)) + "".join(edge_lines(heard_of(parts), now_ms()))


def told_of_webhooks(telling: Telling) -> list[HeldWebhook]:
    """How far each is."""
    with telling.catalog.read() as reading:
        hooks, heads = reading.webhooks()[:WEBHOOKS_MAX], reading.heads()
    return [
        HeldWebhook(one.workspace, one.name, one.enabled, telling.told(one, heads.get(one.workspace, (0, b""))[0]))
        for one in hooks
    ]
