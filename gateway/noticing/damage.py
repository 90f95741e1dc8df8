"""Which packages cannot be given out any more, since a scrub found their stored bytes damaged?

Told for each Repository with some of the files; what was told is not told again, what is found later is. An edge that
finds damage forgets the bytes and fetches them again, which is nobody's business.
"""

from collections.abc import Callable, Iterable, Sequence

from gateway.noticing.noticing import Found
from storage.index.catalog import Catalog
from storage.notices import DAMAGED, FILES_MAX, Notice
from storage.upkeep.damaged import Missing

WALK_MS = 60_000
"""All files are looked through for it, so not more often than this."""


class DamageWatch:
    """One worker's of an origin. `blobs` are those that are damaged, with when that was found; `missing` are the files
    that need some of them."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: Callable[[], dict[bytes, int]],
        missing: Callable[[dict[bytes, int]], Iterable[Missing]],
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._missing = missing
        self._seen: dict[bytes, int] = {}
        self._now: dict[bytes, int] = {}
        self._walked_ms = 0

    def look(self, now_ms: int) -> list[Found]:
        self._now = self._blobs()
        if not self._now.items() - self._seen.items() or now_ms - self._walked_ms < WALK_MS:
            self._now = {key: at for key, at in self._now.items() if self._seen.get(key) == at}
            return []
        self._walked_ms = now_ms
        places: dict[tuple[str, str], list[Missing]] = {}
        for one in self._missing(self._now):
            places.setdefault((one.workspace, one.repository), []).append(one)
        found = []
        with self._catalog.read() as reading:
            for (workspace, repository), some in places.items():
                last = reading.noticed(workspace, repository, DAMAGED, "")
                fresh = [one for one in some if last is None or one.found_ms > last.period_ms]
                if fresh:
                    at_ms = max(one.found_ms for one in fresh)
                    files = tuple(one.damage for one in fresh[:FILES_MAX])
                    notice = Notice(DAMAGED, "", at_ms, files=files, files_count=len(fresh))
                    found.append(Found(workspace, repository, notice))
        return found

    def told(self, found: Sequence[Found]) -> None:
        self._seen = self._now
