"""Of which architectures are the files of a version?"""

from collections.abc import Sequence

from formats.deb.facts import file_facts
from formats.kit.traits import Traits
from storage.nouns import File


def traits(files: Sequence[File]) -> Traits:
    """As their control files say; sources are of none."""
    found = {file_facts(one.facts).architecture for one in files if one.facts}
    return Traits((), tuple(sorted(one for one in found if one)))
