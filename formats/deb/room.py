"""Debian's archives as one room: every question of the contract, answered by the module that knows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from formats.deb import handling, indexes, names, pages, setup, upstream, wire
from formats.deb.decide import decide
from formats.deb.facts import FORMAT, file_facts
from formats.deb.traits import traits
from formats.deb.unpack import unpack
from formats.kit.contract import (
    Ask,
    Decision,
    Document,
    Fetch,
    Finds,
    Foreign,
    Making,
    Part,
    Plan,
    Pull,
    Received,
    Reply,
    Serve,
    Show,
    Written,
)
from formats.kit.handling import Wanted, no_tags
from formats.kit.traits import Traits
from storage.errors import Invalid, Problem, Unsupported
from storage.nouns import AnyChange, File, Package, Version, View


class Deb:
    """formats.kit.contract.Room, Indexed and Resigned for apt, dput, debootstrap and apt-file."""

    name = FORMAT
    escaped_slash = False
    draws = True
    routes = wire.ROUTES

    def setup(self, base: str) -> list[str]:
        return setup.lines(base)

    def normalise(self, package: str) -> str:
        """A binary package's name, or one of our keys. Raises Invalid."""
        kind, slash, name = package.partition("/")
        if not slash:
            return names.BINARY + names.package(package)
        if kind + slash == names.DISTRIBUTION:
            return kind + slash + names.distribution(name)
        if kind + slash not in (names.BINARY, names.SOURCE):
            raise Invalid(f"{names.shown(package)} is no package here.", "Say NAME, or s/NAME for a source package.")
        return kind + slash + names.package(name)

    def governed(self, package: str) -> str | None:
        """The name of a binary or source package; distributions are the repository's own."""
        kind, _, name = package.partition("/")
        return name if kind + "/" in (names.BINARY, names.SOURCE) else None

    def order(self, version: str) -> object:
        """As dpkg compares versions. Raises Invalid."""
        return names.in_order(version)

    def prerelease(self, version: str) -> bool:
        """What a tilde puts ahead of the release. Raises Invalid."""
        return names.is_ahead(version)

    def address(self, package: str, file: str) -> str:
        """All lie in one pool, by the names of their packages."""
        return f"pool/{package.partition('/')[2]}/{file}"

    def withheld(self, package: Package) -> str:
        return ""

    def right(self, ask: Ask) -> Literal["read", "write"]:
        return wire.right(ask)

    def read(self, ask: Ask) -> Plan:
        return wire.read(ask)

    def unpack(self, ask: Ask, received: Received) -> Finds:
        return unpack(received)

    def decide(self, ask: Ask, finds: Finds, view: View) -> Decision:
        return decide(ask, finds, view)

    def render(self, show: Show, view: View, base: str) -> Document:
        return pages.render(show, view)

    def parts(self, set: str, view: View) -> tuple[Part, ...]:
        return indexes.parts(set, view)

    def fragments(self, set: str, package: str, view: View) -> dict[str, bytes]:
        return indexes.fragments(set, package, view)

    def manifest(self, making: Making, view: View) -> Written:
        return indexes.manifest(making, view)

    def claim(self, set: str) -> str:
        return names.DISTRIBUTION + set

    def theirs(self, set: str) -> Pull:
        return upstream.manifest(set)

    def believed(self, body: bytes, set: str, before: bytes, at_ms: int) -> int:
        return upstream.believed(body, set, before, at_ms)

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        return upstream.pull(plan) if isinstance(plan, Serve) else None

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        raise Unsupported("What an archive holds is not learnt by package.", "Its files are drawn by path.")

    def refuse(self, ask: Ask, problem: Problem) -> Reply:
        return wire.refuse(ask, problem)

    def traits(self, version: Version, files: Sequence[File]) -> Traits:
        return traits(files)

    def consists(self, version: Version, files: Mapping[str, File]) -> Iterable[str]:
        """A source is what its .dsc lists, too."""
        own = [one for one in files.values() if one.version == version.name and one.facts]
        return (name for one in own for name in file_facts(one.facts).members)

    # ------------------------------------------------------------ by name (formats.kit.handling.Handled)

    def home(self, package: str) -> str:
        return package

    def fixed(self, package: str, file: File) -> bool:
        return True

    def remove(self, package: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.remove(package, version, view)

    def bring(self, wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.bring(wanted, source, target, at_ms)

    def retag(self, package: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        raise no_tags(self.name)
