"""Is an encrypted assertion read by whom it is for, believed by who signed it, and does nothing tell what is in it?
(C9, C13, D4, D6)

What is sent is really signed and really encrypted, by hand, in every order and by every cipher; it is read as the
sandbox reads it, opened and proven as the node does.
"""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from lxml import etree

from gateway.saml import names, opening
from gateway.saml.envelopes import envelope_of
from gateway.saml.opening import opened
from gateway.saml.shapes import Envelope
from gateway.saml.trees import read
from gateway.saml.unpacking import assertion as inside
from gateway.saml.unpacking import response as unpacked
from storage.errors import Invalid, Problem, Unauthenticated
from tests.harness.saml_answers import A, Signer, assertion_in, raw, response, signed
from tests.harness.saml_envelopes import CBC_128, CBC_256, DS, GCM, RSA_1_5, X, by_cbc, content, encrypted, wrapped

AUDIENCE, HERE, REQUEST = "https://pkgs.example/sp", "https://pkgs.example/-/sign-in/saml/acme/corp/return", "_request"
OURS, FOREIGN = Signer(), Signer()
US, NEXT, THEM = Signer(), Signer(), Signer()
"""The two keys of ours that are told, and somebody's."""


def good(**more: Any) -> Any:
    return response(AUDIENCE, HERE, REQUEST, **more)


def enveloped(document: Any) -> Envelope:
    found = unpacked([OURS.der], raw(document)).envelope
    assert found is not None
    return found


def plain(document: Any, *keys: Signer) -> bytes:
    return opened(enveloped(document), [one.key for one in keys or (US,)])


@pytest.mark.parametrize("cipher", names.CIPHERS)
@pytest.mark.parametrize("transport", [names.OAEP, names.OAEP_11])
@pytest.mark.parametrize("beside", [False, True], ids=["within", "beside"])
def test_what_is_encrypted_for_us_is_read(cipher: str, transport: str, beside: bool) -> None:
    document = signed(good(), OURS)
    said = raw(assertion_in(document))
    assert plain(encrypted(document, US.der, cipher, transport, beside=beside)) == said
    assert inside([OURS.der], said).seals


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("mask", ["", "sha1", "sha256", "sha384", "sha512"])
def test_the_hashes_of_a_padding_are_those_that_it_tells(digest: str, mask: str) -> None:
    document = signed(good(), OURS)
    said = raw(assertion_in(document))
    assert plain(encrypted(document, US.der, transport=names.OAEP_11, digest=digest, mask=mask)) == said


def test_whichever_key_it_is_for_is_found() -> None:
    for cipher in (GCM, CBC_256):
        for key in (US, NEXT):
            document = signed(good(), OURS)
            said = raw(assertion_in(document))
            assert plain(encrypted(document, key.der, cipher), US, NEXT) == said


def _broken(content: bytes) -> list[bytes]:
    return [content[:-1], content[:16], b"x", content[:-1] + bytes((content[-1] ^ 1,)), bytes(len(content))]


@pytest.mark.parametrize("cipher", names.CIPHERS)
def test_d4_what_cannot_be_opened_is_as_noise(cipher: str) -> None:
    """Another's key, none, a broken tag, a broken padding, half a block: nothing is raised, and nothing comes out."""
    envelope = enveloped(encrypted(signed(good(), OURS), US.der, cipher))
    said = opened(envelope, [US.key])
    assert said.startswith(b"<")
    bad = [opened(msgspec.structs.replace(envelope, content=one), [US.key]) for one in _broken(envelope.content)]
    bad += [opened(envelope, [THEM.key]), opened(envelope, ()), opened(envelope, ())]
    bad += [opened(msgspec.structs.replace(envelope, wrapped=one), [US.key]) for one in _broken(envelope.wrapped)]
    assert len(set(bad)) == len(bad)
    assert all(len(one) >= 16 and b"Assertion" not in one for one in bad)


def test_d4_every_key_is_tried_whichever_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope, tried = enveloped(encrypted(signed(good(), OURS), US.der)), list[Any]()
    monkeypatch.setattr(opening, "_unwrapped", lambda _, key, size: tried.append(key) or bytes(size))
    opened(envelope, [US.key, NEXT.key])
    assert tried == [US.key, NEXT.key]


