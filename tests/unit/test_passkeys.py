"""Does a passkey sign in its own person, and nobody else in any way?"""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.following.scope import Scope
from gateway.access.signin import passkeys
from gateway.config import SignIn
from storage.errors import Invalid, Unauthenticated
from storage.nouns import SYSTEM, Account, Draft, Membership, Passkey, PutAccount, PutMembership
from tests.harness.authenticators import Authenticator, bytes_of, text
from tests.harness.browsing import Browser, Seen, invited
from tests.harness.consoles import Console

WORDS = "correct horse battery"
URL = "https://pkgs.example:8443"
ALONE, BOTH = "/-/sign-in/passkey", "/-/sign-in/password-and-passkey"
SITE = passkeys.site_of(URL)
assert SITE is not None
ASKED = re.compile(r'data-asked="([^"]+)"')
REFUSED = "This passkey is not known here"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path, sign_in=SignIn(url=URL, password_memory_kib=64, password_passes=1))
    yield made
    made.vault.close()
    made.ledger.close()


class Visitor(Browser):
    """A browser of these pages, over TLS."""

    def __init__(self, console: Console, peer: str = "192.0.2.7") -> None:
        super().__init__(console, scheme="https", peer=peer)

    async def asked(self, address: str) -> tuple[Seen, dict[str, Any]]:
        page = await self.get(address)
        assert page.status == 200, page.text
        return page, asked_on(page)


def asked_on(page: Seen) -> dict[str, Any]:
    found = ASKED.search(page.text)
    assert found is not None, page.text
    told: dict[str, Any] = json.loads(unescape(found[1]))
    return told


async def registered(
    console: Console, name: str = "ann", credential: bytes = b"of ann"
) -> tuple[Visitor, Authenticator]:
    """Somebody who is signed in with a password and has a passkey."""
    await invited(console, name, WORDS)
    visitor = Visitor(console)
    await visitor.sign_in(name, WORDS)
    return visitor, await added(visitor, "laptop", credential)


async def added(visitor: Visitor, name: str, credential: bytes) -> Authenticator:
    device = Authenticator(URL, credential)
    account = await visitor.get("/-/account")
    page = await visitor.fill(account, "/-/account/passkeys/begin", name=name, password=WORDS)
    assert page.status == 200, page.text
    done = await visitor.fill(page, "/-/account/passkeys/confirm", credential=device.create(asked_on(page)))
    assert (done.status, "recovery codes" in done.text) in ((200, True), (303, False)), done.text
    return device


async def shown(visitor: Visitor, device: Authenticator, **changed: Any) -> Seen:
    page, asked = await visitor.asked(ALONE)
    return await visitor.fill(page, ALONE, credential=device.get(asked, **changed))


# ---------------------------------------------------------------- what works


async def test_a_passkey_is_registered_named_used_alone_and_told_of(console: Console) -> None:
    visitor, device = await registered(console)
    other = Visitor(console)
    page, asked = await other.asked(f"{ALONE}?next=/-/device")
    assert asked["userVerification"] == "required"
    assert asked["rpId"] == "pkgs.example"
    assert not asked.get("allowCredentials"), "nobody is named, so nothing tells whether there is such a name"
    console.now_ms += 60_000
    done = await other.fill(page, ALONE, credential=device.get(asked))
    assert (done.status, done.location) == (303, "/-/device")
    account = await other.get("/-/account")
    assert '<td data-of="by">passkey</td>' in account.text
    assert "laptop" in account.text
    assert [one.action for one in console.ledger.entries][-2:] == ["passkey.add", "session.begin"]
    listed = (await console.call("node admin", "GET", "/users/ann/passkeys")).json["items"]
    assert [(one["name"], one["used_ms"] - one["created_ms"]) for one in listed] == [("laptop", 60_000)]
    assert (await visitor.get("/-/account")).status == 200, "who registers it stays signed in"


