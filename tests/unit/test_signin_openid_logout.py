"""Does signing out at an OpenID provider end what it let in here, and signing out here lead on to there? (C6, C9, C13)

A real issuer on loopback signs what is told; the pages, the vault and the index are the real ones.
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from gateway.access.rights.verdicts import Principal
from gateway.access.signin.idtokens import LEEWAY_S
from gateway.access.signin.issuers import Issuers
from gateway.access.signin.leaving import HINT_CHARS_MAX
from gateway.access.signin.logouttokens import EVENT
from gateway.access.signin.vault import Vault
from gateway.console.signin.openid_logouts import WAIT_S_MAX
from storage.errors import Full
from tests.harness.browsing import Browser, Seen
from tests.harness.consoles import Console
from tests.harness.identities import Issuer, compact, rsa_signer
from tests.harness.ledgers import NOW_MS

AT, CLIENT, NOW_S = "/-/sign-in/oidc/acme/corp", "entrepot", NOW_MS // 1000
PROVIDER = "/workspaces/acme/providers"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        known = running.documents["/.well-known/openid-configuration"]
        known |= {f"{one}_endpoint": f"{running.url}/{one}" for one in ("authorization", "token", "end_session")}
        yield running


def corp(issuer: Issuer, **people: Any) -> dict[str, Any]:
    return {
        "name": "corp",
        "issuer": issuer.url,
        "audience": CLIENT,
        "private_network": True,
        "people": {"joins": True} | people,
    }


@pytest.fixture
async def console(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Console]:
    made = Console(tmp_path, issuers=Issuers())
    got = await made.call("node admin", "POST", PROVIDER, corp(issuer))
    assert got.status == 201, got.body
    yield made
    made.vault.close()
    made.ledger.close()


async def entered(console: Console, issuer: Issuer, subject: str = "s-ann", sid: str = "", **more: Any) -> Browser:
    """Somebody who signed in."""
    browser = Browser(console)
    there = await browser.get(AT)
    asked = {name: one for name, [one] in parse_qs(urlsplit(there.location).query).items()}
    claims = {
        "iss": issuer.url,
        "sub": subject,
        "aud": CLIENT,
        "exp": NOW_S + 300,
        "iat": NOW_S,
        "nonce": asked["nonce"],
        "preferred_username": f"{subject}@acme.example",
    }
    issuer.documents["/token"] = {"id_token": issuer.token(claims | ({"sid": sid} if sid else {}) | more)}
    seen = await browser.get(f"{AT}/return?{urlencode({'state': asked['state'], 'code': 'c', 'iss': issuer.url})}")
    assert (seen.status, seen.location) == (303, "/-/account"), seen.text
    return browser


async def is_in(browser: Browser) -> bool:
    seen = [(await browser.get(at)).status for at in ("/-/account", "/-/api/v1/whoami")]
    assert seen in ([200, 200], [303, 401]), seen
    return seen[0] == 200


def ending(issuer: Issuer, **changed: Any) -> dict[str, Any]:
    """The claims of a logout token; None takes one away."""
    good = {"iss": issuer.url, "aud": CLIENT, "iat": NOW_S, "exp": NOW_S + 120, "jti": "j-1", "events": {EVENT: {}}}
    return {name: value for name, value in (good | changed).items() if value is not None}


async def told(console: Console, token: str) -> Seen:
    """As the provider tells it, by no browser."""
    return await Browser(console, peer="198.51.100.9").send(
        "POST", f"{AT}/back-channel", urlencode({"logout_token": token}), Origin="", Sec_Fetch_Site="none"
    )


async def say(console: Console, issuer: Issuer, header: dict[str, Any] | None = None, **changed: Any) -> Seen:
    return await told(console, issuer.token(ending(issuer, **changed), {"typ": "logout+jwt"} | (header or {})))


# ---------------------------------------------------------------- begun there


async def test_c6_a_provider_ends_the_sessions_that_it_names_and_no_others(console: Console, issuer: Issuer) -> None:
    console.add_people("acme")
    alice = Browser(console)
    alice.cookies["entrepot"] = console.add_session("alice here", "usr_alice")
    first, second, third = [await entered(console, issuer, sid=one) for one in ("one", "two", "three")]
    bob = await entered(console, issuer, "s-bob", sid="four")
    everybody = (first, second, third, bob, alice)
    seen = await say(console, issuer, sub="s-ann", sid="one")
    assert (seen.status, seen.headers["Cache-Control"]) == (200, "no-store"), seen.text
    assert seen.headers["Entrepot-Serial"], "an edge waits until it has heard"
    assert [await is_in(one) for one in everybody] == [False, True, True, True, True]
    assert (await say(console, issuer, jti="j-2", sid="two")).status == 200, "a session alone is enough"
    assert [await is_in(one) for one in everybody] == [False, False, True, True, True]
    assert (await say(console, issuer, jti="j-3", sub="s-ann", sid="four")).status == 200, "that is bob's"
    assert [await is_in(one) for one in everybody] == [False, False, True, True, True]
    assert (await say(console, issuer, jti="j-4", sub="s-ann")).status == 200
    assert [await is_in(one) for one in everybody] == [False, False, False, True, True]
    assert (await say(console, issuer, jti="j-5", sub="nobody", header={"typ": "JWT"})).status == 200
    ends = [entry for entry in console.ledger.entries if entry.action == "session.end"]
    assert [len(one.changes) for one in ends] == [1, 1, 1]
    assert all(one.actor.startswith("idp_") for one in ends)


async def test_c6_another_provider_of_the_same_issuer_ends_nothing(console: Console, issuer: Issuer) -> None:
    """Of another workspace, with the same people and the same client."""
    ann = await entered(console, issuer, sid="one")
    assert (await console.call("node admin", "POST", "/workspaces/other/providers", corp(issuer))).status == 201
    token = issuer.token(ending(issuer, sub="s-ann", sid="one"), {"typ": "logout+jwt"})
    body = urlencode({"logout_token": token})
    elsewhere = await Browser(console).send("POST", AT.replace("acme", "other") + "/back-channel", body)
    assert (elsewhere.status, await is_in(ann)) == (200, True)


WRONG: dict[str, dict[str, Any]] = {
    "another issuer's": {"iss": "https://evil.example"},
    "another client's": {"aud": "other"},
    "for several": {"aud": [CLIENT, "other"]},
    "over": {"exp": NOW_S - LEEWAY_S, "iat": NOW_S - 300},
    "without an end": {"exp": None},
    "from the future": {"iat": NOW_S + LEEWAY_S + 1},
    "never made": {"iat": None},
    "with a nonce, like an identity token": {"nonce": "n"},
    "without an event": {"events": None},
    "with another event": {"events": {"https://x.example/event": {}}},
    "with an event that is none": {"events": {EVENT: "yes"}},
    "with a list of events": {"events": [EVENT]},
    "not to be known again": {"jti": None},
    "about nobody": {"sub": None, "sid": None},
    "about something else": {"sub": 7},
}


@pytest.mark.parametrize("what", WRONG)
async def test_c9_c13_a_logout_token_is_for_one_client_one_time_and_one_event(
    console: Console, issuer: Issuer, what: str
) -> None:
    ann = await entered(console, issuer, sid="one")
    seen = await say(console, issuer, **({"sub": "s-ann", "sid": "one"} | WRONG[what]))
    assert (seen.status, json.loads(seen.text)["error"]) == (400, "invalid_request"), seen.text
    assert seen.headers["Content-Type"] == "application/json"
    assert await is_in(ann)


async def test_c9_who_has_not_signed_ends_nothing(console: Console, issuer: Issuer) -> None:
    ann = await entered(console, issuer, sid="one")
    claims = ending(issuer, sub="s-ann", sid="one")
    good = issuer.token(claims)
    head, body, signature = good.split(".")
    forged = [
        "", "x", good + "x", f"{head}.{body}.", f"{head}.{body}.{'A' * len(signature)}",
        compact({"alg": "none", "kid": "rsa"}, claims, lambda _: b""),
        compact({"alg": "HS256", "kid": "rsa"}, claims, lambda _: b"0" * 32),
        compact({"alg": "RS256", "kid": "no"}, claims, rsa_signer(issuer.rsa_key)),
        compact({"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}, claims, rsa_signer(issuer.rsa_key)),
    ]  # fmt: skip
    for number, one in enumerate(forged):
        seen = await told(console, one)
        assert seen.status == 400, (number, seen.text)
    assert await is_in(ann)


async def test_c9_a_logout_token_is_no_identity_token_and_none_is_one(console: Console, issuer: Issuer) -> None:
    """Whatever type its header says."""
    ann = await entered(console, issuer, sid="one")
    identity = {"iss": issuer.url, "sub": "s-ann", "aud": CLIENT, "exp": NOW_S + 300, "iat": NOW_S, "jti": "x"}
    assert (await told(console, issuer.token(identity))).status == 400
    assert await is_in(ann)
    assert (await console.call("acme admin", "DELETE", f"{PROVIDER}/corp")).status == 204
    console.add_people("acme")
    builds = {"name": "ci", "issuer": issuer.url, "audience": CLIENT, "private_network": True}
    builds["rules"] = [{"service": "robot", "claims": {"sub": "s-ann"}}]
    assert (await console.call("node admin", "POST", PROVIDER, builds)).status == 201
    for one, status in ((ending(issuer, sub="s-ann"), 401), (identity, 201)):
        body = {"workspace": "acme", "token": issuer.token(one)}
        assert (await console.call("anonymous", "POST", "/oidc/exchange", body)).status == status


async def test_c13_a_logout_token_is_taken_once_also_behind_a_restart(
    console: Console, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only once what it names is over: what breaks off before that can be sent again."""
    ann = await entered(console, issuer, sid="one")

    async def full(*_: Any) -> str:
        raise Full("The disk is full.", "Free some of it.")

    with monkeypatch.context() as broken:
        broken.setattr("gateway.console.signin.openid_logouts.end_named", full)
        assert (await say(console, issuer, sid="one")).status == 507
    assert await is_in(ann)
    assert (await say(console, issuer, sid="one")).status == 200
    assert not await is_in(ann)
    assert (await say(console, issuer, sid="one")).status == 400
    later = await entered(console, issuer, sid="one")
    console.vault.close()
    console.vault = console.signing_in.vault = Vault(tmp_path / "signin")
    refused = await say(console, issuer, sid="one")
    assert (refused.status, "used before" in refused.text) == (400, True)
    assert await is_in(later)
    assert (await say(console, issuer, jti="j-9", sid="one")).status == 200, "who is in is known still"
    assert not await is_in(later)


