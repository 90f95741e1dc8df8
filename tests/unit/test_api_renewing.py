"""Does what ends in time go on for whoever has it, as far as it may: customers' tokens, and those that are rotated?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.nouns import Grant
from tests.harness.consoles import Console

AT, DAY_MS = "/workspaces/acme/entitlements", 24 * 3600 * 1000
FROM = {"X-Entrepot-Peer": "192.0.2.7"}


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


async def test_a_customer_keeps_its_token_when_it_pays_again(console: Console) -> None:
    made = await console.call("acme admin", "POST", AT, {"name": "shop", "expires_s": 60, "cidrs": ["192.0.2.0/24"]})
    console.tokens["shop"] = made.json["token"]
    console.now_ms += 61_000
    assert (await console.call("shop", "GET", "/whoami", None, FROM)).status == 401
    at = f"{AT}/{made.json['id']}"
    renewed = await console.call("acme admin", "PATCH", at, {"expires_s": 86_400})
    assert (renewed.json["state"], renewed.json["expires_ms"]) == ("active", console.now_ms + DAY_MS)
    assert renewed.json["cidrs"] == ["192.0.2.0/24"], "what is not named stays"
    assert (await console.call("shop", "GET", "/whoami", None, FROM)).status == 200
    later = await console.call("acme admin", "PATCH", at, {"from_s": 3600, "expires_s": 0, "cidrs": []})
    assert (later.json["limits"]["from_ms"], later.json["expires_ms"]) == (console.now_ms + 3_600_000, 0)
    assert "cidrs" not in later.json
    assert (await console.call("shop", "GET", "/whoami")).status == 401, "suspended until it begins"
    at_once = await console.call("acme admin", "PATCH", at, {"from_s": 0})
    assert at_once.json["limits"]["from_ms"] == 0
    assert (await console.call("shop", "GET", "/whoami")).status == 200


async def test_what_would_never_be_good_and_what_was_revoked_is_not_changed(console: Console) -> None:
    never = {"name": "shop", "from_s": 7200, "expires_s": 3600}
    assert (await console.call("acme admin", "POST", AT, never)).status == 400
    id = (await console.call("acme admin", "POST", AT, {"name": "shop", "from_s": 7200})).json["id"]
    assert (await console.call("acme admin", "PATCH", f"{AT}/{id}", {"expires_s": 3600})).status == 400
    assert (await console.call("acme admin", "PATCH", f"{AT}/{id}", {"cidrs": ["192.0.2.7/24"]})).status == 400
    assert (await console.call("acme admin", "DELETE", f"{AT}/{id}")).status == 200
    assert (await console.call("acme admin", "PATCH", f"{AT}/{id}", {"expires_s": 86_400})).status == 409


async def test_c8_a_rotated_token_lives_longer_only_by_whom_it_could_be_made(console: Console) -> None:
    console.add_token("build", Grant("acme"), expires_ms=console.now_ms + 60_000)
    at = f"/tokens/{console.ids['build']}/rotate"
    same = await console.call("acme admin", "POST", at, {"overlap_s": 30})
    assert same.json["expires_ms"] == console.now_ms + 60_000
    by_itself = await console.call("build", "POST", at, {"overlap_s": 30, "expires_s": 86_400})
    assert by_itself.json["expires_ms"] <= console.now_ms + 60_000
    longer = await console.call("acme admin", "POST", at, {"overlap_s": 30, "expires_s": 86_400})
    assert longer.json["expires_ms"] == console.now_ms + DAY_MS
