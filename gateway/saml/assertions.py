"""Whom does a proven answer vouch for, to whom, and for how long? SAML 2.0 Profiles section 4.1.4.3, without network.

An answer is for one address of one Workspace's provider (Recipient, Destination), for this node (Audience), for now
(Conditions, SubjectConfirmationData), and for one sign-in: the request that it answers is told in what is signed, and
who asks for it afterwards must hold the cookie that the request was made with.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from formats.kit.xmls import Element
from gateway.saml import names
from gateway.saml.shapes import Name, Sent
from gateway.saml.trees import every, moment_ms, only
from storage.errors import Forbidden, Invalid, Problem, Unauthenticated

SKEW_MS = 60_000
LIFE_MS_MAX = 3_600_000
"""So long after it was issued an assertion is over, whatever it says itself: used ones are remembered until then."""
CHARS_MAX = 1_024
VALUES_MAX = 1_000
NAME_ID = "NameID"
"""By this name a mapping means the name of the subject itself."""


class Expected(NamedTuple):
    """Who has to speak, to whom, where, and when. `unsolicited`: it may be nobody's answer."""

    issuer: str
    audience: str
    here: str
    now_ms: int
    unsolicited: bool = False


class Assertion(NamedTuple):
    """Of whom it speaks, and which request it answers, "" = none. It may be over sooner than `until_ms`, but is known
    by that: it follows from what is signed, not from when or how it is brought, so that it is the same each time.
    What it vouches for ends at `session_until_ms`, 0 = it does not say; the provider knows that by `sessions`.
    `values` are the attributes with one value, `lists` all of them.
    """

    id: str
    until_ms: int
    in_response_to: str
    name: Name
    values: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    session_until_ms: int = 0
    sessions: tuple[str, ...] = ()


def asserted_by(proven: Sequence[Element]) -> tuple[Element | None, Element]:
    """The Response, where that is `proven`, and the Assertion that is in it or was, encrypted. Raises Unauthenticated,
    Invalid."""
    response = next((one for one in proven if one.name == f"{names.PROTOCOL} Response"), None)
    assertion = next((one for one in proven if one.name == f"{names.ASSERTION} Assertion"), None)
    if response is not None and next(every(response, names.ASSERTION, "EncryptedAssertion"), None) is None:
        within = only(response, names.ASSERTION, "Assertion")
        if assertion is not None and assertion.attributes.get("ID") != within.attributes.get("ID"):
            raise Invalid("Two things are signed in this answer.", "Begin again.")
        assertion = assertion or within
    if assertion is None:
        raise Unauthenticated("The identity provider has signed no assertion.", "Have it sign its assertions.")
    return response, assertion


def subject_in(proven: Sequence[Element]) -> Element:
    """Whom the Assertion is about. Raises Unauthenticated, Invalid."""
    return only(asserted_by(proven)[1], names.ASSERTION, "Subject")


def assertion_of(sent: Sent, proven: Sequence[Element], expected: Expected, named: Element | None = None) -> Assertion:
    """What is said by what is `proven`: the Response, the Assertion that is in it or was, encrypted, or both; `named`
    is the name of its subject where that came encrypted. Raises Unauthenticated, Forbidden, Invalid."""
    response, assertion = asserted_by(proven)
    if response is not None:
        sent = _said_by(response)
    _check_response(sent, expected, signed=response is not None)
    if assertion.attributes.get("Version") != "2.0" or not assertion.attributes.get("ID"):
        raise Invalid("This is no assertion of SAML 2.0.")
    if only(assertion, names.ASSERTION, "Issuer").text != expected.issuer:
        raise elsewhere()
    until_ms = _issued_ms(assertion, expected.now_ms) + LIFE_MS_MAX + SKEW_MS
    _check_conditions(assertion, expected)
    subject = only(assertion, names.ASSERTION, "Subject")
    in_response_to = _confirmed(subject, sent, expected)
    session_until_ms = _session_until_ms(assertion, expected.now_ms)
    name = name_of(subject, named)
    lists = dict(_attributes(assertion))
    values = {key: found[0] for key, found in lists.items() if len(found) == 1} | {NAME_ID: name.text}
    sessions = tuple(_indexes(assertion))
    id = assertion.attributes["ID"]
    return Assertion(id, until_ms, in_response_to, name, values, lists, session_until_ms, sessions)


def name_of(within: Element, named: Element | None = None) -> Name:
    """The NameID of a subject, or of a request about one; `named` where it came encrypted. Raises Invalid."""
    found = only(within, names.ASSERTION, "NameID") if named is None else named
    told = [found.attributes.get(one, "") for one in ("Format", "NameQualifier", "SPNameQualifier")]
    if (
        not found.text
        or found.children
        or any(len(one) > CHARS_MAX or not one.isprintable() for one in (found.text, *told))
    ):
        raise Invalid("The identity provider names nobody.", "Have it send a NameID.")
    return Name(found.text, *told)


