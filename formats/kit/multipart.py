"""Which fields and which file does a multipart/form-data body hold, told while it is still arriving?

`Parser.feed` takes the body in any slices and returns events: Field (small, whole), FileStart, FileData (views into
the slice just fed), and End. Any slicing gives the same events once adjoining FileData are joined. The parser is pure,
bounded, and stricter than RFC 2046: no preamble, no epilogue beyond one line end, no padding after a boundary, no
folded headers, no transfer encoding. Whatever is off raises Invalid or TooLarge, and the parser is then spent.

`Form` sits on top for who receives an upload: it gathers the fields and hands the bytes of the one file part on.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import msgspec

from storage.errors import Invalid, TooLarge, Unsupported

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf';[ \t]*({_NAME})=(?:({_NAME})|"((?:[^"\\]|\\.)*)")[ \t]*')
_MEDIA = re.compile(rf"[ \t]*({_NAME}/{_NAME}|{_NAME})[ \t]*(?=;|$)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_HEADER_NAME = re.compile(_NAME)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXTENDED = re.compile(r"(?i)utf-8'[^']*'((?:%[0-9a-fA-F]{2}|[!#$&+\-.^_`|~0-9A-Za-z])*)")
_HEADERS_MAX = 16


class Field(msgspec.Struct, frozen=True):
    """A part without a file name, whole."""

    name: str
    value: str


class FileStart(msgspec.Struct, frozen=True):
    """A part with a file name begins; its bytes follow as FileData until the next other event."""

    name: str
    filename: str
    media: str


class FileData(msgspec.Struct, frozen=True):
    """Some bytes of the current file part. Valid for as long as it is kept; never empty."""

    data: memoryview


class End(msgspec.Struct, frozen=True):
    """The closing boundary was seen."""


Event = Field | FileStart | FileData | End


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one body. File parts are bounded by who receives them."""

    header_bytes_max: int = 8 << 10
    field_bytes_max: int = 1 << 20
    fields_bytes_max: int = 8 << 20
    parts_max: int = 1_000


def boundary_of(content_type: str) -> bytes:
    """The boundary named by a Content-Type header. Raises Unsupported (not multipart/form-data) or Invalid."""
    media, parameters = _parameterised(content_type, "Content-Type")
    if media.lower() != "multipart/form-data":
        raise Unsupported("The body is not multipart/form-data.", "Send the upload as a form.")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise Invalid("The Content-Type names no usable boundary.")
    return boundary.encode("ascii")


def _parameterised(text: str, header: str) -> tuple[str, dict[str, str]]:
    """`value; key=token; key="quoted"` taken apart, strictly; keys in lower case and each only once."""
    head = _MEDIA.match(text)
    if head is None:
        raise Invalid(f"The {header} of a form is malformed.")
    at, found = head.end(), dict[str, str]()
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            raise Invalid(f"The {header} of a form is malformed.")
        key, token, quoted = match[1].lower(), match[2], match[3]
        if key in found:
            raise Invalid(f"The {header} of a form says {key} twice.")
        found[key] = token if token is not None else re.sub(r"\\([\"\\])", r"\1", quoted)
        at = match.end()
    return head[1], found


def _part(block: bytes) -> tuple[str, str | None, str]:
    """(name, filename or None, media) from the header lines of a part."""
    try:
        lines = block.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise Invalid("A header of a form part is not UTF-8.") from None
    headers: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        key, value = key.lower(), value.strip(" \t")
        if not colon or not _HEADER_NAME.fullmatch(key) or _CONTROL.search(value.replace("\t", " ")) or key in headers:
            raise Invalid("A header of a form part is malformed or repeated.")
        headers[key] = value
    if len(headers) > _HEADERS_MAX:
        raise TooLarge(f"A form part has more than {_HEADERS_MAX} headers.")
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise Unsupported("A form part has a transfer encoding.", "Send the parts as they are.")
    kind, parameters = _parameterised(headers.get("content-disposition", ""), "Content-Disposition")
    name = _parameter(parameters, "name")
    if kind.lower() != "form-data" or name is None:
        raise Invalid("A form part has no name.")
    return name, _parameter(parameters, "filename"), headers.get("content-type", "application/octet-stream")


def _parameter(parameters: dict[str, str], key: str) -> str | None:
    """A parameter, plain or in the extended notation of RFC 8187, which wins where both are there."""
    extended = parameters.get(key + "*")
    if extended is None:
        return parameters.get(key)
    match = _EXTENDED.fullmatch(extended)
    try:
        text = unquote_to_bytes(match[1]).decode("utf-8") if match else None
    except UnicodeDecodeError:
        text = None
    if text is None or _CONTROL.search(text):
        raise Invalid(f"The {key}* of a form part is malformed.")
    return text


