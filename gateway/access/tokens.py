"""What does a token look like, and how is one recognised without being kept?

    ent_ + 32 random characters of base62 (190 bits) + 6 characters of base62: crc32 of all before them

The prefix lets secret scanners find a leaked one; the checksum lets a mistyped one be refused without a look-up, and
a scanner be sure. Only the sha256 of the whole text is stored, and the public half of a key that is derived from it,
which checks passes (passes.py). The `id` is public, and says nothing about the text.
"""

import hashlib
import hmac
import secrets
import string
import zlib
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = "ent_"
RANDOM_CHARS = 32
CHECK_CHARS = 6
TEXT_CHARS = len(PREFIX) + RANDOM_CHARS + CHECK_CHARS

ID_PREFIX = "tok_"
ID_CHARS = 16

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LETTERS = frozenset(_ALPHABET)
_DERIVE = b"entrepot pass key 1"


class Parts(NamedTuple):
    """What of a new token is stored."""

    id: str
    sha256: bytes
    verify_key: bytes


def mint() -> tuple[str, Parts]:
    """A new token: its text, to be shown once, and the parts of the Token to store."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARS))
    text = body + check(body)
    name = ID_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    public = signing_key(text).public_key().public_bytes_raw()
    return text, Parts(name, hash_of(text), public)


def well_formed(text: str) -> bool:
    """Could this text be a token of ours? False for anything mistyped, cut or foreign; nothing is looked up."""
    if len(text) != TEXT_CHARS or not text.startswith(PREFIX) or not _LETTERS.issuperset(text[len(PREFIX) :]):
        return False
    return check(text[:-CHECK_CHARS]) == text[-CHECK_CHARS:]


def hash_of(text: str) -> bytes:
    """The 32 bytes under which a token is stored and found. 190 random bits need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def signing_key(text: str) -> Ed25519PrivateKey:
    """The key that signs the passes of a token; only who has the text can derive it. 190 random bits need no slow
    derivation."""
    return Ed25519PrivateKey.from_private_bytes(hmac.digest(text.encode(), _DERIVE, "sha256"))


def check(body: str) -> str:
    """The characters that end a token whose others are these."""
    left, chars = zlib.crc32(body.encode("ascii")), []
    for _ in range(CHECK_CHARS):
        left, digit = divmod(left, len(_ALPHABET))
        chars.append(_ALPHABET[digit])
    return "".join(reversed(chars))
