"""What runs inside the sandbox? The XML of strangers, taken apart into what is signed and what is not.

Whoever comes to the node's address may send a Response, so this is where libxml2 sees hostile bytes, and the only
place. signxml checks the signature here, and says which bytes it is over; the node checks those bytes again for itself
(`proving.py`), so that not even a broken child can make somebody out of nobody.

What signature wrapping lives on is refused before anything is verified: there is one Assertion, a child of the
Response; every signature is a child of one of these two and refers to its own parent; every id is there once. One that
is encrypted is handed out as it is, and comes back here once it is opened (`opening.py`): alone, and as hostile.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from formats.kit import xmls
from gateway.saml import names, trees
from gateway.saml.envelopes import envelope_of
from gateway.saml.shapes import Described, Sealed, Sent
from storage.errors import Invalid, Unauthenticated

RESPONSE_BYTES_MAX = 256 << 10
METADATA_BYTES_MAX = 512 << 10
DEPTH_MAX = 32
ELEMENTS_MAX = 10_000
_SPACES = {"p": names.PROTOCOL, "a": names.ASSERTION, "m": names.METADATA, "ds": names.SIGNATURE, "ec": names.EXCLUSIVE}
_IDS = ("ID", "Id", "id", "{http://www.w3.org/XML/1998/namespace}id")
_ASSERTION, _ENCRYPTED = (f"{{{names.ASSERTION}}}{one}" for one in ("Assertion", "EncryptedAssertion"))
_METHODS = frozenset(SignatureMethod(one) for one in names.METHODS)
_DIGESTS = frozenset(DigestAlgorithm(one) for one in names.HASHES)
_FAULTS = (SignXMLException, etree.LxmlError, binascii.Error, ValueError, TypeError, AttributeError, LookupError)
"""All that signxml raises over a signature that is wrong in form."""


def response(certificates: Sequence[bytes], raw: bytes) -> Sent:
    """A Response whose signatures are good by one of these certificates (DER). Raises Invalid, Unauthenticated."""
    root = _tree(raw, RESPONSE_BYTES_MAX)
    if root.tag != f"{{{names.PROTOCOL}}}Response":
        raise Invalid("This is no answer of an identity provider.", "Begin again.")
    said = _said_by(root)
    if said.status != names.SUCCESS:
        return said
    encrypted = next(root.iter(_ENCRYPTED), None) is not None
    found = _signatures(root, _encrypted_in(root) if encrypted else _assertion_in(root))
    if not found and not encrypted:
        raise Unauthenticated("The identity provider has not signed what it says.", "Have it sign its assertions.")
    seals = tuple(_sealed(raw, one, certificates) for one in found)
    return msgspec.structs.replace(said, seals=seals, envelope=envelope_of(trees.read(raw)) if encrypted else None)


def _said_by(root: etree._Element) -> Sent:
    """What stands at its top."""
    status, issuer = root.find("./p:Status/p:StatusCode", _SPACES), root.find("./a:Issuer", _SPACES)
    return Sent(
        (),
        root.get("Version", ""),
        root.get("Destination", ""),
        root.get("InResponseTo", ""),
        "" if issuer is None else _text(issuer),
        "" if status is None else status.get("Value", ""),
    )


def assertion(certificates: Sequence[bytes], raw: bytes) -> Sent:
    """The seals of what was in an envelope: an Assertion whose signature, if it has one, is good by one of these
    certificates. Raises Invalid, Unauthenticated."""
    root = _tree(raw, RESPONSE_BYTES_MAX)
    if root.tag != _ASSERTION or len(list(root.iter(_ASSERTION, _ENCRYPTED))) != 1:
        raise Invalid("An answer of an identity provider has one assertion.", "Begin again.")
    return Sent(seals=tuple(_sealed(raw, one, certificates) for one in _signatures(root, root)))


def message(certificates: Sequence[bytes], raw: bytes) -> Sent:
    """The seal of a message about signing out, which is one whole and signed as that. Raises Invalid,
    Unauthenticated."""
    root = _tree(raw, RESPONSE_BYTES_MAX)
    if root.tag not in (f"{{{names.PROTOCOL}}}LogoutRequest", f"{{{names.PROTOCOL}}}LogoutResponse"):
        raise Invalid("This is no message about signing out.")
    found = _signatures(root, root)
    if not found:
        raise Unauthenticated("The identity provider has not signed this.", "Have it sign what it says of signing out.")
    return Sent(seals=tuple(_sealed(raw, one, certificates) for one in found))


def metadata(entity_id: str, raw: bytes) -> Described:
    """The identity provider of this name, "" = the only one that is described. Raises Invalid."""
    root = _tree(raw, METADATA_BYTES_MAX)
    entities = list(root.iter(f"{{{names.METADATA}}}EntityDescriptor"))
    providers = [one for one in entities if one.find("./m:IDPSSODescriptor", _SPACES) is not None]
    found = [one for one in providers if entity_id in ("", one.get("entityID"))]
    if len(found) != 1:
        raise Invalid(
            f"The metadata describes {len(found)} such identity providers.",
            "Give that of one, or say which is meant by its entityID.",
        )
    roles = found[0].findall("./m:IDPSSODescriptor", _SPACES)
    [role] = roles if len(roles) == 1 else [None]
    if role is None or names.PROTOCOL not in role.get("protocolSupportEnumeration", "").split():
        raise Invalid("The metadata is of no identity provider that speaks SAML 2.0.")
    places = (
        one.get("Location", "")
        for one in role.findall("./m:SingleSignOnService", _SPACES)
        if one.get("Binding") == names.BY_REDIRECT
    )
    sign_on = next(places, "")
    if not sign_on:
        raise Invalid("The identity provider takes no requests by redirect.", "Turn that binding on there.")
    certificates = tuple(dict.fromkeys(_certificates(role)))
    wants_signed = role.get("WantAuthnRequestsSigned", "").strip() in ("true", "1")
    return Described(
        found[0].get("entityID", ""), sign_on, certificates, _until_ms(found[0], role), wants_signed, *_logout(role)
    )


READERS: Mapping[str, Callable[[Any, bytes], object]] = {
    "response": response,
    "assertion": assertion,
    "message": message,
    "metadata": metadata,
}
"""What the sandbox is asked for by name."""


# ---------------------------------------------------------------- signatures


def _assertion_in(root: etree._Element) -> etree._Element:
    """The only one, a child of the Response. Raises Invalid."""
    assertions = list(root.iter(_ASSERTION))
    if len(assertions) != 1 or assertions[0].getparent() is not root:
        raise Invalid("An answer of an identity provider has one assertion.", "Begin again.")
    return assertions[0]


def _encrypted_in(root: etree._Element) -> etree._Element:
    """The Response, which has one encrypted assertion and no other. Raises Invalid."""
    found = list(root.iter(_ASSERTION, _ENCRYPTED))
    if len(found) != 1 or found[0].getparent() is not root:
        raise Invalid("An answer of an identity provider has one assertion.", "Begin again.")
    return root


def _signatures(root: etree._Element, assertion: etree._Element) -> list[etree._Element]:
    """Those of the document and of its Assertion, the Assertion's last. Raises Invalid."""
    ids = [one.get(name) for one in root.iter(etree.Element) for name in _IDS if one.get(name) is not None]
    if len(set(ids)) != len(ids):
        raise Invalid("Something in this answer has the name of something else.", "Begin again.")
    signed = (root, assertion)
    found = list(root.iter(f"{{{names.SIGNATURE}}}Signature"))
    parents = [one.getparent() for one in found]
    if any(parent not in signed for parent in parents) or len(set(map(id, parents))) != len(parents):
        raise Invalid("A signature is where none belongs.", "Begin again.")
    return sorted(found, key=lambda one: one.getparent() is not root)