@pytest.mark.parametrize("count", [0, 17, 255])
def test_d4_a_padding_is_of_a_block_at_most(count: int) -> None:
    key = bytes(16)
    padded = b"<" + b">" * 47
    envelope = Envelope(
        CBC_128, "sha1", "sha1", wrapped(key, US.der, names.OAEP), by_cbc(padded[:-1] + bytes((count,)), key)
    )
    assert not padded.startswith(opened(envelope, [US.key])[:16])
    fine = msgspec.structs.replace(envelope, content=by_cbc(padded[:-1] + b"\1", key))
    assert opened(fine, [US.key]) == padded[:-1]


def test_d4_what_is_spliced_on_shows_also_where_it_looks_like_space() -> None:
    key = bytes(16)
    for said in (b"<a/>\t\t\t", b" <a/>", b"<a/>\n", b""):
        envelope = Envelope(CBC_128, "sha1", "sha1", wrapped(key, US.der, names.OAEP), content(said, key, CBC_128))
        assert b"a/>" not in opened(envelope, [US.key])


# ---------------------------------------------------------------- ways that are not taken


@pytest.mark.parametrize(
    ("cipher", "transport"),
    [
        (GCM, RSA_1_5),
        (f"{names.ENCRYPTION}tripledes-cbc", names.OAEP),
        (f"{names.ENCRYPTION}aes192-cbc", names.OAEP),
        (f"{names.ENCRYPTION_11}aes192-gcm", names.OAEP),
        ("none", names.OAEP),
        (GCM, f"{names.ENCRYPTION}kw-aes128"),
    ],
)
def test_d6_other_ways_are_not_taken(cipher: str, transport: str) -> None:
    document = encrypted(signed(good(), OURS), US.der, GCM, RSA_1_5 if transport == RSA_1_5 else names.OAEP)
    data = document.find(f".//{X}EncryptedData/{X}EncryptionMethod")
    data.set("Algorithm", cipher)
    document.find(f".//{X}EncryptedKey/{X}EncryptionMethod").set("Algorithm", transport)
    for whole in (document, signed(copy.deepcopy(document), OURS, whole=True)):
        with pytest.raises(Unauthenticated, match="encrypts in a way that is not taken"):
            unpacked([OURS.der], raw(whole))


def _labelled(key: Any) -> None:
    etree.SubElement(key.find(f"{X}EncryptionMethod"), f"{X}OAEPparams").text = "bGFiZWw="


def _odd_digest(key: Any) -> None:
    etree.SubElement(key.find(f"{X}EncryptionMethod"), f"{DS}DigestMethod", Algorithm=f"{names.MORE_SIGNATURE}md5")


def _odd_mask(key: Any) -> None:
    method = key.find(f"{X}EncryptionMethod")
    method.set("Algorithm", names.OAEP_11)
    etree.SubElement(method, f"{{{names.ENCRYPTION_11}}}MGF", Algorithm="urn:x")


def _by_reference(key: Any) -> None:
    """Whoever fetches what a stranger names is sent anywhere (B1)."""
    data = key.find(f"{X}CipherData")
    data.remove(data[0])
    etree.SubElement(data, f"{X}CipherReference", URI="http://169.254.169.254/")


def _twice(key: Any) -> None:
    key.addnext(copy.deepcopy(key))


def _nowhere(key: Any) -> None:
    key.getparent().remove(key)


def _empty(key: Any) -> None:
    key.find(f"{X}CipherData/{X}CipherValue").text = " "


def _nonsense(key: Any) -> None:
    key.find(f"{X}CipherData/{X}CipherValue").text = "&%$"


def _huge(key: Any) -> None:
    key.find(f"{X}CipherData/{X}CipherValue").text = "A" * 2_000


@pytest.mark.parametrize(
    "edit", [_labelled, _odd_digest, _odd_mask, _by_reference, _twice, _nowhere, _empty, _nonsense, _huge]
)
def test_d6_an_odd_envelope_is_refused_before_it_is_opened(edit: Callable[[Any], None]) -> None:
    document = encrypted(signed(good(), OURS), US.der)
    edit(document.find(f".//{X}EncryptedKey"))
    with pytest.raises((Invalid, Unauthenticated)):
        unpacked([OURS.der], raw(document))
    with pytest.raises((Invalid, Unauthenticated)):
        envelope_of(read(raw(document)))


def test_d6_what_is_encrypted_is_an_element() -> None:
    document = encrypted(signed(good(), OURS), US.der)
    document.find(f".//{X}EncryptedData").set("Type", f"{names.ENCRYPTION}Content")
    with pytest.raises(Unauthenticated):
        unpacked([OURS.der], raw(document))


