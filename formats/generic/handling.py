"""How does a file come and go by its path, outside of HTTP?"""

from formats.generic import wire
from formats.generic.decide import fits
from formats.generic.wire import NAME
from formats.kit.handling import Wanted, missing, no_such
from storage.nouns import AnyChange, DropFile, DropPackage, File, Package, PutFile, PutPackage, View


def remove(package: str, version: str, view: View) -> tuple[AnyChange, ...]:
    """Raises Absent, for every version too: a file has none."""
    return DropFile(NAME, package, _file(package, version, view).name, forget=True), DropPackage(NAME, package)


def bring(wanted: Wanted, source: View, target: View) -> tuple[AnyChange, ...]:
    """To the same path. Raises Absent, Conflict."""
    path = wanted.package
    file = _file(path, wanted.version, source)
    if not missing(path, [file], target):
        return ()
    fits(path, target)
    package = source.package(path) or Package(path, file.at_ms)
    return PutPackage(NAME, package), PutFile(NAME, path, file)


def _file(path: str, version: str, view: View) -> File:
    file = view.file(path, wire.last(path))
    if file is None or version:
        raise no_such(path, version)
    return file