async def test_several_passkeys_and_the_other_sessions_end_when_one_comes_or_goes(console: Console) -> None:
    visitor, first = await registered(console)
    elsewhere = Visitor(console)
    assert (await shown(elsewhere, first)).status == 303
    second = await added(visitor, "security key", b"of the key")
    assert (await elsewhere.get("/-/account")).status == 303, "signed out"
    assert (await shown(elsewhere, second)).status == 303
    account = await visitor.get("/-/account")
    ids = dict(re.findall(r'<option value="(pky_\w+)">([^<]+)<', account.text))
    assert list(ids.values()) == ["laptop", "security key"]
    gone = next(id for id, name in ids.items() if name == "laptop")
    wrong = await visitor.fill(account, "/-/account/passkeys/remove", id=gone, password="something else")
    assert wrong.status == 400
    done = await visitor.send(
        "POST", "/-/account/passkeys/remove", urlencode({"form": account.hidden["form"], "id": gone, "password": WORDS})
    )
    assert done.status == 303, done.text
    assert (await elsewhere.get("/-/account")).status == 303
    assert (await shown(elsewhere, first)).status == 401
    assert (await shown(elsewhere, second)).status == 303
    assert "passkey.remove" in [one.action for one in console.ledger.entries]


async def test_c_a_password_alone_is_not_enough_once_there_is_a_passkey(console: Console) -> None:
    _, device = await registered(console)
    other = Visitor(console)
    alone = await other.sign_in("ann", WORDS)
    assert alone.status == 401
    page, asked = await other.asked(BOTH)
    assert asked["userVerification"] == "discouraged"
    device.verified = False
    assert (await shown(Visitor(console), device)).status == 401, "alone it has to know its person"
    done = await other.fill(page, BOTH, name="ann", password=WORDS, credential=device.get(asked))
    assert done.status == 303, done.text
    assert '<td data-of="by">password and passkey</td>' in (await other.get("/-/account")).text


async def test_c_what_was_wrong_beside_a_password_is_not_told(console: Console) -> None:
    _, device = await registered(console)
    await invited(console, "bob", WORDS)
    bobs = Authenticator(URL, b"of nobody")
    bobs.user = device.user
    told, entries = set(), len(console.ledger.entries)
    for name, password, signer in (
        ("ann", "wrong", device), ("bob", WORDS, device), ("nobody", WORDS, device), ("ann", WORDS, bobs),
    ):  # fmt: skip
        other = Visitor(console, peer=f"198.51.100.{len(told)}")
        page, asked = await other.asked(BOTH)
        seen = await other.fill(page, BOTH, name=name, password=password, credential=signer.get(asked))
        assert seen.status == 401
        told.add(re.sub(r'value="[0-9a-f]{64}"|data-asked="[^"]+"', "", seen.text))
    assert len(told) == 1
    assert len(console.ledger.entries) == entries


# ---------------------------------------------------------------- challenges


async def test_c13_a_challenge_is_for_one_browser_one_purpose_one_time_and_not_for_long(console: Console) -> None:
    visitor, device = await registered(console)
    other, thief = Visitor(console), Visitor(console)
    page, asked = await other.asked(ALONE)
    stolen = device.get(asked)
    theirs, _ = await thief.asked(ALONE)
    assert (await thief.fill(theirs, ALONE, credential=stolen)).status == 401, "of another browser"
    elsewhere, _ = await other.asked(BOTH)
    assert (await other.fill(elsewhere, BOTH, name="ann", password=WORDS, credential=stolen)).status == 401
    assert (await other.fill(page, ALONE, credential=stolen)).status == 303
    again = await other.get(ALONE)
    device.count = 100
    assert (await other.fill(again, ALONE, credential=stolen)).status == 401, "answered before"
    late, asked = await other.asked(ALONE)
    console.now_ms += 601_000
    assert (await other.fill(late, ALONE, credential=device.get(asked))).status == 401
    fresh = await shown(other, device)
    assert fresh.status == 303
    seen, _ = await visitor.asked(ALONE)
    made_up = {"challenge": text(console.now_ms.to_bytes(8) + bytes(48)), "rpId": "pkgs.example"}
    assert (await visitor.fill(seen, ALONE, credential=device.get(made_up))).status == 401


