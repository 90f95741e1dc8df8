"""May this principal do that, there? The one answer for packages, the API, origin and edge.

What a principal may do follows from rules (rules.py) by `grants.decide`. Here is which of them bind whom, and what is
told, which is as much a part of the verdict as yes and no:

    principal       repository                       told
    anonymous       private, or there is none        Unauthenticated: a token may help, whichever it is
    anonymous       public, for a write              Unauthenticated
    a token         none, or private without grant   Absent, byte for byte the same
    a token         known to it, right missing       Forbidden

Public repositories can be read by everybody, written by nobody without a grant. A rule on one Repository that is older
than the Repository was given to a predecessor of the same name, which is gone, and does not count. Nothing here is
remembered beyond the moment of the catalog that it was derived from, so who was told of a change never meets what was
before it.
"""

import hmac
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from gateway.access.names import is_slug
from gateway.access.rights.grants import (
    ACTIONS,
    ACTIONS_OF,
    AUDIT,
    CREATE,
    DELETE,
    EVERYTHING,
    EVERYWHERE,
    MANAGE,
    NOTHING,
    OWN,
    PEOPLE,
    PUBLISH,
    READ,
    STATISTICS,
    TAG,
    Rule,
    Verdict,
    What,
    decide,
    narrowed,
    plain_actions,
    possible,
    whole,
)
from gateway.access.rights.rules import Given, account_rules, own_rules
from gateway.access.tokens import TEXT_CHARS, hash_of, well_formed
from gateway.delivery.connections.addresses import address_of, network_of
from storage.errors import NOTHING_SHOWN, Absent, Forbidden, Problem, Unauthenticated
from storage.index.outlines import NONE, Outline
from storage.nouns import Entitlement, Grant, Provider, Repository, Token, Vouched, Workspace


class Knows(Given, Protocol):
    """What of a Reading an access decision needs."""

    def token(self, sha256: bytes) -> Token | None: ...
    def token_by_id(self, id: str) -> Token | None: ...
    def workspace(self, name: str) -> Workspace | None: ...
    def repository(self, ws: str, name: str) -> Repository | None: ...
    def repositories(self, ws: str = "") -> list[Repository]: ...
    def outline(self, ws: str, name: str) -> Outline: ...
    def publics(self, ws: str) -> int: ...


class Principal(NamedTuple):
    """Who is asking. `id` is "" for the anonymous. `since_ms` is when its grants were given. `only`: the (resource,
    right) pairs that its credential is for, None = whatever its grants allow (see passes). `owner` is the Account that
    it acts for, "" = none: then its grants are all that it has. `requests_max`: see rates; 0 = no limit of its own.
    `cidrs` and `entitlement` are its Token's. `provider` is what vouched for who it is, "" = nothing had to, and
    `trust` what that had then; `vouched` who let its person in. `ticket` names the ticket that it came with, "" = none;
    then `cidrs` are its."""

    id: str
    name: str
    kind: str
    grants: tuple[Grant, ...]
    expires_ms: int = 0
    since_ms: int = 0
    only: frozenset[tuple[str, str]] | None = None
    owner: str = ""
    requests_max: int = 0
    cidrs: tuple[str, ...] = ()
    entitlement: Entitlement | None = None
    provider: str = ""
    ticket: str = ""
    trust: int = 0
    vouched: Vouched | None = None

    @property
    def must_pay(self) -> bool:
        """Is each download counted?"""
        limits = self.entitlement
        return limits is not None and bool(limits.downloads_max or limits.bytes_max or limits.clients_max)


ANONYMOUS = Principal("", "anonymous", "anonymous", ())


class Standing(NamedTuple):
    """What binds a principal in one Workspace: sets of rules, each of which must allow."""

    sets: tuple[tuple[Rule, ...], ...]

    def decide(self, what: What, repository_ms: int = 0) -> Verdict:
        """Whether, and by which rule: the one of the first set that refuses, else of the first set."""
        verdicts = [decide(rules, what, repository_ms) for rules in self.sets]
        return next((one for one in verdicts if not one.allowed), verdicts[0] if verdicts else NOTHING)

    def possible(self, what: What, repository_ms: int = 0) -> bool:
        return bool(self.sets) and all(possible(rules, what, repository_ms) for rules in self.sets)

    def whole(self, what: What, repository_ms: int = 0) -> bool:
        return bool(self.sets) and all(whole(rules, what, repository_ms) for rules in self.sets)


