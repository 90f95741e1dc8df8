"""Which packages of a Repository's upstreams may a search find? Those that this node has heard of, and may take."""

from collections.abc import Iterator, Sequence

from cache.foreign.noted import Noted
from formats.kit.contract import prerelease
from formats.kit.traits import Dependency
from gateway.console.calls.call import Call
from gateway.queries.fields import AVAILABLE, WITHHELD, At, Held
from storage.index.catalog import Reading
from storage.nouns import Repository


def foreign_packages(
    call: Call, reading: Reading, repository: Repository, format: str, prefix: str, after: str
) -> Iterator[tuple[str, Noted]]:
    """By name, those that begin with `prefix` and are behind `after`, read as far as they are asked for.

    A name that was published here is not taken from an upstream, unless that allows it; then what is here is told. What
    was purged, or came from an upstream that is gone, is not told."""
    place = (repository.workspace, repository.name, format)
    upstreams = {one.name for one in repository.upstreams if one.format == format}
    if not upstreams:
        return
    view = reading.view(*place)
    for name, noted in call.services.noted(*place, prefix, after):
        if upstreams.isdisjoint(noted.upstreams) or view.claimed(name):
            continue
        if reading.purged(*place, name) <= noted.since:
            yield name, noted


def foreign_versions(call: Call, reading: Reading, at: At, noted: Noted) -> Iterator[Held]:
    """Its versions: of each the name is known, and whether it is withheld here."""
    place = (at.workspace, at.repository, at.format, at.name)
    whole = reading.quarantine(*place) is not None
    room = call.services.rooms.get(at.format)
    for name in noted.versions:
        withheld = whole or reading.quarantine(*place, name) is not None
        yield Held(name, (), (), 0, 0, Heard(withheld=withheld, ahead=prerelease(room, name)))


class Heard:
    """queries.Known of a version that was only heard of."""

    def __init__(self, *, withheld: bool, ahead: bool) -> None:
        self._withheld = withheld
        self._ahead = ahead

    def licenses(self) -> Sequence[str]:
        return ()

    def architectures(self) -> Sequence[str]:
        return ()

    def types(self) -> Sequence[str]:
        return ()

    def distributions(self) -> Sequence[str]:
        return ()

    def components(self) -> Sequence[str]:
        return ()

    def dependencies(self) -> Sequence[Dependency]:
        return ()

    def prerelease(self) -> bool:
        return self._ahead

    def status(self) -> str:
        return WITHHELD if self._withheld else AVAILABLE

    def uploaders(self) -> Sequence[str]:
        return ()

    def quarantined(self) -> bool:
        return self._withheld

    def downloads(self) -> int:
        return 0

    def last_downloaded_ms(self) -> int:
        return 0

    def shown(self) -> dict[str, object]:
        nothing: dict[str, object] = {"licenses": [], "architectures": [], "uploader": "", "types": []}
        uncounted: dict[str, object] = {"downloads": None, "last_downloaded_ms": None}
        told = {"prerelease": self._ahead, "status": self.status(), "quarantined": self._withheld}
        return nothing | uncounted | told