async def test_e10_a_clock_that_is_set_back_does_not_make_a_challenge_good_again(tmp_path: Path) -> None:
    latest_ms = [0]
    limits = SignIn(url=URL, password_memory_kib=64, password_passes=1)
    console = Console(tmp_path, sign_in=limits, latest_ms=lambda: latest_ms[0])
    _, device = await registered(console)
    device.count = None
    other = Visitor(console)
    page, asked = await other.asked(ALONE)
    answer = device.get(asked)
    assert (await other.fill(page, ALONE, credential=answer)).status == 303
    latest_ms[0] = console.now_ms + 700_000
    assert (await shown(Visitor(console), device)).status == 303, "and what was answered before is forgotten"
    assert (await other.fill(await other.get(ALONE), ALONE, credential=answer)).status == 401
    console.vault.close()
    console.ledger.close()


async def test_c13_registering_needs_the_password_and_a_page_of_this_session(console: Console) -> None:
    visitor, device = await registered(console)
    account = await visitor.get("/-/account")
    wrong = await visitor.fill(account, "/-/account/passkeys/begin", name="x", password="something else")
    assert (wrong.status, ASKED.search(wrong.text)) == (400, None)
    _, asked = await visitor.asked(ALONE)  # a challenge that is got without the password
    fields = {"name": "x", "credential": Authenticator(URL, b"new").create(asked | _of(device))}
    assert (await visitor.fill(account, "/-/account/passkeys/confirm", **fields)).status == 400
    page = await visitor.fill(account, "/-/account/passkeys/begin", name="x", password=WORDS)
    asked = asked_on(page)
    bob = await _signed_in(console, "bob")
    fields = {"name": "x", "credential": Authenticator(URL, b"new").create(asked)}
    assert (await bob.fill(await bob.get("/-/account"), "/-/account/passkeys/confirm", **fields)).status == 400
    twice = await visitor.fill(page, "/-/account/passkeys/confirm", credential=device.create(asked))
    assert twice.status == 409, "registered already"
    assert [one["id"] for one in asked["excludeCredentials"]] == [text(b"of ann")]
    assert asked["authenticatorSelection"]["residentKey"] == "required"


def _of(device: Authenticator) -> dict[str, Any]:
    return {"user": {"id": text(device.user)}, "rp": {"id": "pkgs.example"}}


async def _signed_in(console: Console, name: str) -> Visitor:
    await invited(console, name, WORDS)
    visitor = Visitor(console)
    assert (await visitor.sign_in(name, WORDS)).status == 303
    return visitor


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "https://pkgs.example"},
        {"origin": "https://evil.example:8443"},
        {"origin": "https://sub.pkgs.example:8443"},
        {"crossOrigin": True},
        {"topOrigin": "https://evil.example"},
        {"type": "webauthn.create"},
        {"type": "payment.get"},
    ],
    ids=str,
)
async def test_c13_what_another_site_has_got_signed_is_refused(console: Console, changed: dict[str, Any]) -> None:
    _, device = await registered(console)
    seen = await shown(Visitor(console), device, **changed)
    assert seen.status == 401
    assert REFUSED in seen.text
    assert ASKED.search(seen.text), "and a new challenge to try again with"


async def test_a_passkey_of_another_site_and_of_another_key_is_refused(console: Console) -> None:
    _, device = await registered(console)
    visitor = Visitor(console)
    page, asked = await visitor.asked(ALONE)
    assert (await visitor.fill(page, ALONE, credential=device.get(asked | {"rpId": "evil.example"}))).status == 401
    forger = Authenticator(URL, device.credential)
    forger.user, forger.count = device.user, 50
    assert (await shown(visitor, forger)).status == 401
    device.user = b"usr_somebodyelse"
    assert (await shown(visitor, device)).status == 401


