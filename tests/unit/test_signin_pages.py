"""Do people sign in on the pages, and nobody else?"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyotp import TOTP

from gateway.access.signin.sessions import form_mark
from gateway.console.api import PAGES
from gateway.console.signin.addresses import onward
from storage.nouns import Grant
from tests.harness.browsing import Browser, Seen, invited
from tests.harness.consoles import Console, basic

WORDS = "correct horse battery"
SECRET = re.compile(r'id="secret">([A-Z2-7]+)<')
CODES = re.compile(r'<li class="code">([A-Z2-7-]+)<')


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


async def test_a_link_sets_a_password_once_and_the_password_signs_in(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    account = await browser.follow(await browser.sign_in("ann", WORDS))
    assert account.status == 200
    assert "Firefox on Linux" in account.text
    assert [entry.action for entry in console.ledger.entries] == [
        "user.create", "password.link", "password.set", "session.begin",
    ]  # fmt: skip
    told = await browser.get("/-/api/v1/whoami")
    assert '"kind":"session"' in told.text
    listed = await console.call("node admin", "GET", "/sessions?user=ann")
    assert [(one["user"], one["method"], one["state"]) for one in listed.json["items"]] == [
        ("ann", "password", "active")
    ]


async def test_c10_what_is_kept_tells_no_password_and_no_session(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    text = browser.cookies["entrepot"]
    root = console.secrets._file._path.parent
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"$argon2id$" in kept
    assert WORDS.encode() not in kept
    assert text.encode() not in kept


async def test_c_a_wrong_name_a_wrong_password_and_a_wrong_code_are_told_alike(console: Console) -> None:
    await invited(console, "ann", WORDS)
    await console.call("node admin", "POST", "/users", {"name": "without"})
    told = set()
    for name, password in (("ann", "wrong"), ("nobody", WORDS), ("without", WORDS), ("../x", WORDS), ("", "")):
        browser = Browser(console, peer=f"192.0.2.{len(name)}")
        seen = await browser.sign_in(name, password)
        assert seen.status == 401
        assert "entrepot" not in browser.cookies
        told.add(re.sub(r'value="[0-9a-f]{64}"', "", seen.text))
    assert len(told) == 1


async def test_c_tries_are_limited_by_name_and_address_before_they_are_looked_at(console: Console) -> None:
    await invited(console, "ann", WORDS)
    guessing, other = Browser(console, peer="203.0.113.9"), Browser(console, peer="198.51.100.1")
    for name in ("ann", "nobody"):
        statuses = [(await guessing.sign_in(name, f"guess {n}")).status for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2, f"{name}: whether there is such a name makes no difference"
    last = await guessing.sign_in("ann", WORDS)
    assert last.status == 429
    assert int(last.headers["Retry-After"]) > 0
    assert (await other.sign_in("ann", WORDS)).status == 303, "who guesses locks out himself alone"


async def test_c13_a_new_session_at_each_sign_in_and_the_old_one_ends(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    browser.cookies["entrepot"] = "ens_" + "A" * 43
    await browser.sign_in("ann", WORDS)
    first = browser.cookies["entrepot"]
    assert first != "ens_" + "A" * 43
    page = await browser.get("/-/sign-in")
    await browser.fill(page, "/-/sign-in", name="ann", password=WORDS)
    assert browser.cookies["entrepot"] != first
    browser.cookies["entrepot"] = first
    assert (await browser.get("/-/account")).location.startswith("/-/sign-in?next=")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_c13_the_cookie_is_for_this_host_and_for_no_script(console: Console, scheme: str) -> None:
    await invited(console, "ann", WORDS)
    browser = Browser(console, scheme=scheme)
    await browser.sign_in("ann", WORDS)
    prefix, secure = ("__Host-", "; Secure") if scheme == "https" else ("", "")
    told = next(one for one in browser.set_cookies if one.startswith(f"{prefix}entrepot="))
    assert told.endswith(f"; Path=/; HttpOnly; SameSite=Lax{secure}")
    if scheme == "https":  # what another host or a plain connection can set is not looked at
        browser.cookies["entrepot"] = browser.cookies.pop("__Host-entrepot")
        assert (await browser.get("/-/account")).status == 303


async def test_c13_forms_of_other_sites_are_refused(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    mark = form_mark(browser.cookies["entrepot"])
    count = len(console.ledger.entries)
    forged: tuple[tuple[str, dict[str, str]], ...] = (
        ("", {}),
        (form_mark("x"), {}),
        (mark, {"Origin": "https://evil.example"}),
        (mark, {"Origin": "null"}),
        (mark, {"Sec_Fetch_Site": "cross-site"}),
        (mark, {"Sec_Fetch_Site": "same-site"}),
    )
    for page in PAGES:
        if page.method == "POST" and page.signed_in:
            for said, headers in forged:
                seen = await browser.send("POST", page.rule, urlencode({"form": said}), **headers)
                assert seen.status == 403, page.rule
    for method, headers in (("POST", {}), ("POST", {"Entrepot_Form": form_mark("x")})):
        told = await browser.send(
            method, "/-/api/v1/tokens", '{"name": "x"}', Content_Type="application/json", **headers
        )
        assert told.status == 403
    assert len(console.ledger.entries) == count
    made = await browser.send(
        "POST", "/-/api/v1/tokens", '{"name": "x"}', Content_Type="application/json", Entrepot_Form=mark
    )
    assert made.status == 201, "a page of ours may"


async def test_c13_login_itself_cannot_be_forged(console: Console) -> None:
    """Or somebody is made to work in another one's account."""
    await invited(console, "ann", WORDS)
    victim, thief = Browser(console), Browser(console)
    page = await thief.get("/-/sign-in")
    await victim.get("/-/sign-in")
    assert (await victim.fill(page, "/-/sign-in", name="ann", password=WORDS)).status == 403


