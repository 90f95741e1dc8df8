"""Is what the large identity providers send understood as they mean it, and is everything else refused by its name?

Pure. The bodies are spelt as the providers' own documents and clients spell them.
"""

from typing import Any

import pytest

from gateway.scim.reading import (
    FILTER_CHARS_MAX,
    OPERATIONS_MAX,
    leaves_out,
    one_value,
    patch_group,
    patch_user,
    read_group,
    read_user,
    search_of,
    wanted_of,
)
from gateway.scim.refusing import Refused, document
from gateway.scim.resources import Group, Member, User, facts_of, key_of, team_names
from storage.errors import Absent

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def ann() -> User:
    work = {"type": "work", "value": "ann@acme.example", "primary": True}
    return User.model_validate({"userName": "ann", "active": True, "displayName": "Ann", "emails": [work]})


def staff(*ids: str) -> Group:
    return Group(id="grp_1", display_name="Staff", members=[Member(value=one) for one in ids] or None)


def patch(*operations: Any) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "active", "value": False},
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "replace", "value": {"active": False}},
        {"op": "REPLACE", "value": {"Active": "false"}},
        {"op": "Replace", "path": "active", "value": [{"$ref": None, "value": "False"}]},
        {"op": "replace", "path": f"{USER}:active", "value": False},
        {"op": "Add", "value": {"active": "False", "title": "Consultant", "name.givenName": "Ann"}},
    ],
)
def test_a_user_is_deactivated_in_every_dialect(operation: Any) -> None:
    changed = patch_user(patch(operation), ann())
    assert changed.active is False
    assert (changed.user_name, changed.display_name) == ("ann", "Ann")


def test_paths_and_keys_reach_into_names_and_addresses() -> None:
    changed = patch_user(
        patch(
            {"op": "Add", "path": "name.givenName", "value": "Ann"},
            {"op": "Replace", "value": {"name.familyName": "Archer", f"{ENTERPRISE}:department": "Tools"}},
            {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "archer@acme.example"},
            {"op": "Add", "path": 'emails[type eq "home"].value', "value": "ann@home.example"},
            {"op": "Remove", "path": "displayName"},
            {"op": "Replace", "path": "title", "value": "passed over"},
            {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "passed over"},
        ),
        ann(),
    )
    assert changed.name is not None
    assert (changed.name.given_name, changed.name.family_name) == ("Ann", "Archer")
    assert [(one.type, one.value) for one in changed.emails or ()] == [
        ("work", "archer@acme.example"),
        ("home", "ann@home.example"),
    ]
    assert changed.display_name is None
    assert "passed over" not in facts_of(changed)


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        ({"op": "remove", "path": 'members[value eq "b"]'}, ["a", "c"]),
        ({"op": "Remove", "path": "members", "value": [{"value": "b"}]}, ["a", "c"]),
        ({"op": "Remove", "path": "members", "value": []}, ["a", "b", "c"]),
        ({"op": "remove", "path": "members"}, []),
        ({"op": "Add", "path": "members", "value": [{"$ref": None, "value": "d"}]}, ["a", "b", "c", "d"]),
        ({"op": "add", "path": "members", "value": {"value": "d"}}, ["a", "b", "c", "d"]),
        ({"op": "add", "value": {"members": [{"value": "d"}, {"value": "a"}]}}, ["a", "b", "c", "d"]),
        ({"op": "replace", "path": "members", "value": [{"value": "z", "display": "Zoe"}]}, ["z"]),
        ({"op": "replace", "value": {"id": "grp_1", "displayName": "People"}}, ["a", "b", "c"]),
    ],
)
def test_members_come_and_go_in_every_dialect(operation: Any, left: list[str]) -> None:
    changed = patch_group(patch(operation), staff("a", "b", "c"))
    assert sorted(one.value or "" for one in changed.members or ()) == left


@pytest.mark.parametrize(
    ("body", "scim_type"),
    [
        (patch({"op": "increase", "path": "active", "value": 1}), "invalidValue"),
        (patch({"op": "replace", "path": "active", "value": "perhaps"}), "invalidValue"),
        (patch({"op": "replace", "path": "id", "value": "usr_other"}), "mutability"),
        (patch({"op": "replace", "value": {"id": "usr_other"}}), "mutability"),
        (patch({"op": "remove"}), "noTarget"),
        (patch({"op": "remove", "path": "userName"}), "mutability"),
        (patch({"op": "replace", "path": "emails[type eq", "value": "x"}), "invalidPath"),
        (patch({"op": "replace", "path": "userName", "value": {"a": 1}}), "invalidValue"),
        (patch({"op": "replace", "path": "userName", "value": "two\nlines"}), "invalidValue"),
        (patch({"op": "replace", "path": "userName", "value": " "}), "invalidValue"),
        (patch({"op": "replace", "path": "displayName", "value": "x" * 501}), "invalidValue"),
        (patch(*[{"op": "remove", "path": "displayName"}] * (OPERATIONS_MAX + 1)), "invalidSyntax"),
        ({"schemas": [PATCH]}, "invalidValue"),
        ({"schemas": [PATCH], "Operations": "all"}, "invalidValue"),
        (patch("all"), "invalidValue"),
    ],
)
def test_what_cannot_be_done_is_refused_by_scims_word(body: dict[str, Any], scim_type: str) -> None:
    with pytest.raises(Refused) as refused:
        patch_user(body, ann())
    assert document(refused.value)["scimType"] == scim_type
    assert "\n" not in refused.value.message


