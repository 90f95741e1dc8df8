"""May a body that is on its way go on? What would be refused now is cut, where that is what a refusal is for.

A Leave stands beside the bytes as long as they are being sent: as what keeps their packs open, or as what a request
task works under. It is asked again when anything has changed, and while the origin is silent.

    quarantined since           cut
    token revoked, right lost   cut; so an edge that is revoked, or may not see the Workspace any more
    repository dropped          cut
    lease of the edge ran out   cut, where the repository is private
    token or pass expired       goes on: it was good when the request began
    file deleted or replaced    goes on: what was asked for is what is sent
"""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

import msgspec

from formats.kit.contract import Room, governed
from gateway.access.peers import edges
from gateway.access.rights import queried
from gateway.access.rights.grants import READ, What
from gateway.access.rights.verdicts import principal_of, standing
from storage.errors import Unavailable
from storage.index.catalog import Reading
from storage.index.holes import CLOSES_ALL, Hole, closed
from storage.nouns import Quarantine, Repository


class Lease(Protocol):
    """An edge's leave to serve private packages: renewed by each word from the origin."""

    def synced(self) -> bool:
        """Has this edge once had all that its origin has? Before that, what it does not know may well exist."""
        ...

    def good(self, repository: Repository) -> bool: ...
    def until_s(self, repository: Repository) -> float:
        """When it runs out, monotonic."""
        ...

    def silent_s(self) -> float:
        """For how long the origin was not heard."""
        ...


class Hears(Protocol):
    """What follows the origin: cache.following.follower.Follower."""

    @property
    def synced(self) -> bool: ...
    @property
    def last_contact_s(self) -> float:
        """Monotonic; 0 for never."""
        ...

    @property
    def whole_s(self) -> float:
        """Monotonic; what the origin said until then is all here."""
        ...

    @property
    def closed_s(self) -> float:
        """Monotonic; since when something is missing that may have taken something away; 0 = nothing is."""
        ...

    def holes(self) -> tuple[Hole, ...]: ...


class EdgeLease:
    """An edge's leave to serve private packages: each beat of the origin renews it, once all that was said before it is
    here. For a Workspace of which an entry could not be taken in that may have taken something away, it ends there."""

    def __init__(self, follower: Hears, seconds: float) -> None:
        self._follower = follower
        self._seconds = seconds

    def synced(self) -> bool:
        return self._follower.synced

    def good(self, repository: Repository) -> bool:
        return monotonic() < self.until_s(repository)

    def until_s(self, repository: Repository) -> float:
        return self.whole_s(repository.workspace) + (repository.lease_s or self._seconds)

    def whole_s(self, workspace: str = "") -> float:
        """Monotonic: until when nothing that the origin said of this Workspace is missing; "" = of what is in none."""
        whole_s, closed_s = self._follower.whole_s, self._follower.closed_s
        if closed_s and closed(self._follower.holes()) & {workspace, CLOSES_ALL}:
            return min(whole_s, closed_s)
        return whole_s

    def silent_s(self) -> float:
        """Also counts while a Workspace is closed: what is sent of it is looked at again."""
        return monotonic() - min(self._follower.last_contact_s, self._follower.closed_s or float("inf"))


def may_serve(lease: Lease, repository: Repository) -> bool:
    """May an edge give anything of this Repository to anybody, another edge too?"""
    return repository.public or lease.good(repository)


def out_of_lease() -> Unavailable:
    """What is said where it may not."""
    why = (
        "This edge has lost its origin, or could not take in a change that may be about this, and its leave to serve"
        " private packages ran out."
    )
    return Unavailable(why, retry_after_s=2)


class Subject(msgspec.Struct, frozen=True):
    """What is sent to whom: a file of a Version, or a document where `package` is ""."""

    workspace: str
    repository: str
    token_id: str
    format: str = ""
    package: str = ""
    version: str = ""


class Leave:
    """A Subject's leave. `held` is kept referenced meanwhile."""

    __slots__ = ("held", "subject")

    def __init__(self, subject: Subject, held: object = None) -> None:
        self.subject = subject
        self.held = held


def stands(reading: Reading, rooms: Callable[[str], Room | None], lease: Lease | None, subject: Subject) -> bool:
    """May it go on?"""
    repository = reading.repository(subject.workspace, subject.repository)
    room = rooms(subject.format)
    if repository is None or not _may_read(reading, repository, subject, room):
        return False
    if lease is not None and not may_serve(lease, repository):
        return False
    if not subject.package:
        return True
    if quarantine_of(reading, subject) is not None:
        return False
    package = reading.view(subject.workspace, subject.repository, subject.format).package(subject.package)
    return room is None or package is None or not room.withheld(package)


def _may_read(reading: Reading, repository: Repository, subject: Subject, room: Room | None) -> bool:
    """A public repository is read by everybody, but not under a token that was taken away: it says who reads."""
    if not subject.token_id:
        return repository.public
    if (name := edges.named_by(subject.token_id)) is not None:
        edge = reading.edge(name)
        return edge is not None and edges.is_living(edge) and edges.sees(edge, subject.workspace)
    token = reading.token_by_id(subject.token_id)
    if token is None or token.revoked_ms:
        return False
    if repository.public:
        return True
    bound = standing(reading, principal_of(token), repository.workspace)
    what = What(READ, repository.workspace, repository.name, subject.format)
    if not subject.package or room is None:
        return bound.possible(what, repository.at_ms)
    known_as = governed(room, subject.package)
    if known_as is None:
        return bound.whole(what, repository.at_ms)
    sought = queried.sought(room, subject.package)
    if subject.version and not hasattr(room, "consists"):
        tags = reading.view(subject.workspace, subject.repository, subject.format).tags(subject.package)
        sought = sought._replace(held=queried.held(subject.version, tags))
    return bound.decide(what._replace(package=known_as, sought=sought), repository.at_ms).allowed


def quarantine_of(reading: Reading, subject: Subject) -> Quarantine | None:
    """What withholds this Package, or this Version of it."""
    at = (subject.workspace, subject.repository, subject.format, subject.package)
    found = reading.quarantine(*at)
    if found is None and subject.version:
        found = reading.quarantine(*at, subject.version)
    return found
