"""How is a request that is sent twice done once? By its Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

The entry that a request leads to carries the key's sha256, what the request is known again by, and the answer, so they
become durable together or not at all. The answer may hold a token's text, which nobody else may ever read, and the
request somebody's password, which nobody may guess at: the one is sealed with, and the other turned into, what follows
from the sender's own credential, kept nowhere here, and from the request and its Idempotency-Key. Only the same request
by the same sender opens it; the journal, its copies and the edges hold noise.

Who is first holds a lock while the request runs: a byte of a file, by the kernel, so that it ends with the process.
Without it, it would still be done once: the write lock decides.
"""

import fcntl
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.digest import sha256
from storage.errors import Invalid, KeyReused, StillRunning, TooMany
from storage.index.answers import Answer
from storage.index.catalog import Reading
from storage.nouns import Once

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY_CHARS_MAX = 255

_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+")
_NONCE_BYTES = 12
_FLOCK = struct.Struct("hhqqi4x")


class Said(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it is kept."""

    status: int
    media: str
    headers: dict[str, str]
    body: bytes


class Keyed(NamedTuple):
    """A request with its key: whose it is, the key's sha256, what it is known by and its answer sealed with."""

    principal: str
    key: bytes
    request: bytes
    sealing: bytes

    def once(self, said: Said) -> Once:
        """What the entry carries."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.sealing).encrypt(nonce, msgspec.msgpack.encode(said), self.request)
        return Once(self.principal, self.key, self.request, nonce + sealed)

    def opened(self, answer: Answer) -> Said:
        """What was answered. Raises KeyReused where that was to another request, or to another credential's."""
        if answer.request != self.request:
            raise KeyReused(
                "Another request came with this Idempotency-Key before, or this one with another credential.",
                "Look at what is there, or take a new key.",
            )
        nonce, sealed = answer.answer[:_NONCE_BYTES], answer.answer[_NONCE_BYTES:]
        return msgspec.msgpack.decode(AESGCM(self.sealing).decrypt(nonce, sealed, self.request), type=Said)

    def check_room(self, reading: Reading, most: int, now_ms: int) -> None:
        """Raises TooMany where so many answers are kept for this principal already."""
        if reading.answers_kept(self.principal, most, now_ms) >= most:
            raise TooMany(
                f"{most} answers are kept for this token, each for a day.", "Send requests without a key.",
                retry_after_s=3600,
            )  # fmt: skip


def key_in(value: str) -> str:
    """The key of the header: a String of RFC 9651, or the same without quotes. Raises Invalid."""
    text = value.strip()
    if (found := _STRING.fullmatch(text)) is not None:
        text = re.sub(r"\\(.)", r"\1", found[1])
    elif not _BARE.fullmatch(text):
        text = ""
    if not 1 <= len(text) <= KEY_CHARS_MAX:
        raise Invalid(
            f"The {HEADER} cannot be read.", f"Send 1 to {KEY_CHARS_MAX} characters in double quotes, such as a UUID."
        )
    return text


def keyed(principal: str, secret: str | None, key: str, request: tuple[bytes, ...]) -> Keyed:
    """`request` is all that makes it what it is: method, address, body."""
    parts = ((secret or "").encode(), key.encode(), *request)
    material = b"".join(len(part).to_bytes(8) + part for part in parts)
    derived = HKDF(SHA256(), 64, None, b"entrepot: a request with a key, and its answer").derive(material)
    return Keyed(principal, sha256(key.encode()), derived[:32], derived[32:])


class Running:
    """The requests with a key that are being worked on, by any process of the node."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def hold(self, keyed: Keyed) -> Iterator[None]:
        """Raises StillRunning while another request has this key."""
        at = int.from_bytes(sha256(keyed.principal.encode() + b"\0" + keyed.key)[:7])
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                # of this open file, not of the process: two tasks of one process exclude each other too
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))
            except BlockingIOError:
                raise StillRunning(
                    "A request with this Idempotency-Key is being worked on.", "Wait, then send it again.",
                    retry_after_s=1,
                ) from None  # fmt: skip
            yield
        finally:
            os.close(fd)