async def test_a_counter_that_does_not_go_up_is_a_copy(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    _, device = await registered(console)
    visitor = Visitor(console)
    device.count = 6
    assert (await shown(visitor, device)).status == 303
    for count in (2, 6, None):  # an earlier one, the same again, and none any more
        device.count = count if count is None else count - 1
        assert (await shown(Visitor(console), device)).status == 401
        assert "a copy?" in caplog.text
        caplog.clear()
    device.count = 7
    assert (await shown(Visitor(console), device)).status == 303


async def test_an_authenticator_without_a_counter_is_taken_again_and_again(console: Console) -> None:
    _, device = await registered(console)
    device.count = None
    for _ in range(2):
        assert (await shown(Visitor(console), device)).status == 303


async def test_c6_who_was_closed_signs_in_no_more_and_what_was_kept_of_passkeys_is_gone(console: Console) -> None:
    visitor, device = await registered(console)
    assert (await console.call("node admin", "DELETE", "/users/ann")).status == 204
    assert (await visitor.get("/-/account")).status == 303
    assert (await shown(Visitor(console), device)).status == 401
    with console.ledger.catalog.read() as reading:
        closed = reading.account(device.user.decode())
    assert closed is not None
    assert closed.passkeys == ()
    await invited(console, "ann", WORDS)
    assert (await shown(Visitor(console), device)).status == 401, "the name is somebody else's now"


async def test_c6_a_managed_user_has_no_passkeys_here(console: Console) -> None:
    """Who is suspended at the identity provider must be out, so it alone signs them in."""
    mia = Account("usr_mia", "managed", "mia@acme.example", "acme", password_ms=1)
    console.ledger.write(Draft(SYSTEM, "", "t", "t", (PutAccount(mia),)))
    console.ledger.write(Draft("acme", "", "t", "t", (PutMembership(Membership(mia.id, "member")),)))
    visitor = Visitor(console)
    visitor.cookies["__Host-entrepot"] = console.add_session("mia", mia.id)
    await console.signing_in.passwords.hash(WORDS)
    console.vault.put_password(mia.id, 1, await console.signing_in.passwords.hash(WORDS))
    account = await visitor.get("/-/account")
    seen = await visitor.fill(account, "/-/account/passkeys/begin", name="x", password=WORDS)
    assert seen.status == 400
    assert "Your identity provider signs you in." in seen.text


async def test_without_a_site_there_are_no_passkeys(tmp_path: Path) -> None:
    console = Console(tmp_path)
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    assert "[sign_in] url" in (await browser.get("/-/account")).text
    assert (await browser.get(ALONE)).status == 404
    assert "passkey?" not in (await browser.get("/-/sign-in")).text
    console.vault.close()
    console.ledger.close()


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://pkgs.example", ("pkgs.example", "https://pkgs.example")),
        ("https://Pkgs.Example:8443/", ("pkgs.example", "https://pkgs.example:8443")),
        ("https://pkgs.example:443", ("pkgs.example", "https://pkgs.example")),
        ("https://pkgs.example:x", None),
        ("http://localhost:8080", ("localhost", "http://localhost:8080")),
        ("http://pkgs.example", None),
        ("https://192.0.2.1", None),
        ("https://[2001:db8::1]:8443", None),
        ("", None),
        ("pkgs.example", None),
        ("https://[", None),
    ],
)
def test_the_site_is_what_people_reach_the_node_by(url: str, site: tuple[str, str] | None) -> None:
    assert passkeys.site_of(url) == site


# ---------------------------------------------------------------- hostile input


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_c_random_bytes_are_refused_in_order(raw: bytes) -> None:
    assert SITE is not None
    with pytest.raises(Unauthenticated):
        passkeys.read_shown(raw.decode("utf-8", "replace"))
    kept = Passkey("pky_x", "x", b"x", raw, 0)
    client = json.dumps({"type": "webauthn.get", "challenge": "AA", "origin": URL}).encode()
    response = {
        "clientDataJSON": text(client), "authenticatorData": text(raw), "signature": text(raw),
        "attestationObject": text(raw),
    }  # fmt: skip
    told = passkeys.read_shown(json.dumps({"id": "eA", "type": "public-key", "response": response}))
    with pytest.raises(Unauthenticated):
        passkeys.counted(SITE, told, kept, passkeys.ALONE)
    with pytest.raises(Invalid):
        passkeys.made(SITE, told, "pky_x", "x", 0)


@given(st.integers(0, 400), st.integers(0, 255))
def test_c_one_changed_byte_of_what_is_registered_is_refused_or_harmless(at: int, byte: int) -> None:
    assert SITE is not None
    device = Authenticator(URL)
    asked = {"user": {"id": text(b"usr_x")}, "rp": {"id": "pkgs.example"}, "challenge": "AA"}
    told = json.loads(device.create(asked))
    raw = bytearray(bytes_of(told["response"]["attestationObject"]))
    raw[at % len(raw)] = byte
    told["response"]["attestationObject"] = text(bytes(raw))
    try:
        made = passkeys.made(SITE, passkeys.read_shown(json.dumps(told)), "pky_x", "x", 0)
    except Invalid:
        return
    answer = passkeys.read_shown(device.get({"challenge": "AA", "rpId": "pkgs.example"}))
    try:
        passkeys.counted(SITE, answer, made, passkeys.ALONE)
    except Unauthenticated:
        return


