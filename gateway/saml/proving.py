"""Has the identity provider signed these bytes? Asked outside the sandbox, of bytes alone.

No XML is parsed here before a key of the identity provider has vouched for it: first the signature over `signed_info`,
then the digest that this tells of the payload, then the payload itself. What a sandboxed process made of hostile input
is taken as a claim.
"""

import hashlib
import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from formats.kit.xmls import Element
from gateway.saml import names
from gateway.saml.shapes import Sealed
from gateway.saml.trees import only, read
from storage.errors import Invalid, Unauthenticated

RSA_BITS_MIN = 2048
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def key_of(der: bytes) -> PublicKey:
    """The key of a certificate that may be believed. Raises Invalid."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("A certificate of the identity provider cannot be read.") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS_MIN:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    raise Invalid(
        "A certificate of the identity provider has a key that is not taken.",
        f"RSA of {RSA_BITS_MIN} bits and more is, and the curves P-256, P-384 and P-521.",
    )


def prove(sealed: Sealed, certificates: Sequence[bytes]) -> Element:
    """The element that one of these certificates' keys has signed. Raises Unauthenticated, Invalid."""
    check_signed(sealed.method, sealed.signature, sealed.signed_info, certificates)
    info = read(sealed.signed_info)
    reference = only(info, names.SIGNATURE, "Reference")
    method = only(info, names.SIGNATURE, "SignatureMethod").attributes.get("Algorithm")
    hash = names.HASHES.get(only(reference, names.SIGNATURE, "DigestMethod").attributes.get("Algorithm", ""))
    if info.name != f"{names.SIGNATURE} SignedInfo" or method != sealed.method or hash is None:
        raise _unproven()
    try:
        told = b64decode(only(reference, names.SIGNATURE, "DigestValue").text)
    except NotBase64:
        raise _unproven() from None
    if not hmac.compare_digest(told, hashlib.new(hash, sealed.payload).digest()):
        raise _unproven()
    proven = read(sealed.payload)
    if reference.attributes.get("URI") != f"#{proven.attributes.get('ID', '')}":
        raise _unproven()
    return proven


def check_signed(method: str, signature: bytes, said: bytes, certificates: Sequence[bytes]) -> None:
    """Raises Unauthenticated where none of these certificates' keys has signed this, in this way."""
    if not any(_is_signed(method, signature, said, key_of(one)) for one in certificates):
        raise _unproven()


def _is_signed(method: str, signature: bytes, said: bytes, key: PublicKey) -> bool:
    family, hash = names.METHODS.get(method, ("", ""))
    try:
        if family == "rsa" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, said, padding.PKCS1v15(), _HASHES[hash])
        elif family == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            half = (key.key_size + 7) // 8
            if len(signature) != 2 * half:
                return False
            r, s = (int.from_bytes(one) for one in (signature[:half], signature[half:]))
            key.verify(encode_dss_signature(r, s), said, ec.ECDSA(_HASHES[hash]))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _unproven() -> Unauthenticated:
    return Unauthenticated("This is not signed by your identity provider.", "Are its certificates the ones it has now?")
