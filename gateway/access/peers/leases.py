"""For how long is an edge's word good? What it may give of private things, and tell of them, to whoever may have them.

The one judge of both ways: packages in the tools' own protocols (gateway/front), and what the API tells of Repositories
(gateway/console). A lease is renewed by each word from the origin, and is as long as the Repository says. It ends for a
Workspace where something is missing that may have taken something away (THREATS F2, F10). An origin has none: None.
"""

from time import monotonic
from typing import Protocol

from storage.errors import Unavailable
from storage.index.holes import CLOSES_ALL, Hole, closed
from storage.nouns import Repository


class Lease(Protocol):
    """An edge's leave to serve private packages: renewed by each word from the origin."""

    def synced(self) -> bool:
        """Has this edge once had all that its origin has? Before that, what it does not know may well exist."""
        ...

    def good(self, repository: Repository) -> bool: ...
    def good_in(self, workspace: str) -> bool:
        """May private things of a Workspace be told that belong to none of its Repositories? "" = of no Workspace."""
        ...

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

    def good_in(self, workspace: str) -> bool:
        return monotonic() <= self.whole_s(workspace) + self._seconds

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


def may_serve(lease: Lease | None, repository: Repository) -> bool:
    """May a node give or tell anything of this Repository to anybody, another edge too?"""
    return lease is None or repository.public or lease.good(repository)


def check(lease: Lease | None, repository: Repository) -> None:
    """Raises Unavailable where it may not."""
    if not may_serve(lease, repository):
        raise out_of_lease()


def out_of_lease() -> Unavailable:
    """What is said where it may not."""
    why = (
        "This edge has lost its origin, or could not take in a change that may be about this, and its leave to serve"
        " private packages ran out."
    )
    return Unavailable(why, retry_after_s=2)
