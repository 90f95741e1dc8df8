"""How does a server on loopback come to be far away? A relay holds back every byte for a while, in both directions.

A new connection costs its client a round trip before the first byte goes out, as a handshake would. It is for small
answers: what is measured through it is waiting, not speed.
"""

import queue
import socket
import sys
import threading
import time

PIECES_MAX = 1024
PIECE_BYTES = 256 << 10


def carry(source: socket.socket, target: socket.socket, way_s: float, first_at_s: float) -> None:
    """Everything from one side to the other, each piece `way_s` after it came, none before `first_at_s`."""
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
        pieces.put((max(time.monotonic() + way_s, first_at_s), piece))


def relay(port: int, way_s: float) -> None:
    """Until it is ended: every connection goes on to `port`."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near, _ = listener.accept()
            first_at_s = time.monotonic() + 3 * way_s
            far = socket.create_connection(("127.0.0.1", port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=carry, args=(source, target, way_s, first_at_s), daemon=True).start()


if __name__ == "__main__":
    relay(int(sys.argv[1]), float(sys.argv[2]) / 1000)
