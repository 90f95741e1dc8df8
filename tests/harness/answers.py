"""Does an answer of the API hold to what its document tells? Every call of a test's Console is looked at."""

from typing import Any

import msgspec
from quart import Quart
from werkzeug.exceptions import HTTPException

from gateway.console.api import ROUTES
from gateway.console.calls.call import Route
from gateway.console.calls.problems import MEDIA
from gateway.console.document.openapi import refusals
from gateway.console.shapes.replies import Refused
from gateway.scim import refusing as scim

_BY_ENDPOINT = {f"{route.method} {route.rule}": route for route in ROUTES}


def route_of(app: Quart, method: str, address: str) -> Route | None:
    """The route that answers, None where there is none."""
    adapter = app.url_map.bind("localhost")
    try:
        endpoint, _ = adapter.match(address.partition("?")[0], method=method)
    except HTTPException:
        return None
    return _BY_ENDPOINT.get(endpoint)


def check(route: Route, status: int, media: str, body: bytes, *, whole: bool = True) -> None:
    """Fails where status, media type or shape are not declared. A bug's 500 is for the test that provoked it. `whole`
    is False where the caller asked for some fields alone."""
    kind = media.partition(";")[0]
    at = f"{route.method} {route.rule} answered {status} {media}"
    if kind == MEDIA and not route.dialect:
        assert status in (*refusals(route), 500, 405), f"{at}: undeclared"
        assert msgspec.json.decode(body, type=Refused).status == status
        return
    if kind == scim.MEDIA and status >= 400:
        assert route.dialect, f"{at}: no dialect was declared"
        assert status in (*refusals(route), 500, 405), f"{at}: undeclared"
        told = msgspec.json.decode(body)
        assert (told["schemas"], told["status"]) == ([scim.SCHEMA], str(status)), at
        return
    if status == 304:
        assert route.selects, f"{at}: undeclared"
        assert body == b"", f"{at}: a body"
        return
    assert status in route.status, f"{at}: undeclared"
    if route.gives is None:
        assert body == b"", f"{at}: a body was not declared"
    elif kind == (route.dialect or "application/json"):
        assert route.gives is not str, f"{at}: declared as text"
        msgspec.json.decode(body, type=route.gives if whole else Any)
    else:
        assert media == route.media, f"{at}: another media type was declared"
