"""Where is a body not what it should be? Told without the value that was sent: that may be a secret."""

import re

import msgspec
from msgspec import inspect

_VALUE = re.compile(r"Invalid (?:enum )?value ")
_QUOTED = re.compile(r"'[^']*'")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_PATTERN = re.compile(r" matching regex '(.*)'")
_BOUND = re.compile(r"Expected `(int|float|str|bytes|array|object)`(?: of length)? (<=|>=|<|>) (-?[0-9]+(?:\.[0-9]+)?)")
_WORDS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
_COUNTED = {"str": " characters", "bytes": " bytes", "array": " items", "object": " members"}
_SPANS = (("day", 24 * 3600), ("hour", 3600), ("minute", 60))
_STEP = re.compile(r"\[\.\.\.\]|\[[0-9]+\]|[^.\[\]]+")


def place_of(error: Exception, shape: object = None) -> str:
    """What was wrong and where, and of a word what it may be, as `shape` has it."""
    if not isinstance(error, msgspec.ValidationError):
        return "it is not JSON"
    said = str(error)
    place = _PLACE.search(said)
    where = place[1] if place else ""
    if _VALUE.match(said):
        choices = _choices(shape, where)
        said = f"one of {', '.join(choices)} is expected" if choices else "another word is expected"
    elif (bound := _BOUND.match(said)) is not None:
        said = _bounded(bound[1], bound[2], bound[3], where.rpartition(".")[2])
    else:
        said = _PATTERN.sub(r" that matches \1", said[: place.start()] if place else said)
        said = said[:1].lower() + _QUOTED.sub("this value", said[1:])
    return f"{said}, at {where}" if where else said


def _bounded(kind: str, sign: str, limit: str, name: str) -> str:
    """A bound in words, and in the units that the name of a field ends with."""
    unit = _COUNTED.get(kind, "")
    if not unit and (per_s := {"_s": 1, "_ms": 1000}.get(name[name.rfind("_") :], 0)):
        seconds = float(limit) / per_s
        word, size = next((one for one in _SPANS if seconds >= one[1] and seconds % one[1] == 0), ("second", 1))
        count = seconds / size
        unit = f" ({count:g} {word}{'' if count == 1 else 's'})"
    return f"{_WORDS[sign]} {limit}{unit} is expected"


def _choices(shape: object, where: str) -> tuple[str, ...]:
    """The words that are allowed at a place of a shape; none where that is no choice of words."""
    found = inspect.type_info(shape)
    for step in _STEP.findall(where):
        found = _within(found, step)
    return tuple(str(one) for one in found.values) if isinstance(found := _plain(found), inspect.LiteralType) else ()


def _plain(found: inspect.Type) -> inspect.Type:
    """A type without what is said of it, and without "or nothing"."""
    if isinstance(found, inspect.Metadata):
        return _plain(found.type)
    if isinstance(found, inspect.UnionType):
        return next((_plain(one) for one in found.types if not isinstance(one, inspect.NoneType)), found)
    return found


def _within(found: inspect.Type, step: str) -> inspect.Type:
    found = _plain(found)
    if isinstance(found, inspect.StructType):
        return next((one.type for one in found.fields if one.encode_name == step), inspect.AnyType())
    if isinstance(found, inspect.DictType):
        return found.value_type
    return getattr(found, "item_type", inspect.AnyType())
