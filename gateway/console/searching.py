"""Which packages does a query find, of all that the caller may see?

The tables of packages are what is searched, so a package is found from the commit on that publishes it: there is no
index beside them that could lag. A name that must begin with something costs what begins with it, anything else a look
at every package of the repositories that the caller may see. Nothing else is looked at, so neither answer nor time tell
of what others keep (THREATS B9).
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import trio

from gateway.access.verdicts import seen
from gateway.console import replies, shown
from gateway.console.calls import Call, Reply, Routes
from gateway.console.parts import may_know_in
from gateway.console.permissions import ANYBODY
from gateway.console.queries import All, At, Held, Part, beginning, parse
from storage.errors import Invalid
from storage.index.catalog import Reading
from storage.nouns import Package, Repository, View

ROUTES = Routes("/-/api/v1")
LOOKS_MAX = 50_000
"""A page ends, with a cursor, when so many packages were looked at, however few were found."""
VERSIONS_SHOWN = 20
VERSIONS_SHOWN_MAX = 1_000


class Start(NamedTuple):
    """Behind which package a page begins."""

    workspace: str = ""
    repository: str = ""
    format: str = ""
    name: str = ""


class Budget:
    """How many packages one page may still look at."""

    def __init__(self) -> None:
        self.looks = LOOKS_MAX


@ROUTES.add("GET", "/search", ANYBODY, ("q", "after", "limit", "versions"), gives=replies.Page[replies.Found])
async def search(call: Call) -> Reply:
    """Packages that `q` finds, by workspace, repository, format and name, each with the `versions` latest that it
    finds. A page may be short and not the last."""
    query = parse(call.argument("q"))
    start = _start(call.argument("after"))
    shown_max = call.number("versions", VERSIONS_SHOWN, VERSIONS_SHOWN_MAX)
    return Reply(200, await trio.to_thread.run_sync(_page, call, query, start, call.limit(), shown_max))


def _start(after: str) -> Start:
    if not after:
        return Start()
    parts = after.split("/", 3)
    if len(parts) != 4:
        raise Invalid("The argument after is none that a page of results gave.", "Give its next.")
    return Start(*parts)


def _page(call: Call, query: Part, start: Start, limit: int, shown_max: int) -> shown.Shown:
    items: list[shown.Shown] = []
    last, budget = start, Budget()
    with call.read() as reading:
        for at, package, view in _looked_at(call, reading, query, start, budget):
            last = Start(*at[:4])
            if (item := _found(call, query, at, package, view, shown_max)) is not None:
                items.append(item)
            if len(items) >= limit or budget.looks <= 0:
                return {"items": items, "next": "/".join(last)}
    return {"items": items, "next": None}


def _looked_at(
    call: Call, reading: Reading, query: Part, start: Start, budget: Budget
) -> Iterator[tuple[At, Package, View]]:
    """Every package that may be found and that the caller may know of, from `start` on."""
    typed = beginning(query)
    found = sorted(seen(reading, call.principal), key=lambda one: (one.workspace, one.name))
    for repository in found:
        place = (repository.workspace, repository.name)
        if place < start[:2]:
            continue
        may = may_know_in(call, reading, *place)
        for format in sorted(call.services.formats):
            if (*place, format) < start[:3] or _excluded(query, repository, format):
                continue
            after = start.name if (*place, format) == start[:3] else ""
            view = reading.view(*place, format)
            spelt = cache(partial(_spelt, call, format))
            for package in view.packages(spelt(typed), after):
                if not may(format, package.name):
                    continue  # neither counted nor a place to go on from: both would tell of it
                budget.looks -= 1
                at = At(*place, format, package.name, spelt)
                yield at, package, view


def _excluded(query: Part, repository: Repository, format: str) -> bool:
    """Does a term that must hold speak of another place or format?"""
    at = At(repository.workspace, repository.name, format, "")
    parts = query.parts if isinstance(query, All) else (query,)
    return any(getattr(one, "field", "name") != "name" and one.holds(at, None, None) is False for one in parts)


def _spelt(call: Call, format: str, typed: str) -> str:
    """How names begin in this format; `typed` may end anywhere in a name, so a letter stands for the rest of it."""
    try:
        return call.services.normalise(format, typed + "x")[:-1] if typed else ""
    except Invalid:
        return typed


def _found(call: Call, query: Part, at: At, package: Package, view: View, shown_max: int) -> shown.Shown | None:
    first = query.holds(at, None, None)
    if first is False:
        return None
    held = list(_held(view, package.name))
    order = call.services.version_order(at.format)
    matching = held if first else [one for one in held if query.holds(at, one, order)]
    if not matching and not (first and not held):
        return None
    matching.sort(key=lambda one: (-one.at_ms, one.version))
    return {
        "workspace": at.workspace,
        "repository": at.repository,
        "format": at.format,
        "name": at.name,
        "updated_ms": package.at_ms,
        "versions_found": len(matching),
        "versions": [
            {"name": one.version, "created_ms": one.at_ms, "size_bytes": one.size_bytes, "tags": list(one.tags)}
            for one in matching[:shown_max]
        ],
    }


def _held(view: View, name: str) -> Iterator[Held]:
    """The versions of a package with their files and tags."""
    files: dict[str, list[tuple[str, str, int]]] = {}
    for file in view.files(name):
        files.setdefault(file.version, []).append((file.name, file.sha256.hex(), max(file.size, 0)))
    tags: dict[str, list[str]] = {}
    for tag, version in view.tags(name).items():
        tags.setdefault(version, []).append(tag)
    for one in view.versions(name):
        mine = files.get(one.name, [])
        size = sum(size for _, _, size in mine)
        yield Held(one.name, sorted(tags.get(one.name, ())), [(path, sha) for path, sha, _ in mine], size, one.at_ms)