def test_c11_a_password_is_neither_kept_nor_told() -> None:
    secret = "correct horse"
    user = read_user({"schemas": [USER], "userName": "ann", "password": secret})
    assert secret not in repr(user) + facts_of(user)
    with pytest.raises(Refused) as refused:
        read_user({"schemas": [USER], "userName": ["ann"], "password": secret, "active": secret})
    assert secret not in str(document(refused.value))
    changed = patch_user(patch({"op": "replace", "path": "password", "value": secret}), ann())
    assert secret not in repr(changed) + facts_of(changed)


def test_a_replacement_keeps_what_it_may_not_change_and_whether_a_user_is_active() -> None:
    before = ann()
    before.active = False
    after = read_user({"schemas": [USER], "USERNAME": "Ann B", "id": "usr_forged"}, before)
    assert (after.user_name, after.active, after.display_name, after.emails) == ("Ann B", False, None, None)
    assert after.id == before.id
    assert read_user({"schemas": [USER], "userName": "ann"}).active is True
    assert read_group({"schemas": [GROUP], "displayName": "Staff"}, staff("a")).members is None


@pytest.mark.parametrize("members", [[{"display": "nobody"}], [{"value": ""}], ["usr_1"], "usr_1"])
def test_members_must_be_named(members: Any) -> None:
    with pytest.raises(Refused):
        read_group({"schemas": [GROUP], "displayName": "Staff", "members": members})


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ('userName eq "ANN"', True),
        ('USERNAME Eq "ann" and active eq true', True),
        ('userName ne "ann"', False),
        ('userName co "nn"', True),
        ('userName sw "a"', True),
        ('userName ew "b"', False),
        ("displayName pr", True),
        ("externalId pr", False),
        ('userName gt "b"', False),
        ('userName le "b"', True),
        ('emails[type eq "work" and value co "@acme"]', True),
        ('emails.value eq "ann@acme.example"', True),
        ('not (userName eq "bob") and (active eq true or userName eq "x")', True),
        (f'{USER}:userName eq "ann"', True),
    ],
)
def test_filters(filter: str, matches: bool) -> None:
    search = search_of(User, {"filter": filter})
    assert search.filter is not None
    assert search.filter.match(ann()) is matches


LONG = f'userName eq "{"x" * FILTER_CHARS_MAX}"'


@pytest.mark.parametrize(
    "filter", ["userName eq", 'shoeSize eq "42"', "active gt true", "((((", 'userName is "x"', LONG]
)
def test_a_filter_that_means_nothing_is_refused(filter: str) -> None:
    with pytest.raises(Refused) as refused:
        search_of(User, {"filter": filter})
    assert document(refused.value)["scimType"] == "invalidFilter"


def test_questions_for_one_value_are_known() -> None:
    assert one_value(search_of(User, {"filter": 'userName eq "Ann"'})) == ("username", "Ann")
    assert one_value(search_of(User, {"filter": 'externalId eq "7"'})) == ("externalid", "7")
    assert one_value(search_of(User, {"filter": 'userName co "Ann"'})) == ("", "")
    assert one_value(search_of(User, {})) == ("", "")
    assert leaves_out(wanted_of(Group, {"excludedAttributes": "members"}), "members")
    assert leaves_out(wanted_of(Group, {"attributes": "id,displayName"}), "members")
    assert not leaves_out(wanted_of(Group, {"attributes": "members.value"}), "members")
    assert not leaves_out(wanted_of(Group, {}), "members")


def test_names_are_equal_as_people_read_them() -> None:
    assert key_of("Ann@ACME.example") == key_of("ann@acme.EXAMPLE")
    assert key_of("Ame\u0301lie") == key_of("Am\u00e9lie")


def test_a_team_gets_a_name_that_a_path_can_hold() -> None:
    def first(display: str, number: int = 1) -> list[str]:
        names = team_names(display)
        return [next(names) for _ in range(number)]

    assert first("Web Developers", 3) == ["web-developers", "web-developers-2", "web-developers-3"]
    assert first("Équipe / Süd") == ["equipe-sud"]
    assert first("開発") == ["group"]
    assert len(first("x" * 300)[0]) <= 63


def test_a_problem_is_told_in_scims_dialect() -> None:
    assert document(Absent("It is not there.", "Look elsewhere.")) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "404",
        "detail": "It is not there. Look elsewhere.",
    }
