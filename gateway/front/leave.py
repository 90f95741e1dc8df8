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

import msgspec

from formats.kit.contract import Room, governed
from gateway.access.peers import edges
from gateway.access.peers.leases import Lease, may_serve
from gateway.access.rights import queried
from gateway.access.rights.grants import READ, What
from gateway.access.rights.verdicts import principal_of, standing
from storage.index.catalog import Reading
from storage.nouns import Quarantine, Repository


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
    if not may_serve(lease, repository):
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
