"""What of a version do people search for, that only its room can read from what was published?"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from formats.kit.contract import Room
from storage.nouns import File, Version

LICENSE_CHARS_MAX = 100


class Traits(NamedTuple):
    """Licenses as the package says them (an SPDX expression where it does), and architectures as its format does."""

    licenses: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()


NONE = Traits()


class Described(Protocol):
    """What a room has besides, whose packages say such things of themselves. Pure and quick."""

    def traits(self, version: Version, files: Sequence[File]) -> Traits: ...


def traits(room: Room | None, version: Version, files: Sequence[File]) -> Traits:
    """Of a version with its files."""
    if room is None or not hasattr(room, "traits"):
        return NONE
    return cast("Described", room).traits(version, files)


def license_said(text: str) -> str:
    """A license in one short line, "" for what is none: some packages put the whole text there."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= LICENSE_CHARS_MAX and line.isprintable() and line.upper() != "UNKNOWN" else ""
