"""Which packages may the caller know of? One that it may not read is as absent as one that never was.

What a Repository holds is told from where its network rules let clients in, as its files are given (THREATS B9). Here
is that decided for all of the API: an address that names the Repository says so, a search finds nothing of it.
"""

from collections.abc import Callable

from gateway.access.rights import networks, queried
from gateway.access.rights.grants import READ, What
from gateway.access.rights.verdicts import standing
from gateway.console.calls.call import Call
from storage.index.catalog import Reading


def may_know(call: Call, reading: Reading) -> Callable[[str, str], bool]:
    """Of a format and a package of the Repository that the call's path names. Raises Forbidden where its network rules
    keep the client out."""
    check_network_of(call, reading, call.at["workspace"], call.at["repository"])
    return may_know_in(call, reading, call.at["workspace"], call.at["repository"])


def may_know_in(call: Call, reading: Reading, ws: str, name: str) -> Callable[[str, str], bool]:
    """The same for a Repository by its names; of one whose network rules keep the client out it may know nothing."""
    repository = reading.repository(ws, name)
    if repository is not None:
        ruling = networks.decide(repository, reading.workspace(ws), call.peer_in(ws), call.services.country_of)
        if not ruling.allowed:
            return lambda format, package: False
    at_ms = 0 if repository is None else repository.at_ms
    stands = standing(reading, call.principal, ws)
    if (repository is not None and repository.public) or stands.whole(What(READ, ws, name), at_ms):
        return lambda format, package: True

    def may(format: str, package: str) -> bool:
        known_as = call.services.governed(format, package)
        if not known_as:
            return stands.whole(What(READ, ws, name, format), at_ms)
        sought = queried.sought(call.services.rooms[format], package) if format in call.services.rooms else None
        return stands.decide(What(READ, ws, name, format, known_as, sought=sought), at_ms).allowed

    return may


def check_network_of(call: Call, reading: Reading, ws: str, name: str) -> None:
    """Raises Forbidden where the network rules of a Repository, of which the caller may know, keep the client out."""
    repository = reading.repository(ws, name)
    if repository is not None:
        networks.check(repository, reading.workspace(ws), call.peer_in(ws), call.services.country_of)
