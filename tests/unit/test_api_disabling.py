"""Does a provider that is disabled let nobody in, and is what it let in before over for good? THREATS C6, C8."""

from tests.harness.ledgers import NOW_MS
from tests.unit.test_api_oidc import World, issuer, world

__all__ = ("issuer", "world")


async def test_c6_a_provider_that_is_disabled_lets_nobody_in_and_what_it_let_in_is_over(world: World) -> None:
    await world.believe()
    at = "/workspaces/acme/providers/ci"
    text = (await world.exchange(world.issuer.token(world.claims()))).json["token"]
    assert await world.reads(text) == 200
    for _ in range(2):
        got = await world.console.call("acme admin", "PATCH", at, {"disabled": True})
        assert (got.status, got.json["disabled_ms"]) == (200, NOW_MS)
    assert await world.reads(text) == 404
    assert (await world.exchange(world.issuer.token(world.claims()))).status == 401
    assert (await world.console.call("acme admin", "PATCH", at, {"disabled": False})).status == 403, "as for adding it"
    got = await world.console.call("node admin", "PATCH", at, {"disabled": False})
    assert (got.status, got.json["disabled_ms"]) == (200, 0)
    assert await world.reads(text) == 404, "what was stolen before does not come back to life"
    assert (await world.exchange(world.issuer.token(world.claims()))).status == 201
    actions = [entry.action for entry in world.console.ledger.entries]
    assert actions == ["oidc.exchange", "oidc.disable", "oidc.enable", "oidc.exchange"]
