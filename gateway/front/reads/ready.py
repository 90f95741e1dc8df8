"""What of a published file is the same for all who may have it?

Where it lies, its headers and its label are worked out for the first who asks, and given to the others for as long as
nothing moves. What is remembered is found sooner, so it is looked for behind the verdict alone (THREATS B9). Nothing is
kept open for it: it lives as long as an answer does that was made of it, and its packs with it.
"""

from weakref import ref

from formats.kit.contract import Ask, Serve
from gateway.delivery.messages.answers import Extents
from storage.blobs.shelf import Located
from storage.index.catalog import Reading
from storage.nouns import File


class Ready:
    """A file that may be given out, and lies here. `depends` is the label of its Package with its value, `is_cached`:
    it may be forgotten. `body` is itself, where it is small."""

    __slots__ = ("__weakref__", "body", "depends", "etag", "file", "headers", "is_cached", "located")

    def __init__(
        self, file: File, located: Located, headers: tuple[tuple[str, str], ...], etag: str, body: bytes | None,
        depends: tuple[bytes, int], *, is_cached: bool,
    ) -> None:  # fmt: skip
        self.file = file
        self.located = located
        self.headers = headers
        self.etag = etag
        self.body = body
        self.depends = depends
        self.is_cached = is_cached

    @property
    def extents(self) -> Extents:
        return self.located.extents


def recalled(reading: Reading, ask: Ask, room: str, plan: Serve) -> Ready | None:
    """What was made ready of this very moment for the same plan, if an answer still holds it."""
    found: ref[Ready] | None = reading.recall(_key(ask, room, plan))
    return None if found is None else found()


def remember(reading: Reading, ask: Ask, room: str, plan: Serve, ready: Ready) -> Ready:
    reading.remember(_key(ask, room, plan), ref(ready))
    return ready


def _key(ask: Ask, room: str, plan: Serve) -> object:
    return Ready, ask.workspace, ask.repository, room, plan
