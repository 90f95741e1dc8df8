"""How does SCIM say no (RFC 7644 section 3.12)?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from scim2_models import Error, SCIMException

from storage.errors import Conflict, Invalid, Problem

MEDIA = "application/scim+json"
SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
INVALID_VALUE, INVALID_SYNTAX, UNIQUENESS = "invalidValue", "invalidSyntax", "uniqueness"
DETAIL_CHARS_MAX = 300


class Refused(Invalid):
    """The request cannot be understood or done; `scim_type` is SCIM's own word for why."""

    def __init__(self, message: str, *, scim_type: str = "") -> None:
        super().__init__(message)
        self.scim_type = scim_type


class Taken(Conflict):
    """There is one of this name already."""

    scim_type = UNIQUENESS


def document(problem: Problem) -> dict[str, Any]:
    """`problem` in SCIM's dialect."""
    told: dict[str, Any] = {"schemas": [SCHEMA], "status": str(problem.status), "detail": problem.text()}
    scim_type = getattr(problem, "scim_type", INVALID_SYNTAX if isinstance(problem, Invalid) else "")
    if scim_type:
        told["scimType"] = scim_type
    return told


@contextmanager
def refusing() -> Iterator[None]:
    """What the library refuses becomes a Refused that tells which attribute was wrong, not what was sent for it."""
    try:
        yield
    except ValidationError as error:
        raise _refused(error) from None
    except SCIMException as error:
        if isinstance(error.__cause__, ValidationError):
            raise _refused(error.__cause__) from None
        raise Refused(_line(error.detail), scim_type=error.scim_type) from None


def _refused(error: ValidationError) -> Refused:
    first = Error.from_validation_error(error.errors(include_input=False, include_url=False)[0])
    return Refused(_line(first.detail or "The request is malformed."), scim_type=first.scim_type or INVALID_VALUE)


def _line(detail: str) -> str:
    return " ".join(detail.split())[:DETAIL_CHARS_MAX]
