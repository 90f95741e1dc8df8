"""How does an edge have a foreign file that somebody drew elsewhere? It asks for it as that client did, of itself.

The same path goes the same way as a client's read: names that are published here stay here (C14), what is withheld or
in quarantine is not brought, and the parent is asked by the edge's own credential, for what it keeps alone, so that no
foreign registry is asked for it again. Here too, what a row says gives no right: it is read again by its room.
"""

import os
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, cast

import msgspec

from cache.asking.bodies import Source
from cache.asking.kept import ASKED
from cache.fills.flight import Flights
from cache.foreign.files import ForeignFiles, Pace
from cache.foreign.knowledge import ForeignKnowledge
from cache.keeping.shelf import Shelf
from cache.replication.drawn import Drawn, Place, Row
from cache.replication.holding import Wish
from cache.replication.wanted_drawn import Known
from formats.kit.contract import ABOUT, Ask, Foreign, Learn, Listed, Manifest, Room, Serve, Show, about
from formats.kit.contract import Drawn as ByPath
from gateway.delivery.messages.answers import Answer
from gateway.front.reads.needs import NeedBytes, NeedFile, NeedForeign, Scope, foreign_set, upstreams_of
from gateway.front.reads.pulling import flight_key, note_pulled
from gateway.front.reads.reading import Reads
from gateway.front.reads.sources import Sources
from gateway.front.routes import full_home
from storage.blobs.shelf import Located
from storage.errors import Absent, NotKept, Problem, Unavailable
from storage.index.catalog import Catalog, Reading
from storage.nouns import Repository

ROUNDS_MAX = 6
HEARD_MAX = 10_000
COMPOSED_BYTES_MAX = 4 << 20
"""A file that says what it is composed of has no more."""

Facts = Callable[[str, Ask, bytes, str], Awaitable[bytes]]
"""(format, request, bytes, media) to the facts of a file of whose kind the room says what it needs. Raises Problem."""


class Request(NamedTuple):
    """What a row's request means."""

    ask: Ask
    room: Room
    plan: Serve | Show | Manifest | Listed
    package: str


def ask_again(place: Place, row: Row) -> Ask:
    """The request of a row, as this node makes it of its own, for what is kept alone. Raises Absent."""
    home = full_home(*place, row.format)
    path, _, query = row.target.partition("?")
    if not path.startswith(home[1:] + "/"):
        raise Absent("This is no request for a file of that place.")
    raw_path = path[len(home) :]
    return Ask(
        method="GET",
        path=urllib.parse.unquote(raw_path),
        raw_path=raw_path,
        query=tuple(urllib.parse.parse_qsl(query, keep_blank_values=True)),
        headers={"accept": row.accept or "*/*", **ASKED},
        base=f"http://-{home}",
        workspace=place.workspace,
        repository=place.repository,
        format=row.format,
    )


def request_of(rooms: Mapping[str, Room], place: Place, row: Row) -> Request | None:
    """None for what no room reads as a file, or a document of somebody else's."""
    room = rooms.get(row.format)
    if room is None:
        return None
    try:
        ask = ask_again(place, row)
        plan = room.read(ask)
    except Problem:
        return None
    if isinstance(plan, Manifest | Listed):
        serve = plan.otherwise
        return Request(ask, room, plan, serve.package) if serve is not None else None
    if not isinstance(plan, Serve | Show):
        return None
    return Request(ask, room, plan, plan.package if isinstance(plan, Serve) else plan.claim or plan.package)


