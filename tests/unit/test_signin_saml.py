"""Does a SAML answer lead to a session in the browser that asked for it, once, and who did not ask is asked? C13"""

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from gateway.access.signin.arrivals import WAIT_MS
from gateway.config import SignIn
from tests.harness.browsing import Browser, Seen
from tests.harness.consoles import Console
from tests.harness.ledgers import NOW_MS
from tests.harness.saml_answers import IDP, SIGN_ON, Signer, metadata, response, signed, text_of

AT, AUDIENCE = "/-/sign-in/saml/acme/corp", "https://pkgs.example/sp"
HERE = f"http://localhost{AT}/return"
OURS = Signer()
CORP = {"name": "corp", "metadata": metadata(OURS), "audience": AUDIENCE, "people": {"joins": True}}


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


async def told(console: Console, **more: Any) -> None:
    made = await console.call("acme admin", "POST", "/workspaces/acme/saml", CORP | more)
    assert made.status == 201, made.body


def answer(*answers: str, **more: Any) -> str:
    return text_of(signed(response(AUDIENCE, HERE, *answers, **more), OURS))


async def bring(browser: Browser, said: str, relay: str = "") -> Seen:
    """As another site makes a browser do it: without its cookies."""
    kept, browser.cookies = browser.cookies, {}
    body = urlencode({"SAMLResponse": said, "RelayState": relay})
    seen = await browser.send("POST", f"{AT}/return", body, Origin="https://idp.example", Sec_Fetch_Site="cross-site")
    assert browser.cookies == {}, "the POST of another site leaves no cookie behind"
    browser.cookies = kept
    return seen


async def asked(browser: Browser, next: str = "/-/account") -> tuple[str, str]:
    """The id of the request that a browser is sent away with, and what goes along with it."""
    from_here = await browser.get(f"{AT}?next={next}")
    assert from_here.location.startswith(f"{SIGN_ON}?SAMLRequest=")
    relay = parse_qs(urlsplit(from_here.location).query)["RelayState"][0]
    assert len(relay) <= 80, "Bindings section 3.4.3"
    return request_in(from_here.location), relay


def request_in(address: str) -> str:
    packed = parse_qs(urlsplit(address).query)["SAMLRequest"][0]
    return zlib.decompress(base64.b64decode(packed), -15).decode().partition(' ID="')[2].partition('"')[0]


async def test_an_answer_leads_to_a_session_once_and_where_it_was_asked_for(console: Console) -> None:
    await told(console)
    ann, thief = Browser(console), Browser(console, peer="198.51.100.1")
    id, relay = await asked(ann, "/-/device")
    await asked(thief)
    first = await bring(thief, answer(id), relay)
    assert first.status == 303
    assert (await thief.get(first.location)).status == 403, "login itself is not forged"
    assert "entrepot" not in thief.cookies
    assert (await bring(ann, answer(id), relay)).status == 401, "it was used"
    fresh = await bring(ann, answer(id, id="_a2"), relay)
    seen = await ann.get(fresh.location)
    assert (seen.status, seen.location) == (303, "/-/device"), seen.text
    assert "entrepot" in ann.cookies
    assert (await ann.get(fresh.location)).status == 403, "the code is good once"
    late = await bring(ann, answer(id, id="_a3"), relay)
    console.now_ms += WAIT_MS + 1
    assert (await ann.get(late.location)).status == 403
    actions = [entry.action for entry in console.ledger.entries]
    assert actions == ["saml.add", "saml.join", "saml.join", "saml.bind", "session.begin"]


async def entered(console: Console, id: str = "_a1", **more: Any) -> Browser:
    """Somebody who signed in."""
    ann = Browser(console)
    request, relay = await asked(ann)
    seen = await ann.get((await bring(ann, answer(request, id=id, now_ms=console.now_ms, **more), relay)).location)
    assert (seen.status, "entrepot" in ann.cookies) == (303, True), seen.text
    return ann


async def is_in(browser: Browser) -> bool:
    """By the page, and by the API."""
    seen = [(await browser.get(at)).status for at in ("/-/account", "/-/api/v1/whoami")]
    assert seen in ([200, 200], [303, 401]), seen
    return seen[0] == 200


