"""How does a read go on when something is missing here? Ask upstream, render, or pull while the client reads."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import trio

from cache.asking.kept import not_kept, only_kept
from cache.fills.flight import Flights
from cache.fills.sharing import Opened
from cache.foreign.files import Drew, ForeignFiles, Passing, Where
from cache.foreign.knowledge import ForeignKnowledge
from cache.keeping.renders import Rendered, Renders
from cache.keeping.shelf import Shelf
from cache.outcome import Outcome
from cache.replication.wanted import passes_through
from formats.kit.contract import Ask, Room, Serve, Show
from gateway.delivery.messages.answers import Answer, Wire
from gateway.delivery.messages.answers import plan as plan_of
from gateway.delivery.requests.request import Request
from gateway.front.leave import Leave
from gateway.front.reads.admitted import Admitted, Looked
from gateway.front.reads.marks import PULLED, document_labels
from gateway.front.reads.needs import Need, NeedBytes, NeedFile, NeedForeign, NeedRender, target_of
from gateway.front.reads.overlay import Overlay
from gateway.front.reads.reading import Reads
from gateway.front.reads.sources import Sources
from gateway.front.reads.streaming import (
    Feed,
    feed_of,
    stream_bypass,
    stream_feed,
    stream_fill,
    stream_past,
    stream_whole_past,
)
from storage.digest import ALGORITHMS
from storage.errors import Absent, Unavailable
from storage.index.catalog import Catalog
from storage.nouns import File

ROUNDS_MAX = 6


class Puller:
    """Reads that need work before they can be answered."""

    def __init__(
        self,
        catalog: Catalog,
        reads: Reads,
        renders: Renders,
        shelf: Shelf,
        knowledge: ForeignKnowledge,
        files: ForeignFiles,
        flights: Flights,
        sources: Sources,
        has_room: Callable[[int], bool],
        renders_running_max: int = 4,
        range_alone_bytes_min: int = 32 << 20,
        region: str = "",
        drew: Drew | None = None,
    ) -> None:
        """`drew` is told of each foreign file that came from an upstream."""
        self._drew = drew
        self._catalog = catalog
        self._reads = reads
        self._renders = renders
        self._shelf = shelf
        self._knowledge = knowledge
        self._files = files
        self._flights = flights
        self._sources = sources
        self._has_room = has_room
        self._alone_bytes_min = range_alone_bytes_min
        self._region = region
        self._limiter = trio.CapacityLimiter(renders_running_max)
        self._rendering: dict[bytes, trio.Event] = {}

    async def answer(self, request: Request, admitted: Admitted, looked: Looked | None = None) -> None:
        """Answer a Serve or a Show, meeting one need after the other; the first is known where it was `looked` at."""
        plan, need = admitted.plan, looked.need if looked is not None else None
        assert isinstance(plan, Serve | Show)
        refreshed = False
        for _ in range(ROUNDS_MAX):
            found: Answer | Need
            if need is not None:
                found, need = need, None
            else:
                with self._catalog.read() as reading:
                    admitted.check(reading)
                    found = self._reads.resolve(reading, admitted.scope, admitted.ask, admitted.room, plan)
            _log_version(request, found)
            if isinstance(found, Answer):
                await request.answer(found)
                return
            if isinstance(found, NeedForeign):
                if refreshed and only_kept(admitted.ask.headers):
                    raise not_kept(admitted.ask.path)
                if found.refresh and refreshed:
                    raise Absent("There is no such file here, nor upstream.")
                refreshed = refreshed or found.refresh
                await self._learn(admitted.ask, admitted.room, found)
            elif isinstance(found, NeedRender):
                if await self._document(request, admitted, found):
                    return
            elif isinstance(found, NeedFile):
                if await self._pass_on(request, admitted, found):
                    return
            else:
                known = looked if looked is not None and found is looked.need else None
                await self._stream(request, admitted, found, known)
                return
        raise Unavailable("This package changes faster than it can be shown.", "Try again.", retry_after_s=1)

    def under_way(self, need: Need) -> bool:
        """Is a file that is needed being fetched now, by this process?"""
        return isinstance(need, NeedBytes) and self._flights.running(flight_key(need)) is not None

    async def _learn(self, ask: Ask, room: Room, need: NeedForeign) -> None:
        await self._knowledge.of(
            ask.workspace,
            ask.repository,
            room.name,
            need.package,
            need.upstreams,
            need.since,
            refresh=need.refresh,
            only_kept=only_kept(ask.headers),
        )

    # ------------------------------------------------------------ foreign files by path

    async def _pass_on(self, request: Request, admitted: Admitted, need: NeedFile) -> bool:
        """Stream a foreign file while it is kept; False = it is here by now, look again. Raises Absent."""
        if not self._has_room(0) and await self._foreign_past(request, admitted, need):
            return True
        arriving = await self._files.of(need.where, need.pull)
        if arriving is None:
            return False
        answer = self._reads.arriving_answer(admitted.scope, need, arriving.record)
        request.outcome = request.outcome or Outcome.FILL.value
        await stream_fill(request, arriving.fill, answer)
        return True

    async def _foreign_past(self, request: Request, admitted: Admitted, need: NeedFile) -> bool:
        """On a full disk a foreign file goes to the client alone; False where it cannot. Raises Absent."""

        def opener(offset: int) -> Opened:
            passing = self._files.passing(need.where, need.pull, offset)
            if passing is None:
                raise Unavailable("It is here by now.")
            return Opened(passing.source, passing, passing.same)

        shared = await self._flights.sharing.join(b"path\0" + passing_key(need), opener)
        if shared is None:
            return False
        passing: Passing = shared.about
        answer = self._reads.arriving_answer(admitted.scope, need, passing.record)
        await stream_whole_past(request, shared, answer, _checkable(passing.digests))
        return True

    async def _otherwise(self, request: Request, admitted: Admitted, need: NeedFile) -> bool:
        """There is no document of our own: the upstream's file."""
        with self._catalog.read() as reading:
            found = self._reads.foreign_file(reading, admitted.scope, need)
        if isinstance(found, NeedFile):
            return await self._pass_on(request, admitted, found)
        await request.answer(found)
        return True

    # ------------------------------------------------------------ documents

    async def _document(self, request: Request, admitted: Admitted, need: NeedRender) -> bool:
        """Render and answer; False = somebody else just rendered it, look again."""
        try:
            rendered = await self._render(admitted, need)
        except Absent:
            if need.otherwise is None:
                raise
            return await self._otherwise(request, admitted, need.otherwise)
        if rendered is None:
            return False
        await self._show(request, admitted, need, rendered)
        return True

    async def _render(self, admitted: Admitted, need: NeedRender) -> Rendered | None:
        """Render once for all who wait; None = somebody else just did, look again."""
        running = self._rendering.get(need.key) if need.show.keep else None
        if running is not None:
            await running.wait()
            return None
        done = trio.Event()
        if need.show.keep:
            self._rendering[need.key] = done
        try:
            return await trio.to_thread.run_sync(self._render_now, admitted, need, limiter=self._limiter)
        finally:
            self._rendering.pop(need.key, None)
            done.set()

    def _render_now(self, admitted: Admitted, need: NeedRender) -> Rendered:
        ask, room, show = admitted.ask, admitted.room, need.show
        with self._catalog.read() as reading:
            depends = tuple((label, reading.label(label)) for label in document_labels(ask, room, show))
            view = reading.view(ask.workspace, ask.repository, room.name)
            seen = Overlay(view, need.foreign) if need.foreign is not None else view
            document = room.render(show, seen, ask.base)
        headers = (*show.headers, *document.headers)
        if show.keep:
            return self._renders.keep(need.key, document.body, show.media, headers, depends, need.foreign_version)
        return self._renders.made(document.body, show.media, headers, depends, need.foreign_version)

    async def _show(self, request: Request, admitted: Admitted, need: NeedRender, rendered: Rendered) -> None:
        answer = self._reads.document_answer(admitted.scope, admitted.ask, need.show, rendered, 0.0, Outcome.FILL)
        if answer is None:
            raise Unavailable("The rendered page did not stay in the cache.", "Try again.", retry_after_s=1)
        await request.answer(answer)

    # ------------------------------------------------------------ bytes

    async def _stream(self, request: Request, admitted: Admitted, need: NeedBytes, looked: Looked | None) -> None:
        """From whoever has them. Those who asked with the same head as the first (`looked`) share what it found out."""
        file, ask = need.file, admitted.ask
        answer = self._reads.pending_answer(admitted.scope, ask, need)
        wire = planned(request, answer, file)
        if wire is not None and (request.head.method == "HEAD" or wire.status not in (200, 206)):
            await request.answer(answer)
            return
        digests = dict(file.digests)
        if file.sha256:
            digests["sha256"] = file.sha256.hex()
        request.leave = Leave(admitted.scope.subject(admitted.room.name, need.serve.package, file.version))
        if wire is not None and await self._range_alone(request, admitted, need, answer, wire):
            return
        passing, full = passes_through(admitted.scope.repository, self._region), not self._has_room(file.size)
        if (passing or full) and await self._past(request, admitted, need, answer, wire, full=full):
            return
        source = self._sources.open(by_name(ask, need), file, need.upstreams)
        fill = self._flights.begin(
            flight_key(need),
            file.size,
            digests,
            source,
            self._remember(need, ask),
            place=f"{ask.workspace}/{ask.repository}",
        )
        request.outcome = request.outcome or Outcome.FILL.value
        feed = feed_of(request, fill, answer, file.size)
        if feed is None or not feed.open or (file.size < 0 and request.toll is not None):
            await stream_fill(request, fill, answer)
            return
        if looked is not None:
            looked.feed = feed
        await stream_feed(request, feed)

    async def join(self, request: Request, feed: Feed) -> None:
        """Answer one who asked with the same head as somebody who is being answered, from what that one gets."""
        feed.fill.joined += 1
        request.outcome, request.about, request.leave = Outcome.FILL.value, feed.about, feed.leave
        await stream_feed(request, feed)

    async def _range_alone(
        self, request: Request, admitted: Admitted, need: NeedBytes, answer: Answer, wire: Wire
    ) -> bool:
        """A range of a large file that is not here: only that is fetched. False where all of it is to be."""
        file, asked = need.file, by_name(admitted.ask, need)
        if wire.status != 206 or file.size < self._alone_bytes_min:
            return False
        if not self._flights.alone(flight_key(need), file.size, wire.size, self._alone_bytes_min):
            return False
        at = wire.extents[0][1]
        opening = self._sources.open_range(asked, file, need.upstreams)
        at_once = partial(self._sources.at_once, asked, at, wire.size)
        bypass = await self._flights.pass_by(lambda: opening(at, wire.size), at, wire.size, at_once)
        if bypass is None:
            return False
        await stream_bypass(request, bypass, answer, wire, at)
        return True

    async def _past(
        self, request: Request, admitted: Admitted, need: NeedBytes, answer: Answer, wire: Wire | None, *, full: bool
    ) -> bool:
        """What is not to be kept, or has no room on a full disk, goes to the client alone; False where it cannot."""
        file = need.file
        if wire is None or not file.sha256 or file.size <= 0:
            return full and await self._pulled_past(request, admitted, need, answer)
        at = wire.extents[0][1] if wire.extents else 0
        opening = self._sources.open_range(by_name(admitted.ask, need), file, need.upstreams)
        bypass = await self._flights.pass_by(lambda: opening(at, wire.size), at, wire.size)
        if bypass is None:
            return False
        await stream_past(request, bypass, answer, wire, at, {"sha256": file.sha256.hex()})
        return True

    async def _pulled_past(self, request: Request, admitted: Admitted, need: NeedBytes, answer: Answer) -> bool:
        """A foreign file, whose size and digests are what its registry said: False where it cannot."""
        file = need.file
        opening = self._sources.open_range(by_name(admitted.ask, need), file, need.upstreams)
        told = _checkable(dict(file.digests) | ({"sha256": file.sha256.hex()} if file.sha256 else {}))

        def opener(offset: int) -> Opened:
            return Opened(opening(offset, -1), None, "".join(told.values()))

        shared = await self._flights.sharing.join(flight_key(need), opener)
        if shared is None:
            return False
        if 0 <= file.size != shared.length:
            shared.close()
            return False
        await stream_whole_past(request, shared, answer, told)
        return True

    def _remember(self, need: NeedBytes, ask: Ask) -> Callable[[bytes, int], None]:
        """What a finished flight writes down: where a foreign file's bytes are from now on."""

        def remember(sha256: bytes, size: int) -> None:
            if need.pulled:
                note_pulled(self._shelf, need, sha256, size)
            if need.pulled and self._drew is not None:
                where = Where(ask.workspace, ask.repository, ask.format, target_of(ask), (), need.since)
                self._drew(where, "", need.file.version, sha256, size)

        return remember


