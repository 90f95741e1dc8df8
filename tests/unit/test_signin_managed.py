"""Does everything by which a managed user gets in end with the identity provider that vouches for him? THREATS C6, C8.

Whoever is suspended there must be out here: so his sessions, the tokens that he made, and what those made, end with
what let him in, and there is nothing else by which he could sign in.
"""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.access.signin.sessions import form_mark
from storage.nouns import PutAccount
from tests.harness.browsing import Browser
from tests.harness.consoles import Console
from tests.harness.saml_answers import Signer, metadata
from tests.harness.saml_logouts import leaving, query
from tests.unit.test_signin_saml import AT as SIGN_IN_AT
from tests.unit.test_signin_saml import OURS, console, entered, told

__all__ = ("console",)
AT, SAML = "/workspaces/acme/providers/corp", "/workspaces/acme/saml/corp"
WORDS, NAME = "correct horse battery", "ann@acme.example"


async def made_in(browser: Browser, name: str) -> str:
    """A token that a person makes for himself in his session."""
    mark = form_mark(browser.cookies["entrepot"])
    body = json.dumps({"name": name})
    got = await browser.send("POST", "/-/api/v1/tokens", body, Content_Type="application/json", Entrepot_Form=mark)
    assert got.status == 201, got.text
    return str(json.loads(got.text)["token"])


async def logged_in(browser: Browser, console: Console) -> str:
    """A token that a program got by its person's yes."""
    codes = (await console.call("anonymous", "POST", "/login/device", {"name": "ci box"})).json
    page = await browser.get(urlsplit(codes["verification_uri_complete"])._replace(scheme="", netloc="").geturl())
    assert (await browser.fill(page, "/-/device", answer="yes")).status == 200
    got = await console.call("anonymous", "POST", "/login/token", {"device_code": codes["device_code"]})
    assert got.status == 201, got.body
    return str(got.json["token"])


async def everything_of(browser: Browser, console: Console) -> dict[str, str]:
    """All kinds of tokens that somebody comes by: in a session, by a login, by another token, by rotating one."""
    found = {"session": await made_in(browser, "laptop"), "login": await logged_in(browser, console)}
    console.tokens |= found
    child = await console.call("session", "POST", "/tokens", {"name": "child"})
    console.tokens["child"] = found["child"] = child.json["token"]
    rotated = await console.call("child", "POST", f"/tokens/{child.json['id']}/rotate", {"overlap_s": 60})
    assert rotated.status == 201, rotated.body
    console.tokens["rotated"] = found["rotated"] = rotated.json["token"]
    return found


async def statuses(console: Console, found: dict[str, str]) -> set[tuple[int, Any]]:
    seen = set()
    for role in found:
        got = await console.call(role, "GET", "/whoami")
        seen.add((got.status, got.json.get("code")))
    return seen


@pytest.mark.parametrize("how", ["removed", "disabled", "a key was given up"])
async def test_c6_what_a_managed_user_made_ends_with_what_let_him_in(console: Console, how: str) -> None:
    await told(console)
    spare = Signer()
    assert (await console.call("acme admin", "PUT", SAML, {"metadata": metadata(OURS, spare)})).status == 200
    found = await everything_of(await entered(console), console)
    console.add_people("acme")
    robot = await console.call("node admin", "POST", "/tokens", {"name": "ci", "owner": "service:acme/robot"})
    console.tokens["robot"] = robot.json["token"]
    assert await statuses(console, found) == {(200, None)}
    wrote = len(console.ledger.entries)
    match how:
        case "removed":
            assert (await console.call("acme admin", "DELETE", AT)).status == 204
        case "disabled":
            assert (await console.call("acme admin", "PATCH", AT, {"disabled": True})).status == 200
        case _:
            assert (await console.call("acme admin", "PUT", SAML, {"metadata": metadata(OURS)})).status == 200
    assert len(console.ledger.entries) == wrote + 1, "one entry, however many tokens there are"
    assert await statuses(console, found) == {(401, "unauthenticated")}
    assert (await console.call("robot", "GET", "/whoami")).status == 200, "a build outlives who set it up"
    # what was made before does not come back with the provider
    match how:
        case "removed":
            await told(console)
        case "disabled":
            assert (await console.call("acme admin", "PATCH", AT, {"disabled": False})).status == 200
        case _:
            assert (await console.call("acme admin", "PUT", SAML, {"metadata": metadata(OURS, spare)})).status == 200
    assert await statuses(console, found) == {(401, "unauthenticated")}
    fresh = await everything_of(await entered(console, "_a2"), console)
    assert await statuses(console, fresh) == {(200, None)}


