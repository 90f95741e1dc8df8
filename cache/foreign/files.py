"""Which files of foreign registries are here by their path, and until when may they be given out without asking?

The sibling of `foreign`: there a registry's answer is translated into nouns, here its file is passed on as it is. An
origin asks the repository's upstreams in their order, an edge its parent by the path of its own client. What is kept of
a file is a small record (freshness, validators, media, digests) that names the blob; the bytes come by a Flight, so
that any number of waiters share one fetch and read while it arrives. A record is written by the thread that fetches,
before any other process can see the fetch: whoever joins finds in it what the answer's head needs.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
import trio

from cache.asking.bodies import Refused, Source, Spent, Unchanged
from cache.asking.kept import ASKED, not_kept
from cache.asking.upstream import Remote
from cache.fills.flight import Fill, Flights
from cache.foreign.budget import Budget
from cache.foreign.freshness import Held, Standing, Terms, absent, failed, found, left_s, resting, standing, unchanged
from cache.foreign.heads import Wanted, announced, check, media_of, passed_on
from cache.foreign.knowledge import EDGE_FRESH_S, EDGE_NEGATIVE_S, WORDS_MAX, SecretOf, key_of, purged
from cache.keeping.shelf import Shelf
from storage.digest import Hasher
from storage.errors import Absent, Problem, UpstreamFailed
from storage.nouns import Upstream

RECORD, HEAD = "foreign-file", "foreign-file-head"
WAIT_BYTES_MAX = 1 << 20
"""A renewed file of no more than this is awaited whole, as is one that does not tell its size: where it breaks off, the
old copy still serves."""
JUST_NOW_MS = 5_000
"""What a parent said so lately of what it keeps, it need not be asked for again by who wants no more than that."""
DETAIL = "entrepot-detail"
"""The header in which a parent tells an edge, beside its dialect, what its upstream did; percent-encoded."""

_TAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
log = logging.getLogger("entrepot.cache")


@dataclass(frozen=True, slots=True)
class Where:
    """The place that a file is asked for in; `target` is the client's own path, which an edge asks its parent for.
    `since` is the Serial of its last purge."""

    workspace: str
    repository: str
    format: str
    target: str
    upstreams: tuple[Upstream, ...]
    since: int = 0
    only_kept: bool = False
    """No upstream is asked, be it through a parent (cache.asking.kept)."""


Drew = Callable[[Where, str, str, bytes, int], None]
"""(where, accept, version, sha256, size) of a foreign file that came. Called in the thread that fetched it."""
Pace = Callable[[Source, bytes], Source]
"""(source, key of its flight) to the same source, slower."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a file: `held.content` is the sha256 of its bytes. `digests` are others, as hex."""

    held: Held
    size: int = -1
    media: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    digests: dict[str, str] = {}

    @property
    def sha256(self) -> bytes:
        return self.held.content

    @property
    def etag(self) -> str:
        """Its owner's strong validator, else one of our own; the same at origin and edge. "" while unknown."""
        if _TAG.fullmatch(self.held.etag):
            return self.held.etag
        return f'"{self.held.content.hex()}"' if self.held.content else ""


@dataclass(frozen=True, slots=True)
class Usable:
    """A record that may be used without asking until `until_s` (monotonic)."""

    record: Record
    until_s: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Spot:
    """One thing to ask: `key` names it in the records, `lasting` (of a sha256 in hex) names the place where the same
    file lies for ever, None where there is none."""

    key: bytes
    url: str
    headers: Mapping[str, str]
    private_network: bool
    terms: Terms
    wanted: Wanted
    parent: bool
    where: Where
    lasting: Callable[[str], bytes] | None = None

    @property
    def asks_nobody(self) -> bool:
        """Is what is here all that there is to have?"""
        return self.where.only_kept and not self.parent


@dataclass(frozen=True, slots=True)
class Arriving:
    """A file on its way: `record` tells its head, its bytes are the Fill's."""

    fill: Fill
    record: Record


