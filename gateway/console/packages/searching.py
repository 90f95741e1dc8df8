"""Which packages does a query find, of all that the caller may see?

The tables of packages are what is searched, and beside them the names of versions, which the same commit writes: so a
package is found from the commit on that publishes it, and nothing can lag. A name that must begin with something costs
what begins with it, versions that are asked for a look at the names that versions have and at the packages that have
one of those, anything else a look at every package of the repositories that the caller may see. Nothing else is looked
at, so neither answer nor time tell of what others keep (THREATS B9).

What was deleted stands in the bins: it is found by status:deleted, by whoever may read the bin, and else never.

What this node has heard of from a repository's upstreams is found with the rest, and marked by the upstream's name.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import trio

from cache.foreign.noted import Noted
from formats.kit.traits import parts_of
from gateway.access.rights.verdicts import seen
from gateway.console.calls.call import PAGE, Call, Reply, Routes, whole_in
from gateway.console.calls.leased import leased
from gateway.console.calls.permissions import ANYBODY
from gateway.console.packages import replies
from gateway.console.packages.deleted import Gone, gone_in, gone_versions
from gateway.console.packages.hearing import foreign_packages, foreign_versions
from gateway.console.packages.knowing import Around, Looked, may_know_people
from gateway.console.packages.parts import may_know_in
from gateway.console.shapes import shown
from gateway.queries.fields import At, Held, Part
from gateway.queries.needs import beginning, version_terms, wants_deleted, wants_upstreams
from gateway.queries.parsing import parse
from gateway.queries.terms import All
from storage.errors import Invalid
from storage.index.catalog import Reading
from storage.nouns import Package, Repository, Version, View

ROUTES = Routes("/-/api/v1")
LOOKS_MAX = 50_000
"""A page ends, with a cursor, when so many packages were looked at, however few were found."""
SORTED_LOOKS_MAX = 200_000
"""What is found among more packages than these is told by name alone."""
VERSIONS_SHOWN = 20
VERSIONS_SHOWN_MAX = 1_000
SORTS = ("name", "updated", "size", "downloads")


class Start(NamedTuple):
    """Behind which package a page begins."""

    workspace: str = ""
    repository: str = ""
    format: str = ""
    name: str = ""


class Asked(NamedTuple):
    """One page. `least` is the value of the last item in an order that is not of names, -1 = the page is the first."""

    query: Part
    start: Start
    limit: int
    shown_max: int
    sort: str
    least: int


Kept = Package | Noted | Gone
Candidate = tuple[str, Kept]


class Match(NamedTuple):
    """A package that is found, with its versions that match, the latest first."""

    at: At
    at_ms: int
    versions: list[Held]


@ROUTES.add("GET", "/search", ANYBODY, ("q", "sort", *PAGE, "versions"), gives=replies.FoundHere)
async def search(call: Call) -> Reply:
    """Packages that `q` finds, each with the `versions` latest that it finds: by workspace, repository, format and
    name, where a page may be short and not the last; or, the largest first, by `sort`: updated, size or downloads of
    the versions that are found."""
    sort = call.argument("sort", "name")
    if sort not in SORTS:
        raise Invalid("That is no order.", f"Sort by one of {', '.join(SORTS)}.")
    least, start = _start(call.argument("after"), sort)
    shown_max = call.number("versions", VERSIONS_SHOWN, VERSIONS_SHOWN_MAX)
    asked = Asked(parse(call.argument("q")), start, call.limit(), shown_max, sort, least)
    return Reply(200, await trio.to_thread.run_sync(_page if sort == "name" else _sorted_page, call, asked))


def _start(after: str, sort: str) -> tuple[int, Start]:
    if not after:
        return -1, Start()
    least, _, rest = after.partition("/") if sort != "name" else ("0", "/", after)
    parts = rest.split("/", 3)
    if len(parts) != 4 or not least:
        raise Invalid("The argument after is none that a page of results gave.", "Give its next.")
    return whole_in(least), Start(*parts)


def _page(call: Call, asked: Asked) -> shown.Shown:
    items: list[shown.Shown] = []
    last, looks = asked.start, 0
    with call.read() as reading:
        may = _knows_people(call, reading)
        places, left_out = _places(call, reading, asked.query)
        for at, package in _looked_at(call, reading, asked.query, asked.start, places):
            looks += 1
            last = Start(*at[:4])
            if (match := _match(call, reading, asked.query, at, package, may)) is not None:
                items.append(_told(match, asked.shown_max))
            if len(items) >= asked.limit or looks >= LOOKS_MAX:
                return {"items": items, "next": "/".join(last)} | left_out
    return {"items": items, "next": None} | left_out


def _sorted_page(call: Call, asked: Asked) -> shown.Shown:
    """The best of all that is found, behind the last that was told."""
    with call.read() as reading:
        places, left_out = _places(call, reading, asked.query)
        best = heapq.nsmallest(asked.limit + 1, _behind(call, reading, asked, places), key=lambda one: one[0])
        items = [_told(match, asked.shown_max) for _, match in best[: asked.limit]]
    if len(best) <= asked.limit:
        return {"items": items, "next": None} | left_out
    (value, *place), _ = best[asked.limit - 1]
    return {"items": items, "next": "/".join((str(-value), *place))} | left_out


def _places(call: Call, reading: Reading, query: Part) -> tuple[list[Repository], shown.Shown]:
    """The Repositories that are looked into, in the order of the answer, and what is said of others: that an edge which
    has lost its origin may not look into so many of those that the query means."""
    meant = (
        one
        for one in seen(reading, call.principal)
        if any(not _excluded(query, one, format) for format in call.services.formats)
    )
    found = sorted(meant, key=lambda one: (one.workspace, one.name))
    return leased(call.services, found, to_people=wants_deleted(query))


def _behind(
    call: Call, reading: Reading, asked: Asked, places: Sequence[Repository]
) -> Iterator[tuple[tuple[Any, ...], Match]]:
    first, may = (-asked.least, *asked.start), _knows_people(call, reading)
    for looks, (at, package) in enumerate(_looked_at(call, reading, asked.query, Start(), places)):
        if looks >= SORTED_LOOKS_MAX:
            raise Invalid(
                f"There are more than {SORTED_LOOKS_MAX} packages to sort.", "Narrow the query, or sort by name."
            )
        if (match := _match(call, reading, asked.query, at, package, may)) is None:
            continue
        key = (-_value(match, asked.sort), *at[:4])
        if asked.least < 0 or key > first:
            yield key, match


def _value(match: Match, sort: str) -> int:
    if sort == "updated":
        return match.at_ms
    if sort == "size":
        return sum(one.size_bytes for one in match.versions)
    return sum(one.known.downloads() for one in match.versions if one.known is not None)


def _looked_at(
    call: Call, reading: Reading, query: Part, start: Start, places: Iterable[Repository]
) -> Iterator[tuple[At, Kept]]:
    """Every package there that may be found and that the caller may know of, from `start` on."""
    for repository in places:
        place = (repository.workspace, repository.name)
        if place < start[:2]:
            continue
        may = may_know_in(call, reading, *place)
        gone = gone_in(call, reading, repository) if wants_deleted(query) else None
        for format in sorted(call.services.formats):
            if (*place, format) < start[:3] or _excluded(query, repository, format):
                continue
            after = start.name if (*place, format) == start[:3] else ""
            view = reading.view(*place, format)
            spelt = cache(partial(_spelt, call, format))
            prefix = spelt(beginning(query))
            here: Iterator[Candidate]
            heard: Iterator[Candidate] = iter(())
            if gone is None:
                local = _candidates(call, reading, query, view, (*place, format), prefix, after)
                here = ((one.name, one) for one in local)
                if wants_upstreams(query):
                    heard = foreign_packages(call, reading, repository, format, prefix, after)
            else:
                here = ((one.name, one) for one in gone.get(format, ()) if one.name > after)
            for name, one in heapq.merge(here, heard, key=lambda pair: pair[0]):
                if may(format, name):  # else neither counted nor a place to go on from: both would tell of it
                    upstream = ",".join(one.upstreams) if isinstance(one, Noted) else ""
                    yield At(*place, format, name, spelt, upstream), one


def _candidates(
    call: Call, reading: Reading, query: Part, view: View, place: tuple[str, str, str], prefix: str, after: str
) -> Iterable[Package]:
    """The packages of one format of a Repository that are worth a look, by name, behind `after`."""
    terms = version_terms(query)
    if prefix or not terms:
        return view.packages(prefix, after)
    order = call.services.version_order(place[2])
    names = reading.packages_with(*place, lambda version: all(one.holds_version(version, order) for one in terms))
    found = (view.package(name) for name in sorted({name for name in names if name > after}))
    return (one for one in found if one is not None)


def _excluded(query: Part, repository: Repository, format: str) -> bool:
    """Does a term that must hold speak of another place or format?"""
    at = At(repository.workspace, repository.name, format, "")
    parts = query.parts if isinstance(query, All) else (query,)
    places = ("workspace", "repository", "format")
    return any(getattr(one, "field", "") in places and one.holds(at, None, None) is False for one in parts)


def _spelt(call: Call, format: str, typed: str) -> str:
    """How names begin in this format; `typed` may end anywhere in a name, so a letter stands for the rest of it."""
    try:
        return call.services.normalise(format, typed + "x")[:-1] if typed else ""
    except Invalid:
        return typed


def _knows_people(call: Call, reading: Reading) -> Callable[[str], bool]:
    """may_know_people, judged once for each Workspace: where it says no, it has read all Repositories of that."""
    return cache(partial(may_know_people, call, reading))


def _match(
    call: Call, reading: Reading, query: Part, at: At, package: Kept, people: Callable[[str], bool]
) -> Match | None:
    first = query.holds(at, None, None)
    if first is False:
        return None
    held = list(_versions(call, reading, at, package, people))
    order = call.services.version_order(at.format)
    matching = held if first else [one for one in held if query.holds(at, one, order)]
    if not matching and not (first and not held):
        return None
    matching.sort(key=lambda one: (-one.at_ms, one.version))
    return Match(at, package.at_ms, matching)


def _versions(call: Call, reading: Reading, at: At, package: Kept, people: Callable[[str], bool]) -> Iterable[Held]:
    if isinstance(package, Gone):
        return gone_versions(call, reading, at, package)
    return (
        foreign_versions(call, reading, at, package) if isinstance(package, Noted) else _held(call, reading, at, people)
    )


def _told(match: Match, shown_max: int) -> shown.Shown:
    at = match.at
    return {
        "workspace": at.workspace,
        "repository": at.repository,
        "format": at.format,
        "name": at.name,
        "upstream": at.upstream,
        "updated_ms": match.at_ms,
        "versions_found": len(match.versions),
        "versions": [_version(one) for one in match.versions[:shown_max]],
    }


def _version(one: Held) -> shown.Shown:
    told = {"name": one.version, "created_ms": one.at_ms, "size_bytes": one.size_bytes, "tags": list(one.tags)}
    return told if one.known is None else told | one.known.shown()


def _held(call: Call, reading: Reading, at: At, people: Callable[[str], bool]) -> Iterator[Held]:
    """The versions of a package with their files and tags. What was published without any is one without a name."""
    view = reading.view(at.workspace, at.repository, at.format)
    files = {file.name: file for file in view.files(at.name)}
    versions = {one.name: one for one in view.versions(at.name)}
    named = {file.version: file for file in files.values() if file.version}  # a source of deb has no more than files
    versions = {name: Version(name, file.at_ms) for name, file in named.items()} | versions
    if files and not versions:
        versions[""] = Version("", max(file.at_ms for file in files.values()))
    tags: dict[str, list[str]] = {}
    for tag, version in view.tags(at.name).items():
        tags.setdefault(version, []).append(tag)
    around = Around(call, reading, at, people=people)
    for one in sorted(versions.values(), key=lambda one: one.name):
        mine = parts_of(around.room, one, versions, files)
        yield Held(
            one.name,
            sorted(tags.get(one.name, ())),
            [(file.name, file.sha256.hex()) for file in mine],
            sum(max(file.size, 0) for file in mine),
            one.at_ms,
            Looked(around, one, mine),
        )
