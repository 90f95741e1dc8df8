"""Who is the client of a connection that comes through somebody else's proxy or load balancer?

Only proxies that the operator has listed are believed (THREATS B2); what others say in these headers means nothing.

- X-Forwarded-For: from the right, the first address that is no listed proxy's. Whatever stands further left is the
  client's own words. A listed proxy that writes something else than an address there is refused, not passed over:
  else the client would be taken for the proxy.
- X-Forwarded-Proto and X-Forwarded-Host, the last word of each: what addresses in documents begin with.
- The PROXY protocol, 1 and 2 (the text of its specification, sections 2.1 and 2.2), where it is configured: each
  connection from a listed proxy must begin with it, ahead of TLS too.

A head says it all: two connections of listed proxies that send the same X-Forwarded-For have the same client, so that
they may share what is remembered. Nothing is remembered for heads without one.
"""

import re
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import trio

from gateway.config import Proxies as Settings
from gateway.delivery.connections.addresses import address_of, network_of
from gateway.delivery.connections.listening import Listener
from gateway.delivery.messages.heads import HOST, Head, Refused, parse

FOR, PROTO, HOST_FIELD = "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"
HOPS_MAX = 32
WAITING_MAX = 1_024
V1_BYTES_MAX = 107
V2_MARK = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEAD_BYTES = 16
V2_BYTES_MAX = V2_HEAD_BYTES + 536
"""Addresses and what else is told (2.2.7): enough for all that is defined, in one segment."""

_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9]{1,3}(?:\.[0-9]{1,3}){3}):[0-9]{1,5}")
_V1 = re.compile(rb"PROXY (?:UNKNOWN[^\r\n]*|TCP[46] ([0-9A-Fa-f:.]+) [0-9A-Fa-f:.]+ [0-9]{1,5} [0-9]{1,5})\r\n")


class Proxies:
    """The listed ones. Raises ValueError for what is no network."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = tuple(network_of(one) for one in settings.trusted)
        self._protocol = settings.protocol
        self._listed = lru_cache(maxsize=4096)(self._look_up)

    def listed(self, peer: str) -> bool:
        """Is what comes from this address believed?"""
        return bool(self._trusted) and self._listed(peer)

    def introduces(self, peer: str) -> bool:
        """Do its connections begin with the PROXY protocol?"""
        return self._protocol and self.listed(peer)

    def _look_up(self, peer: str) -> bool:
        address = address_of(peer)
        return address is not None and any(address in one for one in self._trusted)

    def resolve(self, head: Head) -> None:
        """Put the client in the place of the listed proxy that sent `head`. Raises Refused."""
        said = head.headers.get(FOR, "")
        if said:
            head.peer = self._client(said)
        scheme = _last(head.headers.get(PROTO, "")).lower()
        if scheme in ("http", "https"):
            head.scheme = scheme
        host = _last(head.headers.get(HOST_FIELD, ""))
        if host:
            if HOST.fullmatch(host) is None:
                raise Refused(400, "The X-Forwarded-Host field is malformed.")
            head.host = host

    def _client(self, said: str) -> str:
        hops = said.split(",")
        for hop in reversed(hops[-HOPS_MAX:]):
            text = hop.strip()
            match = _WITH_PORT.fullmatch(text)
            address = address_of((match[1] or match[2]) if match else text)
            if address is None:
                raise Refused(400, "The X-Forwarded-For field of a proxy holds something else than addresses.")
            peer = str(address)
            if not self.listed(peer):
                return peer
        if len(hops) > HOPS_MAX:
            raise Refused(400, "The X-Forwarded-For field names too many proxies.")
        return peer


DIRECT = Proxies(Settings())
"""Nobody is between."""

Welcome = Callable[[socket.socket, str, Listener, bool], None]


class Reads(Protocol):
    """What of a Connection tells who sent a head."""

    peer: str
    key: bytes
    proxied: bool

    @property
    def scheme(self) -> str: ...


class Arrivals:
    """How a connection comes to the loop: as it is, or once a listed proxy has said whose it is. `welcome` takes the
    socket, the client's address, the listener, and whether each head tells its own client."""

    def __init__(self, proxies: Proxies, nursery: trio.Nursery, seconds_max: float, welcome: Welcome) -> None:
        self._proxies = proxies
        self._nursery = nursery
        self._seconds_max = seconds_max
        self._welcome = welcome
        self._waiting = 0
        self._last: tuple[bytes, Head] | None = None
        """The last head for which there was no answer at once: a crowd sends the same."""

    def come(self, sock: socket.socket, peer: str, listener: Listener) -> None:
        """Edges come by themselves: their certificates say who they are."""
        if listener.peers or not self._proxies.introduces(peer):
            self._welcome(sock, peer, listener, not listener.peers and self._proxies.listed(peer))
        elif self._waiting < WAITING_MAX:
            self._waiting += 1
            self._nursery.start_soon(self._introduce, sock, peer, listener)
        else:
            sock.close()

    def read(self, c: Reads, raw: bytes) -> Head:
        """The head that stands there, with its client. Raises Refused."""
        if self._last is not None and self._last[0] == raw and not c.proxied:
            head = self._last[1]
            if head.looked is not None and (head.peer, head.scheme, head.key) == (c.peer, c.scheme, c.key):
                return head
        head = parse(raw, peer=c.peer, scheme=c.scheme, key=c.key)
        if c.proxied:
            self._proxies.resolve(head)
        else:
            self._last = (raw, head)
        return head

    async def _introduce(self, sock: socket.socket, peer: str, listener: Listener) -> None:
        """Read who the client is, and no byte further, then let it in; who does not say is let go."""
        client: str | None = None
        try:
            with trio.move_on_after(self._seconds_max):
                client = await _introduced(sock)
        except OSError:
            pass
        finally:
            self._waiting -= 1
            if client is None:
                sock.close()
        if client is not None:
            self._welcome(sock, client or peer, listener, self._proxies.listed(client or peer))


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


