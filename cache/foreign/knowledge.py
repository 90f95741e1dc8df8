"""What do foreign registries know of a package, asked as seldom as possible and never twice at once?

An origin asks the repository's upstreams in their order: the first that knows the package answers for it, and one that
fails is not passed over, since the next might be a stranger with the same name. An edge asks its parent, which has done
all that. Answers are kept in the records of the cache: a small head (freshness, validators) and the content under its
digest, so that a renewal rewrites a few bytes and every process of the node sees it.
"""

import contextlib
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec
import trio

from cache.asking.bodies import retry_after
from cache.asking.kept import ASKED, not_kept
from cache.asking.paging import read
from cache.asking.upstream import Fetched, Remote
from cache.foreign.budget import Budget
from cache.foreign.freshness import Held, Standing, Terms, absent, failed, found, left_s, standing, unchanged
from cache.foreign.noted import Noted, forget, note
from cache.keeping.shelf import Shelf
from storage.errors import Problem, Unavailable, UpstreamFailed
from storage.nouns import Upstream

HEAD, CONTENT = "foreign", "foreign-content"
EDGE_FRESH_S, EDGE_NEGATIVE_S = 30, 10
REFRESH_MS_MIN = 2_000
CLAIM_SECONDS = 60.0
WORDS_MAX = 500
_POLL_S = 0.02
_MEMO_BYTES_MAX = 8 << 20
_MEMO_MAX = 512
log = logging.getLogger("entrepot.cache")


class Question(Protocol):
    """How a format asks (formats.kit.contract.Learn); `path` is below the upstream's url."""

    @property
    def path(self) -> str: ...
    @property
    def accept(self) -> str: ...
    @property
    def bytes_max(self) -> int: ...
    @property
    def pages_max(self) -> int: ...


Ask = Callable[[str, str], Question | None]
"""(format, package) to what is asked, None where the format has no upstreams."""
Learn = Callable[[str, str, bytes, str], Awaitable[bytes]]
"""(format, package, raw, url) to the msgpack of what the upstream knows. Raises Problem where it makes no sense."""
Withheld = Callable[[str, Any], str]
"""(format, what is known) to why no file of the package is given out, "" where they are."""
SecretOf = Callable[[str, str, Upstream], str]
"""(workspace, repository, upstream) to the value of an Authorization header, "" for none."""


@dataclass(frozen=True, slots=True)
class Place[Foreign]:
    """One thing to ask: `key` names it in the records."""

    key: bytes
    format: str
    url: str
    headers: Mapping[str, str]
    bytes_max: int
    pages_max: int
    private_network: bool
    terms: Terms
    learn: Callable[[bytes, str], Awaitable[bytes]]
    parent: bool
    about: tuple[str, str, str, str]
    """Workspace, Repository, format, Package."""
    upstreams: tuple[str, ...]
    since: int
    only_kept: bool = False
    """A parent is asked for what it keeps alone: its answer is stale here, and none changes nothing."""


@dataclass(frozen=True, slots=True)
class Known[Foreign]:
    """What is held, without a question asked: `version` changes with the content, `fresh_until_s` is monotonic.
    `told_by` are the names of the Upstreams of which one has said it, () for what none knows."""

    version: int
    fresh_until_s: float
    stale: bool
    load: Callable[[], Foreign | None]
    told_by: tuple[str, ...] = ()

    def foreign(self) -> Foreign | None:
        """None: known to be absent. Raises Unavailable where the content was evicted since."""
        return self.load()


@dataclass(slots=True)
class _Asking:
    """A question under way in this process."""

    done: trio.Event = field(default_factory=trio.Event)
    problem: Problem | None = None


