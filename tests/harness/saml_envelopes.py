"""How does a test get an assertion that is encrypted, as a provider would do it, or as an attacker would have it?"""

import base64
import os
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from lxml import etree

from gateway.saml import names
from tests.harness.saml_answers import Element, assertion_in, raw

GCM, CBC_128, CBC_256 = (f"{names.ENCRYPTION_11}aes256-gcm", f"{names.ENCRYPTION}aes128-cbc",
                         f"{names.ENCRYPTION}aes256-cbc")  # fmt: skip
RSA_1_5 = f"{names.ENCRYPTION}rsa-1_5"
X, DS, A = (f"{{{one}}}" for one in (names.ENCRYPTION, names.SIGNATURE, names.ASSERTION))
_HASHES: dict[str, Any] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_DIGESTS = {hash: name for name, hash in names.PADDING_HASHES.items()}


def content(plain: bytes, key: bytes, cipher: str) -> bytes:
    """What these bytes are by a cipher: in CBC with a padding as XML Encryption has it, whose bytes are anything."""
    if "gcm" in cipher:
        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, plain, None)
    count = 16 - len(plain) % 16
    return by_cbc(plain + os.urandom(count - 1) + bytes((count,)), key)


def by_cbc(padded: bytes, key: bytes) -> bytes:
    first = os.urandom(16)
    encryptor = Cipher(AES(key), CBC(first)).encryptor()
    return first + encryptor.update(padded) + encryptor.finalize()


def wrapped(key: bytes, certificate: bytes, transport: str, digest: str = "sha1", mask: str = "sha1") -> bytes:
    public: Any = x509.load_der_x509_certificate(certificate).public_key()
    if transport == RSA_1_5:
        return bytes(public.encrypt(key, PKCS1v15()))
    return bytes(public.encrypt(key, OAEP(MGF1(_HASHES[mask]()), _HASHES[digest](), None)))


def encrypted(
    root: Element,
    certificate: bytes,
    cipher: str = GCM,
    transport: str = names.OAEP,
    *,
    digest: str = "",
    mask: str = "",
    beside: bool = False,
    plain: bytes | None = None,
    edited: bytes | None = None,
) -> Element:
    """The Response with its Assertion encrypted for who has this certificate. `plain` is encrypted in its place, and
    `edited` stands in the place of what that becomes; the key is `beside` what it encrypts, else within."""
    old = assertion_in(root)
    said = raw(old) if plain is None else plain
    hidden = _hidden(
        "EncryptedAssertion",
        said,
        certificate,
        cipher,
        transport,
        digest=digest,
        mask=mask,
        beside=beside,
        edited=edited,
    )
    root.replace(old, hidden)
    return root


def with_hidden_name(root: Element, certificate: bytes, cipher: str = GCM, *, plain: bytes | None = None) -> Element:
    """The document with the first name in it encrypted for who has this certificate, or `plain` in its place."""
    old = root.find(f".//{A}NameID")
    hidden = _hidden("EncryptedID", raw(old) if plain is None else plain, certificate, cipher, names.OAEP)
    old.getparent().replace(old, hidden)
    return root


def _hidden(
    kind: str,
    plain: bytes,
    certificate: bytes,
    cipher: str,
    transport: str,
    *,
    digest: str = "",
    mask: str = "",
    beside: bool = False,
    edited: bytes | None = None,
) -> Element:
    key = os.urandom(32 if "256" in cipher else 24 if "192" in cipher else 16)
    said = content(plain, key, cipher) if edited is None else edited
    key_said = wrapped(key, certificate, transport, digest or "sha1", mask or "sha1")
    within = f'<ds:DigestMethod Algorithm="{_DIGESTS[digest]}"/>' if digest else ""
    if mask:
        within += f'<y:MGF xmlns:y="{names.ENCRYPTION_11}" Algorithm="{names.ENCRYPTION_11}mgf1{mask}"/>'
    wrapping = (
        f'<x:EncryptedKey><x:EncryptionMethod Algorithm="{transport}">{within}</x:EncryptionMethod>'
        f"<x:CipherData><x:CipherValue>{base64.encodebytes(key_said).decode()}</x:CipherValue></x:CipherData>"
        "</x:EncryptedKey>"
    )
    return etree.fromstring(
        f'<a:{kind} xmlns:a="{names.ASSERTION}" xmlns:x="{names.ENCRYPTION}" xmlns:ds="{names.SIGNATURE}">'
        f'<x:EncryptedData Type="{names.ENCRYPTION}Element"><x:EncryptionMethod Algorithm="{cipher}"/>'
        f"{'' if beside else f'<ds:KeyInfo>{wrapping}</ds:KeyInfo>'}"
        f"<x:CipherData><x:CipherValue>{base64.encodebytes(said).decode()}</x:CipherValue></x:CipherData>"
        f"</x:EncryptedData>{wrapping if beside else ''}</a:{kind}>"
    )
