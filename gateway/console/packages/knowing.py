"""What is there to tell of a version that somebody searches for, beside its names? Looked up when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from formats.kit.contract import prerelease
from formats.kit.traits import Dependency, Traits, traits
from gateway.access.rights.verdicts import judge_workspace
from gateway.console.calls.call import Call
from gateway.logs.register import NEVER, Pull
from gateway.queries.fields import AVAILABLE, DELETED, WITHHELD, At
from storage.errors import Problem
from storage.index.catalog import Reading
from storage.nouns import File, Version


def may_know_people(call: Call, reading: Reading, workspace: str) -> bool:
    """May the caller know who did what there? As for the audit: who manages the Workspace."""
    try:
        judge_workspace(reading, call.principal, workspace, "admin")
    except Problem:
        return False
    return True


class Around:
    """What the versions of one package have in common. `people` says of a Workspace what may_know_people does, and is
    asked when somebody wants to know."""

    def __init__(self, call: Call, reading: Reading, at: At, *, people: Callable[[str], bool]) -> None:
        self.room = call.services.rooms.get(at.format)
        self.reading = reading
        self.at = at
        self.place = (at.workspace, at.repository, at.format)
        self.people = people
        self._register = call.services.register
        repository = reading.repository(at.workspace, at.repository)
        self._since_ms = 0 if repository is None else repository.at_ms

    @cached_property
    def pulls(self) -> Mapping[str, Pull] | None:
        """By version; None where this node counts no downloads."""
        return (
            None
            if self._register is None
            else self._register.package(*self.place, self.at.name, since_ms=self._since_ms)
        )

    @cached_property
    def withheld(self) -> bool:
        """All of it: by hand, or by the format's own word."""
        package = self.reading.view(*self.place).package(self.at.name)
        said = self.room is not None and package is not None and bool(self.room.withheld(package))
        return said or self.reading.quarantine(*self.place, self.at.name) is not None


class Looked:
    """One version; queries.Known."""

    def __init__(self, around: Around, version: Version, files: Sequence[File]) -> None:
        self._around = around
        self._version = version
        self._files = files

    @cached_property
    def _traits(self) -> Traits:
        return traits(self._around.room, self._version, self._files)

    def licenses(self) -> Sequence[str]:
        return self._traits.licenses

    def architectures(self) -> Sequence[str]:
        return self._traits.architectures

    def types(self) -> Sequence[str]:
        return self._traits.types

    def distributions(self) -> Sequence[str]:
        return self._traits.distributions

    def components(self) -> Sequence[str]:
        return self._traits.components

    def dependencies(self) -> Sequence[Dependency]:
        return self._traits.dependencies

    def prerelease(self) -> bool:
        return prerelease(self._around.room, self._version.name)

    def uploaders(self) -> Sequence[str]:
        around, found = self._around, None
        if around.people(around.at.workspace):
            found = around.reading.publisher(*around.place, self._version.name, around.at.name)
        return () if found is None else tuple(one for one in (found.id, found.name) if one)

    def quarantined(self) -> bool:
        around = self._around
        return around.withheld or (
            around.reading.quarantine(*around.place, around.at.name, self._version.name) is not None
        )

    def status(self) -> str:
        return WITHHELD if self.quarantined() else AVAILABLE

    def _pulled(self) -> Pull:
        return NEVER if self._around.pulls is None else self._around.pulls.get(self._version.name, NEVER)

    def downloads(self) -> int:
        return self._pulled().downloads

    def last_downloaded_ms(self) -> int:
        return self._pulled().last_ms

    def shown(self) -> dict[str, object]:
        """What an answer tells; `downloads` and `last_downloaded_ms` null where this node counts none."""
        return {
            "licenses": list(self.licenses()),
            "architectures": list(self.architectures()),
            "uploader": next(reversed(self.uploaders()), ""),
            "types": list(self.types()),
            "prerelease": self.prerelease(),
            "status": self.status(),
            "quarantined": self.quarantined(),
            "downloads": None if self._around.pulls is None else self.downloads(),
            "last_downloaded_ms": None if self._around.pulls is None else self.last_downloaded_ms(),
        }


class Lost(Looked):
    """One version that stands in the bin. Who published it went with it."""

    def uploaders(self) -> Sequence[str]:
        return ()

    def status(self) -> str:
        return DELETED
