"""Do recovery codes stand in for lost passkeys, each once, for who knows the password, and for nobody else? C"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.access.signin.onetime import recovery_hashes
from storage.nouns import SYSTEM, Account, Draft, Passkey, PutAccount
from tests.harness.browsing import Browser, invited
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS

WORDS = "a long way to a small town"
CODES = re.compile(r'<li class="code">([A-Z2-7-]{19})</li>')
AT = "/users/ann/recovery-codes"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


def account(console: Console) -> Account:
    with console.ledger.catalog.read() as reading:
        found = reading.account_named("user", "", "ann")
    assert found is not None
    return found


async def ann(console: Console) -> Browser:
    """Signed in, with a password and one passkey, which she is about to lose."""
    browser = await invited(console, "ann", WORDS)
    await browser.follow(await browser.sign_in("ann", WORDS))
    key = Passkey("pky_ann", "phone", b"credential", b"key", NOW_MS)
    after = msgspec.structs.replace(account(console), passkeys=(key,))
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(after),)))
    return browser


async def made(browser: Browser, password: str = WORDS) -> list[str]:
    page = await browser.get("/-/account")
    return CODES.findall((await browser.fill(page, "/-/account/recovery", password=password)).text)


async def tried(console: Console, code: str, peer: int, password: str = WORDS) -> int:
    return (await Browser(console, peer=f"198.51.100.{peer}").sign_in("ann", password, code)).status


async def test_a_code_stands_in_for_a_lost_passkey_once_and_only_beside_the_password(
    console: Console, tmp_path: Path
) -> None:
    browser = await ann(console)
    assert await tried(console, "", 1) == 401
    assert await made(browser, "not the password") == []
    codes = await made(browser)
    assert len(set(codes)) == 10
    assert codes[0] not in (await browser.get("/-/account")).text, "they are shown this once"
    for number, (code, password, status) in enumerate(
        (
            (codes[0], "another password", 401),
            (codes[0], WORDS, 303),
            (codes[0], WORDS, 401),
            (codes[1].lower().replace("-", " "), WORDS, 303),
            ("AAAA-AAAA-AAAA-AAAA", WORDS, 401),
        )
    ):
        assert await tried(console, code, 10 + number, password) == status, number
    assert "8 of them are left" in (await browser.get("/-/account")).text
    begun = [one.changes[0].token.sign_in.method for one in console.ledger.entries if one.action == "session.begin"]  # type: ignore[union-attr]
    assert begun == ["password and recovery"] * 2, "each use is in the audit"
    assert "recovery.set" in [one.action for one in console.ledger.entries]
    text = b"".join(one.read_bytes() for one in tmp_path.rglob("*") if one.is_file())
    for code in codes:
        assert code.encode() not in text
        assert code.replace("-", "").encode() not in text
    assert recovery_hashes((codes[2],))[0] in text, "C10: their hashes are what is kept"


async def test_new_codes_end_the_old_ones_and_the_sessions_of_before(console: Console) -> None:
    browser = await ann(console)
    old = await made(browser)
    other = Browser(console, peer="198.51.100.9")
    assert (await other.sign_in("ann", WORDS, old[0])).status == 303
    new = await made(browser)
    assert (await other.get("/-/account")).status == 303, "it began when other codes counted"
    assert (await browser.get("/-/account")).status == 200
    assert await tried(console, old[1], 1) == 401
    assert await tried(console, new[1], 2) == 303


async def test_by_the_api_with_the_password_or_by_an_administrator(console: Console) -> None:
    await ann(console)
    mine = await console.call("node admin", "POST", "/tokens", {"name": "mine", "owner": "user:ann"})
    assert mine.status == 201, mine.body
    console.tokens["ann"] = mine.json["token"]
    assert (await console.call("ann", "POST", AT, {})).status == 401, "a token alone weakens nothing (C8)"
    assert (await console.call("ann", "POST", AT, {"password": "wrong wrong wrong"})).status == 401
    got = await console.call("ann", "POST", AT, {"password": WORDS})
    assert (got.status, len(got.json["codes"]), got.json["made_ms"]) == (201, 10, account(console).recovery_ms)
    assert await tried(console, got.json["codes"][0], 1) == 303
    for role in ("acme admin", "stranger", "auditor"):
        assert (await console.call(role, "POST", AT, {"password": WORDS})).status == 403
    again = await console.call("node admin", "POST", AT, {})
    assert again.status == 201
    assert await tried(console, got.json["codes"][1], 2) == 401
    assert await tried(console, again.json["codes"][1], 3) == 303


async def test_guesses_are_limited_as_passwords_are(console: Console) -> None:
    browser = await ann(console)
    [code, *_] = await made(browser)
    seen = [await tried(console, "AAAA-AAAA-AAAA-AAAA", 7) for _ in range(console.services.sign_in.name_tries_max)]
    assert set(seen) == {401}
    assert await tried(console, code, 7) == 429
    page = await browser.get("/-/account")
    shown = [
        (await browser.fill(page, "/-/account/recovery", password="x")).status
        for _ in range(console.services.sign_in.name_tries_max + 1)
    ]
    assert shown[-1] == 429


async def test_who_has_nothing_that_could_be_lost_has_no_codes(console: Console) -> None:
    browser = await ann(console)
    [code, *_] = await made(browser)
    assert (await console.call("node admin", "DELETE", "/users/ann/passkeys/pky_ann")).status == 204
    assert account(console).recovery_ms == 0
    assert (await console.call("node admin", "POST", AT, {})).status == 409
    again = Browser(console)
    await again.follow(await again.sign_in("ann", WORDS))
    assert await made(again) == []
    after = msgspec.structs.replace(account(console), passkeys=(Passkey("pky_b", "b", b"c", b"k", NOW_MS),))
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(after),)))
    assert await tried(console, code, 3) == 401, "those of before do not come back"
