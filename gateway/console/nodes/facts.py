"""How is this node doing, and what do its repositories hold?"""

from itertools import islice
from typing import Any

import trio

from gateway.access.rights.verdicts import judge, on_node
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import ANYBODY, METRICS, REPOSITORY_READ, SOMEBODY
from gateway.console.nodes import replies
from gateway.console.packages import replies as package_replies
from gateway.console.packages.parts import may_know
from gateway.console.packages.pulls import of_version
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from storage.errors import Absent, Invalid
from storage.index.catalog import Reading

NODE = Routes("/-")
ROUTES = Routes("/-/api/v1")

FILES_MAX = 200_000
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
    word = "draining" if now.draining else "ok" if alive else "starting"
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


@ROUTES.add(
    "GET",
    "/repositories/<workspace>/<repository>/packages",
    REPOSITORY_READ,
    ("format", "prefix", "after", "limit"),
    gives=Page[package_replies.Package],
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


def show_published(call: Call, reading: Reading) -> shown.Shown:
    """What the index knows of a package: its ETag moves neither with how the bytes lie, nor with what is pulled."""
    format = _format_of(call)
    name = call.services.normalise(format, call.at["package"])
    view = reading.view(call.at["workspace"], call.at["repository"], format)
    package = view.package(name) if may_know(call, reading)(format, name) else None
    if package is None:
        raise Absent("This repository holds no such package.")
    return shown.package(package) | {
        "versions": [shown.version(one) for one in view.versions(name)],
        "tags": view.tags(name),
        "files": [shown.file(one) for one in view.files(name)],
    }


@ROUTES.add(
    "GET",
    "/repositories/<workspace>/<repository>/packages/<path:package>",
    REPOSITORY_READ,
    ("format",),
    gives=package_replies.PackageWithFiles,
    shows=show_published,
)
async def show_package(call: Call) -> Reply:
    with call.read() as reading:
        told: dict[str, Any] = show_published(call, reading)
        since_ms = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read").at_ms
    register, at = call.services.register, (call.at["workspace"], call.at["repository"])
    counted = None if register is None else register.package(*at, _format_of(call), told["name"], since_ms=since_ms)
    rows = call.services.stored([bytes.fromhex(one["sha256"]) for one in told["files"]])
    for one in told["versions"]:
        one |= of_version(counted, one["name"])
    for one, row in zip(told["files"], rows, strict=True):
        one["stored"] = shown.stored(row)
    return Reply(200, told)


@ROUTES.add("GET", "/repositories/<workspace>/<repository>/storage", REPOSITORY_READ, gives=package_replies.Storage)
async def show_storage(call: Call) -> Reply:
    """What the files of a repository take, and what of it was there before, by how they are cut. It looks at every
    file, at most FILES_MAX of them: then `complete` is false."""
    return Reply(200, await trio.to_thread.run_sync(_weighed, call))


def _weighed(call: Call) -> shown.Shown:
    by_cut: dict[str, dict[str, int]] = {}
    files = 0
    with call.read() as reading:
        may = may_know(call, reading)
        for format in call.services.formats:
            view = reading.view(call.at["workspace"], call.at["repository"], format)
            for package in view.packages():
                if files >= FILES_MAX or not may(format, package.name):
                    continue
                identities = [one.sha256 for one in view.files(package.name) if one.sha256]
                files += len(identities)
                for row in call.services.stored(identities):
                    if row is not None:
                        sums = by_cut.setdefault(row.cut.name.lower(), {"files": 0, "bytes": 0, "saved_bytes": 0})
                        for name, value in (("files", 1), ("bytes", row.size), ("saved_bytes", row.saved)):
                            sums[name] += value
    saved = sum(one["saved_bytes"] for one in by_cut.values())
    return {"files": files, "saved_bytes": saved, "by_cut": by_cut, "complete": files < FILES_MAX}


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
