"""Who tells what an origin notices by itself, and how often?

Whatever holds is found by looking: how full a place is, what was lent, what a scrub marked. So a crash loses nothing:
what still holds is found again. Whether it was told already is decided in the transaction that would tell it, by the
row that the fold keeps of it, so that of any number of workers, edges and restarts one tells, once a period.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import batched
from typing import NamedTuple, Protocol

import lmdb
import trio

from gateway.insight.errorlog import report
from storage.commit import Committed, Decide, Decided
from storage.errors import Problem
from storage.index.catalog import Reading
from storage.notices import Notice, PutNotice
from storage.nouns import Draft

LOOK_SECONDS = 1.0
ENTRY_MAX = 100
"""So many notices stand in one entry."""
ACTOR = "node"
"""Who did it, in the audit: nobody but this node."""

Commit = Callable[[Decide], Awaitable[Committed]]


class Found(NamedTuple):
    """Something to be told of a place (`repository` "" = of the Workspace), again not before so many ms are over."""

    workspace: str
    repository: str
    notice: Notice
    again_ms: int = 1


class Source(Protocol):
    """Where something may be found. Both block; `told` follows when all of it stands in the journal, by whoever."""

    def look(self, now_ms: int) -> list[Found]: ...
    def told(self, found: Sequence[Found]) -> None: ...


class Noticing:
    """The service of a worker of an origin."""

    def __init__(self, sources: Sequence[Source], commit: Commit, now_ms: Callable[[], int]) -> None:
        self._sources = sources
        self._commit = commit
        self._now_ms = now_ms

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            for source in self._sources:
                try:
                    await self.look(source)
                except (Problem, OSError, lmdb.Error) as problem:
                    report("error", "what this node notices cannot be told for a moment", why=str(problem))

    async def look(self, source: Source) -> None:
        """Tell what one source has. Raises Problem, and what disks raise; then the source has it still."""
        found = await trio.to_thread.run_sync(source.look, self._now_ms())
        for some in _by_place(found):
            await self._commit(_decision(some))
        await trio.to_thread.run_sync(source.told, found)


def _by_place(found: Iterable[Found]) -> list[tuple[Found, ...]]:
    """What can stand in one entry, together."""
    places: dict[tuple[str, str, str], list[Found]] = {}
    for one in found:
        places.setdefault((one.workspace, one.repository, one.notice.kind), []).append(one)
    return [part for some in places.values() for part in batched(some, ENTRY_MAX, strict=False)]


def _decision(some: Sequence[Found]) -> Decide:
    workspace, repository, notice, _ = some[0]

    def decide(reading: Reading) -> Decided:
        if reading.workspace(workspace) is None or (repository and reading.repository(workspace, repository) is None):
            return Decided(None)
        fresh = tuple(PutNotice(one.notice) for one in some if is_new(reading, one))
        draft = Draft(workspace, repository, ACTOR, notice.kind, fresh) if fresh else None
        return Decided(draft, None, workspace)

    return decide


def is_new(reading: Reading, found: Found) -> bool:
    """Was it not told yet, for this period and this limit?"""
    notice = found.notice
    last = reading.noticed(found.workspace, found.repository, notice.kind, notice.cause)
    if last is None or last.limit != notice.limit:
        return True
    return notice.period_ms >= last.period_ms + found.again_ms
