"""How is a connection to a judged address made, and which idle one may carry another request?"""

import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cache.asking.addresses import Place

Dial = Callable[[str, int, float], socket.socket]
"""(address, port, seconds) to a connected socket; raises OSError."""

RECORD_BYTES = 16 << 10
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


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


class Connection(http.client.HTTPConnection):
    """A connection to an address that was judged before; http.client resolves nothing."""

    def __init__(self, where: Place, channel: socket.socket) -> None:
        super().__init__(where.host, where.port)
        self.sock = channel
        self.channel = channel
        """The socket itself: http.client forgets it as soon as an answer says that it is the last."""
        self.auto_open = 0
        self.idle_since_s = 0.0

    def abort(self) -> None:
        """Wake whoever waits for it; from any thread."""
        with contextlib.suppress(OSError):  # already closed
            self.channel.shutdown(socket.SHUT_RDWR)

    def ready(self) -> bool:
        """May it carry another request? Bytes or an end that nobody asked for say no."""
        return self.sock is not None and not readable(self.sock, 0)


@dataclass(slots=True)
class Pool:
    """Idle connections by origin and trust; bounded in number and age."""

    each_max: int = 8
    total_max: int = 64
    age_s_max: float = 50.0
    _idle: dict[tuple[object, ...], list[Connection]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: tuple[object, ...], since_s: float = 0.0) -> Connection | None:
        """One that was idle for no longer than `age_s_max`, and was given back after `since_s`, monotonic."""
        dead: list[Connection] = []
        found = None
        with self._lock:
            idle = self._idle.get(key, [])
            while idle and found is None:
                one = idle.pop()
                fresh = one.idle_since_s >= since_s and time.monotonic() - one.idle_since_s < self.age_s_max
                if fresh and one.ready():
                    found = one
                else:
                    dead.append(one)
        for one in dead:
            one.close()
        return found

    def spare(self, key: tuple[object, ...], age_s: float) -> bool:
        """Is there an idle one that may carry another request, and has not been idle for so long? Those that may not
        any more are closed."""
        now_s, dead = time.monotonic(), []
        with self._lock:
            idle = self._idle.get(key, [])
            for one in [*idle]:
                if now_s - one.idle_since_s >= self.age_s_max or not one.ready():
                    idle.remove(one)
                    dead.append(one)
            found = any(now_s - one.idle_since_s < age_s for one in idle)
        for one in dead:
            one.close()
        return found

    def give(self, key: tuple[object, ...], connection: Connection) -> None:
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


def readable(channel: socket.socket, seconds: float) -> bool:
    """Are there bytes, or an end, within `seconds`?"""
    poller = select.poll()
    poller.register(channel, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poller.poll(seconds * 1000))


def gathered(channel: ssl.SSLSocket, want: memoryview) -> int:
    """As many TLS records as are there: OpenSSL gives out one at a time, and each piece has its price."""
    count = channel.recv_into(want)
    while 0 < count <= len(want) - RECORD_BYTES and (channel.pending() or readable(channel, 0)):
        more = channel.recv_into(want[count:])
        if not more:
            break
        count += more
    return count
