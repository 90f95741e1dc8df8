"""Which port may a server take that has to be told its port, while other runs on this machine look for one too?

A port that the kernel gave and that was let go again may be given to anybody meanwhile, most of all to an outgoing
connection. So ports come from below the range of those, and each process keeps a slice of them to itself by a lock.
"""

import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FIRST, LAST, SLICE = 12_000, 32_000, 100
"""The kernel's own range begins at 32768 (net.ipv4.ip_local_port_range)."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other process is told of by this function."""
    ports = _ports(os.getpid())
    for port in itertools.islice(ports, SLICE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"{SLICE} ports in a row are all in use")


@cache
def _ports(process: int) -> Iterator[int]:
    """Round and round through the slice of this process, so that a port is used again as late as possible."""
    first = _slice()
    return itertools.cycle(range(first, first + SLICE))


def _slice() -> int:
    """The first port of a slice that is ours as long as this process lives."""
    slices = list(range(FIRST, LAST, SLICE))
    random.shuffle(slices)
    for first in slices:
        path = Path(tempfile.gettempdir()) / f"entrepot-ports-{os.getuid()}-{first}"
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            continue
        return first
    raise RuntimeError("every slice of ports is taken by another process")
