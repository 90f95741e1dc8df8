"""What may a program ask for when it wants a token of somebody? The same of both ways: a name, scopes, and a life.

Scopes are words as OAuth has them (RFC 6749 section 3.3), each a place and a right: `acme/main:write acme:read`. Where
there is none the token may do what its person may. They only take away: the person's own rights are asked at each use.
"""

from gateway.access.names import display
from gateway.console.calls.giving import grant_of
from gateway.console.calls.services import Services
from gateway.console.shapes.schemas import NewGrant
from storage.errors import Invalid
from storage.nouns import Grant

SCOPES_MAX = 50
LIFETIME_S = 90 * 24 * 3600
_RIGHTS = {"read": (False, False), "write": (True, False), "admin": (True, True)}


def grants_of(services: Services, scope: str) -> tuple[Grant, ...]:
    """The grants that the words of `scope` stand for. Raises Invalid."""
    words = scope.split(" ") if scope else []
    if len(words) > SCOPES_MAX or len(set(words)) != len(words):
        raise Invalid("These scopes cannot be understood.", "Write each once: WORKSPACE/REPOSITORY:read|write|admin.")
    return tuple(_grant_of(services, word) for word in words)


def said(grants: tuple[Grant, ...]) -> list[str]:
    """What they give, for people."""
    return [f"{one.scope}: {'admin' if one.admin else 'read and write' if one.write else 'read'}" for one in grants]


def name_of(text: str) -> str:
    """What a program calls the token that it asks for. Raises Invalid."""
    return display(text, "A token")


def lifetime_of(services: Services, seconds: int) -> int:
    """How long its token may live: as asked for, at most as configured. Raises Invalid."""
    if seconds < 1:
        raise Invalid("A token that a login gets has an end.", "Ask for at least a second.")
    return min(seconds, services.sign_in.token_seconds_max)


def _grant_of(services: Services, word: str) -> Grant:
    place, colon, right = word.partition(":")
    if colon and right not in _RIGHTS:
        raise Invalid("These scopes cannot be understood.", "Write each as WORKSPACE/REPOSITORY:read|write|admin.")
    write, admin = _RIGHTS[right or "read"]
    return grant_of(services, NewGrant(place, True, write, admin))
