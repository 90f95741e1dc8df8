"""How is JSON from a stranger read strictly, also a publish document that is too large to hold?

`strict` reads any text. npm's body is one JSON object whose `_attachments.NAME.data` is the whole tarball in base64:
Scanner walks the structure in one pass over windows of bytes; what is inside such a data string is decoded straight
into a sink and replaced by an empty string; all else is kept, bounded, and is still a JSON text. The walk also refuses
what a decoder lets pass: keys said twice, `__proto__`, nesting that is too deep. The grammar itself is judged by the
decoder that reads the kept text afterwards; of well-formed JSON the walk is exact, of other input nothing is believed.
"""

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from storage.errors import Invalid, TooLarge

KEPT_BYTES_MAX = 16 << 20
DEPTH_MAX = 64
CONTAINERS_MAX = 1_000_000
WINDOW_BYTES = 1 << 20

_STRUCTURE = re.compile(rb'["{}\[\]]')
_TOKEN = re.compile(rb'(?s)"([^"\\]*+(?:\\.[^"\\]*+)*+)"(?=([ \t\r\n]*+)(:|.))|[{}\[\]]|"')
"""A whole string, with the sign that follows it; a bracket; or a string that is not yet whole."""
_BLANKS = b" \t\r\n"
_BLANK = re.compile(rb"[ \t\r\n]*")
_ESCAPE_BYTES = 6
_OPEN, _CLOSED = b"{[", b"}]"

Read = Callable[[int], bytes]
Write = Callable[[bytes], object]


class Wanted(Protocol):
    """Says where the data of an attachment goes: a function that takes its bytes, or None to keep the text."""

    def __call__(self, attachment: str, /) -> Write | None: ...


def keep_all(attachment: str, /) -> Write | None:
    """The Wanted of a text that has no attachments to divert."""
    return None


@dataclass
class _Level:
    """One open object or array: the key that it stands under, its own key in hand, and the keys that it has had."""

    under: bytes
    is_object: bool
    key: bytes = b""
    seen: set[bytes] | None = None


