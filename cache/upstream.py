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
import os
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from cache.addresses import Place, Resolve, checked, next_place, place, resolve_by_system
from storage.errors import Absent, Problem, Unavailable, UpstreamFailed

Dial = Callable[[str, int, float], socket.socket]
"""(address, port, seconds) to a connected socket; raises OSError."""

REDIRECTS_MAX = 5
PIECE_BYTES = 1 << 20
STEP_US = 10_000
"""A receive that waits for a full buffer ends after so long with what has come."""
_RECORD_BYTES = 16 << 10
_REDIRECTS = (301, 302, 303, 307, 308)
_KEPT_ACROSS_ORIGINS = frozenset(
    ("accept", "accept-encoding", "range", "user-agent", "if-none-match", "if-modified-since", "if-range")
)
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


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


def dial_by_system(address: str, port: int, seconds: float) -> socket.socket:
    """Connect to a numeric address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def trust() -> ssl.SSLContext:
    """Who is believed to be who they say: SSL_CERT_FILE and SSL_CERT_DIR where set, else the system's store."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not context.cert_store_stats()["x509_ca"]:
        for bundle in _BUNDLES:
            if Path(bundle).is_file():
                context.load_verify_locations(cafile=bundle)
                break
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was judged before; http.client resolves nothing."""

    def __init__(self, where: Place, channel: socket.socket) -> None:
        super().__init__(where.host, where.port)
        self.sock = channel
        self.channel = channel
        """The socket itself: http.client forgets it as soon as an answer says that it is the last."""
        self.auto_open = 0
        self.idle_since_s = 0.0

    def ready(self) -> bool:
        """May it carry another request? Bytes or an end that nobody asked for say no."""
        return self.sock is not None and not _readable(self.sock, 0)


@dataclass(slots=True)
class _Pool:
    """Idle connections by origin and trust; bounded in number and age."""

    each_max: int = 8
    total_max: int = 64
    age_s_max: float = 50.0
    _idle: dict[tuple[object, ...], list[_Connection]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: tuple[object, ...]) -> _Connection | None:
        dead: list[_Connection] = []
        found = None
        with self._lock:
            idle = self._idle.get(key, [])
            while idle and found is None:
                one = idle.pop()
                if time.monotonic() - one.idle_since_s < self.age_s_max and one.ready():
                    found = one
                else:
                    dead.append(one)
        for one in dead:
            one.close()
        return found

    def give(self, key: tuple[object, ...], connection: _Connection) -> None:
        connection.idle_since_s = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if len(idle) < self.each_max and sum(map(len, self._idle.values())) < self.total_max:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            every = [one for idle in self._idle.values() for one in idle]
            self._idle.clear()
        for one in every:
            one.close()


class Remote:
    """A client for parents and foreign registries. Thread-safe; every call blocks and ends within its limits.

    `resolve` and `dial` are the network's two seams, replaced in tests.
    """

    def __init__(
        self,
        *,
        connect_seconds_max: float = 5.0,
        silence_seconds_max: float = 20.0,
        document_seconds_max: float = 60.0,
        agent: str = "entrepot",
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve_by_system,
        dial: Dial = dial_by_system,
    ) -> None:
        self._connect_s = connect_seconds_max
        self._silence_s = silence_seconds_max
        self._document_s = document_seconds_max
        self._agent = agent
        self._tls = tls
        self._resolve = resolve
        self._dial = dial
        self._pool = _Pool()

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

    def open_stream(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        offset: int = 0,
        private_network: bool = False,
    ) -> "Body":
        """The body of a GET as a Source, from `offset` on where the other side honours ranges (see Source.offset).

        Raises Absent for 404 and 410, Unavailable for 429 and 503, Unchanged for 304, UpstreamFailed for the rest that
        is no body.
        """
        asked = {**_lower(headers), "accept-encoding": "identity"}
        if offset:
            asked["range"] = f"bytes={offset}-"
        body = self._ask(url, asked, private_network)
        try:
            _judge(body, offset)
        except BaseException:
            body.close()
            raise
        return body

    def _ask(self, url: str, headers: dict[str, str], private_network: bool) -> "Body":
        here = place(url)
        for _ in range(REDIRECTS_MAX + 1):
            body = self._send(here, headers, private_network)
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

    def _send(self, where: Place, headers: Mapping[str, str], private_network: bool) -> "Body":
        key = (*where.origin, private_network)
        connection = self._pool.take(key)
        if connection is not None:
            try:
                return self._exchange(where, headers, connection, key)
            except _Unanswered:
                pass  # closed by the other side between two requests: nothing was answered, a fresh one may do it
        return self._exchange(where, headers, self._connect(where, private_network), key)

    def _exchange(
        self, where: Place, headers: Mapping[str, str], connection: _Connection, key: tuple[object, ...]
    ) -> "Body":
        try:
            connection.putrequest("GET", where.target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", where.authority)
            connection.putheader("User-Agent", self._agent)
            for name, value in headers.items():
                if name not in ("host", "user-agent"):
                    connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            try:
                return Body(where, connection, response, lambda: self._pool.give(key, connection))
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

    def _connect(self, where: Place, private_network: bool) -> _Connection:
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
                return _Connection(where, channel)
            except OSError as error:
                channel.close()
                raise _mapped(error, where) from error
        raise UpstreamFailed(
            f"{where.authority} cannot be connected to.", "Check the upstream's address and the network."
        ) from failure

    def _secured(self, channel: socket.socket, host: str) -> socket.socket:
        if self._tls is None:
            self._tls = trust()
        channel.settimeout(self._silence_s)
        return self._tls.wrap_socket(channel, server_hostname=host)


class _Unanswered(UpstreamFailed):
    """The connection ended before the first byte of an answer."""


class Unchanged(UpstreamFailed):
    """The answer to a condition: what is held is still right. To who asked without one it is a failure."""

    headers: Mapping[str, str] = MappingProxyType({})


class Body:
    """A Source over one http.client response; reads straight from the socket where the length is known."""

    def __init__(
        self,
        where: Place,
        connection: _Connection,
        response: http.client.HTTPResponse,
        give_back: Callable[[], None],
    ) -> None:
        self.place = where
        self.status = response.status
        self.headers: Mapping[str, str] = _headers_of(response, where)
        self.offset = 0
        self.length = _length_of(response, self.headers, where)
        self._left = self.length
        self._connection = connection
        self._response = response
        self._give_back = give_back
        self._ended = self.length == 0
        self._silence_s = connection.channel.gettimeout() or 0.0
        self._direct = False
        """Nothing of the body is left in http.client's buffer: the rest is received from the socket itself."""

    def readinto(self, buffer: memoryview) -> int:
        if self._ended or not len(buffer):
            return 0
        try:
            count = self._read_known(buffer) if self._left >= 0 else self._read_unknown(buffer)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self._connection.close()
            raise _mapped(error, self.place) from error
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
            return _gathered(channel, want)
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
        return _readable(channel, seconds if self._direct else 0)

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


