"""May this node still tell of what a call is about? An edge that has lost its origin may not, as it may give no files.

What is told of one thing is refused (503, THREATS F2), and what is told of many leaves those out and says how many they
are. Whoever may not know of a thing hears what he always hears: he is asked for behind his permission.
"""

from collections.abc import Iterable, Mapping

from gateway.access.names import is_slug
from gateway.access.peers import leases
from gateway.access.rights.verdicts import Principal, sees_workspace
from gateway.console.calls.permissions import REPOSITORY_READ, REPOSITORY_WHOLE, Permission
from gateway.console.calls.services import Services
from storage.index.catalog import Reading
from storage.nouns import Repository

READERS = (REPOSITORY_READ, REPOSITORY_WHOLE)
"""What anybody may do to a public Repository."""


def check_leased(
    services: Services, reading: Reading, permission: Permission, principal: Principal, at: Mapping[str, str]
) -> None:
    """Raises Unavailable where this node's leave ran out for what an address names. Of a public Repository everybody
    is told what everybody may read; the rest is its people's."""
    lease, ws = services.lease, at.get("workspace", "")
    if lease is None or not is_slug(ws):
        return
    repository = reading.repository(ws, at["repository"]) if is_slug(at.get("repository", "")) else None
    if repository is not None:
        if permission in READERS:
            leases.check(lease, repository)
        elif not lease.good(repository):
            raise leases.out_of_lease()
    elif not lease.good_in(ws) and sees_workspace(reading, principal, ws):
        raise leases.out_of_lease()


def leased(
    services: Services, found: Iterable[Repository], *, to_people: bool = False
) -> tuple[list[Repository], dict[str, object]]:
    """Those of which this node may tell, and what an answer says of the others: nothing where there are none.
    `to_people`: what is told is not for everybody, of public Repositories either."""
    every, lease = list(found), services.lease
    told = [one for one in every if (lease is None or lease.good(one) if to_people else leases.may_serve(lease, one))]
    return told, {"left_out": len(every) - len(told)} if len(told) < len(every) else {}
