"""How is a SAML identity provider told to a Workspace? By its own metadata, a document (SAML 2.0 Metadata).

What counts of it is what it is called, where it takes people, and the keys that it signs with: several, while one takes
over from another. A fresh document replaces those, and people stay who they are. It is listed, shown and removed with
the other providers (`oidc.py`).
"""

import msgspec

from cache.asking.addresses import place
from gateway.access.names import slug
from gateway.access.rights.grants import OWN
from gateway.access.rights.verdicts import Principal, judge_node, judge_workspace
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.giving import judge_passing_on
from gateway.console.calls.permissions import WORKSPACE_PEOPLE
from gateway.console.people.federating import check_room, check_teams, people_of
from gateway.console.people.oidc import told_of
from gateway.console.people.people import new_id
from gateway.console.people.replies import Provider as Told
from gateway.console.people.samlkeys import concluded, new_pair, saml_named
from gateway.console.shapes.schemas import NewMetadata, NewPeople, NewSamlProvider
from gateway.saml.proving import key_of
from gateway.saml.shapes import Described
from storage.commit import Decided
from storage.errors import Conflict, Invalid, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Draft, Provider, PutProvider, Saml

ROUTES = Routes("/-/api/v1")
CERTIFICATES_MAX = 10
ENTITY_CHARS_MAX = 1_024


@ROUTES.add("POST", "/workspaces/<workspace>/saml", WORKSPACE_PEOPLE, takes=NewSamlProvider, gives=Told, status=201)
async def add_provider(call: Call) -> Reply:
    """Whoever lets people in by one lets in whoever is a managed user, so must own the workspace."""
    body = await call.body(NewSamlProvider)
    ws, now_ms, name = call.at["workspace"], call.services.now_ms(), slug(body.name, "A provider")
    people = people_of(
        NewPeople(
            name=body.people.name,
            domains=body.people.domains,
            claims=body.people.claims,
            joins=body.people.joins,
            groups=body.people.groups,
            teams=body.people.teams,
        )
    )
    described = await _described(call, body.metadata, body.entity_id, private_network=body.private_network)
    with call.read() as reading:
        judge_workspace(reading, call.principal, ws, OWN)
    id = new_id("idp_")
    pair = await new_pair(call, ws, id)
    saml = Saml(
        described.sign_on, described.certificates, body.subject, body.unsolicited, (pair,), described.wants_signed,
        body.sign_requests, described.logout, described.logout_answers, described.logout_posts, body.accept_cbc,
    )  # fmt: skip

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        if body.private_network:
            judge_node(principal, "admin")
        judge_workspace(reading, principal, ws, OWN)
        check_teams(reading, ws, people)
        if any(one.saml is not None and one.issuer == described.entity_id for one in check_room(reading, ws, name)):
            raise Conflict("This identity provider is there already.", "Give it fresh metadata, or remove it first.")
        made = Provider(
            id, name, described.entity_id, body.audience, (), 0, body.private_network, now_ms, people, saml
        )  # fmt: skip
        return Decided(Draft(ws, "", principal.id, "saml.add", (PutProvider(made),)), told_of(reading, ws, made))

    return await concluded(call, ws, id, pair, decide)


@ROUTES.add("PUT", "/workspaces/<workspace>/saml/<provider>", WORKSPACE_PEOPLE, takes=NewMetadata, gives=Told)
async def renew_provider(call: Call) -> Reply:
    """Its certificates and its address as the document has them now; it must be called as it was. Where it gives a key
    up, the sessions that it has vouched for end: nobody can tell which of them that key did (C6)."""
    body = await call.body(NewMetadata)
    ws, name = call.at["workspace"], call.at["provider"]
    with call.read() as reading:
        before, _ = saml_named(reading, ws, name)
    described = await _described(call, body.metadata, before.issuer, private_network=before.private_network)

    def decide(reading: Reading, principal: Principal) -> Decided:
        judge_passing_on(principal)
        judge_workspace(reading, principal, ws, OWN)
        now, saml = saml_named(reading, ws, name)
        if now.id != before.id:
            raise Conflict("Another provider has this name by now.", "Look again.")
        fresh = msgspec.structs.replace(
            saml,
            sign_on=described.sign_on,
            certificates=described.certificates,
            wants_signed=described.wants_signed,
            logout=described.logout,
            logout_answers=described.logout_answers,
            logout_posts=described.logout_posts,
            takes_cbc=saml.takes_cbc if body.accept_cbc is None else body.accept_cbc,
            signs=saml.signs if body.sign_requests is None else body.sign_requests,
        )
        given_up = set(saml.certificates) - set(fresh.certificates)
        after = msgspec.structs.replace(now, saml=fresh, trust=now.trust + bool(given_up))
        return Decided(Draft(ws, "", principal.id, "saml.renew", (PutProvider(after),)), told_of(reading, ws, after))

    return await call.conclude(ws, decide, lambda told: Reply(200, told))


async def _described(call: Call, metadata: str, entity_id: str, *, private_network: bool) -> Described:
    """What the document says, if a Workspace can rest on it. Raises Invalid, Unavailable."""
    documents = call.services.documents
    if documents is None:
        raise Unavailable("This node is an edge and reads no metadata.", "Send this to the origin.", retry_after_s=5)
    told = await documents.read("metadata", entity_id, metadata.encode(), Described)
    name, count = told.entity_id, len(told.certificates)
    if not name.isprintable() or not name or len(name) > ENTITY_CHARS_MAX or name != name.strip():
        raise Invalid("The identity provider's entityID is none that can be used.")
    if not 0 < count <= CERTIFICATES_MAX:
        raise Invalid(f"The metadata has {count} certificates to sign with.", f"1 to {CERTIFICATES_MAX} are taken.")
    for one in told.certificates:
        key_of(one)
    if 0 < told.until_ms <= call.services.now_ms():
        raise Invalid("The metadata is over.", "Fetch it again.")
    for address in filter(None, (told.sign_on, told.logout, told.logout_answers)):
        at = place(address)
        if not address.isascii() or "#" in address or (at.scheme != "https" and not private_network):
            raise Invalid("The identity provider takes people at an address that is not used.", "It must be https.")
    return told
