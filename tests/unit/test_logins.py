"""Does a program get a token by its person's yes, once, and by nothing else?"""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.signin import logins
from gateway.access.signin.logins import Login
from storage.errors import Invalid
from tests.harness.browsing import Browser, Seen, invited
from tests.harness.consoles import Console, Got

WORDS = "correct horse battery"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B
REDIRECT = "http://127.0.0.1:53682/callback"
ASKED = {
    "response_type": "code", "client_id": "entrepot-cli", "redirect_uri": REDIRECT, "state": "xyz",
    "code_challenge": CHALLENGE, "code_challenge_method": "S256", "name": "ann's laptop", "lifetime": "3600",
    "scope": "acme/main:write",
}  # fmt: skip


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


async def signed_in(console: Console, *, member: bool = True) -> Browser:
    browser = await invited(console, "ann", WORDS)
    await browser.sign_in("ann", WORDS)
    if member:
        await console.call("node admin", "PUT", "/workspaces/acme/members/user:ann", {"role": "manager"})
    return browser


async def fetch(console: Console, **body: str) -> Got:
    return await console.call("anonymous", "POST", "/login/token", body)


async def asks(console: Console, **more: Any) -> dict[str, Any]:
    got = await console.call("anonymous", "POST", "/login/device", {"name": "ci box", "scope": "acme:read"} | more)
    assert got.status == 200, got.body
    told: dict[str, Any] = got.json
    return told


async def answer(browser: Browser, codes: dict[str, Any], yes: str) -> Seen:
    page = await browser.get(urlsplit(codes["verification_uri_complete"])._replace(scheme="", netloc="").geturl())
    assert "ci box" in page.text, page.text
    return await browser.fill(page, "/-/device", answer=yes)


async def test_a_code_that_is_shown_becomes_a_token_once_its_person_said_yes(console: Console) -> None:
    browser = await signed_in(console)
    codes = await asks(console)
    before = await fetch(console, device_code=codes["device_code"])
    assert (before.status, before.json["code"]) == (400, "authorization_pending")
    assert (await answer(browser, codes, "yes")).status == 200
    got = await fetch(console, device_code=codes["device_code"])
    assert got.status == 201, got.body
    assert got.json["grants"][0] == {"scope": "acme", "read": True, "write": False, "admin": False}
    assert got.json["expires_ms"] == console.now_ms + 90 * 24 * 3600 * 1000
    console.tokens["got"] = got.json["token"]
    assert (await console.call("got", "GET", "/workspaces/acme")).status == 200
    assert (await console.call("got", "POST", "/repositories", {"workspace": "acme", "name": "x"})).status == 403
    assert (await fetch(console, device_code=codes["device_code"])).json["code"] == "expired_token"
    last = console.ledger.entries[-1]
    assert last.action == "login.token"
    with console.ledger.catalog.read() as reading:
        actor = reading.token_by_id(last.actor)
    assert actor is not None
    assert actor.kind == "session"


async def test_who_asks_too_often_is_slowed_and_who_waits_too_long_begins_anew(console: Console) -> None:
    codes = await asks(console)
    device = {"device_code": codes["device_code"]}
    seen = []
    for wait_s in (0, 5, 4, 10, 9, 15):
        console.now_ms += wait_s * 1000
        seen.append((await fetch(console, **device)).json["code"])
    assert seen == ["authorization_pending"] * 2 + ["slow_down", "authorization_pending", "slow_down"] + [
        "authorization_pending"
    ]
    console.now_ms += 900_000
    assert (await fetch(console, **device)).json["code"] == "expired_token"


async def test_no_is_no(console: Console) -> None:
    browser = await signed_in(console)
    codes = await asks(console)
    assert (await answer(browser, codes, "no")).status == 200
    assert (await fetch(console, device_code=codes["device_code"])).json["code"] == "access_denied"
    again = await browser.get(f"/-/device?user_code={codes['user_code']}")
    assert again.status == 400
    assert not [one for one in console.ledger.entries if one.action == "login.token"]


async def test_c6_a_yes_ends_with_the_session_it_was_said_in(console: Console) -> None:
    browser = await signed_in(console)
    codes = await asks(console)
    await answer(browser, codes, "yes")
    await browser.fill(await browser.get("/-/account"), "/-/sign-out")
    assert (await fetch(console, device_code=codes["device_code"])).json["code"] == "expired_token"


async def test_c8_nobody_says_yes_to_what_he_may_not_know_of(console: Console) -> None:
    browser = await signed_in(console, member=False)
    for scope in ("other/main:read", "nowhere:read"):
        codes = await asks(console, scope=scope)
        assert (await answer(browser, codes, "yes")).status == 404
    for scope in ("acme:own", "acme:read  acme:write", "../x", "*:read:x"):
        got = await console.call("anonymous", "POST", "/login/device", {"name": "x", "scope": scope})
        assert got.status == 400, scope


