"""How is a big document brought up to date for the price of what changed?

A Part (formats.kit.contract) is cut into runs of packages (formats.kit.runs). Of each run the plain bytes and its
compressed pieces are kept in the shelf, and of each Part the list of its runs. What changed since is asked of the View,
its runs are made anew, and all forms of the document are put together from pieces as they lie: written once, hashed on
the way, never in memory as a whole. What is lost from the shelf is made anew from the View.

Everything here is blocking: called in a thread, by one caller a set on the whole node.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import msgspec
from xxhash import xxh3_128_digest

from cache.keeping.shelf import Shelf
from formats.kit.contract import Indexed, Made, Part
from formats.kit.pieces import Piece, join, piece
from formats.kit.runs import Fragments, changed, cut, is_cut, spans
from storage.blobs.intake import Intake
from storage.blobs.shelf import BlobShelf
from storage.nouns import View
from storage.spans import note

RUN = "run"
PARTS = "parts"
WRITE_BYTES = 1 << 20


class Run(msgspec.Struct, frozen=True, array_like=True):
    """A run of a Part: the name that it begins with, the shelf key of its bytes, and what joining must know."""

    first: str
    key: bytes
    size: int
    crc: int
    unpadded: int


class Body(msgspec.Struct, frozen=True, array_like=True):
    """A run's bytes: `index` is msgpack of names and lengths, looked into only where the run changes."""

    index: bytes
    plain: bytes
    pieces: dict[str, bytes]


class BodyView(msgspec.Struct, frozen=True, array_like=True):
    """A Body where it lies, for as long as it is being read there."""

    index: memoryview
    plain: memoryview
    pieces: dict[str, memoryview]


