"""Who is to be signed out, and was he? Single logout: SAML 2.0 Core section 3.7, Profiles section 4.4.

What is read here was signed by the provider; what is said here is signed by this node. Neither is taken without.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from formats.kit.xmls import Element
from gateway.saml import names
from gateway.saml.assertions import CHARS_MAX, SKEW_MS, elsewhere, name_of
from gateway.saml.requests import instant
from gateway.saml.shapes import Name
from gateway.saml.trees import every, moment_ms, only
from gateway.saml.writing import element, issuer, text
from storage.errors import Invalid, Unauthenticated

LIFE_MS_MAX = 600_000
"""So long after it was made a message is over."""
INDEXES_MAX = 100
REQUEST, ANSWER = f"{names.PROTOCOL} LogoutRequest", f"{names.PROTOCOL} LogoutResponse"


class Heard(NamedTuple):
    """Who has to speak, to which address, and when."""

    issuer: str
    here: str
    now_ms: int


class Leaving(NamedTuple):
    """A request to end the sessions of a name, those with these indexes, or all where there are none. It is over at
    `until_ms`, so by its id it need not be known for longer."""

    id: str
    until_ms: int
    name: Name
    indexes: frozenset[str]


class Left(NamedTuple):
    """The answer to a request of ours. `everywhere`: there is no session left at the provider nor behind it."""

    id: str
    until_ms: int
    in_response_to: str
    everywhere: bool


def leaving_of(message: Element, heard: Heard, named: Element | None = None) -> Leaving:
    """A LogoutRequest that is proven; `named` is its name where that came encrypted. Raises Unauthenticated, Forbidden,
    Invalid."""
    id, until_ms = _checked(message, heard)
    if moment_ms(message, "NotOnOrAfter", heard.now_ms) <= heard.now_ms - SKEW_MS:
        raise _out_of_time()
    indexes = [one.text for one in every(message, names.PROTOCOL, "SessionIndex")]
    if len(indexes) > INDEXES_MAX or not all(0 < len(one) <= CHARS_MAX for one in indexes):
        raise Invalid("The identity provider names sessions that cannot be.")
    return Leaving(id, until_ms, name_of(message, named), frozenset(indexes))


def left_of(message: Element, heard: Heard) -> Left:
    """A LogoutResponse that is proven. Raises Unauthenticated, Forbidden, Invalid."""
    id, until_ms = _checked(message, heard)
    code = only(only(message, names.PROTOCOL, "Status"), names.PROTOCOL, "StatusCode")
    partial = any(one.attributes.get("Value") for one in every(code, names.PROTOCOL, "StatusCode"))
    everywhere = code.attributes.get("Value") == names.SUCCESS and not partial
    return Left(id, until_ms, message.attributes.get("InResponseTo", ""), everywhere)


def request(location: str, audience: str, id: str, name: Name, indexes: Iterable[str], now_ms: int) -> str:
    """To sign out at the provider who signed in there by this name."""
    told = {"Format": name.format, "NameQualifier": name.qualifier, "SPNameQualifier": name.sp_qualifier}
    named = element(
        "NameID", {key: value for key, value in told.items() if value}, text(name.text), space=names.ASSERTION
    )
    sessions = (element("p:SessionIndex", {}, text(one)) for one in indexes)
    return _written("LogoutRequest", location, id, now_ms, {}, issuer(audience), named, *sessions)


def answer(location: str, audience: str, id: str, request: str, now_ms: int) -> str:
    """To a request: whom it named is signed out here."""
    status = element("p:Status", {}, element("p:StatusCode", {"Value": names.SUCCESS}))
    return _written("LogoutResponse", location, id, now_ms, {"InResponseTo": request}, issuer(audience), status)


def _written(kind: str, location: str, id: str, now_ms: int, more: Mapping[str, str], *within: str) -> str:
    told = {"ID": id, "Version": "2.0", "IssueInstant": instant(now_ms), "Destination": location, **more}
    return element(f"p:{kind}", told, *within, space=names.PROTOCOL)


def _checked(message: Element, heard: Heard) -> tuple[str, int]:
    """Its id, and when it is over."""
    id = message.attributes.get("ID", "")
    if message.attributes.get("Version") != "2.0" or not 0 < len(id) <= CHARS_MAX:
        raise Invalid("This is no message of SAML 2.0.")
    if only(message, names.ASSERTION, "Issuer").text != heard.issuer:
        raise elsewhere()
    if (
        message.attributes.get("Destination") != heard.here
    ):  # due in what is signed (Bindings sections 3.4.5.2, 3.5.5.2)
        raise elsewhere()
    made_ms = moment_ms(message, "IssueInstant", 0)
    if not heard.now_ms - LIFE_MS_MAX - SKEW_MS < made_ms <= heard.now_ms + SKEW_MS:
        raise _out_of_time()
    return id, made_ms + LIFE_MS_MAX + SKEW_MS


def _out_of_time() -> Unauthenticated:
    return Unauthenticated("What the identity provider says is over, or not good yet.", "Begin again.")
