"""Does signing out at one end the session at the other, and nobody else's? (C6, C9, C13)"""

import base64
import copy
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from lxml import etree

from gateway.saml import names
from gateway.saml.proving import prove
from gateway.saml.unpacking import message as unpacked
from storage.errors import Full
from tests.harness.browsing import Browser, Seen
from tests.harness.consoles import Console
from tests.harness.saml_answers import A, P, Signer, at, metadata, raw
from tests.harness.saml_envelopes import CBC_128, GCM, with_hidden_name
from tests.harness.saml_logouts import leaving, left, query, told_in
from tests.unit.test_signin_saml import AT, OURS, entered, is_in, told
from tests.unit.test_signin_saml_encrypted import certificates

OUT, IDP_OUT, IDP_DONE = f"{AT}/logout", "https://idp.example/slo", "https://idp.example/slo/done"
HERE = f"http://localhost{OUT}"
PLACES = (
    f'<SingleLogoutService Binding="{names.BY_POST}" Location="{IDP_OUT}/post"/>'
    f'<SingleLogoutService Binding="{names.BY_REDIRECT}" Location="{IDP_OUT}" ResponseLocation="{IDP_DONE}"/>'
)
LEAVES = {"metadata": metadata(OURS, places=PLACES)}
BY_FORM = {"metadata": metadata(OURS, places=PLACES.replace(names.BY_REDIRECT, "urn:x"))}
"""A provider that takes what is said of signing out by forms alone."""
_ONWARD = re.compile(r'<meta http-equiv="refresh" content="0;url=([^"]+)">')


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    made = Console(tmp_path)
    await told(made, **LEAVES)
    yield made
    made.vault.close()
    made.ledger.close()


async def signed_out(console: Console, browser: Browser) -> Seen:
    return await browser.fill(await browser.get("/-/account"), "/-/sign-out")


async def post(console: Console, message: Any, relay: str = "", field: str = "SAMLRequest") -> Seen:
    """As another site makes a browser do it."""
    said = base64.b64encode(message if isinstance(message, bytes) else raw(message)).decode()
    body = urlencode({field: said, "RelayState": relay})
    return await Browser(console).send("POST", OUT, body, Origin="https://idp.example", Sec_Fetch_Site="cross-site")


async def get(console: Console, asked: str) -> Seen:
    return await Browser(console).get(f"{OUT}?{asked}")


# ---------------------------------------------------------------- begun here


async def test_who_signs_out_here_is_taken_on_to_the_provider(console: Console) -> None:
    [certificate] = await certificates(console, "signing")
    ann = await entered(console, index="s1")
    page = await signed_out(console, ann)
    assert (page.status, "entrepot" in ann.cookies) == (200, False)
    assert not await is_in(ann)
    onward = unescape(_ONWARD.findall(page.text)[0])
    assert onward.startswith(f"{IDP_OUT}?SAMLRequest=")
    field, request, relay = told_in(onward, certificate)
    assert (field, request.tag, request.get("Destination"), relay) == (
        "SAMLRequest", f"{P}LogoutRequest", IDP_OUT, "",
    )  # fmt: skip
    name = request.find(f"{A}NameID")
    assert (name.text, name.get("Format").rpartition(":")[2]) == ("ann@acme.example", "persistent")
    assert [one.text for one in request.findall(f"{P}SessionIndex")] == ["s1"]
    answered = left(HERE, request.get("ID"))
    done = await ann.get(f"{OUT}?{query(answered, OURS)}")
    assert (done.status, "signed you out, too" in done.text) == (200, True)
    assert (await ann.get(f"{OUT}?{query(answered, OURS)}")).status == 401, "it was said before"
    partly = left(HERE, request.get("ID"), id="_l3", inner='<p:StatusCode Value="urn:x:PartialLogout"/>')
    done = await post(console, OURS.sign(partly), field="SAMLResponse")
    assert (done.status, "not sign you out everywhere" in done.text) == (200, True)
    assert [one.action for one in console.ledger.entries].count("session.end") == 1


async def test_who_did_not_come_by_a_provider_is_signed_out_as_before(console: Console) -> None:
    console.add_people("acme")
    alice = Browser(console)
    alice.cookies["entrepot"] = console.add_session("alice here", "usr_alice")
    seen = await signed_out(console, alice)
    assert (seen.status, seen.location) == (303, "/-/sign-in")


async def test_a_provider_without_logout_is_told_nothing(console: Console) -> None:
    ann = await entered(console)
    await console.call("acme admin", "PUT", "/workspaces/acme/saml/corp", {"metadata": metadata(OURS)})
    seen = await signed_out(console, ann)
    assert (seen.status, seen.location) == (303, "/-/sign-in")


