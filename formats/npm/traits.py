"""What licenses and architectures does the manifest of a version speak of?"""

from typing import Any

import msgspec

from formats.kit.traits import NONE, Traits, license_said
from formats.npm.facts import version_facts
from storage.nouns import Version


class _Manifest(msgspec.Struct):
    license: Any = ""
    licenses: Any = ()
    cpu: Any = ()


_decode = msgspec.json.Decoder(_Manifest).decode


def traits(version: Version) -> Traits:
    """A manifest may say anything there; what is no license is left out."""
    if not version.facts:
        return NONE
    said = _decode(version_facts(version).manifest)
    told = [said.license, *(said.licenses if isinstance(said.licenses, list) else [])]
    licenses = {found for one in told if (found := license_said(_name(one)))}
    cpus = {one for one in (said.cpu if isinstance(said.cpu, list) else []) if isinstance(one, str)}
    return Traits(tuple(sorted(licenses)), tuple(sorted(one for one in cpus if not one.startswith("!"))))


def _name(one: object) -> str:
    named = one.get("type", "") if isinstance(one, dict) else one
    return named if isinstance(named, str) else ""
