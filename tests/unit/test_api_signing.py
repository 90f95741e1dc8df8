"""Are signing keys changed so that what is told and what signs are the same, and nothing is left of what failed?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access.secrets.signing import fingerprint
from storage.errors import Damaged, Full
from tests.harness.consoles import Console

BASE = "/repositories/acme/main/keys"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.ledger.close()


def told(console: Console) -> tuple[bytes, ...]:
    with console.ledger.catalog.read() as reading:
        repository = reading.repository("acme", "main")
    assert repository is not None
    return repository.certificates


async def listed(console: Console) -> list[str]:
    got = await console.call("main admin", "GET", BASE)
    assert got.status == 200
    return [one["fingerprint"] for one in got.json["items"]]


async def test_f13_a_key_is_added_told_and_retired(console: Console) -> None:
    assert await listed(console) == []
    names = [(await console.call("main admin", "POST", BASE)).json["fingerprint"] for _ in range(2)]
    assert await listed(console) == names
    old, new = told(console)
    assert console.signing.ensure("acme", "main", 1) == (old, new)
    gone = await console.call("main admin", "DELETE", f"{BASE}/{names[0].upper()}")
    assert (gone.status, gone.headers["entrepot-serial"][:5]) == (204, "acme=")
    assert told(console) == console.signing.ensure("acme", "main", 1) == (new,)
    with pytest.raises(Damaged):
        console.signing.seals("acme", "main", b"text", (old,))
    assert [entry.action for entry in console.ledger.entries] == ["key.add", "key.add", "key.retire"]
    again = await console.call("main admin", "DELETE", f"{BASE}/{names[0]}")
    last = await console.call("main admin", "DELETE", f"{BASE}/{names[1]}")
    assert (again.status, last.status) == (404, 409)
    assert told(console) == console.signing.ensure("acme", "main", 1) == (new,)


async def test_keys_are_for_admins_alone(console: Console) -> None:
    for role in ("writer", "reader", "auditor", "stranger", "anonymous"):
        for method, path in (("GET", BASE), ("POST", BASE), ("DELETE", f"{BASE}/00")):
            assert (await console.call(role, method, path)).status in (401, 403, 404)
    assert told(console) == ()


async def test_there_is_an_end_to_keys(console: Console) -> None:
    statuses = [(await console.call("main admin", "POST", BASE)).status for _ in range(5)]
    assert statuses == [201, 201, 201, 201, 409]
    assert len(told(console)) == 4


async def test_a_key_that_could_not_be_told_is_forgotten(tmp_path: Path) -> None:
    async def full(decide: object) -> None:
        raise Full("There is no room.")

    console = Console(tmp_path, commit=full)
    assert (await console.call("main admin", "POST", BASE)).status == 507
    assert "acme/main" not in (tmp_path / "signing.json").read_text()
    console.ledger.close()


async def test_a_lost_key_is_replaced_by_a_new_one(console: Console, tmp_path: Path) -> None:
    lost = (await console.call("main admin", "POST", BASE)).json["fingerprint"]
    (tmp_path / "signing.json").unlink()
    made = (await console.call("main admin", "POST", BASE)).json["fingerprint"]
    assert console.signing.seals("acme", "main", b"text", told(console))
    assert (await console.call("main admin", "DELETE", f"{BASE}/{lost}")).status == 204
    assert [fingerprint(one) for one in told(console)] == [made]