@pytest.mark.parametrize(
    "next",
    [
        "https://evil.example/", "//evil.example/-/", "/-//evil.example", "\\\\evil.example", "/\\evil.example",
        "javascript:alert(1)", "/acme/main/generic/x.html", "/-/a\r\nSet-Cookie: x=y", "/-/\\evil", "", "/-/\x00",
    ],
)  # fmt: skip
def test_c13_nobody_is_sent_on_elsewhere(next: str) -> None:
    assert onward(next) == "/-/account"


@given(st.text())
def test_c13_whatever_next_says_the_way_leads_to_our_own_pages(text: str) -> None:
    assert onward(text).startswith("/-/")
    assert not set(onward(text)) & set("\r\n\t \\")
    assert onward("/-/device?user_code=BCDF-GHJK") == "/-/device?user_code=BCDF-GHJK"


async def test_pages_are_closed_to_scripts_frames_and_other_hosts(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    for address in ("/-/sign-in", "/-/account", "/-/set-password"):
        seen = await browser.get(address)
        policy = seen.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert seen.headers["Cache-Control"] == "no-store"
        assert "<script" not in seen.text


async def _with_device(console: Console) -> tuple[Browser, TOTP, list[str]]:
    browser = await invited(console, "ann", WORDS)
    account = await browser.follow(await browser.sign_in("ann", WORDS))
    shown = await browser.fill(account, "/-/account/device/begin", password=WORDS)
    found = SECRET.search(shown.text)
    assert found is not None, shown.text
    totp = TOTP(found[1])
    at = shown.hidden["at"]
    wrong = await browser.fill(shown, "/-/account/device/confirm", at=at, code="000000")
    assert wrong.status == 400
    done = await browser.fill(shown, "/-/account/device/confirm", at=at, code=_code(console, totp))
    codes = CODES.findall(done.text)
    assert len(codes) == 10, done.text
    return browser, totp, codes


def _code(console: Console, totp: TOTP) -> str:
    return totp.generate_otp(console.now_ms // 30_000)


async def test_one_time_codes_are_asked_for_once_they_are_set_up_and_good_once(console: Console) -> None:
    _, totp, codes = await _with_device(console)
    for peer, code, status in (
        ("1", "", 401),
        ("2", _code(console, totp), 401),  # it was shown when they were set up
        ("3", codes[0], 303),
        ("4", codes[0], 401),
        ("5", codes[1].lower(), 303),
    ):
        seen = await Browser(console, peer=f"192.0.2.{peer}").sign_in("ann", WORDS, code)
        assert seen.status == status, (peer, seen.text)
    console.now_ms += 30_000
    code = _code(console, totp)
    assert (await Browser(console, peer="192.0.2.8").sign_in("ann", WORDS, code)).status == 303
    assert (await Browser(console, peer="192.0.2.9").sign_in("ann", WORDS, code)).status == 401
    begun = [one for one in console.ledger.entries if one.action == "session.begin"]
    methods = [one.changes[0].token.sign_in.method for one in begun]  # type: ignore[union-attr]
    assert methods == ["password", "password and recovery", "password and recovery", "password and totp"]


async def test_an_administrator_forgets_a_lost_device(console: Console) -> None:
    await _with_device(console)
    assert (await console.call("node admin", "DELETE", "/users/ann/device")).status == 204
    assert (await Browser(console).sign_in("ann", WORDS)).status == 303
    assert console.ledger.entries[-2].action == "device.forget"


async def test_c6_a_new_password_ends_all_sessions_and_the_link_with_it(console: Console) -> None:
    first = await invited(console, "ann", WORDS)
    await first.sign_in("ann", WORDS)
    second = await invited(console, "ann", "another horse battery")
    assert (await first.get("/-/account")).status == 303
    assert (await second.sign_in("ann", WORDS)).status == 401
    page = await second.follow(await second.sign_in("ann", "another horse battery"))
    third = Browser(console, peer="192.0.2.30")
    await third.sign_in("ann", "another horse battery")
    fields = {"old": "another horse battery", "new": "third horse battery", "again": "third horse battery"}
    assert (await second.fill(page, "/-/account/password", **fields | {"old": "wrong"})).status == 400
    assert (await second.fill(page, "/-/account/password", **fields | {"again": "other horse"})).status == 400
    assert (await second.fill(page, "/-/account/password", **fields)).status == 303
    assert (await second.get("/-/account")).status == 200, "the one in which it was changed goes on"
    assert (await third.get("/-/account")).status == 303


async def test_a_link_is_good_once_for_a_day_and_for_the_latest_only(console: Console) -> None:
    await console.call("node admin", "POST", "/users", {"name": "ann"})

    async def link() -> str:
        made = await console.call("node admin", "POST", "/users/ann/password-link")
        return "/-/set-password" + str(made.json["link"]).partition("/-/set-password")[2]

    browser = Browser(console)
    old, new = await link(), await link()
    assert (await browser.get(old)).status == 400
    page = await browser.get(new)
    for weak in ("short", "aaaaaaaaaaaaaaaa", "my name is ann ok"):
        assert (await browser.fill(page, "/-/set-password", new=weak, again=weak)).status == 400
    assert (await browser.fill(page, "/-/set-password", new=WORDS, again=WORDS)).status == 303
    assert (await browser.fill(page, "/-/set-password", new=WORDS, again=WORDS)).status == 400
    late = await link()
    console.now_ms += 24 * 3600 * 1000
    assert (await browser.get(late)).status == 400


async def test_c6_a_session_ends_with_its_account_and_its_rights_with_the_membership(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    member = {"role": "manager"}
    assert (await console.call("node admin", "PUT", "/workspaces/acme/members/user:ann", member)).status == 200
    assert (await browser.get("/-/api/v1/workspaces/acme/members")).status == 200
    assert (await console.call("node admin", "DELETE", "/workspaces/acme/members/user:ann")).status == 204
    assert (await browser.get("/-/api/v1/workspaces/acme/members")).status in (403, 404)
    assert (await browser.get("/-/account")).status == 200
    with console.ledger.catalog.read() as reading:
        account = reading.account_named("user", "", "ann")
    assert account is not None
    assert console.vault.password(account.id, account.password_ms)
    assert (await console.call("node admin", "DELETE", "/users/ann")).status == 204
    assert console.vault.password(account.id, account.password_ms) == ""
    assert (await browser.get("/-/account")).status == 303
    assert (await browser.get("/-/api/v1/whoami")).status == 401
    assert (await browser.sign_in("ann", WORDS)).status == 401


async def test_sessions_end_when_nothing_is_done_and_in_any_case_after_a_week(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    hour = 3600 * 1000
    for _ in range(20):  # 140 hours
        console.now_ms += 7 * hour
        assert (await browser.get("/-/api/v1/whoami")).status == 200
    renewals = [one for one in console.ledger.entries if one.action == "session.renew"]
    assert len(renewals) == 20
    assert (await browser.get("/-/api/v1/whoami")).status == 200
    assert len([one for one in console.ledger.entries if one.action == "session.renew"]) == 20, "not each time"
    console.now_ms += 7 * hour
    assert (await browser.get("/-/account")).status == 200
    console.now_ms += 7 * hour
    assert (await browser.get("/-/account")).status == 200
    console.now_ms += 7 * hour
    assert (await browser.get("/-/account")).status == 200
    console.now_ms += 7 * hour  # 168 hours are a week
    assert (await browser.get("/-/account")).status == 303
    await browser.sign_in("ann", WORDS)
    console.now_ms += 8 * hour
    assert (await browser.get("/-/account")).status == 303


async def test_what_is_over_leaves_the_index(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    for _ in range(3):
        await browser.sign_in("ann", WORDS)
        browser.cookies.clear()
    with console.ledger.catalog.read() as reading:
        assert len(list(reading.sign_ins())) == 3
    last = console.ledger.entries[-1]
    week = msgspec.structs.replace(last, serial=last.serial + 1, at_ms=last.at_ms + 9 * 24 * 3600 * 1000)
    with console.ledger.index.env.begin(write=True) as txn:  # the fold's clock is that of the entries
        console.ledger.index.apply(txn, week, b"")
    with console.ledger.catalog.read() as reading:
        assert list(reading.sign_ins()) == []
        assert not [one for one in reading.tokens() if one.kind == "session"]


async def test_people_and_administrators_end_sessions_and_others_do_not(console: Console) -> None:
    here = await invited(console, "ann", WORDS)
    await here.sign_in("ann", WORDS)
    there, bob = Browser(console, peer="192.0.2.40"), await invited(console, "bob", WORDS)
    await there.sign_in("ann", WORDS)
    await bob.sign_in("bob", WORDS)
    page = await bob.get("/-/account")
    account = await here.get("/-/account")
    other = re.findall(r'name="id" value="(ses_\w+)"', account.text)
    assert len(other) == 1
    assert (await bob.fill(page, "/-/account/end-session", id=other[0])).status == 404
    assert (await bob.get("/-/api/v1/sessions?user=ann")).status == 403
    assert (await here.fill(account, "/-/account/end-session", id=other[0])).status == 303
    assert (await there.get("/-/account")).status == 303
    assert (await console.call("reader", "GET", "/sessions")).json["items"] == []
    assert (await console.call("node admin", "DELETE", "/users/ann/sessions")).status == 204
    assert (await here.get("/-/account")).status == 303
    assert (await bob.get("/-/account")).status == 200
    out = await bob.fill(await bob.get("/-/account"), "/-/sign-out")
    assert out.location == "/-/sign-in"
    assert "entrepot" not in bob.cookies
    page = await bob.get("/-/account")
    assert page.status == 303


async def test_c8_a_session_is_good_in_its_cookie_alone_and_a_token_is_no_cookie(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    text = browser.cookies["entrepot"]
    for headers in ({"Authorization": f"Bearer {text}"}, basic("x", text), {"X-Api-Key": text}):
        assert (await console.ask("GET", "/-/api/v1/whoami", headers)).status == 401
    browser.cookies["entrepot"] = console.add_token("personal", Grant("*", True, True, True))
    assert (await browser.get("/-/account")).status == 303
    assert (await browser.get("/-/api/v1/whoami")).status == 401
    browser.cookies["entrepot"] = text
    twice = await browser.send("GET", "/-/account", Cookie=f"entrepot={text}; entrepot=ens_other")
    assert twice.status == 303, "one of two is somebody else's"


async def test_a_person_makes_and_revokes_tokens(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    mark = form_mark(browser.cookies["entrepot"])
    body = '{"name": "laptop", "expires_s": 7776000}'
    made = await browser.send("POST", "/-/api/v1/tokens", body, Content_Type="application/json", Entrepot_Form=mark)
    assert made.status == 201
    account = await browser.get("/-/account")
    assert "laptop" in account.text
    ids = re.findall(r'name="id" value="(tok_\w+)"', account.text)
    assert (await browser.fill(account, "/-/account/revoke-token", id=ids[0])).status == 303
    assert "laptop" not in (await browser.get("/-/account")).text


async def test_c7_pages_say_who_they_are_for(console: Console) -> None:
    """Every page x nobody, a session that is none, a token: those for people send all of them to sign in."""
    browser = Browser(console)
    for page in PAGES:
        for cookie in ("", "ens_" + "A" * 43, "ent_x", console.tokens["node admin"]):
            browser.cookies = {"entrepot": cookie} if cookie else {}
            seen: Seen = await browser.send(page.method, page.rule, "" if page.method == "POST" else None)
            assert seen.status < 500
            if page.signed_in:
                assert seen.status == (303 if page.method == "GET" else 403), page.rule
    assert console.ledger.entries == []


async def test_hashes_are_made_anew_when_the_parameters_change(console: Console) -> None:
    browser = await invited(console, "ann", WORDS)
    with console.ledger.catalog.read() as reading:
        account = reading.account_named("user", "", "ann")
    assert account is not None
    before = console.vault.password(account.id, account.password_ms)
    console.signing_in.passwords._hasher = type(console.signing_in.passwords._hasher)(
        time_cost=2, memory_cost=64, parallelism=1
    )
    assert (await browser.sign_in("ann", WORDS)).status == 303
    after = console.vault.password(account.id, account.password_ms)
    assert "t=1" in before
    assert "t=2" in after
    assert (await browser.sign_in("ann", WORDS)).status == 303
