"""How does the API say no? As application/problem+json (RFC 9457), whatever went wrong and wherever.

    {"type": "/-/problems/absent", "title": "Absent", "status": 404, "code": "absent", "request_id": "...",
     "detail": "There is no such repository, or this token may not know of it.", "remedy": "..."}

`type` is an address, `code` for programs and `remedy` for people; none ever holds what the client sent as a secret.
"""

import logging
from http import HTTPStatus

import msgspec
from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException

from gateway.scim import refusing as scim
from storage.errors import Absent, Invalid, MethodRefused, Problem, TooLarge, Unavailable, Unsupported

MEDIA = "application/problem+json"
SCIM = "/-/scim/"
CHALLENGE = 'Bearer realm="entrepot"'

_log = logging.getLogger("entrepot.api")

_BY_STATUS: dict[int, Problem] = {
    404: Absent("There is no such address in this API."),
    405: MethodRefused("This address has no such method."),
    408: Unavailable("The request did not arrive in time.", "Send it again."),
    413: TooLarge("The body is larger than any request of this API has to be."),
    415: Unsupported("This media type is not understood here.", "Send application/json."),
}


def respond(problem: Problem) -> Response:
    """The HTTP answer that tells `problem`, as whoever asks at this address understands it."""
    in_scim = request.path.startswith(SCIM)
    told, media = (scim.document(problem), scim.MEDIA) if in_scim else (problem.document(), MEDIA)
    if not in_scim:
        told = told | {"request_id": g.request_id}
    response = Response(msgspec.json.encode(told), status=problem.status, content_type=media)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = CHALLENGE
    for name, value in problem.fields:
        response.headers[name] = value
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def install(app: Quart) -> None:
    """Answer every error of `app` this way: our own Problems, the router's, and bugs."""

    @app.errorhandler(Problem)
    async def told(problem: Problem) -> Response:
        return respond(problem)

    @app.errorhandler(HTTPException)
    async def routed(error: HTTPException) -> Response:
        status = error.code or 500
        response = respond(_BY_STATUS.get(status) or Invalid("The request is malformed."))
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        _log.error("request %s failed in the API", g.request_id, exc_info=error)
        return respond(Problem("This is a fault of the node.", "Its log has more, under the id of this request."))
