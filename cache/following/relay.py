"""How does an edge hand a request to its origin and the answer back, without keeping either?

The client's own credential goes with it: the origin decides as if it had been asked directly. Nothing is sent twice,
except where the connection failed before a byte of the request had left: a write that may have arrived is the client's
to repeat. An answer that comes before the body was sent is passed on as it is.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol

import httpx2
import trio

from cache.asking.connecting import trust
from cache.asking.parents import Parents
from storage.errors import Unavailable, UpstreamFailed
from storage.index.catalog import Catalog
from storage.spans import Kind, carried, step

PIECE_BYTES = 256 << 10
LOOK_SECONDS = 0.002
CONNECT_SECONDS = 5.0
ANSWER_SECONDS_MAX = 300.0
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
     "transfer-encoding", "upgrade", "expect", "host", "content-length", "date")
)  # fmt: skip
RELAYED = "x-entrepot-relayed"
"""Says that the client's own credential is the only one that counts, not the certificate of the edge between."""
SEEN = "x-entrepot-seen"
"""The Serial that an edge knows of the Workspace it asks about. Who is behind it waits, or says that it is."""
CLIENT = "x-entrepot-client"
"""The address of the client that an edge asks for; believed from edges alone."""
EDGE = "x-entrepot-edge"
"""The token of an edge that has no certificate: it shows who says CLIENT."""
SCHEME = "x-entrepot-client-scheme"
"""How that client speaks to the edge: http or https; believed with CLIENT."""
WITHIN = "x-entrepot-client-within"
"""The workspaces, with commas, in which that address is to be believed; without it in all that the edge may see. A
shield says it of a client of an edge behind it: it believes that one no farther."""
OUR_OWN = "x-entrepot-"
"""Headers that a node sets itself: a client's are not believed, so they are not passed on."""


class Readable(Protocol):
    """A request body as it arrives."""

    async def read(self, mv: memoryview) -> int: ...


class SmallBody:
    """One that is here: Readable."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    async def read(self, mv: memoryview) -> int:
        piece, self._left = self._left[: len(mv)], self._left[len(mv) :]
        mv[: len(piece)] = piece
        return len(piece)


class Relayed:
    """The origin's answer; `async with` it. `length` None = it does not tell."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = passed_on(response.headers.multi_items())
        length = response.headers.get("content-length")
        self.length = int(length) if length is not None and length.isdigit() else None

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it was sent. Raises UpstreamFailed where it breaks off."""
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx2.HTTPError as error:
            raise UpstreamFailed("The origin's answer broke off.", "Try again.") from error

    async def __aenter__(self) -> "Relayed":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._response.aclose()


class Relay:
    """The way to the origin, through whichever parent is there. Idle connections are let go long before the parent
    would close them, so that a write does not go out on one that is just ending."""

    def __init__(
        self,
        parents: Parents,
        *,
        tls: ssl.SSLContext | None = None,
        tls_name: str = "",
        token: str = "",
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self._parents = parents
        self._token = token
        self._extensions = {"sni_hostname": tls_name} if tls_name else {}
        secure = any(url.startswith("https:") for url in parents.urls)
        self._client = httpx2.AsyncClient(
            trust_env=False,
            verify=(tls or trust()) if secure else False,
            follow_redirects=False,
            cookies=_kept_by_nobody(),
            timeout=httpx2.Timeout(answer_seconds_max, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=5.0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def forward(
        self,
        method: str,
        target: bytes,
        headers: Mapping[str, str],
        host: str,
        length: int,
        body: Readable,
        client: str = "",
        scheme: str = "",
        within: str | None = None,
    ) -> Relayed:
        """Send a request on, for a client at the address `client`, "" = for this node itself; `length` -1 = chunked.
        That is to be believed `within` these workspaces (see WITHIN), None = in all that this node may see. Raises
        Unavailable where the origin does not answer."""
        passed = dict(passed_on(headers.items()))
        if host:  # HTTP/1.0 may go without
            passed["host"] = host
        if length >= 0:
            passed["content-length"] = str(length)
        passed[RELAYED] = "1"
        if said := passed.pop("traceparent", ""):
            passed["traceparent"] = said[:-2] + "00"  # the origin does as this node means, not as a client does
            passed.pop("tracestate", None)
        if client:
            passed[CLIENT] = client
            passed[SCHEME] = scheme
            if within is not None:
                passed[WITHIN] = within
            if self._token:
                passed[EDGE] = self._token
        sent = _Sent(body)
        order = self._parents.order()
        for parent in (*order, order[0]):
            content = sent.pieces() if length else None
            try:
                with step("relay", Kind.CLIENT) as span:
                    request = self._client.build_request(
                        method,
                        f"{parent}{target.decode('ascii')}",
                        headers=passed | carried(),
                        content=content,
                        extensions=self._extensions,
                    )
                    answer = await self._client.send(request, stream=True)
                    if span is not None:
                        span.attributes["server.address"] = request.url.netloc.decode("ascii")
                        span.attributes["http.response.status_code"] = answer.status_code
                return Relayed(answer)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                self._parents.failed(parent)
                if sent.begun:
                    raise _unreached() from error
            except httpx2.HTTPError as error:
                self._parents.failed(parent)
                raise _unreached() from error
        raise _unreached()


def passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What of these (name, value) pairs concerns more than the one connection: neither the hop-by-hop headers nor those
    that Connection names, nor what only a node may say."""
    pairs = list(headers)
    named = {part.strip().lower() for name, value in pairs if name.lower() == "connection" for part in value.split(",")}
    return [
        (name, value)
        for name, value in pairs
        if name.lower() not in HOP_BY_HOP and name.lower() not in named and not name.lower().startswith(OUR_OWN)
    ]


def _kept_by_nobody() -> CookieJar:
    """One client's cookie is never sent with the request of another: cookies are their browsers' alone (C13)."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _Sent:
    """A body on its way, and whether any of it was taken off the client yet."""

    def __init__(self, body: Readable) -> None:
        self._body = body
        self.begun = False

    async def pieces(self) -> AsyncIterator[bytes]:
        self.begun = True
        buffer = memoryview(bytearray(PIECE_BYTES))
        while count := await self._body.read(buffer):
            yield bytes(buffer[:count])


def _unreached() -> Unavailable:
    return Unavailable(
        "The origin cannot be reached, and only it can do this.", "Try again in a moment.", retry_after_s=2
    )


def seen_at(workspace: str, serial: int) -> str:
    """The value of SEEN."""
    return f"{workspace}={serial}"


def parse_seen(text: str) -> tuple[str, int] | None:
    """(workspace, Serial) of a value of SEEN, or of `entrepot-serial`; None for nothing that could be one."""
    workspace, _, number = text.rpartition("=")
    return (workspace, int(number)) if number.isascii() and number.isdigit() and len(number) < 20 else None


async def await_serial(
    catalog: Catalog, workspace: str, serial: int, seconds: float, synced: Callable[[], bool] = lambda: True
) -> bool:
    """Has the own index passed this Serial, now or within `seconds`? Not while it is `synced` with nothing: then its
    Serials may be those of another history."""
    moment, passed = -1, False
    with trio.move_on_after(seconds):
        while True:
            now_moment = catalog.moment()
            if now_moment != moment:
                moment = now_moment
                with catalog.read() as reading:
                    passed = reading.serial(workspace) >= serial
            if passed and synced():
                return True
            await trio.sleep(LOOK_SECONDS)
    return False
