"""Which files does a replication policy want of a Repository? Pure: a policy and a view in, files out.

Formats and packages narrow. Of a Package all files are wanted, or, where the policy asks by tag, age or rank, those of
the Versions that meet one of these, with everything that those need (an image its layers) and all that is about them
(its signatures). What is about another Version does not meet anything by itself. In formats without versions each file
is one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from typing import NamedTuple

from storage.nouns import File, Replication, Repository, Version, View

DAY_MS = 24 * 3600 * 1000

Needs = Callable[[str, bytes], Sequence[str]]
"""(format, facts of a Version) to the names of files of the same Package that it is nothing without."""


Followers = Callable[[str, str, str, View], Sequence[str]]
"""(format, package, version, view) to the Versions of that Package that are about this one."""


class Ties(NamedTuple):
    """What else comes with a Version."""

    needs: Needs
    followers: Followers


ALONE = Ties(lambda format, facts: (), lambda format, package, version, view: ())
"""Nothing else comes."""


def policy_of(repository: Repository, region: str) -> Replication | None:
    """What was said for a region; None for nothing, and for "" (a node without one)."""
    return next((one for one in repository.replications if region and one.region == region), None)


def passes_through(repository: Repository, region: str) -> bool:
    """Are its bytes not to be kept in this region?"""
    policy = policy_of(repository, region)
    return policy is not None and policy.mode == "metadata"


def chosen(policy: Replication, format: str, view: View, now_ms: int, ties: Ties = ALONE) -> Iterator[tuple[str, File]]:
    """(package, file) of all that an eager policy wants of one format, by package and name; foreign files are none."""
    if policy.mode != "eager" or not matches(format, policy.formats):
        return
    for package in view.packages():
        if matches(package.name, policy.packages):
            for file in of_package(policy, format, view, package.name, now_ms, ties):
                yield package.name, file


def of_package(
    policy: Replication, format: str, view: View, package: str, now_ms: int, ties: Ties = ALONE
) -> list[File]:
    """Those of one Package that a policy wants, by name."""
    files = [one for one in view.files(package) if one.sha256]
    if not (policy.tags or policy.newest_max or policy.days_max):
        return files
    versions = {one.name: one for one in view.versions(package)}
    following = {one: tuple(ties.followers(format, package, one, view)) for one in versions}
    names = _versions_of(policy, view, package, versions, files, now_ms, set().union(*following.values()))
    wanted = _with_ties(format, versions, files, names, ties.needs, following)
    return [one for one in files if one.name in wanted]


def of_version(format: str, view: View, package: str, version: str, ties: Ties = ALONE) -> list[File]:
    """The files of one Version, of all that it needs and of what is about it, by name; "" = of the whole Package."""
    files = [one for one in view.files(package) if one.sha256]
    if not version:
        return files
    versions = {one.name: one for one in view.versions(package)}
    following = {one: tuple(ties.followers(format, package, one, view)) for one in versions}
    wanted = _with_ties(format, versions, files, {version}, ties.needs, following)
    return [one for one in files if one.name in wanted]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Does it match one of them? None = everything does."""
    return not patterns or any(fnmatchcase(name, one) for one in patterns)


def _versions_of(
    policy: Replication,
    view: View,
    package: str,
    versions: dict[str, Version],
    files: Sequence[File],
    now_ms: int,
    followers: Set[str],
) -> set[str]:
    ages: dict[str, int] = {}
    for one in files:
        if name := _version_of(one, versions):
            ages[name] = max(ages.get(name, 0), one.at_ms)
    ages |= {name: one.at_ms for name, one in versions.items()}
    ages = {name: at_ms for name, at_ms in ages.items() if name not in followers}
    found: set[str] = set()
    if policy.tags:
        found.update(version for tag, version in view.tags(package).items() if matches(tag, policy.tags))
    if policy.newest_max:
        ranked = sorted(ages, key=lambda name: (ages[name], name), reverse=True)
        found.update(ranked[: policy.newest_max])
    if policy.days_max:
        since_ms = now_ms - policy.days_max * DAY_MS
        found.update(name for name, at_ms in ages.items() if at_ms >= since_ms)
    return found


def _version_of(file: File, versions: Mapping[str, Version]) -> str:
    """Of which Version a file is: where a Package has none, each file is one by itself."""
    return file.version or ("" if versions else file.name)


def _with_ties(
    format: str,
    versions: dict[str, Version],
    files: Sequence[File],
    names: set[str],
    needs: Needs,
    following: Mapping[str, Sequence[str]],
) -> set[str]:
    """The names of the files of these versions, of what they need and of what is about them, however deep."""
    by_name = {one.name: one for one in files}
    wanted: set[str] = set()
    left, seen = list(names), set(names)
    by_version: dict[str, list[File]] = {}
    for one in files:
        by_version.setdefault(_version_of(one, versions), []).append(one)
    while left:
        name = left.pop()
        facts = versions[name].facts if name in versions else b""
        needed = [by_name[one] for one in needs(format, facts) if one in by_name] if facts else []
        for file in (*by_version.get(name, ()), *needed):
            wanted.add(file.name)
            if file.version and file.version not in seen:
                seen.add(file.version)
                left.append(file.version)
        more = [one for one in following.get(name, ()) if one not in seen]
        seen.update(more)
        left += more
    return wanted