def _readable(channel: socket.socket, seconds: float) -> bool:
    poller = select.poll()
    poller.register(channel, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poller.poll(seconds * 1000))


def _gathered(channel: ssl.SSLSocket, want: memoryview) -> int:
    """As many TLS records as are there: OpenSSL gives out one at a time, and each piece has its price."""
    count = channel.recv_into(want)
    while 0 < count <= len(want) - _RECORD_BYTES and (channel.pending() or _readable(channel, 0)):
        more = channel.recv_into(want[count:])
        if not more:
            break
        count += more
    return count


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


def _judge(body: Body, offset: int) -> None:
    """Is it a body that a file can be made of? Sets `offset` of a ranged one."""
    who = body.place.authority
    if body.status == 304:
        unchanged = Unchanged(f"{who} says that nothing has changed.")
        unchanged.headers = body.headers
        raise unchanged
    if body.status in (404, 410):
        raise Absent(f"{who} does not have it.")
    if body.status in (429, 503):
        raise Unavailable(f"{who} is overloaded.", "Try again later.", retry_after_s=retry_after(body.headers))
    if body.status not in (200, 206):
        raise UpstreamFailed(f"{who} answered {body.status}.")
    if body.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UpstreamFailed(f"{who} sends a file in an encoding that was not asked for.")
    if body.status == 206:
        told = body.headers.get("content-range", "")
        unit, _, rest = told.partition(" ")
        first, _, last = rest.partition("/")[0].partition("-")
        if unit != "bytes" or first != str(offset) or not last.isdigit() or offset == 0:
            raise UpstreamFailed(f"{who} sends another range than the one asked for.")
        if body.length >= 0 and int(last) - offset + 1 != body.length:
            raise UpstreamFailed(f"{who} sends a range of another length than it tells.")
        body.offset = offset


def retry_after(headers: Mapping[str, str], at_most_s: int = 3600) -> int:
    """Seconds until one may come back: what Retry-After tells in digits, else 5."""
    told = headers.get("retry-after", "").strip()
    return min(int(told), at_most_s) if told.isascii() and told.isdigit() and len(told) < 10 else 5


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
