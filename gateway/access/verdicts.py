"""May this principal do that, there? The one answer for packages, the API, origin and edge.

A Grant has a scope ("*", a Workspace, or "workspace/repository") and rights. Admin holds read and write within it;
write alone does not hold read. Public repositories can be read by everybody, written by nobody without a grant.

What is told is as much a part of the verdict as yes and no:

    principal       repository                       told
    anonymous       private, or there is none        Unauthenticated: a token may help, whichever it is
    anonymous       public, for a write              Unauthenticated
    a token         none, or private without grant   Absent, byte for byte the same
    a token         known to it, right missing       Forbidden

A grant on one Repository that is older than the Repository was given to a predecessor of the same name, which is
gone, and does not count. Nothing here is remembered between calls: a grant is derived from the Token each time.
"""

import hmac
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from gateway.access.names import is_slug
from gateway.access.tokens import TEXT_CHARS, hash_of, well_formed
from storage.errors import Absent, Forbidden, Unauthenticated
from storage.nouns import Grant, Repository, Token, Workspace

EVERYWHERE = "*"
RIGHTS = ("read", "write", "admin")


class Knows(Protocol):
    """What of a Reading an access decision needs."""

    def token(self, sha256: bytes) -> Token | None: ...
    def token_by_id(self, id: str) -> Token | None: ...
    def workspace(self, name: str) -> Workspace | None: ...
    def repository(self, ws: str, name: str) -> Repository | None: ...
    def repositories(self, ws: str = "") -> list[Repository]: ...


class Principal(NamedTuple):
    """Who is asking. `id` is "" for the anonymous. `since_ms` is when its grants were given. `only`: the (resource,
    right) pairs that its credential is for, None = whatever its grants allow (see passes)."""

    id: str
    name: str
    kind: str
    grants: tuple[Grant, ...]
    expires_ms: int = 0
    since_ms: int = 0
    only: frozenset[tuple[str, str]] | None = None


ANONYMOUS = Principal("", "anonymous", "anonymous", ())


class Rights(NamedTuple):
    """What a principal's grants allow somewhere, public access left out."""

    read: bool
    write: bool
    admin: bool

    def has(self, right: str) -> bool:
        """Raises ValueError for what is no right."""
        return self[RIGHTS.index(right)]


NONE = Rights(False, False, False)


def identify(reading: Knows, secret: str | None, now_ms: int) -> Principal:
    """The principal behind a credential; ANONYMOUS without one. Raises Unauthenticated for one that is no good."""
    if not secret:
        return ANONYMOUS
    return principal_of(token_of(reading, secret, now_ms))


def token_of(reading: Knows, secret: str, now_ms: int) -> Token:
    """The living Token whose text this is. Raises Unauthenticated."""
    digest = hash_of(secret)
    token = reading.token(digest) if len(secret) == TEXT_CHARS else None
    if token is None and not well_formed(secret):
        raise Unauthenticated("This is not a token of this registry.", "Was it copied whole? It is ent_ and 38 more.")
    if token is None or not hmac.compare_digest(token.sha256, digest):
        raise Unauthenticated("This token is not known here.", "Create one with: entrepot token create.")
    return living(token, now_ms)


def living(token: Token, now_ms: int) -> Token:
    """`token`, if it may be used. Raises Unauthenticated."""
    if token.revoked_ms:
        raise Unauthenticated("This token was revoked.", "Ask for a new one.")
    if token.expires_ms and token.expires_ms <= now_ms:
        raise Unauthenticated("This token has expired.", "Ask for a new one.")
    return token


def principal_of(token: Token) -> Principal:
    """The principal that a living Token stands for."""
    return Principal(token.id, token.name, token.kind, token.grants, token.expires_ms, token.at_ms)


def judge(reading: Knows, principal: Principal, ws: str, repo_name: str, right: str) -> Repository:
    """The Repository, if `principal` has `right` ("read", "write", "admin") on it.

    Raises Unauthenticated, Absent or Forbidden as the table above says.
    """
    repository = find_repository(reading, ws, repo_name)
    rights = rights_on(principal, ws, repo_name, repository)
    if repository is not None and (rights.has(right) or (right == "read" and repository.public)):
        return repository
    if not principal.id:
        raise needs_token()
    if repository is None or (rights == NONE and not repository.public):
        raise no_repository()
    raise not_allowed(right, "repository")


