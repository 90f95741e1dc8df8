"""What licenses, architectures and dependencies do the files of a release speak of?"""

import re
from collections.abc import Sequence

from formats.kit.traits import Dependency, Traits
from formats.pypi.facts import file_facts, is_sibling
from storage.nouns import File

_PLATFORM = re.compile(
    r"_(x86_64|amd64|i686|win32|aarch64|arm64|armv7l|ppc64le|s390x|riscv64|universal2|wasm32)(?:[.]|$)|-(any|win32)$"
)


def traits(files: Sequence[File]) -> Traits:
    """Of all files of one release; a source distribution is of no architecture."""
    own = [one for one in files if not is_sibling(one.name)]
    licenses = {said for one in own if (said := file_facts(one.facts).license)}
    wheels = [one.name.removesuffix(".whl") for one in own if one.name.endswith(".whl")]
    found = {part for name in wheels for pair in _PLATFORM.findall(name.lower()) for part in pair if part}
    needed = {line for one in own for line in file_facts(one.facts).requires.splitlines()}
    lines = (line.split(" ") for line in sorted(needed))
    dependencies = tuple(Dependency((name,), tuple(versions)) for name, *versions in lines)
    types = {"wheel" if one.name.endswith(".whl") else "sdist" for one in own}
    return Traits(tuple(sorted(licenses)), tuple(sorted(found)), dependencies, tuple(sorted(types)))
