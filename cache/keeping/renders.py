"""Where do rendered documents live between the change that made them true and the one that makes them stale?

A document is kept with its gzip and zstd forms, the labels it was rendered from and the version of the foreign
knowledge under it. It is true as long as all of those are what they were; nothing expires by time. Small bodies stay in
the record, large ones are blobs of the cache shelf, so that they are sent from the page cache like any file.
"""

import gzip
import hashlib
from collections.abc import Iterable
from contextlib import suppress

import msgspec
import zstandard

from cache.keeping.shelf import Shelf
from storage.blobs.intake import Intake
from storage.blobs.shelf import BlobShelf, Located
from storage.errors import Full

KIND = "document"
INLINE_BYTES_MAX = 16 << 10
COMPRESS_BYTES_MIN = 256
GZIP_THOROUGH_BYTES_MAX = 1 << 20


class Form(msgspec.Struct, frozen=True, array_like=True):
    """One encoding of a document: `data` inline, or the blob `sha256`."""

    size: int
    data: bytes = b""
    sha256: bytes = b""


class Rendered(msgspec.Struct, frozen=True, array_like=True):
    """A kept document: `forms` by content-encoding ("" = identity), `depends` = labels and their values."""

    etag: str
    media: str
    headers: tuple[tuple[str, str], ...]
    depends: tuple[tuple[bytes, int], ...]
    foreign: int
    forms: dict[str, Form]


def squeeze(body: bytes) -> dict[str, bytes]:
    """The encodings worth keeping of `body`, the identity under ""."""
    forms = {"": body}
    if len(body) < COMPRESS_BYTES_MIN:
        return forms
    level = 6 if len(body) <= GZIP_THOROUGH_BYTES_MAX else 3
    for name, data in (
        ("gzip", gzip.compress(body, level, mtime=0)),
        ("zstd", zstandard.ZstdCompressor(level=3).compress(body)),
    ):
        if len(data) < len(body):
            forms[name] = data
    return forms


class Renders:
    """Kept documents. Synchronous; `keep` compresses and writes, so call it in a thread for large bodies."""

    def __init__(self, shelf: Shelf, blobs: BlobShelf, intake: Intake) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._intake = intake

    def find(self, key: bytes) -> Rendered | None:
        """The kept document; whether it still holds is the caller's question (`depends`, `foreign`)."""
        raw = self._shelf.get(KIND, _shortened(key))
        return msgspec.msgpack.decode(raw, type=Rendered) if raw is not None else None

    def located(self, form: Form) -> Located | None:
        """Where a large form's bytes are; None when they were evicted."""
        return self._blobs.find(form.sha256)

    def keep(
        self,
        key: bytes,
        body: bytes,
        media: str,
        headers: Iterable[tuple[str, str]],
        depends: tuple[tuple[bytes, int], ...],
        foreign: int,
    ) -> Rendered:
        """Keep a freshly rendered document; returns it as `find` would."""
        rendered = self.made(body, media, headers, depends, foreign)
        with suppress(Full):
            self._shelf.put(KIND, _shortened(key), msgspec.msgpack.encode(rendered))
        return rendered

    def made(
        self,
        body: bytes,
        media: str,
        headers: Iterable[tuple[str, str]],
        depends: tuple[tuple[bytes, int], ...],
        foreign: int,
    ) -> Rendered:
        """The document with its forms stored, not yet findable."""
        etag = f'"{hashlib.sha256(body).hexdigest()[:40]}"'
        forms = {name: self._form(data) for name, data in squeeze(body).items()}
        return Rendered(etag, media, tuple(headers), depends, foreign, forms)

    def _form(self, data: bytes) -> Form:
        if len(data) <= INLINE_BYTES_MAX:
            return Form(len(data), data=data)
        with suppress(Full), self._intake.stage() as staged:
            staged.write(data)
            staged.seal()
            self._blobs.put(staged)
            return Form(len(data), sha256=staged.sha256)
        return Form(len(data), data=data)  # the disk is full: it is answered, and soon forgotten


def _shortened(key: bytes) -> bytes:
    """A key that fits the index whatever the names in it are."""
    return key if len(key) <= 200 else key[:100] + b"\0" + hashlib.sha256(key).digest()