async def test_who_is_lost_there_is_out_here(console: Console) -> None:
    """A key that is gone keeps nobody signed in."""
    ann = await entered(console)
    (console.root / "samlkeys.json").unlink()
    seen = await signed_out(console, ann)
    assert (seen.status, seen.location) == (303, "/-/sign-in")
    assert not await is_in(ann)


@pytest.mark.parametrize("answers", ["_never", "", "_AAAA.AAAA", "é"])
async def test_c13_an_answer_to_no_request_of_ours_is_refused(console: Console, answers: str) -> None:
    assert (await get(console, query(left(HERE, answers), OURS))).status == 403


async def by_form(console: Console) -> bytes:
    """The provider takes forms alone from now on; with what this node signs."""
    [certificate] = await certificates(console, "signing")
    told_now = await console.call("acme admin", "PUT", "/workspaces/acme/saml/corp", BY_FORM)
    assert (told_now.json["saml"]["logout"], told_now.json["saml"]["logout_by_form"]) == (f"{IDP_OUT}/post", True)
    return certificate


def sent(page: Seen, certificate: bytes) -> Any:
    """What the form on a page brings to the provider, as that proves it; its script is the one that may run."""
    assert f'action="{IDP_OUT}/post"' in page.text
    policy = page.headers["Content-Security-Policy"]
    assert ("form-action https:;" in policy, "'unsafe" in policy) == (True, False)
    script = page.text.partition("<script>")[2].partition("</script>")[0]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    field = next(one for one in ("SAMLRequest", "SAMLResponse") if one in page.hidden)
    whole = base64.b64decode(page.hidden[field])
    [seal] = unpacked([certificate], whole).seals
    prove(seal, [certificate])
    return etree.fromstring(whole)


async def test_who_signs_out_here_is_taken_on_by_a_form_where_nothing_else_is_taken(console: Console) -> None:
    ann = await entered(console, index="s1")
    certificate = await by_form(console)
    page = await signed_out(console, ann)
    assert (page.status, "entrepot" in ann.cookies, await is_in(ann)) == (200, False, False)
    request = sent(page, certificate)
    assert (request.tag, request.get("Destination")) == (f"{P}LogoutRequest", f"{IDP_OUT}/post")
    assert [one.text for one in request.findall(f"{P}SessionIndex")] == ["s1"]
    done = await post(console, OURS.sign(left(HERE, request.get("ID"))), field="SAMLResponse")
    assert (done.status, "signed you out, too" in done.text) == (200, True)


async def test_c6_a_provider_that_takes_forms_alone_is_answered_by_one(console: Console) -> None:
    certificate = await by_form(console)
    ann = await entered(console, index="s1")
    page = await post(console, OURS.sign(leaving(HERE)), "there & <back>")
    assert (page.status, page.hidden["RelayState"]) == (200, "there & <back>"), page.text
    assert page.headers["Entrepot-Serial"]
    answer = sent(page, certificate)
    assert (answer.tag, answer.get("InResponseTo")) == (f"{P}LogoutResponse", "_l1")
    assert not await is_in(ann)


# ---------------------------------------------------------------- begun there


async def test_c6_a_provider_ends_the_sessions_that_it_names_and_no_others(console: Console) -> None:
    [certificate] = await certificates(console, "signing")
    console.add_people("acme")
    alice = Browser(console)
    alice.cookies["entrepot"] = console.add_session("alice here", "usr_alice")
    first = await entered(console, "_a1", index="s1")
    second = await entered(console, "_a2", index="s2")
    third = await entered(console, "_a3", index="s3")
    bob = await entered(console, "_a4", index="s1", name="bob@acme.example")
    seen = await get(console, query(leaving(HERE, "ann@acme.example", "s1", "s9"), OURS, "there & back"))
    assert (seen.status, seen.location.startswith(f"{IDP_DONE}?SAMLResponse=")) == (303, True), seen.text
    field, answer, relay = told_in(seen.location, certificate)
    assert (field, answer.get("InResponseTo"), relay) == ("SAMLResponse", "_l1", "there & back")
    assert answer.find(f"{P}Status/{P}StatusCode").get("Value") == names.SUCCESS
    assert [await is_in(one) for one in (first, second, third, bob, alice)] == [False, True, True, True, True]
    assert (await post(console, OURS.sign(leaving(HERE, "ann@acme.example", "s2", id="_l2")))).status == 303
    assert [await is_in(one) for one in (second, third, bob, alice)] == [False, True, True, True]
    assert (await get(console, query(leaving(HERE, id="_l3"), OURS))).status == 303
    assert [await is_in(one) for one in (third, bob, alice)] == [False, True, True]
    ends = [entry for entry in console.ledger.entries if entry.action == "session.end"]
    assert [len(one.changes) for one in ends] == [1, 1, 1]
    assert all(one.actor.startswith("idp_") for one in ends)
    assert (await get(console, query(leaving(HERE, "nobody", id="_l4"), OURS))).status == 303, "nobody is in by that"