class Clearance(NamedTuple):
    """That a principal may go on: into which Repository, as what, and whether that holds for each package there."""

    repository: Repository
    standing: Standing
    whole: bool


def identify(reading: Knows, secret: str | None, now_ms: int) -> Principal:
    """The principal behind a credential; ANONYMOUS without one. Raises Unauthenticated for one that is no good."""
    if not secret:
        return ANONYMOUS
    return acting(reading, principal_of(token_of(reading, secret, now_ms)))


def acting(reading: Knows, principal: Principal) -> Principal:
    """`principal`, unless it acts for an Account that was closed, or deactivated by its identity provider since the
    Token was made, or the provider is gone that let its person in to make it: then it is nobody any more (C6). Raises
    Unauthenticated."""
    if not principal.owner:
        return principal
    account = reading.account(principal.owner)
    if account is None:  # an edge is not told of those who have no rights in what it may see
        return principal
    gone = bool(account.closed_ms)
    if account.kind == "managed" and not gone:
        membership = reading.membership(account.workspace, account.id)
        gone = membership is None or principal.since_ms < membership.since_ms
    if gone:
        raise Unauthenticated("The account of this token was closed or deactivated.", "Sign in again, or ask for it.")
    if not still_vouched(reading, principal.vouched):
        raise Unauthenticated("The identity provider behind this token is not believed any more.", "Sign in again.")
    return principal


def token_of(reading: Knows, secret: str, now_ms: int) -> Token:
    """The living Token whose text this is. Raises Unauthenticated."""
    digest = hash_of(secret)
    at = (token_of, digest)
    token: Token | None = reading.recall(at)
    if token is None and len(secret) == TEXT_CHARS and (token := reading.token(digest)) is not None:
        reading.remember(at, token)
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
    if token.entitlement is not None and token.entitlement.from_ms > now_ms:
        raise Unauthenticated("This token is not good yet.", "Ask whoever gave it to you from when on it is.")
    return token


def check_network(principal: Principal, peer: str) -> None:
    """Raises Unauthenticated where the token cannot be used from the address `peer`, "" = not known."""
    if not principal.cidrs:
        return
    address = address_of(peer)
    if address is None or not any(address in network_of(one) for one in principal.cidrs):
        raise Unauthenticated("This token cannot be used from this network.", "Ask whoever gave it to you.")


def principal_of(token: Token) -> Principal:
    """The principal that a living Token stands for."""
    return Principal(
        token.id,
        token.name,
        token.kind,
        token.grants,
        token.expires_ms,
        token.at_ms,
        owner=token.owner,
        requests_max=token.requests_max,
        cidrs=token.cidrs,
        entitlement=token.entitlement,
        provider=token.exchange.provider if token.exchange is not None else "",
        trust=token.exchange.trust if token.exchange is not None else 0,
        vouched=vouched_by(token),
    )


def vouched_by(token: Token) -> Vouched | None:
    """Who let its person in, if it is a session that a Provider vouched for, or was made in one."""
    sign_in = token.sign_in
    if sign_in is not None and sign_in.provider:
        return Vouched(sign_in.provider, sign_in.workspace, sign_in.trust)
    return token.vouched


def standing(reading: Knows, principal: Principal, ws: str) -> Standing:
    """What binds `principal` in a Workspace."""
    own = own_rules(reading, principal.grants, principal.since_ms, principal.name)
    if not principal.owner:
        return Standing((own,))
    if not vouched(reading, principal, ws):
        return Standing(())
    theirs = account_rules(reading, principal.owner, ws)
    return Standing((theirs, own) if own else (theirs,))


def vouched(reading: Knows, principal: Principal, ws: str) -> bool:
    """Is the Provider still believed that said who this is, if one had to, and was the Token not closed with an earlier
    membership? Else it has no rights."""
    if principal.provider and not believed(reading.provider(ws, principal.provider), principal.trust):
        return False
    if not still_vouched(reading, principal.vouched):
        return False
    membership = reading.membership(ws, principal.owner)
    return membership is None or membership.since_ms <= principal.since_ms


def still_vouched(reading: Knows, vouched: Vouched | None) -> bool:
    """Is the Provider believed as it was when it let somebody in, if one did?"""
    return vouched is None or believed(reading.provider(vouched.workspace, vouched.provider), vouched.trust)


