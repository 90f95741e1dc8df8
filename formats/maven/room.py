"""The Maven repository layout as one room: every question of the contract, answered by the module that knows."""

from collections.abc import Sequence
from typing import Literal

from formats.kit.contract import Ask, Decision, Document, Fetch, Finds, Foreign, Plan, Received, Reply, Serve, Show
from formats.kit.handling import Wanted, no_tags
from formats.kit.traits import Traits
from formats.maven import handling, names, pages, setup, upstream, wire
from formats.maven.decide import decide
from formats.maven.facts import FORMAT
from formats.maven.traits import traits
from formats.maven.unpack import unpack
from storage.errors import Problem
from storage.nouns import AnyChange, File, Package, Version, View


class Maven:
    """formats.kit.contract.Room for mvn, Gradle, sbt, Ivy, coursier and what speaks like them."""

    name = FORMAT
    escaped_slash = False
    draws = True
    routes = wire.ROUTES

    def setup(self, base: str) -> list[str]:
        return setup.lines(base)

    def normalise(self, package: str) -> str:
        return names.package_of(package)

    def order(self, version: str) -> object:
        """As Maven compares versions; every text is one."""
        return names.in_order(version)

    def prerelease(self, version: str) -> bool:
        """What has a qualifier that Maven puts ahead of the release: alpha to snapshot."""
        return names.is_ahead(version)

    def address(self, package: str, file: str) -> str:
        return f"{package}/{file}"

    def withheld(self, package: Package) -> str:
        """This protocol has no quarantine of its own."""
        return ""

    def right(self, ask: Ask) -> Literal["read", "write"]:
        return wire.right(ask)

    def read(self, ask: Ask) -> Plan:
        return wire.read(ask)

    def unpack(self, ask: Ask, received: Received) -> Finds:
        return unpack(ask, received)

    def decide(self, ask: Ask, finds: Finds, view: View) -> Decision:
        return decide(ask, finds, view)

    def render(self, show: Show, view: View, base: str) -> Document:
        return pages.render(show, view)

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        return upstream.fetch(plan)

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        return upstream.learn(package, raw)

    def refuse(self, ask: Ask, problem: Problem) -> Reply:
        return wire.refuse(ask, problem)

    def traits(self, version: Version, files: Sequence[File]) -> Traits:
        return traits(version)

    def version_of(self, serve: Serve, sha256: bytes) -> str:
        return serve.file.partition("/")[0] if "/" in serve.file else ""

    # ------------------------------------------------------------ by name (formats.kit.handling.Handled)

    def home(self, package: str) -> str:
        return package

    def fixed(self, package: str, file: File) -> bool:
        return handling.is_fixed_file(package, file)

    def build(self, package: str, file: File) -> str:
        """A snapshot is built again and again; its plain names go with the build that they show."""
        return handling.build(package, file)

    def remove(self, package: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.remove(package, version, view)

    def bring(self, wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.bring(wanted, source, target)

    def retag(self, package: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        raise no_tags(self.name)