async def test_c6_another_provider_of_the_same_names_ends_nothing(console: Console) -> None:
    """Of the same workspace and of another one, also where they are called alike there."""
    ann = await entered(console, index="s1")
    theirs = Signer()
    entity = "https://other.example/metadata"
    for place, name in (("acme", "second"), ("other", "corp")):
        made = {"name": name, "metadata": metadata(theirs, entity_id=entity, places=PLACES), "audience": "sp"}
        assert (await console.call("node admin", "POST", f"/workspaces/{place}/saml", made)).status == 201
        at = f"/-/sign-in/saml/{place}/{name}/logout"
        message = leaving(f"http://localhost{at}", "ann@acme.example", id=f"_{place}")
        message.find(f"{A}Issuer").text = entity
        assert (await Browser(console).get(f"{at}?{query(message, theirs)}")).status == 303
    assert await is_in(ann)


async def test_c6_a_request_whose_name_is_encrypted_ends_what_it_names(console: Console) -> None:
    [certificate] = await certificates(console)
    for number, cipher in enumerate((GCM, CBC_128), 1):
        ann = await entered(console, f"_a{number}", index="s1")
        bob = await entered(console, f"_b{number}", index="s1", name="bob@acme.example")
        message = with_hidden_name(leaving(HERE, id=f"_l{number}"), certificate, cipher)
        assert b"ann@acme" not in raw(message)
        assert (await post(console, OURS.sign(message))).status == 303
        assert [await is_in(one) for one in (ann, bob)] == [False, True]
    stranger = with_hidden_name(leaving(HERE, "bob@acme.example", id="_l8"), Signer().der)
    assert (await get(console, query(stranger, OURS))).status == 401
    assert await is_in(bob)