def test_c_a_certificate_that_was_not_asked_for_and_a_huge_key_are_refused() -> None:
    assert SITE is not None
    device = Authenticator(URL)
    asked = {"user": {"id": text(b"usr_x")}, "rp": {"id": "pkgs.example"}, "challenge": "AA"}
    told = json.loads(device.create(asked))
    data = bytes_of(told["response"]["attestationObject"])
    for old, new in ((b"dnone", b"epack3"), (b"dnone", b"ctpm")):
        changed = dict(told, response=told["response"] | {"attestationObject": text(data.replace(old, new))})
        with pytest.raises(Invalid):
            passkeys.made(SITE, passkeys.read_shown(json.dumps(changed)), "pky_x", "x", 0)


# ---------------------------------------------------------------- the API


async def test_c5_c8_passkeys_are_told_to_their_person_and_to_administrators(console: Console) -> None:
    visitor, _ = await registered(console)
    await invited(console, "bob", WORDS)
    listed = await console.call("node admin", "GET", "/users/ann/passkeys")
    id = listed.json["items"][0]["id"]
    assert set(listed.json["items"][0]) == {"id", "user", "name", "created_ms", "used_ms", "synced"}
    own = await visitor.send("GET", "/-/api/v1/users/ann/passkeys")
    assert (own.status, json.loads(own.text)["items"][0]["id"]) == (200, id)
    with console.ledger.catalog.read() as reading:
        ann = reading.account_named("user", "", "ann")
    assert ann is not None
    for role in ("stranger", "auditor", "acme admin"):
        for method in ("GET", "DELETE"):
            told = {
                (got.status, got.body)
                for name in ("ann", "nobody", "bob")
                for got in [await console.call(role, method, f"/users/{name}/passkeys/{id}")]
            }
            assert {status for status, _ in told} == {403}
            assert len(told) == 1
    assert (await console.call("node admin", "GET", "/users/bob/passkeys")).json["items"] == []
    mark = (await visitor.get("/-/account")).hidden["form"]
    last = await visitor.send("DELETE", f"/-/api/v1/users/ann/passkeys/{id}", Entrepot_Form=mark)
    assert last.status == 409, "the password alone would be enough then"
    assert (await console.call("node admin", "DELETE", f"/users/ann/passkeys/{id}")).status == 204
    assert (await visitor.get("/-/account")).status == 303, "and is signed out"
    assert (await visitor.sign_in("ann", WORDS)).status == 303, "by the password again"


async def test_c8_a_token_that_is_limited_sees_and_removes_none(console: Console) -> None:
    visitor, _ = await registered(console)
    with console.ledger.catalog.read() as reading:
        ann = reading.account_named("user", "", "ann")
    assert ann is not None
    membership = PutMembership(Membership(ann.id, "owner"))
    console.ledger.write(Draft("acme", "", "t", "t", (membership,)))
    mark = (await visitor.get("/-/account")).hidden["form"]
    statuses = []
    for body in ('{"name": "whole"}', '{"name": "narrow", "grants": [{"scope": "acme"}]}'):
        made = await visitor.send("POST", "/-/api/v1/tokens", body, Content_Type="application/json", Entrepot_Form=mark)
        assert made.status == 201, made.text
        console.tokens["own"] = json.loads(made.text)["token"]
        statuses.append((await console.call("own", "GET", "/users/ann/passkeys")).status)
    assert statuses == [200, 403]


def test_f5_an_edge_that_sees_some_workspaces_is_told_no_key() -> None:
    passkey = Passkey("pky_x", "laptop", b"credential", b"key", 5, count=7, used_ms=9)
    ann = Account("usr_ann", "user", "ann", passkeys=(passkey,))
    scope = Scope("edge", "eu", frozenset({"acme"}), frozenset({ann.id}))
    seen = scope._change(PutAccount(ann))
    assert isinstance(seen, PutAccount)
    assert seen.account.passkeys == (Passkey("pky_x", "laptop", b"", b"", 5, used_ms=9),)
