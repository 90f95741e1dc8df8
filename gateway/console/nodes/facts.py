"""How is this node doing?"""

from gateway.access.rights.verdicts import on_node
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import ANYBODY, METRICS, SOMEBODY
from gateway.console.nodes import replies

NODE = Routes("/-")
ROUTES = Routes("/-/api/v1")

METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"


@NODE.add("GET", "/health", ANYBODY, gives=replies.Health, status=(200, 503))
async def health(call: Call) -> Reply:
    """Is the process alive and taking requests? 503 while it drains, so that a balancer looks elsewhere."""
    return _health_reply(call, alive=not call.services.health().draining)


@NODE.add("GET", "/ready", ANYBODY, gives=replies.Health, status=(200, 503))
async def ready(call: Call) -> Reply:
    """May a balancer send clients here? Not before the node holds what it needs to answer them."""
    now = call.services.health()
    return _health_reply(call, alive=now.ready and not now.draining)


def _health_reply(call: Call, alive: bool) -> Reply:
    now = call.services.health()
    word = "draining" if now.draining else "ok" if alive else "alone" if now.lost else "starting"
    told: dict[str, object] = {"status": word, "role": call.services.role, "version": call.services.version}
    if call.services.role == "edge":
        told |= {"connected": bool(now.connected), "lag_ms": now.lag_ms}
    return Reply(200 if alive else 503, told)


@NODE.add("GET", "/metrics", METRICS, gives=str, media=METRICS_MEDIA)
async def metrics(call: Call) -> Reply:
    return Reply(200, call.services.metrics(), media=METRICS_MEDIA)


@ROUTES.add("GET", "/status", SOMEBODY, alone=True, gives=replies.Status, status=(200, 503))
async def status(call: Call) -> Reply:
    """The health for every token; what the node knows of itself, which names workspaces, for those that read all."""
    told = _health_reply(call, alive=not call.services.health().draining).body
    assert isinstance(told, dict)
    if on_node(call.principal, "read") and not call.services.outdated():
        told = dict(call.services.status()) | told
    return Reply(200, told)
