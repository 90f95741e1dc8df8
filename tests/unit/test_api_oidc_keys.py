"""Whose is the Idempotency-Key of a build that has no token yet?"""

from tests.harness.consoles import Got
from tests.unit.test_api_oidc import World, issuer, world

__all__ = ["issuer", "world"]


async def test_a_key_of_somebody_without_a_token_is_his_networks(world: World) -> None:
    """A build with its key is answered again where it runs; a stranger's key of the same name is another."""
    await world.believe(lifetime_s=600)
    first = {"workspace": "acme", "token": world.issuer.token(world.claims())}
    second = {"workspace": "acme", "token": world.issuer.token(world.claims())}

    async def ask(body: dict[str, str], peer: str) -> Got:
        headers = {"Idempotency-Key": "build-1", "X-Entrepot-Peer": peer}
        return await world.console.call("anonymous", "POST", "/oidc/exchange", body, headers)

    made = await ask(first, "192.0.2.7")
    assert made.status == 201, made.body
    assert (await ask(second, "2001:db8::1")).status == 201
    again = await ask(first, "192.0.2.7")
    assert (again.status, again.body) == (201, made.body)
    assert (await ask(second, "192.0.2.7")).status == 422
