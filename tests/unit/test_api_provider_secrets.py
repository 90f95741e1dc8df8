"""Is a secret that a provider for people gave kept for as long as the provider is there, and no longer?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.consoles import Console, Got

CANARY = "canary-7c41"
OWNER = "node admin"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


async def add(console: Console, **body: Any) -> Got:
    asked = {
        "name": "corp",
        "issuer": "https://id.example/",
        "audience": "entrepot",
        "people": {"client_secret": CANARY},
    }
    return await console.call(OWNER, "POST", "/workspaces/acme/providers", asked | body)


async def test_c11_a_secret_goes_with_its_provider(console: Console, tmp_path: Path) -> None:
    kept = tmp_path / "secrets.json"
    assert (await add(console)).status == 201
    assert kept.read_text().count(CANARY) == 1
    again = await add(console, name="again")
    assert again.status == 409, "a provider of this issuer is there"
    assert CANARY not in str(again.body)
    assert kept.read_text().count(CANARY) == 1, "what was refused leaves nothing behind"
    assert (await console.call(OWNER, "DELETE", "/workspaces/acme/providers/corp")).status == 204
    assert CANARY not in kept.read_text()
