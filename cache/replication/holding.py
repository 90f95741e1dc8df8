"""Which published files is this node to hold before anybody asks? What the policies of its region want, as far as there
is room.

They are counted in one order (by Repository, format, Package, file), so that who fetches and who evicts, in whichever
process, mean the same files by what fits. Behind them come foreign files that somebody has drawn, the last ones first,
as far as their own share goes: what falls out of it does not come back, unless it is drawn anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from cache.replication.drawn import Row
from cache.replication.wanted import ALONE, Ties, chosen, policy_of
from cache.replication.wanted_drawn import Known, chosen_drawn
from storage.index.catalog import Catalog, Reading
from storage.nouns import File, Replication, Repository

FILES_MAX = 1_000_000


class Wish(NamedTuple):
    """One file that is wanted, and why. Not `fits`: there is no room for it beside those before it. `drawn` is the row
    of a foreign one, whose `file` has the name of its request."""

    repository: Repository
    policy: Replication
    format: str
    package: str
    file: File
    fits: bool
    drawn: Row | None = None


class Foreign(Protocol):
    """What is known of foreign files that somebody drew."""

    def mark(self) -> int:
        """Another one whenever that has changed."""
        ...

    def known(self, reading: Reading, repository: Repository) -> list[Known]:
        """Those of a Repository that may be had here."""
        ...

    def tags_of(self, reading: Reading, repository: Repository, format: str, package: str) -> Mapping[str, str]:
        """Of a foreign Package, as far as was heard here."""
        ...


class Holding:
    """The wishes for one node. `region` "" = it has none. `bytes_max` is what may be held in all."""

    def __init__(
        self,
        catalog: Catalog,
        region: str,
        formats: Sequence[str],
        bytes_max: int,
        now_ms: Callable[[], int],
        ties: Ties = ALONE,
        *,
        foreign_files_max: int = 0,
        foreign_bytes_max: int = 0,
    ) -> None:
        """Of foreign files at most so many, and so many bytes within `bytes_max`."""
        self.foreign: Foreign | None = None
        self._foreign_files_max = foreign_files_max
        self._foreign_bytes_max = foreign_bytes_max
        self._catalog = catalog
        self.region = region
        self._formats = tuple(formats)
        self._bytes_max = bytes_max
        self._now_ms = now_ms
        self._ties = ties
        self._moment: object = None
        self._blobs: Set[bytes] = frozenset()

    def policies(self, reading: Reading) -> Iterator[tuple[Repository, Replication]]:
        """The repositories that this node holds something of unasked."""
        for repository in reading.repositories() if self.region else ():
            policy = policy_of(repository, self.region)
            if policy is not None and policy.mode == "eager":
                yield repository, policy

    def wishes(self, reading: Reading) -> Iterator[Wish]:
        """All of them, each of the same bytes too; FILES_MAX different ones fit at most. What is in quarantine is
        none."""
        fitting: set[bytes] = set()
        bytes_left = self._bytes_max
        now_ms = self._now_ms()
        for repository, policy in self.policies(reading):
            at = (repository.workspace, repository.name)
            withheld = {(one.format, one.package, one.version) for one in reading.quarantines(*at)}
            for format in self._formats:
                for package, file in chosen(policy, format, reading.view(*at, format), now_ms, self._ties):
                    if withheld & {(format, package, ""), (format, package, file.version)}:
                        continue
                    if file.sha256 not in fitting and file.size <= bytes_left and len(fitting) < FILES_MAX:
                        fitting.add(file.sha256)
                        bytes_left -= file.size
                    yield Wish(repository, policy, format, package, file, file.sha256 in fitting)
        if self.foreign is not None:
            yield from self._drawn(self.foreign, reading, min(bytes_left, self._foreign_bytes_max), fitting)

    def _drawn(self, foreign: Foreign, reading: Reading, bytes_left: int, held: Set[bytes]) -> Iterator[Wish]:
        """The wishes for foreign files; bytes that are `held` anyway count no more."""
        found: list[tuple[Repository, Replication, Known]] = []
        for repository, policy in self.policies(reading):
            if repository.upstreams:
                found += [(repository, policy, one) for one in self._drawn_in(foreign, reading, repository, policy)]
        found.sort(key=lambda one: (one[2].row.at_ms, one[2].row.number), reverse=True)
        fitting = set(held)
        for number, (repository, policy, one) in enumerate(found):
            row = one.row
            if row.sha256 not in fitting and row.size <= bytes_left and number < self._foreign_files_max:
                fitting.add(row.sha256)
                bytes_left -= row.size
            file = File(row.target, row.version, row.sha256, row.size)
            yield Wish(repository, policy, row.format, one.package, file, row.sha256 in fitting, row)

    def _drawn_in(
        self, foreign: Foreign, reading: Reading, repository: Repository, policy: Replication
    ) -> Iterator[Known]:
        at = (repository.workspace, repository.name)
        withheld = {(one.format, one.package, one.version) for one in reading.quarantines(*at)}
        for one in chosen_drawn(
            policy,
            foreign.known(reading, repository),
            self._now_ms(),
            lambda format, package: foreign.tags_of(reading, repository, format, package),
        ):
            place = one.row.format, one.package
            if not withheld & {(*place, ""), (*place, one.version)}:
                yield one

    def moment(self) -> object:
        """Another one whenever something else may be wanted."""
        return self._catalog.moment(), self.foreign.mark() if self.foreign is not None else 0

    def blobs(self) -> Set[bytes]:
        """What is not to be evicted. Walks all of it where the index has moved: call it in a thread."""
        if self.region and (moment := self.moment()) != self._moment:
            with self._catalog.read() as reading:
                self._blobs = frozenset(one.file.sha256 for one in self.wishes(reading) if one.fits)
            self._moment = moment
        return self._blobs
