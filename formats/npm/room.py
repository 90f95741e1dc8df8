"""The npm registry protocol as one room: every question of the contract, answered by the module that knows."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from formats.kit.contract import Ask, Decision, Document, Fetch, Finds, Foreign, Plan, Received, Reply, Serve, Show
from formats.kit.handling import Wanted
from formats.kit.traits import Traits
from formats.npm import handling, names, packument, search, setup, upstream, wire
from formats.npm.decide import decide
from formats.npm.facts import FORMAT
from formats.npm.traits import traits
from formats.npm.unpack import unpack
from storage.errors import Invalid, Problem
from storage.nouns import AnyChange, File, Package, Version, View


class _Credential(msgspec.Struct):
    password: str


def _parsed(version: str) -> names.Semver:
    parsed = names.semver(version)
    if parsed is None:
        raise Invalid("This is no semantic version.", "Write it as MAJOR.MINOR.PATCH.")
    return parsed


class Npm:
    """formats.kit.contract.Room for npm, pnpm, yarn and what speaks like them."""

    name = FORMAT
    escaped_slash = True
    draws = True
    routes = wire.ROUTES

    def setup(self, base: str) -> list[str]:
        return setup.lines(base)

    def normalise(self, package: str) -> str:
        """Every spelling is a name of its own; one that was good in earlier days may still be meant. Raises Invalid."""
        if not names.readable(package):
            raise Invalid(f"{package[:80]!r} is no name of an npm package.", "Write it as NAME or @SCOPE/NAME.")
        return package

    def order(self, version: str) -> object:
        """The precedence of semver 2.0.0. Raises Invalid."""
        return _parsed(version).order

    def prerelease(self, version: str) -> bool:
        """Semver 2.0.0, section 9. Raises Invalid."""
        return bool(_parsed(version).prerelease)

    def address(self, package: str, file: str) -> str:
        return wire.address(package, file)

    def withheld(self, package: Package) -> str:
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
        if show.page == "search":
            return Document(search.page(show.argument, view))
        if show.page == "all":
            return Document(search.everything(view))
        return packument.render(show, view, base)

    def upstream(self, ask: Ask, plan: Serve | Show) -> Fetch | None:
        return upstream.fetch(plan.package)

    def learn(self, package: str, raw: bytes, url: str) -> Foreign:
        return upstream.learn(package, raw, url)

    def refuse(self, ask: Ask, problem: Problem) -> Reply:
        return wire.refuse(ask, problem)

    def greet(self, ask: Ask, body: bytes, principal: str, secret: str) -> Reply:
        """The client keeps `token` and sends it as Bearer from now on: it is the credential that was given."""
        user = wire.USER + wire.route(ask).detail
        return wire.said(201, {"ok": True, "id": user, "rev": "1-0", "token": secret, "username": principal})

    def credential(self, ask: Ask, body: bytes) -> str:
        """The password of the login document, which is an API token. Raises Invalid."""
        try:
            return msgspec.json.decode(body, type=_Credential).password
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("The login is no user document with a password.", "Use an API token as password.") from None

    def traits(self, version: Version, files: Sequence[File]) -> Traits:
        return traits(version)

    # ------------------------------------------------------------ by name (formats.kit.handling.Handled)

    def home(self, package: str) -> str:
        return package

    def fixed(self, package: str, file: File) -> bool:
        return True

    def remove(self, package: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.remove(package, version, view, at_ms)

    def bring(self, wanted: Wanted, source: View, target: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.bring(wanted, source, target, at_ms)

    def retag(self, package: str, tag: str, version: str, view: View, at_ms: int) -> tuple[AnyChange, ...]:
        return handling.retag(package, tag, version, view, at_ms)