async def test_c6_what_breaks_off_before_anything_ended_can_be_asked_again(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request counts as taken once what it names is over."""
    ann = await entered(console, index="s1")
    asked_for = query(leaving(HERE), OURS)

    async def full(*_: Any) -> str:
        raise Full("The disk is full.", "Free some of it.")

    with monkeypatch.context() as broken:
        broken.setattr("gateway.console.signin.logouts.end_named", full)
        assert (await get(console, asked_for)).status == 507
    assert await is_in(ann)
    assert (await get(console, asked_for)).status == 303
    assert not await is_in(ann)
    assert (await get(console, asked_for)).status == 401


@pytest.mark.parametrize(
    "named", ['NameQualifier="https://idp.example/metadata"', 'SPNameQualifier="https://pkgs.example/sp"', ""]
)
async def test_what_is_left_out_of_a_name_goes_without_saying(console: Console, named: str) -> None:
    ann = await entered(console, index="s1")
    assert (await get(console, query(leaving(HERE, named=named), OURS))).status == 303
    assert not await is_in(ann)


async def test_c6_a_name_in_others_words_is_another_name(console: Console) -> None:
    ann = await entered(console, index="s1")
    for number, named in enumerate(('NameQualifier="https://x.example"', 'SPNameQualifier="x"')):
        assert (await get(console, query(leaving(HERE, named=named, id=f"_n{number}"), OURS))).status == 303
    assert await is_in(ann)


# ---------------------------------------------------------------- what is refused


def _set(**attributes: str) -> Callable[[Any], None]:
    def edit(message: Any) -> None:
        for name, value in attributes.items():
            message.set(name, value)
            if not value:
                del message.attrib[name]

    return edit


def _issued_elsewhere(message: Any) -> None:
    message.find(f"{A}Issuer").text = "https://evil.example"


def _nameless(message: Any) -> None:
    message.remove(message.find(f"{A}NameID"))


WRONG: dict[str, tuple[Callable[[Any], None], int]] = {
    "for another place": (_set(Destination="https://other.example/logout"), 403),
    "for no place": (_set(Destination=""), 403),
    "by another issuer": (_issued_elsewhere, 403),
    "made long ago": (_set(IssueInstant=at(-700)), 401),
    "made in the future": (_set(IssueInstant=at(120)), 401),
    "made at no time": (_set(IssueInstant=""), 401),
    "over": (_set(NotOnOrAfter=at(-61)), 401),
    "of another version": (_set(Version="1.1"), 400),
    "without an id": (_set(ID=""), 400),
    "about nobody": (_nameless, 400),
}


@pytest.mark.parametrize("what", WRONG)
async def test_c13_a_request_is_for_one_place_and_one_time(console: Console, what: str) -> None:
    edit, status = WRONG[what]
    ann = await entered(console, index="s1")
    message = leaving(HERE)
    edit(message)
    assert (await get(console, query(message, OURS))).status == status
    if message.get("ID"):
        assert (await post(console, OURS.sign(message))).status == status
    assert await is_in(ann)


async def test_c9_what_is_not_signed_by_the_provider_ends_nothing(console: Console) -> None:
    ann = await entered(console, index="s1")
    good = query(leaving(HERE, "ann@acme.example", "s9"), OURS, "relay")
    other = query(leaving(HERE, id="_l7"), Signer())
    said, signature = good.split("&Signature=")
    bare = good.partition("&SigAlg=")[0]
    forged = [
        (bare, 401),
        (said, 401),
        (f"{bare}&Signature={signature}", 401),
        (other, 401),
        (f"{other.split('&Signature=')[0]}&Signature={signature}", 401),
        (good.replace("relay", "delay"), 401),
        (good.replace("RelayState", "Relaystate"), 401),
        (f"{good}&SAMLRequest={other.partition('=')[2].partition('&')[0]}", 400),
        (f"{good}&SAMLResponse=x", 400),
        (f"{good}&SigAlg=x", 400),
        (f"{good}&SAMLEncoding=urn:x", 400),
        (query(leaving(HERE), OURS, method="rsa-sha1"), 401),
        (good.replace("rsa-sha256", "hmac-sha256"), 401),
        (good.replace("rsa-sha256", "rsa-sha512"), 401),
        ("", 400),
        ("SAMLRequest=%00&SigAlg=x&Signature=x", 401),
        (query(b"<r>" + b" " * 2_000_000 + b"</r>", OURS, field="SAMLRequest"), 400),
        (query(b"<!DOCTYPE r []><r/>", OURS, field="SAMLRequest"), 400),
        (query(b"<r/>", OURS, field="SAMLRequest"), 400),
        (f"{good}&x={'y' * 20_000}", 400),
    ]
    for number, (asked, status) in enumerate(forged):
        seen = await get(console, asked)
        assert seen.status in (status, 414, 431) if len(asked) > 9_000 else seen.status == status, (number, seen.text)
    assert await is_in(ann)
    assert "session.end" not in [entry.action for entry in console.ledger.entries]


def _unsigned(message: Any) -> Any:
    return message


def _by_somebody(message: Any) -> Any:
    return Signer().sign(message)


def _weakly(message: Any) -> Any:
    return OURS.sign(message, "RSA_SHA1", "sha1", weak=True)


def _changed(message: Any) -> Any:
    signed = OURS.sign(message)
    signed.find(f"{A}NameID").text = "ann@acme.example"
    return signed


def _around(message: Any) -> Any:
    """What was signed lies within what was not."""
    signed, outer = OURS.sign(message), leaving(HERE, id="_outer")
    etree.SubElement(outer, f"{P}Extensions").append(signed)
    return outer


def _borrowed(message: Any) -> Any:
    signed, outer = OURS.sign(message), leaving(HERE, id="_outer")
    signature = signed.find(f"{{{names.SIGNATURE}}}Signature")
    outer.insert(1, copy.deepcopy(signature))
    return outer


@pytest.mark.parametrize("forge", [_unsigned, _by_somebody, _weakly, _changed, _around, _borrowed])
async def test_c9_no_form_ends_anything_that_the_provider_did_not_sign(
    console: Console, forge: Callable[[Any], Any]
) -> None:
    ann = await entered(console, index="s1")
    seen = await post(console, forge(leaving(HERE, "bob@acme.example")))
    assert seen.status in (400, 401)
    assert await is_in(ann)


async def test_c13_a_request_is_taken_once_whichever_way_it_comes(console: Console) -> None:
    message = leaving(HERE)
    asked = query(message, OURS)
    assert (await get(console, asked)).status == 303
    ann = await entered(console, index="s1")
    for seen in (await get(console, asked), await post(console, OURS.sign(message))):
        assert (seen.status, "used before" in seen.text) == (401, True)
    assert await is_in(ann)


async def test_c9_an_answer_to_a_sign_in_is_no_request_to_sign_out(console: Console) -> None:
    from_there = Browser(console)
    body = urlencode({"SAMLRequest": "", "SAMLResponse": ""})
    assert (await from_there.send("POST", OUT, body, Origin="https://idp.example")).status == 400
    message = leaving(HERE)
    message.tag = f"{P}Response"
    assert (await post(console, OURS.sign(message))).status == 400
    assert urlsplit(HERE).path == OUT
