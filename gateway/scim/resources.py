"""What of a User or a Group is kept here, and how do they look (RFC 7643 sections 4.1, 4.2)?

A User is an Account of kind `managed`, a Group a Team with an id. What the identity provider told of them stands in
their `facts`, in its own words; whether a User is active, and who is in a Group, is derived from the memberships.
Nothing is kept that nothing here uses: titles, telephone numbers and the like are passed over, and so are passwords.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from pydantic import Field
from scim2_models import (
    URN,
    CaseExact,
    ComplexAttribute,
    Context,
    GroupMembership,
    Meta,
    Mutability,
    Reference,
    Required,
    Resource,
    ResponseParameters,
    Uniqueness,
)

from gateway.scim.refusing import INVALID_VALUE, Refused
from storage.nouns import PERSON_CHARS_MAX, Account, Team

USER_NAME_CHARS_MAX = 200
EMAILS_MAX = 20
TEAM_CHARS_MAX = 50
"""Of the name that a team gets from its Group, so that a number can follow it."""

_FACTS = ("id", "meta", "groups", "members", "active", "schemas")
"""What stands elsewhere."""
_NO_SLUG = re.compile(r"[^a-z0-9._]+")

Shown = dict[str, Any]


class Name(ComplexAttribute):
    """The components of the user's name."""

    formatted: str | None = None
    """The full name, for display."""
    family_name: str | None = None
    """The family name."""
    given_name: str | None = None
    """The given name."""
    middle_name: str | None = None
    """The middle names."""
    honorific_prefix: str | None = None
    """What stands ahead of the name."""
    honorific_suffix: str | None = None
    """What stands behind the name."""


class Email(ComplexAttribute):
    """An e-mail address. Nothing is sent to it, and nobody is known by it."""

    value: str | None = None
    """The address."""
    display: str | None = None
    """What is shown in its place."""
    type: str | None = None
    """What it is for: work, home, other."""
    primary: bool | None = None
    """Whether it is the preferred one."""


class User(Resource[Any]):
    """A user of the workspace, managed by its identity provider."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """By what the user is known here; unique in the workspace, whatever its case."""
    name: Name | None = None
    """The components of the user's name."""
    display_name: str | None = None
    """The name of the user, for display."""
    active: Annotated[bool | None, Required.true] = None
    """Whether the user is a member of the workspace. Ended, all its tokens and sessions are closed at once."""
    emails: list[Email] | None = None
    """The e-mail addresses of the user."""
    groups: Annotated[list[GroupMembership] | None, Mutability.read_only] = None
    """The groups that the user is in."""


class Member(ComplexAttribute):
    """Who is in a group."""

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    """The id of the user."""
    ref: Annotated[Reference["User"] | None, Mutability.immutable] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    """The address of the user."""
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])
    """Users alone: groups in groups are not known here."""


class Group(Resource[Any]):
    """A team of the workspace whose members the identity provider says."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """The name of the group; unique in the workspace, whatever its case."""
    members: list[Member] | None = None
    """Who is in it."""


# ---------------------------------------------------------------- from and to what is kept


def key_of(name: str) -> str:
    """The form in which a userName or the displayName of a Group is unique, as comparisons of the filter have it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())


def facts_of(resource: User | Group) -> str:
    """What is kept of it: JSON, equal for what is equal."""
    told = resource.model_dump(scim_ctx=Context.DEFAULT)
    return msgspec.json.encode(
        {name: value for name, value in told.items() if name not in _FACTS}, order="sorted"
    ).decode()


def email_of(user: User) -> str:
    """The preferred address, else the first; "" for none."""
    emails = [one for one in user.emails or () if one.value]
    chosen = next((one for one in emails if one.primary), emails[0] if emails else None)
    return "" if chosen is None else chosen.value or ""


