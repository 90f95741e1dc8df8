"""What is forgotten when the cache's share of the disk is used up?

S3-FIFO over packs. A large object has a pack of its own, and new ones stand in a short queue: who is not asked for
again before its end goes, and leaves its name among the ghosts; who was asked for moves to the long queue, and so does
who comes back while its ghost is known. In the long queue FIFO with reinsertion holds: each hit, of which three count,
buys one more round. Packs that many small objects share stand in the long queue from the start: when one comes to its
end the objects that were hit are written into the current pack, and the rest goes with the file; where most of it was
hit, the pack itself has another round and nothing is copied. A scan that reads everything once drives nothing out.
What is pinned, or guaranteed to a Repository (cache.keeping.shares), counts as hit for ever. Who has more than a
Repository may have gives of its own first, and of nobody else's: its files lie in packs of their own
(cache.keeping.lanes); where a pack is shared all the same, what others have in it is written on.
Packs of small objects keep a share of their own as a whole: metadata weighs little and is asked for by everybody, and
a few large files must not drive it out.

`Queues` is that policy and nothing else: synchronous, no clock, no disk. `Evictor` is the service around it. One
process of a node evicts, the others hand their hits over; all let go of descriptors of packs that are gone.
"""

import errno
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb
import trio

from cache.keeping.board import Board
from cache.keeping.lanes import Lanes
from cache.keeping.shares import Accounts, Members, Owners, Portion, Share
from storage import disk
from storage.blobs.appending import Lane
from storage.blobs.shelf import BlobShelf, PackInfo
from storage.errors import Conflict, Full, Problem