async def test_guesses_are_counted_and_a_provider_that_tells_is_not(tmp_path: Path, issuer: Issuer) -> None:
    spent: list[str] = []

    def spend(principal: Principal, peer: str) -> tuple[tuple[str, str], ...]:
        spent.append(peer)
        return ()

    console = Console(tmp_path, issuers=Issuers(), spend=spend)
    assert (await console.call("node admin", "POST", PROVIDER, corp(issuer))).status == 201
    spent.clear()
    assert (await say(console, issuer, sid="no")).status == 200
    assert spent == []
    assert (await told(console, "x")).status == 400
    assert spent == ["198.51.100.9"]
    console.vault.close()
    console.ledger.close()


# ---------------------------------------------------------------- begun here


async def signed_out(browser: Browser) -> Seen:
    return await browser.fill(await browser.get("/-/account"), "/-/sign-out")


def onward(page: Seen) -> tuple[str, dict[str, str]]:
    """Where a page leads on to by itself."""
    address = page.text.partition('content="0;url=')[2].partition('"')[0].replace("&amp;", "&")
    parts = urlsplit(address)
    asked = {name: one for name, [one] in parse_qs(parts.query).items()}
    return f"{parts.scheme}://{parts.netloc}{parts.path}", asked


async def test_c13_who_signs_out_here_is_taken_on_to_the_provider_and_back(console: Console, issuer: Issuer) -> None:
    ann = await entered(console, issuer, sid="one")
    token = issuer.documents["/token"]["id_token"]
    page = await signed_out(ann)
    assert (page.status, "entrepot" in ann.cookies, await is_in(ann)) == (200, False, False)
    to, asked = onward(page)
    assert to == f"{issuer.url}/end_session"
    assert (asked["id_token_hint"], asked["client_id"]) == (token, CLIENT)
    assert asked["post_logout_redirect_uri"] == f"http://localhost{AT}/signed-out"
    back = await ann.get(f"{AT}/signed-out?{urlencode({'state': asked['state']})}")
    assert (back.status, "signed you out, too" in back.text) == (200, True)
    for state in ("", "x", asked["state"] + "x"):
        assert (await ann.get(f"{AT}/signed-out?{urlencode({'state': state})}")).status == 403
    console.now_ms += 700_000
    assert (await ann.get(f"{AT}/signed-out?{urlencode({'state': asked['state']})}")).status == 403