class ForeignKnowledge[Foreign = Any]:
    """Foreign knowledge by (workspace, repository, format, package). `since` is the Serial of the place's last purge.

    With a `nursery`, questions belong to the server: who asks and leaves takes nothing with it, and a slow upstream is
    waited for no longer than `patience_s` where something stale can be used.
    """

    def __init__(
        self,
        shelf: Shelf,
        remote: Remote,
        *,
        ask: Ask,
        learn: Learn,
        decode: Callable[[bytes], Foreign],
        withheld: Withheld = lambda format, foreign: "",
        secret_of: SecretOf = lambda workspace, repository, upstream: "",
        parent: str = "",
        token: str = "",
        stale_seconds_max: int = 7 * 24 * 3600,
        nursery: trio.Nursery | None = None,
        patience_s: float = 4.0,
        threads_max: int = 16,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._shelf = shelf
        self._remote = remote
        self._ask = ask
        self._learn = learn
        self._decode = decode
        self._withheld = withheld
        self._secret_of = secret_of
        self._parent = parent.rstrip("/")
        self._token = token
        self._stale_s = stale_seconds_max
        self._nursery = nursery
        self._patience_s = patience_s
        self._threads = trio.CapacityLimiter(threads_max)
        self._now_ms = now_ms
        self._budget = Budget(shelf, now_ms)
        self._asking: dict[bytes, _Asking] = {}
        self._memo: OrderedDict[bytes, tuple[int, Foreign]] = OrderedDict()
        self._memo_bytes = 0

    def __repr__(self) -> str:
        return f"<ForeignKnowledge asking {len(self._asking)}>"

    # ------------------------------------------------------------ what is held

    def peek(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int = 0,
        *,
        only_kept: bool = False,
    ) -> Known[Foreign] | None:
        """What may be used without asking; None where somebody must be asked (`of`). `only_kept`: as old as may be."""
        now_ms, now_s = self._now_ms(), time.monotonic()
        until_s, stale = float("inf"), False
        for place in self._places(workspace, repository, format, package, upstreams, since):
            held = self._held(place)
            state = standing(held, now_ms, place.terms)
            if only_kept and held is not None and held.known and state is not Standing.NOTHING:
                return Known(held.version, now_s, True, _Loading(self, place, held), place.upstreams)
            if held is None or state not in (Standing.FRESH, Standing.RESTING):
                return None
            until_s = min(until_s, now_s + left_s(held, now_ms))
            stale = stale or state is Standing.RESTING
            if held.known:
                return Known(held.version, until_s, stale, _Loading(self, place, held), place.upstreams)
        return Known(0, until_s, stale, lambda: None)

    def withheld(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int = 0,
    ) -> str:
        """Why no file of the package is given out, by the last that was heard, however old; "" where they are."""
        for place in self._places(workspace, repository, format, package, upstreams, since):
            held = self._held(place)
            if held is not None and held.known:
                return held.withheld
        return ""

    def kept(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int = 0,
    ) -> Foreign | None:
        """What is held of the package, as old as may be, without a question asked; None where nothing is."""
        for place in self._places(workspace, repository, format, package, upstreams, since):
            held = self._held(place)
            if held is not None and held.known and standing(held, self._now_ms(), place.terms) is not Standing.NOTHING:
                return self._load(place, held)
        return None

    def keeps(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int = 0,
    ) -> tuple[int, Callable[[], Foreign] | None]:
        """The version of what `kept` would give, and how it is read; None where there is nothing. From any thread."""
        for place in self._places(workspace, repository, format, package, upstreams, since):
            held = self._held(place)
            raw = self._shelf.get(CONTENT, held.content) if held is not None and held.known else None
            if held is not None and raw is not None:
                return held.version, partial(self._decode, raw)
        return 0, None

    async def of(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int = 0,
        *,
        refresh: bool = False,
        only_kept: bool = False,
    ) -> Foreign | None:
        """What the first upstream that knows the package knows of it; None where each says that there is none.

        `refresh` asks again although the record is fresh, for a file that it does not list. `only_kept` asks no
        upstream, be it through a parent (cache.asking.kept). Raises UpstreamFailed or Unavailable where an upstream
        does not answer and nothing usable is held, NotKept.
        """
        if only_kept and not self._parent:
            kept = self.kept(workspace, repository, format, package, upstreams, since)
            if kept is None:
                raise not_kept(f"What upstreams know of {package}")
            return kept
        for place in self._places(workspace, repository, format, package, upstreams, since, only_kept=only_kept):
            held = await self._current(place, refresh=refresh)
            if held.known:
                return self._load(place, held)
        return None

    def _places(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int,
        *,
        only_kept: bool = False,
    ) -> list[Place[Foreign]]:
        """Whom to ask, in order."""
        if not upstreams:
            return []
        if self._parent:
            at = (workspace, repository, format, package)
            return [self._parent_place(*at, upstreams, since, only_kept=only_kept)]
        question = self._ask(format, package)
        if question is None:
            return []
        places = []
        for one in upstreams:
            headers = {"accept": question.accept}
            if secret := self._secret_of(workspace, repository, one):
                headers["authorization"] = secret
            places.append(
                Place[Foreign](
                    key_of(workspace, repository, format, package, one.url, *purged(since)),
                    format,
                    one.url + question.path,
                    headers,
                    question.bytes_max,
                    question.pages_max,
                    one.private_network,
                    self._terms(one.fresh_s, one.negative_s),
                    lambda raw, url: self._learn(format, package, raw, url),
                    False,
                    (workspace, repository, format, package),
                    (one.name,),
                    since,
                )
            )
        return places

    def _parent_place(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int,
        *,
        only_kept: bool,
    ) -> Place[Foreign]:
        path = "/".join(quote(part, safe="") for part in (workspace, repository, format))
        fresh_s = min(EDGE_FRESH_S, *(one.fresh_s for one in upstreams))
        negative_s = min(EDGE_NEGATIVE_S, *(one.negative_s for one in upstreams))
        return Place[Foreign](
            key_of(workspace, repository, format, package, *(one.url for one in upstreams), *purged(since)),
            format,
            f"{self._parent}/-/peer/foreign/{path}?{urlencode({'package': package})}",
            {"authorization": f"Bearer {self._token}", **(ASKED if only_kept else {})},
            512 << 20,
            1,
            True,
            Terms(0, 0, self._stale_s) if only_kept else self._terms(fresh_s, negative_s),
            _as_it_is,
            True,
            (workspace, repository, format, package),
            tuple(one.name for one in upstreams),
            since,
            only_kept,
        )

    def _terms(self, fresh_s: int, negative_s: int) -> Terms:
        """A second at least: whoever was just told must be able to use it."""
        return Terms(max(1, fresh_s), max(1, negative_s), self._stale_s)

    # ------------------------------------------------------------ asking

    async def _current(self, place: Place[Foreign], *, refresh: bool) -> Held:
        """The record, renewed where it must be."""
        held = self._held(place)
        state = standing(held, self._now_ms(), place.terms)
        wanted = refresh and held is not None and self._now_ms() - held.answered_ms >= REFRESH_MS_MIN
        if held is not None and not wanted and state in (Standing.FRESH, Standing.RESTING):
            return held
        usable = held if state is not Standing.NOTHING else None
        try:
            with trio.move_on_after(self._patience_s if usable and self._nursery else float("inf")) as waiting:
                await self._asked(place)
        except Problem:
            if usable is None:
                raise
            return usable
        if waiting.cancelled_caught and usable is not None:
            return self._rest(place, usable)
        held = self._held(place)
        if held is None:
            raise Unavailable("What the upstream knows was just evicted.", "Try again.", retry_after_s=1)
        return held

    async def _asked(self, place: Place[Foreign]) -> None:
        """Wait for the question, asking it unless it is under way. Raises what it failed with."""
        while True:
            asking = self._asking.get(place.key)
            if asking is None:
                asking = self._asking[place.key] = _Asking()
                if self._nursery is None:
                    await self._run(place, asking)
                else:
                    self._nursery.start_soon(self._run, place, asking)
            await asking.done.wait()
            if asking.problem is None:
                return
            if not isinstance(asking.problem, _Left):
                known = asking.problem
                raise type(known)(known.message, known.remedy, retry_after_s=known.retry_after_s)

    async def _run(self, place: Place[Foreign], asking: _Asking) -> None:
        """Ask once for the whole node, and write down what came of it."""
        claimed = False
        try:
            claimed = await self._alone(place)
            if claimed:
                await self._renew(place)
        except Problem as problem:
            asking.problem = problem
            held = self._held(place)
            if held is not None and not place.only_kept:
                self._write(place, failed(held, self._now_ms()))
        except BaseException:
            asking.problem = _Left("Whoever asked has left.")
            raise
        finally:
            if claimed:
                self._shelf.release(place.key)
            del self._asking[place.key]
            asking.done.set()

    async def _alone(self, place: Place[Foreign]) -> bool:
        """True: we ask. False: another process asked meanwhile, and its answer is there."""
        before = self._held(place)
        while not self._shelf.claim(place.key, CLAIM_SECONDS):
            await trio.sleep(_POLL_S)
            if self._held(place) != before:
                return False
        if self._held(place) != before:
            self._shelf.release(place.key)
            return False
        return True

    async def _renew(self, place: Place[Foreign]) -> None:
        held = self._held(place)
        headers = dict(place.headers)
        if held is not None and held.known and self._shelf.get(CONTENT, held.content) is not None:
            if held.etag:
                headers["if-none-match"] = held.etag
            if held.modified:
                headers["if-modified-since"] = held.modified
        answer = await trio.to_thread.run_sync(
            self._fetched, place, headers, limiter=self._threads, abandon_on_cancel=True
        )
        if answer.status == 304 and held is not None and held.known:
            self._write(place, unchanged(held, answer.headers, self._now_ms(), place.terms))
        elif answer.status in (404, 410):
            self._write(place, absent(self._now_ms(), place.terms))
            forget(self._shelf, place.about, place.upstreams)
        elif answer.status == 200:
            await self._take(place, answer, headers.get("accept", "*/*"))
        else:
            raise self._refused(answer)

    def _fetched(self, place: Place[Foreign], headers: Mapping[str, str]) -> Fetched:
        """The answer, all pages of it, within what the upstream's budget allows. Blocking."""

        def fetch(url: str, bytes_max: int) -> Fetched:
            conditional = headers if url == place.url else _unconditional(headers)
            if not place.parent:
                self._budget.check(url)
            answer = self._remote.fetch_document(
                url, conditional, bytes_max=bytes_max, private_network=place.private_network
            )
            if not place.parent:
                self._budget.heed(url, answer.status, answer.headers)
            return answer

        return read(fetch, place.url, pages_max=place.pages_max, bytes_max=place.bytes_max)

    def _refused(self, answer: Fetched) -> Problem:
        """A parent says itself what is wrong, and what to do: the client hears it from whichever node it asked."""
        later_s = retry_after(answer.headers) if answer.status in (429, 503) else None
        if self._parent:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                said = msgspec.json.decode(answer.body, type=_Said)
                words = said.detail[:WORDS_MAX], said.remedy[:WORDS_MAX]
                return UpstreamFailed(*words) if later_s is None else Unavailable(*words, retry_after_s=later_s)
        if later_s is not None:
            return Unavailable("The upstream has too much to do.", "Try again later.", retry_after_s=later_s)
        return UpstreamFailed(f"The upstream answered {answer.status}.", "Try again later.")

    async def _take(self, place: Place[Foreign], answer: Fetched, accept: str) -> None:
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "text/html" and "html" not in accept and "*/*" not in accept:
            raise UpstreamFailed("The upstream answers with a web page.", "It may want a credential.")
        try:
            encoded = await place.learn(answer.body, answer.url)
        except Problem as problem:
            log.warning("an upstream's answer makes no sense: %s", problem.message)
            raise UpstreamFailed("The upstream's answer makes no sense.", "Check the upstream's address.") from problem
        foreign = await trio.to_thread.run_sync(self._decode, encoded)
        withheld = self._withheld(place.format, foreign)
        digest = hashlib.sha256(encoded).digest()
        content = place.key[:16] + digest[:16]
        version = int.from_bytes(digest[:8], "big") >> 1 or 1
        self._shelf.put(CONTENT, content, encoded)
        before = self._held(place)
        self._write(place, found(answer.headers, content, version, self._now_ms(), place.terms, withheld))
        versions = tuple(one.name for one in getattr(foreign, "versions", ()))
        note(self._shelf, place.about, Noted(place.upstreams, versions, self._now_ms(), place.since))
        if before is not None and before.known and before.content != content:
            self._shelf.drop(CONTENT, before.content)

    # ------------------------------------------------------------ records

    def _held(self, place: Place[Foreign]) -> Held | None:
        raw = self._shelf.get(HEAD, place.key)
        if raw is None:
            return None
        try:
            return msgspec.msgpack.decode(raw, type=Held)
        except msgspec.DecodeError:
            return None

    def _write(self, place: Place[Foreign], held: Held) -> None:
        self._shelf.put(HEAD, place.key, msgspec.msgpack.encode(held))

    def _rest(self, place: Place[Foreign], usable: Held) -> Held:
        """Its owner is slow: use what there is for a while; the question goes on, and its answer will replace this."""
        if self._held(place) == usable:
            usable = failed(usable, self._now_ms())
            self._write(place, usable)
        return usable

    def _load(self, place: Place[Foreign], held: Held) -> Foreign | None:
        memo = self._memo.get(held.content)
        if memo is not None:
            self._memo.move_to_end(held.content)
            return memo[1]
        raw = self._shelf.get(CONTENT, held.content)
        if raw is None:
            self._shelf.drop(HEAD, place.key)
            raise Unavailable("What the upstream knows was just evicted.", "Try again.", retry_after_s=1)
        foreign = self._decode(raw)
        if len(raw) <= _MEMO_BYTES_MAX // 2:
            self._memo[held.content] = (len(raw), foreign)
            self._memo_bytes += len(raw)
            while self._memo_bytes > _MEMO_BYTES_MAX or len(self._memo) > _MEMO_MAX:
                _, (size, _) = self._memo.popitem(last=False)
                self._memo_bytes -= size
        return foreign


class _Loading[Foreign]:
    """A load that was not yet needed."""

    def __init__(self, knowledge: ForeignKnowledge[Foreign], place: Place[Foreign], held: Held) -> None:
        self._knowledge = knowledge
        self._place = place
        self._held = held

    def __call__(self) -> Foreign | None:
        return self._knowledge._load(self._place, self._held)


class _Said(msgspec.Struct):
    """How a parent tells a problem (RFC 9457)."""

    detail: str
    remedy: str = ""


class _Left(Problem):
    """The request that asked was cancelled; whoever waits asks again."""


def _unconditional(headers: Mapping[str, str]) -> dict[str, str]:
    """For a further page: the validators are those of the first."""
    return {name: value for name, value in headers.items() if not name.startswith("if-")}


async def _as_it_is(raw: bytes, url: str) -> bytes:
    """A parent has learnt already."""
    return raw


def purged(since: int) -> tuple[str, ...]:
    """What the Serial of a purge adds to a key: nothing that was written before it is found again."""
    return (f"purged {since}",) if since else ()


def key_of(*parts: str) -> bytes:
    """Injective: each part is preceded by its length."""
    return hashlib.sha256(b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)).digest()