def believed(provider: Provider | None, trust: int) -> bool:
    """Does what was said by this Provider count, when its `trust` was this?"""
    return provider is not None and not provider.disabled_ms and provider.trust == trust


def admit(reading: Knows, principal: Principal, ws: str, repo_name: str, right: str, format: str = "") -> Clearance:
    """Clearance to use a `right` ("read", "write", "admin") on some package of a Repository, if on none other.

    Raises Unauthenticated, Absent or Forbidden as the table above says.
    """
    found = outlined(reading, ws, repo_name)
    stands = standing(reading, principal, ws)
    wanted = [What(action, ws, repo_name, format) for action in _WANTED[right]]
    if right == "read" and found.public:
        return Clearance(_row(reading, ws, repo_name), stands, True)
    may = any(stands.possible(what, found.at_ms) for what in wanted)
    if may and found.exists:
        whole = all(stands.whole(what, found.at_ms) for what in wanted)
        return Clearance(_row(reading, ws, repo_name), stands, whole)
    raise _refusal(principal, stands, found, ws, repo_name, right)


def _refusal(principal: Principal, stands: Standing, found: Outline, ws: str, repo_name: str, what: str) -> Problem:
    """What is told instead. The steps are the same for a Repository that is not there, so that how long they take tells
    nothing either (B9)."""
    if not principal.id:
        return needs_token()
    known = _knows(stands, ws, repo_name, found.at_ms)
    return not_allowed(what, "repository") if found.exists and (found.public or known) else no_repository()


def outlined(reading: Knows, ws: str, repo_name: str) -> Outline:
    """Whether a Repository is there, public, and since when; also for what can be no name. All that a verdict looks at
    until it is known that something may be told."""
    return reading.outline(ws, repo_name) if is_slug(ws) and is_slug(repo_name) else NONE


def _row(reading: Knows, ws: str, repo_name: str) -> Repository:
    repository = reading.repository(ws, repo_name)
    assert repository is not None, "what has an outline is there"
    return repository


_WANTED: dict[str, tuple[str, ...]] = {"read": (READ,), "write": (PUBLISH, TAG, DELETE), "admin": (MANAGE,)}


def judge(reading: Knows, principal: Principal, ws: str, repo_name: str, right: str) -> Repository:
    """The Repository, if `principal` has `right` on it, be it for some packages only; see `admit`."""
    return admit(reading, principal, ws, repo_name, right).repository


def judge_action(reading: Knows, principal: Principal, ws: str, repo_name: str, action: str) -> Repository:
    """The Repository, if `principal` may do `action` to all of it. Raises as `admit` does."""
    found = outlined(reading, ws, repo_name)
    stands = standing(reading, principal, ws)
    if stands.whole(What(action, ws, repo_name), found.at_ms) and found.exists:
        return _row(reading, ws, repo_name)
    raise _refusal(principal, stands, found, ws, repo_name, action)


def judge_workspace(reading: Knows, principal: Principal, ws: str, action: str) -> Workspace:
    """The Workspace: "read" = may know of it (a member, a rule within it, or something public in it), else `action` on
    all of it, where "admin" stands for managing it. It is read for those alone who may know of it (B9)."""
    known = is_slug(ws) and sees_workspace(reading, principal, ws)
    wanted = What(MANAGE if action == "admin" else action, ws)
    may = known if action == "read" else standing(reading, principal, ws).whole(wanted)
    workspace = reading.workspace(ws) if is_slug(ws) and (known or may) else None
    if may and workspace is not None:
        return workspace
    if not principal.id:
        raise needs_token()
    if not known or workspace is None:
        raise no_workspace()
    raise not_allowed(action, "workspace")


def judge_node(principal: Principal, right: str) -> None:
    """Does `principal` have `right` on everything? Raises Unauthenticated, Forbidden."""
    if not principal.id:
        raise needs_token()
    if not on_node(principal, right):
        raise not_allowed(right, "node")


def on_node(principal: Principal, right: str) -> bool:
    """Does `principal` have `right` on everything? Nobody has who acts for an Account: those belong to Workspaces."""
    if principal.owner or any(grant.deny for grant in principal.grants):
        return False
    return any(
        grant.scope == EVERYWHERE and not narrowed(grant) and ACTIONS_OF[right] <= plain_actions(grant)
        for grant in principal.grants
    )