def _sealed(raw: bytes, signature: etree._Element, certificates: Sequence[bytes]) -> Sealed:
    parent = signature.getparent()
    assert parent is not None
    about = etree.QName(parent).localname
    method = _method(signature, parent.get("ID", ""))
    for der in certificates:
        certificate = x509.load_der_x509_certificate(der)
        try:
            result: Any = XMLVerifier().verify(
                raw,
                x509_cert=certificate,
                parser=_parser(),
                id_attribute="ID",
                expect_config=SignatureConfiguration(
                    location="./" if parent.getparent() is None else f"./{_ASSERTION}/",
                    signature_methods=_METHODS,
                    digest_algorithms=_DIGESTS,
                    ignore_ambiguous_key_info=True,  # the key is the one that was configured, whatever it says
                    verification_time=certificate.not_valid_before_utc,  # a key is pinned; its certificate is a form
                ),
            )
            info, value = _parts(result.signature_xml)
            return Sealed(about, method, info, value, result.signed_data)
        except _FAULTS:
            continue
    raise Unauthenticated("This is not signed by your identity provider.", "Are its certificates the ones it has now?")


def _method(signature: etree._Element, id: str) -> str:
    """The algorithm of a signature that is over its own parent, which has this id, and nothing else. Raises Invalid."""
    references = signature.findall("./ds:SignedInfo/ds:Reference", _SPACES)
    methods = [one.get("Algorithm", "") for one in signature.findall("./ds:SignedInfo/ds:SignatureMethod", _SPACES)]
    canonical = signature.findall("./ds:SignedInfo/ds:CanonicalizationMethod", _SPACES)
    digests = signature.findall("./ds:SignedInfo/ds:Reference/ds:DigestMethod", _SPACES)
    transforms = signature.findall("./ds:SignedInfo/ds:Reference/ds:Transforms/ds:Transform", _SPACES)
    algorithms = {one.get("Algorithm", "") for one in (*canonical, *transforms)}
    if len(references) != 1 or not id or references[0].get("URI") != f"#{id}":
        raise Invalid("A signature is over something else than it should be.", "Begin again.")
    if not algorithms <= names.TRANSFORMS or any(len(one) for one in transforms if not _is_exclusive(one)):
        raise Invalid("A signature is over what becomes of something, not over it.", "Begin again.")
    if len(methods) != 1 or methods[0] not in names.METHODS:
        raise Unauthenticated("The identity provider signs in a way that is not taken.", "Have it use RSA-SHA256.")
    if any(one.get("Algorithm") not in names.HASHES for one in digests):
        raise Unauthenticated("The identity provider signs a digest that is not taken.", "Have it use SHA-256.")
    return methods[0]


