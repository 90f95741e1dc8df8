"""Which stored bytes stay on a node whatever happens?

A pin names a Repository, one format of it, or one package: `workspace/repository[/format[/package]]`. It holds for what
is published there, by whichever names else the same bytes are known; foreign files have none. What is pinned is looked
up when room is made and the index has moved since, so a new version is pinned as soon as it is fetched.
"""

from collections.abc import Sequence, Set
from typing import NamedTuple

from storage.index.catalog import Catalog, Reading

BLOBS_MAX = 1_000_000


class Pin(NamedTuple):
    """`format` and `package` "" = all."""

    workspace: str
    repository: str
    format: str = ""
    package: str = ""


def parse(text: str) -> Pin:
    """Raises ValueError where it names no place. A package may hold slashes."""
    parts = text.split("/", 3)
    if len(parts) < 2 or not all(parts):
        raise ValueError(f"{text!r} is no pin: write workspace/repository[/format[/package]]")
    return Pin(*parts)


class Pins:
    """The blobs that some pins hold, as of the newest moment that was asked for."""

    def __init__(self, catalog: Catalog, pins: Sequence[Pin], formats: Sequence[str]) -> None:
        self._catalog = catalog
        self._pins = tuple(pins)
        self._formats = tuple(formats)
        self._moment = -1
        self._blobs: Set[bytes] = frozenset()

    def blobs(self) -> Set[bytes]:
        """At most BLOBS_MAX, those of the first pins. Walks what is pinned: call it in a thread."""
        if not self._pins:
            return self._blobs
        moment = self._catalog.moment()
        if moment != self._moment:
            with self._catalog.read() as reading:
                self._blobs = frozenset(self._found(reading))
            self._moment = moment
        return self._blobs

    def _found(self, reading: Reading) -> set[bytes]:
        found: set[bytes] = set()
        for pin in self._pins:
            for format in (pin.format,) if pin.format else self._formats:
                view = reading.view(pin.workspace, pin.repository, format)
                packages = [pin.package] if pin.package else [one.name for one in view.packages()]
                for package in packages:
                    found.update(one.sha256 for one in view.files(package) if one.sha256)
                    if len(found) >= BLOBS_MAX:
                        return found
        return found