def user_of(account: Account, active: bool, groups: Iterable[Team] = (), at: str = "") -> User:
    """`account` as SCIM tells of it. `at` is the address under which the workspace's SCIM is, "" = not told."""
    user = User.model_validate(msgspec.json.decode(account.facts or "{}"))
    user.id, user.active = account.id, active
    user.groups = [
        GroupMembership(value=team.id, display=name_of(team), type="direct", ref=_place(at, "Groups", team.id))
        for team in groups
    ] or None
    user.meta = _meta("User", account.at_ms, account.changed_ms, version_of_user(account, active), at, user.id)
    return user


def group_of(team: Team, members: Iterable[str], at: str = "") -> Group:
    """A Team with an id as SCIM tells of it; `members` are the ids of its users."""
    ids = sorted(members)
    group = Group.model_validate(msgspec.json.decode(team.facts or "{}"))
    group.id = team.id
    group.members = [Member(value=one, type="User", ref=_place(at, "Users", one)) for one in ids] or None
    group.meta = _meta("Group", team.at_ms, team.changed_ms, version_of_group(team, ids), at, team.id)
    return group


def name_of(team: Team) -> str:
    """The displayName of a Group."""
    return str(msgspec.json.decode(team.facts or "{}").get("displayName", team.name))


def external_id_of(facts: str) -> str:
    """What the identity provider calls it; "" for nothing."""
    return str(msgspec.json.decode(facts or "{}").get("externalId", ""))


def version_of_user(account: Account, active: bool) -> str:
    """Its entity tag; the groups that it is in are the Groups'."""
    return _version(account.facts, str(active))


def version_of_group(team: Team, members: Iterable[str]) -> str:
    """Its entity tag; `members` are sorted."""
    return _version(team.facts, *members)


def _version(*parts: str) -> str:
    return f'W/"{hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]}"'


def _meta(kind: str, at_ms: int, changed_ms: int, version: str, at: str, id: str) -> Meta:
    return Meta(
        resource_type=kind,
        created=datetime.fromtimestamp(at_ms / 1000, UTC),
        last_modified=datetime.fromtimestamp(max(at_ms, changed_ms) / 1000, UTC),
        version=version,
        location=f"{at}/{kind}s/{id}" if at else None,
    )


def _place(at: str, kind: str, id: str) -> Any:
    return f"{at}/{kind}/{id}" if at else None


# ---------------------------------------------------------------- bounds


def checked_user(user: User) -> User:
    """`user`, if it can be kept. Raises Refused."""
    _check_texts(user)
    name = user.user_name or ""
    if not name.strip() or name != name.strip() or len(name) > USER_NAME_CHARS_MAX:
        raise Refused(f"The userName must have 1 to {USER_NAME_CHARS_MAX} characters.", scim_type=INVALID_VALUE)
    if len(user.emails or ()) > EMAILS_MAX:
        raise Refused(f"At most {EMAILS_MAX} emails are kept.", scim_type=INVALID_VALUE)
    return user


def checked_group(group: Group) -> Group:
    """`group`, if it can be kept. Raises Refused."""
    _check_texts(group)
    if not (group.display_name or "").strip():
        raise Refused("The displayName of a group must not be empty.", scim_type=INVALID_VALUE)
    return group


def _check_texts(resource: User | Group) -> None:
    for name, text in _texts(resource.model_dump(exclude={"members", "groups", "meta"})):
        if len(text) > PERSON_CHARS_MAX or not text.isprintable():
            raise Refused(
                f"The value of {name} must be one line of at most {PERSON_CHARS_MAX} characters.",
                scim_type=INVALID_VALUE,
            )


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in it, with the name of the attribute."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, name)


def team_names(display_name: str) -> Iterator[str]:
    """Names that a Team could have for a Group, the best first: the caller takes the first that is free."""
    plain = unicodedata.normalize("NFKD", display_name.lower()).encode("ascii", "ignore").decode()
    stem = _NO_SLUG.sub("-", plain).strip("-._")[:TEAM_CHARS_MAX].strip("-._") or "group"
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def shown(resource: User | Group, wanted: ResponseParameters[Any] | None = None) -> Shown:
    """As it is answered, with the attributes that were asked for."""
    return resource.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=wanted)