class Requests:
    """What the rows of this node mean, here and now: cache.holding.Foreign. One a process, for several threads."""

    def __init__(self, rooms: Mapping[str, Room], drawn: Drawn, knowledge: "Tags") -> None:
        self._rooms = rooms
        self._drawn = drawn
        self._knowledge = knowledge
        self._read: dict[Place, dict[tuple[str, str, bytes], Known | None]] = {}

    def mark(self) -> int:
        return self._drawn.mark()

    def known(self, reading: Reading, repository: Repository) -> list[Known]:
        """Of a Repository: what may be drawn, by its upstreams and by what was published, and purged, since."""
        place = Place(repository.workspace, repository.name)
        before, read = self._read.get(place, {}), dict[tuple[str, str, bytes], Known | None]()
        may: dict[tuple[str, str], int] = {}
        found: list[Known] = []
        for row in self._drawn.rows(place):
            key = row.target, row.accept, row.sha256
            known = read[key] = before[key] if key in before else self._meant(place, row)
            if known is None:
                continue
            of = row.format, known.package
            if of not in may:
                may[of] = self._purged(reading, repository, *of)
            if may[of] == row.since:
                found.append(known._replace(row=row))
        self._read[place] = read
        return found

    def _meant(self, place: Place, row: Row) -> Known | None:
        request = request_of(self._rooms, place, row)
        if request is None:
            return None
        plan = request.plan if isinstance(request.plan, Serve) else None
        version, name, tag = row.version, row.target, ""
        if plan is not None:
            name, tag = plan.file, plan.tag
            if hasattr(request.room, "version_of"):
                version = cast("ByPath", request.room).version_of(plan, row.sha256)
            if tag:
                name += f"sha256:{row.sha256.hex()}"
        return Known(row, request.package, version, name, tag)

    def _purged(self, reading: Reading, repository: Repository, format: str, package: str) -> int:
        """The Serial of the last purge of a Package that upstreams may answer for, -1 for another."""
        at = (repository.workspace, repository.name, format)
        if not upstreams_of(repository, reading.view(*at), self._rooms[format], package):
            return -1
        return reading.purged(*at, package)

    def tags_of(self, reading: Reading, repository: Repository, format: str, package: str) -> Mapping[str, str]:
        at = (repository.workspace, repository.name, format)
        view = reading.view(*at)
        upstreams = upstreams_of(repository, view, self._rooms[format], package)
        return self._knowledge.tags(*at, package, upstreams, reading.purged(*at, package))


class Tags:
    """The Tags of foreign packages by what is kept of them, from any thread."""

    def __init__(self, knowledge: ForeignKnowledge[Foreign]) -> None:
        self._knowledge = knowledge
        self._tags: dict[tuple[object, ...], tuple[int, Mapping[str, str]]] = {}

    def tags(self, *at: Any) -> Mapping[str, str]:
        version, load = self._knowledge.keeps(*at)
        if load is None:
            return {}
        known = self._tags.get(at)
        if known is None or known[0] != version:
            known = self._tags[at] = version, dict(load().tags)
        return known[1]


