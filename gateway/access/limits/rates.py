"""How many requests may one principal, one address, one Workspace make, and who keeps count for several processes?

A limit is so many requests in a window. Of each only one number is kept, the time until which it is used up: each
request moves it on by window/requests, and one that would move it further ahead than the window is refused (the generic
cell rate algorithm). So a whole window may be used at once, and comes back evenly.

The numbers lie in a file that all workers of the node map: a table of fixed size, whatever strangers send, on the
clock that all processes of a machine share. Where it is crowded, who has used least is forgotten. Two workers that
write the same number at once lose one request of the count; no lock is held for that.

    slot (16 bytes, little-endian): u64 half the blake2b of the kind and the key, never 0; u64 time in ns, monotonic

Edges are not limited: they ask for many clients, who were counted where they asked.
"""

import ipaddress
import mmap
import os
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import NamedTuple

from gateway.access.credentials.tickets import USES_MAX as TICKET_USES_MAX
from gateway.access.rights.verdicts import Principal
from gateway.config import Limits
from storage.errors import TooMany

SLOTS = 1 << 16
PROBES = 8
_SLOT = struct.Struct("<QQ")
Fields = tuple[tuple[str, str], ...]


class Bucket(NamedTuple):
    """One limit as it applies to a request. `name` is what clients are told of it."""

    name: str
    key: str
    requests_max: int


class Left(NamedTuple):
    """What is left of one limit: `remaining` requests at once, all of them again in `reset_s`; `wait_s` until the next
    one is taken, 0 where this one was."""

    bucket: Bucket
    remaining: int
    reset_s: float
    wait_s: float


class Table:
    """The shared numbers. `clock` is monotonic seconds."""

    def __init__(self, path: Path, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size != SLOTS * _SLOT.size:
                os.truncate(fd, SLOTS * _SLOT.size)
            self._map = mmap.mmap(fd, SLOTS * _SLOT.size)
        finally:
            os.close(fd)
        self._window_ns = max(1, int(window_s * 1e9))
        self._clock = clock

    def take(self, bucket: Bucket, *, spend: bool = True) -> Left:
        """Count one request, or only look."""
        now_ns = int(self._clock() * 1e9)
        step_ns = max(1, self._window_ns // bucket.requests_max)
        mark = _mark(bucket)
        at, until_ns = self._find(mark, now_ns)
        until_ns = max(until_ns, now_ns)
        wait_ns = until_ns + step_ns - now_ns - self._window_ns
        if wait_ns <= 0 and spend:
            until_ns += step_ns
            _SLOT.pack_into(self._map, at, mark, until_ns)
        used_ns = until_ns - now_ns
        remaining = max(0, (self._window_ns - used_ns) // step_ns)
        return Left(bucket, remaining, used_ns / 1e9, max(0, wait_ns) / 1e9)

    def _find(self, mark: int, now_ns: int) -> tuple[int, int]:
        """(offset, time) of its slot, or of the one that it may have. A time further ahead than any count leads is from
        before a restart of the machine."""
        best, best_ns = -1, 0
        for probe in range(PROBES):
            at = (mark + probe) % SLOTS * _SLOT.size
            found, until_ns = _SLOT.unpack_from(self._map, at)
            if until_ns > now_ns + self._window_ns:
                until_ns = 0
            if found == mark:
                return at, until_ns
            if best < 0 or until_ns < best_ns:
                best, best_ns = at, until_ns
        return best, 0


def _mark(bucket: Bucket) -> int:
    digest = blake2b(f"{bucket.name}\0{bucket.key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Rates:
    """The limits of a node. Every method is synchronous and quick; without a limit nothing is looked at."""

    def __init__(self, table: Table, limits: Limits) -> None:
        self._table = table
        self._limits = limits

    def spend(self, principal: Principal, peer: str, workspace: str = "") -> Fields:
        """Count a request: the RateLimit fields of its answer, () where nothing limits it. Raises TooMany.

        A request that one limit refuses is counted by none.
        """
        buckets = self._buckets(principal, peer, workspace)
        if not buckets:
            return ()
        looked = [self._table.take(one, spend=False) for one in buckets]
        if any(one.wait_s for one in looked):
            wait_s = max(one.wait_s for one in looked)
            problem = TooMany(
                "More requests were made than are allowed here.", "Try again later.", retry_after_s=max(1, ceil(wait_s))
            )
            problem.fields = self._fields(looked)
            raise problem
        return self._fields([self._table.take(one) for one in buckets])

    def _buckets(self, principal: Principal, peer: str, workspace: str) -> list[Bucket]:
        limits = self._limits
        if principal.kind == "edge":
            return []
        found = []
        if principal.ticket:
            found.append(Bucket("ticket", principal.ticket, TICKET_USES_MAX))
        if principal.id:
            if most := principal.requests_max or limits.token_requests_max:
                found.append(Bucket("token", principal.id, most))
        elif limits.address_requests_max and peer:
            found.append(Bucket("address", network_of(peer), limits.address_requests_max))
        if limits.workspace_requests_max and workspace:
            found.append(Bucket("workspace", workspace, limits.workspace_requests_max))
        return found

    def _fields(self, left: list[Left]) -> Fields:
        """draft-ietf-httpapi-ratelimit-headers-10."""
        window = ceil(self._limits.window_seconds)
        policies = ", ".join(f'"{one.bucket.name}";q={one.bucket.requests_max};w={window}' for one in left)
        state = ", ".join(f'"{one.bucket.name}";r={one.remaining};t={ceil(one.reset_s)}' for one in left)
        return (("RateLimit-Policy", policies), ("RateLimit", state))


def network_of(peer: str) -> str:
    """Whom an address stands for: of IPv6 the network of 64 bits, which one customer has at least."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
