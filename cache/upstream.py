"""How are a parent and foreign registries asked, when neither their honesty nor their health can be trusted?

Blocking, one request per thread: the bodies are large, and recv_into, sha256 and write all work beside the
interpreter. Every wait ends: connecting and silence have their own limits, and silence counts as failure like any
error. Redirects are followed by hand, so that each hop's address is judged again and credentials stay with the origin
that they were given for. Framing is strict: a body that ends early is a failure, never a short file.

This is the only file that meets http.client, ssl and socket errors of a pull; from here on they are Problems.
"""

import contextlib
import http.client
import io
import socket
import ssl
import struct
import time
import urllib.parse
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from cache.addresses import Place, Resolve, checked, next_place, place, resolve_by_system
from cache.asked import told
from cache.challenges import PASS_BYTES_MAX, Challenge, Passes, challenge_of, may_show, pass_of
from cache.connecting import Connection, Dial, Pool, dial_by_system, gathered, readable, trust
from storage.errors import Absent, Problem, Unavailable, UpstreamFailed
from storage.spans import stepped

REDIRECTS_MAX = 5
PIECE_BYTES = 1 << 20
STEP_US = 10_000
"""A receive that waits for a full buffer ends after so long with what has come."""
_REDIRECTS = (301, 302, 303, 307, 308)
_KEPT_ACROSS_ORIGINS = frozenset(
    ("accept", "accept-encoding", "range", "user-agent", "if-none-match", "if-modified-since", "if-range")
)


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


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole answer. `url` is where it finally came from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Remote:
    """A client for parents and foreign registries. Thread-safe; every call blocks and ends within its limits.

    `resolve` and `dial` are the network's two seams, replaced in tests.
    """

    ours = False

    def __init__(
        self,
        *,
        connect_seconds_max: float = 5.0,
        silence_seconds_max: float = 20.0,
        document_seconds_max: float = 60.0,
        agent: str = "entrepot",
        tls: ssl.SSLContext | None = None,
        tls_name: str = "",
        resolve: Resolve = resolve_by_system,
        dial: Dial = dial_by_system,
    ) -> None:
        self._connect_s = connect_seconds_max
        self._silence_s = silence_seconds_max
        self._document_s = document_seconds_max
        self._agent = agent
        self._tls = tls
        self._tls_name = tls_name
        self._resolve = resolve
        self._dial = dial
        self._pool = Pool()
        self._passes = Passes()

    def __repr__(self) -> str:
        return f"<Remote connect {self._connect_s}s silence {self._silence_s}s>"

    def close(self) -> None:
        self._pool.close()

    def fetch_document(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        bytes_max: int = 64 << 20,
        private_network: bool = False,
    ) -> Fetched:
        """The whole answer to a GET, whatever its status; gzip is undone within `bytes_max`.

        Raises UpstreamFailed where there is no whole answer or it is larger.
        """
        asked = {"accept-encoding": "gzip", **_lower(headers)}
        body = self._ask(url, asked, private_network)
        try:
            raw = _whole(body, bytes_max, self._document_s)
            encoding = body.headers.get("content-encoding", "identity").strip().lower()
            if encoding in ("gzip", "x-gzip") and raw:
                raw = _gunzip(raw, bytes_max, body.place.authority)
            elif encoding not in ("", "identity", "gzip", "x-gzip"):
                raise UpstreamFailed(f"{body.place.authority} answers in an encoding that was not asked for.")
            return Fetched(body.status, body.headers, raw, body.place.url)
        finally:
            body.close()

    def send_form(
        self,
        url: str,
        fields: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        *,
        bytes_max: int,
        private_network: bool = False,
    ) -> Fetched:
        """The whole answer to a POST of these fields, whatever its status. No redirect is followed, no 401 answered.

        Raises UpstreamFailed where there is no whole answer or it is larger.
        """
        content = urllib.parse.urlencode(fields).encode()
        asked = {
            "accept-encoding": "identity",
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(content)),
            **_lower(headers),
        }
        body = self._send(place(url), asked, private_network, "POST", content)
        try:
            return Fetched(body.status, body.headers, _whole(body, bytes_max, self._document_s), body.place.url)
        finally:
            body.close()

    def open_stream(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        offset: int = 0,
        length: int = -1,
        private_network: bool = False,
    ) -> "Body":
        """The body of a GET as a Source, from `offset` on where the other side honours ranges (see Source.offset), and
        only `length` bytes of it where that is given.

        Raises Absent for 404 and 410, Unavailable for 429 and 503, Unchanged for 304, UpstreamFailed for the rest that
        is no body.
        """
        asked = {**_lower(headers), "accept-encoding": "identity"}
        if length > 0:
            asked["range"] = f"bytes={offset}-{offset + length - 1}"
        elif offset:
            asked["range"] = f"bytes={offset}-"
        body = self._ask(url, asked, private_network)
        try:
            _judge(body, offset, ranged="range" in asked)
        except BaseException:
            body.close()
            raise
        return body

    def look(
        self, url: str, headers: Mapping[str, str] | None = None, *, private_network: bool = False
    ) -> Mapping[str, str]:
        """The headers of a HEAD, none where the other side does not answer it. Raises as `open_stream` does."""
        body = self._ask(url, {**_lower(headers), "accept-encoding": "identity"}, private_network, "HEAD")
        body.close()
        if body.status in (200, 304, 404, 410, 429, 503):
            _judge(body, 0)
        return body.headers if body.status == 200 else {}

    def _ask(self, url: str, headers: dict[str, str], private_network: bool, method: str = "GET") -> "Body":
        """Ask, with a pass where one is wanted: a known one at once, a fresh one after the 401 that says so."""
        first = place(url)
        credential = headers.get("authorization", "")
        known = self._passes.for_(first, credential)
        dressed = headers | {"authorization": f"Bearer {known}"} if known else headers
        body = self._follow(first, dressed, private_network, method)
        if body.status != 401 or body.place.origin != first.origin:
            return body
        challenge = challenge_of(first, body.headers)
        if challenge is None:
            return body
        body.close()
        self._passes.forget(first, credential)
        fresh, seconds = self._fetch_pass(first, challenge, credential, private_network)
        body = self._follow(first, headers | {"authorization": f"Bearer {fresh}"}, private_network, method)
        if body.status < 400:
            self._passes.keep(first, credential, fresh, seconds)
        return body

    @stepped("fetch pass")
    def _fetch_pass(
        self, first: Place, challenge: Challenge, credential: str, private_network: bool
    ) -> tuple[str, float]:
        asked = {"accept": "application/json", "accept-encoding": "identity"}
        if credential and may_show(first, challenge.realm):
            asked["authorization"] = credential
        body = self._send(place(challenge.url), asked, private_network)
        try:
            if body.status in (429, 503):
                _judge(body, 0)
            if body.status != 200:
                raise UpstreamFailed(
                    f"{body.place.authority} gives no pass ({body.status}).", "Check the upstream's credential."
                )
            return pass_of(_whole(body, PASS_BYTES_MAX, self._document_s), body.place.authority)
        finally:
            body.close()

    def _follow(self, here: Place, headers: dict[str, str], private_network: bool, method: str) -> "Body":
        for _ in range(REDIRECTS_MAX + 1):
            body = self._send(here, headers, private_network, method)
            if body.status not in _REDIRECTS:
                return body
            body.close()
            location = body.headers.get("location")
            if not location:
                raise UpstreamFailed(f"{here.authority} redirects to nowhere.")
            there = next_place(here, location)
            if there.origin != here.origin:
                headers = {name: value for name, value in headers.items() if name in _KEPT_ACROSS_ORIGINS}
            here = there
        raise UpstreamFailed(f"{here.authority} redirects more than {REDIRECTS_MAX} times.")

    @told
    def _send(
        self,
        where: Place,
        headers: Mapping[str, str],
        private_network: bool,
        method: str = "GET",
        content: bytes | None = None,
    ) -> "Body":
        key = (*where.origin, private_network)
        connection = self._pool.take(key)
        if connection is not None:
            try:
                return self._exchange(where, headers, connection, key, method, content)
            except _Unanswered:
                pass  # closed by the other side between two requests: nothing was answered, a fresh one may do it
        return self._exchange(where, headers, self._connect(where, private_network), key, method, content)

    def _exchange(
        self,
        where: Place,
        headers: Mapping[str, str],
        connection: Connection,
        key: tuple[object, ...],
        method: str,
        content: bytes | None = None,
    ) -> "Body":
        try:
            connection.putrequest(method, where.target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", where.authority)
            connection.putheader("User-Agent", self._agent)
            for name, value in headers.items():
                if name not in ("host", "user-agent"):
                    connection.putheader(name, value)
            connection.endheaders(content)
            response = connection.getresponse()
            try:
                return Body(where, connection, response, lambda: self._pool.give(key, connection), method)
            except BaseException:
                response.close()  # one that is the connection's last holds the socket by itself
                raise
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            connection.close()
            raise _Unanswered(f"{where.authority} closed the connection without an answer.") from error
        except BaseException as error:
            connection.close()
            if isinstance(error, Problem):
                raise
            if isinstance(error, (http.client.HTTPException, OSError, ValueError)):
                raise _mapped(error, where) from error
            raise

    @stepped("connect")
    def _connect(self, where: Place, private_network: bool) -> Connection:
        failure: OSError | None = None
        for address in checked(where, self._resolve, private_network=private_network)[:4]:
            try:
                channel = self._dial(address, where.port, self._connect_s)
            except OSError as error:
                failure = error
                continue
            try:
                if where.scheme == "https":
                    channel = self._secured(channel, where.host)
                channel.settimeout(self._silence_s)
                return Connection(where, channel)
            except OSError as error:
                channel.close()
                raise _mapped(error, where) from error
        raise UpstreamFailed(
            f"{where.authority} cannot be connected to.", "Check the upstream's address and the network."
        ) from failure

    @stepped("shake hands")
    def _secured(self, channel: socket.socket, host: str) -> socket.socket:
        if self._tls is None:
            self._tls = trust()
        channel.settimeout(self._silence_s)
        return self._tls.wrap_socket(channel, server_hostname=self._tls_name or host)


class _Unanswered(UpstreamFailed):
    """The connection ended before the first byte of an answer."""


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
    """A Source over one http.client response; reads straight from the socket where the length is known."""

    def __init__(
        self,
        where: Place,
        connection: Connection,
        response: http.client.HTTPResponse,
        give_back: Callable[[], None],
        method: str = "GET",
    ) -> None:
        self.place = where
        self.status = response.status
        self.headers: Mapping[str, str] = _headers_of(response, where)
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

    def readinto(self, buffer: memoryview) -> int:
        if self._ended or not len(buffer):
            return 0
        try:
            count = self._read_known(buffer) if self._left >= 0 else self._read_unknown(buffer)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self._connection.close()
            problem = _mapped(error, self.place)
            raise (BrokenOff(problem.message, problem.remedy) if self.broken() else problem) from error
        if self._left == 0 or not count:
            self._ended = True
        return count

    def _read_known(self, buffer: memoryview) -> int:
        want = buffer[: self._left]
        count = self._received(want) if self._direct else self._first(want)
        if not count:
            raise http.client.IncompleteRead(b"", self._left)
        self._left -= count
        return count

    def _first(self, want: memoryview) -> int:
        """What came together with the head, or one receive; it never waits for more."""
        asked = min(len(want), io.DEFAULT_BUFFER_SIZE)
        piece = self._response.fp.read1(asked)
        want[: len(piece)] = piece
        if asked == io.DEFAULT_BUFFER_SIZE or len(piece) < asked:
            self._go_direct()
        return len(piece)

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
        if self._ended:
            return True
        channel = self._connection.channel
        if isinstance(channel, ssl.SSLSocket) and channel.pending():
            return True
        return readable(channel, seconds if self._direct else 0)

    def _read_unknown(self, buffer: memoryview) -> int:
        if not self._response.chunked:
            raise http.client.HTTPException("an end that is no end")  # refused when the head came; never reached
        piece = self._response.read1(len(buffer))
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
        with contextlib.suppress(OSError):  # already closed
            self._connection.channel.shutdown(socket.SHUT_RDWR)


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _headers_of(response: http.client.HTTPResponse, where: Place) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        lower = name.lower()
        if lower in ("content-length", "transfer-encoding", "content-range") and lower in found:
            raise UpstreamFailed(f"{where.authority} frames its answer twice.")
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def _length_of(response: http.client.HTTPResponse, headers: Mapping[str, str], where: Place) -> int:
    """Strict framing: one Content-Length of digits, or chunked, and never both or neither."""
    if response.status in (204, 304):
        return 0
    told, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if told is not None or coding.strip().lower() != "chunked":
            raise UpstreamFailed(f"{where.authority} frames its answer in a way that cannot be trusted.")
        return -1
    if told is None and response.status in _REDIRECTS:
        return 0  # its body is never read, nor its connection used again
    if told is None or not (told.isascii() and told.isdigit()) or len(told) > 18:
        raise UpstreamFailed(f"{where.authority} does not tell how long its answer is.")
    return int(told)


def _judge(body: Body, offset: int, *, ranged: bool = False) -> None:
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


@stepped("receive body")
def _whole(body: Body, bytes_max: int, seconds_max: float) -> bytes:
    who = body.place.authority
    deadline_s = time.monotonic() + seconds_max
    if body.length > bytes_max:
        raise UpstreamFailed(f"{who} answers with more than {bytes_max} bytes.")
    pieces = bytearray()
    view = memoryview(bytearray(min(PIECE_BYTES, max(body.length, 1) if body.length >= 0 else PIECE_BYTES)))
    while count := body.readinto(view):
        pieces += view[:count]
        if len(pieces) > bytes_max:
            raise UpstreamFailed(f"{who} answers with more than {bytes_max} bytes.")
        if time.monotonic() > deadline_s:
            raise UpstreamFailed(f"{who} took longer than {seconds_max:.0f} s to answer.", "Try again later.")
    return bytes(pieces)


def _gunzip(raw: bytes, bytes_max: int, who: str) -> bytes:
    """One gzip member, whole, and no larger than `bytes_max` when undone."""
    undo = zlib.decompressobj(wbits=31)
    try:
        plain = undo.decompress(raw, bytes_max + 1)
    except zlib.error as error:
        raise UpstreamFailed(f"{who} sends damaged gzip.") from error
    if len(plain) > bytes_max:
        raise UpstreamFailed(f"{who} answers with more than {bytes_max} bytes.")
    if not undo.eof or undo.unused_data:
        raise UpstreamFailed(f"{who} sends damaged gzip.")
    return plain


def _mapped(error: Exception, where: Place) -> UpstreamFailed:
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
