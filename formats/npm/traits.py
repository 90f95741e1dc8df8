"""What licenses, architectures and dependencies does the manifest of a version speak of?"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from formats.kit.traits import NONE, Dependency, Traits, license_said
from formats.npm.facts import version_facts
from storage.nouns import Version

DEPENDENCIES_MAX = 2_000
RANGE_CHARS_MAX = 200
_STATED = re.compile(r"(?<![0-9A-Za-z.+-])[v=]?([0-9]+(?:\.[0-9]+){0,2}(?:-[0-9A-Za-z.-]+)?)")


class _Manifest(msgspec.Struct):
    license: Any = ""
    licenses: Any = ()
    cpu: Any = ()
    dependencies: Any = None
    optional_dependencies: Any = msgspec.field(name="optionalDependencies", default=None)
    peer_dependencies: Any = msgspec.field(name="peerDependencies", default=None)


_decode = msgspec.json.Decoder(_Manifest).decode


def traits(version: Version) -> Traits:
    """A manifest may say anything there; what is no license is left out."""
    if not version.facts:
        return NONE
    said = _decode(version_facts(version).manifest)
    told = [said.license, *(said.licenses if isinstance(said.licenses, list) else [])]
    licenses = {found for one in told if (found := license_said(_name(one)))}
    cpus = {one for one in (said.cpu if isinstance(said.cpu, list) else []) if isinstance(one, str)}
    architectures = tuple(sorted(one for one in cpus if not one.startswith("!")))
    return Traits(tuple(sorted(licenses)), architectures, tuple(islice(_needed(said), DEPENDENCIES_MAX)))


def _needed(said: _Manifest) -> Iterator[Dependency]:
    """What is installed along with it, or must be there; not what only its makers need."""
    for group in (said.dependencies, said.optional_dependencies, said.peer_dependencies):
        for name, wanted in group.items() if isinstance(group, dict) else ():
            text = wanted[:RANGE_CHARS_MAX] if isinstance(wanted, str) else ""
            alias = text.removeprefix("npm:")
            if alias == text:
                yield Dependency((name,), tuple(_STATED.findall(text)))
            else:  # npm:NAME@RANGE, installed under another name
                real, _, text = alias.rpartition("@") if "@" in alias[1:] else (alias, "", "")
                yield Dependency((name, real), tuple(_STATED.findall(text)))


def _name(one: object) -> str:
    named = one.get("type", "") if isinstance(one, dict) else one
    return named if isinstance(named, str) else ""
