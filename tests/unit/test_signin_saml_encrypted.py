"""Does an encrypted SAML answer lead to a session, by which of our keys, and what tells its failure? (C9, C13, D4)"""

import base64
import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from lxml import etree

from gateway.access.secrets.samlkeys import PAIRS_MAX
from gateway.console.signin.answers import REFUSED_SECONDS
from gateway.saml import names
from tests.harness.browsing import Browser, Seen
from tests.harness.consoles import Console
from tests.harness.saml_answers import Signer, assertion_in, metadata, raw, response, signed, text_of
from tests.harness.saml_envelopes import CBC_128, CBC_256, GCM, RSA_1_5, A, X, encrypted, with_hidden_name
from tests.unit.test_signin_saml import AT, AUDIENCE, HERE, OURS, asked, bring, told

OTHER_GCM = f"{names.ENCRYPTION_11}aes128-gcm"
KEYS = "/workspaces/acme/saml/corp/keys"
_KEY = re.compile(r'<KeyDescriptor use="(\w+)">.*?<ds:X509Certificate>([^<]+)<')


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


async def certificates(console: Console, use: str = "encryption") -> list[bytes]:
    """What this node tells of itself."""
    text = (await Browser(console).get(f"{AT}/metadata")).text
    return [base64.b64decode(one) for kind, one in _KEY.findall(text) if kind == use]


async def enter(
    console: Console, certificate: bytes, id: str, *, whole: bool = False, inner: bool = True, **how: Any
) -> Seen:
    """Somebody signs in by an encrypted answer; what the last page is."""
    ann = Browser(console, peer=f"192.0.2.{int(id[2:])}")
    request, relay = await asked(ann)
    document = response(AUDIENCE, HERE, request, id=id, now_ms=console.now_ms)
    document = encrypted(signed(document, OURS) if inner else document, certificate, **how)
    if whole:
        document = signed(document, OURS, whole=True)
    seen = await bring(ann, text_of(document), relay)
    return await ann.get(seen.location) if seen.status == 303 else seen


async def test_encrypted_answers_let_people_in_signed_within_or_around(console: Console) -> None:
    await told(console, accept_cbc=True)
    [certificate] = await certificates(console)
    number = 0
    for cipher in names.CIPHERS:
        for whole, inner in ((False, True), (True, True), (True, False)):
            number += 1
            seen = await enter(console, certificate, f"_a{number}", whole=whole, inner=inner, cipher=cipher)
            assert (seen.status, seen.location) == (303, "/-/account"), (cipher, whole, inner, seen.text)


