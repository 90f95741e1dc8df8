"""What would a cache of so many bytes have kept, by this policy or that one? Simulated, over a list of requests.

A policy is asked for one object after another and says whether it had it. `Packs` is the node's own: the queues of
cache.eviction over packs, small objects together and large ones alone, as they lie on the disk. The others know single
objects and no packs, so they pay nothing for what a pack carries along: what they are ahead is the price of packs.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from cache.keeping.eviction import LOW_SHARE, Drop, Queues
from cache.keeping.lanes import Lanes
from cache.keeping.shares import Accounts, OwnerOf, Share
from storage.blobs.appending import Lane
from storage.blobs.shelf import PackInfo

LARGE_BYTES = 1 << 20
PACKS_IN_SHARE = 64
GHOSTS_MAX = 1 << 16


class Policy(Protocol):
    """`ask` is one request: was it there? What was not is fetched and kept."""

    def ask(self, key: bytes, size: int) -> bool: ...


class Lru:
    """Least recently used goes first; with `renew` False, oldest first (FIFO)."""

    def __init__(self, bytes_max: int, *, renew: bool = True) -> None:
        self._left = bytes_max
        self._renew = renew
        self._kept: OrderedDict[bytes, int] = OrderedDict()

    def ask(self, key: bytes, size: int) -> bool:
        if key in self._kept:
            if self._renew:
                self._kept.move_to_end(key)
            return True
        self._kept[key] = size
        self._left -= size
        while self._left < 0:
            self._left += self._kept.popitem(last=False)[1]
        return False


class Sieve:
    """A hand goes from the oldest to the youngest; who was asked for since it last passed is passed over once."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max
        self._kept: OrderedDict[bytes, int] = OrderedDict()
        self._asked: set[bytes] = set()
        self._passed: OrderedDict[bytes, int] = OrderedDict()

    def ask(self, key: bytes, size: int) -> bool:
        if key in self._kept or key in self._passed:
            self._asked.add(key)
            return True
        self._left -= size
        self._kept[key] = size
        while self._left < 0:
            self._evict()
        return False

    def _evict(self) -> None:
        """`_passed` stands behind the hand (older), `_kept` ahead of it."""
        if not self._kept:
            self._kept, self._passed = self._passed, OrderedDict()
        key, size = self._kept.popitem(last=False)
        if key in self._asked:
            self._asked.discard(key)
            self._passed[key] = size
        else:
            self._left += size


