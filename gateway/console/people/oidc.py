"""How does a build get a token without a secret? It shows what its CI says of it, signed (THREATS C9).

A Workspace names the providers that it believes, and by rules over claims which of its service accounts a build is. The
exchange is decided under the write lock with all that it rests on: the provider, the rule, the membership, the clock,
and that this identity token was never exchanged before. The token that comes out is of the service account, can do what
that can as long as it and the provider are there, and makes no other tokens (C6, C8).
"""

import logging

import trio

from gateway.access import tokens
from gateway.access.names import slug
from gateway.access.rights.grants import OWN
from gateway.access.rights.verdicts import ANONYMOUS, Principal, judge_node, judge_workspace
from gateway.access.signin.idtokens import (
    LEEWAY_S,
    Claims,
    check_times,
    id_of,
    not_accepted,
    prove,
    take_apart,
)
from gateway.access.signin.issuers import issuer_of
from gateway.console.calls.call import Call, Reply, Routes, no_content
from gateway.console.calls.giving import judge_passing_on, judge_standing_in, member_of
from gateway.console.calls.permissions import BY_PROOF, WORKSPACE_PEOPLE
from gateway.console.people import replies
from gateway.console.people.federating import (
    back_of,
    check_room,
    check_teams,
    forget_secret,
    keep_secret,
    people_of,
    protocol_of,
)
from gateway.console.people.people import new_id
from gateway.console.repositories.upstreams import check_place
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import IdentityToken, NewProvider
from storage.commit import Decided
from storage.errors import Absent, Conflict, Invalid, Problem, Unauthenticated, Unavailable
from storage.index.catalog import Reading
from storage.nouns import (
    SYSTEM,
    Account,
    ClaimRule,
    Draft,
    DropProvider,
    Exchange,
    Provider,
    PutProvider,
    PutToken,
    Token,
)

ROUTES = Routes("/-/api/v1")
KEPT_MS = (LEEWAY_S + 3600) * 1000
"""So long after its end an identity token is still known to have been exchanged: clocks may be set back."""
_CHECKED = frozenset(("iss", "aud", "exp", "nbf", "iat", "jti"))

_log = logging.getLogger("entrepot.oidc")


# ---------------------------------------------------------------- the providers of a Workspace


@ROUTES.add(
    "GET",
    "/workspaces/<workspace>/providers",
    WORKSPACE_PEOPLE,
    ("after", "limit"),
    gives=Page[replies.Provider],
)
async def list_providers(call: Call) -> Reply:
    after, limit, ws = call.argument("after"), call.limit(), call.at["workspace"]
    with call.read() as reading:
        found = sorted((one for one in reading.providers(ws) if one.name > after), key=_name)
        page = shown.page(found, limit, _name, lambda one: told_of(reading, ws, one))
    return Reply(200, page)


@ROUTES.add(
    "POST",
    "/workspaces/<workspace>/providers",
    WORKSPACE_PEOPLE,
    takes=NewProvider,
    gives=replies.Provider,
    status=201,
)
async def add_provider(call: Call) -> Reply:
    """Whoever adds one gives away tokens of the service accounts that it leads to, so must have all that they have; who
    lets people in by one lets in whoever is a managed user, so must own the workspace."""
    body = await call.body(NewProvider)
    ws, now_ms = call.at["workspace"], call.services.now_ms()
    name, id = slug(body.name, "A provider"), new_id("idp_")
    issuer = issuer_of(body.issuer, private_network=body.private_network)
    if any(_CHECKED & set(one.claims) for one in body.rules):
        raise Invalid(
            "Some claims are checked by themselves.", f"Leave {', '.join(sorted(_CHECKED))} out of the rules."
        )
    if bool(body.rules) == (body.people is not None):
        raise Invalid("A provider is for builds, by rules, or for people.", "Name the one, not the other.")
    people = None if body.people is None else people_of(body.people)
    await check_place(call, issuer, body.private_network)

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        if body.private_network:
            judge_node(principal, "admin")
        if people is not None:
            judge_workspace(reading, principal, ws, OWN)
            check_teams(reading, ws, people)
        known = check_room(reading, ws, name)
        alike = [one for one in known if one.saml is None and (one.people is None) == (people is None)]
        if any(one.issuer == issuer for one in alike):
            raise Conflict("There is a provider of this issuer already.", "Remove it first.")
        rules = []
        for rule in body.rules:
            account = member_of(reading, ws, f"service:{rule.service}")
            judge_standing_in(reading, principal, ws, account.id)
            rules.append(ClaimRule(rule.claims, account.id))
        made = Provider(
            id, name, issuer, body.audience, tuple(rules), body.lifetime_s, body.private_network, now_ms, people
        )  # fmt: skip
        return Decided(Draft(ws, "", principal.id, "oidc.add", (PutProvider(made),)), told_of(reading, ws, made))

    if body.people is None or not body.people.client_secret:
        return await call.conclude(ws, decide, lambda told: Reply(201, told))
    with trio.CancelScope(shield=True):  # who hangs up leaves no secret behind of what is not there
        # ahead of the entry: until then nobody asks for it
        await keep_secret(call.services, ws, id, issuer, body.audience, body.people.client_secret)
        try:
            reply = await call.conclude(ws, decide, lambda told: Reply(201, told))
        except Problem:
            await forget_secret(call.services, ws, id)
            raise
    return reply


