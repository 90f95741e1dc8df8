"""How much of the cache may a Repository have, and how much is nobody's to take from it?

    workspace[/repository]=LEAST-MOST      in per cent of the cache; either may be left out: "acme=10-", "acme/big=-40"

LEAST is guaranteed: what a place has up to there stays. Above MOST its own oldest goes, whether or not there is room
elsewhere. A blob belongs to whoever had it fetched first, for as long as it is here; what nobody did (documents) has
neither bound. The cache is what may be used, or what is there where the disk has less.

`Accounts` is pure arithmetic over packs; `Owners` remembers who had what fetched.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from typing import NamedTuple

import msgspec

from cache.keeping.shelf import Shelf
from storage.blobs.shelf import PackInfo
from storage.errors import Full

KIND = "owner"
LEAST_SHARES_MAX = 0.9
"""Of all guarantees together: something must be left for what is asked for today."""

OwnerOf = Callable[[bytes], str]
"""sha256 → workspace/repository, "" = nobody's."""

Members = Callable[[int], Sequence[tuple[bytes, int]]]
"""A pack to (sha256, size) of the blobs in it."""


class Share(NamedTuple):
    """`least` and `most` of a place, as parts of 1."""

    place: str
    least: float
    most: float


def parse(text: str) -> Share:
    """Raises ValueError where it says nothing that could hold."""
    place, equals, bounds = text.partition("=")
    low, dash, high = bounds.partition("-")
    parts = place.split("/")
    try:
        least, most = float(low or 0) / 100, float(high or 100) / 100
    except ValueError:
        least, most = 1.0, 0.0
    if not (equals and dash and all(parts) and len(parts) < 3 and 0 <= least <= most <= 1 and most > 0):
        raise ValueError(f"{text!r} is no share: write workspace[/repository]=LEAST-MOST in per cent, as acme=10-40")
    return Share(place, least, most)


def parsed(texts: Sequence[str], small_least: float = 0.0) -> tuple[Share, ...]:
    """All of them. Raises ValueError where they cannot hold together."""
    shares = tuple(parse(one) for one in texts)
    if len({one.place for one in shares}) < len(shares):
        raise ValueError("a place has two shares")
    wholes: dict[str, float] = {}
    parts: dict[str, float] = {}
    for one in shares:
        workspace, _, repository = one.place.partition("/")
        told = parts if repository else wholes
        told[workspace] = told.get(workspace, 0.0) + one.least
    least = small_least + sum(max(wholes.get(name, 0.0), parts.get(name, 0.0)) for name in wholes.keys() | parts.keys())
    if round(least, 6) > LEAST_SHARES_MAX:
        raise ValueError(f"{least:.0%} of the cache are guaranteed, {LEAST_SHARES_MAX:.0%} at most can be")
    return shares


class Portion(msgspec.Struct, frozen=True):
    """What a place with a share has of the cache, and may have. `most_bytes` 0 = as much as there is."""

    place: str
    bytes: int
    guaranteed_bytes: int
    most_bytes: int


class Owners:
    """Who had a blob fetched. Kept where there are shares, for as long as small records are."""

    def __init__(self, shelf: Shelf, shares: Sequence[Share]) -> None:
        self._shelf = shelf
        self._wanted = bool(shares)

    def record(self, sha256: bytes, place: str) -> None:
        """`place` is workspace/repository. From any thread. On a full disk it is not remembered."""
        if self._wanted and place:
            with suppress(Full):
                self._shelf.put(KIND, sha256, place.encode())

    def of(self, sha256: bytes) -> str:
        return (self._shelf.get(KIND, sha256) or b"").decode() if self._wanted else ""


