"""Is this a request head that every reader would understand in the same way, and what does it say?

Pure. A head is taken only if our own rules (RFC 9112 without its leniencies) and llhttp both accept the same bytes;
everything else is Refused with the status to answer, and the connection is closed after that answer. The path is
decoded once, here; nothing behind this file decodes again.
"""

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

TARGET_BYTES_MAX = 8 << 10
LINE_REST_BYTES = 34
FIELDS_MAX = 100
ARGUMENTS_MAX = 200
BLOCKS_MAX = 2_000
BLOCK_BYTES_MAX = 2 << 10
LINES_MAX = 2_000
LINE_BYTES_MAX = 256
LENGTH_MAX = (1 << 63) - 1
LISTED_CHARS_MAX = 4_000

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"))

_LINE = re.compile(rb"([A-Z]{1,24}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff][\x20-\x7e\x80-\xff\t]*)?)")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#]*)(.*)")
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%\[\]]*")
_QUERY = re.compile(r"[\x21\x22\x24-\x7e]*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(r"%(?:2[eEfF5]|5[cC]|00)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_DIGITS = re.compile(r"[0-9]+")

# A second line of one of these is an attempt to be read in two ways.
_SINGLE = frozenset(
    (
        "authorization",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "expect",
        "host",
        "if-modified-since",
        "if-range",
        "if-unmodified-since",
        "range",
        "transfer-encoding",
    )
)

# Fields that many clients send alike, whoever asks: each line is taken apart once. None of them holds a secret.
_COMMON = frozenset(
    ("accept", "accept-encoding", "accept-language", "cache-control", "connection", "host", "pragma", "user-agent")
)


class Refused(Exception):
    """This head is not accepted: answer `status` and close. `reason` is one line for the client, without its bytes."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Told(NamedTuple):
    """Where a client is, as an edge says that speaks for the workspaces `within` and no others. The request leads to
    the one that is `named`."""

    address: str
    within: frozenset[str]
    named: str

    def listed(self) -> str:
        """The workspaces, with commas, as far as they go into a header; what is left out counts as out of sight."""
        text = ""
        for one in sorted(self.within, key=lambda name: (name != self.named, name)):
            if len(text) + len(one) > LISTED_CHARS_MAX:
                break
            text = f"{text},{one}" if text else one
        return text


class Head:
    """A request head, strictly parsed; immutable by convention, so that it may be shared.

    `target` is the request target as sent, `raw_path` its path as sent. `segments` is that path split at "/", decoded
    once: "/a/b" → ("a", "b"), "/a/" → ("a", ""), "/" → ("",); a "/" inside a segment comes from %2F and is the
    front's to judge. `query` is decoded, in order. `headers` have lower-case names; repeated ones are joined by ", "
    (cookies by "; "). `length` is the body's: -1 chunked, 0 none. `secret` is the credential of the Authorization
    field: of Bearer and Token the rest, of Basic the password (or the user where that is empty), else the whole field.
    `version` is 0 or 1, for HTTP/1.0 and HTTP/1.1. `key` is the sha256 of the public key of the client's certificate,
    b"" where it showed none. `looked` is what the handler's `look` came to where it gave no answer: its own to read.
    `peer` is where the client is, as far as that is believed where the request leads; `told` what an edge says of it
    that may not speak of everything (front.vouching), None = nothing.
    """

    __slots__ = (
        "expect",
        "headers",
        "host",
        "keep",
        "key",
        "length",
        "looked",
        "method",
        "peer",
        "query",
        "raw_path",
        "scheme",
        "secret",
        "segments",
        "target",
        "told",
        "version",
    )

    method: str
    target: bytes
    raw_path: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    host: str
    length: int
    expect: bool
    keep: bool
    secret: str | None
    peer: str
    scheme: str
    version: int
    key: bytes
    looked: object
    told: Told | None

    def __init__(
        self,
        method: str = "GET",
        raw_path: str = "/",
        *,
        target: bytes = b"",
        segments: tuple[str, ...] | None = None,
        query: tuple[tuple[str, str], ...] = (),
        headers: dict[str, str] | None = None,
        host: str = "",
        length: int = 0,
        expect: bool = False,
        keep: bool = True,
        secret: str | None = None,
        peer: str = "",
        scheme: str = "http",
        version: int = 1,
        key: bytes = b"",
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.target = target or raw_path.encode()
        self.segments = split_path(raw_path) if segments is None else segments
        self.query = query
        self.headers = {} if headers is None else headers
        self.host = host
        self.length = length
        self.expect = expect
        self.keep = keep
        self.secret = secret
        self.peer = peer
        self.scheme = scheme
        self.version = version
        self.key = key
        self.looked = None
        self.told = None

    def peer_in(self, workspace: str) -> str:
        """Where the client is to what belongs to this Workspace; "" = nobody says who may speak of that."""
        if self.told is None:
            return self.peer
        return self.told.address if workspace in self.told.within else ""

    def argument(self, name: str, default: str = "") -> str:
        """The first value of a query argument."""
        return next((value for key, value in self.query if key == name), default)

    def __repr__(self) -> str:
        return f"<Head {self.method} {len(self.segments)} segments of {self.host or 'no host'}>"


class Fields:
    """What a header block says, whatever request line stands before it."""

    __slots__ = ("asks_close", "asks_keep", "chunked", "expect", "headers", "host", "length", "secret")

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.host = headers.get("host", "")
        self.chunked = "transfer-encoding" in headers
        self.length = _length_of(headers)
        expected = headers.get("expect", "").lower()
        if expected not in ("", "100-continue"):
            raise Refused(417, "This expectation is not supported.")
        self.expect = bool(expected)
        options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
        self.asks_close = "close" in options
        self.asks_keep = "keep-alive" in options
        self.secret = secret_of(headers.get("authorization"))


def secret_of(authorization: str | None) -> str | None:
    """The credential inside an Authorization field. One that cannot be read stays as it is: unknown, not absent."""
    if not authorization:
        return None
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    kind = scheme.lower()
    if kind in ("bearer", "token") and rest:
        return rest
    if kind == "basic" and rest:
        try:
            user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return rest
        return (password or user) if colon else rest
    return authorization


def complaint(data: bytes, size: int, bytes_max: int) -> Refused | None:
    """What is wrong already with the head at the front of `data`: its size, or, while it is not complete (`size` 0), a
    line end that will never become right."""
    if (size or len(data)) > bytes_max:
        if data.find(b"\r\n", 0, TARGET_BYTES_MAX + LINE_REST_BYTES) < 0:
            return Refused(414, "The request target is too long.")
        return Refused(431, "The request head is too large.")
    if not size:
        found = _BARE.search(data)
        if found is not None and not (found.end() == len(data) and data[-1:] == b"\r"):
            return Refused(400, "A line of the head does not end with CR LF.")
    return None


def parse(data: bytes, *, peer: str = "", scheme: str = "http", key: bytes = b"") -> Head:
    """The Head in `data`, which ends with its first empty line. Refused where a rule of THREATS A1-A7, A11 is hurt."""
    if _BARE.search(data):
        raise Refused(400, "A line of the head does not end with CR LF.")
    end = data.index(b"\r\n")
    line, block = data[:end], data[end + 2 :]
    if len(line) > TARGET_BYTES_MAX + LINE_REST_BYTES:
        raise Refused(414, "The request target is too long.")
    match = _LINE.fullmatch(line)
    if match is None:
        raise Refused(400, "The request line is malformed.")
    method = match[1].decode()
    if match[3] != b"1" or match[4] not in (b"0", b"1"):
        raise Refused(505, "This version of HTTP is not spoken here.")
    if method in ("CONNECT", "TRACE"):
        raise Refused(405, "This method is not offered.")
    if method not in METHODS:
        raise Refused(501, "This method is not known.")
    fields = _fields_of(block)
    version = int(match[4])
    if version == 0 and fields.chunked:
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding.")
    if version == 1 and "host" not in fields.headers:
        raise Refused(400, "The Host field is missing.")
    _second_opinion(data)
    path, query = split_target(match[2].decode(), fields.host)
    return Head(
        method,
        path,
        target=match[2],
        query=query,
        headers=fields.headers,
        host=fields.host,
        length=fields.length,
        expect=fields.expect and version == 1 and fields.length != 0,
        keep=not fields.asks_close and (version == 1 or fields.asks_keep),
        secret=fields.secret,
        peer=peer,
        scheme=scheme,
        version=version,
        key=key,
    )


_blocks: dict[bytes, Fields] = {}


def _fields_of(block: bytes) -> Fields:
    """The fields of a block that ends with an empty line; those of small blocks are remembered by their exact bytes."""
    known = _blocks.get(block)
    if known is None:
        known = Fields(_headers_of(block))
        if len(block) <= BLOCK_BYTES_MAX:
            if len(_blocks) >= BLOCKS_MAX:
                _blocks.clear()
            _blocks[bytes(block)] = known
    return known


_lines: dict[bytes, tuple[str, str]] = {}


def _remember(line: bytes, field: tuple[str, str]) -> None:
    if len(_lines) >= LINES_MAX:
        _lines.clear()
    _lines[bytes(line)] = field


def _headers_of(block: bytes) -> dict[str, str]:
    lines = block[:-2].split(b"\r\n")
    lines.pop()
    if len(lines) > FIELDS_MAX:
        raise Refused(431, "There are too many header fields.")
    headers: dict[str, str] = {}
    for line in lines:
        known = _lines.get(line)
        if known is None:
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Refused(400, "A header field is malformed.")
            name, value = match[1].decode().lower(), match[2].decode("latin-1").rstrip(" \t")
            if name in _COMMON and len(line) <= LINE_BYTES_MAX:
                _remember(line, (name, value))
        else:
            name, value = known
        if name in headers:
            if name in _SINGLE:
                raise Refused(400, f"The field {name} stands there twice.")
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    host = headers.get("host")
    if host is not None and HOST.fullmatch(host) is None:
        raise Refused(400, "The Host field is malformed.")
    return headers


def _length_of(headers: dict[str, str]) -> int:
    """-1 chunked, 0 none; both framings at once, and every framing but these two, are refused."""
    announced, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if announced is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding exclude each other.")
        if coding.lower() != "chunked":
            raise Refused(501, "Only the transfer coding chunked is supported.")
        return -1
    if announced is None:
        return 0
    if _DIGITS.fullmatch(announced) is None:
        raise Refused(400, "Content-Length is malformed.")
    if len(announced) > 19 or int(announced) > LENGTH_MAX:
        raise Refused(413, "Content-Length is beyond every limit.")
    return int(announced)


class _Ear:
    """Hears from llhttp that the head is whole."""

    __slots__ = ("complete",)

    def __init__(self) -> None:
        self.complete = False

    def on_headers_complete(self) -> None:
        self.complete = True


def _second_opinion(data: bytes) -> None:
    ear = _Ear()
    try:
        httptools.HttpRequestParser(ear).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # offered by the client, never taken up: the bytes behind it are the next request
    except httptools.HttpParserError:
        raise Refused(400, "The request is malformed.") from None
    if not ear.complete:
        raise Refused(400, "The request is malformed.")


def split_target(target: str, host: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """(raw path, query) of an origin-form target, or of an absolute-form one whose authority equals `host`."""
    if not target.startswith("/"):
        match = _ABSOLUTE.fullmatch(target)
        if match is None:
            raise Refused(400, "The request target is malformed.")
        if HOST.fullmatch(match[1]) is None or match[1].lower() != host.lower():
            raise Refused(400, "The request target names another host than the Host field.")
        target = match[2]
        if not target.startswith("/"):
            target = "/" + target
    path, mark, rest = target.partition("?")
    if _PATH.fullmatch(path) is None:
        raise Refused(400, "The path holds a character that must be percent-encoded.")
    return path, split_query(rest) if mark else ()


def split_path(raw_path: str) -> tuple[str, ...]:
    """The segments of a path, decoded once. Refused: dot segments, empty ones but the last, "\\", controls, bad UTF-8,
    and what would mean something else if it were decoded again."""
    segments = raw_path[1:].split("/")
    if "%" in raw_path:
        segments = [_decoded(segment) if "%" in segment else segment for segment in segments]
    last = len(segments) - 1
    for at, segment in enumerate(segments):
        if segment in (".", "..") or (segment == "" and at != last):
            raise Refused(400, "The path holds an empty or a dot segment.")
    return tuple(segments)


def _decoded(segment: str) -> str:
    text = _unescaped(segment)
    if _CONTROL.search(text) or _TWICE.search(text):
        raise Refused(400, "The path holds an escape that is not allowed.")
    if "/" in text and not {"", ".", ".."}.isdisjoint(text.split("/")):
        raise Refused(400, "The path holds an empty or a dot segment.")
    return text


def split_query(query: str) -> tuple[tuple[str, str], ...]:
    """The arguments of a query, decoded once ("+" is a space), in order."""
    if _QUERY.fullmatch(query) is None:
        raise Refused(400, "The query holds a character that must be percent-encoded.")
    parts = [part for part in query.split("&") if part]
    if len(parts) > ARGUMENTS_MAX:
        raise Refused(400, "There are too many query arguments.")
    pairs = []
    for part in parts:
        name, _, value = part.partition("=")
        pairs.append((_argument(name), _argument(value)))
    return tuple(pairs)


def _argument(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    text = _unescaped(text)
    if "\x00" in text:
        raise Refused(400, "The query holds an escape that is not allowed.")
    return text


def _unescaped(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise Refused(400, "The request target holds a broken percent escape.")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refused(400, "The request target is not UTF-8.") from None
