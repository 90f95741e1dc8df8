"""Which published files is this node to hold before anybody asks? What the policies of its region want, as far as there
is room.

They are counted in one order (by Repository, format, Package, file), so that who fetches and who evicts, in whichever
process, mean the same files by what fits.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from cache.wanted import ALONE, Ties, chosen, policy_of
from storage.index.catalog import Catalog, Reading
from storage.nouns import File, Replication, Repository

FILES_MAX = 1_000_000


class Wish(NamedTuple):
    """One file that is wanted, and why. Not `fits`: there is no room for it beside those before it."""

    repository: Repository
    policy: Replication
    format: str
    package: str
    file: File
    fits: bool


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
    ) -> None:
        self._catalog = catalog
        self.region = region
        self._formats = tuple(formats)
        self._bytes_max = bytes_max
        self._now_ms = now_ms
        self._ties = ties
        self._moment = -1
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

    def blobs(self) -> Set[bytes]:
        """What is not to be evicted. Walks all of it where the index has moved: call it in a thread."""
        if self.region and (moment := self._catalog.moment()) != self._moment:
            with self._catalog.read() as reading:
                self._blobs = frozenset(one.file.sha256 for one in self.wishes(reading) if one.fits)
            self._moment = moment
        return self._blobs
