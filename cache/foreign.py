"""What do foreign registries know of a package, and how long is that good?

Knowledge is kept as the room translated it, with the time it was asked. Fresh knowledge is used as it is; older is asked
for again, by one request for all that wait. Where nobody answers, the old is used for a while longer; that there is no
such package is remembered for a shorter time, and only when the registry said so.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import trio

from cache.shelf import Shelf
from cache.upstream import Fetched, Remote
from storage.errors import Absent, Problem, UpstreamFailed
from storage.nouns import Upstream

KIND = "foreign"
RETRY_SECONDS = 10.0
PEER_BYTES_MAX = 512 << 20
DECODED_MAX = 32
DECODED_BYTES_MAX = 64 << 20
EDGE_FRESH_SECONDS = 30

Fetch = tuple[str, str, int]
"""(path, Accept, size limit)"""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A record: `body` is the translated knowledge, b"" = the registries say there is none."""

    version: int
    asked_ms: int
    fresh_ms: int
    body: bytes


class Known:
    """Knowledge that may be used now."""

    __slots__ = ("_decode", "_kept", "fresh_until_s")

    def __init__(self, kept: Kept, decode: Callable[[int, bytes], Any]) -> None:
        self._kept = kept
        self._decode = decode
        self.fresh_until_s = time.monotonic() + (kept.fresh_ms - _now_ms()) / 1000

    @property
    def version(self) -> int:
        return self._kept.version

    def foreign(self) -> Any:
        """As the room's contract shapes it; None where there is no such package."""
        return self._decode(self._kept.version, self._kept.body) if self._kept.body else None


class ForeignKnowledge:
    """Asks upstreams at an origin (`ask`, `learn`), the parent at an edge (`parent`, `token`)."""

    def __init__(
        self,
        shelf: Shelf,
        remote: Remote,
        *,
        ask: Callable[[str, str], Fetch | None],
        learn: Callable[[str, str, bytes, str], Awaitable[bytes]],
        decode: Callable[[bytes], Any],
        secret_of: Callable[[str, str, Upstream], str],
        parent: str = "",
        token: str = "",
        stale_seconds_max: int = 7 * 24 * 3600,
    ) -> None:
        self._shelf = shelf
        self._remote = remote
        self._ask = ask
        self._learn = learn
        self._decode = decode
        self._secret_of = secret_of
        self._parent = parent.rstrip("/")
        self._token = token
        self._stale_ms = stale_seconds_max * 1000
        self._running: dict[bytes, trio.Event] = {}
        self._decoded: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def peek(
        self, workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...]
    ) -> Known | None:
        """What is kept and fresh; None where it must be asked for."""
        kept = self._kept(_key(workspace, repository, format, package, upstreams))
        return Known(kept, self._decoded_of) if kept is not None and kept.fresh_ms > _now_ms() else None

    async def of(
        self, workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...]
    ) -> Any:
        """The knowledge, asked for where needed; None where no registry has the package. Raises UpstreamFailed."""
        key = _key(workspace, repository, format, package, upstreams)
        known = self.peek(workspace, repository, format, package, upstreams)
        if known is not None:
            return known.foreign()
        running = self._running.get(key)
        if running is not None:
            await running.wait()
        else:
            await self._once(key, workspace, repository, format, package, upstreams)
        kept = self._kept(key)
        if kept is None:
            raise UpstreamFailed("The upstream did not answer.", "Try again in a moment.", retry_after_s=5)
        return Known(kept, self._decoded_of).foreign()

    async def _once(
        self, key: bytes, workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...]
    ) -> None:
        done = self._running[key] = trio.Event()
        try:
            await self._refresh(key, workspace, repository, format, package, upstreams)
        finally:
            del self._running[key]
            done.set()

    async def _refresh(
        self, key: bytes, workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...]
    ) -> None:
        old = self._kept(key)
        try:
            if self._parent:
                body, fresh_s = await self._from_parent(workspace, repository, format, package), EDGE_FRESH_SECONDS
            else:
                body = await self._from_upstreams(workspace, repository, format, package, upstreams)
                fresh_s = min((one.fresh_s if body else one.negative_s) for one in upstreams)
        except Problem:
            if old is None or _now_ms() - old.asked_ms > self._stale_ms:
                raise
            stale = msgspec.structs.replace(old, fresh_ms=_now_ms() + int(RETRY_SECONDS * 1000))
            self._shelf.put(KIND, key, msgspec.msgpack.encode(stale))
            return
        now_ms = _now_ms()
        version = old.version if old is not None and old.body == body else now_ms
        kept = Kept(version, now_ms, now_ms + fresh_s * 1000, body)
        self._shelf.put(KIND, key, msgspec.msgpack.encode(kept))

    async def _from_upstreams(
        self, workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...]
    ) -> bytes:
        """The first upstream that has it; b"" where all say that they have not."""
        failure: Problem | None = None
        for upstream in upstreams:
            asked = self._ask(format, package)
            if asked is None:
                continue
            path, accept, bytes_max = asked
            headers = {"accept": accept}
            if secret := self._secret_of(workspace, repository, upstream):
                headers["authorization"] = secret
            try:
                fetched = await self._fetch(upstream.url + path, headers, bytes_max, upstream.private_network)
            except Absent:
                continue
            except Problem as problem:
                failure = problem
                continue
            return await self._learn(format, package, fetched.body, fetched.url)
        if failure is not None:
            raise failure
        return b""

    async def _from_parent(self, workspace: str, repository: str, format: str, package: str) -> bytes:
        query = urlencode({"package": package})
        url = f"{self._parent}/-/peer/foreign/{workspace}/{repository}/{format}?{query}"
        try:
            fetched = await self._fetch(url, {"authorization": f"Bearer {self._token}"}, PEER_BYTES_MAX, True)
        except Absent:
            return b""
        return fetched.body

    async def _fetch(self, url: str, headers: dict[str, str], bytes_max: int, private: bool) -> Fetched:
        def fetch() -> Fetched:
            return self._remote.fetch_document(url, headers, bytes_max=bytes_max, private_network=private)

        fetched = await trio.to_thread.run_sync(fetch)
        if fetched.status in (404, 410):
            raise Absent("The registry has no such package.")
        if fetched.status != 200:
            raise UpstreamFailed(f"The upstream answers with {fetched.status}.", "Try again later.", retry_after_s=5)
        return fetched

    def _kept(self, key: bytes) -> Kept | None:
        raw = self._shelf.get(KIND, key)
        return None if raw is None else msgspec.msgpack.decode(raw, type=Kept)

    def _decoded_of(self, version: int, body: bytes) -> Any:
        """Decoded once while it is in use: a packument of megabytes is looked into for each of its files."""
        key = (version, hash(body))
        if key not in self._decoded:
            self._decoded[key] = self._decode(body)
            if len(self._decoded) > DECODED_MAX:
                self._decoded.popitem(last=False)
        return self._decoded[key]


def _key(workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...]) -> bytes:
    """The record's key: what one upstream said is nothing about another, so their addresses are part of it."""
    places = "\n".join(one.url for one in upstreams)
    return "\0".join((workspace, repository, format, package, places)).encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