def judge_sight(reading: Knows, principal: Principal, ws: str, repo_name: str) -> int:
    """When a Repository came to be, in ms, if `principal` may know that it is there. Raises Absent."""
    found = outlined(reading, ws, repo_name)
    known = _knows(standing(reading, principal, ws), ws, repo_name, found.at_ms)
    if not (found.exists and (found.public or known)):
        raise no_repository()
    return found.at_ms


def seen(reading: Knows, principal: Principal, ws: str = "") -> list[Repository]:
    """The Repositories of one Workspace, or of all, that `principal` may know of."""
    stands: dict[str, Standing] = {}
    found = []
    for one in reading.repositories(ws):
        if one.workspace not in stands:
            stands[one.workspace] = standing(reading, principal, one.workspace)
        if one.public or _knows(stands[one.workspace], one.workspace, one.name, one.at_ms):
            found.append(one)
    return found


def sees_workspace(reading: Knows, principal: Principal, ws: str) -> bool:
    """May `principal` know that this Workspace is there? One look-up, and one for each Repository of it that its own
    rules name: how many Repositories there are costs nothing, and tells nothing (B9)."""
    if principal.owner and reading.membership(ws, principal.owner) and vouched(reading, principal, ws):
        return True
    stands = standing(reading, principal, ws)
    if any(stands.possible(What(action, ws)) for action in ACTIONS):
        return True
    below = f"{ws}/"
    scopes = {rule.grant.scope for rules in stands.sets for rule in rules}
    return reading.publics(ws) > 0 or any(
        _sees_within(reading, stands, ws, scope.removeprefix(below)) for scope in scopes if scope.startswith(below)
    )


def _sees_within(reading: Knows, stands: Standing, ws: str, repo_name: str) -> bool:
    found = outlined(reading, ws, repo_name)
    return found.exists and _knows(stands, ws, repo_name, found.at_ms)


def _knows(stands: Standing, ws: str, repo_name: str, at_ms: int) -> bool:
    return any(stands.possible(What(action, ws, repo_name), at_ms) for action in ACTIONS)


def covers(reading: Knows, principal: Principal, scope: str) -> bool:
    """May `principal` do everything to all of `scope`? Only then may it give rights there, all of which it has."""
    ws, slash, repo_name = scope.partition("/")
    if scope == EVERYWHERE:
        return on_node(principal, "admin")
    at_ms = outlined(reading, ws, repo_name).at_ms if slash else 0
    return has_all(standing(reading, principal, ws), scope, ACTIONS_IN[bool(slash)], at_ms)


ACTIONS_IN = {True: EVERYTHING - {STATISTICS, AUDIT, CREATE, PEOPLE, OWN}, False: EVERYTHING}
"""What there is to do in a Repository, and in a Workspace."""


def has_all(stands: Standing, scope: str, actions: Iterable[str], at_ms: int) -> bool:
    """Are all these actions allowed on the whole of a scope that is no EVERYWHERE?"""
    ws, _, repo_name = scope.partition("/")
    return all(stands.whole(What(action, ws, repo_name), at_ms) for action in actions)


def controls(reading: Knows, principal: Principal, token: Token) -> bool:
    """May `principal` see and revoke this Token? Its own; those of its Account, unless it is limited itself; those of
    the service accounts that it manages; and those without an owner whose every scope it has all rights in. What was
    given for an identity token has itself alone: whatever it got hold of would outlive it (C8)."""
    if not principal.id or (principal.provider and principal.id != token.id):
        return False
    if principal.id == token.id or on_node(principal, "admin"):
        return True
    if not token.owner:
        return bool(token.grants) and all(covers(reading, principal, grant.scope) for grant in token.grants)
    if token.owner == principal.owner:
        return not principal.grants
    account = reading.account(token.owner)
    if account is None or not account.workspace:
        return False
    return standing(reading, principal, account.workspace).whole(What(PEOPLE, account.workspace))


# ---------------------------------------------------------------- the sentences; none may name what was asked for


def needs_token() -> Unauthenticated:
    return Unauthenticated(NOTHING_SHOWN, "Send one as Bearer, or as the password of Basic with any user name.")


def no_repository() -> Absent:
    return Absent("There is no such repository, or this token may not know of it.")


def no_workspace() -> Absent:
    return Absent("There is no such workspace, or this token may not know of it.")


def not_allowed(right: str, where: str) -> Forbidden:
    return Forbidden(f"This token has no {right} right on this {where}.", f"Use a token with the {right} right.")