class Passing(NamedTuple):
    """A file that is handed on and not kept: its bytes, what its head tells, and the digests that must hold."""

    source: Source
    record: Record
    digests: dict[str, str]

    @property
    def same(self) -> str:
        """Tells this state of it from another; "" = nothing does."""
        held, digests = self.record.held, "".join(self.digests.values())
        return f"{held.etag}\0{self.record.size}\0{digests}" if held.etag or digests else ""


class ForeignFiles:
    """Foreign files by (workspace, repository, format, path). `here` tells whether a blob is in the cache."""

    def __init__(
        self,
        shelf: Shelf,
        remote: Remote,
        flights: Flights,
        here: Callable[[bytes], bool],
        *,
        secret_of: SecretOf = lambda workspace, repository, upstream: "",
        parent: str = "",
        token: str = "",
        stale_seconds_max: int = 7 * 24 * 3600,
        patience_s: float = 4.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        drew: Drew | None = None,
    ) -> None:
        """`drew` is told of each that came from an upstream."""
        self._drew = drew
        self._shelf = shelf
        self._remote = remote
        self._flights = flights
        self._here = here
        self._secret_of = secret_of
        self._parent = parent.rstrip("/")
        self._token = token
        self._stale_s = stale_seconds_max
        self._patience_s = patience_s
        self._now_ms = now_ms
        self._budget = Budget(shelf, now_ms)

    # ------------------------------------------------------------ what is held

    def peek(self, where: Where, wanted: Wanted) -> Usable | None:
        """What may be used without asking; None where somebody must be asked (`of`). Raises Absent where all have said
        lately that there is none."""
        for spot in self._spots(where, wanted):
            record = self._record(RECORD, spot)
            if record is None or not self._good(spot, record):
                if spot.asks_nobody:
                    continue
                return None
            if record.held.known:
                now_ms = self._now_ms()
                stale = not wanted.immutable and resting(record.held, now_ms)
                until_s = float("inf") if wanted.immutable else time.monotonic() + left_s(record.held, now_ms)
                return Usable(record, until_s, stale)
        if where.only_kept and not self._parent:
            raise not_kept(wanted.path)
        raise Absent(f"There is no file {wanted.path} here, nor upstream.")

    def kept(self, where: Where, wanted: Wanted) -> Record | None:
        """What is held of it, as old as may be, without a question asked."""
        for spot in self._spots(where, wanted):
            record = self._record(RECORD, spot)
            if record is not None and self._usable(spot, record):
                return record
        return None

    def _good(self, spot: Spot, record: Record) -> bool:
        """May it be used without asking?"""
        if record.held.known and not self._here(record.held.content):
            return False
        if record.held.known and spot.wanted.immutable:
            return True
        if record.held.known and spot.asks_nobody:
            return standing(record.held, self._now_ms(), spot.terms) is not Standing.NOTHING
        if record.held.known and spot.where.only_kept and 0 <= self._now_ms() - record.held.answered_ms < JUST_NOW_MS:
            return True
        return standing(record.held, self._now_ms(), spot.terms) in (Standing.FRESH, Standing.RESTING)

    def _spots(self, where: Where, wanted: Wanted) -> Iterator[Spot]:
        """Whom to ask, in order."""
        place, ago = (where.workspace, where.repository, where.format), purged(where.since)
        if self._parent:
            fresh_s = min(EDGE_FRESH_S, *(one.fresh_s for one in where.upstreams))
            negative_s = min(EDGE_NEGATIVE_S, *(one.negative_s for one in where.upstreams))
            urls = tuple(one.url for one in where.upstreams)
            yield Spot(
                key_of(*place, wanted.path, wanted.accept, *urls, *ago),
                f"{self._parent}/{where.target}",
                {
                    "accept": wanted.accept,
                    "authorization": f"Bearer {self._token}",
                    **(ASKED if where.only_kept else {}),
                },
                True,
                Terms(0, 0, self._stale_s) if where.only_kept else self._terms(fresh_s, negative_s),
                wanted,
                True,
                where,
                _lasting(place, wanted, (*urls, *ago)),
            )
            return
        for one in where.upstreams:
            headers = {"accept": wanted.accept}
            if secret := self._secret_of(where.workspace, where.repository, one):
                headers["authorization"] = secret
            yield Spot(
                key_of(*place, wanted.path, wanted.accept, one.url, *ago),
                one.url + wanted.path,
                headers,
                one.private_network,
                self._terms(one.fresh_s, one.negative_s),
                wanted,
                False,
                where,
                _lasting(place, wanted, (one.url, *ago)),
            )

    def _terms(self, fresh_s: int, negative_s: int) -> Terms:
        """A second at least: whoever was just told must be able to use it."""
        return Terms(max(1, fresh_s), max(1, negative_s), self._stale_s)

    def _record(self, kind: str, spot: Spot) -> Record | None:
        raw = self._shelf.get(kind, spot.key)
        try:
            return msgspec.msgpack.decode(raw, type=Record) if raw is not None else None
        except msgspec.DecodeError:
            return None

    def _write(self, kind: str, spot: Spot, record: Record) -> None:
        self._shelf.put(kind, spot.key, msgspec.msgpack.encode(record))

    # ------------------------------------------------------------ asking

    async def of(self, where: Where, wanted: Wanted, pace: Pace | None = None) -> Arriving | None:
        """The file on its way from the first upstream that has it; None where what is held may be used now (`peek`).

        `pace` slows a fetch that nobody waits for. Raises Absent where none has it, NotKept, and UpstreamFailed or
        Unavailable where one does not answer and nothing usable is held: the next one might be a stranger with a file
        of the same name.
        """
        for spot in self._spots(where, wanted):
            record = self._record(RECORD, spot)
            if record is None or not self._good(spot, record):
                if spot.asks_nobody:
                    continue
                try:
                    return await self._asked(spot, record, pace)
                except Absent:
                    continue
            if record.held.known:
                return None
        if where.only_kept and not self._parent:
            raise not_kept(wanted.path)
        raise Absent(f"There is no file {wanted.path} here, nor upstream.")

    async def _asked(self, spot: Spot, before: Record | None, pace: Pace | None) -> Arriving | None:
        """Ask, or join who asks. None: what is held is good (again)."""
        usable = before is not None and self._usable(spot, before)
        fetching = _Fetching(self, spot, before if usable else None)
        key = b"path\0" + spot.key
        opener = fetching.open if pace is None else lambda offset: pace(fetching.open(offset), key)
        try:
            with trio.move_on_after(self._patience_s if usable and pace is None else float("inf")) as waiting:
                fill = await self._flights.join(
                    key,
                    -1,
                    spot.wanted.digests,
                    opener,
                    fetching.remember,
                    place=f"{spot.where.workspace}/{spot.where.repository}",
                    ask_owner=True,
                )
                if usable and (fill.size is None or fill.size <= WAIT_BYTES_MAX):
                    await fill.done()
                    return None
        except Problem as problem:
            self._after(spot, problem, usable=usable)
            return None
        if waiting.cancelled_caught:
            self.failed(spot)
            return None
        record = self._record(HEAD, spot) or self._record(RECORD, spot)
        return Arriving(fill, record or Record(Held(self._now_ms(), 1)))

    def _usable(self, spot: Spot, record: Record) -> bool:
        """May it serve where its owner does not answer?"""
        here = record.held.known and self._here(record.held.content)
        return here and standing(record.held, self._now_ms(), spot.terms) is not Standing.NOTHING

    def _after(self, spot: Spot, problem: Problem, *, usable: bool) -> None:
        """A question that ended without bytes. Another process may have asked, so that the record knows more than the
        Problem: it was renewed, or there is no such file any more."""
        record = self._record(RECORD, spot)
        if record is not None and self._good(spot, record):
            if not record.held.known:
                raise Absent("The upstream does not have it.") from problem
            return
        if not usable or spot.where.only_kept or isinstance(problem, Absent):
            raise problem
        self.failed(spot)

    def passing(self, where: Where, wanted: Wanted, offset: int = 0) -> "Passing | None":
        """The file from the first upstream that has it, to be handed on and not kept: for a full disk. None where what
        is held may be used now. Blocking. Raises as `of` does, and keeps no word of it."""
        for spot in self._spots(where, wanted):
            record = self._record(RECORD, spot)
            if record is not None and self._good(spot, record) and record.held.known:
                return None
            if spot.asks_nobody or (record is not None and self._good(spot, record)):
                continue
            with contextlib.suppress(Absent):
                source: Source = self.stream(spot, spot.headers, offset)
                try:
                    check(source, wanted)
                    head = self._head_of(spot, source)
                    if source.length < 0:  # how much comes is counted, since nobody tells
                        source = _Watched(source, wanted, head.digests, _not_told)
                    return Passing(source, head, head.digests | wanted.digests)
                except BaseException:
                    source.close()
                    raise
        raise Absent(f"There is no file {wanted.path} here, nor upstream.")

    # ------------------------------------------------------------ what the fetching thread writes down

    def renewed(self, spot: Spot, headers: Mapping[str, str]) -> None:
        """After a 304."""
        record = self._record(RECORD, spot)
        if record is not None:
            held = unchanged(record.held, headers, self._now_ms(), spot.terms)
            self._write(RECORD, spot, msgspec.structs.replace(record, held=held))

    def gone(self, spot: Spot) -> None:
        """After a 404 or 410."""
        self._write(RECORD, spot, Record(absent(self._now_ms(), spot.terms)))

    def failed(self, spot: Spot) -> None:
        """After no answer: what is held is left alone for a while. Nothing is kept where nothing was."""
        record = self._record(RECORD, spot)
        if record is not None and record.held.known and not spot.where.only_kept:
            self._write(RECORD, spot, msgspec.structs.replace(record, held=failed(record.held, self._now_ms())))

    def begun(self, spot: Spot, source: Source) -> Record:
        """After the head of a 200: what is known before the bytes."""
        record = self._head_of(spot, source)
        self._write(HEAD, spot, record)
        return record

    def _head_of(self, spot: Spot, source: Source) -> Record:
        held = found(source.headers, b"", 0, self._now_ms(), spot.terms)
        return Record(
            held,
            source.offset + source.length if source.length >= 0 else -1,
            media_of(source.headers),
            passed_on(spot.wanted, source.headers),
            announced(spot.wanted, source.headers),
        )

    def finished(self, spot: Spot, head: Record, sha256: bytes, size: int, digests: Mapping[str, str]) -> None:
        """The bytes are stored."""
        where = spot.where
        held = msgspec.structs.replace(head.held, content=sha256, version=1)
        record = msgspec.structs.replace(head, held=held, size=size, digests={**head.digests, **digests})
        self._write(RECORD, spot, record)
        if spot.lasting is not None:
            self._shelf.put(RECORD, spot.lasting(sha256.hex()), msgspec.msgpack.encode(record))
        self._shelf.drop(HEAD, spot.key)
        if self._drew is not None:
            self._drew(where, spot.wanted.accept, "", sha256, size)

    def stream(self, spot: Spot, headers: Mapping[str, str], offset: int) -> Source:
        """Open the file at its owner. Blocking."""
        with self._within_budget(spot):
            source = self._remote.open_stream(spot.url, headers, offset=offset, private_network=spot.private_network)
        self._note(spot, source.headers)
        return source

    def look(self, spot: Spot) -> str:
        """The sha256 in hex that the file has at its owner by now, "" where it is not told. Blocking."""
        with self._within_budget(spot):
            headers = self._remote.look(spot.url, spot.headers, private_network=spot.private_network)
        self._note(spot, headers)
        return headers.get(spot.wanted.looked, "").strip().lower().removeprefix("sha256:")

    @contextlib.contextmanager
    def _within_budget(self, spot: Spot) -> Iterator[None]:
        """Raises Unavailable while the upstream is left alone. A parent has no budget: it keeps those of upstreams."""
        if not spot.parent:
            self._budget.check(spot.url)
        try:
            yield
        except Spent as problem:
            if not spot.parent:
                self._budget.rest(spot.url, problem.retry_after_s or 0)
            raise
        except Refused as problem:
            words = unquote(problem.headers.get(DETAIL, "")) if spot.parent else ""
            raise (UpstreamFailed(words[:WORDS_MAX]) if words.isprintable() and words else problem) from None

    def _note(self, spot: Spot, headers: Mapping[str, str]) -> None:
        if not spot.parent:
            self._budget.note(spot.url, headers)


