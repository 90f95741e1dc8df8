"""What does a Repository hold? Its packages, one of them whole, and what all their files take."""

from typing import Any

import trio

from gateway.access.rights.verdicts import judge, on_node
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.looking import look
from gateway.console.calls.permissions import REPOSITORY_READ
from gateway.console.packages import replies
from gateway.console.packages.parts import may_know
from gateway.console.packages.pulls import of_version
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from storage.errors import Absent, Invalid
from storage.index.catalog import Reading

ROUTES = Routes("/-/api/v1")
FILES_MAX = 200_000


@ROUTES.add(
    "GET",
    "/repositories/<workspace>/<repository>/packages",
    REPOSITORY_READ,
    ("format", "prefix", "after", "limit"),
    gives=Page[replies.Package],
)
async def list_packages(call: Call) -> Reply:
    """Those that the caller may read, by name. A page may be short and not the last."""
    format = format_of(call)
    after, limit, prefix = call.argument("after"), call.limit(), _prefix_of(call, format)

    def page() -> shown.Shown:
        with call.read() as reading:
            view, may = reading.view(call.at["workspace"], call.at["repository"], format), may_know(call, reading)
            rows = view.packages(prefix, after)
            return look(rows, limit, lambda one: one.name, lambda one: may(format, one.name)).shown(shown.package)

    return Reply(200, await trio.to_thread.run_sync(page))


def show_published(call: Call, reading: Reading) -> shown.Shown:
    """What the index knows of a package: its ETag moves neither with how the bytes lie, nor with what is pulled."""
    format = format_of(call)
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
    gives=replies.PackageWithFiles,
    shows=show_published,
)
async def show_package(call: Call) -> Reply:
    with call.read() as reading:
        told: dict[str, Any] = show_published(call, reading)
        since_ms = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read").at_ms
    register, at = call.services.register, (call.at["workspace"], call.at["repository"])
    counted = None if register is None else register.package(*at, format_of(call), told["name"], since_ms=since_ms)
    rows = call.services.stored([bytes.fromhex(one["sha256"]) for one in told["files"]])
    for one in told["versions"]:
        one |= of_version(counted, one["name"])
    for one, row in zip(told["files"], rows, strict=True):
        one["stored"] = shown.stored(row, of_all=on_node(call.principal, "read"))
    return Reply(200, told)


@ROUTES.add("GET", "/repositories/<workspace>/<repository>/storage", REPOSITORY_READ, gives=replies.Storage)
async def show_storage(call: Call) -> Reply:
    """What the files of a repository take, by how they are cut, and to who may read everything what of it was there
    before. It looks at every file, at most FILES_MAX of them: then `complete` is false."""
    return Reply(200, await trio.to_thread.run_sync(_weighed, call))


def _weighed(call: Call) -> shown.Shown:
    by_cut: dict[str, dict[str, Any]] = {}
    files, of_all = 0, on_node(call.principal, "read")
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
                    if (told := shown.stored(row, of_all=True)) is not None and row is not None:
                        nothing = {"why": told["why"], "files": 0, "chunks": 0, "bytes": 0, "saved_bytes": 0}
                        sums = by_cut.setdefault(str(told["cut"]), nothing)
                        for name, value in (("files", 1), ("bytes", row.size)):
                            sums[name] += value
                        for name in ("chunks", "saved_bytes"):
                            sums[name] += told[name]
    saved = sum(one["saved_bytes"] for one in by_cut.values())
    if not of_all:
        by_cut = {name: one | {"saved_bytes": None} for name, one in by_cut.items()}
    return {"files": files, "saved_bytes": saved if of_all else None, "by_cut": by_cut, "complete": files < FILES_MAX}


def _prefix_of(call: Call, format: str) -> str:
    """The argument prefix as names are kept. It may end anywhere in a name, so a letter stands for the rest of it."""
    typed = call.argument("prefix")
    try:
        return call.services.normalise(format, typed + "x")[:-1] if typed else ""
    except Invalid:
        return typed


def format_of(call: Call) -> str:
    """The argument format. Raises Invalid."""
    format = call.argument("format")
    if format not in call.services.formats:
        raise Invalid(
            "The argument format names no format of this registry.", f"One of {', '.join(call.services.formats)}."
        )
    return format
