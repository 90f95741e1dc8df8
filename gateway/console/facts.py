"""How is this node doing, and what do its repositories hold?"""

from itertools import islice

from gateway.access.verdicts import on_node
from gateway.console import shown
from gateway.console.calls import Call, Reply, Routes
from gateway.console.parts import may_know
from gateway.console.permissions import ANYBODY, METRICS, REPOSITORY_READ, SOMEBODY
from storage.errors import Absent, Invalid

NODE = Routes("/-")
ROUTES = Routes("/-/api/v1")

METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"


@NODE.add("GET", "/health", ANYBODY)
async def health(call: Call) -> Reply:
    """Is the process alive and taking requests? 503 while it drains, so that a balancer looks elsewhere."""
    return _health_reply(call, alive=not call.services.health().draining)


@NODE.add("GET", "/ready", ANYBODY)
async def ready(call: Call) -> Reply:
    """May a balancer send clients here? Not before the node holds what it needs to answer them."""
    now = call.services.health()
    return _health_reply(call, alive=now.ready and not now.draining)


def _health_reply(call: Call, alive: bool) -> Reply:
    now = call.services.health()
    word = "draining" if now.draining else "ok" if alive else "starting"
    told: dict[str, object] = {"status": word, "role": call.services.role, "version": call.services.version}
    if call.services.role == "edge":
        told |= {"connected": bool(now.connected), "lag_ms": now.lag_ms}
    return Reply(200 if alive else 503, told)


@NODE.add("GET", "/metrics", METRICS)
async def metrics(call: Call) -> Reply:
    return Reply(200, call.services.metrics(), media=METRICS_MEDIA)


@ROUTES.add("GET", "/status", SOMEBODY, alone=True)
async def status(call: Call) -> Reply:
    """The health for every token; what the node knows of itself, which names workspaces, for those that read all."""
    told = _health_reply(call, alive=not call.services.health().draining).body
    assert isinstance(told, dict)
    if on_node(call.principal, "read") and not call.services.outdated():
        told = dict(call.services.status()) | told
    return Reply(200, told)


@ROUTES.add(
    "GET", "/repositories/<workspace>/<repository>/packages", REPOSITORY_READ, ("format", "prefix", "after", "limit")
)
async def list_packages(call: Call) -> Reply:
    after, limit = call.argument("after"), call.limit()
    format = _format_of(call)
    prefix = _prefix_of(call, format)
    with call.read() as reading:
        view = reading.view(call.at["workspace"], call.at["repository"], format)
        may = may_know(call, reading)
        found = list(islice((one for one in view.packages(prefix, after) if may(format, one.name)), limit + 1))
    return Reply(200, shown.page(found, limit, lambda one: one.name, shown.package))


@ROUTES.add("GET", "/repositories/<workspace>/<repository>/packages/<path:package>", REPOSITORY_READ, ("format",))
async def show_package(call: Call) -> Reply:
    format = _format_of(call)
    name = call.services.normalise(format, call.at["package"])
    with call.read() as reading:
        view = reading.view(call.at["workspace"], call.at["repository"], format)
        package = view.package(name) if may_know(call, reading)(format, name) else None
        if package is None:
            raise Absent("This repository holds no such package.")
        told = shown.package(package) | {
            "versions": [shown.version(one) for one in view.versions(name)],
            "tags": view.tags(name),
            "files": [shown.file(one) for one in view.files(name)],
        }
    return Reply(200, told)


def _prefix_of(call: Call, format: str) -> str:
    """The argument prefix as names are kept. It may end anywhere in a name, so a letter stands for the rest of it."""
    typed = call.argument("prefix")
    try:
        return call.services.normalise(format, typed + "x")[:-1] if typed else ""
    except Invalid:
        return typed


def _format_of(call: Call) -> str:
    format = call.argument("format")
    if format not in call.services.formats:
        raise Invalid(
            "The argument format names no format of this registry.", f"One of {', '.join(call.services.formats)}."
        )
    return format