async def test_c_guessing_at_codes_is_limited(console: Console) -> None:
    browser = await signed_in(console)
    codes = await asks(console)
    page = await browser.get("/-/device")
    for _ in range(10):
        assert (await browser.fill(page, "/-/device", user_code="BBBB-BBBB")).status == 400
    assert (await browser.fill(page, "/-/device", user_code=codes["user_code"])).status == 429
    statuses = {(await console.call("anonymous", "POST", "/login/device", {"name": "x"})).status for _ in range(70)}
    assert statuses == {200, 429}


async def test_a_browser_brings_a_code_that_only_the_program_can_use(console: Console) -> None:
    browser = await signed_in(console)
    page = await browser.get(f"/-/authorize?{urlencode(ASKED)}")
    assert "ann&#39;s laptop" in page.text
    assert "form-action 'self' http://127.0.0.1:53682;" in page.headers["Content-Security-Policy"]
    sent = await browser.fill(page, "/-/authorize", answer="yes")
    there = urlsplit(sent.location)
    assert f"{there.scheme}://{there.netloc}{there.path}" == REDIRECT
    brought = parse_qs(there.query)
    assert brought["state"] == ["xyz"]
    code = brought["code"][0]
    shown = {"code": code, "code_verifier": VERIFIER, "redirect_uri": REDIRECT}
    got = await fetch(console, **shown)
    assert got.status == 201, got.body
    assert got.json["expires_ms"] == console.now_ms + 3_600_000
    assert got.json["grants"][0]["write"]
    assert (await fetch(console, **shown)).json["code"] == "expired_token"


@pytest.mark.parametrize(
    "wrong",
    [{"code_verifier": "x" * 43}, {"code_verifier": ""}, {"redirect_uri": "http://127.0.0.1:1/"}, {"late": "yes"}],
    ids=str,
)
async def test_a_stolen_code_is_worth_nothing_and_is_spent(console: Console, wrong: dict[str, str]) -> None:
    browser = await signed_in(console)
    page = await browser.get(f"/-/authorize?{urlencode(ASKED)}")
    sent = await browser.fill(page, "/-/authorize", answer="yes")
    code = parse_qs(urlsplit(sent.location).query)["code"][0]
    right = {"code": code, "code_verifier": VERIFIER, "redirect_uri": REDIRECT}
    if wrong.pop("late", ""):
        console.now_ms += 60_000
    assert (await fetch(console, **right | wrong)).json["code"] == "expired_token"
    assert (await fetch(console, **right)).json["code"] == "expired_token"


async def test_c13_the_browser_is_led_to_this_machine_alone(console: Console) -> None:
    browser = await signed_in(console)
    for change in (
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1.evil.example:80/"},
        {"redirect_uri": "http://127.0.0.1@evil.example:80/"},
        {"redirect_uri": "http://127.0.0.1:80@evil.example/"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
        {"state": ""},
        {"response_type": "token"},
        {"client_id": "other"},
        {"lifetime": "0"},
        {"name": "a\nb"},
    ):
        seen = await browser.get(f"/-/authorize?{urlencode(ASKED | change)}")
        assert seen.status == 400, change
        assert not seen.location
    page = await browser.get(f"/-/authorize?{urlencode(ASKED)}")
    refused = await browser.fill(page, "/-/authorize", answer="no")
    assert parse_qs(urlsplit(refused.location).query) == {"error": ["access_denied"], "state": ["xyz"]}
    forged = await browser.send("POST", "/-/authorize", urlencode(ASKED | {"answer": "yes"}))
    assert forged.status == 403
    stranger = Browser(console)
    sent = await stranger.get(f"/-/authorize?{urlencode(ASKED)}")
    assert sent.location.startswith("/-/sign-in?next=/-/authorize")


def test_the_vector_of_rfc_7636() -> None:
    assert logins.proves(CHALLENGE, VERIFIER)
    assert not logins.proves(CHALLENGE, VERIFIER[:-1] + "X")


@given(st.text(min_size=1, max_size=60))
def test_c13_a_redirect_is_to_the_loopback_or_refused(text: str) -> None:
    for uri in (text, f"http://{text}", f"http://127.0.0.1{text}", f"http://127.0.0.1:80{text}"):
        try:
            good = logins.check_redirect(uri)
        except Invalid:
            continue
        parts = urlsplit(good)
        assert (parts.scheme, parts.hostname) == ("http", "127.0.0.1")


@given(st.lists(st.sampled_from(["poll", "yes", "no", "wait", "late"]), max_size=12))
def test_whatever_happens_a_login_gives_one_token_at_most_and_none_without_a_yes(steps: list[str]) -> None:
    login: Login | None = Login("x", (), 60, 900_000, "BCDFGHJK")
    now_ms, given_out, yes = 1, 0, False
    for step in steps:
        now_ms += {"wait": 60_000, "late": 1_000_000}.get(step, 1)
        if step in ("yes", "no"):
            login, told = logins.answered(login, "ses_x", step == "yes", now_ms)
            yes = yes or (step == "yes" and isinstance(told, Login))
        elif step == "poll":
            login, told = logins.polled(login, now_ms)
            if isinstance(told, Login):
                given_out += 1
                assert yes
                assert now_ms < 900_000
    assert given_out <= 1


def test_challenges_are_what_the_command_line_makes() -> None:
    made = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    assert made == CHALLENGE
