"""Which packages may the caller know of? One that it may not read is as absent as one that never was."""

from collections.abc import Callable

from gateway.access.rights.grants import READ, What
from gateway.access.rights.verdicts import standing
from gateway.console.calls.call import Call
from storage.index.catalog import Reading


def may_know(call: Call, reading: Reading) -> Callable[[str, str], bool]:
    """Of a format and a package of the Repository that the call's path names."""
    return may_know_in(call, reading, call.at["workspace"], call.at["repository"])


def may_know_in(call: Call, reading: Reading, ws: str, name: str) -> Callable[[str, str], bool]:
    """The same for a Repository by its names."""
    repository = reading.repository(ws, name)
    at_ms = 0 if repository is None else repository.at_ms
    stands = standing(reading, call.principal, ws)
    if (repository is not None and repository.public) or stands.whole(What(READ, ws, name), at_ms):
        return lambda format, package: True

    def may(format: str, package: str) -> bool:
        known_as = call.services.governed(format, package)
        if not known_as:
            return stands.whole(What(READ, ws, name, format), at_ms)
        return stands.decide(What(READ, ws, name, format, known_as), at_ms).allowed

    return may
