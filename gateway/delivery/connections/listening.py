"""Which sockets does a worker accept connections from, do they speak TLS, and what if it has no descriptor left?"""

import errno
import select
import socket
import ssl

BACKLOG = 4096
ACCEPTS_A_VISIT = 128
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """A listening socket; with `context` its connections speak TLS (see tls.Certificates). `peers`: its clients may
    be known by a certificate, so that equal heads do not mean equal answers."""

    __slots__ = ("context", "peers", "sock")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None, *, peers: bool = False) -> None:
        self.sock = sock
        self.context = context
        self.peers = peers

    @property
    def scheme(self) -> str:
        return "http" if self.context is None else "https"

    @property
    def memo(self) -> str:
        """Which answers may be remembered for its clients (see memo.Memos)."""
        return "peers" if self.peers else self.scheme


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose port other workers may share; port 0 takes a free one. OSError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # every accepted socket inherits it
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class Doors:
    """The listeners of one loop, edge-triggered. `waiting` are those that may have more connections to accept now,
    `starved` those that had one when no descriptor was left: they are looked at again when time has passed."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._listeners: dict[int, Listener] = {}
        self.waiting: set[int] = set()
        self.starved: set[int] = set()

    def __contains__(self, number: object) -> bool:
        return number in self._listeners

    def open(self, listener: Listener) -> None:
        """Accept from this one too."""
        listener.sock.setblocking(False)
        self._listeners[listener.sock.fileno()] = listener
        self._epoll.register(listener.sock.fileno(), select.EPOLLIN | select.EPOLLET)

    def accept(self, number: int) -> list[tuple[socket.socket, str, Listener]]:
        """(socket, address of the peer, listener) of those that wait at that door, as many as one visit takes."""
        listener = self._listeners[number]
        self.waiting.discard(number)
        accepted: list[tuple[socket.socket, str, Listener]] = []
        for _ in range(ACCEPTS_A_VISIT):
            try:
                sock, address = listener.sock.accept()
            except BlockingIOError:
                return accepted
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self.starved.add(number)
                    return accepted
                continue  # that client has left already
            sock.setblocking(False)
            peer = address[0].removeprefix("::ffff:") if isinstance(address, tuple) else ""
            accepted.append((sock, peer, listener))
        self.waiting.add(number)
        return accepted

    def feed(self) -> bool:
        """Descriptors may be free again; is there anybody to let in?"""
        self.waiting |= self.starved
        self.starved.clear()
        return bool(self.waiting)

    def close(self) -> None:
        """Accept nobody any more."""
        for listener in self._listeners.values():
            listener.sock.close()
        self._listeners.clear()
        self.waiting.clear()
        self.starved.clear()
