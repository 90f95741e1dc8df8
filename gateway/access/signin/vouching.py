"""Whom does an identity provider vouch for, as its Workspace has set it up? Pure, and alike for every protocol."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from storage.errors import Unauthenticated
from storage.nouns import PERSON_CHARS_MAX, People

NAME_CHARS_MAX = 200
GROUPS_MAX = 1_000


class Person(NamedTuple):
    """Whom the provider vouches for. `subject` is the same for nobody else, whatever he is called; `teams` are those
    that he is to be in."""

    subject: str
    user_name: str
    display_name: str
    email: str
    teams: frozenset[str]


class Word(NamedTuple):
    """What is said of one subject: `values` one by one, `lists` several under one name."""

    subject: str
    display_name: str
    email: str
    values: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]


def person_of(people: People, word: Word) -> Person:
    """Raises Unauthenticated for whom the Workspace does not let in."""
    if any(word.values.get(name) != value for name, value in people.claims.items()):
        raise refused("You are not among those whom this workspace lets in.")
    name = word.values.get(people.name, "")
    if not name or name != name.strip() or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise refused(f"It does not tell by what you are known here: {people.name}.")
    if people.domains and name.rpartition("@")[2].lower() not in people.domains:
        raise refused("You are not among those whom this workspace lets in.")
    return Person(word.subject, name, _line(word.display_name), _line(word.email), _teams(people, word))


def refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"Your identity provider did not sign you in here. {why}", "Ask who manages the workspace.")


def _line(text: str) -> str:
    """A text that may be kept of somebody, "" for any other: SCIM would refuse to touch who has it."""
    return text if len(text) <= PERSON_CHARS_MAX and text.isprintable() else ""


def _teams(people: People, word: Word) -> frozenset[str]:
    said = word.lists.get(people.groups) or ((word.values[people.groups],) if people.groups in word.values else ())
    return frozenset(people.teams[one] for one in said[:GROUPS_MAX] if one in people.teams)