_view_of = msgspec.msgpack.Decoder(BodyView).decode


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One form of a Part; `packed` is the identity of the form that a plain one can be had from."""

    path: str
    size: int
    sha256: bytes
    packed: bytes = b""


class State(msgspec.Struct, frozen=True, array_like=True):
    """A Part as it was put together last."""

    path: str
    forms: tuple[tuple[str, str], ...]
    runs: tuple[Run, ...]
    made: tuple[Row, ...]


class Assembled(msgspec.Struct, frozen=True, array_like=True):
    """All Parts of a set as of a Serial of its format."""

    serial: int
    parts: tuple[State, ...]


class Lost(Exception):
    """Something that was kept is not there any more."""


class Assembly:
    """The Parts of sets. `grew` is told of bytes that were added to the cache."""

    def __init__(self, shelf: Shelf, blobs: BlobShelf, intake: Intake, grew: Callable[[int], None]) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._intake = intake
        self._grew = grew

    def bring(self, place: bytes, room: Indexed, set: str, view: View, serial: int) -> tuple[Row, ...]:
        """Every form of every Part of `set` as the View has it, stored, by path. `serial` is the View's of this format.

        Raises Absent where there is no such set, Full.
        """
        parts = room.parts(set, view)
        before = self._known(place)
        if before is not None and before.serial > serial:  # of a history that was given up
            before = None
        old = {state.path: state for state in before.parts} if before else {}
        kept = [part for part in parts if part.path in old and old[part.path].forms == part.forms]
        changes = _changes(room, set, view, before.serial, kept) if before and kept else {}
        fresh = [part for part in parts if part not in kept]
        note("entrepot.parts.kept", len(kept))
        note("entrepot.parts.fresh", len(fresh))
        states: dict[str, State] = {}
        dropped: list[bytes] = []
        for part in kept:
            try:
                states[part.path] = self._changed(place, old[part.path], changes[part.path], dropped)
            except Lost:
                fresh.append(part)
        for path, runs in self._scanned(place, room, set, view, fresh).items():
            states[path] = self._written(next(part for part in fresh if part.path == path), runs)
        ordered = tuple(states[part.path] for part in sorted(parts, key=lambda part: part.path))
        self._shelf.put(PARTS, place, msgspec.msgpack.encode(Assembled(serial, ordered)))
        used = {run.key for state in ordered for run in state.runs}
        for key in dropped:
            if key not in used:
                self._shelf.drop(RUN, key)
        return tuple(sorted((row for state in ordered for row in state.made), key=lambda row: row.path))

    def forget(self, place: bytes) -> None:
        """The next time everything is made anew."""
        self._shelf.drop(PARTS, place)

    def _known(self, place: bytes) -> Assembled | None:
        raw = self._shelf.get(PARTS, place)
        return msgspec.msgpack.decode(raw, type=Assembled) if raw is not None else None

    # ------------------------------------------------------------ runs

    def _changed(self, place: bytes, state: State, changes: Mapping[str, bytes | None], dropped: list[bytes]) -> State:
        """The Part with these changes in it. Raises Lost."""
        runs = list[Run]()
        at, touched = 0, False
        for start, stop, inside in spans([run.first for run in state.runs], changes):
            runs += state.runs[at:start]
            before = [one for run in state.runs[start:stop] for one in _fragments(self._body(run))]
            after = changed(before, inside)
            if after == before:
                runs += state.runs[start:stop]
            else:
                touched = True
                dropped += [run.key for run in state.runs[start:stop]]
                forms = [form for form, _ in state.forms]
                runs += [self._made(place, state.path, forms, run) for run in cut(after)]
            at = stop
        runs += state.runs[at:]
        if not touched and all(self._blobs.holds(row.sha256) is not None for row in state.made if not row.packed):
            return state
        return self._written(Part(state.path, state.forms), runs)

    def _scanned(
        self, place: bytes, room: Indexed, set: str, view: View, parts: Sequence[Part]
    ) -> dict[str, list[Run]]:
        """The runs of Parts of which nothing is known, in one pass over all packages."""
        runs: dict[str, list[Run]] = {part.path: [] for part in parts}
        forms = {part.path: [form for form, _ in part.forms] for part in parts}
        open_: dict[str, Fragments] = {part.path: [] for part in parts}
        for package in view.packages() if parts else ():
            begins = is_cut(package.name)
            for path, data in room.fragments(set, package.name, view).items():
                run = open_.get(path)
                if run is None or not data:
                    continue
                if begins and run:
                    runs[path].append(self._made(place, path, forms[path], run))
                    run = open_[path] = []
                run.append((package.name, data))
        for path, run in open_.items():
            if run:
                runs[path].append(self._made(place, path, forms[path], run))
        return runs

    def _made(self, place: bytes, path: str, forms: Sequence[str], run: Fragments) -> Run:
        """A run with its pieces, kept."""
        plain = b"".join(data for _, data in run)
        packed = {form: piece(form, plain) for form in forms}
        index = msgspec.msgpack.encode([(name, len(data)) for name, data in run])
        key = xxh3_128_digest(place + b"\0" + path.encode()) + xxh3_128_digest(index + plain)
        body = Body(index, plain, {form: data for form, (data, _) in packed.items()})
        self._shelf.put(RUN, key, msgspec.msgpack.encode(body))
        unpadded = packed["xz"][1] if "xz" in packed else 0
        return Run(run[0][0], key, len(plain), zlib.crc32(plain), unpadded)

    def _body(self, run: Run) -> Body:
        raw = self._shelf.get(RUN, run.key)
        if raw is None:
            raise Lost
        return msgspec.msgpack.decode(raw, type=Body)

    # ------------------------------------------------------------ documents

    def _written(self, part: Part, runs: Sequence[Run]) -> State:
        """The Part in all its forms, as blobs. Raises Lost, Full."""
        pieces = [Piece(run.size, run.crc, run.unpadded) for run in runs]
        edges = {form: join(form, pieces) for form, _ in part.forms}
        plain = hashlib.sha256()
        with ExitStack() as stack:
            stages = {form: stack.enter_context(self._intake.stage()) for form, _ in part.forms}
            waiting = {form: bytearray(edges[form][0]) for form in stages}
            with self._shelf.reading() as get:
                for run in runs:
                    raw = get(RUN, run.key)
                    if raw is None:
                        raise Lost
                    body = _view_of(raw)
                    plain.update(body.plain)
                    for form, staged in stages.items():
                        waiting[form] += body.pieces[form]
                        if len(waiting[form]) >= WRITE_BYTES:
                            staged.write(waiting[form])
                            waiting[form] = bytearray()
            rows: list[Row] = []
            for form, ending in part.forms:
                staged = stages[form]
                staged.write(waiting[form] + edges[form][1])
                staged.seal()
                self._blobs.put(staged)
                self._grew(staged.size)
                rows.append(Row(part.path + ending, staged.size, staged.sha256))
        first = rows[0].sha256 if rows else b""
        rows.append(Row(part.path, sum(run.size for run in runs), plain.digest(), first))
        return State(part.path, part.forms, tuple(runs), tuple(rows))


def made_of(rows: Sequence[Row]) -> tuple[Made, ...]:
    """Rows as a room is told of them."""
    return tuple(Made(row.path, row.size, row.sha256) for row in rows)


def _changes(
    room: Indexed, set: str, view: View, after: int, parts: Sequence[Part]
) -> dict[str, dict[str, bytes | None]]:
    """What packages that were touched give to each Part now; None where nothing."""
    changes: dict[str, dict[str, bytes | None]] = {part.path: {} for part in parts}
    for _, package in view.touched(after):
        given = room.fragments(set, package, view)
        for path, inside in changes.items():
            inside[package] = given.get(path) or None
    return changes


def _fragments(body: Body) -> Iterator[tuple[str, bytes]]:
    at = 0
    for name, length in msgspec.msgpack.decode(body.index, type=list[tuple[str, int]]):
        yield name, body.plain[at : at + length]
        at += length
