"""Who was given what in a Workspace, and why may somebody do a thing, or not?"""

from gateway.access.names import slug
from gateway.access.rights import queried
from gateway.access.rights.grants import ACTIONS, GRANT, READ, RIGHTS, Rule, What, kept_out
from gateway.access.rights.rules import BINDINGS_MAX, COLLABORATOR, MANAGER, MEMBER, OWNER, account_rules, own_rules
from gateway.access.rights.verdicts import Principal, Standing, judge_workspace, outlined, standing
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.giving import (
    account_of,
    actions_of,
    grant_of,
    judge_all,
    judge_giving,
    judge_lifting,
    member_of,
    subject_of,
    told,
)
from gateway.console.calls.permissions import GRANTS_OR_ITSELF, WORKSPACE_GRANT
from gateway.console.people import replies
from gateway.console.people.people import new_id
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import EditRole, NewBinding
from storage.commit import Decided
from storage.errors import Absent, Conflict, Invalid
from storage.index.catalog import Reading
from storage.nouns import Account, Binding, Draft, DropBinding, DropRole, Grant, PutBinding, PutRole, Role

ROUTES = Routes("/-/api/v1")
_PAGE = ("after", "limit")
ROLES_MAX = 1_000
TAKEN = (OWNER, MANAGER, MEMBER, COLLABORATOR, *RIGHTS)
"""What a membership or a right is called already. A role of such a name, with other actions, would be taken for it."""


@ROUTES.add("GET", "/workspaces/<workspace>/roles", WORKSPACE_GRANT, _PAGE, gives=Page[replies.CustomRole])
async def list_roles(call: Call) -> Reply:
    after, limit = call.argument("after"), call.limit()
    with call.read() as reading:
        found = [one for one in reading.roles(call.at["workspace"]) if one.name > after]
    return Reply(200, shown.page(found, limit, lambda one: one.name, shown.role))


@ROUTES.show("/workspaces/<workspace>/roles/<role>", WORKSPACE_GRANT, gives=replies.CustomRole)
def show_role(call: Call, reading: Reading) -> shown.Shown:
    role = reading.role(call.at["workspace"], call.at["role"])
    if role is None:
        raise _no_role()
    return shown.role(role)


@ROUTES.add("PUT", "/workspaces/<workspace>/roles/<role>", WORKSPACE_GRANT, takes=EditRole, gives=replies.CustomRole)
async def put_role(call: Call) -> Reply:
    """Make a role, or give it other actions: all that were given it have those at once."""
    body = await call.body(EditRole)
    ws = call.at["workspace"]
    if call.at["role"] in TAKEN:
        raise Invalid("There is a role or a right of this name in every workspace.", f"Not one of {', '.join(TAKEN)}.")
    role = Role(slug(call.at["role"], "A role"), actions_of(body.actions), call.services.now_ms())

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_all(principal, reading, ws, frozenset(role.actions))
        before = reading.role(ws, role.name)
        if before is not None:
            _judge_taking_from(reading, principal, ws, before, frozenset(before.actions) - frozenset(role.actions))
        if before is None and len(reading.roles(ws)) >= ROLES_MAX:
            raise Conflict(f"A workspace can have {ROLES_MAX} roles.", "Drop one first.")
        return Decided(Draft(ws, "", principal.id, "role.put", (PutRole(role),)), role)

    return await call.conclude(ws, decide, lambda _: Reply(200, shown.role(role)))


