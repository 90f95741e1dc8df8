"""What is a receiver sent, where it wants something else than the event as it is?

A template has places, {{type}} or {{data.package}}, and nothing else: no conditions, no loops, no calls, so there is
nothing to execute and nothing that runs long. A value cannot break out of its place, whatever a publisher calls his
package: a template of JSON is itself a JSON document, whose strings have places; a place that is a whole string becomes
the value (a list stays a list), one within a string its text. In a form a value is percent-encoded. Plain text takes
it as it is, without control characters.

Which places there are is declared by the catalogue, so a misspelt one is refused when the template is given. What an
event does not have is null, or nothing.
"""

import re
import urllib.parse
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from gateway.webhooks.catalogue import Kind, fields_of
from storage.errors import Invalid

JSON, TEXT, FORM = "application/json", "text/plain", "application/x-www-form-urlencoded"
MEDIA = (JSON, TEXT, FORM)
TEMPLATE_CHARS_MAX = 16_384
DEPTH_MAX = 20
BODY_BYTES_MAX = 256 << 10
_PLACE = re.compile(r"\{\{ *([a-z_.]{1,100}) *\}\}")

Document = Mapping[str, Any]
Render = Callable[[Document], bytes]
"""The body for an event's document."""


@lru_cache(maxsize=256)
def renderer(template: str, media: str) -> Render:
    """How bodies are made. Raises Invalid for a template that is none, or a media type that is not known."""
    if media not in MEDIA:
        raise Invalid("Bodies of this media type are not made.", f"One of {', '.join(MEDIA)}.")
    if not template:
        if media != JSON:
            raise Invalid("Without a template the body is JSON.", "Give a template for another media type.")
        return lambda document: bounded(msgspec.json.encode(document))
    if len(template) > TEMPLATE_CHARS_MAX:
        raise Invalid(f"A template has at most {TEMPLATE_CHARS_MAX} characters.")
    if media == JSON:
        shape = _shape(template)
        return lambda document: bounded(msgspec.json.encode(_filled(shape, document)))
    quoted = _in_form if media == FORM else _in_text
    return lambda document: bounded(_PLACE.sub(lambda at: quoted(value_at(document, at[1])), template).encode())


def check_template(template: str, media: str, kinds: tuple[Kind, ...]) -> None:
    """Raises Invalid for a template that cannot be used for these events, and says why."""
    render = renderer(template, media)
    known = {"type", "timestamp"} | {f"data.{field}" for field in fields_of(kinds)} | {"data", "data.actor"}
    for place in _PLACE.findall(template):
        if place not in known:
            raise Invalid(
                f"The template has the place {place}, which none of these events fills.",
                "See: entrepot webhook events.",
            )
    if "{{" in _PLACE.sub("", template):
        raise Invalid("The template has a {{ that begins no place.", "Places are like {{data.package}}.")
    render({"type": "", "timestamp": "", "data": {}})


def bounded(body: bytes) -> bytes:
    """Raises Invalid for a body that is too large."""
    if len(body) > BODY_BYTES_MAX:
        raise Invalid(f"The body would have more than {BODY_BYTES_MAX} bytes.", "Use a template that says less.")
    return body


def value_at(document: Document, place: str) -> object:
    """What stands there, None for nothing."""
    found: object = document
    for name in place.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _shape(template: str) -> object:
    try:
        shape = msgspec.json.decode(template)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Invalid("The template is no JSON document.", "Places stand within its strings.") from None
    if not isinstance(shape, dict | list):
        raise Invalid("A template of JSON is an object or a list.")
    _check_depth(shape, DEPTH_MAX)
    return shape


def _check_depth(shape: object, left: int) -> None:
    if left == 0:
        raise Invalid(f"A template goes at most {DEPTH_MAX} deep.")
    inner = list(shape.values()) if isinstance(shape, dict) else shape if isinstance(shape, list) else []
    for one in inner:
        _check_depth(one, left - 1)


def _filled(shape: object, document: Document) -> object:
    match shape:
        case dict():
            return {_text(name, document): _filled(value, document) for name, value in shape.items()}
        case list():
            return [_filled(one, document) for one in shape]
        case str():
            whole = _PLACE.fullmatch(shape)
            return value_at(document, whole[1]) if whole else _text(shape, document)
    return shape


def _text(text: str, document: Document) -> str:
    return _PLACE.sub(lambda at: _plain(value_at(document, at[1])), text)


def _plain(value: object) -> str:
    """A value within a text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _in_form(value: object) -> str:
    return urllib.parse.quote(_plain(value), safe="")


def _in_text(value: object) -> str:
    return "".join(char if char.isprintable() else " " for char in _plain(value))
