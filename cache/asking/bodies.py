"""May the body of an answer be believed, and how is it read as it arrives?

Framing is strict: one length of digits, or chunked, and never both or neither; a body that ends early is a failure,
never a short file. What the socket says is said as Problems from here on.
"""

import http.client
import io
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from cache.asking.addresses import Place
from cache.asking.connecting import Connection, gathered, readable
from storage.errors import Absent, Unavailable, UpstreamFailed

STEP_US = 10_000
"""A receive that waits for a full buffer ends after so long with what has come."""
REDIRECTS = (301, 302, 303, 307, 308)


class Response(Protocol):
    """The head of an answer, as http.client has it or as cache.prompt reads it."""

    status: int
    chunked: bool
    will_close: bool

    def getheaders(self) -> list[tuple[str, str]]: ...
    def close(self) -> None: ...


class Source(Protocol):
    """The body of one answer, as it arrives."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    offset: int
    """Of the object's first byte in this body: 0 where a range was asked for and not honoured."""
    length: int
    """Bytes that this body has, -1 unknown."""

    def readinto(self, buffer: memoryview) -> int:
        """Some bytes: the first as soon as there are any, later ones gathered for at most STEP_US; 0 at the true end.
        Raises UpstreamFailed on silence and truncation."""
        ...

    def ready(self, seconds: float) -> bool:
        """Is there more to read (or the end) within so long? False may also mean that it is not known."""
        ...

    def close(self) -> None: ...

    def abort(self) -> None:
        """Wake a thread that waits in `readinto`; may be called from any thread."""
        ...


class Spent(Unavailable):
    """The other side counts requests, and ours are used up: no use to ask it for anything before `retry_after_s`."""


class Unchanged(UpstreamFailed):
    """The answer to a condition: what is held is still right. To who asked without one it is a failure."""

    headers: Mapping[str, str] = MappingProxyType({})


class Refused(UpstreamFailed):
    """An answer of a status that means neither yes nor no. `headers` may tell more, where they can be believed."""

    headers: Mapping[str, str] = MappingProxyType({})


class BrokenOff(UpstreamFailed):
    """A body ended as a failure, and another node is there that may have the same."""


def _nowhere_else() -> bool:
    """Nobody wants to know, and nobody else has it."""
    return False


