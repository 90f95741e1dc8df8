"""Who may know where a Repository's upstreams are? Its people: what is public may come from inside a private network.

An address tells of a supplier, and of machines that nobody outside should know of; the names that may come from there
although they were published here are some of them names of private packages (THREATS B9). So both are for who manages
the Repository, or reads all of it by a right of its own: neither for anybody in the street, nor for a customer, nor for
who may read some packages.
"""

from gateway.access.rights.grants import MANAGE, READ, What
from gateway.access.rights.verdicts import standing
from gateway.console.calls.call import Call
from storage.index.catalog import Reading
from storage.nouns import Repository


def may_know_addresses(call: Call, reading: Reading, repository: Repository) -> bool:
    """May the caller, who may know of the Repository? An edge says so as long as it may speak of private things."""
    principal, lease = call.principal, call.services.lease
    if not principal.id or principal.entitlement is not None or (lease is not None and not lease.good(repository)):
        return False
    stands = standing(reading, principal, repository.workspace)
    at = (repository.workspace, repository.name)
    return any(stands.whole(What(action, *at), repository.at_ms) for action in (MANAGE, READ))
