"""What does the API take and give, in a form that programs read? An OpenAPI 3.1 document, made from the routes alone.

A route declares its permission, its query arguments, the shape of its body and of its answer, and the statuses of
success. Which refusals it can answer follows from that. Nothing is written by hand, so nothing can differ.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.console.calls.call import Route
from gateway.console.calls.permissions import ANYBODY, BY_ASKING, BY_CODE, BY_PROOF
from gateway.console.calls.problems import MEDIA
from gateway.console.document import manners as described
from gateway.console.document.arguments import ARGUMENTS, needed
from gateway.console.document.selecting import Selecting
from gateway.console.shapes.replies import Refused

OPENAPI = "3.1.0"
JSON = "application/json"
Object = dict[str, Any]

_PART = re.compile(r"<(path:)?(\w+)>")
_REF = "#/components/schemas/{name}"

_UNREAD: Object = {"schema": {"type": "string", "description": "The head of the request could not be read at all."}}

_WHY = {
    200: "Done.",
    201: "Made.",
    202: "Asked for.",
    204: "Done, and there is nothing to tell.",
    304: "What is there has an ETag that is known.",
    400: "The request is malformed.",
    401: "No token, or one that is no good.",
    403: "The token is good and does not allow this.",
    404: "There is no such thing, or none that this token may know of.",
    408: "The body did not arrive in time.",
    409: "What is there already forbids this.",
    412: "What is there is not what the condition says.",
    413: "Over a limit.",
    415: "The body is not declared as JSON.",
    422: "Another request came with this key before.",
    429: "Over a limit of requests.",
    502: "Who has to vouch for this does not answer, or not to the point.",
    503: "Not now.",
    507: "No room.",
}


def refusals(route: Route) -> tuple[int, ...]:
    """The statuses that `route` may say no with: by being let in, by what it is given, and by what it changes."""
    statuses = {400, 401, 403, 404, 429, 503}
    if route.dialect and route.method != "GET":
        statuses.add(412)
    if route.takes is not None:
        statuses |= {408, 413, 415}
    if route.changes:
        statuses |= {409, 413, 507}
    if route.mannered:
        statuses.add(412)
    if route.keyed:
        statuses.add(422)
    if route.selects:
        statuses.add(412)
    if route.permission is BY_PROOF:
        statuses.add(502)
    return tuple(sorted(statuses))


def document(routes: Sequence[Route], version: str) -> Object:
    """All of `routes` as OpenAPI tells of them; `version` is that of the program."""
    shapes = [shape for route in routes for shape in (route.takes, route.gives) if _is_shaped(shape)]
    schemas, components = msgspec.json.schema_components([*shapes, Refused], ref_template=_REF)
    known = {id(shape): schema for shape, schema in zip(shapes, schemas, strict=False)}
    selecting = Selecting(components)
    things = {route.rule for route in routes if route.shows is not None}
    paths: dict[str, Object] = {}
    for route in routes:
        at = _PART.sub(r"{\2}", route.rule)
        paths.setdefault(at, {})[route.method.lower()] = _operation(
            route, known, schemas[-1], selecting, thing=route.rule in things
        )
    return {
        "openapi": OPENAPI,
        "info": {"title": "Entrepot", "version": version, "summary": "The management API of a node."},
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": described.PARAMETERS,
            "headers": described.HEADERS,
            "securitySchemes": _SECURITY,
        },
    }


_SECURITY: Object = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The token is the password."},
    "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def _is_shaped(shape: object) -> bool:
    return shape is not None and shape is not str


def _operation(route: Route, known: dict[int, Object], refused: Object, selecting: Selecting, *, thing: bool) -> Object:
    group = route.handler.__module__.rpartition(".")[2]
    name = getattr(route.handler, "__name__", "")
    told = inspect.getdoc(route.handler) or ""
    operation: Object = {
        "operationId": f"{group}.{name}",
        "tags": [group],
        "summary": name.replace("_", " "),
        "description": f"{told}\n\nFor: {route.permission.name}.".strip(),
        "parameters": [*_parts(route.rule), *_arguments(route), *_manners(route, thing)],
        "security": [
            *([{}] if route.permission in (ANYBODY, BY_PROOF, BY_ASKING, BY_CODE) else []),
            *({one: []} for one in _SECURITY),
        ],
        "responses": _responses(route, known, refused, selecting),
    }
    if route.takes is not None:
        media = route.dialect or JSON
        operation["requestBody"] = {"required": True, "content": {media: {"schema": known[id(route.takes)]}}}
    return operation


def _responses(route: Route, known: dict[int, Object], refused: Object, selecting: Selecting) -> Object:
    content: Object = {}
    if _is_shaped(route.gives):
        whole = known[id(route.gives)]
        schema = selecting.either(whole, of_items=route.lists) if route.selects else whole
        content[route.dialect or JSON] = {"schema": schema}
    if route.media:
        content[route.media.partition(";")[0]] = {"schema": {"type": "string"}}
    responses: Object = {}
    for status in refusals(route):
        said = {route.dialect: {"schema": {"type": "object"}}} if route.dialect else {MEDIA: {"schema": refused}}
        told: Object = {"description": _WHY[status], "content": said}
        waits = {"Retry-After": "RetryAfter"} if status in (409, 429, 503) else {}
        told["headers"] = described.headers(described.EVERYWHERE | waits)
        responses[str(status)] = told
    responses["400"]["content"]["text/plain"] = _UNREAD
    for status in route.status:
        other = responses.get(str(status), {}).get("content", {})
        responses[str(status)] = {
            "description": _WHY[status],
            "content": content | other,
            "headers": described.headers(described.EVERYWHERE | _told_by(route)),
        }
    if route.selects:
        responses["304"] = {"description": _WHY[304], "headers": described.headers(described.EVERYWHERE)}
    return responses


def _told_by(route: Route) -> dict[str, str]:
    if route.mannered:
        return described.CHANGED
    if not route.selects:
        return {}
    return described.LOOKED_AT | ({"Link": "Link"} if route.paged else {})


def _manners(route: Route, thing: bool) -> Iterable[Object]:
    """What every route takes besides; conditions where there is one `thing` that they can be about."""
    if route.keyed:
        yield described.parameter("IdempotencyKey")
    if route.mannered:
        yield described.parameter("Reason")
    if route.selects:
        yield described.parameter("Fields")
    if route.selects or (route.mannered and thing):
        yield described.parameter("IfMatch")
        yield described.parameter("IfNoneMatch")


def _parts(rule: str) -> Iterable[Object]:
    for found in _PART.finditer(rule):
        part: Object = {"name": found[2], "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        if found[1]:
            part["description"] = "It may hold slashes."
        yield part


def _arguments(route: Route) -> Iterable[Object]:
    for name in sorted(route.arguments):
        if name == "after" and route.paged:
            yield described.parameter("After")
            continue
        required = name in needed(route.method, route.rule.removeprefix("/-/api/v1"))
        yield {"name": name, "in": "query", "required": required, **ARGUMENTS[name]}