# ---------------------------------------------------------------- wrapping


def _evil() -> Any:
    """An assertion of somebody else that nobody has signed."""
    return encrypted(good(name="eve@acme.example", id="_evil"), US.der).find(f"{A}EncryptedAssertion")


def _behind_what_is_signed(_: Any) -> Any:
    document = signed(good(), OURS)
    document.append(_evil())
    return document


def _in_front_of_what_is_signed(_: Any) -> Any:
    document = signed(good(), OURS)
    document.insert(2, _evil())
    return document


def _second(document: Any) -> Any:
    document.append(_evil())
    return document


def _in_advice(_: Any) -> Any:
    document = good()
    etree.SubElement(assertion_in(document), f"{A}Advice").append(_evil())
    return signed(document, OURS)


def _in_extensions(document: Any) -> Any:
    etree.SubElement(document, f"{{{names.PROTOCOL}}}Extensions").append(document.find(f"{A}EncryptedAssertion"))
    return document


def _exchanged(document: Any) -> Any:
    document.replace(document.find(f"{A}EncryptedAssertion"), _evil())
    return document


def _around(document: Any) -> Any:
    """What was signed lies within what was not."""
    outer = good(id="_outer")
    outer.replace(assertion_in(outer), _evil())
    etree.SubElement(outer, f"{{{names.PROTOCOL}}}Extensions").append(document)
    return outer


def _borrowed(document: Any) -> Any:
    """Its signature, with what it is of as an Object, on another answer."""
    outer = good(id="_outer")
    outer.replace(assertion_in(outer), _evil())
    signature = document.find(f"{DS}Signature")
    document.remove(signature)
    outer.insert(1, signature)
    etree.SubElement(signature, f"{DS}Object").append(document)
    return outer


@pytest.mark.parametrize(
    "wrap",
    [_behind_what_is_signed, _in_front_of_what_is_signed, _second, _in_advice, _in_extensions, _exchanged, _around,
     _borrowed],
)  # fmt: skip
def test_c9_no_signature_is_wrapped_around_what_is_encrypted(wrap: Callable[[Any], Any]) -> None:
    document = signed(encrypted(signed(good(), OURS), US.der), OURS, whole=True)
    assert unpacked([OURS.der], raw(document)).seals
    with pytest.raises((Invalid, Unauthenticated)):
        unpacked([OURS.der], raw(wrap(document)))


def _signed_assertion() -> Any:
    return etree.fromstring(raw(assertion_in(signed(good(), OURS))))


def _within_advice() -> bytes:
    outer = etree.fromstring(raw(assertion_in(good(name="eve@acme.example", id="_evil"))))
    etree.SubElement(outer, f"{A}Advice").append(_signed_assertion())
    return raw(outer)


def _with_its_signature() -> bytes:
    outer = etree.fromstring(raw(assertion_in(good(name="eve@acme.example", id="_evil"))))
    outer.insert(1, _signed_assertion().find(f"{DS}Signature"))
    return raw(outer)


def _encrypted_again() -> bytes:
    outer = etree.fromstring(raw(assertion_in(good())))
    etree.SubElement(outer, f"{A}Advice").append(_evil())
    return raw(OURS.sign(outer))


def _changed() -> bytes:
    return raw(_signed_assertion()).replace(b"ann@", b"eve@")


@pytest.mark.parametrize(
    "made",
    [
        _within_advice,
        _with_its_signature,
        _encrypted_again,
        _changed,
        lambda: raw(signed(good(), OURS)),
        lambda: raw(_signed_assertion()) + raw(_signed_assertion()),
        lambda: b"<!DOCTYPE a []>" + raw(_signed_assertion()),
        lambda: raw(FOREIGN.sign(etree.fromstring(raw(assertion_in(good()))))),
        lambda: b"noise",
        lambda: b"",
    ],
)
def test_c9_what_comes_out_is_as_hostile_as_what_came(made: Callable[[], bytes]) -> None:
    """Anybody can encrypt for us: wrapping, another's signature, a document type (D6)."""
    with pytest.raises(Problem):
        inside([OURS.der], made())


def test_what_nobody_signed_is_told_as_that() -> None:
    assert inside([OURS.der], raw(assertion_in(good()))).seals == ()
