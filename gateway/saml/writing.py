"""How does this node write a message, and sign it within? XML Signature 1.1 as SAML has it (Core section 5.4).

What is written is in canonical form to begin with (Exclusive XML Canonicalization 1.0): each namespace where it is
first used, attributes in their order, no short form of an empty element. So what is signed is what is written, and no
library that reads XML is needed to sign it. `tests/unit/test_saml_writing.py` holds it against one that is.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.saml import names

ISSUER_END = "</Issuer>"


def element(name: str, attributes: Mapping[str, str], *within: str, space: str = "") -> str:
    """An element with what is within it, as it is; `space` is the namespace that its prefix means from here on."""
    prefix = name.partition(":")[0] if ":" in name else ""
    declared = f' xmlns{":" if prefix else ""}{prefix}="{space}"' if space else ""
    told = "".join(f' {key}="{_value(attributes[key])}"' for key in sorted(attributes))
    return f"<{name}{declared}{told}>{''.join(within)}</{name}>"


def text(said: str) -> str:
    """Text within an element (Canonical XML 1.0 section 2.3)."""
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")


def issuer(audience: str) -> str:
    """This node, as the provider knows it."""
    return element("Issuer", {}, text(audience), space=names.ASSERTION)


def signed(message: str, id: str, key: RSAPrivateKey, certificate: bytes) -> str:
    """The message of this `id`, with the signature where SAML has it: behind its Issuer."""
    said = b64encode(hashlib.sha256(message.encode()).digest()).decode()
    transforms = (
        element("ds:Transform", {"Algorithm": one})
        for one in (f"{names.SIGNATURE}enveloped-signature", names.EXCLUSIVE)
    )
    info = element(
        "ds:SignedInfo",
        {},
        element("ds:CanonicalizationMethod", {"Algorithm": names.EXCLUSIVE}),
        element("ds:SignatureMethod", {"Algorithm": names.RSA_SHA256}),
        element(
            "ds:Reference",
            {"URI": f"#{id}"},
            element("ds:Transforms", {}, *transforms),
            element("ds:DigestMethod", {"Algorithm": f"{names.ENCRYPTION}sha256"}),
            element("ds:DigestValue", {}, said),
        ),
        space=names.SIGNATURE,
    )
    value = b64encode(key.sign(info.encode(), PKCS1v15(), SHA256())).decode()
    known = element("ds:X509Certificate", {}, b64encode(certificate).decode())
    signature = element(
        "ds:Signature",
        {},
        info,
        element("ds:SignatureValue", {}, value),
        element("ds:KeyInfo", {}, element("ds:X509Data", {}, known)),
        space=names.SIGNATURE,
    )
    before, end, after = message.partition(ISSUER_END)
    return f"{before}{end}{signature}{after}"


def _value(said: str) -> str:
    """What an attribute has."""
    for plain, written in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;"), ("\t", "&#x9;"), ("\n", "&#xA;"),
                           ("\r", "&#xD;")):  # fmt: skip
        said = said.replace(plain, written)
    return said
