"""Which documents belong together at a moment, and who has signed for that?

A Generation is a manifest with its seals and the identity of every document that it lists. It is made at the origin, by
one caller on the whole node, from one Reading; edges are told of it and keep it under the same Serials. Documents that
former generations listed stay known for a while, so that a client which read an older manifest finds what it names.

A Generation holds for a Reading whose labels have not moved behind its own: a younger one than asked for is fine.
"""

import time
from collections.abc import Callable

import msgspec

from cache.keeping.shelf import Shelf
from formats.kit.contract import Indexed, Making, Written
from gateway.access.secrets.signing import SigningKeys
from gateway.front.reads.signed import Place
from gateway.indexes.assembly import Assembly, Row, made_of
from storage.errors import Absent, Unavailable
from storage.index import keys
from storage.index.catalog import Catalog, Reading
from storage.spans import note, step, stepped

KIND = "generation"
OLDER_MAX = 1024
CLAIM_SECONDS = 300.0
WAIT_SECONDS_MAX = 300.0
_POLL_S = 0.005


class Serials(msgspec.Struct, frozen=True, array_like=True):
    """The labels that a Generation rests on: of the packages of its format, and of its Repository."""

    format: int
    repository: int

    def cover(self, other: "Serials") -> bool:
        return self.format >= other.format and self.repository >= other.repository


class Generation(msgspec.Struct, frozen=True, array_like=True):
    """A manifest, sealed. `modified_s` grows with each, whatever the clock does: clients ask by it. Clients refuse it
    from `until_ms` on, 0 = never."""

    serials: Serials
    at_ms: int
    modified_s: int
    fresh_until_ms: int
    body: bytes
    seals: dict[str, bytes]
    rows: tuple[Row, ...]
    older: tuple[Row, ...] = ()
    until_ms: int = 0

    def by_path(self, path: str) -> Row | None:
        return next((row for row in self.rows if row.path == path), None)

    def by_identity(self, sha256: bytes) -> Row | None:
        """Of this generation, or of one before that is still kept."""
        return next((row for row in (*self.rows, *reversed(self.older)) if row.sha256 == sha256), None)


class Generations:
    """The generations that this node knows."""

    def __init__(
        self,
        catalog: Catalog,
        shelf: Shelf,
        assembly: Assembly,
        signing: SigningKeys | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._assembly = assembly
        self._signing = signing
        self._now_ms = now_ms

    def held(self, place: Place) -> Generation | None:
        """What is kept, current or not."""
        raw = self._shelf.get(KIND, place.key())
        return None if raw is None else msgspec.msgpack.decode(raw, type=Generation)

    def current(self, generation: Generation | None, wanted: Serials) -> bool:
        """May it be served to who has seen `wanted`?"""
        return (
            generation is not None
            and generation.serials.cover(wanted)
            and (not generation.fresh_until_ms or self._now_ms() < generation.fresh_until_ms)
        )

    def over(self, generation: Generation) -> bool:
        """Would a client refuse it, whoever signed it?"""
        return bool(generation.until_ms) and self._now_ms() >= generation.until_ms

    def due(self) -> list[Place]:
        """The sets that must be said anew, of those that this node knows."""
        found = []
        for key, raw in self._shelf.scan(KIND):
            generation = msgspec.msgpack.decode(raw, type=Generation)
            if generation.fresh_until_ms and self._now_ms() >= generation.fresh_until_ms:
                found.append(Place(*key.decode().split("\0")))
        return found

    def fresh_until_s(self, generation: Generation) -> float:
        """When it must be said anew, monotonic."""
        if not generation.fresh_until_ms:
            return float("inf")
        return time.monotonic() + (generation.fresh_until_ms - self._now_ms()) / 1000

    def keep(self, place: Place, generation: Generation) -> None:
        self._shelf.put(KIND, place.key(), msgspec.msgpack.encode(generation))

    # ------------------------------------------------------------ making (blocking, at an origin)

    @stepped("make generation")
    def make(self, place: Place, room: Indexed, wanted: Serials, *, anew: bool = False) -> Generation:
        """A generation for who has seen `wanted`, made here unless another process of the node just did.

        `anew` puts every document together again: some of its bytes were lost. Raises Absent, Full, Unavailable.
        """
        deadline_s = time.monotonic() + WAIT_SECONDS_MAX
        while not self._shelf.claim(place.key(), CLAIM_SECONDS):
            time.sleep(_POLL_S)
            if time.monotonic() > deadline_s:
                raise Unavailable("This index is being made for too long.", "Try again.", retry_after_s=5)
        try:
            held = self.held(place)
            if held is not None and self.current(held, wanted) and not anew:
                return held
            with self._catalog.read() as reading:
                return self._made(reading, place, room, held, anew)
        finally:
            self._shelf.release(place.key())

    def _made(self, reading: Reading, place: Place, room: Indexed, held: Generation | None, anew: bool) -> Generation:
        view = reading.view(place.workspace, place.repository, place.format)
        serials = serials_of(reading, place)
        repository = reading.repository(place.workspace, place.repository)
        if repository is None:
            raise Absent("There is no such repository.")
        with step("assemble index"):
            rows = self._assembly.bring(place.key(), room, place.set, view, serials.format)
            note("entrepot.documents", len(rows))

        def manifest(at_ms: int) -> Written:
            making = Making(place.set, place.workspace, place.repository, made_of(rows), at_ms)
            return room.manifest(making, view)

        if held is not None and self._still_said(held, serials) and manifest(held.at_ms).body == held.body:
            fresh = msgspec.structs.replace(held, serials=serials, rows=rows)
        else:
            assert self._signing is not None, "generations are made at the origin"
            at_ms = self._now_ms()
            written = manifest(at_ms)
            with step("sign index"):
                seals = self._signing.seals(place.workspace, place.repository, written.body, repository.certificates)
            fresh = Generation(
                serials,
                at_ms,
                max(at_ms // 1000, held.modified_s + 1 if held else 0),
                at_ms + written.fresh_s * 1000 if written.fresh_s else 0,
                written.body,
                seals,
                rows,
                _older(held, rows),
                at_ms + written.valid_s * 1000 if written.valid_s else 0,
            )
        self.keep(place, fresh)
        return fresh

    def _still_said(self, held: Generation, serials: Serials) -> bool:
        """Would it be signed by the same keys, and is it not due to be said anew?"""
        return held.serials.repository == serials.repository and self.current(held, held.serials)


def _older(held: Generation | None, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """What is still told of generations before, the oldest first."""
    if held is None:
        return ()
    now = {row.sha256 for row in rows}
    found = {row.sha256: row for row in (*held.older, *held.rows) if row.sha256 not in now}
    return tuple(found.values())[-OLDER_MAX:]


def serials_of(reading: Reading, place: Place) -> Serials:
    """What a Reading has seen of what a generation rests on."""
    return Serials(
        reading.label(keys.label_format(place.workspace, place.repository, place.format)),
        reading.label(keys.label_repository(place.workspace, place.repository)),
    )
