"""How does a test get what an identity provider, or a forger, says of signing out? In an address and in a form."""

import base64
import zlib
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from lxml import etree

from gateway.saml import names
from tests.harness.ledgers import NOW_MS
from tests.harness.saml_answers import IDP, Element, Signer, at

PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"


def leaving(
    here: str, name: str = "ann@acme.example", *indexes: str, id: str = "_l1", more: str = "", named: str = ""
) -> Element:
    """A LogoutRequest that nobody has signed. `more` are attributes of it, `named` of the name."""
    sessions = "".join(f"<p:SessionIndex>{one}</p:SessionIndex>" for one in indexes)
    return etree.fromstring(
        f'<p:LogoutRequest xmlns:p="{names.PROTOCOL}" xmlns:a="{names.ASSERTION}" ID="{id}" Version="2.0" '
        f'IssueInstant="{at(-1, NOW_MS)}" Destination="{here}" {more}><a:Issuer>{IDP}</a:Issuer>'
        f'<a:NameID Format="{PERSISTENT}" {named}>{name}</a:NameID>{sessions}</p:LogoutRequest>'
    )


def left(here: str, answers: str, *, id: str = "_l2", inner: str = "") -> Element:
    """A LogoutResponse that nobody has signed."""
    return etree.fromstring(
        f'<p:LogoutResponse xmlns:p="{names.PROTOCOL}" xmlns:a="{names.ASSERTION}" ID="{id}" Version="2.0" '
        f'IssueInstant="{at(-1, NOW_MS)}" Destination="{here}" InResponseTo="{answers}"><a:Issuer>{IDP}</a:Issuer>'
        f'<p:Status><p:StatusCode Value="{names.SUCCESS}">{inner}</p:StatusCode></p:Status></p:LogoutResponse>'
    )


def deflated(message: Element | bytes) -> str:
    packed = zlib.compressobj(wbits=-15)
    raw = message if isinstance(message, bytes) else etree.tostring(message)
    return base64.b64encode(packed.compress(raw) + packed.flush()).decode()


def query(
    message: Element | bytes, signer: Signer, relay: str = "", *, field: str = "", method: str = "rsa-sha256"
) -> str:
    """As it comes in an address, quoted in a way of its own."""
    kind = field or ("SAMLRequest" if b"LogoutRequest" in _raw(message) else "SAMLResponse")
    algorithm = names.SIGNATURE + method if method.endswith("sha1") else names.MORE_SIGNATURE + method
    said = f"{kind}={_quoted(deflated(message))}"
    said += f"&RelayState={_quoted(relay)}" if relay else ""
    said += f"&SigAlg={_quoted(algorithm)}"
    hash: Any = hashes.SHA1() if method.endswith("sha1") else hashes.SHA256()
    return f"{said}&Signature={_quoted(base64.b64encode(signer.key.sign(said.encode(), PKCS1v15(), hash)).decode())}"


def _raw(message: Element | bytes) -> bytes:
    return message if isinstance(message, bytes) else bytes(etree.tostring(message))


def _quoted(text: str) -> str:
    """With the small letters that some providers use: what is signed is what is written."""
    return quote(text, safe="").replace("%2B", "%2b").replace("%2F", "%2f")


def told_in(address: str, certificate: bytes) -> tuple[str, Element, str]:
    """The field, the message and what goes along of an address that this key has signed."""
    asked = urlsplit(address).query
    said, _, _ = asked.partition("&Signature=")
    fields = {name: values[0] for name, values in parse_qs(asked).items()}
    key: Any = x509.load_der_x509_certificate(certificate).public_key()
    key.verify(base64.b64decode(fields["Signature"]), said.encode(), PKCS1v15(), hashes.SHA256())
    field = next(one for one in ("SAMLRequest", "SAMLResponse") if one in fields)
    message = etree.fromstring(zlib.decompress(base64.b64decode(fields[field]), -15))
    return field, message, fields.get("RelayState", "")
