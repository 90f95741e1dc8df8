"""What may be given to whom? A grant that is asked for becomes one to keep; nobody gives what he lacks."""

import ipaddress
from collections.abc import Iterable

import msgspec

from gateway.access.names import slug
from gateway.access.rights.grants import (
    ACTIONS,
    EVERYWHERE,
    GRANT,
    OF_PACKAGES,
    OWN,
    TAG,
    What,
    pattern,
    plain_actions,
    sample,
)
from gateway.access.rights.rules import account_rules
from gateway.access.rights.verdicts import (
    ACTIONS_IN,
    Principal,
    has_all,
    judge_node,
    judge_sight,
    no_workspace,
    not_allowed,
    on_node,
    outlined,
    sees_workspace,
    standing,
)
from gateway.access.signin import sessions
from gateway.console.calls.services import Services
from gateway.console.shapes.schemas import NewGrant
from gateway.delivery.connections.addresses import Network
from storage.errors import Absent, Forbidden, Invalid
from storage.index.catalog import Reading
from storage.nouns import MEMBERS, Account, Binding, Grant, Token, team_subject

KINDS = ("user", "service", "managed")
"""Of an Account, as it stands ahead of its name."""


def grant_of(services: Services, asked: NewGrant) -> Grant:
    """The Grant that is asked for, well formed. Raises Invalid. Whether it may be given is decided under the lock."""
    said = bool(asked.actions or asked.role or asked.deny)
    read = asked.read if asked.read is not None else not said
    if not (read or asked.write or asked.admin or asked.actions or asked.role):
        raise Invalid("A grant without any right is none.", "Give it read, write, admin, actions or a role.")
    _check_scope(asked)
    actions_of(asked.actions)
    _check_place(asked.scope, asked.actions)
    formats = tuple(sorted(set(asked.formats)))
    if unknown := [one for one in formats if one not in services.formats]:
        told = "One format is" if len(unknown) == 1 else f"{len(unknown)} formats are"
        raise Invalid(f"{told} named that this node does not know.", f"It knows {', '.join(services.formats)}.")
    if asked.packages and not formats:
        raise Invalid("Patterns of packages need formats.", "Each format spells its names in its own way: name them.")
    for one in asked.packages:
        _check_spelling(services, formats, pattern(one))
    for one in asked.tags:
        pattern(one)
    _check_narrowed(asked)
    return Grant(
        asked.scope,
        read or asked.admin,
        asked.write or asked.admin,
        asked.admin,
        tuple(sorted(set(asked.actions))),
        asked.role,
        formats,
        asked.packages,
        asked.tags,
        asked.deny,
    )


def _check_scope(asked: NewGrant) -> None:
    if asked.scope == EVERYWHERE:
        if asked.role:
            raise Invalid("A role belongs to a workspace.", "Name the workspace as the scope.")
        return
    workspace, slash, repository = asked.scope.partition("/")
    slug(workspace, "A workspace")
    if slash:
        slug(repository, "A repository")


def _check_place(scope: str, actions: Iterable[str]) -> None:
    """Raises Invalid for actions of a whole Workspace in one Repository: there they would give and deny nothing."""
    workspace, slash, _ = scope.partition("/")
    empty = [one for one in actions if one not in ACTIONS_IN[bool(slash)]]
    if empty:
        told = f"{', '.join(empty)}: of a whole workspace, and nothing in one repository of it."
        raise Invalid(told, f"Name {workspace} alone, or leave it out.")


def _check_narrowed(asked: NewGrant) -> None:
    """Raises Invalid for actions that a grant on some packages or tags neither gives nor denies."""
    if not (asked.formats or asked.packages or asked.tags):
        return
    empty = [one for one in asked.actions if one not in ({TAG} if asked.tags else OF_PACKAGES)]
    if empty:
        of = "the setting of some tags" if asked.tags else "some packages"
        raise Invalid(f"{', '.join(empty)}: nothing in a grant on {of}.", "Give it in a grant of its own.")


