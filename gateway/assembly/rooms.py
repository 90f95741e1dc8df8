"""What do the parts of a node ask of a format by its name?"""

from collections.abc import Callable, Sequence
from typing import Any, cast
from urllib.parse import quote

import msgspec

from formats import ROOMS
from formats.kit.contract import ABOUT, Composed, Foreign, Learn, about, order_of
from formats.kit.contract import governed as governed_by
from gateway.front.routes import full_home
from storage.nouns import View

UNESCAPED = "/@:+~!,=$&'()*;"
"""What a segment of a path may hold as it is (RFC 3986, 3.3), and the slash."""


def normalise(format: str, package: str) -> str:
    """A package's name as the index has it. Raises Invalid."""
    room = ROOMS.get(format)
    return package if room is None else room.normalise(package)


def address(workspace: str, repository: str, format: str, package: str, file: str) -> str:
    """The path at which a node gives a published file to whoever may read it."""
    path = ROOMS[format].address(package, file)
    return f"{full_home(workspace, repository, format)}/{quote(path, safe=UNESCAPED)}"


def governed(format: str, package: str) -> str | None:
    """The name by which grants speak of a package, None for what is part of the repository itself."""
    return governed_by(ROOMS[format], package) if format in ROOMS else package


def version_order(format: str) -> Callable[[str], Any] | None:
    """A sort key of the versions of a format, None where it has no order of them."""
    return order_of(ROOMS[format]) if format in ROOMS else None


def fetch_of(format: str, package: str) -> Learn | None:
    """How a foreign registry of this format is asked what it knows of a package."""
    fetch = ROOMS[format].upstream(ABOUT, about(package))
    return fetch if isinstance(fetch, Learn) else None


def beginning(format: str, url: str) -> str:
    """Where clients of this format ask first, at the registry of this address."""
    return url + str(getattr(ROOMS[format], "beginning", ""))


def withheld(format: str, foreign: Foreign) -> str:
    """Why no file of a foreign package is given out."""
    return ROOMS[format].withheld(foreign.package)


def needs(format: str, facts: bytes) -> Sequence[str]:
    """The files that a Version with these facts is nothing without, beside its own."""
    room = ROOMS[format]
    return cast("Composed", room).needs(facts) if hasattr(room, "needs") else ()


def followers(format: str, package: str, version: str, view: View) -> Sequence[str]:
    """The Versions of a Package that go where this one goes."""
    room = ROOMS[format]
    return cast("Composed", room).followers(package, version, view) if hasattr(room, "followers") else ()


def foreign_of(raw: bytes) -> Foreign:
    """What a sandbox has learnt."""
    return msgspec.msgpack.decode(raw, type=Foreign)