def _is_exclusive(transform: etree._Element) -> bool:
    return transform.get("Algorithm", "").startswith(names.EXCLUSIVE)


def _parts(signature: etree._Element) -> tuple[bytes, bytes]:
    """What a signature is over, in canonical form, and the signature itself."""
    info = signature.find("./ds:SignedInfo", _SPACES)
    value = signature.find("./ds:SignatureValue", _SPACES)
    assert info is not None
    assert value is not None
    way = info.find("./ds:CanonicalizationMethod", _SPACES)
    assert way is not None
    prefixes = way.find("./ec:InclusiveNamespaces", _SPACES)
    canonical = etree.tostring(
        info,
        method="c14n",
        exclusive=True,
        with_comments=way.get("Algorithm", "").endswith("WithComments"),
        inclusive_ns_prefixes=None if prefixes is None else prefixes.get("PrefixList", "").split(),
    )
    return canonical, base64.b64decode("".join((value.text or "").split()), validate=True)


# ---------------------------------------------------------------- metadata


def _certificates(role: etree._Element) -> Iterator[bytes]:
    """Those for signing: several while one takes over from another. Raises Invalid."""
    for key in role.findall("./m:KeyDescriptor", _SPACES):
        if key.get("use", "signing") != "signing":
            continue
        for one in key.findall("./ds:KeyInfo/ds:X509Data/ds:X509Certificate", _SPACES):
            try:
                yield base64.b64decode("".join(_text(one).split()), validate=True)
            except binascii.Error:
                raise Invalid("A certificate in the metadata cannot be read.") from None


def _logout(role: etree._Element) -> tuple[str, str, bool]:
    """Where its single logout service takes requests, and answers, and whether by forms alone; "" twice where it takes
    neither redirects nor forms."""
    for binding in (names.BY_REDIRECT, names.BY_POST):
        for one in role.findall("./m:SingleLogoutService", _SPACES):
            location = one.get("Location", "")
            if one.get("Binding") == binding and location:
                return location, one.get("ResponseLocation", "") or location, binding == names.BY_POST
    return "", "", False


def _until_ms(*described: etree._Element) -> int:
    """The earliest validUntil."""
    try:
        told = [one.get("validUntil") for one in described]
        return min((int(datetime.fromisoformat(one).timestamp() * 1000) for one in told if one), default=0)
    except (ValueError, OverflowError):
        raise Invalid("Until when the metadata is good cannot be read.") from None


# ---------------------------------------------------------------- XML


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)


def _text(element: etree._Element) -> str:
    return "".join(str(one) for one in element.itertext()).strip()


def _tree(raw: bytes, bytes_max: int) -> etree._Element:
    """Raises Invalid, TooLarge; for a document type before libxml2 sees it."""
    xmls.read(raw, bytes_max, depth_max=DEPTH_MAX, elements_max=ELEMENTS_MAX)
    try:
        return etree.fromstring(raw, _parser())
    except etree.XMLSyntaxError:
        raise Invalid("This is no well-formed XML.") from None