async def test_a_token_that_is_too_long_is_not_kept(console: Console, issuer: Issuer) -> None:
    ann = await entered(console, issuer, more="x" * HINT_CHARS_MAX)
    _, asked = onward(await signed_out(ann))
    assert ("id_token_hint" in asked, asked["client_id"]) == (False, CLIENT)


async def test_a_provider_that_signs_nobody_out_or_is_away_keeps_nobody_in(tmp_path: Path, issuer: Issuer) -> None:
    known = issuer.documents["/.well-known/openid-configuration"]
    console = Console(tmp_path, issuers=Issuers())
    made = await console.call("node admin", "POST", PROVIDER, corp(issuer, signs_out=False))
    assert (made.status, made.json["people"]["signs_out"]) == (201, False)
    ann = await entered(console, issuer)
    seen = await signed_out(ann)
    assert (seen.status, seen.location, await is_in(ann)) == (303, "/-/sign-in", False), "its workspace wants that"
    await console.call("node admin", "DELETE", f"{PROVIDER}/corp")
    await console.call("node admin", "POST", PROVIDER, corp(issuer))
    for broken in (dict(known), None):
        ann = await entered(console, issuer, "s-bob")
        console.services.issuers._held.clear()
        if broken is None:
            del issuer.documents["/.well-known/openid-configuration"]
        else:
            known.pop("end_session_endpoint")
        seen = await signed_out(ann)
        issuer.documents["/.well-known/openid-configuration"] = known
        console.services.issuers._held.clear()
        assert (seen.status, seen.location, await is_in(ann)) == (303, "/-/sign-in", False)
    known["end_session_endpoint"] = f"{issuer.url}/end_session"
    assert WAIT_S_MAX < 5, "nobody waits for long"
    console.vault.close()
    console.ledger.close()
