"""How much may a customer still fetch? Limits that hold exactly at every edge, though no download asks the origin.

The origin keeps one count of a token: what it has lent. A worker of any node borrows a slice ahead of use, spends it
without asking anybody, and refuses when it has none and gets none. So the sum of all slices, spent or not, never passes
the limit, whatever crashes, and whoever is cut off. What lies idle is given back; what a crash takes along is lost to
the customer and never spent twice, so slices grow small as a limit comes near.

A download is one GET that is answered with a file's bytes, a range as much as a whole; it is charged before the first
byte goes out, with all the bytes that it is going to send. Documents, HEAD and 304 cost nothing.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Protocol

import lmdb
import msgspec
import trio

from gateway.access.limits.pockets import Pocket, Roll
from storage.errors import Absent, Forbidden, Invalid, Problem
from storage.nouns import Entitlement, Token

SLICE_DOWNLOADS_MAX = 1 << 14
SLICE_BYTES_MAX = 256 << 20
SLICE_SHARE = 32
"""A slice is at most this part of what is left."""
LOW_SHARE = 2
"""When only this part of a slice is left, more is borrowed ahead of need."""

POCKETS_MAX = 10_000
IDLE_SECONDS = 2.0
FAREWELL_SECONDS_MAX = 2.0
MAP_BYTES = 16 << 30
CLIENT_CHARS_MAX = 100
REACHED_MAX = 1_000
NEVER_MS = 1 << 62

_ROW, _HELD = struct.Struct("<QQQ"), struct.Struct("<QQ")


class Wish(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a worker asks for a token: to fetch once more, `size` bytes, for `client` ("" = one that is known)."""

    token_id: str
    downloads: int
    size: int
    client: str = ""


class Lent(msgspec.Struct, frozen=True, array_like=True):
    """A slice, of the period that began at `period_ms` and has `left_ms` to go: nobody's clock but the origin's counts.
    `refused` says why there is none."""

    period_ms: int
    left_ms: int
    downloads: int = 0
    size: int = 0
    refused: str = ""


