"""How does a receiver know that a request is ours, is fresh, and is no repeat? As Standard Webhooks 1.0 has it.

    webhook-id         the event's, the same each time it is sent
    webhook-timestamp  when it is sent, in seconds
    webhook-signature  "v1," and base64 of HMAC-SHA256 over id.timestamp.body; one for each secret that is good,
                       parted by spaces, so that a receiver that knows either of two goes on while they are exchanged

A secret is 32 random bytes, told as whsec_ and their base64 ("Signature scheme", "Symmetric secrets").
"""

import base64
import binascii
import hashlib
import hmac
import secrets

from storage.errors import Invalid

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """A fresh secret as text."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for. Raises Invalid, without the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < 24:
        raise Invalid("This is no signing secret.", "It is whsec_ and the base64 of 24 bytes or more.")
    return key


def signed(secrets_: tuple[str, ...], id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers of one request."""
    content = f"{id}.{at_s}.".encode() + body
    marks = [base64.b64encode(hmac.digest(key_of(one), content, hashlib.sha256)).decode() for one in secrets_]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }
