"""How does the generic protocol answer the questions of a Room?"""

from typing import Literal

from formats.generic import decide, handling, pages, setup, uploads, wire
from formats.kit.contract import (
    Ask,
    Decision,
    Document,
    Fetch,
    Finds,
    Foreign,
    Plan,
    Progress,
    Received,
    Reply,
    Resume,
    Serve,
    Show,
)
from formats.kit.handling import Wanted, no_tags
from storage.errors import Problem, Unsupported
from storage.nouns import AnyChange, File, Package, View


class Generic:
    """Files by path: nothing is taken apart, nothing is drawn from elsewhere."""

    name = wire.NAME
    escaped_slash = False
    draws = False
    routes = wire.ROUTES

    def setup(self, base: str) -> list[str]:
        return setup.lines(base)

    def normalise(self, package: str) -> str:
        """A package is a path, spelt one way. Raises Invalid."""
        return wire.file_path(package)

    def address(self, package: str, file: str) -> str:
        """A package is one file."""
        return package

    def withheld(self, package: Package) -> str:
        return ""

    def right(self, ask: Ask) -> Literal["read", "write"]:
        return wire.right(ask)

    def read(self, ask: Ask) -> Plan:
        return wire.read(ask)

    def unpack(self, ask: Ask, received: Received) -> Finds:
        """Nothing is inside a file."""
        return Finds(context=received.context)

    def decide(self, ask: Ask, finds: Finds, view: View) -> Decision:
        return decide.decide(ask, finds, view)

    def render(self, show: Show, view: View, base: str) -> Document:
        return pages.render(show, view)

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        return None

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        raise Unsupported("Generic files have no upstream.", "Copy the file into the repository.")

    def refuse(self, ask: Ask, problem: Problem) -> Reply:
        return wire.refuse(ask, problem)

    def progress(self, ask: Ask, plan: Resume, at: Progress) -> Reply:
        return uploads.progress(ask, plan, at)

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