class S3Fifo:
    """The short and the long queue over single objects, with ghosts and up to three hits remembered."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max
        self._short_max = bytes_max // 10
        self._short: OrderedDict[bytes, int] = OrderedDict()
        self._long: OrderedDict[bytes, int] = OrderedDict()
        self._short_bytes = 0
        self._hits: dict[bytes, int] = {}
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()

    def ask(self, key: bytes, size: int) -> bool:
        if key in self._short or key in self._long:
            self._hits[key] = min(3, self._hits.get(key, 0) + 1)
            return True
        if self._ghosts.pop(key, self) is None:
            self._long[key] = size
        else:
            self._short[key] = size
            self._short_bytes += size
        self._left -= size
        while self._left < 0:
            self._evict()
        return False

    def _evict(self) -> None:
        if self._short and (self._short_bytes > self._short_max or not self._long):
            key, size = self._short.popitem(last=False)
            self._short_bytes -= size
            if self._hits.pop(key, 0):
                self._long[key] = size
                return
            self._ghosts[key] = None
            if len(self._ghosts) > GHOSTS_MAX:
                self._ghosts.popitem(last=False)
        else:
            key, size = self._long.popitem(last=False)
            if hits := self._hits.pop(key, 0):
                self._long[key] = size
                if hits > 1:
                    self._hits[key] = hits - 1
                return
        self._left += size


class Packs:
    """The node's: whole packs go, and what was asked for in them is written on. With `apart` a place that has a most
    has packs of its own, as at a node; without, everybody's lie in the same."""

    def __init__(
        self,
        bytes_max: int,
        shares: Sequence[Share] = (),
        owner_of: OwnerOf = lambda key: "",
        small_share_min: float = 0.0,
        *,
        apart: bool = True,
    ) -> None:
        self._bytes_max = bytes_max
        self._pack_bytes_max = max(bytes_max // PACKS_IN_SHARE, 1)
        self._owner_of = owner_of
        self._lanes = Lanes(shares if apart else (), bytes_max, self._pack_bytes_max)
        accounts = Accounts(bytes_max, shares, owner_of, self._lanes.place_of)
        self._accounts = accounts
        self._queues = Queues(bytes_max, accounts=accounts, small_share_min=small_share_min)
        self._members: dict[int, list[tuple[bytes, int]]] = {}
        self._sizes: dict[int, int] = {}
        self._at: dict[bytes, int] = {}
        self._used = 0
        self._next = 0
        self._open: dict[int, int] = {}
        self.moved_bytes = self.excess_moved_bytes = self.excess_freed_bytes = 0

    def share_of(self, place: str) -> float:
        """What a place with a share has of the cache."""
        return self._accounts.used(place) / self._bytes_max

    def ask(self, key: bytes, size: int) -> bool:
        if key in self._at:
            self._queues.hit(key)
            return True
        if size >= min(LARGE_BYTES, self._pack_bytes_max):
            alone = self._begin()
            self._put(alone, key, size)
            self._seal(alone, self._lanes.of(self._owner_of(key)))
        else:
            self._append(key, size)
        if self._used > self._bytes_max:
            self.make_room()
        return False

    def _begin(self) -> int:
        self._next += 1
        self._members[self._next], self._sizes[self._next] = [], 0
        return self._next

    def _append(self, key: bytes, size: int) -> None:
        """As storage.blobs.appending has it."""
        lane = self._lanes.of(self._owner_of(key))
        full = self._open.get(lane.number)
        if full is not None and self._sizes[full] >= lane.pack_bytes_max:
            self._seal(self._open.pop(lane.number), lane)
        if lane.number not in self._open:
            self._open[lane.number] = self._begin()
        self._put(self._open[lane.number], key, size)
        if lane.closed_at_once and self._sizes[self._open[lane.number]] >= lane.pack_bytes_max:
            self._seal(self._open.pop(lane.number), lane)

    def _put(self, pack: int, key: bytes, size: int) -> None:
        self._members[pack].append((key, size))
        self._sizes[pack] += size
        self._used += size
        self._at[key] = pack

    def _seal(self, pack: int, lane: Lane) -> None:
        self._queues.admit(self._info(pack, lane.number, sealed=True), self._inside(pack))

    def _info(self, pack: int, lane: int, *, sealed: bool) -> PackInfo:
        return PackInfo(pack, self._sizes[pack], self._sizes[pack], 0, sealed, lane)

    def _inside(self, pack: int) -> list[tuple[bytes, int]]:
        return [(key, size) for key, size in self._members[pack] if self._at.get(key) == pack]

    def make_room(self) -> None:
        """As the node does every other second: who has too much gives of its own, then whatever goes next."""
        self._accounts.open([self._info(pack, lane, sealed=False) for lane, pack in self._open.items()])
        for over in self._queues.excess(self._inside):
            before_bytes = self._used, self.moved_bytes
            self._drop(over)
            self.excess_freed_bytes += before_bytes[0] - self._used
            self.excess_moved_bytes += self.moved_bytes - before_bytes[1]
        while self._used > self._bytes_max * LOW_SHARE and (drop := self._queues.next(self._inside)) is not None:
            self._drop(drop)

    def _drop(self, drop: Drop) -> None:
        inside = dict(self._inside(drop.pack))
        for key in drop.move:
            self._append(key, inside[key])
            self.moved_bytes += inside[key]
        for key, _ in self._inside(drop.pack):
            del self._at[key]
        del self._members[drop.pack]
        self._used -= self._sizes.pop(drop.pack)


POLICIES: dict[str, Callable[[int], Policy]] = {
    "FIFO": lambda size: Lru(size, renew=False),
    "LRU": Lru,
    "SIEVE": Sieve,
    "S3-FIFO": S3Fifo,
    "S3-FIFO over packs (ours)": Packs,
}
