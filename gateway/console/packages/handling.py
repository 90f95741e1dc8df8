"""Which package does a call by name mean, and may the caller do this to it?

A package that the caller has no right to is refused before anybody looks whether it is there (THREATS B9): so what is
refused tells nothing.
"""

from typing import NamedTuple

from formats.kit.contract import Room
from formats.kit.handling import Handled, handled
from gateway.access.rights.grants import READ
from gateway.access.rights.permits import Permit
from gateway.access.rights.verdicts import Principal, admit, check_network
from gateway.console.calls.call import Call
from gateway.console.calls.services import Services
from gateway.console.packages.parts import check_network_of
from storage.errors import Forbidden, Invalid
from storage.index.catalog import Reading
from storage.nouns import View


class Named(NamedTuple):
    """A Package in its format, by the name that the View has; `version` as it was given."""

    room: Room
    package: str
    version: str

    @property
    def handled(self) -> Handled:
        return handled(self.room)


def named(services: Services, format: str, package: str, version: str = "") -> Named:
    """Raises Invalid for what is no format or no name."""
    room = services.rooms.get(format) if format in services.formats else None
    if room is None:
        raise Invalid(f"There is no format of this name here: it is one of {', '.join(services.formats)}.")
    if "\0" in version or len(version) > 300:
        raise Invalid("This is no version that could be here.")
    return Named(room, services.normalise(format, package), version)


def permitted(call: Call, reading: Reading, principal: Principal, what: Named, action: str) -> Permit:
    """That the caller may do `action` to the package, in the Repository of the call's path. Raises as `admit` does."""
    return permitted_in(call, reading, principal, (call.at["workspace"], call.at["repository"]), what, action)


def permitted_in(
    call: Call, reading: Reading, principal: Principal, at: tuple[str, str], what: Named, action: str
) -> Permit:
    """The same for any Repository. Packages by name are used from where the Repository's rules let clients in."""
    check_network(principal, call.peer_in(at[0]))
    clearance = admit(reading, principal, *at, "read" if action == READ else "write", what.room.name)
    check_network_of(call, reading, *at)
    if principal.entitlement is not None:
        raise Forbidden("A customer's token handles no packages by name.", "Use an API token.")
    permit = Permit(clearance, what.room)
    if action == READ:
        permit.may_read(what.package)
    else:
        permit.may(action, what.package)
    return permit


def version_meant(what: Named, view: View) -> str:
    """The version itself, where a tag was given that leads to one."""
    if not what.version or view.version(what.package, what.version) is not None:
        return what.version
    return view.tag(what.package, what.version) or what.version


def released(reading: Reading, at: tuple[str, str], what: Named, versions: set[str]) -> None:
    """Raises Forbidden where the Package, or one of these Versions of it, is in quarantine (F14)."""
    package = reading.view(*at, what.room.name).package(what.package)
    withheld = what.room.withheld(package) if package is not None else ""
    held = [reading.quarantine(*at, what.room.name, what.package, one) for one in ("", *sorted(versions))]
    if withheld or any(held):
        raise Forbidden("This is in quarantine.", "Ask the repository's administrators.")
