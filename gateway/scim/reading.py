"""What does an identity provider ask for? Bodies and queries as the large ones send them, believed in one place.

The library reads the dialects: attribute names and operations in any case, "True" for true, replacing without a path,
paths as keys, what to remove in `value`, filters that match nothing yet. What no attribute here is for is passed over.
"""

from collections.abc import Mapping
from typing import Any

from scim2_models import Context, PatchOp, ResponseParameters, ScimPolicy, SearchRequest
from scim2_models.path import CompareOperator, Comparison

from gateway.scim.refusing import INVALID_SYNTAX, INVALID_VALUE, Refused, refusing
from gateway.scim.resources import Group, User, checked_group, checked_user

OPERATIONS_MAX = 1_000
MEMBERS_MAX = 20_000
FILTER_CHARS_MAX = 2_000
POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
_PLAIN = frozenset(("active", "username", "displayname", "externalid"))
"""Attributes with one value that one dialect sends as a list of one object with a `value`."""


def read_user(body: Mapping[str, Any], original: User | None = None) -> User:
    """The User that `body` is to become, in the place of `original` where it replaces one. Raises Refused."""
    context = Context.RESOURCE_CREATION_REQUEST if original is None else Context.RESOURCE_REPLACEMENT_REQUEST
    told = dict(body)
    if not any(name.lower() == "active" for name in told):
        told["active"] = True if original is None else original.active
    with refusing():
        user = User.model_validate(told, scim_ctx=context, scim_policy=POLICY)
        if original is not None:
            user.replace(original)
    return checked_user(user)


def read_group(body: Mapping[str, Any], original: Group | None = None) -> Group:
    """The Group that `body` is to become, in the place of `original` where it replaces one. Raises Refused."""
    context = Context.RESOURCE_CREATION_REQUEST if original is None else Context.RESOURCE_REPLACEMENT_REQUEST
    with refusing():
        group = Group.model_validate(dict(body), scim_ctx=context, scim_policy=POLICY)
        if original is not None:
            group.replace(original)
    return _bounded(checked_group(group))


def patch_user(body: Mapping[str, Any], user: User) -> User:
    """`user`, changed as `body` says, which it is given for. Raises Refused; then nothing counts."""
    with refusing():
        PatchOp[User].model_validate(_plainer(body), scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY).patch(
            user, scim_policy=POLICY
        )
    return checked_user(user)


def patch_group(body: Mapping[str, Any], group: Group) -> Group:
    """`group`, changed as `body` says, which it is given for. Raises Refused; then nothing counts."""
    with refusing():
        asked = PatchOp[Group].model_validate(
            _plainer(body), scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
        )
        asked.patch(group, scim_policy=POLICY)
    return _bounded(checked_group(group))


def _bounded(group: Group) -> Group:
    if len(group.members or ()) > MEMBERS_MAX:
        raise Refused(f"A group can have {MEMBERS_MAX} members.", scim_type=INVALID_VALUE)
    if any(not one.value for one in group.members or ()):
        raise Refused("A member is named by its id, in value.", scim_type=INVALID_VALUE)
    return group


def _plainer(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the one oddity taken out that the library does not know: [{"value": "False"}] for active."""
    key = next((one for one in body if one.lower() == "operations"), "")
    operations = body.get(key)
    if not isinstance(operations, list):
        return dict(body)
    if len(operations) > OPERATIONS_MAX:
        raise Refused(f"A request can hold {OPERATIONS_MAX} operations.", scim_type=INVALID_SYNTAX)
    return dict(body) | {key: [_unwrapped(one) for one in operations]}


def _unwrapped(operation: Any) -> Any:
    if not isinstance(operation, dict):
        return operation
    path, value = operation.get("path"), operation.get("value")
    if (
        isinstance(path, str)
        and path.lower() in _PLAIN
        and isinstance(value, list)
        and len(value) == 1
        and isinstance(value[0], dict)
        and "value" in value[0]
    ):
        return operation | {"value": value[0]["value"]}
    return operation


# ---------------------------------------------------------------- questions


def search_of[R: (User, Group)](kind: type[R], asked: Mapping[str, Any]) -> SearchRequest[R]:
    """What a query, or the body of a search, asks for. Raises Refused."""
    return _search(kind, asked)


def search_of_both(asked: Mapping[str, Any]) -> SearchRequest[User | Group]:
    """What a search over users and groups asks for. Raises Refused."""
    return _search(User | Group, asked)


def _search(kind: Any, asked: Mapping[str, Any]) -> SearchRequest[Any]:
    said = asked.get("filter")
    if isinstance(said, str) and len(said) > FILTER_CHARS_MAX:
        raise Refused(f"A filter can have {FILTER_CHARS_MAX} characters.", scim_type="invalidFilter")
    with refusing():
        found: SearchRequest[Any] = SearchRequest[kind].model_validate(
            dict(asked), scim_ctx=Context.SEARCH_REQUEST, scim_policy=POLICY
        )
    return found


def wanted_of[R: (User, Group)](kind: type[R], arguments: Mapping[str, str]) -> ResponseParameters[R]:
    """Which attributes are asked for. Raises Refused."""
    with refusing():
        found: ResponseParameters[R] = ResponseParameters[kind].model_validate(  # type: ignore[valid-type]
            {name: value for name, value in arguments.items() if value}
        )
    return found


def one_value(search: SearchRequest[Any]) -> tuple[str, str]:
    """(attribute in lower case, value) of a filter that asks for exactly one value of one attribute; else ("", "")."""
    ast = search.filter.ast if search.filter is not None else None
    if not isinstance(ast, Comparison) or ast.op != CompareOperator.eq or ast.attr_path.sub_attr is not None:
        return "", ""
    return (ast.attr_path.attr.lower(), ast.value) if isinstance(ast.value, str) else ("", "")


def leaves_out(wanted: ResponseParameters[Any], name: str) -> bool:
    """Is this attribute not asked for?"""
    if wanted.attributes:
        return not any(str(one).lower().rpartition(":")[2].partition(".")[0] == name for one in wanted.attributes)
    return any(str(one).lower().rpartition(":")[2] == name for one in wanted.excluded_attributes or ())
