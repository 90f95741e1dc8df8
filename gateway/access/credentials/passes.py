"""What does a client get that insists on fetching a token of its own before each thing it does?

A pass: a short-lived credential for some resources, bound to the Token that it was fetched with.

    entp_ + base64url(body) + "." + base64url(Ed25519 signature over MARK + body) + "." + base64url(seed)
    body = msgpack [token id, expires_ms, ((resource, actions), ...), public key of the seed's Ed25519 key]

The key is derived from the token's text, which the client presents when it fetches the pass and which no node keeps.
Its public half stands in the Token's record, so every node, origin or edge, can check a pass from its own index and
none can make one for somebody whose text it has not just been shown: a stolen journal, backup or edge gives no pass.
A pass says less than its token: the rights are those that the token has at the moment of use, and of these only what
the pass names. When the token is revoked or expires, so are all its passes, wherever the entry arrives. Nothing is
kept of a pass, and it is no token: the API and the other formats do not know it. Its seed is for making tickets
(tickets.py) for who shows it.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.access.rights.verdicts import ANONYMOUS, Knows, Principal, acting, living, principal_of
from gateway.access.tokens import signing_key
from storage.errors import Unauthenticated
from storage.nouns import Token

PREFIX = "entp_"
ANONYMOUS_PASS = PREFIX + "anonymous"
"""What who shows no token gets: it is worth exactly as much as showing nothing, and says so."""

PASS_SECONDS_MAX = 300
SKEW_SECONDS_MAX = 30
"""By how much two nodes' clocks may disagree."""

PASS_CHARS_MAX = 6 << 10
SCOPES_MAX = 32
MARK = b"entrepot pass 1\0"


class Scope(NamedTuple):
    """One resource and what may be done with it."""

    resource: str
    actions: tuple[str, ...]


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is signed."""

    token_id: str
    expires_ms: int
    scopes: tuple[Scope, ...]
    public: bytes


class Shown(NamedTuple):
    """A pass taken apart: what is signed, as sent, the signature, and the seed of its own key."""

    body: Body
    raw: bytes
    signature: bytes
    seed: bytes


def is_pass(secret: str) -> bool:
    return secret.startswith(PREFIX)


def issue(text: str, token: Token, scopes: Iterable[Scope], now_ms: int) -> tuple[str, int]:
    """A pass for the holder of `token`, whose text is shown, and the seconds that it is good for.

    Raises Unauthenticated for a token that was made before there were passes.
    """
    key = signing_key(text)
    if not hmac.compare_digest(key.public_key().public_bytes_raw(), token.verify_key):
        raise Unauthenticated(
            "This token is older than the passes that this client needs.", "Make a new one: entrepot token create."
        )
    seconds = PASS_SECONDS_MAX
    if token.expires_ms:
        seconds = max(1, min(seconds, (token.expires_ms - now_ms) // 1000))
    own = Ed25519PrivateKey.generate()
    public, seed = own.public_key().public_bytes_raw(), own.private_bytes_raw()
    body = msgspec.msgpack.encode(Body(token.id, now_ms + seconds * 1000, tuple(scopes), public))
    return f"{PREFIX}{_text(body)}.{_text(key.sign(MARK + body))}.{_text(seed)}", seconds


def holder(reading: Knows, secret: str, at_ms: int, now_ms: int) -> Principal:
    """The principal of a pass, narrowed to what the pass names. Raises Unauthenticated.

    The pass must be good at `at_ms`, when the request began; its token must be good at `now_ms`. So an upload may take
    longer than a pass lives, and no longer than its token does.
    """
    if secret == ANONYMOUS_PASS:
        return ANONYMOUS
    body, raw, signature, seed = opened(secret)
    token = reading.token_by_id(body.token_id)
    if token is None or vouched(raw, signature, token) is None or not _belongs(seed, body.public):
        raise Unauthenticated("This pass is not known here.", "Fetch a new one.")
    if not at_ms - SKEW_SECONDS_MAX * 1000 < body.expires_ms <= at_ms + (PASS_SECONDS_MAX + SKEW_SECONDS_MAX) * 1000:
        raise Unauthenticated("This pass has expired.", "Fetch a new one.")
    principal = acting(reading, principal_of(living(token, now_ms)))
    ends_ms = min(body.expires_ms, principal.expires_ms or body.expires_ms)
    return principal._replace(expires_ms=ends_ms, only=pairs_of(body))


def vouched(raw: bytes, signature: bytes, token: Token) -> Body | None:
    """What a pass says, if it was signed for this token; whether it is still good is the caller's to say."""
    if not token.verify_key or not _signed(raw, signature, token.verify_key):
        return None
    try:
        body = msgspec.msgpack.decode(raw, type=Body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return body if body.token_id == token.id else None


def pairs_of(body: Body) -> frozenset[tuple[str, str]]:
    """(resource, right) of all that the pass names."""
    return frozenset(_pairs(body))


def _pairs(body: Body) -> Iterable[tuple[str, str]]:
    for resource, actions in body.scopes:
        for action in actions:
            for right in ("read", "write") if action == "*" else (RIGHT_OF[action],) if action in RIGHT_OF else ():
                yield resource, right


RIGHT_OF = {"pull": "read", "push": "write", "delete": "write"}


def opened(secret: str) -> Shown:
    """The parts of a pass, unjudged. Raises Unauthenticated for what cannot be one."""
    malformed = Unauthenticated("This is not a pass of this registry.", "Fetch a new one.")
    parts = secret[len(PREFIX) :].split(".")
    if len(secret) > PASS_CHARS_MAX or len(parts) != 3:
        raise malformed
    try:
        raw, signature, seed = (_bytes(part) for part in parts)
        return Shown(msgspec.msgpack.decode(raw, type=Body), raw, signature, seed)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise malformed from None


@lru_cache(maxsize=4096)
def _belongs(seed: bytes, public: bytes) -> bool:
    """Without its seed a pass is what a ticket carries, and none."""
    try:
        own = Ed25519PrivateKey.from_private_bytes(seed)
    except ValueError:
        return False
    return hmac.compare_digest(own.public_key().public_bytes_raw(), public)


@lru_cache(maxsize=4096)
def _signed(raw: bytes, signature: bytes, public: bytes) -> bool:
    """Pure, and asked with every request of a pull: remembered."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, MARK + raw)
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
