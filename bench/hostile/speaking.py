"""How does one speak HTTP so that nothing is smoothed over? A socket, exact bytes out, and a strict look at what comes.

Every answer's head is held to the grammar: an answer that could be read in two ways raises Malformed, whatever it says
(THREATS A5). Every wait has an end.
"""

import re
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE_S = 30.0
HEAD_BYTES_MAX = 64 << 10
BODY_BYTES_MAX = 64 << 20
READ_BYTES = 256 << 10

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\x20-\x7e]*")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\x20-\x7e\x80-\xff]*)")
_ONCE = {"content-length", "transfer-encoding", "content-type", "location", "etag", "date", "connection",
         "content-range", "www-authenticate", "retry-after", "content-encoding", "last-modified"}  # fmt: skip


class Malformed(Exception):
    """An answer that is none, or two."""


class Ended(Exception):
    """The server closed in good order where an answer could have begun."""


class Reset(Exception):
    """The server cut the connection, or closed it within an answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer; `headers` have lower-case names, repeated ones joined by a comma."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    interim: tuple[int, ...] = ()


class Speaker:
    """One connection to `url`. Not shared between threads."""

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None, patience_s: float = PATIENCE_S) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host = parts.netloc
        raw = socket.create_connection((parts.hostname, parts.port or 80), patience_s)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = raw if context is None else context.wrap_socket(raw, server_hostname=parts.hostname)
        self._held = b""

    def send(self, data: bytes) -> None:
        """All of it, or as much as the server takes before it ends the connection."""
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            return  # what it has said before that is still to be read

    def half_close(self) -> None:
        """Nothing more will be sent."""
        try:
            # of the connection itself: the TLS socket's own method would go on without TLS
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Speaker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hear(self, *, head: bool = False) -> Said:
        """The next answer. Raises Ended, Reset, Malformed, TimeoutError."""
        interim: list[int] = []
        while True:
            status, headers = self._head()
            if status >= 200:
                return Said(status, headers, self._body(status, headers, head), tuple(interim))
            interim.append(status)

    def state(self) -> str:
        """What became of the connection: "closed", "reset", or "talking" where more bytes come."""
        try:
            return "talking" if self._held or self._more() else "closed"
        except Reset:
            return "reset"

    def _more(self) -> bool:
        try:
            data = self.socket.recv(READ_BYTES)
        except TimeoutError:
            raise
        except ssl.SSLEOFError:
            raise Reset from None
        except OSError:
            raise Reset from None
        self._held += data
        return bool(data)

    def _until(self, mark: bytes, bytes_max: int) -> bytes:
        while (at := self._held.find(mark)) < 0:
            if len(self._held) > bytes_max:
                raise Malformed(f"no {mark!r} within {bytes_max} bytes")
            if not self._more():
                if self._held:
                    raise Reset
                raise Ended
        part, self._held = self._held[:at], self._held[at + len(mark) :]
        return part

    def _exactly(self, size: int) -> bytes:
        if size > BODY_BYTES_MAX:
            raise Malformed(f"a body of {size} bytes")
        pieces, left = [self._held[:size]], size - len(self._held)
        self._held = self._held[size:]
        while left > 0:
            if not self._more():
                raise Reset
            piece, self._held = self._held[:left], self._held[left:]
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._until(b"\r\n\r\n", HEAD_BYTES_MAX).split(b"\r\n")
        match = _STATUS.fullmatch(first)
        if match is None:
            raise Malformed(f"a status line {first[:80]!r}")
        headers: dict[str, str] = {}
        for line in lines:
            pair = _FIELD.fullmatch(line)
            if pair is None:
                raise Malformed(f"a header line {line[:80]!r}")
            name, value = pair[1].decode().lower(), pair[2].decode("latin-1").strip()
            if name in headers:
                if name in _ONCE:
                    raise Malformed(f"{name} twice")
                value = f"{headers[name]}, {value}"
            headers[name] = value
        if "content-length" in headers and "transfer-encoding" in headers:
            raise Malformed("two framings")
        return int(match[1]), headers

    def _body(self, status: int, headers: dict[str, str], head: bool) -> bytes:
        if head or status in (204, 304):
            return b""
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(self._until(b"\r\n", 64), 16):
                pieces.append(self._exactly(size))
                if self._exactly(2) != b"\r\n":
                    raise Malformed("a chunk that is longer than it says")
            if self._exactly(2) != b"\r\n":
                raise Malformed("a trailer")
            return b"".join(pieces)
        length = headers.get("content-length")
        if length is None or not length.isdigit():
            raise Malformed(f"a body of length {length}")
        return self._exactly(int(length))
