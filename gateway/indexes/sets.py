"""How is a signed set of documents answered: its manifest, the documents that it lists, the keys to verify it with?

From the Generation that is kept, as long as it holds: then on the delivery loop, like any file. Else a new one is
brought first, made here at an origin, asked of the parent at an edge. An edge that cannot reach its parent serves what
it has. A document is only found through the set that lists it, never by its digest alone (THREATS C1).
"""

from collections.abc import Callable
from typing import Protocol, cast

import msgspec
from xxhash import xxh3_128_hexdigest

from cache.asking.bodies import Source
from cache.fills.flight import Flights
from cache.outcome import Outcome
from formats.kit.contract import Indexed, Keyring, Listed, Manifest, Room
from gateway.access.secrets.signing import keyring
from gateway.delivery.messages.answers import Answer
from gateway.delivery.requests.request import Request
from gateway.front.leave import Leave
from gateway.front.reads.admitted import Admitted
from gateway.front.reads.fields import cache_control, safely
from gateway.front.reads.needs import Scope
from gateway.front.reads.signed import Place
from gateway.front.reads.streaming import stream_fill
from gateway.indexes.assembly import Row
from gateway.indexes.generations import Generation, Generations, Serials, serials_of
from gateway.indexes.resigning import signed_anew
from storage.blobs.shelf import BlobShelf
from storage.errors import Absent, Unavailable, UpstreamFailed
from storage.index import keys
from storage.index.catalog import Catalog, Reading
from storage.nouns import Repository

SMALL_BYTES_MAX = 16 << 10
RETRY_SECONDS = 30
SetPlan = Manifest | Listed | Keyring


class Bring(Protocol):
    """Where a new generation comes from, and documents that are not here."""

    async def generation(self, place: Place, room: Indexed, wanted: Serials, *, foreign: bool = False) -> Generation:
        """One for who has seen `wanted`; `foreign` = of an upstream's text.

        Raises Absent, Unavailable, UpstreamFailed.
        """
        ...

    async def restore(self, place: Place, room: Indexed, row: Row) -> Callable[[int], Source] | None:
        """Get the bytes of `row`: None = they are here now. Raises Absent."""
        ...

    async def certificates(self, repository: Repository) -> tuple[bytes, ...]:
        """Of a repository that has no key yet. Raises Unavailable."""
        ...


