"""Which foreign files does a replication policy want, of those that somebody has drawn? Pure: a policy and what is
known of them in, some of them out.

Formats and packages narrow. Of a Package all that was drawn is wanted, or, where the policy asks by tag, age or rank,
the files of Versions that meet one of these, with what they need. What a Version's age is counts from when it was
drawn. Where tags were drawn (images), the manifests that they meant have ranks, and what else is of that Package comes
with them alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from cache.replication.drawn import DAY_MS, Row
from cache.replication.wanted import matches
from storage.nouns import Replication

TagsOf = Callable[[str, str], Mapping[str, str]]
"""(format, package) to the Tags that a foreign registry has of it, as far as this node has heard."""


class Known(NamedTuple):
    """A row, and what its request means: of which Package and Version it is ("" = not told), under which name the index
    would have it, and by which tag it was asked for."""

    row: Row
    package: str
    version: str = ""
    name: str = ""
    tag: str = ""


def chosen_drawn(policy: Replication, known: Sequence[Known], now_ms: int, tags_of: TagsOf) -> list[Known]:
    """Those that an eager policy wants."""
    if policy.mode != "eager":
        return []
    inside = [one for one in known if matches(one.row.format, policy.formats) and matches(one.package, policy.packages)]
    if not (policy.tags or policy.newest_max or policy.days_max):
        return inside
    packages: dict[tuple[str, str], list[Known]] = {}
    for one in inside:
        packages.setdefault((one.row.format, one.package), []).append(one)
    return [
        one
        for (format, package), files in packages.items()
        for one in _of_package(policy, files, now_ms, lambda: tags_of(format, package))  # noqa: B023 - called at once
    ]


def _of_package(
    policy: Replication, files: Sequence[Known], now_ms: int, tags: Callable[[], Mapping[str, str]]
) -> Iterable[Known]:
    versioned = any(one.version for one in files)
    by_tag = any(one.tag for one in files)

    def version_of(one: Known) -> str:
        return one.version or ("" if versioned else one.name)

    ages: dict[str, int] = {}
    for one in files:
        if (one.tag or not by_tag) and (name := version_of(one)):
            ages[name] = max(ages.get(name, 0), one.row.at_ms)
    found: set[str] = set()
    if policy.tags:
        found.update(version_of(one) for one in files if one.tag and matches(one.tag, policy.tags))
        found.update(version for tag, version in tags().items() if version and matches(tag, policy.tags))
    if policy.newest_max:
        found.update(sorted(ages, key=lambda name: (ages[name], name), reverse=True)[: policy.newest_max])
    if policy.days_max:
        since_ms = now_ms - policy.days_max * DAY_MS
        found.update(name for name, at_ms in ages.items() if at_ms >= since_ms)
    found.discard("")
    return _with_needs([(one, version_of(one)) for one in files], found)


def _with_needs(files: Sequence[tuple[Known, str]], versions: set[str]) -> Iterable[Known]:
    """The files of these versions and what those need, however deep."""
    by_name: dict[str, list[tuple[Known, str]]] = {}
    for one in files:
        by_name.setdefault(one[0].name, []).append(one)
    left = [one for one in files if one[1] in versions]
    seen = {id(one[0]) for one in left}
    while left:
        known, _ = left.pop()
        yield known
        for name in known.row.needs:
            for one in by_name.get(name, ()):
                if id(one[0]) not in seen:
                    seen.add(id(one[0]))
                    left.append(one)
