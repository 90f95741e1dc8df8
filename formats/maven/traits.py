"""What licenses does a pom name?"""

from formats.kit.traits import Traits
from formats.maven.facts import version_facts
from storage.nouns import Version


def traits(version: Version) -> Traits:
    """Those of a parent are not known here: a pom may be in another repository than its parent."""
    return Traits(version_facts(version).licenses)
