"""How do nodes come to be far apart on one machine? Each in a network namespace of its own, at the end of a slow wire.

The bench's own namespace is the hub. A `Site` is reached through a wire on which every packet is held back: a TUN
device at each end, and a process between them, since not every kernel can delay packets itself. Within a site loopback
is as quick as ever: what is asked there measures the site and not the wire. Needs root, `ip` and /dev/net/tun; what is
made here is unmade at the end, also after an error.
"""

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from bench.machine import Skipped, need
from bench.servers import Running

NETWORK = "10.77"
PACKET_BYTES_MAX = 1 << 16
PACKETS_MAX = 100_000
_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Site:
    """Number `number` of this bench. `hub` and `address` are the two ends of its wire."""

    def __init__(self, number: int) -> None:
        self.name = f"entrepot-{os.getpid()}-{number}"
        self.hub, self.address = f"{NETWORK}.{number}.1", f"{NETWORK}.{number}.2"
        self.near, self.far = f"near{number}", f"far{number}"

    def join(self) -> None:
        """Give the ends of the wire, which are there, their addresses."""
        run("ip", "addr", "add", self.hub, "peer", self.address, "dev", self.near)
        run("ip", "link", "set", self.near, "up")
        run(*self.entering("ip", "addr", "add", self.address, "peer", self.hub, "dev", self.far))
        for device in (self.far, "lo"):
            run(*self.entering("ip", "link", "set", device, "up"))

    def entering(self, *command: str) -> list[str]:
        """The command line of something that is to run there."""
        return ["ip", "netns", "exec", self.name, *command]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens within the block belongs there, for good."""
        with entered(self.name):
            yield

    def cut(self) -> None:
        """Nothing passes any more, and nobody is told."""
        run("ip", "link", "set", self.near, "down")


class Sites:
    """`count` sites, each `way_ms` away in each direction."""

    def __init__(self, count: int, way_ms: float, home: Path) -> None:
        need("ip")
        if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
            raise Skipped("sites far apart need root and /dev/net/tun")
        self.all = [Site(number) for number in range(1, count + 1)]
        self._wire: Running | None = None
        try:
            for site in self.all:
                run("ip", "netns", "add", site.name)
            ends = [f"{site.near}:{site.far}:{site.name}" for site in self.all]
            command = [sys.executable, "-m", "bench.namespaces", str(way_ms), *ends]
            self._wire = Running(command, home / "wire.log", None, speaks=True)
            self._wire.line()
            for site in self.all:
                site.join()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._wire is not None:
            self._wire.stop()
        for site in self.all:
            subprocess.run(["ip", "netns", "del", site.name], check=False, capture_output=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread is in that namespace within the block."""
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


# ---------------------------------------------------------------- the wire, in a process of its own


def tun(name: str) -> int:
    """A new device in the namespace that this thread is in."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _TUN_WITHOUT_HEADER))
    return descriptor


def carry(pairs: Sequence[tuple[int, int]], way_s: float) -> None:
    """Every packet to the other end of its wire, `way_s` after it came; for ever. They stay in order."""
    other = {one: two for pair in pairs for one, two in (pair, pair[::-1])}
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        pause_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select(list(other), [], [], pause_s)
        now_s = time.monotonic()
        for descriptor in ready:
            with contextlib.suppress(OSError):  # a device that is down
                while len(waiting) < PACKETS_MAX:
                    waiting.append((now_s + way_s, other[descriptor], os.read(descriptor, PACKET_BYTES_MAX)))
        while waiting and waiting[0][0] <= now_s:
            _, to, packet = waiting.popleft()
            with contextlib.suppress(OSError):
                os.write(to, packet)


def wire(way_ms: float, ends: Sequence[str]) -> None:
    pairs = []
    for end in ends:
        near, far, name = end.split(":")
        with entered(name):
            there = tun(far)
        pairs.append((tun(near), there))
    print("ready", flush=True)
    carry(pairs, way_ms / 1000)


if __name__ == "__main__":
    wire(float(sys.argv[1]), sys.argv[2:])
