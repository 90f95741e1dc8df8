"""Which packs do the files of a Repository go to?

A place that may have only so much of the cache has packs of its own: what it has too much goes with them, and nothing
that is others' has to be written on for that. They are small beside what it may have, so that those which are still
being written, and cannot go, are no more of it than a sixteenth for each process. All that has no most shares packs,
which nobody goes on with once other places have one: what those have in them is told when a pack is closed.
"""

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from cache.keeping.shares import Share
from storage.blobs.appending import EVERYBODYS, LANE_NUMBERS, Lane
from storage.blobs.shelf import CACHE_PACK_BYTES_MAX

PACKS_OF_MOST = 16
PACKS_OF_CACHE = 64
"""Of the cache, the packs that are being written in all Lanes are no more than one in so many, for each process."""
PACK_BYTES_MIN = 64 << 10
LOOK_BYTES_MIN = 4 << 20
_FIRST = 1


class Lanes:
    """The Lanes of a node's shares. A place has the same number in each process and after each start, as long as it has
    a most. There may be any number of them: what a process has open at a time is bounded (storage.blobs.appending)."""

    def __init__(
        self, shares: Sequence[Share] = (), bytes_max: int = 0, pack_bytes_max: int = CACHE_PACK_BYTES_MAX
    ) -> None:
        self._lanes: dict[str, Lane] = {}
        self._places: dict[int, str] = {}
        self._look_bytes: dict[int, int] = {}
        bounded = [one for one in shares if one.most < 1]
        apart = "\n".join(sorted(one.place for one in bounded))
        self.everybodys = Lane(_number(f"all but {apart}") if apart else EVERYBODYS, pack_bytes_max)
        each_bytes = bytes_max // (PACKS_OF_CACHE * max(1, len(bounded)))
        for one in bounded:
            most_bytes = int(one.most * bytes_max)
            number = self._taken(one.place)
            wanted = min(pack_bytes_max, each_bytes, most_bytes // PACKS_OF_MOST)
            self._lanes[one.place] = Lane(number, max(PACK_BYTES_MIN, wanted), closed_at_once=True)
            self._look_bytes[number] = max(LOOK_BYTES_MIN, most_bytes // PACKS_OF_MOST)
        self._numbers = {lane.number: lane for lane in self._lanes.values()}

    def _taken(self, place: str) -> int:
        """The next free one where its own is taken, which of a thousand places happens to one in 30 nodes."""
        number = _number(place)
        while number in self._places or number == self.everybodys.number:
            number = _FIRST + (number - _FIRST + 1) % (LANE_NUMBERS - _FIRST)
        self._places[number] = place
        return number

    def of(self, owner: str) -> Lane:
        """Where what belongs to workspace/repository goes; "" = nobody's."""
        return self._lanes.get(owner) or self._lanes.get(owner.partition("/")[0]) or self.everybodys

    def numbered(self, number: int) -> Lane:
        """The Lane of this number, everybody's where there is none any more."""
        return self._numbers.get(number, self.everybodys)

    def place_of(self, number: int) -> str:
        """Whose packs these are; "" where they are several places', or nobody's."""
        return self._places.get(number, "")

    def look_bytes(self, number: int) -> int:
        """After so many bytes more in a Lane it is time to look whether its place has too much."""
        return self._look_bytes.get(number, 0)


def _number(text: str) -> int:
    return _FIRST + xxh3_64_intdigest(text.encode()) % (LANE_NUMBERS - _FIRST)
