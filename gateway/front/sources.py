"""Where do bytes come from that are not here? At an origin from the upstream, at an edge from the parent.

An edge asks by the path that its client used, with its own credential: the parent's access check is in the way of every
byte that an edge gets.
"""

from collections.abc import Callable
from typing import Protocol

from cache.upstream import Remote, Source
from formats.kit.contract import Ask
from gateway.front.reading import target_of
from storage.errors import Absent
from storage.nouns import File, Upstream


class Sources(Protocol):
    """Where bytes that are missing here come from: the parent's same path at an edge, the upstream at an origin."""

    def open(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Callable[[int], Source]:
        """A way to open the file's bytes from an offset; blocking, called in the filling thread."""
        ...


class UpstreamSources:
    """An origin's: the address that the upstream gave for the file."""

    def __init__(self, remote: Remote, secret_of: Callable[[str, str, Upstream], str]) -> None:
        self._remote = remote
        self._secret_of = secret_of

    def open(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Callable[[int], Source]:
        """A way to open the file from an offset. The upstream's credential goes only to the upstream's own host."""
        if not file.source:
            raise Absent(f"The bytes of {file.name} are lost here.", "Run `entrepot fsck` at the origin.")
        headers: dict[str, str] = {}
        ours = [one for one in upstreams if one.format == ask.format]
        for upstream in ours:
            secret = self._secret_of(ask.workspace, ask.repository, upstream)
            if secret and file.source.startswith(upstream.url):
                headers["authorization"] = secret
        private = any(one.private_network for one in ours)

        def opener(offset: int) -> Source:
            return self._remote.open_stream(file.source, headers, offset=offset, private_network=private)

        return opener


class ParentSources:
    """An edge's: the same path at its parent."""

    def __init__(self, remote: Remote, parent: str, token: str) -> None:
        self._remote = remote
        self._parent = parent.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"}

    def open(self, ask: Ask, file: File, upstreams: tuple[Upstream, ...]) -> Callable[[int], Source]:
        """A way to open the file from an offset at the parent."""
        url = f"{self._parent}/{target_of(ask)}"

        def opener(offset: int) -> Source:
            return self._remote.open_stream(url, self._headers, offset=offset, private_network=True)

        return opener