async def test_c6_a_session_ends_with_what_vouched_for_it(console: Console) -> None:
    """Removed, disabled, or told to believe other keys: at once, for good, and nobody else's session."""
    await told(console)
    at, saml = "/workspaces/acme/providers/corp", "/workspaces/acme/saml/corp"
    console.add_people("acme")
    alice = Browser(console)
    alice.cookies["entrepot"] = console.add_session("alice here", "usr_alice")
    spare = Signer()

    ann = await entered(console)
    assert (await console.call("acme admin", "PUT", saml, {"metadata": metadata(OURS, spare)})).status == 200
    assert await is_in(ann), "one more key takes nothing from what the first one signed"
    assert (await console.call("acme admin", "PUT", saml, {"metadata": metadata(OURS)})).status == 200
    assert not await is_in(ann), "nobody can tell which key it was that had signed"
    console.now_ms += 1
    ann = await entered(console, "_a2")
    assert (await console.call("acme admin", "PATCH", at, {"disabled": True})).status == 200
    assert not await is_in(ann)
    assert (await Browser(console).get(AT)).status == 404
    assert (await console.call("acme admin", "PATCH", at, {"disabled": False})).status == 200
    assert not await is_in(ann), "it does not come back"
    ann = await entered(console, "_a3")
    assert (await console.call("acme admin", "DELETE", at)).status == 204
    await told(console)
    assert not await is_in(ann), "another one of the same name and issuer is another one"
    ann = await entered(console, "_a4")
    assert (
        await console.call("acme admin", "DELETE", "/workspaces/acme/members/managed:ann@acme.example")
    ).status == 204
    assert not await is_in(ann)
    assert await is_in(alice)


async def test_c6_a_session_is_over_when_its_provider_has_said_so(console: Console) -> None:
    """SessionNotOnOrAfter (Core section 2.7.2): whatever is done meanwhile, and not later than is usual here."""
    await told(console)
    ann = await entered(console, session_s=7200)
    usual = await entered(console, "_a2", session_s=30 * 24 * 3600)
    ends = {one["ends_ms"] - NOW_MS for one in json.loads((await ann.get("/-/api/v1/sessions")).text)["items"]}
    assert ends == {7_200_000, SignIn().session_seconds_max * 1000}
    for _ in range(7):
        console.now_ms += 1_000_000
        assert await is_in(ann)
    console.now_ms = NOW_MS + 7_200_000
    assert not await is_in(ann)
    assert await is_in(usual)


async def test_c6_no_session_begins_that_is_over(console: Console) -> None:
    await told(console)
    ann = Browser(console)
    request, relay = await asked(ann)
    brought = await bring(ann, answer(request, session_s=5), relay)
    console.now_ms += 5_000
    refused = await ann.get(brought.location)
    assert (refused.status, "entrepot" in ann.cookies) == (401, False)
    assert "session.begin" not in [entry.action for entry in console.ledger.entries]


async def test_an_answer_to_no_request_is_refused_or_asked_about(console: Console) -> None:
    await told(console)
    ann = Browser(console)
    assert (await bring(ann, answer())).status == 403
    await console.call("acme admin", "DELETE", "/workspaces/acme/providers/corp")
    await told(console, unsolicited=True)
    seen = await bring(ann, answer(), "https://evil.example/")
    page = await ann.get(seen.location)
    assert (page.status, "ann@acme.example" in page.text) == (200, True)
    assert "entrepot" not in ann.cookies, "nobody is signed in by following a link"
    forged = await ann.send("POST", f"{AT}/finish", urlencode({"code": page.hidden["code"], "form": "0" * 64}))
    assert forged.status == 403
    entered = await ann.fill(page, f"{AT}/finish")
    assert (entered.status, entered.location) == (303, "/-/account"), "and is sent on to no other site"
    assert "entrepot" in ann.cookies


async def test_the_sent_can_be_nonsense(console: Console) -> None:
    await told(console)
    for said in ("", "!", "PHg+", "A" * 400_000):
        seen = await bring(Browser(console, peer=f"192.0.2.{len(said) % 200}"), said)
        assert 400 <= seen.status < 500


async def test_a_provider_is_set_up_by_an_owner_with_good_metadata(console: Console) -> None:
    for role, status in (("writer", 403), ("stranger", 403), ("acme admin", 201), ("acme admin", 409)):
        assert (await console.call(role, "POST", "/workspaces/acme/saml", CORP)).status == status, role
    at = "/workspaces/acme/saml/corp"
    shown = await console.call("acme admin", "PUT", at, {"metadata": metadata(OURS, Signer())})
    assert (shown.status, len(shown.json["saml"]["certificates"]), shown.json["issuer"]) == (200, 2, IDP)
    for bad in (
        metadata(),
        metadata(OURS, entity_id="https://other.example"),
        metadata(OURS, sign_on="http://idp.example/sso"),
        metadata(OURS, sign_on="javascript:alert(1)"),
        metadata(OURS, more='validUntil="2020-01-01T00:00:00Z"'),
        "<x/>",
    ):
        assert (await console.call("acme admin", "PUT", at, {"metadata": bad})).status == 400
