"""Which sockets does a worker accept connections from, and do they speak TLS?"""

import socket
import ssl

BACKLOG = 4096


class Listener:
    """A listening socket; with `context` its connections speak TLS (see tls.Certificates)."""

    __slots__ = ("context", "sock")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.sock = sock
        self.context = context


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
