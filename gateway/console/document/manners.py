"""Which manners do all routes have, as the API's document tells of them? Said once here, referred to by each route."""

from typing import Any

from gateway.console.calls.call import ARGUMENT_CHARS_MAX, SERIAL
from gateway.console.calls.cursors import CURSOR_CHARS_MAX
from gateway.console.calls.fields import FIELDS_CHARS_MAX
from gateway.console.calls.once import HEADER as KEY
from gateway.console.calls.once import KEY_CHARS_MAX, REPLAYED
from gateway.delivery.requests.request import REQUEST_ID
from gateway.insight.reasons import REASON

Object = dict[str, Any]


def _text(chars_max: int = ARGUMENT_CHARS_MAX) -> Object:
    return {"type": "string", "maxLength": chars_max}


PARAMETERS: dict[str, Object] = {
    "IdempotencyKey": {
        "name": KEY,
        "in": "header",
        "description": "What is sent again with the same key within a day is not done again, and answered the same.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX + 2, "pattern": "^[A-Za-z0-9_.-]+$"},
    },
    "Reason": {
        "name": REASON,
        "in": "header",
        "description": "Why this is done, for the audit: one line, as it stands or as encodeURIComponent writes it.",
        "schema": _text(),
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "ETags: it is done only if what is there has one of them; * = if there is anything.",
        "schema": _text(),
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "ETags: it is done, or told, only if what is there has none of them; * = if there is nothing.",
        "schema": _text(),
    },
    "Fields": {
        "name": "fields",
        "in": "query",
        "description": "The members of the answer that are wanted, of a list those of its items: name,versions.name. "
        "The others are left out, whatever the schema requires.",
        "schema": _text(FIELDS_CHARS_MAX),
    },
    "After": {
        "name": "after",
        "in": "query",
        "description": "The next of the page before.",
        "schema": _text(CURSOR_CHARS_MAX),
    },
}

HEADERS: dict[str, Object] = {
    "RequestId": {
        "description": f"{REQUEST_ID}: the id of this request, the trace id where a traceparent was sent.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Limits": {
        "description": "What is left of the limits (draft-ietf-httpapi-ratelimit-headers), where there are any.",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Of all that is shown of what is there, whatever fields were asked for.",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": "The first page, and the next one (RFC 8288), relative to this address.",
        "schema": {"type": "string"},
    },
    "Serial": {
        "description": "WORKSPACE=SERIAL of the entry; a node whose index has passed it shows the change.",
        "schema": {"type": "string"},
    },
    "Replayed": {
        "description": "There where this was done before, by a request with the same key.",
        "schema": {"type": "string", "const": "?1"},
    },
    "RetryAfter": {"description": "Seconds.", "schema": {"type": "string"}},
}

EVERYWHERE = {REQUEST_ID: "RequestId", "RateLimit": "Limits", "RateLimit-Policy": "Limits"}
LOOKED_AT = {"ETag": "ETag"}
CHANGED = {SERIAL: "Serial", REPLAYED: "Replayed", "ETag": "ETag"}


def parameter(name: str) -> Object:
    return {"$ref": f"#/components/parameters/{name}"}


def headers(names: dict[str, str]) -> Object:
    """Response headers by their name."""
    return {name: {"$ref": f"#/components/headers/{known}"} for name, known in names.items()}