async def _introduced(sock: socket.socket) -> str | None:
    """The client's address, "" where the proxy speaks for itself (a check of its health), None for anything else."""
    seen = 0
    while True:
        await trio.lowlevel.wait_readable(sock)
        data = sock.recv(V2_BYTES_MAX, socket.MSG_PEEK)
        if len(data) == seen:
            if not data:
                return None
            await trio.sleep(0.005)  # what was peeked at stays readable
        seen = len(data)
        told = introduction(data)
        if told is not None:
            size, client = told
            if size:
                sock.recv(size)
            return client


def introduction(data: bytes) -> tuple[int, str | None] | None:
    """(its length, the client's address) of the PROXY line or block at the front of `data`; None = more is needed. The
    address is "" where the proxy speaks for itself, None where this is no such thing."""
    if data.startswith(V2_MARK):
        return _second(data)
    if V2_MARK.startswith(data):
        return None
    if not data.startswith(b"PROXY "[: len(data)]):
        return 0, None
    end = data.find(b"\r\n")
    if end < 0:
        return None if len(data) < V1_BYTES_MAX else (0, None)
    match = _V1.fullmatch(data[: end + 2])
    if match is None or end + 2 > V1_BYTES_MAX:
        return 0, None
    return end + 2, _spelt((match[1] or b"").decode())


def _second(data: bytes) -> tuple[int, str | None] | None:
    if len(data) < V2_HEAD_BYTES:
        return None
    command, family = data[12], data[13]
    size = V2_HEAD_BYTES + int.from_bytes(data[14:16])
    if command not in (0x20, 0x21) or size > V2_BYTES_MAX:
        return 0, None
    if len(data) < size:
        return None
    if command == 0x20:
        return size, ""
    length = {0x11: 4, 0x21: 16}.get(family)
    if length is None:
        return (size, "") if family == 0 else (0, None)
    raw = data[V2_HEAD_BYTES : V2_HEAD_BYTES + length]
    if size < V2_HEAD_BYTES + 2 * length + 4:
        return 0, None
    form = socket.AF_INET if length == 4 else socket.AF_INET6
    return size, _spelt(socket.inet_ntop(form, raw))


def _spelt(text: str) -> str | None:
    """ "" stays so; of what is no address None."""
    if not text:
        return ""
    address = address_of(text)
    return None if address is None else str(address)