def check_status(sent: Sent) -> None:
    """Raises Unauthenticated where the identity provider lets nobody in."""
    if sent.status != names.SUCCESS:
        raise Unauthenticated(
            "Your identity provider did not sign you in here. It was cancelled, or not allowed there.", "Begin again."
        )


def elsewhere() -> Problem:
    return Forbidden("This answer is another identity provider's, or meant for somebody else.", "Begin again.")


def _said_by(response: Element) -> Sent:
    """The same as the sandbox said, from what is signed."""
    issuer = next(every(response, names.ASSERTION, "Issuer"), None)
    return Sent(
        (),
        response.attributes.get("Version", ""),
        response.attributes.get("Destination", ""),
        response.attributes.get("InResponseTo", ""),
        "" if issuer is None else issuer.text,
        only(only(response, names.PROTOCOL, "Status"), names.PROTOCOL, "StatusCode").attributes.get("Value", ""),
    )


def _check_response(sent: Sent, expected: Expected, *, signed: bool) -> None:
    check_status(sent)
    if sent.version != "2.0":
        raise Invalid("This is no answer of SAML 2.0.")
    if sent.issuer not in ("", expected.issuer):
        raise elsewhere()
    if sent.destination != expected.here and (sent.destination or signed):  # Bindings section 3.5.5.2
        raise elsewhere()


def _check_conditions(assertion: Element, expected: Expected) -> None:
    """Do its conditions hold (Core section 2.5)?"""
    conditions = only(assertion, names.ASSERTION, "Conditions")
    known = {f"{names.ASSERTION} {one}" for one in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")}
    if any(one.name not in known for one in conditions.children):
        raise Invalid("The assertion has a condition that is not known here.", "Have it leave that out.")
    restrictions = list(every(conditions, names.ASSERTION, "AudienceRestriction"))
    for one in restrictions:
        if expected.audience not in [audience.text for audience in every(one, names.ASSERTION, "Audience")]:
            raise elsewhere()
    if not restrictions:  # it would be good at whoever else believes this provider
        raise elsewhere()
    if moment_ms(conditions, "NotBefore", 0) > expected.now_ms + SKEW_MS:
        raise _out_of_time()
    if moment_ms(conditions, "NotOnOrAfter", expected.now_ms) <= expected.now_ms - SKEW_MS:
        raise _out_of_time()


def _confirmed(subject: Element, sent: Sent, expected: Expected) -> str:
    """The request that this bearer's assertion answers."""
    late = False
    for one in every(subject, names.ASSERTION, "SubjectConfirmation"):
        data = next(every(one, names.ASSERTION, "SubjectConfirmationData"), None)
        if one.attributes.get("Method") != names.BEARER or data is None or "NotBefore" in data.attributes:
            continue
        if data.attributes.get("Recipient") != expected.here:
            continue
        answers = data.attributes.get("InResponseTo", "")
        if moment_ms(data, "NotOnOrAfter", 0) <= expected.now_ms - SKEW_MS:
            late = True
            continue
        if sent.in_response_to not in ("", answers):
            raise Forbidden("What is signed answers another request.", "Begin again.")
        if not answers and not expected.unsolicited:
            raise Forbidden("This sign-in was not begun here.", "Begin on the page to sign in.")
        return answers
    raise _out_of_time() if late else elsewhere()


def _issued_ms(assertion: Element, now_ms: int) -> int:
    issued_ms = moment_ms(assertion, "IssueInstant", 0)
    if not now_ms - LIFE_MS_MAX - SKEW_MS < issued_ms <= now_ms + SKEW_MS:
        raise _out_of_time()
    return issued_ms


def _session_until_ms(assertion: Element, now_ms: int) -> int:
    """Somebody has signed in there, and is signed in still: until when (Core section 2.7.2), 0 = it does not say. No
    doubt of clocks here: a session would begin that is over."""
    statements = list(every(assertion, names.ASSERTION, "AuthnStatement"))
    if not statements:
        raise Unauthenticated("The identity provider does not say that somebody signed in.", "Begin again.")
    ends = [moment_ms(one, "SessionNotOnOrAfter", 0) for one in statements if "SessionNotOnOrAfter" in one.attributes]
    if any(one <= now_ms for one in ends):
        raise _out_of_time()
    return min(ends, default=0)


def _indexes(assertion: Element) -> Iterator[str]:
    for one in every(assertion, names.ASSERTION, "AuthnStatement"):
        index = one.attributes.get("SessionIndex", "")
        if 0 < len(index) <= CHARS_MAX:
            yield index


def _attributes(assertion: Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    found: dict[str, list[str]] = {}
    left = VALUES_MAX
    for one in every(assertion, names.ASSERTION, "AttributeStatement", "Attribute"):
        name = one.attributes.get("Name", "")
        for value in every(one, names.ASSERTION, "AttributeValue"):
            left -= 1
            if name != NAME_ID and left >= 0 and value.text and len(value.text) <= CHARS_MAX:
                found.setdefault(name, []).append(value.text)
    return ((name, tuple(values)) for name, values in found.items())


def _out_of_time() -> Problem:
    return Unauthenticated("What the identity provider says is over, or not good yet.", "Begin again.")
