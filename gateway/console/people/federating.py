"""How is an identity provider set up at which a Workspace's managed users sign in?"""

import trio

from gateway.access.names import slug
from gateway.access.secrets.upstreams import Credential, Place
from gateway.console.calls.services import Services
from gateway.console.shapes.schemas import NewPeople
from storage.errors import Conflict, Invalid
from storage.index.catalog import Reading
from storage.nouns import People, Provider

SIGN_IN_AT = "/-/sign-in"
PROVIDERS_MAX = 50
_CHECKED = frozenset(("iss", "aud", "azp", "exp", "nbf", "iat", "nonce"))


def people_of(asked: NewPeople) -> People:
    """What is asked for, well formed. Raises Invalid."""
    if _CHECKED & set(asked.claims) or asked.name in _CHECKED:
        raise Invalid("Some claims are checked by themselves.", f"Leave {', '.join(sorted(_CHECKED))} out.")
    if bool(asked.groups) != bool(asked.teams):
        raise Invalid("A claim of groups needs teams that its values lead to.", "Name both, or neither.")
    domains = tuple(sorted({one.lower().removeprefix("@") for one in asked.domains}))
    teams = {value: slug(team, "A team") for value, team in asked.teams.items()}
    return People(asked.name, asked.scopes, domains, asked.claims, asked.joins, asked.groups, teams, asked.signs_out)


def check_room(reading: Reading, ws: str, name: str) -> list[Provider]:
    """The providers there are, where one more of this name can be. Raises Conflict."""
    known = list(reading.providers(ws))
    if any(one.name == name for one in known):
        raise Conflict("There is a provider of this name already.", "Remove it first.")
    if len(known) >= PROVIDERS_MAX:
        raise Conflict(f"A workspace can have {PROVIDERS_MAX} providers.", "Remove one first.")
    return known


def check_teams(reading: Reading, ws: str, people: People) -> None:
    """Raises Invalid for a Team that is not there, Conflict for one whose members SCIM says."""
    for name in people.teams.values():
        team = reading.team(ws, name)
        if team is None:
            raise Invalid("There are no teams of all these names.", "Make them first: entrepot team create.")
        if team.id:
            raise Conflict("One of these teams is kept by SCIM, which says who is in it.", "Leave it out.")


def protocol_of(provider: Provider) -> str:
    """As addresses and the audit call it."""
    return "oidc" if provider.saml is None else "saml"


def begin_of(ws: str, provider: Provider) -> str:
    """Where people set out to a provider, below the address of the node."""
    return f"{SIGN_IN_AT}/{protocol_of(provider)}/{ws}/{provider.name}"


def back_of(ws: str, provider: Provider) -> str:
    """Where a provider sends people back to, below the address of the node: one of its own for each."""
    return f"{begin_of(ws, provider)}/return"


async def keep_secret(services: Services, ws: str, id: str, issuer: str, client_id: str, secret: str) -> None:
    """Only the origin has it, and it is good for this issuer alone. `id` is the provider's."""
    if services.secrets is not None:
        kept = Credential(issuer, secret, client_id)
        await trio.to_thread.run_sync(services.secrets.set, _place(ws, id), kept)


async def forget_secret(services: Services, ws: str, id: str) -> None:
    """All that is kept for a provider: what it knows this node by, and the keys that it knows of it."""
    if services.saml_keys is not None:
        await trio.to_thread.run_sync(services.saml_keys.forget, ws, id)
    if services.secrets is not None:
        await trio.to_thread.run_sync(services.secrets.remove, _place(ws, id))


def secret_of(services: Services, ws: str, provider: Provider) -> str:
    """What the provider knows this node by; "" for nothing."""
    kept = None if services.secrets is None else services.secrets.get(_place(ws, provider.id), provider.issuer)
    return "" if kept is None or kept.username != provider.audience else kept.password


def _place(ws: str, id: str) -> Place:
    return Place(ws, "-", "oidc", id)
