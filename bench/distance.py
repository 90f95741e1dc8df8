"""How does a server on loopback come to be far away? A relay holds back every byte for a while, in both directions.

A new connection costs its client a round trip before the first byte goes out, as a handshake would. Without a rate it
is for small answers: what is measured through it is waiting, not speed. With one, all connections together get no more
from the server than the link between would carry.
"""

import queue
import socket
import sys
import threading
import time

PIECES_MAX = 1024
PIECE_BYTES = 64 << 10


class Link:
    """What leads from the server to its clients: one piece after the other, each as long as it takes."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_s = 0.0
        self._lock = threading.Lock()

    def passed_s(self, size: int) -> float:
        """When that many bytes that come now are through (monotonic)."""
        with self._lock:
            self._free_s = max(self._free_s, time.monotonic()) + size / self._rate
            return self._free_s


def carry(source: socket.socket, target: socket.socket, way_s: float, first_at_s: float, link: Link) -> None:
    """Everything from one side to the other, each piece `way_s` after it came through the link, none before
    `first_at_s`."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(PIECES_MAX)

    def deliver() -> None:
        try:
            while True:
                due_s, piece = pieces.get()
                time.sleep(max(0.0, due_s - time.monotonic()))
                if not piece:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(piece)
        except OSError:
            source.close()

    threading.Thread(target=deliver, daemon=True).start()
    piece = b"begun"
    while piece:
        try:
            piece = source.recv(PIECE_BYTES)
        except OSError:
            piece = b""
        pieces.put((max(link.passed_s(len(piece)) + way_s, first_at_s), piece))


def relay(port: int, way_s: float, bytes_per_second: float) -> None:
    """Until it is ended: every connection goes on to `port`."""
    down, up = Link(bytes_per_second), Link(float("inf"))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near, _ = listener.accept()
            first_at_s = time.monotonic() + 3 * way_s
            far = socket.create_connection(("127.0.0.1", port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target, link in ((near, far, up), (far, near, down)):
                threading.Thread(target=carry, args=(source, target, way_s, first_at_s, link), daemon=True).start()


if __name__ == "__main__":
    relay(int(sys.argv[1]), float(sys.argv[2]) / 1000, float(sys.argv[3]) * 1e6 if sys.argv[3:] else float("inf"))
