"""What does a token look like, and how is one recognised without being kept?

    ent_ + 32 random characters of base62 (190 bits) + 6 characters of base62: crc32 of all before them

The prefix lets secret scanners find a leaked one; the checksum lets a mistyped one be refused without a look-up, and
a scanner be sure. Only the sha256 of the whole text is stored. The `id` is public, and says nothing about the text.
"""

import hashlib
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX = "ent_"
RANDOM_CHARS = 32
CHECK_CHARS = 6
TEXT_CHARS = len(PREFIX) + RANDOM_CHARS + CHECK_CHARS

ID_PREFIX = "tok_"
ID_CHARS = 16

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LETTERS = frozenset(_ALPHABET)


class Parts(NamedTuple):
    """What of a new token is stored."""

    id: str
    sha256: bytes


def mint() -> tuple[str, Parts]:
    """A new token: its text, to be shown once, and the parts of the Token to store."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARS))
    text = body + _check(body)
    name = ID_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    return text, Parts(name, hash_of(text))


def well_formed(text: str) -> bool:
    """Could this text be a token of ours? False for anything mistyped, cut or foreign; nothing is looked up."""
    if len(text) != TEXT_CHARS or not text.startswith(PREFIX) or not _LETTERS.issuperset(text[len(PREFIX) :]):
        return False
    return _check(text[:-CHECK_CHARS]) == text[-CHECK_CHARS:]


def hash_of(text: str) -> bytes:
    """The 32 bytes under which a token is stored and found. 190 random bits need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _check(body: str) -> str:
    left, chars = zlib.crc32(body.encode("ascii")), []
    for _ in range(CHECK_CHARS):
        left, digit = divmod(left, len(_ALPHABET))
        chars.append(_ALPHABET[digit])
    return "".join(reversed(chars))