async def test_d4_cbc_is_opened_only_where_something_around_it_is_signed(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing of it is looked at: there is nothing to try. What is taken is told, and the way out."""
    await told(console)
    [certificate] = await certificates(console)
    shown = (await Browser(console).get(f"{AT}/metadata")).text
    assert ("aes256-gcm" in shown, "-cbc" in shown) == (True, False), "what this node would like is what it tells"
    for number, cipher in enumerate((CBC_128, CBC_256), 1):
        for inner in (True, False):
            seen = await enter(console, certificate, f"_a{number}{int(inner)}", whole=True, inner=inner, cipher=cipher)
            assert (seen.status, seen.location) == (303, "/-/account"), seen.text
    with monkeypatch.context() as watched:
        watched.setattr("gateway.console.signin.answers.opened", lambda *_: pytest.fail("it was opened"))
        for number, cipher in enumerate((CBC_128, CBC_256), 1):
            seen = await enter(console, certificate, f"_b{number}", cipher=cipher)
            assert (seen.status, "AES-GCM" in seen.text, "--accept-cbc" in seen.text) == (401, True, True)
    body = {"metadata": metadata(OURS), "accept_cbc": True}
    told_now = await console.call("acme admin", "PUT", "/workspaces/acme/saml/corp", body)
    assert (told_now.status, told_now.json["saml"]["accept_cbc"]) == (200, True)
    assert "-cbc" in (await Browser(console).get(f"{AT}/metadata")).text
    assert (await enter(console, certificate, "_c1", cipher=CBC_128)).status == 303
    await console.call("acme admin", "PUT", "/workspaces/acme/saml/corp", {"metadata": metadata(OURS)})
    assert (await enter(console, certificate, "_c2", cipher=CBC_128)).status == 303, "it stays as it was"


@pytest.mark.parametrize("cipher", [GCM, CBC_128], ids=["gcm", "cbc"])
@pytest.mark.parametrize("way", ["assertion", "whole", "within an encrypted assertion"])
async def test_a_name_that_is_encrypted_is_read_where_the_provider_has_signed_it(
    console: Console, cipher: str, way: str
) -> None:
    await told(console)
    [certificate] = await certificates(console)
    ann = Browser(console)
    request, relay = await asked(ann)
    document = with_hidden_name(response(AUDIENCE, HERE, request, index="s1"), certificate, cipher)
    assert b"ann@acme" not in raw(document)
    document = signed(document, OURS, whole=way == "whole")
    if way.startswith("within"):
        document = encrypted(document, certificate, GCM)
    seen = await ann.get((await bring(ann, text_of(document), relay)).location)
    assert (seen.status, seen.location) == (303, "/-/account"), seen.text
    members = (await console.call("acme admin", "GET", "/workspaces/acme/members")).json["items"]
    assert [one["member"] for one in members] == ["managed:ann@acme.example"]


NAMES: dict[str, Callable[[Any, bytes], Any]] = {
    "for somebody else": lambda document, _: with_hidden_name(document, Signer().der),
    "no name": lambda document, key: with_hidden_name(document, key, plain=b"<a/>"),
    "no XML": lambda document, key: with_hidden_name(document, key, plain=b"noise"),
    "nothing": lambda document, key: with_hidden_name(document, key, plain=b""),
    "a name of no namespace": lambda document, key: with_hidden_name(document, key, plain=b"<NameID>eve</NameID>"),
    "a name of nobody": lambda document, key: with_hidden_name(
        document, key, plain=f'<NameID xmlns="{names.ASSERTION}"> </NameID>'.encode()
    ),
    "entities": lambda document, key: with_hidden_name(
        document, key, plain=f'<!DOCTYPE a [<!ENTITY e "x">]><NameID xmlns="{names.ASSERTION}">&e;</NameID>'.encode()
    ),
    "two of them": lambda document, key: _again(with_hidden_name(document, key)),
    "one in clear, too": lambda document, key: _in_clear(with_hidden_name(document, key)),
}


def _again(document: Any) -> Any:
    one = document.find(f".//{A}EncryptedID")
    one.addnext(copy.deepcopy(one))
    return document


def _in_clear(document: Any) -> Any:
    name = document.find(f".//{A}EncryptedID").addnext
    name(etree.fromstring(f'<a:NameID xmlns:a="{names.ASSERTION}">eve@acme.example</a:NameID>'))
    return document


@pytest.mark.parametrize("what", NAMES)
async def test_c9_d6_a_hidden_name_that_is_none_is_nobody(console: Console, what: str) -> None:
    await told(console)
    [certificate] = await certificates(console)
    ann = Browser(console)
    request, relay = await asked(ann)
    document = signed(NAMES[what](response(AUDIENCE, HERE, request), certificate), OURS)
    refused = await bring(ann, text_of(document), relay)
    assert refused.status in (400, 401), refused.text
    assert "session.begin" not in [entry.action for entry in console.ledger.entries]


async def test_c9_a_hidden_name_that_was_exchanged_on_its_way_is_not_opened(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can encrypt a name for this node; the signature is over what is encrypted."""
    await told(console)
    [certificate] = await certificates(console)
    monkeypatch.setattr("gateway.console.signin.answers.opened", lambda *_: pytest.fail("it was opened"))
    ann = Browser(console)
    request, relay = await asked(ann)
    document = signed(with_hidden_name(response(AUDIENCE, HERE, request), certificate), OURS)
    evil = with_hidden_name(response(AUDIENCE, HERE, request, name="eve@acme.example"), certificate)
    kept, other = (one.find(f".//{A}EncryptedID") for one in (document, evil))
    kept.getparent().replace(kept, other)
    assert (await bring(ann, text_of(document), relay)).status == 401


async def test_our_keys_take_over_one_from_another(console: Console) -> None:
    await told(console)
    [first], [signing] = await certificates(console), await certificates(console, "signing")
    made = await console.call("acme admin", "POST", KEYS)
    assert (made.status, "PRIVATE" in made.body.decode()) == (201, False)
    [second], both = await certificates(console), await certificates(console, "signing")
    assert second != first, "what is encrypted from now on is for the new one"
    assert (len(both), both[0]) == (2, signing), "and the old one signs as long as it is there"
    for number, one in enumerate((first, second), 1):
        assert (await enter(console, one, f"_a{number}")).status == 303
    shown = (await console.call("acme admin", "GET", "/workspaces/acme/providers/corp")).json["saml"]["keys"]
    assert (await console.call("writer", "DELETE", f"{KEYS}/{shown[0]['id']}")).status == 403
    assert (await console.call("acme admin", "DELETE", f"{KEYS}/{shown[0]['id']}")).status == 204
    assert (await enter(console, first, "_a3")).status == 401
    assert (await enter(console, second, "_a4")).status == 303
    assert await certificates(console, "signing") == both[1:]
    assert (await console.call("acme admin", "DELETE", f"{KEYS}/{shown[1]['id']}")).status == 409, "the last one"
    added = [(await console.call("acme admin", "POST", KEYS)).status for _ in range(PAIRS_MAX)]
    assert added == [201] * (PAIRS_MAX - 1) + [409]
    kept = (console.root / "samlkeys.json").read_text()
    assert (kept.count("BEGIN PRIVATE"), shown[0]["id"] in kept) == (2 * PAIRS_MAX, False), "its secret half is gone"
    assert (await console.call("acme admin", "DELETE", "/workspaces/acme/providers/corp")).status == 204
    assert "PRIVATE" not in (console.root / "samlkeys.json").read_text()
    actions = [entry.action for entry in console.ledger.entries]
    assert ("saml.key.add" in actions, "saml.key.retire" in actions) == (True, True)


async def test_c11_no_secret_half_is_anywhere_else(console: Console) -> None:
    await told(console)
    kept = console.root / "samlkeys.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in repr([entry.changes for entry in console.ledger.entries]).encode()
    for at in ("providers", "providers/corp"):
        assert b"PRIVATE" not in (await console.call("acme admin", "GET", f"/workspaces/acme/{at}")).body


async def test_a_provider_that_is_not_made_leaves_no_keys(console: Console) -> None:
    await told(console)
    before = (console.root / "samlkeys.json").read_text()
    body = {"name": "corp", "metadata": "<x/>", "audience": AUDIENCE}
    assert (await console.call("acme admin", "POST", "/workspaces/acme/saml", body)).status == 400
    from_there = {"Idempotency-Key": '"once"'}
    for _ in range(2):
        assert (await console.call("acme admin", "POST", KEYS, None, from_there)).status == 201
    kept = (console.root / "samlkeys.json").read_text()
    assert kept.count('"id"') == before.count('"id"') + 1, "what is done once makes one pair"


# ---------------------------------------------------------------- what a failure tells


def _unsigned(document: Any, certificate: bytes, cipher: str) -> Any:
    return encrypted(document, certificate, cipher)


def _by_somebody(document: Any, certificate: bytes, cipher: str) -> Any:
    return encrypted(signed(document, Signer()), certificate, cipher)


def _for_somebody(document: Any, certificate: bytes, cipher: str) -> Any:
    return encrypted(signed(document, OURS), Signer().der, cipher)


def _no_xml(document: Any, certificate: bytes, cipher: str) -> Any:
    return encrypted(document, certificate, cipher, plain=b"noise")


def _another_document(document: Any, certificate: bytes, cipher: str) -> Any:
    return encrypted(document, certificate, cipher, plain=raw(signed(document, OURS)))


def _a_document_type(document: Any, certificate: bytes, cipher: str) -> Any:
    said = b'<!DOCTYPE a [<!ENTITY b "c">]>' + raw(assertion_in(signed(document, OURS)))
    return encrypted(document, certificate, cipher, plain=said)


def _broken(document: Any, certificate: bytes, cipher: str) -> Any:
    """One bit of its last block, which is padding, or the tag."""
    return _edited(encrypted(signed(document, OURS), certificate, cipher), -1)


def _broken_within(document: Any, certificate: bytes, cipher: str) -> Any:
    return _edited(encrypted(signed(document, OURS), certificate, cipher), 700)


def _edited(document: Any, at: int) -> Any:
    value = document.find(f".//{X}EncryptedData/{X}CipherData/{X}CipherValue")
    data = bytearray(base64.b64decode(value.text))
    data[at] ^= 1
    value.text = base64.b64encode(data).decode()
    return document


def _swapped(document: Any, certificate: bytes, cipher: str) -> Any:
    """The key of another answer, by the same certificate."""
    document = encrypted(signed(document, OURS), certificate, cipher)
    other = encrypted(response(AUDIENCE, HERE, id="_other"), certificate, cipher)
    key = document.find(f".//{X}EncryptedKey")
    key.getparent().replace(key, other.find(f".//{X}EncryptedKey"))
    return document


FAULTS: tuple[Callable[[Any, bytes, str], Any], ...] = (
    _unsigned, _by_somebody, _for_somebody, _no_xml, _another_document, _a_document_type, _broken, _broken_within,
    _swapped,
)  # fmt: skip


@pytest.mark.parametrize("cipher", [GCM, CBC_128, CBC_256], ids=["gcm", "cbc128", "cbc256"])
async def test_d4_nothing_tells_why_it_cannot_be_read(console: Console, cipher: str) -> None:
    """No oracle of padding, tag, key, XML or signature: the same words, and after the same time at the least."""
    await told(console, accept_cbc=True)
    [certificate] = await certificates(console)
    seen = set[tuple[int, str]]()
    for number, fault in enumerate(FAULTS, 1):
        ann = Browser(console, peer=f"192.0.2.{number}")
        request, relay = await asked(ann)
        document = fault(response(AUDIENCE, HERE, request, id=f"_a{number}"), certificate, cipher)
        began = trio.current_time()
        refused = await bring(ann, text_of(document), relay)
        assert trio.current_time() - began >= REFUSED_SECONDS, fault
        seen.add((refused.status, re.sub(r'value="\w+"', "", refused.text)))
    [(status, text)] = seen
    assert (status, "cannot be read here, or is not signed" in text) == (401, True)
    assert "session.begin" not in [entry.action for entry in console.ledger.entries]


async def test_d4_nothing_is_opened_of_an_answer_that_was_changed_on_its_way(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the whole is signed, that is proven first."""
    await told(console)
    [certificate] = await certificates(console)
    monkeypatch.setattr("gateway.console.signin.answers.opened", lambda *_: pytest.fail("it was opened"))
    ann = Browser(console)
    request, relay = await asked(ann)
    whole = signed(encrypted(signed(response(AUDIENCE, HERE, request), OURS), certificate, CBC_128), OURS, whole=True)
    refused = await bring(ann, text_of(_edited(whole, 700)), relay)
    assert (refused.status, "not signed by your" in refused.text) == (401, True)


async def test_c9_rsa_1_5_is_told_as_what_it_is(console: Console) -> None:
    await told(console)
    [certificate] = await certificates(console)
    seen = await enter(console, certificate, "_a1", transport=RSA_1_5)
    assert (seen.status, "RSA-OAEP" in seen.text) == (401, True)


async def test_c13_an_encrypted_answer_is_good_once_and_for_its_own_request(console: Console) -> None:
    """Whatever it is wrapped in again: what is inside is known by what is signed."""
    await told(console)
    [certificate] = await certificates(console)
    ann, eve = Browser(console), Browser(console, peer="198.51.100.1")
    request, relay = await asked(ann)
    said = signed(response(AUDIENCE, HERE, request), OURS)
    assertion = raw(assertion_in(said))
    theirs, their_relay = await asked(eve)
    moved = encrypted(response(AUDIENCE, HERE, theirs), certificate, plain=assertion)
    assert (await bring(eve, text_of(moved), their_relay)).status == 403, "what is signed answers another request"
    assert (await bring(ann, text_of(encrypted(said, certificate)), relay)).status == 303
    again = encrypted(response(AUDIENCE, HERE, request), certificate, OTHER_GCM, plain=assertion)
    refused = await bring(ann, text_of(again), relay)
    assert (refused.status, "used before" in refused.text) == (401, True)
    assert not any(one.tag == f"{A}Assertion" for one in again.iter())
