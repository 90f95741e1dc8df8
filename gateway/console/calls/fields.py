"""Which members of an answer does the caller want? `fields=name,versions.name` leaves out the others.

Of a list the members are those of its items. What is named must be a member that the declared shape has.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from types import GenericAlias, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from storage.errors import Invalid

FIELDS_MAX = 100
FIELDS_CHARS_MAX = 1_000
DEPTH_MAX = 5

Wanted = dict[str, "Wanted"]
"""The members that stay, each with those of it; empty = all of them."""


def wanted(text: str, shape: object) -> Wanted:
    """What `text` asks for of an answer of `shape`. Raises Invalid for what that does not have."""
    names = [one.strip() for one in text.split(",") if one.strip()]
    if len(text) > FIELDS_CHARS_MAX or len(names) > FIELDS_MAX:
        raise Invalid(f"At most {FIELDS_MAX} fields are named.", "Name fewer, or leave fields out for all.")
    found: Wanted = {}
    for name in names:
        parts = name.split(".")
        if len(parts) > DEPTH_MAX:
            raise Invalid("A field is named too deep.", f"At most {DEPTH_MAX} names with dots between them.")
        _check(parts, shape)
        at = found
        for number, part in enumerate(parts):
            whole = part in at and not at[part]
            at = at.setdefault(part, {})
            if whole:
                break  # all of it was asked for already
            if number == len(parts) - 1:
                at.clear()
    return found


def selected(body: Any, wanted: Wanted) -> Any:
    """What stays of `body`, an answer in plain objects."""
    if not wanted:
        return body
    if isinstance(body, Mapping):
        return {name: selected(body[name], inner) for name, inner in wanted.items() if name in body}
    if isinstance(body, list | tuple):
        return [selected(one, wanted) for one in body]
    return body


def item_of(shape: Any) -> Any:
    """The shape of the items of a list that has this shape."""
    return _members(shape)["items"]  # type: ignore[index]  # a list declares its members


def _check(parts: list[str], shape: object) -> None:
    for at, part in enumerate(parts):
        members = _members(shape)
        if members is None:  # an open shape: any name may be there
            return
        if part not in members:
            told = ", ".join(sorted(members)) or "none"
            raise Invalid(f"There is no such field{' in it' if at else ''} as was named.", f"These are there: {told}.")
        shape = members[part]


@cache
def _members(shape: Any) -> Mapping[str, Any] | None:
    """The members of an object, or of the objects in an array, by name; None where they are not declared."""
    origin = get_origin(shape)
    if origin in (Union, UnionType):
        return _merged(_members(one) for one in get_args(shape) if one is not type(None))
    if origin in (tuple, list):
        return _members(get_args(shape)[0])
    if origin is dict or shape in (dict, object, Any):
        return None
    kind = origin or shape
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        bound = dict(zip(kind.__type_params__, get_args(shape), strict=False))
        for base in getattr(kind, "__orig_bases__", ()):
            above = get_origin(base)
            if isinstance(above, type):
                bound |= dict(zip(above.__type_params__, get_args(base), strict=False))
        hints = get_type_hints(kind)
        if not kind.__struct_config__.forbid_unknown_fields:
            return None
        return {name: _bound(hints[name], bound) for name in kind.__struct_fields__}
    return {}


def _bound(hint: Any, bound: Mapping[Any, Any]) -> Any:
    if hint in bound:
        return bound[hint]
    if get_origin(hint) in (tuple, list):
        inner = get_args(hint)
        return GenericAlias(tuple, tuple(_bound(one, bound) for one in inner)) if inner else hint
    return hint


def _merged(found: Iterable[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    merged: dict[str, Any] = {}
    for one in found:
        if one is None:
            return None
        merged |= one
    return merged
