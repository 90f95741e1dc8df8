"""Of which architectures and kinds are the files of a version, where are they listed, and what do they depend on?"""

import re
from collections.abc import Iterator, Sequence

from formats.deb.facts import FileFacts, file_facts
from formats.kit.traits import Dependency, Traits
from storage.nouns import File

SOURCE = "dsc"
MEMBER = "member"
_NEEDED = ("depends", "pre-depends", "build-depends", "build-depends-arch", "build-depends-indep")
"""Of a binary package, and of a source (Policy 7.2, 7.7)."""
_ONE = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)(?::[a-z0-9-]+)?\s*(?:\([<>=]+\s*([^()\s]+)\s*\))?")


def traits(files: Sequence[File]) -> Traits:
    """As their control files say; sources are of no architecture."""
    found = [facts for one in files if one.facts and (facts := file_facts(one.facts)).kind != MEMBER]
    architectures = {one.architecture for one in found} - {""}
    spots = {spot for one in found for spot in one.spots}
    return Traits(
        (),
        tuple(sorted(architectures)),
        tuple(dict.fromkeys(needed for one in found for needed in _needed(one))),
        tuple(sorted({"source" if one.kind == SOURCE else one.kind for one in found})),
        tuple(sorted({one.distribution for one in spots})),
        tuple(sorted({one.component for one in spots})),
    )


def _needed(facts: FileFacts) -> Iterator[Dependency]:
    """Every alternative by itself."""
    for line in facts.stanza.replace("\n ", " ").split("\n"):
        field, _, value = line.partition(":")
        if field.lower() in _NEEDED:
            for one in re.split(r"[,|]", value):
                if match := _ONE.match(one):
                    yield Dependency((match[1],), (match[2],) if match[2] else ())