@ROUTES.add("DELETE", "/workspaces/<workspace>/roles/<role>", WORKSPACE_GRANT, gives=None)
async def drop_role(call: Call) -> Reply:
    ws, name = call.at["workspace"], call.at["role"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        role = reading.role(ws, name)
        if role is None:
            raise _no_role()
        _judge_taking_from(reading, principal, ws, role, frozenset(role.actions))
        return Decided(Draft(ws, "", principal.id, "role.drop", (DropRole(name),)), None)

    return await call.conclude(ws, decide, no_content)


# ---------------------------------------------------------------- what was given


@ROUTES.add(
    "GET",
    "/workspaces/<workspace>/grants",
    WORKSPACE_GRANT,
    ("subject", "repository", *_PAGE),
    gives=Page[replies.Binding],
)
async def list_grants(call: Call) -> Reply:
    """What was given in the Workspace; of one Repository what holds there."""
    after, limit, ws, said = call.argument("after"), call.limit(), call.at["workspace"], call.argument("subject")
    repository = call.argument("repository")
    with call.read() as reading:
        if repository and not outlined(reading, ws, repository).exists:
            raise Absent("There is no such repository.", "Those there are: entrepot repo list.")
        scopes = (ws, f"{ws}/{repository}") if repository else ()
        subject = subject_of(reading, ws, said) if said else ""
        given = (one for one in reading.bindings(ws, subject) if not scopes or one.grant.scope in scopes)
        found = sorted((one for one in given if one.id > after), key=_id)
        page = shown.page(found, limit, _id, lambda one: shown.binding(one, told(reading, one.subject)))
    return Reply(200, page)


@ROUTES.add(
    "POST", "/workspaces/<workspace>/grants", WORKSPACE_GRANT, takes=NewBinding, gives=replies.Binding, status=201
)
async def give(call: Call) -> Reply:
    body = await call.body(NewBinding)
    ws, now_ms = call.at["workspace"], call.services.now_ms()
    grant = grant_of(call.services, body)
    if grant.scope.partition("/")[0] != ws:
        raise Invalid("The scope is not in this workspace.", f"Write {ws}, or {ws}/REPOSITORY.")
    id = new_id("bnd_")

    def decide(reading: Reading, principal: Principal) -> Decided:
        since_ms = max(now_ms, judge_giving(reading, principal, grant))
        subject = subject_of(reading, ws, body.subject)
        if len(reading.bindings(ws, subject)) >= BINDINGS_MAX:
            raise Conflict(f"A subject can be given {BINDINGS_MAX} grants.", "Use patterns, a team or a role.")
        binding = Binding(id, subject, grant, since_ms)
        repository = grant.scope.partition("/")[2]
        return Decided(Draft(ws, repository, principal.id, "grant.give", (PutBinding(binding),)), binding)

    return await call.conclude(ws, decide, lambda binding: Reply(201, shown.binding(binding, body.subject)))


@ROUTES.show("/workspaces/<workspace>/grants/<id>", WORKSPACE_GRANT, gives=replies.Binding)
def show_grant(call: Call, reading: Reading) -> shown.Shown:
    found = _binding(reading, call.at["workspace"], call.at["id"])
    return shown.binding(found, told(reading, found.subject))


@ROUTES.add("DELETE", "/workspaces/<workspace>/grants/<id>", WORKSPACE_GRANT, gives=None)
async def take(call: Call) -> Reply:
    """Take a grant away. Taking a denial away is giving what it denied; an owner may in any case."""
    ws = call.at["workspace"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        found = _binding(reading, ws, call.at["id"])
        if found.grant.deny:
            judge_lifting(reading, principal, ws, (found,))
        drop = DropBinding(found.subject, found.id)
        return Decided(Draft(ws, "", principal.id, "grant.take", (drop,)), None)

    return await call.conclude(ws, decide, no_content)


@ROUTES.add(
    "GET",
    "/workspaces/<workspace>/explain",
    GRANTS_OR_ITSELF,
    ("principal", "action", "repository", "format", "package", "tag", "version"),
    gives=replies.Explained,
)
async def explain(call: Call) -> Reply:
    """May a member, or a customer, do this, and which grant and part of its query say so? Anybody may ask of himself:
    who is refused learns why (O28)."""
    ws, action = call.at["workspace"], call.argument("action", READ)
    if action not in ACTIONS:
        raise Invalid("This is no action.", f"One of {', '.join(ACTIONS)}.")
    format, package = call.argument("format"), call.argument("package")
    kept_as = ""
    if package:
        if format not in call.services.formats:
            raise Invalid("A package needs its format.", f"One of {', '.join(call.services.formats)}.")
        kept_as = call.services.normalise(format, package)
        package = call.services.governed(format, kept_as) or ""
    what = What(action, ws, call.argument("repository"), format, package, call.argument("tag"))
    with call.read() as reading:
        rules = _rules_of(reading, call.principal, ws, call.argument("principal"))
        repository = outlined(reading, ws, what.repository)
        if what.repository and not repository.exists and _gives(reading, call.principal, ws):
            raise Absent("There is no such repository.")  # others are told the same of one that is hidden (B9)
        if package and format in call.services.rooms:
            what = what._replace(sought=_sought(call, reading, what, kept_as))
        stands = Standing((rules,))
        verdict = stands.decide(what, repository.at_ms)
        public = repository.public and action == READ
        decided = verdict.rule or kept_out(rules, what, repository.at_ms)
        grant = decided.grant if decided is not None else None
        why = verdict.why()
        if verdict.rule is None and decided is not None:
            why = f"the query of {decided.source} does not find it"
    return Reply(
        200,
        {
            "allowed": verdict.allowed or public,
            "why": "the repository is public" if public else why,
            "grant": None if grant is None or public else shown.grant(grant),
            "parts_only": not verdict.allowed and not public and stands.possible(what),
        }
        | ({} if grant is None or public else _query_part(grant, what)),
    )


def _query_part(grant: Grant, what: What) -> shown.Shown:
    if not grant.query or what.sought is None:
        return {}
    return {"query_part": queried.deciding(grant.query, (what.workspace, what.repository, what.format), what.sought)}


def _sought(call: Call, reading: Reading, what: What, package: str) -> queried.Sought:
    """What queries ask of the package, or of the version that is named, with the tags that lead to it now."""
    version, sought = call.argument("version"), queried.sought(call.services.rooms[what.format], package)
    if not version:
        return sought
    tags = reading.view(what.workspace, what.repository, what.format).tags(package) if what.repository else {}
    return sought._replace(held=queried.held(version, tags), documents=False)


def _rules_of(reading: Reading, principal: Principal, ws: str, said: str) -> tuple[Rule, ...]:
    """Of the member of this name, or of the customer with this id."""
    kind, _, id = said.partition(":")
    if kind != "entitlement":
        return account_rules(reading, _asked_of(reading, principal, ws, said).id, ws)
    judge_workspace(reading, principal, ws, GRANT)
    token = reading.token_by_id(id) if id.isascii() and id.isprintable() and 0 < len(id) < 100 else None
    if token is None or token.kind != kind or any(one.scope.partition("/")[0] != ws for one in token.grants):
        raise Absent("There is no such entitlement in this workspace.")
    return own_rules(reading, token.grants, token.at_ms, token.name)


def _gives(reading: Reading, principal: Principal, ws: str) -> bool:
    """May the caller give rights in all of the Workspace, and so know all that is in it?"""
    return standing(reading, principal, ws).whole(What(GRANT, ws))


def _asked_of(reading: Reading, principal: Principal, ws: str, said: str) -> Account:
    """The member of this name. Of others nobody learns without `grant`, not even whether they are."""
    account = account_of(reading, ws, said)
    if account is None or account.id != principal.owner:
        judge_workspace(reading, principal, ws, GRANT)
    return member_of(reading, ws, said)


def _binding(reading: Reading, ws: str, id: str) -> Binding:
    found = next((one for one in reading.bindings(ws) if one.id == id), None)
    if found is None:
        raise Absent("There is no such grant in this workspace.")
    return found


def _judge_taking_from(reading: Reading, principal: Principal, ws: str, role: Role, gone: frozenset[str]) -> None:
    """Raises Forbidden where denials say less without these actions of their role, and the caller lacks them (C8)."""
    if not gone:
        return
    denials = (one for one in reading.bindings(ws) if one.grant.deny and one.grant.role == role.name)
    judge_lifting(reading, principal, ws, denials, gone)
    for own in principal.grants:  # what a token denies itself holds for an owner's, too: else it would be worth nothing
        if own.deny and own.role == role.name and own.scope.partition("/")[0] == ws:
            judge_all(principal, reading, own.scope, gone)


def _no_role() -> Absent:
    return Absent("There is no such role in this workspace.")


def _id(binding: Binding) -> str:
    return binding.id
