"""How does a client that is sent to another host come in there, without its credential going along?

By a ticket in the address that it is sent to: leave to make this one request, there, from its network, within a minute.

    ?entrepot-signature= base64url(msgpack [pass, signature of the pass, body, Ed25519 signature over MARK + body])
    body = msgpack [token id, expires_ms, method, host, sha256 of path and query, network, workspace, Serial]

Most tools drop their credential when they are sent to another host, and the others would hand a long-lived secret to
whatever is there. So no address carries one (THREATS C11, C12). The ticket is signed with the key that is derived from
the token's text (passes.py), which the client has just shown; where it showed a pass, with the pass's own key, and then
the signed part of the pass goes along, which is no pass without its key. Every node can check a ticket from its own
index, and none can make one for somebody who did not come. Revoking the token ends its tickets wherever the entry
arrives. Who reads one in a log of addresses can repeat one read, from the same network, USES_MAX times in a window and
no longer than a minute; where clients reach different nodes through different networks, they are answered where they
came first, since no ticket would be good.

The Serial is what the node knew that sent the client on: who is behind it waits (gateway/front/peers/seeing.py), so
that who just published finds it.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
from functools import lru_cache
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.access.credentials import passes
from gateway.access.names import is_slug
from gateway.access.rights.verdicts import (
    Knows,
    Principal,
    acting,
    check_network,
    living,
    principal_of,
    sees_workspace,
    token_of,
)
from gateway.access.tokens import signing_key
from gateway.delivery.messages.heads import Head
from storage.errors import Unauthenticated
from storage.nouns import Token

ARGUMENT = "entrepot-signature"
SECONDS_MAX = 60
USES_MAX = 8
TEXT_CHARS_MAX = 8 << 10
MARK = b"entrepot ticket 1\0"
METHODS = ("GET", "HEAD")
NETWORK_BITS = {4: 24, 6: 56}


class Follows(Knows, Protocol):
    """What of a Reading the making of a ticket needs."""

    def serial(self, ws: str) -> int: ...


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is signed."""

    token_id: str
    expires_ms: int
    method: str
    host: str
    what: bytes
    network: str
    workspace: str
    serial: int


class Ticket(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is sent. `via` is the signed part of the pass that was shown, b"" for none."""

    via: bytes
    via_signature: bytes
    body: bytes
    signature: bytes


def issue(reading: Follows, head: Head, workspace: str, authority: str, now_ms: int) -> str:
    """A ticket for this request in `workspace` at `authority` (host and port), "" where none can be given. `head` shows
    a credential that was found good."""
    network = network_of(head.peer)
    if not network or not head.secret or head.method not in METHODS:
        return ""
    via, via_signature, ends_ms = b"", b"", now_ms + SECONDS_MAX * 1000
    if passes.is_pass(head.secret):
        shown = passes.opened(head.secret)
        token_id, via, via_signature = shown.body.token_id, shown.raw, shown.signature
        ends_ms = min(ends_ms, shown.body.expires_ms)
        key = Ed25519PrivateKey.from_private_bytes(shown.seed)
    else:
        token, key = token_of(reading, head.secret, now_ms), signing_key(head.secret)
        token_id = token.id
        if not hmac.compare_digest(key.public_key().public_bytes_raw(), token.verify_key):
            return ""
    known = (workspace, reading.serial(workspace))
    body = msgspec.msgpack.encode(
        Body(token_id, ends_ms, head.method, authority.lower(), what_of(head), network, *known)
    )
    ticket = Ticket(via, via_signature, body, key.sign(MARK + body))
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(ticket)).decode().rstrip("=")


def holder(reading: Knows, text: str, head: Head, at_ms: int, now_ms: int) -> Principal:
    """The principal of a request that brings a ticket. Raises Unauthenticated."""
    ticket, body = _taken_apart(text)
    token, only = _signer(reading, ticket, body)
    _hold(body, head, at_ms)
    principal = acting(reading, principal_of(living(token, now_ms)))
    check_network(principal, head.peer)
    ends_ms = min(body.expires_ms, principal.expires_ms or body.expires_ms)
    name = hashlib.sha256(ticket.signature).hexdigest()[:32]
    return principal._replace(expires_ms=ends_ms, only=only, cidrs=(body.network,), ticket=name)


def known_when_sent(reading: Knows, head: Head) -> tuple[str, int] | None:
    """(Workspace, Serial) that was known where the ticket of this request was made; None = no good ticket.

    Whoever has a token can sign what he likes, so that he is heard of what he may know of alone: else he would learn by
    the waiting which Workspaces there are, and what their Serials are (B9)."""
    if head.secret or head.key or not head.query or not (text := head.argument(ARGUMENT)):
        return None
    try:
        ticket, body = _taken_apart(text)
        token, _ = _signer(reading, ticket, body)
        principal = acting(reading, principal_of(token))
    except Unauthenticated:
        return None
    may = not token.revoked_ms and is_slug(body.workspace) and sees_workspace(reading, principal, body.workspace)
    return (body.workspace, body.serial) if may else None


def _signer(reading: Knows, ticket: Ticket, body: Body) -> tuple[Token, frozenset[tuple[str, str]] | None]:
    """The token that the ticket was signed with, and what the pass was for that was shown, None = no pass. Raises
    Unauthenticated."""
    token = reading.token_by_id(body.token_id)
    public, only = b"", None
    if token is not None and token.verify_key and ticket.via:
        said = passes.vouched(ticket.via, ticket.via_signature, token)
        if said is not None and said.expires_ms >= body.expires_ms:
            public, only = said.public, passes.pairs_of(said)
    elif token is not None:
        public = token.verify_key
    if token is None or not public or not _signed(ticket.body, ticket.signature, public):
        raise Unauthenticated("This address was signed by nobody that is known here.", _BACK)
    return token, only


def _hold(body: Body, head: Head, at_ms: int) -> None:
    """Raises Unauthenticated where the ticket is for something else."""
    skew_ms = passes.SKEW_SECONDS_MAX * 1000
    if not at_ms - skew_ms < body.expires_ms <= at_ms + SECONDS_MAX * 1000 + skew_ms:
        raise Unauthenticated("This address was good for a minute, and that is over.", _BACK)
    here = (head.method, head.host.lower(), what_of(head), network_of(head.peer))
    if here != (body.method, body.host, body.what, body.network):
        raise Unauthenticated("This address was signed for another request.", _BACK)


_BACK = "Ask again where you were sent from."


def what_of(head: Head) -> bytes:
    """The sha256 of what is asked for: names and arguments as they mean, so that a client may write them in another
    way, and without the ticket itself."""
    query = tuple(pair for pair in head.query if pair[0] != ARGUMENT)
    return hashlib.sha256(msgspec.msgpack.encode((head.segments, query))).digest()


def network_of(peer: str) -> str:
    """The network of a client: what of its address stays the same from one connection to the next. "" = not known."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, NETWORK_BITS[address.version]), strict=False))


def _taken_apart(text: str) -> tuple[Ticket, Body]:
    malformed = Unauthenticated("This address is not signed as this registry signs.", _BACK)
    if len(text) > TEXT_CHARS_MAX:
        raise malformed
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        ticket = msgspec.msgpack.decode(raw, type=Ticket)
        return ticket, msgspec.msgpack.decode(ticket.body, type=Body)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise malformed from None


@lru_cache(maxsize=1024)
def _signed(raw: bytes, signature: bytes, public: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, MARK + raw)
    except (InvalidSignature, ValueError):
        return False
    return True
