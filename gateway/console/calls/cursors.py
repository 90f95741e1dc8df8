"""Where does a list go on? A cursor says it, in a form that is nobody's business but the list's own.

It holds the name of the last item, not its number, so that what comes and goes meanwhile neither repeats an item nor
leaves one out. Six bytes ahead tie it to the address and the query that it came from: one of another list is refused
instead of being misunderstood. It grants nothing; what may be seen is judged for every page.

A page that looked at enough may end at a row that its caller may not know of. The cursor of such a place is sealed, so
that its name is not told (THREATS B9). The key is the process's and its forks', so all workers of a node open it; after
a restart, and at another node, such a list begins again.
"""

import base64
import binascii
from collections.abc import Iterable
from hashlib import blake2b
from urllib.parse import urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from storage.errors import Invalid

CURSOR_CHARS_MAX = 1_000
_MARK_BYTES = 6
_NOT_PART = ("after", "limit", "fields")
_SEALED = b"\0"
"""Begins what is sealed, and no name."""
_BLOCK_BYTES = 32
_SEAL = AESSIV(AESSIV.generate_key(256))
"""The same place has the same cursor, so a page that did not change keeps its ETag."""
Pairs = tuple[tuple[str, str], ...]


class Hidden(str):
    """A place whose name is not the caller's to know."""

    __slots__ = ()


class List:
    """A list at `path`, asked with `arguments`."""

    def __init__(self, path: str, arguments: Iterable[tuple[str, str]]) -> None:
        self._arguments = tuple(arguments)
        kept = sorted(pair for pair in self._arguments if pair[0] not in _NOT_PART)
        self._of = repr((path, kept)).encode()

    def closed(self, place: str) -> str:
        """The cursor of the item at `place`."""
        told = self._sealed(place.encode()) if isinstance(place, Hidden) else place.encode()
        raw = self._mark(told) + told
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def opened(self, cursor: str) -> str:
        """The place that a cursor stands for, "" for the beginning. Raises Invalid."""
        if not cursor:
            return ""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
            mark, told = raw[:_MARK_BYTES], raw[_MARK_BYTES:]
            if mark != self._mark(told):
                raise ValueError(cursor)
            return (self._unsealed(told[1:]) if told.startswith(_SEALED) else told).decode()
        except (binascii.Error, ValueError, InvalidTag):
            remedy = "Give the next of a page, with its query, or begin again."
            raise Invalid("The argument after is no cursor of this list.", remedy) from None

    def link(self, cursor: str, limit: int) -> str:
        """The Link header (RFC 8288) of a page of `limit` items that goes on at `cursor`; "" = it is the last.

        Relative to the address that was asked: nothing of it is said again.
        """
        kept = [pair for pair in self._arguments if pair[0] not in ("after", "limit")] + [("limit", str(limit))]
        links = [f'<?{urlencode(kept)}>; rel="first"']
        if cursor:
            links.append(f'<?{urlencode([*kept, ("after", cursor)])}>; rel="next"')
        return ", ".join(links)

    def _sealed(self, place: bytes) -> bytes:
        """In whole blocks: how long a name is, is not told either."""
        return _SEALED + _SEAL.encrypt(place.ljust(-(-len(place) // _BLOCK_BYTES) * _BLOCK_BYTES, b"\0"), [self._of])

    def _unsealed(self, told: bytes) -> bytes:
        """Raises InvalidTag, ValueError."""
        return _SEAL.decrypt(told, [self._of]).rstrip(b"\0")

    def _mark(self, place: bytes) -> bytes:
        return blake2b(place, key=blake2b(self._of, digest_size=32).digest(), digest_size=_MARK_BYTES).digest()