class _Fetching:
    """What happens around one fetch, in the thread that does it."""

    def __init__(self, files: ForeignFiles, spot: Spot, before: Record | None) -> None:
        self._files = files
        self._spot = spot
        self._before = before
        self._head: Record | None = None
        self._source: _Watched | None = None

    def open(self, offset: int) -> Source:
        """An Opener of a Flight."""
        headers = dict(self._spot.headers)
        if self._before is not None and not offset:
            headers |= _conditions(self._before, parent=self._spot.parent)
        try:
            self._look(offset)
            source = self._files.stream(self._spot, headers, offset)
            try:
                check(source, self._spot.wanted)
                self._head = self._files.begun(self._spot, source)
            except BaseException:
                source.close()
                raise
        except Unchanged as word:
            self._files.renewed(self._spot, word.headers)
            raise
        except Absent:
            self._files.gone(self._spot)
            raise
        except Problem:
            self._files.failed(self._spot)
            raise
        self._source = _Watched(source, self._spot.wanted, self._head.digests, lambda: self._files.failed(self._spot))
        return self._source

    def _look(self, offset: int) -> None:
        """Raises Unchanged where a HEAD tells that what is held is what is there."""
        spot, before = self._spot, self._before
        if before is None or offset or spot.parent or not spot.wanted.looked:
            return
        if self._files.look(spot) == before.held.content.hex():
            raise Unchanged("What is held is what is there.")

    def remember(self, sha256: bytes, size: int) -> None:
        """The bytes are stored."""
        assert self._head is not None
        self._files.finished(
            self._spot, self._head, sha256, size, self._source.digests if self._source is not None else {}
        )