class Drawing:
    """Draws what is wished for. `facts` takes apart what says of what it is composed."""

    def __init__(
        self,
        catalog: Catalog,
        rooms: Mapping[str, Room],
        reads: Reads,
        knowledge: ForeignKnowledge[Foreign],
        files: ForeignFiles,
        flights: Flights,
        sources: Sources,
        shelf: Shelf,
        find: Callable[[bytes], Located | None],
        drawn: Drawn,
        facts: Facts,
    ) -> None:
        self._find = find
        self._catalog = catalog
        self._rooms = rooms
        self._reads = reads
        self._knowledge = knowledge
        self._files = files
        self._flights = flights
        self._sources = sources
        self._shelf = shelf
        self._drawn = drawn
        self._facts = facts
        self._heard: set[tuple[str, str, str, str]] = set()

    async def draw(self, wish: Wish, pace: Pace | None) -> bool:
        """Have one file here as if a client had asked for it; False where it cannot be had any more. Raises Problem."""
        row, place = wish.drawn, Place(wish.repository.workspace, wish.repository.name)
        assert row is not None
        request = request_of(self._rooms, place, row)
        media = None
        if request is not None:
            with suppress(Absent, NotKept):
                media = await self._brought(place, request, pace)
        if request is None or media is None:
            self._drawn.forget(place, row)
            return False
        needs = await self._needs(request, row, media)
        await self._hear_of(place, request)
        self._drawn.came(place, row, needs)
        return True

    async def _hear_of(self, place: Place, request: Request) -> None:
        """What the parent keeps of the package is kept here too, where nothing is: lists for who ranges over them."""
        at = (*place, request.room.name, request.package)
        if at in self._heard or not isinstance(request.room.upstream(ABOUT, about(request.package)), Learn):
            return
        if len(self._heard) >= HEARD_MAX:
            self._heard.clear()
        self._heard.add(at)
        with self._catalog.read() as reading:
            repository, since = reading.repository(*place), reading.purged(*at)
            if repository is None:
                return
            view = reading.view(*place, request.room.name)
            upstreams = upstreams_of(repository, view, request.room, request.package)
        with suppress(Problem):
            if self._knowledge.kept(*at, upstreams, since) is None:
                await self._knowledge.of(*at, upstreams, since, only_kept=True)

    async def _brought(self, place: Place, request: Request, pace: Pace | None) -> str:
        """Its media type, once it is here. Raises Absent and NotKept where there is no such file to be had."""
        ask, asked = request.ask, False
        for _ in range(ROUNDS_MAX):
            with self._catalog.read() as reading:
                found = self._resolved(reading, place, request)
            if isinstance(found, Answer):
                return found.media
            if isinstance(found, NeedForeign):
                if asked:
                    raise Unavailable(f"The parent does not list {ask.path} yet.", "It is tried again.")
                asked = True
                at = (*place, ask.format, found.package)
                await self._knowledge.of(*at, found.upstreams, found.since, refresh=True, only_kept=True)
            elif isinstance(found, NeedFile):
                arriving = await self._files.of(found.where, found.pull, pace)
                if arriving is not None:
                    await arriving.fill.done()
                record = self._files.kept(found.where, found.pull)
                if record is not None:
                    return found.pull.media or record.media
            else:
                await self._bytes(ask, found, pace)
        raise Unavailable(f"{ask.path} changes faster than it can be brought.", "It is tried again.")

    def _resolved(
        self, reading: Reading, place: Place, request: Request
    ) -> Answer | NeedForeign | NeedFile | NeedBytes:
        """As a client's read. Raises Absent, Forbidden."""
        ask, room, plan = request.ask, request.room, request.plan
        repository = reading.repository(*place)
        if repository is None:
            raise Absent("The repository is gone.")
        scope = Scope(repository, (), float("inf"))
        view = reading.view(*place, room.name)
        if isinstance(plan, Manifest | Listed):
            plan = foreign_set(view, repository, room, plan)
        if not isinstance(plan, Serve | Show):
            raise Absent("This is signed here.")
        found = self._reads.resolve(reading, scope, ask, room, plan)
        if isinstance(found, Answer | NeedForeign | NeedFile | NeedBytes):
            return found
        raise Absent("This is rendered here.")

    async def _bytes(self, ask: Ask, need: NeedBytes, pace: Pace | None) -> None:
        file, key = need.file, flight_key(need)
        opener = self._sources.open(ask, file, ())

        def paced(offset: int) -> Source:
            source = opener(offset)
            return source if pace is None else pace(source, key)

        def remember(sha256: bytes, size: int) -> None:
            note_pulled(self._shelf, need, sha256, size)

        digests = dict(file.digests)
        place = f"{ask.workspace}/{ask.repository}"
        fill = await self._flights.join(key, file.size, digests, paced, remember, place=place)
        sha256 = await fill.done()
        # it may have been here, or be fetched by a client who noted the same
        note_pulled(self._shelf, need, sha256, fill.size or 0)

    async def _needs(self, request: Request, row: Row, media: str) -> tuple[str, ...]:
        """The names of the files that this one is nothing without, where its room tells; () where that fails."""
        plan, room = request.plan, request.room
        if not (hasattr(room, "needs") and hasattr(room, "version_of") and isinstance(plan, Serve)):
            return ()
        located = self._find(row.sha256)
        if located is None or located.size > COMPOSED_BYTES_MAX or not cast("ByPath", room).version_of(plan, b""):
            return ()
        raw = b"".join(os.pread(fd, length, offset) for fd, offset, length in located.extents)
        with suppress(Problem, msgspec.MsgspecError):
            facts = await self._facts(room.name, request.ask, raw, media)
            return tuple(cast("Any", room).needs(facts))
        return ()
