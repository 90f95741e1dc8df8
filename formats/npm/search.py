"""Which packages does a search find, and how does the old list of all packages look?

Only what was published here is searched: an upstream is asked for packages by name alone.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from formats.npm.facts import PackageFacts, package_facts, version_facts
from formats.npm.manifest import spoken, text_of, value_of
from formats.npm.names import bare
from storage.nouns import Package, View

WORDS_MAX = 20
_IGNORED = ("not", "is", "boost-exact", "quality-weight", "popularity-weight", "maintenance-weight")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Query(NamedTuple):
    """A search: plain words that must all occur, and what `keywords:`, `scope:`, `maintainer:` demand."""

    words: tuple[str, ...]
    keywords: tuple[str, ...]
    scopes: tuple[str, ...]
    people: tuple[str, ...]


def understood(text: str) -> Query:
    """The search that `text` means."""
    words: list[str] = []
    qualified: dict[str, list[str]] = {"keywords": [], "scope": [], "maintainer": [], "author": []}
    for word in text.lower().split()[:WORDS_MAX]:
        key, colon, value = word.partition(":")
        if colon and key in qualified:
            qualified[key] += [one for one in value.split(",") if one]
        elif not (colon and key in _IGNORED):
            words.append(word)
    return Query(
        tuple(words),
        tuple(qualified["keywords"]),
        tuple(one.removeprefix("@") for one in qualified["scope"]),
        tuple(qualified["maintainer"] + qualified["author"]),
    )


def score(query: Query, package: Package, facts: PackageFacts) -> float:
    """How well a package fits, 0 to 1; 0 where it does not."""
    name, keywords = package.name.lower(), [one.lower() for one in facts.keywords]
    if query.keywords and not set(query.keywords) & set(keywords):
        return 0.0
    if query.scopes and not any(name.startswith(f"@{one}/") for one in query.scopes):
        return 0.0
    if query.people and not set(query.people) & {str(one["name"]).lower() for one in _people(facts)}:
        return 0.0
    description, total = facts.description.lower(), 0.0
    for word in query.words:
        if word in (name, bare(name)):
            total += 1.0
        elif word in keywords:
            total += 0.7
        elif word in name:
            total += 0.6
        elif word in description or any(word in one for one in keywords):
            total += 0.3
        else:
            return 0.0
    return total / len(query.words) if query.words else 1.0


def page(argument: str, view: View) -> bytes:
    """The answer to a search; `argument` is "size offset at_ms text"."""
    size, offset, at_ms, text = argument.split(" ", 3)
    query = understood(text)
    total = 0

    def fitting() -> Iterator[tuple[float, str, Package, PackageFacts]]:
        nonlocal total
        for package in view.packages():
            facts = package_facts(package)
            if facts.latest and (value := score(query, package, facts)):
                total += 1
                yield -value, package.name, package, facts

    wanted = min(int(offset), 10_000) + int(size)
    best = heapq.nsmallest(wanted, fitting(), key=lambda one: one[:2])[int(offset) :]
    objects = [_found(package, facts, -value, view) for value, _, package, facts in best]
    return msgspec.json.encode({"objects": objects, "total": total, "time": spoken(int(at_ms))})


def _found(package: Package, facts: PackageFacts, value: float, view: View) -> dict[str, object]:
    people = _people(facts)
    scope = package.name.partition("/")[0].removeprefix("@") if "/" in package.name else "unscoped"
    return {
        "package": {
            "name": package.name,
            "scope": scope,
            "version": facts.latest,
            "description": facts.description,
            "keywords": facts.keywords,
            "date": spoken(facts.latest_ms),
            "links": _links(package.name, facts.latest, view),
            "publisher": _person(people[0]) if people else {"username": "", "email": ""},
            "maintainers": [_person(one) for one in people],
        },
        "score": {"final": value, "detail": {"quality": value, "popularity": value, "maintenance": value}},
        "searchScore": value,
        "flags": {"insecure": 0},
    }


def _people(facts: PackageFacts) -> list[dict[str, object]]:
    people = value_of(facts.maintainers)
    return [one for one in people if isinstance(one, dict) and "name" in one] if isinstance(people, list) else []


def _person(one: dict[str, object]) -> dict[str, str]:
    return {"username": str(one["name"]), "email": str(one.get("email", ""))}


def _links(name: str, latest: str, view: View) -> dict[str, str]:
    version = view.version(name, latest)
    if version is None:
        return {}
    members = _members.decode(version_facts(version).manifest)
    links = {"homepage": text_of(members.get("homepage"))}
    for key in ("repository", "bugs"):
        value = value_of(members.get(key))
        address = value.get("url") if isinstance(value, dict) else value
        links[key] = address if isinstance(address, str) else ""
    return {key: address for key, address in links.items() if address}


def everything(view: View) -> bytes:
    """The list of all packages that old clients read as a whole."""
    listed: dict[str, object] = {"_updated": 99999}
    for package in view.packages():
        facts = package_facts(package)
        if not facts.latest:
            continue
        listed[package.name] = {
            "name": package.name,
            "description": facts.description,
            "keywords": facts.keywords,
            "dist-tags": view.tags(package.name),
            "maintainers": _people(facts),
            "time": {"modified": spoken(facts.modified_ms)},
            "versions": {facts.latest: "latest"},
        }
    return msgspec.json.encode(listed)
