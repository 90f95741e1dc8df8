"""What licenses and dependencies does a pom name?"""

import re

from formats.kit.traits import Dependency, Traits
from formats.maven.facts import version_facts
from storage.nouns import Version

_STATED = re.compile(r"[^\s\[\](),]+")


def traits(version: Version) -> Traits:
    """Those of a parent are not known here: a pom may be in another repository than its parent."""
    facts = version_facts(version)
    types = (facts.packaging,) if facts.packaging else ()
    return Traits(facts.licenses, (), tuple(_dependency(one) for one in facts.dependencies), types)


def _dependency(said: str) -> Dependency:
    """By its coordinates, as a package here, or by the artifact alone. A range names its bounds."""
    group, artifact, wanted = said.split(":", 2)
    names = (f"{group}:{artifact}", f"{group.replace('.', '/')}/{artifact}", artifact)
    return Dependency(names, tuple(_STATED.findall(wanted)))
