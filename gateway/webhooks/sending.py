"""How is one request made to a receiver that can be trusted with nothing? (THREATS D2, D14)

The name is resolved once, every address is judged as those of upstreams are (cache/asking/addresses.py), and the
connection goes to one that was judged. Redirects are not followed: they are answers like others. The whole exchange
has one deadline, and so much of an answer is read and no more. A connection may be used again for the same webhook
(lines.py), for nobody else.
"""

import ipaddress
import ssl
import time
from typing import NamedTuple

import h11
import trio

from cache.asking.addresses import Place, Resolve, checked, place, resolve_by_system
from cache.asking.connecting import trust
from gateway.webhooks.lines import BROKEN, Heard, Line, Lines, Owner, Stale
from storage.errors import Invalid, Problem, UpstreamFailed

SECONDS_MAX = 15.0
CONNECT_SECONDS_MAX = 5.0
ADDRESSES_MAX = 3
RETRY_AFTER_SECONDS_MAX = 24 * 3600
VALUE_CHARS_MAX = 4096
PORTS = (80, 443)
"""Ports below 1024 that are called: others are those of mail, names, shells."""

_SHOWN = ("content-type", "content-length", "date", "server", "retry-after", "location", "x-request-id")
"""What of an answer's head is kept."""


class Answer(NamedTuple):
    """What came back. `status` 0 = nothing did, and `problem` says why."""

    status: int
    problem: str
    took_ms: int
    head: tuple[tuple[str, str], ...] = ()
    read_bytes: int = 0
    wait_s: float = 0.0

    @property
    def delivered(self) -> bool:
        return 200 <= self.status < 300


def receiver(url: str, *, private_network: bool) -> Place:
    """Where requests go. Raises Invalid for an address that none can go to, never repeating it."""
    there = place(url)
    if there.scheme != "https" and not private_network:
        raise Invalid("A receiver is reached over https.", "Plain http is for those in the private network alone.")
    if there.port < 1024 and there.port not in PORTS:
        raise Invalid("This port is not one that webhooks are sent to.", "Use 443, or one from 1024 on.")
    return there


class Sender:
    """Makes requests; for one worker. `resolve` is the network's seam, replaced in tests."""

    def __init__(self, agent: str, *, resolve: Resolve = resolve_by_system, seconds_max: float = SECONDS_MAX) -> None:
        self._agent = agent
        self._resolve = resolve
        self._seconds_max = seconds_max
        self.lines = Lines()
        self._tls: ssl.SSLContext | None = None
        self._resolving: trio.CapacityLimiter | None = None

    async def post(
        self, url: str, headers: dict[str, str], body: bytes, *, private_network: bool, hook: str = ""
    ) -> Answer:
        """One POST, whatever comes of it: it raises nothing but Cancelled. `hook` is the webhook whose connection may
        be used again, "" = one for this alone."""
        began_s = time.monotonic()

        def took_ms() -> int:
            return int((time.monotonic() - began_s) * 1000)

        try:
            with trio.fail_after(self._seconds_max):
                there = receiver(url, private_network=private_network)
                heard = await self._post(there, headers, body, private_network, hook)
        except trio.TooSlowError:
            return Answer(0, "The receiver did not answer in time.", took_ms())
        except Problem as problem:
            return Answer(0, problem.message, took_ms())
        except (h11.ProtocolError, EOFError):
            return Answer(0, "The receiver's answer is no HTTP.", took_ms())
        except BROKEN as error:
            return Answer(0, _why(error), took_ms())
        return _answer(heard, took_ms())

    async def _post(
        self, there: Place, headers: dict[str, str], body: bytes, private_network: bool, hook: str
    ) -> Heard:
        owner = Owner(hook, there.scheme, there.host, there.port, private_network)
        fields = [("host", there.authority), ("user-agent", self._agent)]
        if not hook:
            fields.append(("connection", "close"))
        fields += [("accept-encoding", "identity"), ("content-length", str(len(body))), *headers.items()]
        line = self.lines.take(owner) if hook else None
        if line is not None:
            try:
                return await self._asked(line, owner, there, fields, body)
            except Stale:
                pass
        line = await self._connect(there, private_network)
        return await self._asked(line, owner, there, fields, body)

    async def _asked(self, line: Line, owner: Owner, there: Place, fields: list[tuple[str, str]], body: bytes) -> Heard:
        is_left = False
        try:
            heard = await line.ask(there.target, fields, body)
            is_left = bool(owner.hook) and line.leave()
            return heard
        finally:
            if is_left:
                self.lines.give(owner, line)
            else:
                line.close()

    async def _connect(self, there: Place, private_network: bool) -> Line:
        addresses = await self._addresses(there, private_network)
        failure: OSError | None = None
        for address in addresses[:ADDRESSES_MAX]:
            try:
                with trio.move_on_after(CONNECT_SECONDS_MAX) as scope:
                    channel = await _dialled(address, there.port)
                if scope.cancelled_caught:
                    continue
            except OSError as error:
                failure = error
                continue
            return Line(await self._secured(channel, there) if there.scheme == "https" else channel, channel)
        raise UpstreamFailed(f"{there.authority} cannot be connected to.") from failure

    async def _addresses(self, there: Place, private_network: bool) -> list[str]:
        if self._resolving is None:
            self._resolving = trio.CapacityLimiter(8)

        def look() -> list[str]:
            return checked(there, self._resolve, private_network=private_network)

        try:
            return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._resolving)
        except UpstreamFailed as problem:
            raise UpstreamFailed(problem.message.replace("its upstream is", "the webhook is")) from None

    async def _secured(self, stream: trio.SocketStream, there: Place) -> trio.abc.Stream:
        if self._tls is None:
            self._tls = await trio.to_thread.run_sync(trust)
        secure = trio.SSLStream(stream, self._tls, server_hostname=there.host, https_compatible=True)
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        return secure


async def _dialled(address: str, port: int) -> trio.SocketStream:
    """A connection to a numeric address; nothing is resolved here."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    family = trio.socket.AF_INET6 if plain.version == 6 else trio.socket.AF_INET
    channel = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        await channel.connect((address, port))
    except BaseException:
        channel.close()
        raise
    return trio.SocketStream(channel)


def _answer(heard: Heard, took_ms: int) -> Answer:
    fields = heard.fields
    head = tuple((name, printable(fields[name])) for name in _SHOWN if name in fields)
    return Answer(heard.status, "", took_ms, head, heard.read_bytes, _wait_s(fields.get("retry-after", "")))


def printable(text: str) -> str:
    """A stranger's words as they may stand in a log."""
    return "".join(char if char.isprintable() else "?" for char in text[:VALUE_CHARS_MAX])


def _wait_s(text: str) -> float:
    return (
        float(min(int(text), RETRY_AFTER_SECONDS_MAX)) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
    )


def _why(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) and error.__cause__ else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The receiver's certificate is not believed: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError):
        return "The receiver does not speak TLS as it should."
    return "The receiver broke the connection off."