@ROUTES.show("/workspaces/<workspace>/providers/<provider>", WORKSPACE_PEOPLE, gives=replies.Provider)
def show_provider(call: Call, reading: Reading) -> shown.Shown:
    ws = call.at["workspace"]
    return told_of(reading, ws, named(reading, ws, call.at["provider"]))


@ROUTES.add("DELETE", "/workspaces/<workspace>/providers/<provider>", WORKSPACE_PEOPLE, gives=None)
async def remove_provider(call: Call) -> Reply:
    """What was exchanged through it can do nothing from then on."""
    ws, name = call.at["workspace"], call.at["provider"]
    removed: list[str] = []

    def decide(reading: Reading, principal: Principal) -> Decided:
        found = named(reading, ws, name)
        removed.append(found.id)
        return Decided(Draft(ws, "", principal.id, f"{protocol_of(found)}.remove", (DropProvider(found.id),)), None)

    with trio.CancelScope(shield=True):  # its secret goes with it, also where nobody waits for the answer
        reply = await call.conclude(ws, decide, no_content)
        for id in removed:
            await forget_secret(call.services, ws, id)
    return reply


# ---------------------------------------------------------------- the exchange


@ROUTES.add("POST", "/oidc/exchange", BY_PROOF, takes=IdentityToken, gives=replies.MintedToken, status=201)
async def exchange(call: Call) -> Reply:
    body = await call.body(IdentityToken)
    if call.services.commit is None:
        raise Unavailable("This node is an edge and writes nothing by itself.", "Send this to the origin.")
    try:
        claims = await _proven(call, body)
        text, parts = tokens.mint()

        def decide(reading: Reading, principal: Principal) -> Decided:
            now_ms = call.services.now_ms()
            check_times(claims, now_ms)
            provider = _provider_for(reading, body.workspace, claims)
            account = _account_for(reading, body.workspace, provider, claims, body.service)
            id = id_of(claims.once)
            if reading.token_by_id(id) is not None:
                raise Unauthenticated("This identity token was exchanged before.", "Ask the provider for a fresh one.")
            kept_ms = max(claims.expires_s, now_ms // 1000 + provider.lifetime_s) * 1000 + KEPT_MS
            token = Token(
                id,
                f"{provider.name} as {account.name}",
                parts.sha256,
                (),
                "oidc",
                now_ms,
                now_ms + provider.lifetime_s * 1000,
                verify_key=parts.verify_key,
                owner=account.id,
                exchange=Exchange(provider.id, claims.issuer, claims.subject, kept_ms, provider.trust),
            )
            return Decided(Draft(SYSTEM, "", provider.id, "oidc.exchange", (PutToken(token),)), token)

        return await call.conclude(
            SYSTEM, decide, lambda made: Reply(201, {"id": made.id, "token": text} | shown.token(made, made.at_ms))
        )
    except Unauthenticated as refused:
        _log.info("an identity token was refused in workspace %r: %s", body.workspace, refused.message)
        call.services.spend(ANONYMOUS, call.request.headers.get("X-Entrepot-Peer", ""))  # whoever guesses is slowed
        raise


async def _proven(call: Call, body: IdentityToken) -> Claims:
    """What the issuer has signed. It is asked for keys only where the Workspace believes it."""
    unproven = take_apart(body.token)
    check_times(unproven.claims, call.services.now_ms())
    with call.read() as reading:
        provider = _provider_for(reading, body.workspace, unproven.claims)
    key = await call.services.issuers.key(
        provider.issuer, unproven.kid, private_network=provider.private_network, workspace=body.workspace
    )
    return prove(unproven, key)


def _provider_for(reading: Reading, ws: str, claims: Claims) -> Provider:
    """The Workspace's provider with exactly this issuer and audience. Raises Unauthenticated."""
    known = reading.providers(ws) if ws and "\0" not in ws and reading.workspace(ws) is not None else []
    for_builds = [one for one in known if one.people is None and not one.disabled_ms]
    found = next((one for one in for_builds if one.issuer == claims.issuer and one.audience == claims.audience), None)
    if found is None:
        raise not_accepted()
    return found


def _account_for(reading: Reading, ws: str, provider: Provider, claims: Claims, service: str) -> Account:
    """The one service account that the claims lead to, and that is still a member. Raises Unauthenticated, Invalid."""
    led_to = {
        rule.account
        for rule in provider.rules
        if all(claims.values.get(name) == value for name, value in rule.claims.items())
    }
    living = []
    for id in led_to:
        account = reading.account(id)
        if account is None or account.closed_ms or reading.membership(ws, id) is None:
            continue
        if service in ("", account.name):
            living.append(account)
    if not living:
        raise not_accepted()
    if len(living) > 1:
        raise Invalid("These claims lead to several service accounts.", "Name the one that is meant: service.")
    return living[0]


def named(reading: Reading, ws: str, name: str) -> Provider:
    found = next((one for one in reading.providers(ws) if one.name == name), None)
    if found is None:
        raise Absent("There is no such provider in this workspace.")
    return found


def told_of(reading: Reading, ws: str, one: Provider) -> shown.Shown:
    def name_of(id: str) -> str:
        account = reading.account(id)
        return id if account is None else account.name

    return shown.provider(one, name_of, back_of(ws, one))


def _name(one: Provider) -> str:
    return one.name
