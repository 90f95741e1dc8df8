"""Which part of its origin's history may an edge see? Pure: an Entry in, what the edge may know of it out.

Of a Workspace that an edge is given it sees every entry, byte for byte; of another one nothing, not even the name
(THREATS F5). The SYSTEM journal concerns all, so of its entries an edge is told the hash and what is its business: its
own workspaces, the accounts that belong to them, the tokens that reach them (their other grants left out), itself, and,
where others follow through it, the edges of its region. The chain of hashes stays whole.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec

from storage.nouns import (
    SYSTEM,
    Account,
    AnyChange,
    DropHost,
    DropWorkspace,
    Edge,
    Entry,
    Grant,
    Host,
    PutAccount,
    PutEdge,
    PutHost,
    PutToken,
    PutWorkspace,
    Token,
    Workspace,
)

EVERYWHERE = "*"
NOWHERE = SYSTEM
"""In the place of a workspace that may not be named: no Workspace has this name."""
SCOPE_BYTES = 32


class Knows(Protocol):
    """What of a Reading a snapshot needs."""

    def every_workspace(self) -> list[Workspace]: ...
    def every_account(self) -> list[Account]: ...
    def tokens(self) -> Iterable[Token]: ...
    def edges(self) -> list[Edge]: ...
    def hosts(self) -> list[Host]: ...
    def heads(self) -> dict[str, tuple[int, bytes]]: ...


class Scope(NamedTuple):
    """What one edge may see. `workspaces` None = all, `accounts` are those that are members of them. `name` is its own,
    `region` that of a shield, else ""."""

    name: str = ""
    region: str = ""
    workspaces: frozenset[str] | None = None
    accounts: frozenset[str] = frozenset()

    @property
    def mark(self) -> bytes:
        """32 bytes that tell this scope from every other; b"" where everything is seen."""
        if self.workspaces is None:
            return b""
        parts = (self.name, self.region, *sorted(self.workspaces), "", *sorted(self.accounts))
        return hashlib.sha256("\0".join(parts).encode()).digest()

    def allows(self, workspace: str) -> bool:
        """May the journal of this Workspace be seen? That of SYSTEM may, as far as `seen` leaves it."""
        return self.workspaces is None or workspace == SYSTEM or workspace in self.workspaces

    def knows(self, token: Token) -> bool:
        """May this Token be known, if not all of it?"""
        return self.workspaces is None or self._token(token) is not None

    def seen(self, entry: Entry) -> Entry:
        """What may be seen of an entry of the SYSTEM journal."""
        if self.workspaces is None:
            return entry
        changes = self._changes(entry.changes)
        actor, action = (entry.actor, entry.action) if changes else ("", "")
        # the words that were given for it, and the names of people, are the audit's at the origin
        hidden = msgspec.structs.replace(
            entry, actor=actor, action=action, reason="", actor_name="", once=None, trace=""
        )
        return msgspec.structs.replace(hidden, changes=changes)

    def snapshot(self, reading: Knows, epoch: int) -> tuple[bytes, bytes]:
        """(hash, body) of an Entry with all that may be seen of the SYSTEM journal now."""
        serial, hash = reading.heads().get(SYSTEM, (0, bytes(32)))
        made: list[AnyChange] = [PutWorkspace(one) for one in reading.every_workspace()]
        made += [PutAccount(one) for one in reading.every_account()]
        made += [PutToken(one) for one in reading.tokens()]
        made += [PutEdge(one) for one in reading.edges()]
        made += [PutHost(one) for one in reading.hosts()]
        entry = Entry(epoch, SYSTEM, serial, bytes(32), 0, "", "", "", self._changes(made))
        return hash, msgspec.msgpack.encode(entry)

    def _changes(self, changes: Iterable[AnyChange]) -> tuple[AnyChange, ...]:
        if self.workspaces is None:
            return tuple(changes)
        return tuple(found for one in changes if (found := self._change(one)) is not None)

    def _change(self, change: AnyChange) -> AnyChange | None:
        match change:
            case PutWorkspace(workspace):
                return change if self.allows(workspace.name) else None
            case DropWorkspace(name):
                return change if self.allows(name) else None
            case PutAccount(account):
                known = account.id in self.accounts or (account.workspace and self.allows(account.workspace))
                return PutAccount(_known_by_name(account)) if known else None
            case PutToken(token):
                return self._token(token)
            case PutEdge(edge):
                mine = edge.name == self.name or (self.region and edge.region == self.region)
                return PutEdge(self._edge(edge)) if mine else None
            case PutHost(Host(_, scope)) | DropHost(_, scope):
                return change if not scope or self.allows(scope.partition("/")[0]) else None
        return None

    def _token(self, token: Token) -> PutToken | None:
        """A token with the grants that concern this edge. One that was limited never comes out without a limit: an
        owner's token without any grant is good for all that its owner may do."""
        token = _bare(token)
        if token.owner and not token.grants:
            return PutToken(token) if token.owner in self.accounts else None
        grants = tuple(one for one in map(self._grant, token.grants) if one is not None)
        return PutToken(msgspec.structs.replace(token, grants=grants)) if any(not one.deny for one in grants) else None

    def _grant(self, grant: Grant) -> Grant | None:
        if grant.scope == EVERYWHERE or self.allows(grant.scope.partition("/")[0]):
            return grant
        return msgspec.structs.replace(grant, scope=NOWHERE) if grant.deny else None

    def _edge(self, edge: Edge) -> Edge:
        """Another edge as this one may know it: only what both may see, and no code."""
        names = tuple(one for one in edge.workspaces if one == EVERYWHERE or self.allows(one))
        return msgspec.structs.replace(edge, workspaces=names, code=b"", code_expires_ms=0)


def _bare(token: Token) -> Token:
    """Of a session without what it says of its person's program: the origin alone lists sessions."""
    if token.sign_in is None:
        return token
    return msgspec.structs.replace(token, name="", sign_in=msgspec.structs.replace(token.sign_in, method="", agent=""))


def _known_by_name(account: Account) -> Account:
    """Who it is, and nothing by which it signs in: that is the origin's business. Its passkeys can be told of."""
    passkeys = tuple(msgspec.structs.replace(one, credential=b"", key=b"", count=0) for one in account.passkeys)
    return msgspec.structs.replace(
        account,
        email="",
        facts="",
        subject="",
        password_ms=0,
        device_ms=0,
        recovery_ms=0,
        link=b"",
        link_ms=0,
        passkeys=passkeys,
    )
