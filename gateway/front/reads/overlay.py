"""What does a room see when a repository draws on upstreams? The local view with foreign knowledge laid under it."""

from collections.abc import Iterator

from formats.kit.contract import Foreign
from storage.nouns import File, Package, Upstream, Version, View


def may_draw(view: View, package: str, upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
    """The upstreams that may answer for `package`: none once the name was ever published here, but those that allow it.

    This is what keeps a private name from being answered by a stranger who registers it elsewhere.
    """
    if not view.claimed(package):
        return upstreams
    return tuple(one for one in upstreams if package in one.allow)


class Overlay:
    """A View: local records win, name by name; what a foreign registry knows of one package lies under them."""

    def __init__(self, local: View, foreign: Foreign) -> None:
        self._local = local
        self._foreign = foreign
        self._name = foreign.package.name
        self._files = {file.name: file for file in foreign.files}
        self._versions = {version.name: version for version in foreign.versions}

    @property
    def serial(self) -> int:
        return self._local.serial

    def package(self, package: str) -> Package | None:
        local = self._local.package(package)
        return self._foreign.package if local is None and package == self._name else local

    def packages(self, prefix: str = "", after: str = "") -> Iterator[Package]:
        return self._local.packages(prefix, after)

    def version(self, package: str, version: str) -> Version | None:
        local = self._local.version(package, version)
        return self._versions.get(version) if local is None and package == self._name else local

    def versions(self, package: str) -> list[Version]:
        local = self._local.versions(package)
        if package != self._name:
            return local
        merged = self._versions | {version.name: version for version in local}
        return [merged[name] for name in sorted(merged)]

    def file(self, package: str, name: str) -> File | None:
        local = self._local.file(package, name)
        return self._files.get(name) if local is None and package == self._name else local

    def files(self, package: str) -> list[File]:
        local = self._local.files(package)
        if package != self._name:
            return local
        merged = self._files | {file.name: file for file in local}
        return [merged[name] for name in sorted(merged)]

    def tags(self, package: str) -> dict[str, str]:
        local = self._local.tags(package)
        return self._foreign.tags | local if package == self._name else local

    def tag(self, package: str, tag: str) -> str | None:
        local = self._local.tag(package, tag)
        return self._foreign.tags.get(tag) if local is None and package == self._name else local

    def claimed(self, package: str) -> bool:
        return self._local.claimed(package)

    def touched(self, after: int) -> Iterator[tuple[int, str]]:
        return self._local.touched(after)

    def gone(self, package: str, name: str) -> bytes | None:
        return self._local.gone(package, name)