async def test_c6_a_managed_user_gets_no_second_way_in(console: Console) -> None:
    """No password, no one-time codes, no passkeys, no recovery codes: neither he nor anybody else can set them."""
    await told(console)
    ann = await entered(console)
    page = await ann.get("/-/account")
    assert page.status == 200
    console.ledger.entries.clear()
    for way, fields in (
        ("password", {"password": "", "new": WORDS, "again": WORDS}),
        ("device/begin", {"password": ""}),
        ("device/confirm", {"password": "", "code": "000000"}),
        ("device/forget", {"password": ""}),
        ("recovery", {"password": ""}),
        ("passkeys/begin", {"password": "", "name": "key"}),
        ("passkeys/confirm", {"password": "", "name": "key"}),
    ):
        seen = await ann.fill(page, f"/-/account/{way}", **fields)
        assert 400 <= seen.status < 500, (way, seen.status)
    for method, path, body in (
        ("POST", "/users/ann@acme.example/password-link", None),
        ("POST", "/users/ann@acme.example/recovery-codes", {}),
        ("GET", "/users/ann@acme.example/passkeys", None),
    ):
        assert (await console.call("node admin", method, path, body)).status in (400, 404), path
    wrote = [change for entry in console.ledger.entries for change in entry.changes if isinstance(change, PutAccount)]
    assert wrote == []
    assert (await Browser(console).sign_in("ann@acme.example", WORDS)).status == 401


SCIM_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
OUT = f"{SIGN_IN_AT}/logout"
IDLE_ON = {"session": 401, "own": 200, "given": 200}
ENDS: dict[str, dict[str, int]] = {
    "he signs out": IDLE_ON,
    "an administrator of the workspace signs him out": IDLE_ON,
    "the provider signs him out": IDLE_ON,
    "the provider is disabled": {"session": 401, "own": 401, "given": 200},
    "the provider is removed": {"session": 401, "own": 401, "given": 200},
    "he is deactivated": {"session": 401, "own": 401, "given": 401},
    "he is deleted there": {"session": 401, "own": 401, "given": 401},
    "his membership ends": {"session": 401, "own": 401, "given": 401},
}
"""What the README of gateway/access tells: of whom somebody is signed out, or who is no more."""


async def _end(console: Console, how: str, ann: Browser) -> int:
    person = f"managed:{NAME}"
    with console.ledger.catalog.read() as reading:
        account = reading.account_named("managed", "acme", NAME)
    assert account is not None
    deactivated = {"schemas": [SCIM_PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    match how:
        case "he signs out":
            return (await ann.fill(await ann.get("/-/account"), "/-/sign-out")).status
        case "the provider signs him out":
            there = leaving(f"http://localhost{OUT}", NAME)
            return (await Browser(console).get(f"{OUT}?{query(there, OURS)}")).status
        case "the provider is disabled":
            return (await console.call("acme admin", "PATCH", AT, {"disabled": True})).status
        case "the provider is removed":
            return (await console.call("acme admin", "DELETE", AT)).status
        case "he is deactivated":
            at = f"/-/scim/v2/acme/Users/{account.id}"
            return (await console.call("acme idp", "PATCH", at, deactivated)).status
        case "he is deleted there":
            return (await console.call("acme idp", "DELETE", f"/-/scim/v2/acme/Users/{account.id}")).status
        case "his membership ends":
            return (await console.call("acme admin", "DELETE", f"/workspaces/acme/members/{person}")).status
    return (await console.call("acme admin", "DELETE", f"/workspaces/acme/members/{person}/sessions")).status


@pytest.mark.parametrize("how", ENDS)
async def test_c6_each_end_takes_what_it_says_and_leaves_the_rest(console: Console, how: str) -> None:
    """His session, a token that he made in it, and one that an administrator made for him."""
    await told(console)
    console.add_idp("acme")
    ann, bob = await entered(console), await entered(console, "_a2", name="bob@acme.example")
    console.tokens["own"] = await made_in(ann, "laptop")
    given = {"name": "given", "owner": f"managed:acme/{NAME}"}
    console.tokens["given"] = (await console.call("node admin", "POST", "/tokens", given)).json["token"]
    status = await _end(console, how, ann)
    assert status in (200, 204, 303), status
    session = (await ann.get("/-/api/v1/whoami")).status
    left = {one: (await console.call(one, "GET", "/whoami")).status for one in ("own", "given")}
    assert {"session": session} | left == ENDS[how]
    assert (await bob.get("/-/api/v1/whoami")).status == (401 if "the provider is" in how else 200)


async def test_c5_only_who_manages_people_signs_out_and_only_his_own(console: Console) -> None:
    """Somebody of the node has sessions that are not the workspace's business."""
    await told(console)
    console.add_people("acme")
    ann = await entered(console)
    alice = Browser(console)
    alice.cookies["entrepot"] = console.add_session("alice here", "usr_alice")
    at = "/workspaces/acme/members/managed:{}/sessions".format
    for role in ("anonymous", "writer", "stranger", "reader"):
        assert (await console.call(role, "DELETE", at(NAME))).status in (401, 403, 404), role
    assert (await console.call("acme admin", "DELETE", at("nobody@acme.example"))).status == 404
    refused = await console.call("acme admin", "DELETE", "/workspaces/acme/members/user:alice/sessions")
    assert (refused.status, b"user sign-out" in refused.body) == (403, True), refused.body
    assert [(await one.get("/-/api/v1/whoami")).status for one in (ann, alice)] == [200, 200]
