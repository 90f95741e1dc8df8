"""What does the answer of a SAML identity provider say, once it is proven?

The sandbox reads it, and what is believed is checked again here. An encrypted assertion goes there twice: as it came,
for what is encrypted, and, opened here where our key is, for who signed it. Where the provider has signed the whole
answer, that is proven first, and nothing that was changed on the way is ever opened. Where only the assertion within is
signed, anybody can have made the outside, and could ask by trial what is in it. So what is encrypted by a cipher that
does not tell whether it was changed is not opened at all there, unless the Workspace wants that; and whatever fails
after opening, key, padding, tag, XML or signature, is told in the same words, after the same time (D6). A name that is
encrypted within what was proven was changed by nobody.
"""

import base64
from binascii import Error as NotBase64

import trio

from formats.kit.xmls import Element
from gateway.access.secrets.samlkeys import SamlKeys
from gateway.console.calls.services import Documents
from gateway.console.signin.visits import Visit
from gateway.saml.assertions import Assertion, Expected, assertion_of, check_status, subject_in
from gateway.saml.envelopes import check_sealed, envelope_of, name_envelope_of
from gateway.saml.names import ASSERTION, PROTOCOL
from gateway.saml.opening import opened
from gateway.saml.proving import prove
from gateway.saml.shapes import Envelope, Sent
from gateway.saml.trees import read
from storage.errors import Invalid, Problem, Unauthenticated, Unavailable
from storage.nouns import Provider, Saml

REFUSED_SECONDS = 0.25
"""So long after it came it is told that what was encrypted is no good."""


async def said_in(visit: Visit, ws: str, provider: Provider, saml: Saml, here: str) -> Assertion:
    """What the answer in this form says that it is to say `here`. Raises Unauthenticated, Forbidden, Invalid."""
    documents = documents_of(visit)
    raw = decoded(visit.field("SAMLResponse"))
    sent = await documents.read("response", list(saml.certificates), raw, Sent)
    check_status(sent)
    proven = [prove(one, saml.certificates) for one in sent.seals]
    whole = next((one for one in proven if one.name == f"{PROTOCOL} Response"), None)
    envelope = sent.envelope if whole is None else envelope_of(whole)
    if envelope is not None:
        if whole is None and not saml.takes_cbc:
            check_sealed(envelope)
        pairs = (ws, provider.id, [one.id for one in saml.pairs])
        inside = await _inside(visit, documents, envelope, pairs, saml.certificates, whole)
        proven = [inside] if whole is None else [whole, inside]
    named = await named_in(visit, ws, provider, saml, subject_in(proven))
    now_ms = visit.services.now_ms()
    expected = Expected(provider.issuer, provider.audience, here, now_ms, saml.unsolicited)
    return assertion_of(sent, proven, expected, named)


async def named_in(visit: Visit, ws: str, provider: Provider, saml: Saml, within: Element) -> Element | None:
    """The name that is encrypted in something that the provider has signed, read; None where it is not encrypted.
    Raises Unauthenticated, Invalid."""
    envelope = name_envelope_of(within)
    if envelope is None:
        return None
    plain = await trio.to_thread.run_sync(
        _opened, _keys(visit), envelope, (ws, provider.id, [one.id for one in saml.pairs])
    )
    try:
        found = read(plain)
    except (Problem, ValueError):
        found = None
    if found is None or found.name != f"{ASSERTION} NameID":
        raise _unreadable()
    return found


def documents_of(visit: Visit) -> Documents:
    """Raises Unavailable."""
    if visit.services.documents is None:
        raise Unavailable("This node reads no answers of identity providers.", "Ask the origin.", retry_after_s=5)
    return visit.services.documents


def decoded(field: str) -> bytes:
    """What a field of the POST binding holds. Raises Invalid."""
    try:
        raw = base64.b64decode("".join(field.split()).encode(), validate=True)
    except (NotBase64, ValueError):
        raw = b""
    if not raw:
        raise Invalid("This is no answer of an identity provider.", "Begin again.")
    return raw


async def _inside(
    visit: Visit,
    documents: Documents,
    envelope: Envelope,
    pairs: tuple[str, str, list[str]],
    certificates: tuple[bytes, ...],
    whole: Element | None,
) -> Element:
    """The assertion that was encrypted, which the provider has signed, or the `whole` that it came in. Raises
    Unauthenticated, in one way only."""
    told_at = trio.current_time() + REFUSED_SECONDS
    plain = await trio.to_thread.run_sync(_opened, _keys(visit), envelope, pairs)
    try:
        sent = await documents.read("assertion", list(certificates), plain, Sent)
        proven = [prove(one, certificates) for one in sent.seals]
        if not proven and whole is not None:
            return read(plain)
        [inside] = proven
        return inside
    except (Problem, ValueError) as problem:
        await trio.sleep_until(told_at)
        if isinstance(problem, Unavailable):
            raise
        raise _unreadable() from None


def _keys(visit: Visit) -> SamlKeys:
    if visit.services.saml_keys is None:
        raise Unavailable("This node has no keys to read that with.", "Ask the origin.", retry_after_s=5)
    return visit.services.saml_keys


def _unreadable() -> Unauthenticated:
    return Unauthenticated(
        "What your identity provider has encrypted cannot be read here, or is not signed by it.",
        "Has it the metadata that this node has now, and does it sign what it encrypts?",
    )


def _opened(keys: SamlKeys, envelope: Envelope, pairs: tuple[str, str, list[str]]) -> bytes:
    return opened(envelope, keys.openers(*pairs))
