"""How are a parent and foreign registries asked, when neither their honesty nor their health can be trusted?

Blocking, one request per thread: the bodies are large, and recv_into, sha256 and write all work beside the
interpreter. Every wait ends: connecting and silence have their own limits, and silence counts as failure like any
error. Redirects are followed by hand, so that each hop's address is judged again and credentials stay with the origin
that they were given for. What the network says of a pull is said as Problems from here on (see also cache.bodies).
"""

import http.client
import socket
import ssl
import time
import urllib.parse
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from cache.asking.addresses import Place, Resolve, checked, next_place, place, resolve_by_system
from cache.asking.asked import told
from cache.asking.bodies import REDIRECTS, Body, judge, mapped
from cache.asking.challenges import PASS_BYTES_MAX, Challenge, Passes, challenge_of, may_show, pass_of
from cache.asking.connecting import Connection, Dial, Pool, dial_by_system, trust
from storage.errors import Problem, UpstreamFailed
from storage.spans import stepped

REDIRECTS_MAX = 5
PIECE_BYTES = 1 << 20
_KEPT_ACROSS_ORIGINS = frozenset(
    ("accept", "accept-encoding", "range", "user-agent", "if-none-match", "if-modified-since", "if-range")
)


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
    ) -> Body:
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
            judge(body, offset, ranged="range" in asked)
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
            judge(body, 0)
        return body.headers if body.status == 200 else {}

    def _ask(self, url: str, headers: dict[str, str], private_network: bool, method: str = "GET") -> Body:
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
                judge(body, 0)
            if body.status != 200:
                raise UpstreamFailed(
                    f"{body.place.authority} gives no pass ({body.status}).", "Check the upstream's credential."
                )
            return pass_of(_whole(body, PASS_BYTES_MAX, self._document_s), body.place.authority)
        finally:
            body.close()

    def _follow(self, here: Place, headers: dict[str, str], private_network: bool, method: str) -> Body:
        for _ in range(REDIRECTS_MAX + 1):
            body = self._send(here, headers, private_network, method)
            if body.status not in REDIRECTS:
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
    ) -> Body:
        key = (*where.origin, private_network)
        connection = self._pool.take(key, self._kept_since_s())
        if connection is not None:
            try:
                return self._exchange(where, headers, connection, key, method, content)
            except _Unanswered:
                pass  # closed by the other side between two requests: nothing was answered, a fresh one may do it
        return self._exchange(where, headers, self._connect(where, private_network), key, method, content)

    def _kept_since_s(self) -> float:
        """Idle connections from before then, monotonic, are believed in no more."""
        return 0.0

    def _exchange(
        self,
        where: Place,
        headers: Mapping[str, str],
        connection: Connection,
        key: tuple[object, ...],
        method: str,
        content: bytes | None = None,
    ) -> Body:
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
                raise mapped(error, where) from error
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
                raise mapped(error, where) from error
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


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


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