HITS_MAX = 3
SHORT_SHARE = 0.1
LOW_SHARE = 0.95
LOOK_SECONDS = 2.0
GLANCE_SECONDS = 0.25
PAUSE_SECONDS = 0.05
GROWTH_SHARE = 1 / 64
FREE_BYTES_MIN = 256 << 20
BALLAST_BYTES = 4 << 20
ROOM_BYTES_MIN = 4 << 20
"""A disk with less is full: what is not here goes past the cache."""
PORTIONS_NAME = "portions.json"
TOUCHED_MAX = 1 << 16
MIXED_SHARE_MIN = 1 / 8
"""So much of a pack that others share must be of those who have too much: the rest of it is written on for that."""
_GHOSTS_MAX = 1 << 16
_HITS_KNOWN_MAX = 1 << 18
_ROUNDS_MAX = 1 << 20
log = logging.getLogger("entrepot.cache")


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget this pack, after writing the blobs in `move` elsewhere."""

    pack: int
    move: tuple[bytes, ...] = ()


class Queues:
    """Which pack goes next. Knows packs by number and blobs by sha256; every step is synchronous."""

    def __init__(
        self,
        bytes_max: int,
        *,
        ghosts_max: int = _GHOSTS_MAX,
        accounts: Accounts | None = None,
        small_share_min: float = 0.0,
    ) -> None:
        self._short_bytes_max = int(bytes_max * SHORT_SHARE)
        self._accounts = Accounts(bytes_max) if accounts is None else accounts
        self._small_share_min = small_share_min
        self._small: dict[int, int] = {}
        self._small_bytes = 0
        self._ghosts_max = ghosts_max
        self._short: OrderedDict[int, int] = OrderedDict()
        self._long: OrderedDict[int, int] = OrderedDict()
        self._short_bytes = 0
        self._hits: dict[bytes, int] = {}
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self.pinned: Set[bytes] = frozenset()
        """Blobs that stay whatever happens; they are as hot as can be, and never cool down."""

    def __repr__(self) -> str:
        return f"<Queues short {len(self._short)} long {len(self._long)} ghosts {len(self._ghosts)}>"

    def resize(self, bytes_max: int) -> None:
        """Guarantees are shares of what there is."""
        self._accounts.bytes_max = bytes_max

    def hit(self, sha256: bytes, times: int = 1) -> None:
        """A blob was read."""
        self._hits[sha256] = min(HITS_MAX, self._hits.get(sha256, 0) + times)
        if len(self._hits) > _HITS_KNOWN_MAX:  # of blobs that are long gone, or never were in this shelf
            del self._hits[next(iter(self._hits))]

    def meet(self, packs: Sequence[PackInfo], members: Members) -> None:
        """Bring the queues to what there is: sealed packs, oldest first. Those that are new are asked for members."""
        self._accounts.open(one for one in packs if not one.sealed)
        there = {one.id for one in packs if one.sealed}
        for queue in (self._short, self._long):
            for gone in [pack for pack in queue if pack not in there]:
                size = queue.pop(gone)
                self._short_bytes -= size if queue is self._short else 0
                self._forget(gone)
        for one in packs:
            if one.sealed and one.id not in self._short and one.id not in self._long:
                self.admit(one, members(one.id))

    def portions(self, packs: Sequence[PackInfo], members: Members) -> list[Portion]:
        """What each place with a share has by now, of these packs."""
        return self._accounts.portions([one for one in packs if not one.sealed], members)

    def admit(self, pack: PackInfo, inside: Sequence[tuple[bytes, int]]) -> None:
        """A pack that was just sealed, with what is in it."""
        self._accounts.admit(pack, inside)
        if len(inside) > 1:
            self._small[pack.id] = pack.bytes
            self._small_bytes += pack.bytes
        ghost = len(inside) == 1 and inside[0][0] in self._ghosts
        if ghost:
            del self._ghosts[inside[0][0]]
        if len(inside) == 1 and not ghost:
            self._short[pack.id] = pack.bytes
            self._short_bytes += pack.bytes
        else:
            self._long[pack.id] = pack.bytes

    def next(self, members: Members) -> Drop | None:
        """What goes now; None where there is nothing left. Every call that returns a Drop forgets that pack."""
        rounds_max = min(_ROUNDS_MAX, 2 * (HITS_MAX + 1) * (len(self._short) + len(self._long) + 1))
        for _ in range(rounds_max):  # by then all that is left is pinned
            if self._short and (self._short_bytes > self._short_bytes_max or not self._long):
                pack, size = self._short.popitem(last=False)
                self._short_bytes -= size
                drop = self._end_of_short(pack, size, members(pack))
            elif self._long:
                pack, size = self._long.popitem(last=False)
                drop = self._end_of_long(pack, size, members(pack))
            else:
                return None
            if drop is not None:
                self._forget(pack)
                return drop
        return None

    def excess(self, members: Members) -> Iterator[Drop]:
        """What goes of those who have more than they may have, until nobody has: one walk over the queues for each hit
        that counts. Each Drop is to be carried out before the next is asked for, and its pack is forgotten by then."""
        if not self._accounts.over():
            return
        for drop, inside in self._too_much(members):
            moved = frozenset(drop.move)
            self._forget(drop.pack, [one for one in inside if one[0] in moved])
            yield drop
            if not self._accounts.over():
                return

    def _too_much(self, members: Members) -> Iterator[tuple[Drop, Sequence[tuple[bytes, int]]]]:
        """What a place could never keep before what it could, then its oldest, hit ones last; with what is inside."""
        places = self._accounts.over()
        for queue in (self._short, self._long):
            for pack, size in list(queue.items()):
                if pack in self._small or not self._accounts.is_too_large(pack, places):
                    continue
                inside = members(pack)
                if not any(self._stays(pack, sha256) for sha256, _ in inside):
                    del queue[pack]
                    self._short_bytes -= size if queue is self._short else 0
                    yield Drop(pack), inside
                    places = self._accounts.over()
        for round_ in range(HITS_MAX + 1):
            for queue in (self._short, self._long):
                for pack, size in list(queue.items()):
                    held = self._accounts.held(pack, places)
                    whole = held == self._accounts.size(pack)
                    if not held or held < self._accounts.size(pack) * MIXED_SHARE_MIN:
                        continue
                    del queue[pack]
                    self._short_bytes -= size if queue is self._short else 0
                    inside = members(pack)
                    if queue is self._short:
                        drop = self._end_of_short(pack, size, inside)
                    elif whole and round_ < HITS_MAX:
                        drop = self._end_of_whole(pack, size, inside)
                    else:
                        drop = self._end_for(places, pack, size, inside)
                    if drop is not None:
                        yield drop, inside
                        places = self._accounts.over()

    def _end_for(self, places: Set[str], pack: int, size: int, inside: Sequence[tuple[bytes, int]]) -> Drop | None:
        """The end of a pack, some of it of these places, who have too much: that goes unless it was hit, and what is of
        others stays as it is. A pack that gives too little for what would be written on has another round."""
        gone, kept = 0, list[bytes]()
        for sha256, bytes_ in inside:
            theirs = self._accounts.of_any(pack, sha256, places) and not self._stays(pack, sha256)
            if theirs and not self._hits.get(sha256):
                gone += bytes_
                continue
            kept.append(sha256)
            if theirs:
                self._cool(sha256)
        if not gone or gone < sum(bytes_ for _, bytes_ in inside) * MIXED_SHARE_MIN:
            self._long[pack] = size
            return None
        return Drop(pack, tuple(kept))

    def _forget(self, pack: int, moved: Sequence[tuple[bytes, int]] = ()) -> None:
        self._accounts.forget(pack, moved)
        self._small_bytes -= self._small.pop(pack, 0)

    def _stays(self, pack: int, sha256: bytes) -> bool:
        return sha256 in self.pinned or self._accounts.guaranteed(pack, sha256)

    def _cool(self, sha256: bytes) -> None:
        """One hit has bought it one more round."""
        self._hits[sha256] -= 1
        if not self._hits[sha256]:
            del self._hits[sha256]

    def _end_of_short(self, pack: int, size: int, inside: Sequence[tuple[bytes, int]]) -> Drop | None:
        if any(self._hits.pop(sha256, 0) or self._stays(pack, sha256) for sha256, _ in inside):
            self._long[pack] = size
            return None
        for sha256, _ in inside:
            self._ghosts[sha256] = None
            self._ghosts.move_to_end(sha256)
        while len(self._ghosts) > self._ghosts_max:
            self._ghosts.popitem(last=False)
        return Drop(pack)

    def _end_of_long(self, pack: int, size: int, inside: Sequence[tuple[bytes, int]]) -> Drop | None:
        small_min = self._small_share_min * self._accounts.bytes_max
        if pack in self._small and self._small_bytes - size < small_min:
            self._long[pack] = size
            return None
        return self._end_of_whole(pack, size, inside)

    def _end_of_whole(self, pack: int, size: int, inside: Sequence[tuple[bytes, int]]) -> Drop | None:
        staying = {sha256 for sha256, _ in inside if self._stays(pack, sha256)}
        hot = [(sha256, bytes_) for sha256, bytes_ in inside if sha256 in staying or self._hits.get(sha256)]
        for sha256, _ in hot:
            if sha256 not in staying:
                self._cool(sha256)
        if 2 * sum(bytes_ for _, bytes_ in hot) >= max(1, sum(bytes_ for _, bytes_ in inside)):
            self._long[pack] = size
            return None
        return Drop(pack, tuple(sha256 for sha256, _ in hot))


class Evictor:
    """Keeps a cache's shelf below `bytes_max`, and the disk from running full because of it.

    Every worker runs one; `touch` is cheap enough for each hit.
    """

    def __init__(
        self,
        shelf: BlobShelf,
        bytes_max: int,
        *,
        free_bytes_min: int = FREE_BYTES_MIN,
        pinned: Callable[[], Set[bytes]] = frozenset,
        shares: Sequence[Share] = (),
        owners: Owners | None = None,
        small_share_min: float = 0.0,
    ) -> None:
        """`owners` remembers for `shares` who had what fetched; without it there are none."""
        self._shelf = shelf
        self._pinned = pinned
        self._owners = owners
        self._bytes_max = bytes_max
        self._free_bytes_min = free_bytes_min
        self._folder = shelf.root.parent / "heat"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ballast = shelf.root.parent / "ballast"
        self._places = frozenset(one.place for one in shares)
        self._board = Board(shelf.root.parent / PORTIONS_NAME, Portion)
        self._lanes = Lanes(shares if owners is not None else (), bytes_max, shelf.everybodys.pack_bytes_max)
        shelf.everybodys = self._lanes.everybodys
        accounts = Accounts(bytes_max)
        if owners is not None:
            accounts = Accounts(bytes_max, shares, owners.of, self._lanes.place_of)
        self._queues = Queues(bytes_max, accounts=accounts, small_share_min=small_share_min)
        self._touched: Counter[bytes] = Counter()
        self._call = self._folder / "urgent"
        self._urgent = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._grown = 0
        self._grown_lanes: Counter[int] = Counter()
        self._told_full = False

    def __repr__(self) -> str:
        return f"<Evictor {self._queues!r}>"

    def touch(self, sha256: bytes) -> None:
        """This blob was read. At most TOUCHED_MAX different ones count between two looks."""
        if sha256 in self._touched or len(self._touched) < TOUCHED_MAX:
            self._touched[sha256] += 1

    def urge(self) -> None:
        """The disk was found full: look now. From any thread."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(lambda: self._urgent.set())

    def has_room(self, size: int) -> bool:
        """Can an object of `size` bytes be kept? Where not, room is made; until then it goes past the cache."""
        if disk.free_bytes(self._shelf.root) >= max(size, 0) + ROOM_BYTES_MIN:
            return True
        self.urge()
        return False

    def charge(self, sha256: bytes, place: str) -> Lane:
        """A blob that is not here yet was fetched for workspace/repository: it is theirs as long as it stays. Returns
        the packs that it goes to. From any thread."""
        if self._owners is not None:
            self._owners.record(sha256, place)
        return self._lanes.of(place)

    def grew(self, size: int, place: str = "") -> None:
        """So many bytes were added, for `place`; many of them do not wait for the next look. From any thread."""
        self._grown += size
        lane = self._lanes.of(place).number
        look_bytes = self._lanes.look_bytes(lane)
        self._grown_lanes[lane] += size
        if self._grown > self._bytes_max * GROWTH_SHARE or 0 < look_bytes < self._grown_lanes[lane]:
            self._grown = self._grown_lanes[lane] = 0
            self.urge()

    async def run(self) -> None:
        """Look until cancelled. Only the process that holds the lock evicts; it is another's turn when that ends."""
        self._token = trio.lowlevel.current_trio_token()
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                urgent = await self._awaited()
                touched, self._touched = self._touched, Counter()
                ours = disk.lock(fd)
                if ours:
                    self._call.unlink(missing_ok=True)
                elif urgent:
                    self._call_for_help()
                work = self.look if ours else self.hand_over
                try:
                    await trio.to_thread.run_sync(work, touched)
                    if ours:
                        self._tell(disk.free_bytes(self._shelf.root))
                    await trio.to_thread.run_sync(self._shelf.trim)  # closing a large file that is gone takes long
                except (Problem, OSError, lmdb.Error) as problem:
                    log.error("the cache cannot make room: %s", problem)
        finally:
            os.close(fd)

    def _tell(self, free_bytes: int) -> None:
        """The operator hears once that the disk is full although room was made, and once that it is not any more."""
        if not self._told_full and free_bytes < ROOM_BYTES_MIN:
            log.warning(
                "the disk of %s is full (%d bytes free), and not by the cache: what is here is served on, what is not "
                "goes past the cache. Free some space",
                self._shelf.root.parent,
                free_bytes,
            )
            self._told_full = True
        elif self._told_full and free_bytes >= 2 * ROOM_BYTES_MIN:
            log.warning("there is room on the disk again: what is fetched is kept")
            self._told_full = False

    async def _awaited(self) -> bool:
        """Wait for the next look; True where it came early. Another process calls by a file."""
        self._grown = 0
        self._grown_lanes.clear()
        await trio.sleep(PAUSE_SECONDS)  # whatever calls, looking is not all that this process does
        due_s = trio.current_time() + LOOK_SECONDS
        while trio.current_time() < due_s:
            with trio.move_on_after(GLANCE_SECONDS):
                await self._urgent.wait()
            if self._urgent.is_set():
                self._urgent = trio.Event()
                return True
            if self._call.exists():
                return False
        return False

    def _call_for_help(self) -> None:
        """Have the process that evicts look now. The file is made even on a full disk, where it needs no block."""
        with suppress(OSError):
            self._call.touch()

    def hand_over(self, touched: Mapping[bytes, int]) -> None:
        """Give this process's hits to the one that evicts."""
        if touched:
            path = self._folder / f"{os.getpid()}.new"
            with suppress(OSError):  # hits may be lost
                path.write_bytes(b"".join(sha256 + bytes((min(HITS_MAX, hits),)) for sha256, hits in touched.items()))
                path.rename(self._folder / f"{os.getpid()}.hits")

    def portions(self) -> list[Portion]:
        """What each place with a share has, as the process that evicts last found it. From any process."""
        return [one for one in self._board.read() if one.place in self._places] if self._places else []

    def look(self, touched: Mapping[bytes, int]) -> None:
        """Make room, and tell who has what. Blocking."""
        self.make_room(touched)
        if self._places:
            self._board.write(self._queues.portions(self._shelf.packs(), self._shelf.members))

    def make_room(self, touched: Mapping[bytes, int]) -> int:
        """Count the hits of this process and the others, drop what must go; returns how many bytes went. Blocking."""
        self._gather(touched)
        packs = self._shelf.packs()
        for one in packs:
            if not one.sealed and one.lane != self._lanes.numbered(one.lane).number:
                self._shelf.retire(one.id)  # others have a most by now
        used = sum(one.bytes for one in packs)
        free = disk.free_bytes(self._shelf.root)
        excess, missing = used - self._bytes_max, self._free_bytes_min - free
        self._queues.resize(min(self._bytes_max, used + free))
        self._queues.meet(packs, self._shelf.members)
        self._queues.pinned = self._pinned()
        infos = {one.id: one for one in packs}
        gone = sum(self._dropped(one, infos[one.pack]) for one in self._queues.excess(self._shelf.members))
        if excess <= gone and missing <= gone:
            if not gone:
                self._lay_ballast()
            return gone
        target = max(used - int(self._bytes_max * LOW_SHARE) if excess > 0 else 0, missing)
        gone += self._gone(infos, target - gone)
        for one in packs:
            if (
                gone < min(target, excess) and not one.sealed and not self._queues.pinned
            ):  # nothing else is left: a share smaller than one pack
                gone += self._dropped(Drop(one.id), one)
        return gone

    def _gone(self, infos: Mapping[int, PackInfo], target: int) -> int:
        """Drop what goes next until there is no more, or so many bytes are gone; how many are."""
        gone = 0
        while gone < target and (drop := self._queues.next(self._shelf.members)) is not None:
            gone += self._dropped(drop, infos[drop.pack])
        return gone

    def _dropped(self, drop: Drop, info: PackInfo) -> int:
        """Forget a pack: the index first, then the file. On a full disk the index needs the ballast's room for that."""
        moved = 0
        for sha256 in drop.move:
            with suppress(Full):
                moved += self._shelf.move(sha256, self._lane_of(sha256, info))
        for _ in range(2):
            try:
                self._shelf.drop(drop.pack)
                return info.bytes
            except Conflict:
                return 0
            except (lmdb.Error, OSError) as error:
                if isinstance(error, OSError) and error.errno not in disk.NO_ROOM:
                    raise
                if not self._ballast.exists():
                    raise
                self._ballast.unlink(missing_ok=True)
        return 0

    def _lane_of(self, sha256: bytes, info: PackInfo) -> Lane:
        """Where a blob of this pack goes on: what is somebody's to his own packs, if he has some by now."""
        owner = self._owners.of(sha256) if self._owners is not None else ""
        return self._lanes.of(owner) if owner else self._lanes.numbered(info.lane)

    def _lay_ballast(self) -> None:
        """Room that a full disk has left for forgetting."""
        if self._ballast.exists() or disk.free_bytes(self._shelf.root) < 4 * BALLAST_BYTES:
            return
        fd = os.open(self._ballast, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, BALLAST_BYTES)
        except OSError as error:
            self._ballast.unlink(missing_ok=True)
            if error.errno not in (*disk.NO_ROOM, errno.EOPNOTSUPP):
                raise
        finally:
            os.close(fd)

    def _gather(self, touched: Mapping[bytes, int]) -> None:
        for sha256, hits in touched.items():
            self._queues.hit(sha256, hits)
        for path in self._folder.glob("*.hits"):
            data = _taken(path)
            for at in range(0, len(data) - 32, 33):
                self._queues.hit(data[at : at + 32], data[at + 32])


def _taken(path: Path) -> bytes:
    with suppress(OSError):
        data = path.read_bytes()
        path.unlink()
        return data
    return b""