def _check_spelling(services: Services, formats: tuple[str, ...], text: str) -> None:
    """A pattern in another spelling than that of the index would match nothing, and deny nothing."""
    name = sample(text)
    for format in formats:
        try:
            spelt = services.governed(format, services.normalise(format, name))
        except (Invalid, Absent):
            raise Invalid(
                f"No {format} package can have a name like this.", "Look at the names with entrepot ls."
            ) from None
        if spelt != name:
            raise Invalid(f"This is not how {format} names are kept here.", "Look at the names with entrepot ls.")


def actions_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """These actions, each once. Raises Invalid for what is none."""
    if any(one not in ACTIONS for one in names):
        raise Invalid("This is no action.", f"One of {', '.join(ACTIONS)}.")
    return tuple(sorted(set(names)))


def judge_giving(reading: Reading, principal: Principal, grant: Grant) -> int:
    """When what the Grant's scope names came to be, if `principal` may give it: it may give rights there, and has all
    that it gives, everywhere there. Raises Absent or Forbidden as for any other use of the scope."""
    ws, slash, repo_name = grant.scope.partition("/")
    if grant.scope == EVERYWHERE:
        judge_node(principal, "admin")
        return 0
    at_ms = _known(reading, principal, ws, repo_name if slash else "")
    actions = plain_actions(grant)
    if grant.role:
        role = reading.role(ws, grant.role)
        if role is None:
            raise Invalid("There is no such role in this workspace.", "Make it first: entrepot role put.")
        actions |= frozenset(role.actions)
    if not actions & ACTIONS_IN[bool(slash)]:
        _check_place(grant.scope, sorted(actions))
    stands = standing(reading, principal, ws)
    needed = frozenset((GRANT,)) if grant.deny else (frozenset((GRANT,)) | actions)
    needed &= ACTIONS_IN[bool(slash)]
    if not has_all(stands, grant.scope, needed, at_ms if slash else 0):
        raise not_allowed("grant", "repository" if slash else "workspace")
    return at_ms


def judge_lifting(
    reading: Reading, principal: Principal, ws: str, denials: Iterable[Binding], actions: frozenset[str] | None = None
) -> None:
    """Raises Forbidden unless `principal` may give what these denials deny (of it `actions`, None = all): whoever takes
    from under a denial what it stands on, its role or its team, takes it away."""
    for one in denials:
        role = reading.role(ws, one.grant.role) if one.grant.role else None
        denied = plain_actions(one.grant) | frozenset(role.actions if role is not None else ())
        lifted = denied if actions is None else denied & actions
        stands = standing(reading, principal, ws)
        if not stands.whole(What(OWN, ws)) and not on_node(principal, "admin"):
            judge_all(principal, reading, one.grant.scope, lifted | {GRANT})


def judge_scope(reading: Reading, principal: Principal, grant: Grant) -> int:
    """When what the scope names came to be, if `principal` may know of it: enough for a token that acts for its own
    Account, which is held to what the Account may do at each use. Raises Absent."""
    ws, slash, repo_name = grant.scope.partition("/")
    return 0 if grant.scope == EVERYWHERE else _known(reading, principal, ws, repo_name if slash else "")


def _known(reading: Reading, principal: Principal, ws: str, repo_name: str) -> int:
    if repo_name:
        return judge_sight(reading, principal, ws, repo_name)
    workspace = reading.workspace(ws) if sees_workspace(reading, principal, ws) else None
    if workspace is None:
        raise no_workspace()
    return workspace.at_ms


def subject_of(reading: Reading, ws: str, said: str) -> str:
    """The subject that an account's name (see `account_of`), `team:NAME` or `members` stands for. Raises Invalid,
    Absent."""
    if said == MEMBERS:
        return MEMBERS
    kind, _, name = said.partition(":")
    if kind == "team":
        if reading.team(ws, name) is None:
            raise Absent("There is no such team in this workspace.")
        return team_subject(name)
    if kind not in KINDS:
        raise Invalid("This names nobody.", "Write user:NAME, service:NAME, managed:NAME, team:NAME or members.")
    return member_of(reading, ws, said).id


def member_of(reading: Reading, ws: str, said: str) -> Account:
    """The Account of this name (see `account_of`), which is a member. Raises Invalid, Absent."""
    account = account_of(reading, ws, said)
    if account is None or reading.membership(ws, account.id) is None:
        raise Absent("There is no such member in this workspace.", "Those there are: entrepot member list.")
    return account


