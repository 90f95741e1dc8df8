"""What is in an EncryptedAssertion or an EncryptedID, before anybody opens it? XML Encryption 1.1 as SAML uses it (Core
sections 2.3.4 and 2.2.4).

One content key, encrypted for one key of ours, and what that encrypts, both in the document itself: nothing is fetched
from where it says. Which ways are taken is told to whoever asks, since it stands in the document for all to read.
"""

from base64 import b64decode
from binascii import Error as NotBase64

from formats.kit.xmls import Element
from gateway.saml import names
from gateway.saml.shapes import Envelope
from gateway.saml.trees import every, only
from storage.errors import Invalid, Unauthenticated

CONTENT_BYTES_MAX = 200 << 10
KEY_BYTES_MAX = 1 << 10
_ELEMENT = f"{names.ENCRYPTION}Element"


def envelope_of(response: Element) -> Envelope | None:
    """That of a Response whose assertion is encrypted; None where it is not. Raises Invalid, Unauthenticated."""
    if next(every(response, names.ASSERTION, "EncryptedAssertion"), None) is None:
        return None
    if next(every(response, names.ASSERTION, "Assertion"), None) is not None:
        raise Invalid("An answer of an identity provider has one assertion.", "Begin again.")
    return _envelope_in(only(response, names.ASSERTION, "EncryptedAssertion"))


def name_envelope_of(within: Element) -> Envelope | None:
    """That of the name of a Subject, or in a request about one; None where the name is not encrypted. Raises Invalid,
    Unauthenticated."""
    if next(every(within, names.ASSERTION, "EncryptedID"), None) is None:
        return None
    if any(one.name == f"{names.ASSERTION} {kind}" for one in within.children for kind in ("NameID", "BaseID")):
        raise Invalid("The identity provider names somebody twice.", "Begin again.")
    return _envelope_in(only(within, names.ASSERTION, "EncryptedID"))


def check_sealed(envelope: Envelope) -> None:
    """Raises Unauthenticated for a cipher that does not tell by itself whether it was changed on its way, CBC: who
    changes that and watches what is answered learns what is in it (Jager and Somorovsky 2011), and with the same key
    also what was encrypted by another cipher (Jager, Paterson and Somorovsky 2013)."""
    if names.CIPHERS[envelope.cipher][0] == "cbc":
        raise Unauthenticated(
            "Your identity provider encrypts with AES-CBC and signs only what is within, so whoever changes that on "
            "its way could learn from the answers here what it says.",
            "Whoever manages your workspace has it use AES-GCM, or sign the whole answer, too. To take it as it is: "
            "entrepot sso renew-saml --accept-cbc.",
        )


def _envelope_in(encrypted: Element) -> Envelope:
    data = only(encrypted, names.ENCRYPTION, "EncryptedData")
    if data.attributes.get("Type", _ELEMENT) != _ELEMENT:
        raise _not_taken()
    wrapped = _key_in(encrypted, data)
    method, transport = (only(one, names.ENCRYPTION, "EncryptionMethod") for one in (data, wrapped))
    cipher = method.attributes.get("Algorithm", "")
    if cipher not in names.CIPHERS:
        raise _not_taken()
    digest, mask = _padding_of(transport)
    return Envelope(cipher, digest, mask, _value(wrapped, KEY_BYTES_MAX), _value(data, CONTENT_BYTES_MAX))


def _key_in(encrypted: Element, data: Element) -> Element:
    """The only EncryptedKey: in the KeyInfo of what it encrypts, or beside that. Raises Invalid."""
    within = [
        key for info in every(data, names.SIGNATURE, "KeyInfo") for key in every(info, names.ENCRYPTION, "EncryptedKey")
    ]
    found = [*within, *every(encrypted, names.ENCRYPTION, "EncryptedKey")]
    if len(found) != 1:
        raise Invalid(
            f"What the identity provider encrypted comes with {len(found)} keys, where one is due.",
            "Have it encrypt for this node alone.",
        )
    return found[0]


def _padding_of(transport: Element) -> tuple[str, str]:
    """The hashes of OAEP: that of its label, which is empty, and that of its mask. Raises Unauthenticated, Invalid."""
    algorithm = transport.attributes.get("Algorithm")
    if algorithm not in (names.OAEP, names.OAEP_11):
        raise _not_taken()
    digests = [one.attributes.get("Algorithm", "") for one in every(transport, names.SIGNATURE, "DigestMethod")]
    masks = [one.attributes.get("Algorithm", "") for one in every(transport, names.ENCRYPTION_11, "MGF")]
    labels = [one.text for one in every(transport, names.ENCRYPTION, "OAEPparams") if one.text]
    if len(digests) > 1 or len(masks) > 1 or labels or (masks and algorithm == names.OAEP):
        raise _not_taken()
    digest = names.PADDING_HASHES.get(digests[0], "") if digests else "sha1"
    mask = names.MASKS.get(masks[0], "") if masks else "sha1"
    if not digest or not mask:
        raise _not_taken()
    return digest, mask


def _value(within: Element, bytes_max: int) -> bytes:
    text = only(only(within, names.ENCRYPTION, "CipherData"), names.ENCRYPTION, "CipherValue").text
    try:
        value = b64decode("".join(text.split()), validate=True)
    except (NotBase64, ValueError):
        raise Invalid("What the identity provider encrypted is not written as it should be.", "Begin again.") from None
    if not 0 < len(value) <= bytes_max:
        raise Invalid("What the identity provider encrypted is nothing, or too much.", "Begin again.")
    return value


def _not_taken() -> Unauthenticated:
    return Unauthenticated(
        "The identity provider encrypts in a way that is not taken.", "Have it use AES-GCM, with keys by RSA-OAEP."
    )