class Parser:
    """Feed slices, get events. After End only one line end may come."""

    def __init__(self, boundary: bytes, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._mark = b"\r\n--" + boundary
        # The first boundary has no line end before it; pretending one makes it like all others.
        self._held = b"\r\n"
        self._step = self._first
        self._parts = 0
        self._fields_bytes = 0
        self._name = ""
        self._value: list[bytes] | None = None
        self._value_bytes = 0
        self._events: list[Event] = []
        self.ended = False

    def feed(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The events that these bytes complete. Raises Invalid, TooLarge, Unsupported."""
        window = self._held + data
        self._held = b""
        at: int | None = 0
        while at is not None:
            at = self._step(window, at)
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """The body is over. Raises Invalid where it was cut short."""
        if not self.ended:
            raise Invalid("The form ended before its closing boundary.", "Send it again.")

    # Each step looks at window[at:], and returns where the next step goes on, or None when it needs more bytes; what
    # it could not decide on yet is then kept in self._held.

    def _first(self, window: bytes, at: int) -> int | None:
        if len(window) < len(self._mark):
            if not self._mark.startswith(window):
                raise Invalid("The form does not begin with its boundary.")
            self._held = window
            return None
        if not window.startswith(self._mark):
            raise Invalid("The form does not begin with its boundary.")
        self._step = self._after_mark
        return len(self._mark)

    def _after_mark(self, window: bytes, at: int) -> int | None:
        if len(window) - at < 2:
            self._held = window[at:]
            return None
        two = window[at : at + 2]
        if two == b"--":
            self.ended = True
            self._events.append(End())
            self._step = self._epilogue
        elif two == b"\r\n":
            self._parts += 1
            if self._parts > self._limits.parts_max:
                raise TooLarge(f"The form has more than {self._limits.parts_max} parts.")
            self._step = self._headers
        else:
            raise Invalid("A boundary of the form is followed by something else.")
        return at + 2

    def _headers(self, window: bytes, at: int) -> int | None:
        end = window.find(b"\r\n\r\n", at)
        if (end if end >= 0 else len(window)) - at > self._limits.header_bytes_max:
            raise TooLarge(f"The headers of a form part are over {self._limits.header_bytes_max} bytes.")
        if end < 0:
            self._held = window[at:]
            return None
        name, filename, media = _part(window[at:end])
        self._name = name
        if filename is None:
            self._value, self._value_bytes = [], 0
        else:
            self._value = None
            self._events.append(FileStart(name, filename, media))
        self._step = self._content
        return end + 4

    def _content(self, window: bytes, at: int) -> int | None:
        end = window.find(self._mark, at)
        if end >= 0:
            self._take(window, at, end)
            if self._value is not None:
                self._events.append(Field(self._name, _text(self._name, b"".join(self._value))))
                self._value = None
            self._step = self._after_mark
            return end + len(self._mark)
        # A mark holds one CR, its first byte, so only the last CR near the end can be the beginning of one.
        keep = window.rfind(b"\r", max(at, len(window) - len(self._mark) + 1))
        if keep < 0 or not self._mark.startswith(window[keep:]):
            keep = len(window)
        self._take(window, at, keep)
        self._held = window[keep:]
        return None

    def _take(self, window: bytes, start: int, end: int) -> None:
        if start == end:
            return
        if self._value is None:
            self._events.append(FileData(memoryview(window)[start:end]))
            return
        self._value_bytes += end - start
        self._fields_bytes += end - start
        if self._value_bytes > self._limits.field_bytes_max:
            raise TooLarge(f"The form's field {self._name[:64]!r} is over {self._limits.field_bytes_max} bytes.")
        if self._fields_bytes > self._limits.fields_bytes_max:
            raise TooLarge(f"The form's fields are over {self._limits.fields_bytes_max} bytes together.")
        self._value.append(window[start:end])

    def _epilogue(self, window: bytes, at: int) -> int | None:
        rest = window[at:]
        if not b"\r\n".startswith(rest):
            raise Invalid("Something follows the end of the form.")
        self._held = rest
        return None


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"The form's field {name[:64]!r} is not UTF-8.") from None


class Form:
    """Receives one upload form: gathers its fields, hands the bytes of the file part named `part` to `sink`.

    A form without that part is fine (`filename` stays ""); a second part of that name is Invalid. File parts of other
    names are dropped unread, up to `others_bytes_max`.
    """

    def __init__(
        self,
        boundary: bytes,
        part: str,
        sink: Callable[[memoryview], object],
        limits: Limits | None = None,
        others_bytes_max: int = 1 << 20,
    ) -> None:
        self._parser = Parser(boundary, limits)
        self._part = part
        self._sink = sink
        self._mine = False
        self._others_left = others_bytes_max
        self.fields: dict[str, list[str]] = {}
        self.filename = ""
        self.found = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the body. Raises Invalid, TooLarge, Unsupported, and what `sink` raises."""
        for event in self._parser.feed(data):
            match event:
                case FileData():
                    self._data(event.data)
                case Field(name, value):
                    self.fields.setdefault(name, []).append(value)
                case FileStart(name, filename):
                    self._mine = name == self._part
                    if self._mine and self.found:
                        raise Invalid(f"The form has two files named {self._part!r}.")
                    if self._mine:
                        self.found, self.filename = True, filename
                case End():
                    pass

    def _data(self, data: memoryview) -> None:
        if self._mine:
            self._sink(data)
            return
        self._others_left -= len(data)
        if self._others_left < 0:
            raise TooLarge("The form carries a large file that is not asked for.")

    def finish(self) -> None:
        """The body is over. Raises Invalid where it was cut short."""
        self._parser.finish()