def account_of(reading: Reading, ws: str, said: str) -> Account | None:
    """The Account that `user:NAME`, `service:NAME` or `managed:NAME` stands for. Raises Invalid."""
    kind, _, name = said.partition(":")
    if kind not in KINDS:
        raise Invalid("This names nobody.", "Write user:NAME, service:NAME or managed:NAME.")
    return reading.account_named(kind, "" if kind == "user" else ws, name) if name and "\0" not in name else None


def named(account: Account) -> str:
    """An Account as whoever makes a token for it writes it."""
    within = f"{account.workspace}/" if account.workspace else ""
    return f"{account.kind}:{within}{account.name}"


def told(reading: Reading, subject: str) -> str:
    """A subject as people write it."""
    account = reading.account(subject)
    return subject if account is None else f"{account.kind}:{account.name}"


def judge_all(principal: Principal, reading: Reading, scope: str, actions: frozenset[str]) -> None:
    """Raises Forbidden unless `principal` may do all of these in the whole of a scope."""
    ws, slash, name = scope.partition("/")
    at_ms = outlined(reading, ws, name).at_ms if slash else 0
    wanted = actions & ACTIONS_IN[bool(slash)]
    if not on_node(principal, "admin") and not has_all(standing(reading, principal, ws), scope, wanted, at_ms):
        raise Forbidden("You cannot give what you do not have.", "Ask an owner of the workspace.")


def judge_standing_in(reading: Reading, principal: Principal, ws: str, account: str) -> None:
    """Whoever gets a token of a service account can do what it can: nobody rises by it (C8)."""
    for rule in account_rules(reading, account, ws):
        if not rule.grant.deny:
            judge_all(principal, reading, rule.grant.scope, rule.actions)


def judge_passing_on(principal: Principal) -> None:
    """Raises Forbidden for who was let in by an identity token: what it made would outlive what it shows (C8)."""
    if principal.provider:
        raise Forbidden("A token that was given for an identity token makes no others.", "Use one that was made here.")


# ---------------------------------------------------------------- tokens: no more than their maker has (C8)


def bounded(principal: Principal, token: Token) -> Token:
    """`token` as `principal` may make it: not longer good, from no more networks, for no more requests.

    Raises Forbidden. A session's end is no bound: it is its person, who lives longer.
    """
    expires_ms, requests_max = token.expires_ms, token.requests_max
    if principal.expires_ms and principal.kind != sessions.KIND:
        expires_ms = min(expires_ms or principal.expires_ms, principal.expires_ms)
    if principal.requests_max:
        requests_max = min(requests_max or principal.requests_max, principal.requests_max)
    cidrs = networks_within(principal, token.cidrs)
    return msgspec.structs.replace(token, expires_ms=expires_ms, requests_max=requests_max, cidrs=cidrs)


def networks_of(cidrs: tuple[str, ...]) -> tuple[str, ...]:
    """Networks as ADDRESS/BITS. Raises Invalid."""
    return tuple(map(_network_of, cidrs))


def _network_of(cidr: str) -> str:
    try:
        within = ipaddress.ip_interface(cidr)
    except ValueError:
        raise Invalid("This is no network.", "Write it as ADDRESS/BITS, like 192.0.2.0/24.") from None
    network = within.network
    if network.network_address != within.ip:
        raise Invalid(
            f"This is an address within a network, and no network: not all bits behind the first {network.prefixlen} "
            "are zero.",
            f"Write {network} for the network, or {within.ip} for the address alone.",
        )
    return str(network)


def networks_within(principal: Principal, cidrs: tuple[str, ...]) -> tuple[str, ...]:
    """The networks of a token that `principal` makes: never more than its own (C8). Raises Forbidden."""
    if not principal.cidrs or not cidrs:
        return cidrs or principal.cidrs
    outer = [ipaddress.ip_network(one) for one in principal.cidrs]
    for one in cidrs:
        inner = ipaddress.ip_network(one)
        if not any(_within(inner, each) for each in outer):
            raise Forbidden("You cannot give networks that you cannot use.", "Name some of your own.")
    return cidrs


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
