"""How does a wire come to be long, and to lose what it carries? A process between two devices holds back each packet.

A TUN device at each end of each wire, each in a namespace of its own, and this process between them, since not every
kernel can delay packets itself. The devices hand over what TCP has not cut yet (up to 64 KB, as a network card is
given it), so that one interpreter carries hundreds of MB a second; such a piece is lost as a whole or not at all.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

PIECE_BYTES_MAX = (1 << 16) + 10
WAITING_BYTES_MAX = 256 << 20
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUN_WITH_OFFLOAD_HEADER = 0x1001 | 0x4000
_CHECKSUM_AND_TCP = 1 | 2 | 4


class End(NamedTuple):
    """One end of a wire: a device of this name in that namespace ("" = the one that this process is in)."""

    device: str
    namespace: str


class Wire(NamedTuple):
    """Two ends, the milliseconds from one to the other, and the share of the pieces that is lost."""

    near: End
    far: End
    way_ms: float
    loss: float = 0.0


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread is in that namespace within the block; "" = it stays where it is."""
    if not name:
        yield
        return
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        os.setns(there, os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(here, os.CLONE_NEWNET)
    finally:
        os.close(here)
        os.close(there)


def opened(end: End) -> int:
    """The descriptor of a new device."""
    with entered(end.namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", end.device.encode(), _TUN_WITH_OFFLOAD_HEADER))
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _CHECKSUM_AND_TCP)
    return descriptor


class Carrier:
    """Everything that is under way on all wires, the next to arrive first."""

    def __init__(self, wires: Sequence[Wire], seed: str = "wires") -> None:
        self._ways: dict[int, tuple[int, float, float]] = {}
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._bytes, self._number = 0, 0
        self._dice = random.Random(seed)
        for wire in wires:
            one, two = opened(wire.near), opened(wire.far)
            for source, target in ((one, two), (two, one)):
                self._ways[source] = target, wire.way_ms / 1000, wire.loss

    def run(self) -> None:
        """For ever. Pieces of one wire stay in order."""
        while True:
            pause_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            ready, _, _ = select.select(self._ways, [], [], pause_s)  # epoll would round up to milliseconds
            for descriptor in ready:
                self._take(descriptor)
            self._give(time.monotonic())

    def _take(self, descriptor: int) -> None:
        target, way_s, loss = self._ways[descriptor]
        with contextlib.suppress(OSError):  # empty, or down
            for _ in range(64):
                piece = os.read(descriptor, PIECE_BYTES_MAX)
                if self._bytes > WAITING_BYTES_MAX or (loss and self._dice.random() < loss):
                    continue
                self._number += 1
                self._bytes += len(piece)
                heapq.heappush(self._waiting, (time.monotonic() + way_s, self._number, target, piece))

    def _give(self, now_s: float) -> None:
        while self._waiting and self._waiting[0][0] <= now_s:
            _, _, target, piece = heapq.heappop(self._waiting)
            self._bytes -= len(piece)
            with contextlib.suppress(OSError):
                os.write(target, piece)


def spelled(wires: Sequence[Wire]) -> str:
    """As the process that carries them is told."""
    return json.dumps([[*one.near, *one.far, one.way_ms, one.loss] for one in wires])


def main(told: str) -> None:
    wires = [Wire(End(a, b), End(c, d), way_ms, loss) for a, b, c, d, way_ms, loss in json.loads(told)]
    carrier = Carrier(wires)
    with contextlib.suppress(OSError):  # a wire does not wait for who computes
        os.nice(-10)
    print("ready", flush=True)
    carrier.run()


if __name__ == "__main__":
    main(sys.argv[1])
