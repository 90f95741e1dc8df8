"""Given what somebody was granted, may he do one thing in one place, and which grant says so?

Pure: the rules come from elsewhere (rules.py). An action is allowed where at least one rule allows it and none denies
it. A denial goes before everything, whoever gave it. Rules that are narrowed to packages speak of names alone, never of
what exists, so that a refusal tells nothing of what is there (THREATS B9).

    read        files and documents of packages                 write right: publish, tag, delete
    publish     new packages, versions and files                admin right: all of them
    tag         setting and removing tags
    delete      removing packages, versions and files
    manage      a repository's settings, upstreams, keys, its end
    grant       giving and taking rights
    entitle     tokens for customers
    statistics  who fetched what                                (of a workspace)
    audit       who did what                                    (of a workspace)
    create      new repositories                                (of a workspace)
    people      members, teams, service accounts                (of a workspace)
    own         who owns a workspace                            (of a workspace)

Patterns are as in the policies of clouds: `*` stands for any run of characters, `?` for one, and everything else for
itself; a name is matched whole, in the spelling of the index, with its case.
"""

import fnmatch
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import msgspec

from gateway.access.rights.queried import Sought, lets
from storage.errors import Invalid
from storage.nouns import Grant

READ, PUBLISH, TAG, DELETE, MANAGE = "read", "publish", "tag", "delete", "manage"
GRANT, ENTITLE, STATISTICS, AUDIT = "grant", "entitle", "statistics", "audit"
CREATE, PEOPLE, OWN = "create", "people", "own"
ACTIONS = (READ, PUBLISH, TAG, DELETE, MANAGE, GRANT, ENTITLE, STATISTICS, AUDIT, CREATE, PEOPLE, OWN)
EVERYTHING = frozenset(ACTIONS)
NO_ACTIONS = frozenset[str]()
PROVISION = "provision"
"""Keeping the managed users and teams of a workspace, as its identity provider does. It is in no right and no role and
cannot be given: only tokens that are made for it have it, and nothing else."""
OF_PACKAGES = frozenset((READ, PUBLISH, TAG, DELETE))
RIGHTS = ("read", "write", "admin")
ACTIONS_OF: dict[str, frozenset[str]] = {
    "read": frozenset((READ,)),
    "write": frozenset((PUBLISH, TAG, DELETE)),
    "admin": EVERYTHING,
}
"""What a right of old stands for."""
_OF_RIGHTS = {
    held: NO_ACTIONS.union(*(ACTIONS_OF[right] for right, one in zip(RIGHTS, held, strict=True) if one))
    for held in product((False, True), repeat=len(RIGHTS))
}

EVERYWHERE = "*"
PATTERN_CHARS_MAX = 200
_WILD = re.compile(r"[*?]")


class What(NamedTuple):
    """One thing that somebody wants to do. `repository` is "" for what concerns a whole Workspace. `package` is the
    name by which grants speak of it (access/rights/permits.py), "" for all packages of the format at once. What
    queries ask beside names is `sought`; without it no query lets anything through."""

    action: str
    workspace: str
    repository: str = ""
    format: str = ""
    package: str = ""
    tag: str = ""
    sought: Sought | None = None


class Rule(NamedTuple):
    """A Grant ready to be applied: its `actions` worked out, and `source` for people: where it comes from.

    `since_ms` is when it was given; one on a Repository that is younger than that was meant for a predecessor.
    """

    grant: Grant
    actions: frozenset[str]
    source: str
    since_ms: int


class Verdict(NamedTuple):
    """`allowed`, and Why: the rule that decided, None where no rule speaks of it."""

    allowed: bool
    rule: Rule | None

    def why(self) -> str:
        """For people."""
        if self.rule is None:
            return "nothing allows it"
        return f"{'denied' if not self.allowed else 'allowed'} by {self.rule.source}"


NOTHING = Verdict(False, None)


def decide(rules: Iterable[Rule], what: What, repository_ms: int = 0) -> Verdict:
    """May it be done? `repository_ms` is when the Repository came to be."""
    allowed = NOTHING
    for rule in rules:
        if what.action in rule.actions and _at(rule, what, repository_ms) and _covers(rule.grant, what):
            if rule.grant.deny:
                return Verdict(False, rule)
            if not allowed.allowed:
                allowed = Verdict(True, rule)
    return allowed


def kept_out(rules: Iterable[Rule], what: What, repository_ms: int = 0) -> Rule | None:
    """The rule that would allow it but for its query."""
    for rule in rules:
        if rule.grant.query and not rule.grant.deny:
            without = rule._replace(grant=msgspec.structs.replace(rule.grant, query=""))
            if decide((without,), what, repository_ms).allowed:
                return rule
    return None