class _Watched:
    """A Source whose bytes are counted, hashed and judged on their way."""

    def __init__(
        self, inner: Source, wanted: Wanted, announced: Mapping[str, str], on_failure: Callable[[], None]
    ) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self.offset = inner.offset
        self.length = inner.length
        self._inner = inner
        self._left = wanted.bytes_max - inner.offset
        whole = inner.offset == 0
        self._announced = {name: value for name, value in announced.items() if name != "sha256"} if whole else {}
        self._sha256 = announced.get("sha256", "") if whole else ""
        wanted_also = {*wanted.also, *self._announced, *(["sha256"] if self._sha256 else [])}
        self._hasher = Hasher(wanted_also) if whole and wanted_also else None
        self._on_failure = on_failure
        self.digests: dict[str, str] = {}

    def ready(self, seconds: float) -> bool:
        return self._inner.ready(seconds)

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._inner.readinto(buffer)
            self._left -= count
            if self._left < 0:
                raise UpstreamFailed("The upstream's file is larger than it may be.")
            if self._hasher is not None and count:
                self._hasher.update(buffer[:count])
            elif self._hasher is not None and len(buffer):
                self._judge(self._hasher)
        except UpstreamFailed:
            self._on_failure()
            raise
        return count

    def _judge(self, hasher: Hasher) -> None:
        others = hasher.others
        wrong = [name for name, value in self._announced.items() if others[name] != value]
        if wrong or (self._sha256 and self._sha256 != hasher.sha256.hex()):
            log.warning("an upstream sent other bytes than its own header announced")
            raise UpstreamFailed("What the upstream sent does not match the digest in its own answer.")
        self.digests = others

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()


def _not_told() -> None:
    """Of what is not kept no failure is written down."""


def _lasting(place: tuple[str, str, str], wanted: Wanted, urls: tuple[str, ...]) -> Callable[[str], bytes] | None:
    if not wanted.lies_at:
        return None
    return lambda text: key_of(*place, wanted.lies_at + text, wanted.accept, *urls)


def _conditions(record: Record, *, parent: bool) -> dict[str, str]:
    """The validators to renew by. A parent knows ours, too."""
    etag = record.etag if parent else record.held.etag
    conditions = {"if-none-match": etag} if etag else {}
    if record.held.modified:
        conditions["if-modified-since"] = record.held.modified
    return conditions