class Return(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What was lent and not used. Told once at most: told twice it would be lent twice."""

    token_id: str
    period_ms: int
    downloads: int
    size: int


class Used(NamedTuple):
    """What was lent of the present period, which is what was used but for slices that are still held."""

    period_ms: int
    downloads: int
    size: int
    clients: int


class Reached(NamedTuple):
    """A limit (downloads, bytes, clients) that somebody was refused for, in the period that began at `period_ms`, with
    what was lent of it."""

    token_id: str
    period_ms: int
    limit: str
    used: int
    key: bytes


def period_of(entitlement: Entitlement, made_ms: int, now_ms: int) -> tuple[int, int]:
    """When the present period began, and when it ends. A reset begins one anew."""
    first = max(made_ms, entitlement.reset_ms)
    if not entitlement.period_s:
        return first, NEVER_MS
    length = entitlement.period_s * 1000
    began = first + (max(0, now_ms - first) // length) * length
    return began, began + length


class Ledger:
    """An origin's count of what was lent, durable before it is told. Synchronous: call it in a thread.

    `used`: token id, period → downloads, bytes, clients (u64 each). `clients`: token id, period, client → nothing.
    `held`: token id, period, node → downloads, bytes (u64 each) that it was lent and has not given back; "" = this one.
    `reached`: token id, period, limit, how much that is → what was used of it (u64). The same behind
    a NUL → nothing: that is to be told.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=8, max_readers=256, readahead=False)
        with self._env.begin(write=True) as txn:
            self._used = self._env.open_db(b"used", txn=txn)
            self._clients = self._env.open_db(b"clients", txn=txn)
            self._held = self._env.open_db(b"held", txn=txn)
            self._reached = self._env.open_db(b"reached", txn=txn)

    def close(self) -> None:
        self._env.close()

    def lend(self, token: Token, wish: Wish, now_ms: int, to: str = "") -> Lent:
        """All that the wish needs, or nothing of it, `to` a node."""
        entitlement = token.entitlement
        if entitlement is None:
            raise Invalid("This token has no limits.")
        began, until = period_of(entitlement, token.at_ms, now_ms)
        key = token.id.encode() + b"\0" + began.to_bytes(8)
        with self._env.begin(write=True) as txn:
            downloads, size, clients = self._row(txn, token.id, key)
            refused = ""
            more_downloads = _slice(entitlement.downloads_max, downloads, wish.downloads, SLICE_DOWNLOADS_MAX)
            more_size = _slice(entitlement.bytes_max, size, wish.size, SLICE_BYTES_MAX)
            client = key + wish.client.encode()[:CLIENT_CHARS_MAX]
            is_new = bool(wish.client) and bool(entitlement.clients_max) and self._is_new(txn, client)
            if more_downloads < 0:
                refused = "downloads"
            elif more_size < 0:
                refused = "bytes"
            elif is_new and clients >= entitlement.clients_max:
                refused = "clients"
            if refused:
                self._note(txn, key, entitlement, refused, Used(began, downloads, size, clients))
                return Lent(began, until - now_ms, refused=refused)
            if is_new:
                txn.put(client, b"", db=self._clients)
            row = _ROW.pack(downloads + more_downloads, size + more_size, clients + is_new)
            txn.put(key, row, db=self._used)
            held = self._of(txn, key, to)
            self._hold(txn, key, to, held[0] + more_downloads, held[1] + more_size)
        return Lent(began, until - now_ms, more_downloads, more_size)

    def _note(self, txn: "lmdb.Transaction[bytes]", key: bytes, limits: Entitlement, refused: str, used: Used) -> None:
        """Keep for whoever tells of it that a limit is reached: once a period, however often it is asked for more."""
        most, spent = {
            "downloads": (limits.downloads_max, used.downloads),
            "bytes": (limits.bytes_max, used.size),
            "clients": (limits.clients_max, used.clients),
        }[refused]
        at = key + refused.encode() + b"\0" + most.to_bytes(8)
        if txn.get(at, db=self._reached) is None:
            txn.put(at, spent.to_bytes(8), db=self._reached)
            txn.put(b"\0" + at, b"", db=self._reached)

    def reached(self) -> list["Reached"]:
        """Some of what is to be told of."""
        found: list[Reached] = []
        with self._env.begin() as txn, txn.cursor(db=self._reached) as cursor:
            going = cursor.set_range(b"\0")
            while going and cursor.key().startswith(b"\0") and len(found) < REACHED_MAX:
                at = bytes(cursor.key())[1:]
                id, _, rest = at.partition(b"\0")
                limit = rest[8:].partition(b"\0")[0].decode()
                spent = txn.get(at, db=self._reached) or b""
                found.append(Reached(id.decode(), int.from_bytes(rest[:8]), limit, int.from_bytes(spent), at))
                going = cursor.next()
        return found

    def told(self, reached: Iterable["Reached"]) -> None:
        """These were told: no more of them in their periods."""
        if not (keys := [b"\0" + one.key for one in reached]):
            return
        with self._env.begin(write=True) as txn:
            for key in keys:
                txn.delete(key, db=self._reached)

    def take_back(self, back: Return, of: str = "") -> None:
        """Count a slice as not used, as far as this node was lent so much: none undoes what others counted (F5). One of
        another period is of no more use to anybody."""
        key = back.token_id.encode() + b"\0" + back.period_ms.to_bytes(8)
        with self._env.begin(write=True) as txn:
            found = txn.get(key, db=self._used)
            if found is not None:
                downloads, size, clients = _ROW.unpack(found)
                held = self._of(txn, key, of)
                less = min(back.downloads, held[0], downloads), min(back.size, held[1], size)
                txn.put(key, _ROW.pack(downloads - less[0], size - less[1], clients), db=self._used)
                self._hold(txn, key, of, held[0] - less[0], held[1] - less[1])

    def used(self, token: Token, now_ms: int) -> Used:
        entitlement = token.entitlement or Entitlement()
        began, _ = period_of(entitlement, token.at_ms, now_ms)
        with self._env.begin() as txn:
            found = txn.get(token.id.encode() + b"\0" + began.to_bytes(8), db=self._used)
        return Used(began, *(_ROW.unpack(found) if found is not None else (0, 0, 0)))

    def _row(self, txn: "lmdb.Transaction[bytes]", id: str, key: bytes) -> tuple[int, int, int]:
        """The present period's row. What earlier ones left goes when a new one begins."""
        found = txn.get(key, db=self._used)
        if found is not None:
            downloads, size, clients = _ROW.unpack(found)
            return downloads, size, clients
        prefix = id.encode() + b"\0"
        for table in (self._used, self._clients, self._held, self._reached):
            with txn.cursor(db=table) as cursor:
                going = cursor.set_range(prefix)
                while going and cursor.key().startswith(prefix):
                    going = cursor.next() if cursor.key().startswith(key) else cursor.delete()
        return 0, 0, 0

    def _of(self, txn: "lmdb.Transaction[bytes]", key: bytes, node: str) -> tuple[int, int]:
        """Downloads and bytes that a node holds of a token in the period of `key`."""
        found = txn.get(key + node.encode(), db=self._held)
        downloads, size = _HELD.unpack(found) if found is not None else (0, 0)
        return downloads, size

    def _hold(self, txn: "lmdb.Transaction[bytes]", key: bytes, node: str, downloads: int, size: int) -> None:
        txn.put(key + node.encode(), _HELD.pack(downloads, size), db=self._held)

    def _is_new(self, txn: "lmdb.Transaction[bytes]", client: bytes) -> bool:
        return txn.get(client, db=self._clients) is None


