"""How does a test get what a SAML identity provider, or a forger, would send? Put together by hand and really signed,
so that it may be as wrong as a test wants."""

import base64
import datetime
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from gateway.saml import names
from tests.harness.ledgers import NOW_MS

Element = Any
Edit = Callable[[Element], None]
IDP = "https://idp.example/metadata"
SIGN_ON = "https://idp.example/sso"
P, A, DS = (f"{{{one}}}" for one in (names.PROTOCOL, names.ASSERTION, names.SIGNATURE))


class _Weak(XMLSigner):
    """A signer that still does what nobody should."""

    def check_deprecated_methods(self) -> None:
        pass


class Signer:
    """A key, and a certificate of it that is long over: keys are pinned, not their certificates."""

    def __init__(self, key: Any = None) -> None:
        self.key = key or rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
        year = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        made = made.serial_number(1).not_valid_before(year).not_valid_after(year.replace(year=2021))
        self.certificate = made.sign(self.key, hashes.SHA256())
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        way = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return str(self.key.private_bytes(*way).decode())

    def sign(self, element: Element, method: str = "", digest: str = "sha256", *, weak: bool = False) -> Element:
        """The element with a signature in it, where SAML has it: behind its Issuer."""
        family = "ECDSA" if isinstance(self.key, ec.EllipticCurvePrivateKey) else "RSA"
        signer = (_Weak if weak else XMLSigner)(
            signature_algorithm=SignatureMethod[method or f"{family}_SHA256"],
            digest_algorithm=DigestAlgorithm[digest.upper()],
            c14n_algorithm=names.EXCLUSIVE,
        )
        place = etree.SubElement(element, f"{DS}Signature", {"Id": "placeholder"}, nsmap={"ds": names.SIGNATURE})
        element.insert(1, place)
        return signer.sign(element, key=self.key, cert=[self.certificate], reference_uri=f"#{element.get('ID')}")


def metadata(
    *signers: Signer, entity_id: str = IDP, sign_on: str = SIGN_ON, more: str = "", role: str = "", places: str = ""
) -> str:
    """The document that describes an identity provider; `role` are attributes of that, `places` what it has besides."""
    keys = "".join(
        f'<KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>'
        f"{base64.encodebytes(one.der).decode()}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>"
        for one in signers
    )
    return (
        f'<EntityDescriptor xmlns="{names.METADATA}" xmlns:ds="{names.SIGNATURE}" entityID="{entity_id}" {more}>'
        f'<IDPSSODescriptor protocolSupportEnumeration="{names.PROTOCOL}" {role}>{keys}{places}'
        f'<SingleSignOnService Binding="{names.BY_POST}" Location="{sign_on}/post"/>'
        f'<SingleSignOnService Binding="{names.BY_REDIRECT}" Location="{sign_on}"/>'
        "</IDPSSODescriptor></EntityDescriptor>"
    )


def at(offset_s: float = 0, now_ms: int = NOW_MS) -> str:
    """A time so many seconds from now."""
    when = datetime.datetime.fromtimestamp(now_ms / 1000 + offset_s, datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def response(
    audience: str,
    here: str,
    answers: str = "",
    *,
    name: str = "ann@acme.example",
    id: str = "_a1",
    issuer: str = IDP,
    now_ms: int = NOW_MS,
    attributes: dict[str, list[str]] | None = None,
    session_s: float | None = None,
    index: str = "",
) -> Element:
    """A good Response that nobody has signed yet. Who it is of is signed in at the provider for `session_s` more, as
    the session `index`."""
    said = ""
    for key, values in (attributes or {}).items():
        told = "".join(f"<a:AttributeValue>{one}</a:AttributeValue>" for one in values)
        said += f'<a:Attribute Name="{key}">{told}</a:Attribute>'
    request = f'InResponseTo="{answers}"' if answers else ""
    soon, early = at(300, now_ms), at(-5, now_ms)
    until = "" if session_s is None else f'SessionNotOnOrAfter="{at(session_s, now_ms)}"'
    until += f' SessionIndex="{index}"' if index else ""
    return etree.fromstring(
        f'<p:Response xmlns:p="{names.PROTOCOL}" xmlns:a="{names.ASSERTION}" ID="_r{id}" Version="2.0" {request} '
        f'IssueInstant="{early}" Destination="{here}"><a:Issuer>{issuer}</a:Issuer>'
        f'<p:Status><p:StatusCode Value="{names.SUCCESS}"/></p:Status>'
        f'<a:Assertion ID="{id}" Version="2.0" IssueInstant="{early}"><a:Issuer>{issuer}</a:Issuer>'
        f'<a:Subject><a:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{name}</a:NameID>'
        f'<a:SubjectConfirmation Method="{names.BEARER}"><a:SubjectConfirmationData Recipient="{here}" {request} '
        f'NotOnOrAfter="{soon}"/></a:SubjectConfirmation></a:Subject>'
        f'<a:Conditions NotBefore="{early}" NotOnOrAfter="{soon}"><a:AudienceRestriction><a:Audience>{audience}'
        f'</a:Audience></a:AudienceRestriction></a:Conditions><a:AuthnStatement AuthnInstant="{early}" {until}>'
        "<a:AuthnContext><a:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
        f"</a:AuthnContextClassRef></a:AuthnContext></a:AuthnStatement>"
        f"{f'<a:AttributeStatement>{said}</a:AttributeStatement>' if said else ''}</a:Assertion></p:Response>".encode()
    )


def assertion_in(root: Element) -> Element:
    return root.find(f"{A}Assertion")


def signed(root: Element, signer: Signer, *, whole: bool = False, **how: Any) -> Element:
    """Its Assertion signed, or the `whole`."""
    if whole:
        return signer.sign(root, **how)
    old = assertion_in(root)
    root.replace(old, signer.sign(etree.fromstring(etree.tostring(old)), **how))
    return root


def raw(root: Element) -> bytes:
    return bytes(etree.tostring(root))


def text_of(root: Element | bytes) -> str:
    """As the field SAMLResponse has it."""
    return base64.b64encode(root if isinstance(root, bytes) else raw(root)).decode()