class Scanner:
    """One pass over one text. `run` gives the kept text; its errors are Invalid and TooLarge."""

    def __init__(self, read: Read, wanted: Wanted = keep_all, *, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._read = read
        self._wanted = wanted
        self._kept_bytes_max = kept_bytes_max
        self._window = b""
        self._at = 0
        self._ended = False
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._last = 0
        self._containers = 0
        self._levels: list[_Level] = []

    def run(self) -> bytes:
        """Walk the whole text. What comes back is not yet known to be JSON: decode it."""
        while self._stride():
            sign = self._window[self._at]
            if sign == 0x22:  # "
                sink = self._diversion()
                self._keep(self._at + 1)
                self._string(sink)
            else:
                self._keep(self._at + 1)
                self._bracket(sign)
        if self._levels:
            raise Invalid("The document ends in the middle.", "Send it again, whole.")
        return b"".join(self._kept)

    # ------------------------------------------------------------ the window

    def _more(self) -> bool:
        """Read on, dropping what is behind. False at the end of the text."""
        if self._ended:
            return False
        data = self._read(WINDOW_BYTES)
        if not data:
            self._ended = True
            return False
        self._window = self._window[self._at :] + data if self._at < len(self._window) else data
        self._at = 0
        return True

    def _keep(self, end: int) -> None:
        """Keep the window up to `end` and go there."""
        self._kept_bytes += end - self._at
        if self._kept_bytes > self._kept_bytes_max:
            raise TooLarge(
                f"The document without its attachments is over {self._kept_bytes_max} bytes.",
                "Publish smaller metadata; the tarball itself may be large.",
            )
        piece = self._window[self._at : end]
        self._kept.append(piece)
        self._at = end
        if significant := piece.rstrip(_BLANKS):
            self._last = significant[-1]

    def _stride(self) -> bool:
        """Go over whatever the window holds whole, then to the next sign of structure. False at the end of the text."""
        start = end = self._at
        for token in _TOKEN.finditer(self._window, start):
            text = token[1]
            if text is None:
                sign = self._window[token.start()]
                if sign == 0x22 or self._is_attachment():
                    break
                self._bracket(sign)
            elif self._is_attachment():
                break
            elif token[3] == b":" and self._levels and self._levels[-1].is_object:
                self._key(text)
            end = token.end()
        self._keep(end)
        return self._seek()

    def _is_attachment(self) -> bool:
        """Are we right inside one of the `_attachments`, where each string must be looked at before it is read?"""
        return len(self._levels) == 3 and self._levels[1].under == b"_attachments"

    def _seek(self) -> bool:
        """Go to the next sign of structure, keeping what lies before it. False at the end of the text."""
        while True:
            match = _STRUCTURE.search(self._window, self._at)
            if match:
                self._keep(match.start())
                return True
            self._keep(len(self._window))
            if not self._more():
                return False

    # ------------------------------------------------------------ structure

    def _bracket(self, sign: int) -> None:
        if sign in _OPEN:
            if len(self._levels) >= DEPTH_MAX:
                raise Invalid(f"The document nests deeper than {DEPTH_MAX} levels.", "Flatten the metadata.")
            self._containers += 1
            if self._containers > CONTAINERS_MAX:
                raise TooLarge(f"The document has more than {CONTAINERS_MAX} objects and arrays.")
            under = self._levels[-1].key if self._levels and self._levels[-1].is_object else b""
            self._levels.append(_Level(under, sign == 0x7B))
        elif not self._levels or self._levels.pop().is_object != (sign == 0x7D):
            raise Invalid("The document is not JSON: brackets do not match.")

    def _string(self, sink: Write | None) -> None:
        """A string whose opening quote has just been kept, on its way into `sink` where there is one."""
        if sink is not None:
            self._divert(sink)
            return
        end = self._quote(self._at)
        text = self._window[self._at : end]
        self._keep(end + 1)
        if self._levels and self._levels[-1].is_object and self._colon_follows():
            self._key(text)

    def _quote(self, searched: int) -> int:
        """Where in the window the string that began at `_at` ends, reading on as far as it takes."""
        while True:
            end = self._window.find(b'"', searched)
            if end < 0:
                behind = len(self._window) - self._at
                if behind > self._kept_bytes_max:
                    raise TooLarge(f"A text in the document is over {self._kept_bytes_max} bytes.")
                if not self._more():
                    raise Invalid("The document ends in the middle of a text.", "Send it again, whole.")
                searched = behind
                continue
            slashes = end
            while slashes > self._at and self._window[slashes - 1] == 0x5C:
                slashes -= 1
            if (end - slashes) % 2 == 0:
                return end
            searched = end + 1

    def _colon_follows(self) -> bool:
        """Is the string that ended at `_at` a key? Only a colon can tell, after blanks."""
        while True:
            match = _BLANK.match(self._window, self._at)
            end = match.end() if match else self._at
            if end < len(self._window):
                return self._window[end] == 0x3A
            if end > self._at:
                self._keep(end)
            if not self._more():
                return False

    def _key(self, text: bytes) -> None:
        level = self._levels[-1]
        key = _plain(text) if b"\\" in text else text
        if key == b"__proto__":
            raise Invalid("The document has a key __proto__.", "Remove it: it would change the reader's own objects.")
        if level.seen is None:
            level.seen = set()
        elif key in level.seen:
            raise Invalid("The document says a key twice in one object.", "Say each key once.")
        level.seen.add(key)
        level.key = key

    # ------------------------------------------------------------ attachments

    def _diversion(self) -> Write | None:
        """The sink of the string that begins here, where it is the data of an attachment that is wanted elsewhere."""
        if not self._is_attachment():
            return None
        root, attachments, one = self._levels
        if not (root.is_object and attachments.is_object and one.is_object and one.key == b"data"):
            return None
        # Without the colon this string is itself a key.
        return self._wanted(one.under.decode("utf-8", "replace")) if self._last == 0x3A else None

    def _divert(self, sink: Write) -> None:
        """Decode base64 up to the closing quote into `sink`; then keep that quote."""
        rest = b""
        padded = False
        while True:
            end = self._window.find(b'"', self._at)
            piece = rest + self._window[self._at : end if end >= 0 else len(self._window)]
            if b"\\" in piece:
                piece, rest = _unescaped(piece, whole=end >= 0)
            else:
                rest = b""
            usable = len(piece) if end >= 0 else len(piece) - len(piece) % 4
            # What an unfinished escape hides comes after what was held back for want of four characters.
            piece, rest = piece[:usable], piece[usable:] + rest
            if piece:
                if padded:
                    raise _bad_base64()
                padded = piece.endswith(b"=")
                sink(_decoded(piece))
            if end >= 0:
                self._at = end
                self._keep(end + 1)
                return
            self._at = len(self._window)
            if not self._more():
                raise Invalid("The document ends in the middle of an attachment.", "Send it again, whole.")


def _plain(text: bytes) -> bytes:
    """A key whose signs are partly written as escapes, as plain UTF-8."""
    try:
        return msgspec.json.decode(b'"' + text + b'"', type=str).encode()
    except (msgspec.DecodeError, UnicodeError):
        raise Invalid("The document has a key that is no text.") from None


def _bad_base64() -> Invalid:
    return Invalid("The attachment is not base64.", "Publish with a current client.")


def _decoded(piece: bytes) -> bytes:
    try:
        return binascii.a2b_base64(piece, strict_mode=True)
    except binascii.Error:
        raise _bad_base64() from None


def _unescaped(piece: bytes, *, whole: bool) -> tuple[bytes, bytes]:
    """Base64 in which signs were written as JSON escapes: the plain signs, and an unfinished escape held back."""
    held = b""
    last = piece.rfind(b"\\")
    if not whole and len(piece) - last < _ESCAPE_BYTES:
        piece, held = piece[:last], piece[last:]
    try:
        return msgspec.json.decode(b'"' + piece + b'"', type=str).encode("ascii"), held
    except (msgspec.DecodeError, UnicodeError):
        raise _bad_base64() from None


def strict(data: bytes) -> bytes:
    """`data` after the same walk, for texts that are already in memory; raises as Scanner does."""
    pieces = iter((data,))
    return Scanner(lambda _: next(pieces, b""), kept_bytes_max=len(data) + 1).run()
