"""What does a Repository look like to a room, without a store under it?

MemoryView is a nouns.View over plain dicts: `apply` folds changes into it as the index would, `lay` puts what an
upstream knows beneath what is local. It is the whole world of a room's unit test.
"""

from collections.abc import Iterable, Iterator

from formats.kit.contract import Decision, Foreign
from storage.nouns import (
    AnyChange,
    DropFile,
    DropPackage,
    DropTag,
    DropVersion,
    File,
    Package,
    PutFile,
    PutPackage,
    PutTag,
    PutVersion,
    Version,
)


class MemoryView:
    """One format of one Repository. Local knowledge wins over foreign, name by name."""

    def __init__(self, *changes: AnyChange) -> None:
        self._serial = 0
        self._packages: dict[str, Package] = {}
        self._versions: dict[str, dict[str, Version]] = {}
        self._files: dict[str, dict[str, File]] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._gone: dict[tuple[str, str], bytes] = {}
        self._claimed: set[str] = set()
        self._touched: dict[str, int] = {}
        self._foreign: dict[str, Foreign] = {}
        self.formats: set[str] = set()
        if changes:
            self.apply(changes)

    def apply(self, what: Decision | Iterable[AnyChange]) -> "MemoryView":
        """Fold a Decision, or changes, into the view as one Entry; an empty one moves nothing. Returns itself."""
        changes = tuple(what.changes if isinstance(what, Decision) else what)
        for change in changes:
            self._one(change)
        if changes:
            self._serial += 1
        for change in changes:
            package = change.package  # type: ignore[union-attr]
            self._touched[package if isinstance(package, str) else package.name] = self._serial
        return self

    def lay(self, foreign: Foreign, *, allowed: bool = False) -> "MemoryView":
        """Lay what an upstream knows of a package under the view; a claimed name refuses it unless `allowed`."""
        if allowed or not self.claimed(foreign.package.name):
            self._foreign[foreign.package.name] = foreign
        return self

    def _one(self, change: AnyChange) -> None:
        match change:
            case PutPackage(format, package):
                self._claim(format, package.name)
                self._packages[package.name] = package
            case PutVersion(format, package, version):
                self._claim(format, package)
                self._versions.setdefault(package, {})[version.name] = version
            case PutFile(format, package, file):
                self._claim(format, package)
                self._files.setdefault(package, {})[file.name] = file
                self._gone.pop((package, file.name), None)
            case PutTag(format, package, tag, version):
                self._claim(format, package)
                self._tags.setdefault(package, {})[tag] = version
            case DropPackage(_, package):
                for name in list(self._files.get(package, ())):
                    self._bury(package, name)
                for held in (self._packages, self._versions, self._files, self._tags):
                    held.pop(package, None)
            case DropVersion(_, package, version):
                for file in list(self._files.get(package, {}).values()):
                    if file.version == version:
                        self._bury(package, file.name)
                self._versions.get(package, {}).pop(version, None)
                tags = self._tags.get(package, {})
                for tag in [tag for tag, target in tags.items() if target == version]:
                    del tags[tag]
            case DropFile(_, package, name, forget):
                self._bury(package, name)
                if forget:
                    self._gone.pop((package, name), None)
            case DropTag(_, package, tag):
                self._tags.get(package, {}).pop(tag, None)
            case _:
                raise TypeError(f"no room makes this change: {change!r}")

    def _claim(self, format_name: str, package: str) -> None:
        self.formats.add(format_name)
        assert len(self.formats) == 1, "a view shows one format"
        self._claimed.add(package)

    def _bury(self, package: str, name: str) -> None:
        file = self._files.get(package, {}).pop(name, None)
        if file is not None:
            self._gone[package, name] = file.sha256

    # ------------------------------------------------------------ nouns.View

    @property
    def serial(self) -> int:
        return self._serial

    def package(self, package: str) -> Package | None:
        local = self._packages.get(package)
        if local is None and package in self._foreign:
            return self._foreign[package].package
        return local

    def packages(self, prefix: str = "", after: str = "") -> Iterator[Package]:
        for name in sorted(self._packages):
            if name.startswith(prefix) and name > after:
                yield self._packages[name]

    def version(self, package: str, version: str) -> Version | None:
        return next((one for one in self.versions(package) if one.name == version), None)

    def versions(self, package: str) -> list[Version]:
        foreign = self._foreign.get(package)
        both = {one.name: one for one in foreign.versions} if foreign else {}
        both.update(self._versions.get(package, {}))
        return [both[name] for name in sorted(both)]

    def file(self, package: str, name: str) -> File | None:
        return next((one for one in self.files(package) if one.name == name), None)

    def files(self, package: str) -> list[File]:
        foreign = self._foreign.get(package)
        both = {one.name: one for one in foreign.files} if foreign else {}
        both.update(self._files.get(package, {}))
        return [both[name] for name in sorted(both)]

    def tags(self, package: str) -> dict[str, str]:
        foreign = self._foreign.get(package)
        return {**(foreign.tags if foreign else {}), **self._tags.get(package, {})}

    def tag(self, package: str, tag: str) -> str | None:
        return self.tags(package).get(tag)

    def claimed(self, package: str) -> bool:
        return package in self._claimed

    def touched(self, after: int) -> Iterator[tuple[int, str]]:
        found = sorted((serial, name) for name, serial in self._touched.items() if serial > after)
        yield from found

    def gone(self, package: str, name: str) -> bytes | None:
        return self._gone.get((package, name))
