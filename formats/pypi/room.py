"""The Python package index as one room: every question of the contract, answered by the module that knows."""

from collections.abc import Sequence
from typing import Literal

from formats.kit.contract import Ask, Decision, Document, Fetch, Finds, Foreign, Plan, Received, Reply, Serve, Show
from formats.kit.handling import Wanted, no_tags
from formats.kit.traits import Traits
from formats.pypi import handling, names, pages, setup, upstream, wire
from formats.pypi.decide import decide
from formats.pypi.facts import FORMAT, QUARANTINED, project_facts
from formats.pypi.traits import traits
from formats.pypi.unpack import unpack
from storage.errors import Problem
from storage.nouns import AnyChange, File, Package, Version, View


class PyPI:
    """formats.kit.contract.Room for pip, uv, twine, poetry and what speaks like them."""

    name = FORMAT
    escaped_slash = False
    draws = True
    routes = wire.ROUTES

    def setup(self, base: str) -> list[str]:
        return setup.lines(base)

    def normalise(self, package: str) -> str:
        return names.normalised(package)

    def order(self, version: str) -> object:
        """PEP 440. Raises Invalid."""
        return names.version(version)

    def prerelease(self, version: str) -> bool:
        """PEP 440: alpha, beta, candidate or development release. Raises Invalid."""
        return names.version(version).is_prerelease

    def address(self, package: str, file: str) -> str:
        return wire.address(package, file)

    def withheld(self, package: Package) -> str:
        """PEP 792: installers get nothing of a quarantined project."""
        facts = project_facts(package.facts)
        if facts.status != QUARANTINED:
            return ""
        return f"The project {package.name} is quarantined{': ' if facts.reason else ''}{facts.reason}."

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

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        return upstream.fetch(plan.package)

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        return upstream.learn(package, raw, url)

    def refuse(self, ask: Ask, problem: Problem) -> Reply:
        return wire.refuse(ask, problem)

    def traits(self, version: Version, files: Sequence[File]) -> Traits:
        return traits(files)

    # ------------------------------------------------------------ by name (formats.kit.handling.Handled)

    def home(self, package: str) -> str:
        return package

    def fixed(self, package: str, file: File) -> bool:
        return True

    def remove(self, package: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.remove(package, version, view)

    def bring(self, wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.bring(wanted, source, target)

    def retag(self, package: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        raise no_tags(self.name)
