"""Which quotas are reached, or nearly? That of a Workspace, and that of each of its Repositories.

Reached is one that is full, or that an upload had no room in, wherever that was refused. It is told when it begins to
hold, and again only when it ceased meanwhile, and not before `again_ms` are over: whoever fills and empties a place, or
tries an upload a thousand times, makes no more of it.
"""

from collections.abc import Iterator, Sequence

from gateway.noticing.noticing import Found, is_new
from storage.index.catalog import Catalog, Reading
from storage.notices import QUOTA_NEAR, QUOTA_REACHED, Notice
from storage.nouns import SYSTEM
from storage.quotas import Quotas, Refusal, held

LATER_MS = 60_000
"""So often it is looked whether what was told too lately can be told."""

Place = tuple[str, ...]


class QuotaWatch:
    """One worker's. `near_share` of a quota is nearly all of it. `whole`: it looks at what all places hold, too, which
    one worker does; what uploads were refused here, each does."""

    def __init__(self, catalog: Catalog, quotas: Quotas, near_share: float, again_ms: int, *, whole: bool) -> None:
        self._catalog = catalog
        self._quotas = quotas
        self._near_share = near_share
        self._again_ms = again_ms
        self._whole = whole
        self._refused: dict[Place, Refusal] = {}
        self._seen: dict[str, int] = {}
        self._heads: dict[str, int] = {}
        self._moment = self._looked = -1
        self._holds: dict[tuple[Place, str], int] = {}
        """Places and what held of them when they were last looked at, with their quotas."""
        self._fresh: dict[tuple[Place, str], int] = {}
        self._gone: set[tuple[Place, str]] = set()
        self._later: set[str] = set()
        self._later_ms = 0

    def look(self, now_ms: int) -> list[Found]:
        self._refused = self._quotas.refusals()
        found = [
            self._found(place, Notice(QUOTA_REACHED, "", now_ms, one.limit, one.used, one.size))
            for place, one in self._refused.items()
        ]
        moment = self._catalog.moment()
        if self._whole and (moment != self._moment or (self._later and now_ms - self._later_ms >= LATER_MS)):
            found += self._filled(now_ms)
            self._looked = moment
        return found

    def told(self, found: Sequence[Found]) -> None:
        self._quotas.forget_refusals(self._refused)
        self._moment, self._seen = self._looked, self._heads
        for gone in self._gone:
            self._holds.pop(gone, None)
        self._holds |= self._fresh
        self._fresh, self._gone = {}, set()

    def _filled(self, now_ms: int) -> list[Found]:
        """What holds now and did not when it was looked last."""
        self._fresh, self._gone, found = {}, set(), list[Found]()
        with self._catalog.read() as reading:
            self._heads = {name: serial for name, (serial, _) in reading.heads().items()}
            every = self._heads.get(SYSTEM) != self._seen.get(SYSTEM)
            names = {
                name for name, serial in self._heads.items() if every or serial != self._seen.get(name)
            } | self._later
            self._later, self._later_ms = set(), now_ms
            for name in sorted(names - {SYSTEM}):
                places = dict(_quotas_of(reading, name))
                self._gone |= {key for key in self._holds if key[0][0] == name and key[0] not in places}
                for place, limit in places.items():
                    found += self._of_place(reading, place, limit, now_ms)
        return found

    def _of_place(self, reading: Reading, place: Place, limit: int, now_ms: int) -> Iterator[Found]:
        used = held(reading, place)
        full = used >= limit
        for kind, most in ((QUOTA_REACHED, limit), (QUOTA_NEAR, limit * self._near_share)):
            key = (place, kind)
            if used < most:
                self._gone.add(key)
                continue
            if self._holds.get(key) == limit:
                continue
            one = self._found(place, Notice(kind, "", now_ms, limit, used))
            if (full and kind == QUOTA_NEAR) or self._was_told(reading, one):
                self._fresh[key] = limit
            elif is_new(reading, one):
                self._fresh[key] = limit
                yield one
            else:
                self._later.add(place[0])  # it ceased, and began again within the period

    def _was_told(self, reading: Reading, found: Found) -> bool:
        """Was it told before this process began? Then it is taken to have held since."""
        last = reading.noticed(found.workspace, found.repository, found.notice.kind, found.notice.cause)
        return not self._seen and last is not None and last.limit == found.notice.limit

    def _found(self, place: Place, notice: Notice) -> Found:
        return Found(place[0], place[1] if len(place) > 1 else "", notice, self._again_ms)


def _quotas_of(reading: Reading, workspace: str) -> Iterator[tuple[Place, int]]:
    """The places of a Workspace that have a quota, with it."""
    there = reading.workspace(workspace)
    if there is not None and there.quota_bytes:
        yield (workspace,), there.quota_bytes
    for one in reading.repositories(workspace):
        if one.quota_bytes:
            yield (workspace, one.name), one.quota_bytes
