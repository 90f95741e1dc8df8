"""How is that put together by which foreign files reach the regions that want them?"""

import os
from typing import NamedTuple

from cache.fills.flight import Flights
from cache.foreign.files import Drew, ForeignFiles, Pace, Where
from cache.foreign.knowledge import ForeignKnowledge
from cache.replication.drawn import Place, Row
from cache.replication.holding import Wish
from cache.replication.news import News
from formats import ROOMS
from formats.kit.contract import Ask, Blob, Foreign
from gateway.assembly.parts import Parts
from gateway.front.complaints import now_ms
from gateway.front.peers.drawn import TellingDrawn, ask_parent
from gateway.front.peers.mirroring import Drawing, Requests, Tags
from gateway.front.reads.reading import Reads
from gateway.front.reads.sources import Sources
from storage.errors import Full


class Drawer(NamedTuple):
    """An edge's, for its Replicator (cache.replicator.Foreign)."""

    news: News
    drawing: Drawing

    async def run(self) -> None:
        await self.news.run()

    async def draw(self, wish: Wish, pace: Pace | None) -> bool:
        return await self.drawing.draw(wish, pace)


def drawer_of(
    parts: Parts,
    reads: Reads,
    knowledge: ForeignKnowledge[Foreign],
    files: ForeignFiles,
    flights: Flights,
    sources: Sources,
) -> Drawer | None:
    """None at an origin."""
    if parts.uplink is None:
        return None
    store = parts.store
    parts.holding.foreign = Requests(ROOMS, parts.drawn, Tags(knowledge))

    async def facts(format: str, ask: Ask, raw: bytes, media: str) -> bytes:
        descriptor = os.memfd_create("drawn", os.MFD_CLOEXEC)
        try:
            os.pwrite(descriptor, raw, 0)
            context = {"media": media}
            finds, workdir = await parts.sandbox.unpack(format, ask, {}, "", descriptor, 0, Blob(), context)
            with workdir:
                return finds.facts
        finally:
            os.close(descriptor)

    drawing = Drawing(
        store.catalog,
        ROOMS,
        reads,
        knowledge,
        files,
        flights,
        sources,
        parts.shelf,
        store.cached.find,
        parts.drawn,
        facts,
    )
    ask = ask_parent(parts.remote.fetch_document, parts.parent, parts.config.parent_token)
    return Drawer(News(store.catalog, parts.holding, parts.drawn, ask), drawing)


def drew_of(parts: Parts) -> Drew | None:
    """What an origin writes down of a foreign file that came; a full disk loses it. None at an edge."""
    if parts.uplink is not None:
        return None

    def drew(where: Where, accept: str, version: str, sha256: bytes, size: int) -> None:
        row = Row(0, where.format, where.target, accept, version, sha256, size, now_ms(), where.since)
        try:
            parts.drawn.add(Place(where.workspace, where.repository), row)
        except Full:
            return

    return drew


def telling_of(parts: Parts) -> TellingDrawn:
    """What this node tells its edges."""
    cached = parts.store.cached
    upward = None
    if parts.uplink is not None:
        upward = ask_parent(parts.remote.fetch_document, parts.parent, parts.config.parent_token)
    return TellingDrawn(
        parts.store.catalog,
        ROOMS,
        parts.drawn,
        lambda sha256: cached.holds(sha256) is not None,
        now_ms,
        upward,
    )