def possible(rules: Iterable[Rule], what: What, repository_ms: int = 0) -> bool:
    """Is there a package of the place, or a tag of the package where one is named, that it may be done to? A denial
    counts only where it is for all of them."""
    found = False
    for rule in rules:
        if what.action in rule.actions and _at(rule, what, repository_ms) and not _elsewhere(rule.grant, what):
            if not rule.grant.deny:
                found = True
            elif not narrowed(rule.grant):
                return False
    return found


def _elsewhere(grant: Grant, what: What) -> bool:
    """Does it speak of other formats, or of other packages, than those that are named?"""
    if what.format and grant.formats and what.format not in grant.formats:
        return True
    return bool(what.package and grant.packages) and not any(matches(one, what.package) for one in grant.packages)


def whole(rules: Iterable[Rule], what: What, repository_ms: int = 0) -> bool:
    """May it be done to each package of the place, so that nobody need ask again for one? `format` counts."""
    found = False
    for rule in rules:
        grant = rule.grant
        if what.action not in rule.actions or not _at(rule, what, repository_ms):
            continue
        if grant.formats and what.format and what.format not in grant.formats:
            continue
        if grant.deny:
            return False
        if (
            not (grant.packages or grant.query)
            and not (grant.tags and what.action == TAG)
            and (what.format or not grant.formats)
        ):
            found = True
    return found


def narrowed(grant: Grant) -> bool:
    """Does it speak of some packages only?"""
    return bool(grant.formats or grant.packages or grant.tags or grant.query)


def plain_actions(grant: Grant) -> frozenset[str]:
    """The actions that a Grant names by itself; a Role's are for who knows the Workspace."""
    found = _OF_RIGHTS[grant.read, grant.write, grant.admin]
    return found.union(grant.actions) if grant.actions else found


def rule_of(grant: Grant, source: str, since_ms: int, more: Collection[str] = ()) -> Rule:
    """A Rule; `more` are the actions of the Grant's Role. A narrowed one gives nothing but actions on packages, and one
    that is narrowed to tags the setting of tags alone."""
    actions = plain_actions(grant).union(more) if more else plain_actions(grant)
    if grant.tags:
        actions &= {TAG}
    elif narrowed(grant):
        actions &= OF_PACKAGES
    return Rule(grant, actions, source, since_ms)


def _at(rule: Rule, what: What, repository_ms: int) -> bool:
    scope = rule.grant.scope
    if scope in (EVERYWHERE, what.workspace):
        return True
    return (
        bool(what.repository)
        and scope == f"{what.workspace}/{what.repository}"
        and (rule.grant.deny or repository_ms <= rule.since_ms)
    )


def _covers(grant: Grant, what: What) -> bool:
    """Does a rule at this place speak of this package and tag? Of all packages at once ("") a narrowed one that allows
    never speaks, and one that denies always does."""
    if grant.formats and what.format not in grant.formats:
        return grant.deny and not what.format
    if grant.packages:
        if not what.package:
            return grant.deny
        if not any(matches(one, what.package) for one in grant.packages):
            return False
    if grant.tags:
        if not what.tag:
            return grant.deny
        if not any(matches(one, what.tag) for one in grant.tags):
            return False
    return not grant.query or _finds(grant, what)


def _finds(grant: Grant, what: What) -> bool:
    """Does its query speak of this package, and of the version that is read? What hangs on a version that is not known
    is allowed for documents alone, and denied."""
    if not what.package or what.sought is None:
        return grant.deny
    found = lets(grant.query, (what.workspace, what.repository, what.format), what.sought)
    return (grant.deny or what.sought.documents) if found is None else found


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # the translation takes each literal piece at its first place for good: no pattern makes it search for long
    return re.compile(fnmatch.translate(pattern))


def matches(pattern: str, name: str) -> bool:
    """Does the whole name fit?"""
    if _WILD.search(pattern) is None:
        return pattern == name
    return _compiled(pattern).match(name) is not None


def pattern(text: str) -> str:
    """`text` if it can be a pattern. Raises Invalid."""
    if not 1 <= len(text) <= PATTERN_CHARS_MAX or "[" in text or not text.isprintable():
        raise Invalid(
            "This cannot be a pattern of names.",
            f"Use at most {PATTERN_CHARS_MAX} characters, * for any run of them and ? for one.",
        )
    return text


def sample(pattern: str) -> str:
    """A name that would fit the pattern: to see whether it is spelt as names are."""
    return _WILD.sub("x", pattern)
