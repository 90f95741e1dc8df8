"""How do nodes come to be far apart on one machine? Each in a network namespace of its own, at the end of a slow wire.

The bench's own namespace is the hub. A `Site` hangs at it, or behind another site, by a wire with a length, a rate and
a loss; what lies between two sites is the sum of their wires. Within a site loopback is as quick as ever: what is asked
there measures the site and not the wire. Needs root, `ip` and /dev/net/tun (and `tc` for rates); what is made here is
unmade at the end, also after an error.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from bench.machine import Skipped, need
from bench.servers import Running
from bench.wires import End, Wire, entered, spelled

NETWORK = "10.77"
BURST = "256kb"
QUEUE_MS = 100


class Way(NamedTuple):
    """What a wire does: it holds back for `way_ms` in each direction, passes `mbit` a second (0 = what comes), and
    loses this share of the pieces."""

    way_ms: float
    mbit: int = 0
    loss: float = 0.0


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Site:
    """Number `number` of this bench. `hub` and `address` are the two ends of its wire, which begins at the hub or
    `behind` another site."""

    def __init__(self, number: int, way: Way, behind: "Site | None" = None) -> None:
        self.name = f"entrepot-{os.getpid()}-{number}"
        self.hub, self.address = f"{NETWORK}.{number}.1", f"{NETWORK}.{number}.2"
        self.near, self.far = f"near{number}", f"far{number}"
        self.way, self.behind = way, behind
        self._beyond: list[str] = []

    def wire(self) -> Wire:
        near = End(self.near, self.behind.name if self.behind else "")
        return Wire(near, End(self.far, self.name), self.way.way_ms, self.way.loss)

    def join(self) -> None:
        """Give the ends of the wire, which are there, their addresses, rates and routes."""
        near, far = self.behind.entering if self.behind else _here, self.entering
        for enter, device, mine, other in (
            (near, self.near, self.hub, self.address),
            (far, self.far, self.address, self.hub),
        ):
            run(*enter("ip", "addr", "add", mine, "peer", other, "dev", device))
            run(*enter("ip", "link", "set", device, "txqueuelen", "2000", "up"))
            if self.way.mbit:
                rate = ["rate", f"{self.way.mbit}mbit", "burst", BURST, "latency", f"{QUEUE_MS}ms"]
                run(*enter("tc", "qdisc", "add", "dev", device, "root", "tbf", *rate))
        run(*far("ip", "link", "set", "lo", "mtu", "1500", "up"))
        run(*far("ip", "route", "add", "default", "dev", self.far))
        if self.behind is not None:
            with self.behind.entered():
                _forward()
            _forward()
            self.behind.reach(self.address)

    def reach(self, address: str) -> None:
        """The hub finds that address beyond this site."""
        if self.behind is not None:
            raise ValueError("a site lies behind one other at most")
        self._beyond.append(address)
        run("ip", "route", "add", address, "dev", self.near)

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

    def heal(self) -> None:
        """As before the cut."""
        run("ip", "link", "set", self.near, "up")
        for address in self._beyond:
            run("ip", "route", "replace", address, "dev", self.near)

    def passed_bytes(self) -> int:
        """What came in through its wire so far."""
        with self.entered():
            # the same file shows the devices of another namespace to another thread
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
                name, _, counts = line.partition(":")
                if name.strip() == self.far:
                    return int(counts.split()[0])
        raise LookupError(self.far)


def _here(*command: str) -> list[str]:
    return list(command)


def _forward() -> None:
    """This thread's namespace hands on what is for others."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


class Sites:
    """All of them, and the process that carries their wires. Who lies behind another comes after it."""

    def __init__(self, sites: Sequence[Site], home: Path) -> None:
        need("ip")
        if any(site.way.mbit for site in sites):
            need("tc")
        if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
            raise Skipped("sites far apart need root and /dev/net/tun")
        self.all = list(sites)
        self._wires: Running | None = None
        try:
            for site in self.all:
                run("ip", "netns", "add", site.name)
            command = [sys.executable, "-m", "bench.wires", spelled([site.wire() for site in self.all])]
            root = Path(__file__).resolve().parents[1]
            self._wires = Running(command, home / "wires.log", None, cwd=root, speaks=True)
            self._wires.line()
            for site in self.all:
                site.join()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._wires is not None:
            self._wires.stop()
        for site in self.all:
            subprocess.run(["ip", "netns", "del", site.name], check=False, capture_output=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