class Sets:
    """Reads of sets."""

    def __init__(
        self,
        catalog: Catalog,
        generations: Generations,
        bring: Bring,
        cached: BlobShelf,
        flights: Flights,
        touch: Callable[[bytes], None],
    ) -> None:
        self._catalog = catalog
        self._generations = generations
        self._bring = bring
        self._cached = cached
        self._flights = flights
        self._touch = touch

    # ------------------------------------------------------------ the delivery loop

    def resolve(self, reading: Reading, admitted: Admitted) -> Answer | None:
        """The answer from what is here, None where work is needed. Raises Absent."""
        plan, scope = admitted.plan, admitted.scope
        if isinstance(plan, Keyring):
            certificates = scope.repository.certificates
            return _keys(scope, plan, certificates) if certificates else None
        assert isinstance(plan, Manifest | Listed)
        place, room = _where(admitted, plan.set)
        held = self._generations.held(place)
        wanted = serials_of(reading, place)
        if isinstance(plan, Listed) and plan.sha256 and held is not None:
            row = held.by_identity(bytes.fromhex(plan.sha256))
            return None if row is None else self._document(scope, plan, row, ())
        if held is None or not self._generations.current(held, wanted):
            if not _is_foreign(plan):
                room.parts(plan.set, reading.view(place.workspace, place.repository, place.format))
            return None
        return self._of(scope, plan, held, _depends(place, wanted))

    def _of(
        self, scope: Scope, plan: Manifest | Listed, generation: Generation, depends: tuple[tuple[bytes, int], ...]
    ) -> Answer | None:
        """What the plan asks of a generation; None where its bytes are not here. Raises Absent."""
        if isinstance(plan, Manifest):
            return self._manifest(scope, plan, generation, depends)
        row = _row(plan, generation)
        return self._document(scope, plan, row, depends)

    def _manifest(
        self, scope: Scope, plan: Manifest, generation: Generation, depends: tuple[tuple[bytes, int], ...]
    ) -> Answer:
        body = generation.seals[plan.seal] if plan.seal else generation.body
        return Answer(
            media=plan.media,
            etag=f'"{generation.modified_s:x}-{_tag(body)}"',
            modified_s=generation.modified_s,
            body=body,
            headers=safely((cache_control(scope.repository),)),
            outcome=Outcome.HIT.value,
            depends=(*scope.depends, *depends),
            until_s=min(scope.until_s, self._generations.fresh_until_s(generation)),
            repository=_name(scope.repository),
            private=not scope.repository.public,
        )

    def _document(self, scope: Scope, plan: Listed, row: Row, depends: tuple[tuple[bytes, int], ...]) -> Answer | None:
        if not row.size:
            return self._bytes(scope, plan, row, depends)
        located = self._cached.find(row.sha256)
        if located is None:
            return None
        self._touch(row.sha256)
        answer = self._bytes(scope, plan, row, depends)
        if row.size <= SMALL_BYTES_MAX:
            answer.body = located.read()
        else:
            answer.body, answer.extents, answer.lease = None, located.extents, Leave(scope.subject(), located)
        answer.forgettable = (row.sha256,)
        return answer

    def _bytes(self, scope: Scope, plan: Listed, row: Row, depends: tuple[tuple[bytes, int], ...]) -> Answer:
        """The document's head; by its identity it never changes, so then it rests on the access to it alone."""
        return Answer(
            media=plan.media,
            etag=f'"{row.sha256.hex()}"',
            size=row.size,
            body=b"",
            headers=safely((cache_control(scope.repository),)),
            outcome=Outcome.HIT.value,
            depends=(*scope.depends, *depends),
            until_s=scope.until_s,
            repository=_name(scope.repository),
            private=not scope.repository.public,
        )

    # ------------------------------------------------------------ the request task

    async def answer(self, request: Request, admitted: Admitted) -> None:
        """Answer, with whatever work that takes. Raises Problem."""
        plan, scope = admitted.plan, admitted.scope
        with self._catalog.read() as reading:
            found = self.resolve(reading, admitted)
            place, room = _where(admitted, plan.set) if isinstance(plan, Manifest | Listed) else (None, None)
            wanted = serials_of(reading, place) if place is not None else None
        if found is not None:
            await request.answer(found)
            return
        if isinstance(plan, Keyring):
            certificates = await self._bring.certificates(scope.repository)
            await request.answer(_keys(scope, plan, certificates))
            return
        assert isinstance(plan, Manifest | Listed)
        assert place is not None
        assert room is not None
        assert wanted is not None
        generation = await self._brought(request, place, room, wanted, plan)
        request.outcome = request.outcome or Outcome.FILL.value
        found = self._of(scope, plan, generation, _depends(place, generation.serials))
        if found is not None:
            found.until_s = 0.0  # made of a generation that may be younger than what this node has seen
            await request.answer(found)
            return
        assert isinstance(plan, Listed)
        await self._fetched(request, place, room, scope, plan, _row(plan, generation))

    async def _brought(
        self, request: Request, place: Place, room: Indexed, wanted: Serials, plan: Manifest | Listed
    ) -> Generation:
        held = self._generations.held(place)
        sha256 = plan.sha256 if isinstance(plan, Listed) else ""
        if sha256 and held is not None and held.by_identity(bytes.fromhex(sha256)) is not None:
            return held
        try:
            return await self._bring.generation(place, room, wanted, foreign=_is_foreign(plan))
        except (UpstreamFailed, Unavailable):
            if held is None:
                raise
            if self._generations.over(held) and isinstance(plan, Manifest):
                raise Unavailable(
                    "The signed index that is held here is valid no longer, and where it comes from cannot be reached.",
                    "Try again later.",
                    retry_after_s=RETRY_SECONDS,
                ) from None
            request.outcome = Outcome.STALE.value
            return held

    async def _fetched(
        self, request: Request, place: Place, room: Indexed, scope: Scope, plan: Listed, row: Row
    ) -> None:
        source = await self._bring.restore(place, room, row)
        answer = self._bytes(scope, plan, row, ())
        if source is None:
            found = self._document(scope, plan, row, ())
            if found is None:
                raise Unavailable("The index did not stay in the cache.", "Try again.", retry_after_s=1)
            await request.answer(found)
            return
        answer.body = None
        digests = {"sha256": row.sha256.hex()}
        fill = await self._flights.join(b"blob\0" + row.sha256, row.size, digests, source)
        await stream_fill(request, fill, answer)

    # ------------------------------------------------------------ what edges ask

    async def tell(self, request: Request, rooms: dict[str, Room], place: Place, sha256: str) -> None:
        """A generation as it stands, or one document of it. For peers."""
        room = rooms.get(place.format)
        with self._catalog.read() as reading:
            repository = reading.repository(place.workspace, place.repository)
            wanted = serials_of(reading, place)
            foreign = signed_anew(reading, place, room)
        if room is None or not hasattr(room, "parts") or repository is None:
            raise Absent("There is no such set.")
        indexed = cast("Indexed", room)
        plan: Manifest | Listed = Listed(place.set, "application/octet-stream", sha256=sha256)
        if foreign and not sha256:
            plan = Manifest(place.set, "application/octet-stream", foreign=True)
        generation = await self._brought(request, place, indexed, wanted, plan)
        if not sha256:
            body = msgspec.msgpack.encode(generation)
            await request.reply(200, (("Content-Type", "application/vnd.entrepot.generation+msgpack"),), body)
            return
        assert isinstance(plan, Listed)
        row = _row(plan, generation)
        scope = Scope(repository, (), 0.0)
        found = self._document(scope, plan, row, ())
        if found is not None:
            if isinstance(found.lease, Leave):
                found.lease = found.lease.held  # a peer reads for others, under no leave of its own
            await request.answer(found)
        else:
            await self._fetched(request, place, indexed, scope, plan, row)

    async def tell_certificates(self, request: Request, workspace: str, name: str) -> None:
        """The certificates of a repository, its first key made where it has none. For peers."""
        with self._catalog.read() as reading:
            repository = reading.repository(workspace, name)
        if repository is None:
            raise Absent("There is no such repository.")
        certificates = repository.certificates or await self._bring.certificates(repository)
        body = msgspec.msgpack.encode(certificates)
        await request.reply(200, (("Content-Type", "application/msgpack"),), body)


