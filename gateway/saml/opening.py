"""How is what an identity provider encrypted for this node read? Outside the sandbox, of bytes alone.

The sandbox has read hostile XML, so our private key is nowhere near it: it hands out what is encrypted, and is handed
what comes out of that. Here no XML is parsed.

Nobody learns from it whether a key, a padding or a tag was good (Bleichenbacher, Vaudenay, Jager and Somorovsky): what
cannot be opened is as if noise had been in it, so it goes the same way, and fails where noise fails.
"""

import os
from collections.abc import Callable, Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from gateway.saml import names
from gateway.saml.shapes import Envelope

BLOCK_BYTES = 16
NONCE_BYTES, TAG_BYTES = 12, 16
_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,  # what nothing rests on, see names.PADDING_HASHES
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def opened(envelope: Envelope, keys: Sequence[RSAPrivateKey]) -> bytes:
    """What is in it, by whichever of our keys it is for; noise where that cannot be told. It may be anything: whoever
    has our certificate can have encrypted it."""
    mode, key_bytes = names.CIPHERS[envelope.cipher]
    found = [_unwrapped(envelope, key, key_bytes) for key in keys]  # every one is tried, whichever it is for
    key = next((one for one in found if one is not None), os.urandom(key_bytes))
    noise = os.urandom(max(BLOCK_BYTES, len(envelope.content)))
    plain = (_by_gcm if mode == "gcm" else _by_cbc)(key, envelope.content)
    return noise if plain is None else plain


def _unwrapped(envelope: Envelope, key: RSAPrivateKey, key_bytes: int) -> bytes | None:
    padding = OAEP(MGF1(_HASHES[envelope.mask]()), _HASHES[envelope.digest](), None)
    try:
        found = key.decrypt(envelope.wrapped, padding)
    except ValueError:
        return None
    return found if len(found) == key_bytes else None


def _by_gcm(key: bytes, content: bytes) -> bytes | None:
    """XML Encryption 1.1 section 5.2.4."""
    if len(content) <= NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], None)
    except InvalidTag:
        return None


def _by_cbc(key: bytes, content: bytes) -> bytes | None:
    """XML Encryption 1.1 section 5.2.2: the last byte tells how many are no part of it. One element and nothing around
    it comes out, so that whatever is spliced on shows, also where it looks like space."""
    if len(content) < 2 * BLOCK_BYTES or len(content) % BLOCK_BYTES:
        return None
    by = Cipher(AES(key), CBC(content[:BLOCK_BYTES])).decryptor()
    padded = by.update(content[BLOCK_BYTES:]) + by.finalize()
    plain = padded[: -padded[-1]] if 1 <= padded[-1] <= BLOCK_BYTES else b""
    return plain if plain.startswith(b"<") and plain.endswith(b">") else None