def _slice(limit: int, used: int, wanted: int, most: int) -> int:
    """How much to lend; -1 where there is not enough, 0 where nothing is wanted or nothing is limited."""
    if not limit or not wanted:
        return 0
    left = limit - used
    return -1 if wanted > left else max(wanted, min(most, left // SLICE_SHARE))


# ---------------------------------------------------------------- at every worker


class Lender(Protocol):
    """Where slices come from: the origin's Ledger, or the way to it. `to` and `of` name the node that asks this one, ""
    = itself."""

    async def lend(self, wish: Wish, to: str = "") -> Lent: ...
    async def take_back(self, back: Return, of: str = "") -> None: ...


class Tolls:
    """Charges downloads: `take` does, and what `spending` gives. `clock` is that of the delivery loop."""

    def __init__(self, lender: Lender, clock: Callable[[], float] = monotonic) -> None:
        self._lender = lender
        self._clock = clock
        self._pockets: OrderedDict[str, Pocket] = OrderedDict()
        self._low: list[tuple[str, Entitlement]] = []
        self._bell = trio.Event()

    async def take(self, token_id: str, entitlement: Entitlement, client: str, size: int) -> None:
        """Charge one download of `size` bytes. Raises Forbidden where a limit is reached, Unavailable where that
        cannot be known. No await stands between what is seen in the pocket and what is taken out of it."""
        pocket = self._pocket(token_id, entitlement)
        if self._spent(token_id, pocket, entitlement, client, size):
            return
        async with pocket.lock:
            if self._spent(token_id, pocket, entitlement, client, size):
                return
            wish = Wish(
                token_id,
                1 if entitlement.downloads_max and not pocket.downloads else 0,
                max(0, size - pocket.size) if entitlement.bytes_max else 0,
                client if entitlement.clients_max and client not in pocket.clients else "",
            )
            lent = await self._lender.lend(wish)
            if lent.refused:
                raise used_up(lent.refused, lent.left_ms)
            self._put_in(pocket, lent)
            if wish.client:
                pocket.clients.add(wish.client)
            if not self._spent(token_id, pocket, entitlement, client, size):
                raise used_up("downloads")  # a period ended on the way: what was held of it is gone

    def holds(self, token_id: str, entitlement: Entitlement) -> bool:
        """Is anything here that a download could be charged to?"""
        pocket = self._pockets.get(token_id)
        return (
            pocket is not None
            and pocket.reset_ms == entitlement.reset_ms
            and (pocket.downloads > 0 or not entitlement.downloads_max)
        )

    def spending(self, token_id: str, entitlement: Entitlement, client: str) -> Roll:
        """What charges one answer each time that it is sent, at once, of what is here; it says no where more must be
        borrowed first."""

        def draw(roll: Roll, size: int) -> bool:
            pocket = self._pockets.get(token_id)
            if pocket is None or pocket.reset_ms != entitlement.reset_ms:
                return False
            if not self._spent(token_id, pocket, entitlement, client, size):
                return False
            pocket.fill(roll, entitlement, size)
            return True

        return Roll(draw)

    def _pocket(self, token_id: str, entitlement: Entitlement) -> Pocket:
        pocket = self._pockets.get(token_id)
        if pocket is None or pocket.reset_ms != entitlement.reset_ms:
            if pocket is not None:
                pocket.empty()
            pocket = self._pockets[token_id] = Pocket(entitlement.reset_ms)
        self._pockets.move_to_end(token_id)
        while len(self._pockets) > POCKETS_MAX:
            self._pockets.popitem(last=False)[1].empty()
        return pocket

    def _put_in(self, pocket: Pocket, lent: Lent) -> None:
        pocket.put_in(lent.period_ms, self._clock() + lent.left_ms / 1000, lent.downloads, lent.size)
        pocket.downloads_low, pocket.size_low = lent.downloads // LOW_SHARE, lent.size // LOW_SHARE

    def _spent(self, token_id: str, pocket: Pocket, entitlement: Entitlement, client: str, size: int) -> bool:
        if not pocket.take(entitlement, client, size, self._clock()):
            return False
        if pocket.is_low:
            pocket.asked = True
            self._low.append((token_id, entitlement))
            self._bell.set()
        return True

    async def run(self) -> None:
        """Borrow ahead where little is left and more is asked for; give back what lies idle."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._refill)
            nursery.start_soon(self._return_idle)

    async def _refill(self) -> None:
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            low, self._low = self._low, []
            for token_id, entitlement in low:
                await self.borrow_ahead(token_id, entitlement)

    async def borrow_ahead(self, token_id: str, entitlement: Entitlement) -> None:
        """Where not enough is left to lend, what is here is the last; where it cannot be known, who needs it asks."""
        pocket = self._pockets.get(token_id)
        if pocket is None or pocket.reset_ms != entitlement.reset_ms:
            return
        async with pocket.lock:
            wish = Wish(token_id, int(bool(entitlement.downloads_max)), int(bool(entitlement.bytes_max)), "")
            try:
                lent = await self._lender.lend(wish)
            except Problem:
                return
            if not lent.refused:
                self._put_in(pocket, lent)

    async def _return_idle(self) -> None:
        while True:
            await trio.sleep(IDLE_SECONDS)
            now_s = self._clock()
            since_s = now_s - IDLE_SECONDS
            await self._return([id for id, one in self._pockets.items() if one.is_idle(since_s, now_s)])

    async def farewell(self) -> None:
        """Give back all that is held, as far as there is time."""
        with trio.move_on_after(FAREWELL_SECONDS_MAX):
            await self._return(list(self._pockets))

    async def _return(self, ids: list[str]) -> None:
        for id in ids:
            pocket = self._pockets.get(id)
            if pocket is None or pocket.lock.locked():
                continue
            del self._pockets[id]
            pocket.unroll()
            if pocket.downloads or pocket.size:
                back = Return(id, pocket.period_ms, pocket.downloads, pocket.size)
                pocket.empty()
                try:
                    await self._lender.take_back(back)
                except Problem:
                    continue  # it may have been heard: told again it could be lent twice


def used_up(what: str, left_ms: int = NEVER_MS) -> Forbidden:
    """What a customer is told; `left_ms` from now a new period begins."""
    said = {
        "downloads": "The downloads that this token allows are used up.",
        "bytes": "The bandwidth that this token allows does not suffice for this.",
        "clients": "This token is in use by as many clients as it allows.",
    }
    asked = "Ask whoever gave you the token."
    anew = f"A new period begins within {_span(left_ms)}. " if left_ms < NEVER_MS // 2 else ""
    return Forbidden(said.get(what, said["downloads"]), f"{anew}{asked}")


def _span(left_ms: int) -> str:
    """In the largest unit of which there is one at least, never less than it is."""
    for unit, size_ms in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        if left_ms > size_ms or unit == "minute":
            count = max(1, -(-left_ms // size_ms))
            return f"{count} {unit}{'s' if count > 1 else ''}"
    raise AssertionError


class Lending:
    """An origin's own way to its Ledger, for its workers and for those of its edges."""

    def __init__(self, ledger: Ledger, token_by_id: Callable[[str], Token | None], now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._token_by_id = token_by_id
        self._now_ms = now_ms
        self._threads = trio.CapacityLimiter(1)

    async def lend(self, wish: Wish, to: str = "") -> Lent:
        """Raises Absent for a token that is no more: the limits are those of its own record, whoever asks."""
        token = self._token_by_id(wish.token_id)
        if token is None or token.entitlement is None or token.revoked_ms:
            raise Absent("There is no such token.")
        if wish.downloads not in (0, 1) or wish.size < 0:
            raise Invalid("This is no wish that could be met.")
        return await trio.to_thread.run_sync(self._ledger.lend, token, wish, self._now_ms(), to, limiter=self._threads)

    async def take_back(self, back: Return, of: str = "") -> None:
        if back.downloads < 0 or back.size < 0 or not 0 <= back.period_ms < NEVER_MS:
            raise Invalid("This is nothing that could be given back.")
        await trio.to_thread.run_sync(self._ledger.take_back, back, of, limiter=self._threads)