def judge_workspace(reading: Knows, principal: Principal, ws: str, right: str) -> Workspace:
    """The Workspace: "read" = may know of it (a grant within it, or something public in it), "admin" = may run it."""
    workspace = reading.workspace(ws) if is_slug(ws) else None
    known = workspace is not None and sees_workspace(reading, principal, ws)
    if workspace is not None and (known if right == "read" else rights_on_workspace(principal, ws).has(right)):
        return workspace
    if not principal.id:
        raise needs_token()
    if not known:
        raise no_workspace()
    raise not_allowed(right, "workspace")


def judge_node(principal: Principal, right: str) -> None:
    """Does `principal` have `right` on everything? Raises Unauthenticated, Forbidden."""
    if not principal.id:
        raise needs_token()
    if not _rights(grant for grant in principal.grants if grant.scope == EVERYWHERE).has(right):
        raise not_allowed(right, "node")


def rights_on(principal: Principal, ws: str, repo_name: str, repository: Repository | None) -> Rights:
    """What the grants of `principal` allow on a Repository; `repository` is None where there is none."""
    here = f"{ws}/{repo_name}"
    return _rights(
        grant
        for grant in principal.grants
        if grant.scope in (EVERYWHERE, ws)
        or (grant.scope == here and (repository is None or repository.at_ms <= principal.since_ms))
    )


def rights_on_workspace(principal: Principal, ws: str) -> Rights:
    """What the grants of `principal` allow on all of a Workspace."""
    return _rights(grant for grant in principal.grants if grant.scope in (EVERYWHERE, ws))


def sees(principal: Principal, repository: Repository) -> bool:
    """May `principal` know that this Repository is there?"""
    if repository.public:
        return True
    return rights_on(principal, repository.workspace, repository.name, repository) != NONE


def sees_workspace(reading: Knows, principal: Principal, ws: str) -> bool:
    """May `principal` know that this Workspace is there?"""
    if rights_on_workspace(principal, ws) != NONE:
        return True
    return any(sees(principal, repository) for repository in reading.repositories(ws))


def covers(reading: Knows, principal: Principal, scope: str) -> bool:
    """Is `principal` an admin over all of `scope`? Only then may it give rights there, all of which it has itself."""
    ws, slash, repo_name = scope.partition("/")
    if scope == EVERYWHERE:
        return any(grant.admin and grant.scope == EVERYWHERE for grant in principal.grants)
    if not slash:
        return rights_on_workspace(principal, ws).admin
    return rights_on(principal, ws, repo_name, find_repository(reading, ws, repo_name)).admin


def controls(reading: Knows, principal: Principal, token: Token) -> bool:
    """May `principal` see and revoke this Token: its own, or one whose every scope it is admin of."""
    if not principal.id:
        return False
    if principal.id == token.id:
        return True
    return bool(token.grants) and all(covers(reading, principal, grant.scope) for grant in token.grants)


def find_repository(reading: Knows, ws: str, repo_name: str) -> Repository | None:
    """The Repository under these names, None also for what can be no name."""
    return reading.repository(ws, repo_name) if is_slug(ws) and is_slug(repo_name) else None


def _rights(grants: Iterable[Grant]) -> Rights:
    read = write = admin = False
    for grant in grants:
        admin = admin or grant.admin
        write = write or grant.write or grant.admin
        read = read or grant.read or grant.admin
    return Rights(read, write, admin)


# ---------------------------------------------------------------- the sentences; none may name what was asked for


def needs_token() -> Unauthenticated:
    return Unauthenticated("This needs a token.", "Send one as Bearer, or as the password of Basic with any user name.")


def no_repository() -> Absent:
    return Absent("There is no such repository, or this token may not know of it.")


def no_workspace() -> Absent:
    return Absent("There is no such workspace, or this token may not know of it.")


def not_allowed(right: str, where: str) -> Forbidden:
    return Forbidden(f"This token has no {right} right on this {where}.", f"Use a token with the {right} right.")
