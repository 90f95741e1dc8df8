"""How is a connection left so that the last answer arrives? A reset sent too early would overtake it.

After the last answer comes our FIN; what the client still sends is thrown away unread until it ends too, falls silent
for LINGER_SECONDS, or LINGER_SECONDS_MAX are over.
"""

import socket
from collections.abc import Callable
from time import monotonic

from gateway.delivery.connections.connection import Connection, Phase
from gateway.delivery.connections.tls import Seal

LINGER_SECONDS = 2.0
LINGER_SECONDS_MAX = 10.0
LINGER_BYTES_MAX = 4 << 30
SWALLOWS_A_VISIT = 16
_RESET = b"\x01\0\0\0\0\0\0\0"


class Parting:
    """The last phase of connections. `close` ends one; `later` looks at it again in the next turn."""

    def __init__(self, seal: Seal, close: Callable[[Connection], None], later: Callable[[Connection], None]) -> None:
        self._seal = seal
        self._close = close
        self._later = later
        self._bin = bytearray(256 << 10)

    def begin(self, c: Connection) -> None:
        """The last answer has been taken by the kernel."""
        if c.fd < 0:
            return
        try:
            self._say_goodbye(c)
            c.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(c)
            return
        now = monotonic()
        c.phase, c.mark, c.buf, c.pend = Phase.LINGER, int(now + LINGER_SECONDS_MAX) + 1, b"", b""
        c.deadline = now + LINGER_SECONDS
        self.swallow(c)

    def swallow(self, c: Connection) -> None:
        """Throw away what is there, without copying it."""
        try:
            for _ in range(SWALLOWS_A_VISIT):
                n = c.sock.recv_into(self._bin, 0, socket.MSG_TRUNC)
                c.swallowed += n
                if not n or c.swallowed > LINGER_BYTES_MAX:
                    self._close(c)
                    return
                c.deadline = min(monotonic() + LINGER_SECONDS, c.mark)
            self._later(c)
        except BlockingIOError:
            return
        except OSError:
            self._close(c)

    def alert(self, c: Connection) -> None:
        """The peer broke TLS: it gets the alert if it takes it at once."""
        try:
            if c.pend:
                c.send(c.pend)
        except OSError:
            c.hard = True
        self._close(c)

    def _say_goodbye(self, c: Connection) -> None:
        if c.tls is None or c.shaking:
            return
        self._seal.goodbye(c)
        try:
            c.send(c.pend)
        except BlockingIOError:
            return


def hang_up(c: Connection) -> None:
    """Close the socket, with a reset where the peer must not take what it got for the whole."""
    if c.hard:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    c.sock.close()
    c.fd = -1
    c.gone = True
    c.sending = False
    c.forget_extents()
    c.wake()