class Accounts:
    """Which places have how much, pack by pack. Bytes are those of the blobs, not of the packs around them.

    `bytes_max` is that of the cache, and may be set anew. Whose a blob is `owner_of` tells, or else `place_of` by the
    number of the pack's Lane (cache.keeping.lanes).
    """

    def __init__(
        self,
        bytes_max: int,
        shares: Sequence[Share] = (),
        owner_of: OwnerOf = lambda sha256: "",
        place_of: Callable[[int], str] = lambda lane: "",
    ) -> None:
        self.bytes_max = bytes_max
        self._shares = {one.place: one for one in shares}
        self._bounded = [one for one in shares if one.most < 1]
        self._owner_of = owner_of
        self._place_of = place_of
        self._packs: dict[int, Counter[str]] = {}
        self._sizes: dict[int, int] = {}
        self._places: dict[int, str] = {}
        self._sealed: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._shared: dict[int, dict[bytes, tuple[str, ...]]] = {}

    def used(self, place: str) -> int:
        """Bytes that a place with a share has."""
        return self._sealed[place] + self._open[place]

    def admit(self, pack: PackInfo, inside: Sequence[tuple[bytes, int]]) -> None:
        """A sealed pack with what is in it."""
        if not self._shares:
            return
        if place := self._place_of(pack.lane):
            self._places[pack.id] = place
        held: Counter[str] = Counter()
        for sha256, size in inside:
            for place in self._levels(pack.id, sha256):
                held[place] += size
        self._packs[pack.id] = held
        self._sizes[pack.id] = sum(size for _, size in inside)
        self._sealed += held

    def open(self, packs: Iterable[PackInfo]) -> None:
        """The packs that are being written: those of a place's Lane are its own."""
        self._open = Counter()
        for one in packs:
            for place in self._levels_of(self._place_of(one.lane)):
                self._open[place] += one.live_bytes

    def portions(self, packs: Sequence[PackInfo], members: Members) -> list[Portion]:
        """What each place has. `packs` are those that are being written: of what lies in one that several places share
        the owner is asked for, once."""
        self.open(packs)
        shared = [one.id for one in packs if self._shares and not self._place_of(one.lane)]
        self._shared = {pack: self._shared.get(pack, {}) for pack in shared}
        of_shared: Counter[str] = Counter()
        for pack, known in self._shared.items():
            for sha256, size in members(pack):
                levels = known.get(sha256)
                if levels is None:
                    levels = known[sha256] = tuple(self._levels(pack, sha256))
                for place in levels:
                    of_shared[place] += size
        return [
            Portion(
                one.place,
                self.used(one.place) + of_shared[one.place],
                int(one.least * self.bytes_max),
                int(one.most * self.bytes_max) if one.most < 1 else 0,
            )
            for one in self._shares.values()
        ]

    def forget(self, pack: int, moved: Sequence[tuple[bytes, int]] = ()) -> None:
        """It is gone; what was `moved` out of it is in packs that are being written."""
        for sha256, size in moved:
            for place in self._levels(pack, sha256):
                self._open[place] += size
        self._sizes.pop(pack, None)
        self._sealed -= self._packs.pop(pack, Counter[str]())
        self._places.pop(pack, None)

    def over(self) -> frozenset[str]:
        """The places that have more than their most."""
        return frozenset(one.place for one in self._bounded if self.used(one.place) > one.most * self.bytes_max)

    def held(self, pack: int, places: Set[str]) -> int:
        """How many bytes one of these places has in this pack, the one that has most."""
        held = self._packs.get(pack, Counter[str]())
        return max((held[place] for place in places), default=0)

    def size(self, pack: int) -> int:
        """All that is in this pack, of whomever."""
        return self._sizes.get(pack, 0)

    def is_too_large(self, pack: int, places: Set[str]) -> bool:
        """Has one of these places more in this pack alone than it may have?"""
        held = self._packs.get(pack, Counter[str]())
        return any(held[place] > self._shares[place].most * self.bytes_max for place in places)

    def of_any(self, pack: int, sha256: bytes, places: Set[str]) -> bool:
        """Does this blob of a pack belong to one of these places?"""
        return any(place in places for place in self._levels(pack, sha256))

    def guaranteed(self, pack: int, sha256: bytes) -> bool:
        """Would a place have less than its least without what it has in this pack, and is this blob part of that?"""
        held = self._packs.get(pack)
        if not held:
            return False
        return any(
            held[place] and self.used(place) - held[place] < self._shares[place].least * self.bytes_max
            for place in self._levels(pack, sha256)
        )

    def _levels(self, pack: int, sha256: bytes) -> list[str]:
        """The places with a share that a blob belongs to: a Repository, its Workspace."""
        return self._levels_of(self._owner_of(sha256) or self._places.get(pack, "")) if self._shares else []

    def _levels_of(self, owner: str) -> list[str]:
        both = dict.fromkeys((owner, owner.partition("/")[0]))
        return [place for place in both if place in self._shares]
