"""Which edge asks, and what may it see? The one answer for the journal, for bytes and for every question of a peer.

An edge is known by the public key of its certificate, or, where it has none, by a token of kind `edge`. Either way it
is a Principal whose grants let it read the workspaces that it was given. No grant of it lets it write: what its clients
write is judged by their own credential.
"""

import base64
import hashlib
import secrets
import string

from cache.following.scope import Scope
from gateway.access.rights.grants import EVERYWHERE
from gateway.access.rights.verdicts import Principal, on_node
from storage.errors import Absent, Unauthenticated
from storage.index import keys
from storage.index.catalog import Reading
from storage.nouns import Edge, Grant

KIND = "edge"
CODE_PREFIX = "enr_"
CODE_CHARS = 32
CHILD = "entrepot-for"
"""Set by a shield: the edge that follows through it."""
_ID_PREFIX = "edge:"
_LETTERS = string.digits + string.ascii_letters


def living_edge(reading: Reading, key: bytes) -> Edge:
    """The Edge whose certificate this is. Raises Unauthenticated for one that is unknown or revoked."""
    edge = reading.edge_by_key(key)
    if edge is None:
        raise Unauthenticated("This edge is not known here.", "Invite it with: entrepot edge invite.")
    if edge.revoked_ms:
        raise Unauthenticated("This edge was revoked.", "Invite it anew: entrepot edge invite.")
    return edge


def principal_of(edge: Edge) -> Principal:
    """Reads what it was given, and nothing else."""
    grants = tuple(Grant(name) for name in edge.workspaces)
    return Principal(_ID_PREFIX + edge.name, edge.name, KIND, grants)


def named_by(principal: str) -> str | None:
    """The name of the Edge whose Principal has this id, None for anybody else's."""
    return principal.removeprefix(_ID_PREFIX) if principal.startswith(_ID_PREFIX) else None


def is_living(edge: Edge) -> bool:
    """Has it enrolled, and was it not revoked?"""
    return bool(edge.key) and not edge.revoked_ms


def workspaces_of(edge: Edge) -> frozenset[str] | None:
    """Those that an edge may see, None = all."""
    return None if EVERYWHERE in edge.workspaces else frozenset(edge.workspaces)


def sees(edge: Edge, workspace: str) -> bool:
    """May an edge know of this workspace?"""
    return EVERYWHERE in edge.workspaces or workspace in edge.workspaces


def workspaces_of_token(principal: Principal) -> frozenset[str] | None:
    """The same for who has a token: of kind `edge`, or an administrator of the node. Raises Absent for others."""
    if on_node(principal, "admin") or (principal.kind == KIND and on_node(principal, "read")):
        return None
    if principal.kind != KIND:
        raise Absent("There is nothing at this address.")
    return frozenset(one.scope for one in principal.grants if "/" not in one.scope and not one.deny)


class Scoping:
    """The scope of one follower, made anew when something that it rests on has moved."""

    def __init__(self) -> None:
        self._key: object = None
        self._scope = Scope()

    def of(self, reading: Reading, name: str, region: str, workspaces: frozenset[str] | None) -> Scope:
        """What who is given these workspaces may see now: of one that was deleted nothing, and it forgets that."""
        if workspaces is None:
            return Scope(name, region)
        workspaces = frozenset(one for one in workspaces if reading.ended(one) is None)
        moved = tuple(reading.label(keys.label_access(one)) for one in sorted(workspaces))
        key = (name, region, workspaces, moved)
        if key != self._key:
            accounts = frozenset(one.account for ws in workspaces for one in reading.memberships(ws))
            self._key, self._scope = key, Scope(name, region, workspaces, accounts)
        return self._scope


# ---------------------------------------------------------------- codes


def mint_code(fingerprint: str) -> tuple[str, bytes]:
    """A one-time code, to be shown once, and the hash to store. It names the authority that the edge will believe."""
    body = CODE_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(CODE_CHARS))
    return f"{body}.{fingerprint}", code_hash(body)


def parse_code(code: str) -> tuple[str, str] | None:
    """(what the origin is shown, the fingerprint of its authority); None for what is no code."""
    body, dot, fingerprint = code.strip().partition(".")
    right = body.startswith(CODE_PREFIX) and len(body) == len(CODE_PREFIX) + CODE_CHARS and bool(dot)
    try:
        right = right and len(base64.urlsafe_b64decode(fingerprint + "=")) == hashlib.sha256().digest_size
    except ValueError:
        right = False
    return (body, fingerprint) if right else None


def code_hash(body: str) -> bytes:
    """The 32 bytes under which a code is stored. 190 random bits need no slow hash."""
    return hashlib.sha256(body.encode("utf-8", "surrogateescape")).digest()
