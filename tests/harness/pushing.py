"""How does a test push from a terminal of its own, and through a door that breaks connections?"""

import socket
import subprocess
import threading
from pathlib import Path

from tests.harness.running import ENTREPOT, Up, clean_environment


class Shaky:
    """A door to a node that breaks connections: `left` is how many it still breaks, each behind `bytes_max` bytes."""

    def __init__(self, url: str, breaks: int, bytes_max: int, hold_s: float = 0.0) -> None:
        """What a client sends is held for a moment each time, so that what may be under way together is."""
        self._hold_s = hold_s
        host, _, port = url.removeprefix("http://").partition(":")
        self._to = (host, int(port))
        self.left, self._bytes_max = breaks, bytes_max
        self.passed = 0
        self.now = self.most = 0
        self.stops_at = 1 << 60
        """When so many bytes have come, no more go on."""
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            node = socket.create_connection(self._to)
            self._open += [client, node]
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            threading.Thread(target=self._carry, args=(client, node, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(node, client, False), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, up: bool) -> None:
        count = 0
        try:
            while self.passed < self.stops_at and (data := one.recv(65536)):
                count += len(data)
                if up:
                    threading.Event().wait(self._hold_s)
                    with self._lock:
                        self.passed += len(data)
                        if self.left and count > self._bytes_max:
                            self.left -= 1
                            break
                other.sendall(data)
        except OSError:
            pass
        if up:
            with self._lock:
                self.now -= 1
        while self.passed >= self.stops_at:
            threading.Event().wait(0.02)
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        self.stops_at = 1 << 60
        self._listener.close()
        for one in self._open:
            one.close()


def push(node: Up, url: str, home: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = clean_environment() | {"ENTREPOT_URL": url, "ENTREPOT_TOKEN": node.token, "XDG_CACHE_HOME": str(home)}
    command = [*ENTREPOT, "push", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it said; one that does not end is ended, and said what it said until then."""
    try:
        return process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(process.communicate()) from None
