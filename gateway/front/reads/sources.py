"""Where do bytes come from that are not here? At an origin from the upstream, at an edge from the parent.

An edge asks by the path that its client used, with its own credential: the parent's access check is in the way of every
byte that an edge gets. What the edge has of a former version it does not ask for again (cache.fills.pieces).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from cache.asking.bodies import Source
from cache.asking.kept import ASKED, not_kept, only_kept
from cache.asking.parenting import ParentRemote
from cache.asking.upstream import Remote
from cache.fills.pieces import CODING, ZSTD, Parent, Range, Unpacked, open_pieces, ranges_text, windows_bytes_max
from cache.following.relay import SEEN, seen_at
from formats.kit.contract import Ask
from gateway.front.reads.needs import target_of
from storage.blobs.shelf import BlobShelf
from storage.errors import Absent, UpstreamFailed
from storage.nouns import File, Upstream

Opening = Callable[[int, int], Source]
"""(offset, length; -1 = to the end) to a Source. Blocking."""


class Sources(Protocol):
    """Where bytes that are missing here come from: the parent's same path at an edge, the upstream at an origin."""

    def open(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Callable[[int], Source]:
        """A way to open the file's bytes from an offset; blocking, called in the filling thread."""
        ...

    def open_range(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Opening:
        """A way to open a part of them."""
        ...

    async def at_once(self, ask: Ask, offset: int, length: int) -> Source | None:
        """A part of them without a thread; None where it needs one."""
        ...


class UpstreamSources:
    """An origin's: the address that the upstream gave for the file."""

    def __init__(self, remote: Remote, secret_of: Callable[[str, str, Upstream], str]) -> None:
        self._remote = remote
        self._secret_of = secret_of

    def open(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Callable[[int], Source]:
        """A way to open the file from an offset. The upstream's credential goes only to the upstream's own host."""
        part = self.open_range(ask, file, upstreams)
        return lambda offset: part(offset, -1)

    def open_range(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Opening:
        if not file.source:
            raise Absent(f"The bytes of {file.name} are lost here.", "Run `entrepot fsck` at the origin.")
        if only_kept(ask.headers):
            raise not_kept(file.name)
        headers: dict[str, str] = {}
        ours = [one for one in upstreams if one.format == ask.format]
        for upstream in ours:
            secret = self._secret_of(ask.workspace, ask.repository, upstream)
            if secret and file.source.startswith(upstream.url):
                headers["authorization"] = secret
        private = any(one.private_network for one in ours)

        def opener(offset: int, length: int) -> Source:
            return self._remote.open_stream(file.source, headers, offset=offset, length=length, private_network=private)

        return opener

    async def at_once(self, ask: Ask, offset: int, length: int) -> Source | None:
        """What a foreign registry answers is not foreseen."""
        return None


class ParentSources:
    """An edge's: the same path at its parent. `cached` is where the edge may have parts of it; `serial_of` tells what
    it knows of a Workspace, so that a parent that is behind does not deny what it has not heard of yet."""

    def __init__(
        self, remote: ParentRemote, parent: str, token: str, cached: BlobShelf, serial_of: Callable[[str], int]
    ) -> None:
        self._remote = remote
        self._serial_of = serial_of
        self._parent = parent.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"}
        self._cached = cached
        self._last: tuple[Ask, str, dict[str, str]] | None = None
        """How the last file is asked for: a range is looked for on the loop first, then in a thread."""

    def open(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Callable[[int], Source]:
        """A way to open the file from an offset at the parent: in pieces, where some of it is here."""
        whole = self.open_range(ask, file, upstreams)
        sha256 = file.sha256.hex() or file.digests.get("sha256", "")

        def opener(offset: int) -> Source:
            if sha256 and file.size > 0:
                pieces = open_pieces(self._asking(ask, sha256), self._cached, file.size, offset)
                if pieces is not None:
                    return pieces
            return whole(offset, -1)

        return opener

    def open_range(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Opening:
        url, headers = self._address(ask)

        def opener(offset: int, length: int) -> Source:
            return self._remote.open_stream(url, headers, offset=offset, length=length, private_network=True)

        return opener

    async def at_once(self, ask: Ask, offset: int, length: int) -> Source | None:
        return await self._remote.at_once(*self._address(ask), offset, length)

    def _address(self, ask: Ask) -> tuple[str, dict[str, str]]:
        """Where the parent has this file, and what it is told."""
        if self._last is None or self._last[0] is not ask:
            self._last = ask, f"{self._parent}/{target_of(ask)}", self._told(ask)
        return self._last[1], self._last[2]

    def _told(self, ask: Ask) -> dict[str, str]:
        told = {**self._headers, SEEN: seen_at(ask.workspace, self._serial_of(ask.workspace))}
        return told | ASKED if only_kept(ask.headers) else told

    def _asking(self, ask: Ask, sha256: str) -> Parent:
        """How the parent is asked for recipe and pieces of one file."""
        headers = self._told(ask)
        target = target_of(ask)
        target += f"{'&' if '?' in target else '?'}piece-sha256={sha256}"

        def recipe(offset: int) -> bytes:
            url = f"{self._parent}/-/peer/recipe/{target}&piece-at={offset}"
            told = self._remote.fetch_document(url, headers, bytes_max=windows_bytes_max(), private_network=True)
            if told.status == 200:
                return told.body
            if told.status in (404, 410):
                raise Absent("The parent has no recipe of it.")
            raise UpstreamFailed(f"The parent answered {told.status} when it was asked for a recipe.", "Try again.")

        def pieces(ranges: Sequence[Range]) -> Source:
            url = f"{self._parent}/-/peer/pieces/{target}&piece-ranges={ranges_text(ranges)}"
            body = self._remote.open_stream(url, {**headers, CODING: ZSTD}, private_network=True)
            size = sum(length for _, length in ranges)
            return Unpacked(body, size) if body.headers.get(CODING) == ZSTD else body

        return Parent(recipe, pieces)