def passing_key(need: NeedFile) -> bytes:
    """What those have in common who ask for the same foreign file by its path."""
    where, wanted = need.where, need.pull
    place = (where.workspace, where.repository, where.format, str(where.since), str(where.only_kept))
    return "\0".join((*place, where.target, wanted.path, wanted.accept)).encode()


def _checkable(digests: Mapping[str, str]) -> dict[str, str]:
    return {name: value.lower() for name, value in digests.items() if name in ALGORITHMS}


def planned(request: Request, answer: Answer, file: File) -> Wire | None:
    """What goes out for a file of which not a byte is here: a HEAD, or a condition on a known validator, needs none.
    None where its size is not known."""
    if file.size < 0:
        return None
    answer.extents = ((-1, 0, file.size),) if file.size else ()
    wire = plan_of(answer, request.head)
    answer.extents = ()
    return wire


def note_pulled(shelf: Shelf, need: NeedBytes, sha256: bytes, size: int) -> None:
    """A foreign file is here from now on: this is where."""
    known = msgspec.structs.replace(need.file, sha256=sha256, size=size)
    shelf.put(PULLED, need.pulled, msgspec.msgpack.encode(known))


def _log_version(request: Request, found: object) -> None:
    """The version of the file, for the client log, now that the file is known."""
    version = found.version if isinstance(found, Answer) else found.file.version if isinstance(found, NeedBytes) else ""
    if version and request.about:
        request.about = (*request.about[:2], version, *request.about[3:])


def by_name(ask: Ask, need: NeedBytes) -> Ask:
    """The request at the address that cannot come to mean another file while this one is fetched: a tag may move."""
    if not need.serve.tag:
        return ask
    path = ask.raw_path.rpartition("/")[0] + "/" + need.file.name.rpartition("/")[2]
    return msgspec.structs.replace(ask, path=path, raw_path=path)


def flight_key(need: NeedBytes) -> bytes:
    """One flight per object: by identity where it is known, else by place and what the upstream announced."""
    if need.file.sha256:
        return b"blob\0" + need.file.sha256
    announced = "\0".join(f"{name}={value}" for name, value in sorted(need.file.digests.items()))
    return need.pulled + b"\0" + announced.encode()