class Body:
    """A Source over one answer; reads straight from the socket where the length is known. `early` are the bytes that
    came with a head which http.client did not read, None where it did."""

    def __init__(
        self,
        where: Place,
        connection: Connection,
        response: Response,
        give_back: Callable[[], None],
        method: str = "GET",
        early: bytes | None = None,
    ) -> None:
        self.place = where
        self.status = response.status
        self.headers: Mapping[str, str] = headers_of(response, where)
        self.offset = 0
        self.length = 0 if method == "HEAD" else _length_of(response, self.headers, where)
        self._left = self.length
        self._connection = connection
        self._response = response
        self._give_back = give_back
        self._ended = self.length == 0
        self._silence_s = connection.channel.gettimeout() or 0.0
        self.broken: Callable[[], bool] = _nowhere_else
        """Called where the body ends as a failure: may another node have the same?"""
        self._direct = False
        """Nothing of the body is left in http.client's buffer: the rest is received from the socket itself."""
        self._early = early or b""
        if early is not None:
            self._go_direct()

    def readinto(self, buffer: memoryview) -> int:
        if self._ended or not len(buffer):
            return 0
        try:
            count = self._read_known(buffer) if self._left >= 0 else self._read_unknown(buffer)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self._connection.close()
            problem = mapped(error, self.place)
            raise (BrokenOff(problem.message, problem.remedy) if self.broken() else problem) from error
        if self._left == 0 or not count:
            self._ended = True
        return count

    def _read_known(self, buffer: memoryview) -> int:
        want = buffer[: self._left]
        if self._early:
            count = min(len(want), len(self._early))
            want[:count], self._early = self._early[:count], self._early[count:]
        else:
            count = self._received(want) if self._direct else self._first(want)
        if not count:
            raise http.client.IncompleteRead(b"", self._left)
        self._left -= count
        return count

    def _first(self, want: memoryview) -> int:
        """What came together with the head, or one receive; it never waits for more."""
        asked = min(len(want), io.DEFAULT_BUFFER_SIZE)
        piece = self._buffered.fp.read1(asked)
        want[: len(piece)] = piece
        if asked == io.DEFAULT_BUFFER_SIZE or len(piece) < asked:
            self._go_direct()
        return len(piece)

    @property
    def _buffered(self) -> http.client.HTTPResponse:
        assert isinstance(self._response, http.client.HTTPResponse), "a Part is read from the socket"
        return self._response

    def _go_direct(self) -> None:
        self._direct = True
        channel = self._connection.channel
        if not isinstance(channel, ssl.SSLSocket):
            # MSG_WAITALL needs a descriptor that blocks: the kernel then fills the buffer in one call.
            channel.settimeout(None)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", 0, STEP_US))

    def _go_back(self) -> None:
        """The socket as it was, for whoever uses the connection next."""
        channel = self._connection.channel
        if self._direct and not isinstance(channel, ssl.SSLSocket):
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", 0, 0))
            channel.settimeout(self._silence_s)

    def _received(self, want: memoryview) -> int:
        channel = self._connection.channel
        if isinstance(channel, ssl.SSLSocket):
            return gathered(channel, want)
        silent_at_s = time.monotonic() + self._silence_s
        while True:
            try:
                return channel.recv_into(want, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                if time.monotonic() >= silent_at_s:
                    raise TimeoutError from None

    def ready(self, seconds: float) -> bool:
        if self._ended or self._early:
            return True
        channel = self._connection.channel
        if isinstance(channel, ssl.SSLSocket) and channel.pending():
            return True
        return readable(channel, seconds if self._direct else 0)

    def _read_unknown(self, buffer: memoryview) -> int:
        if not self._response.chunked:
            raise http.client.HTTPException("an end that is no end")  # refused when the head came; never reached
        piece = self._buffered.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Give the connection back if the whole body was read, else end it."""
        if self._connection.sock is not None and self._ended and not self._response.will_close:
            self._response.close()
            self._go_back()
            self._give_back()
            return
        self._response.close()
        self._connection.close()

    def abort(self) -> None:
        self._connection.abort()


def headers_of(response: Response, where: Place) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        lower = name.lower()
        if lower in ("content-length", "transfer-encoding", "content-range") and lower in found:
            raise UpstreamFailed(f"{where.authority} frames its answer twice.")
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def _length_of(response: Response, headers: Mapping[str, str], where: Place) -> int:
    """Strict framing: one Content-Length of digits, or chunked, and never both or neither."""
    if response.status in (204, 304):
        return 0
    told, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if told is not None or coding.strip().lower() != "chunked":
            raise UpstreamFailed(f"{where.authority} frames its answer in a way that cannot be trusted.")
        return -1
    if told is None and response.status in REDIRECTS:
        return 0  # its body is never read, nor its connection used again
    if told is None or not (told.isascii() and told.isdigit()) or len(told) > 18:
        raise UpstreamFailed(f"{where.authority} does not tell how long its answer is.")
    return int(told)


def judge(body: Body, offset: int, *, ranged: bool = False) -> None:
    """Is it a body that a file can be made of? Sets `offset` of a ranged one."""
    who = body.place.authority
    if body.status == 304:
        unchanged = Unchanged(f"{who} says that nothing has changed.")
        unchanged.headers = body.headers
        raise unchanged
    if body.status in (404, 410):
        raise Absent(f"{who} does not have it.")
    if body.status == 429 and ("retry-after" in body.headers or body.headers.get("ratelimit-remaining", "")[:1] == "0"):
        raise Spent(f"{who} answers no more for now.", "Try again later.", retry_after_s=retry_after(body.headers))
    if body.status in (429, 503):
        raise Unavailable(f"{who} is overloaded.", "Try again later.", retry_after_s=retry_after(body.headers))
    if body.status not in (200, 206):
        refused = Refused(f"{who} answered {body.status}.")
        refused.headers = body.headers
        raise refused
    if body.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UpstreamFailed(f"{who} sends a file in an encoding that was not asked for.")
    if body.status == 206:
        told = body.headers.get("content-range", "")
        unit, _, rest = told.partition(" ")
        first, _, last = rest.partition("/")[0].partition("-")
        if unit != "bytes" or first != str(offset) or not last.isdigit() or not ranged:
            raise UpstreamFailed(f"{who} sends another range than the one asked for.")
        if body.length >= 0 and int(last) - offset + 1 != body.length:
            raise UpstreamFailed(f"{who} sends a range of another length than it tells.")
        body.offset = offset


def retry_after(headers: Mapping[str, str], at_most_s: int = 3600) -> int:
    """Seconds until one may come back: what Retry-After tells in digits, else 5."""
    told = headers.get("retry-after", "").strip()
    return min(int(told), at_most_s) if told.isascii() and told.isdigit() and len(told) < 10 else 5


def mapped(error: Exception, where: Place) -> UpstreamFailed:
    """What a foreign exception lets the caller conclude."""
    who = where.authority
    if isinstance(error, TimeoutError):
        return UpstreamFailed(f"{who} fell silent.", "Try again later.")
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamFailed(f"The certificate of {who} is not trusted.", "Add its authority with SSL_CERT_FILE.")
    if isinstance(error, ssl.SSLError):
        return UpstreamFailed(f"No secure connection to {who} can be made.")
    if isinstance(error, http.client.IncompleteRead):
        return UpstreamFailed(f"{who} ended its answer too early.", "Try again.")
    if isinstance(error, http.client.HTTPException):
        return UpstreamFailed(f"{who} answered something that is not HTTP.")
    return UpstreamFailed(f"The connection to {who} broke.", "Try again.")
