"""How does one see, at many nodes at once, when an answer changes? By asking for everything again and again.

One connection a node; each round sends the requests for all that is still awaited there in one piece, and notes for
each when the first answer of another kind came. What is measured is so never early, and late by one round at most.
"""

import re
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
ROUND_SECONDS_MAX = 20.0


class Broken(Exception):
    """A node ended the connection."""


@dataclass(slots=True)
class Line:
    """One kept connection. `awaited` are what was asked and not answered yet, in order."""

    sock: socket.socket
    buffer: bytes = b""
    awaited: list[object] = field(default_factory=list)

    def ask(self, asked: Sequence[tuple[object, bytes]]) -> None:
        """Send requests in one piece; (what to know each by, its bytes). HEAD is not understood here."""
        self.awaited += [key for key, _ in asked]
        self.sock.setblocking(True)
        self.sock.sendall(b"".join(data for _, data in asked))
        self.sock.setblocking(False)

    def answers(self) -> list[tuple[object, int]]:
        """(key, status) of all answers that are whole."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return []
        if not data:
            raise Broken
        self.buffer += data
        found, at = [], 0
        while (end := self.buffer.find(b"\r\n\r\n", at)) >= 0:
            match = _LENGTH.search(self.buffer, at, end + 2)
            size = int(match[1]) if match else 0
            if len(self.buffer) < end + 4 + size:
                break
            found.append((self.awaited.pop(0), int(self.buffer[at + 9 : at + 12])))
            at = end + 4 + size
        self.buffer = self.buffer[at:]
        return found


@dataclass(slots=True)
class Watch:
    """One thing that is to change at all nodes. `request` asks for it; `done_s`: when its operation was answered;
    `seen_s`: by node, when the change was first seen."""

    request: bytes
    done_s: float = 0.0
    seen_s: dict[int, float] = field(default_factory=dict)


def watch(
    nodes: Sequence[Line],
    doers: Sequence[Line],
    watches: Sequence[Watch],
    orders: Sequence[bytes],
    changed: Callable[[int], bool],
) -> None:
    """Send each order on a doer of its own, and ask every node for what each watch is about until all have changed.

    Raises Broken, TimeoutError, and AssertionError for an order that was refused.
    """
    with selectors.DefaultSelector() as selector:
        for number, node in enumerate(nodes):
            selector.register(node.sock, selectors.EVENT_READ, number)
        for number, doer in enumerate(doers):
            selector.register(doer.sock, selectors.EVENT_READ, -1 - number)
        open_at = [set(range(len(watches))) for _ in nodes]
        for number, order in enumerate(orders):
            doers[number].ask([(number, order)])
        end_s = time.monotonic() + ROUND_SECONDS_MAX
        while any(open_at) or any(not one.done_s for one in watches):
            if time.monotonic() > end_s:
                raise TimeoutError("not everywhere in time")
            for number, node in enumerate(nodes):
                if not node.awaited and open_at[number]:
                    node.ask([(key, watches[key].request) for key in sorted(open_at[number])])
            for event, _ in selector.select(1.0):
                now_s = time.monotonic()
                line = nodes[event.data] if event.data >= 0 else doers[-1 - event.data]
                for key, status in line.answers():
                    assert isinstance(key, int)
                    if event.data < 0:
                        assert 200 <= status < 300, f"an order was answered {status}"
                        watches[key].done_s = now_s
                    elif changed(status):
                        watches[key].seen_s.setdefault(event.data, now_s)
                        open_at[event.data].discard(key)
