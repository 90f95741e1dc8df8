"""Which indexes does a distribution have, what does each package give to them, and what does its Release file say?"""

from datetime import UTC, datetime

import zstandard

from formats.deb.facts import (
    DAY_S,
    DistributionFacts,
    FileFacts,
    Spot,
    distribution_facts,
    file_facts,
    version_facts,
)
from formats.deb.names import ALL, BINARY, DISTRIBUTION, SOURCE
from formats.deb.paragraphs import stanza
from formats.kit.contract import Making, Part, Written
from storage.errors import Absent
from storage.nouns import File, View

FORMS = (("gzip", ".gz"), ("xz", ".xz"), ("zstd", ".zst"))
CONTENTS_FORMS = (("gzip", ".gz"),)
"""As everywhere: lists of paths are large, and nobody has asked for another."""

PATHS_BYTES_MAX = 256 << 20


def parts(distribution: str, view: View) -> tuple[Part, ...]:
    """The indexes of a distribution. Raises Absent."""
    facts = known(distribution, view)
    found = []
    for component in facts.components:
        found.append(Part(f"{component}/source/Sources", FORMS))
        for architecture in facts.architectures:
            found.append(Part(packages_path(component, architecture, "deb"), FORMS))
            if facts.installer:
                found.append(Part(packages_path(component, architecture, "udeb"), FORMS))
            if facts.contents:
                found.append(Part(f"{component}/Contents-{architecture}", CONTENTS_FORMS))
    return tuple(found)


def known(distribution: str, view: View) -> DistributionFacts:
    """The facts of a distribution. Raises Absent."""
    package = view.package(DISTRIBUTION + distribution)
    if package is None:
        raise Absent("There is no such distribution.", "It is made by the first package that is published in it.")
    return distribution_facts(package.facts)


def packages_path(component: str, architecture: str, kind: str) -> str:
    """Where an index of binary packages lies."""
    between = "debian-installer/" if kind == "udeb" else ""
    return f"{component}/{between}binary-{architecture}/Packages"


# ---------------------------------------------------------------- fragments


def fragments(distribution: str, package: str, view: View) -> dict[str, bytes]:
    """What a package gives to the indexes of a distribution."""
    if not package.startswith((BINARY, SOURCE)):
        return {}
    facts = known(distribution, view)
    found: dict[str, list[str]] = {}
    for file in view.files(package):
        said = file_facts(file.facts)
        for spot in said.spots:
            if spot.distribution == distribution and said.kind != "member":
                _listed(found, facts, package, file, said, spot)
    if facts.contents and package.startswith(BINARY):
        _paths(found, facts, distribution, package, view)
    return {path: "".join(texts).encode() for path, texts in found.items()}


def _listed(
    found: dict[str, list[str]], facts: DistributionFacts, package: str, file: File, said: FileFacts, spot: Spot
) -> None:
    name = package[len(BINARY) :]
    if said.kind == "dsc":
        text = said.stanza + stanza([("Directory", f"pool/{name}")]) + "\n"
        found.setdefault(f"{spot.component}/source/Sources", []).append(text)
        return
    where = [("Filename", f"pool/{name}/{file.name}"), ("Size", str(file.size)), ("SHA256", file.sha256.hex())]
    text = said.stanza + stanza(where) + "\n"
    for architecture in _seen_by(said.architecture, facts):
        found.setdefault(packages_path(spot.component, architecture, said.kind), []).append(text)


def _seen_by(architecture: str, facts: DistributionFacts) -> tuple[str, ...]:
    """Who sees a package: what is for all is in every index."""
    return facts.architectures if architecture == ALL else (architecture,)


def _paths(found: dict[str, list[str]], facts: DistributionFacts, distribution: str, package: str, view: View) -> None:
    lists = {
        name: data for version in view.versions(package) for name, data in version_facts(version.facts).paths.items()
    }
    for name, data in sorted(lists.items()):
        file = view.file(package, name)
        if file is None:
            continue
        said = file_facts(file.facts)
        place = f"{said.section or 'misc'}/{package[len(BINARY) :]}"
        for spot in said.spots:
            if spot.distribution != distribution:
                continue
            paths = zstandard.ZstdDecompressor().decompress(data, max_output_size=PATHS_BYTES_MAX).decode().split("\n")
            text = "".join(f"{path} {place}\n" for path in paths)
            for architecture in _seen_by(said.architecture, facts):
                found.setdefault(f"{spot.component}/Contents-{architecture}", []).append(text)


# ---------------------------------------------------------------- the Release file


def manifest(making: Making, view: View) -> Written:
    """The Release file of a generation."""
    facts = known(making.set, view)
    yes = "yes"
    fields = [
        ("Origin", facts.origin or making.workspace),
        ("Label", facts.label or f"{making.workspace}/{making.repository}"),
        ("Suite", facts.suite or making.set),
        ("Version", facts.version),
        ("Codename", facts.codename or making.set),
        ("Date", date(making.at_ms)),
        ("Valid-Until", date(making.at_ms + facts.valid_s * 1000) if facts.valid_s else ""),
        ("NotAutomatic", yes if facts.not_automatic else ""),
        ("ButAutomaticUpgrades", yes if facts.but_automatic_upgrades else ""),
        ("Acquire-By-Hash", yes),
        # Where there is nothing but packages for all, clients read their own index; else each index has them in it.
        ("No-Support-for-Architecture-all", "Packages" if set(facts.architectures) - {ALL} else ""),
        ("Architectures", " ".join(facts.architectures)),
        ("Components", " ".join(facts.components)),
        ("Description", facts.description),
        ("SHA256", "".join(f"\n {one.sha256.hex()} {one.size:>12} {one.path}" for one in making.made)),
    ]
    return Written(stanza(fields).encode(), min(DAY_S, facts.valid_s // 4), facts.valid_s)


def date(at_ms: int) -> str:
    """A moment as Release files have it."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")
