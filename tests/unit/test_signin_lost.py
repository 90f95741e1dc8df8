"""What is left of second factors, and of sessions, once an administrator has taken them away? (C5, C6)"""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.access.signin.vault import Device
from storage.nouns import SYSTEM, Draft, Passkey, PutAccount
from tests.harness.browsing import Browser, invited
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS

WORDS = "correct horse battery"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


async def secured(console: Console) -> Browser:
    """ann, who is signed in, and from now on has a device, a passkey and recovery codes besides."""
    ann = await invited(console, "ann", WORDS)
    assert (await ann.sign_in("ann", WORDS)).status == 303
    with console.ledger.catalog.read() as reading:
        account = reading.account_named("user", "", "ann")
    assert account is not None
    console.vault.put_device(account.id, NOW_MS, Device("JBSWY3DPEHPK3PXP"))
    console.vault.put_recovery(account.id, NOW_MS, (b"1" * 32,))
    held = (Passkey("pky_1", "phone", b"credential", b"key", NOW_MS),)
    after = msgspec.structs.replace(account, device_ms=NOW_MS, recovery_ms=NOW_MS, passkeys=held)
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(after),)))
    console.ledger.entries.clear()
    return ann


async def test_c6_a_reset_takes_everything_but_the_password_and_ends_every_session(console: Console) -> None:
    console.add_people("acme")
    alice = Browser(console)
    alice.cookies["entrepot"] = console.add_session("alice here", "usr_alice")
    ann = await secured(console)
    assert (await Browser(console, peer="192.0.2.2").sign_in("ann", WORDS)).status == 401
    made = await console.call("node admin", "POST", "/tokens", {"name": "box", "owner": "user:ann"})
    console.tokens["box"] = made.json["token"]
    console.ledger.entries.clear()
    assert (await console.call("writer", "DELETE", "/users/ann/second-factors")).status == 403
    assert (await console.call("node admin", "DELETE", "/users/ann/second-factors")).status == 204
    [entry] = console.ledger.entries
    assert (entry.action, entry.actor, len(entry.changes)) == ("factors.reset", console.ids["node admin"], 2)
    assert [(await one.get("/-/account")).status for one in (ann, alice)] == [303, 200]
    assert (await console.call("box", "GET", "/whoami")).status == 200, "tokens are revoked one by one"
    with console.ledger.catalog.read() as reading:
        account = reading.account_named("user", "", "ann")
    assert account is not None
    assert (account.device_ms, account.recovery_ms, account.passkeys) == (0, 0, ())
    assert console.vault.device(account.id, NOW_MS) is None, "nor is its secret kept"
    assert console.vault.recovery_left(account.id, NOW_MS) == 0
    again = Browser(console, peer="192.0.2.3")
    assert (await again.sign_in("ann", WORDS)).status == 303
    wrote = len(console.ledger.entries)
    assert (await console.call("node admin", "DELETE", "/users/ann/second-factors")).status == 204
    assert (await again.get("/-/account")).status == 303, "who asks again means it again"
    assert len(console.ledger.entries) == wrote + 1


async def test_c6_a_forgotten_device_ends_every_session_and_passkeys_stay(console: Console) -> None:
    ann = await secured(console)
    assert (await console.call("node admin", "DELETE", "/users/ann/device")).status == 204
    assert (await ann.get("/-/account")).status == 303
    held = await console.call("node admin", "GET", "/users/ann/passkeys")
    assert [one["id"] for one in held.json["items"]] == ["pky_1"]
    assert (await Browser(console, peer="192.0.2.2").sign_in("ann", WORDS)).status == 401, "a passkey is still due"


async def test_c5_nobody_else_is_told_or_reset(console: Console) -> None:
    ann = await secured(console)
    for role in ("anonymous", "acme admin", "writer", "reader"):
        for path in ("/users/ann/second-factors", "/users/ann/device", "/users/ann/sessions"):
            assert (await console.call(role, "DELETE", path)).status in (401, 403), (role, path)
    assert (await console.call("node admin", "DELETE", "/users/none/second-factors")).status == 404
    assert console.ledger.entries == []
    assert (await ann.get("/-/account")).status == 200


async def test_a_person_sees_where_he_is_in_and_ends_it(console: Console) -> None:
    ann = await invited(console, "ann", WORDS)
    await ann.sign_in("ann", WORDS)
    other = Browser(console, peer="192.0.2.9")
    await other.sign_in("ann", WORDS)
    seen = json.loads((await ann.get("/-/api/v1/sessions")).text)["items"]
    assert len([one for one in seen if one["state"] == "active"]) == 2, seen
    page = await ann.get("/-/account")
    [theirs] = [one["id"] for one in seen if not one["own"]]
    assert (await ann.fill(page, "/-/account/end-session", id=theirs)).status == 303
    assert [(await one.get("/-/account")).status for one in (ann, other)] == [200, 303]