def _is_foreign(plan: Manifest | Listed) -> bool:
    return isinstance(plan, Manifest) and plan.foreign


def _row(plan: Listed, generation: Generation) -> Row:
    row = generation.by_identity(bytes.fromhex(plan.sha256)) if plan.sha256 else generation.by_path(plan.path)
    if row is None:
        raise Absent("There is no such index.")
    return row


def _where(admitted: Admitted, set: str) -> tuple[Place, Indexed]:
    ask = admitted.ask
    return Place(ask.workspace, ask.repository, admitted.room.name, set), cast("Indexed", admitted.room)


def _depends(place: Place, serials: Serials) -> tuple[tuple[bytes, int], ...]:
    """The label that a generation rests on, and that access does not rest on already."""
    return ((keys.label_format(place.workspace, place.repository, place.format), serials.format),)


def _keys(scope: Scope, plan: Keyring, certificates: tuple[bytes, ...]) -> Answer:
    body = keyring(certificates, armored=plan.armored)
    return Answer(
        media=plan.media,
        etag=f'"{_tag(body)}"',
        body=body,
        headers=safely((cache_control(scope.repository),)),
        outcome=Outcome.HIT.value,
        depends=scope.depends,
        until_s=scope.until_s,
        repository=_name(scope.repository),
        private=not scope.repository.public,
    )


def _tag(body: bytes) -> str:
    return xxh3_128_hexdigest(body)


def _name(repository: Repository) -> str:
    return f"{repository.workspace}/{repository.name}"
