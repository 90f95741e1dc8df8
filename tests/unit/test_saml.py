"""Does a SAML answer let in whom the identity provider has signed for, and nobody else? (C9, D6)

What is sent is put together by hand and really signed; it is read as the sandbox reads it, and proven as the node does.
"""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree

from gateway.saml import names
from gateway.saml.assertions import Assertion, Expected, assertion_of, check_status
from gateway.saml.proving import key_of, prove
from gateway.saml.shapes import Sealed, Sent
from gateway.saml.unpacking import metadata as described
from gateway.saml.unpacking import response as unpacked
from storage.errors import Forbidden, Invalid, Problem, Unauthenticated
from tests.harness.ledgers import NOW_MS
from tests.harness.saml_answers import DS, IDP, SIGN_ON, A, P, Signer, assertion_in, at, metadata, raw, response, signed

AUDIENCE, HERE, REQUEST = "https://pkgs.example/sp", "https://pkgs.example/-/sign-in/saml/acme/corp/return", "_request"
OURS, NEXT, FOREIGN = Signer(), Signer(), Signer()
CURVED = Signer(ec.generate_private_key(ec.SECP256R1()))
EXPECTED = Expected(IDP, AUDIENCE, HERE, NOW_MS)


def proven(document: Any, *signers: Signer, expected: Expected = EXPECTED) -> Assertion:
    ders = [one.der for one in signers or (OURS,)]
    sent = unpacked(ders, document if isinstance(document, bytes) else raw(document))
    check_status(sent)
    return assertion_of(sent, [prove(one, ders) for one in sent.seals], expected)


def good(**more: Any) -> Any:
    return response(AUDIENCE, HERE, REQUEST, **more)


def test_whom_the_provider_signs_for_is_known() -> None:
    said = proven(signed(good(attributes={"mail": ["ann@acme.example"], "groups": ["a", "b"]}), OURS))
    assert (said.id, said.in_response_to, said.name.text) == ("_a1", REQUEST, "ann@acme.example")
    assert said.values == {"mail": "ann@acme.example", "NameID": "ann@acme.example"}
    assert said.lists == {"mail": ("ann@acme.example",), "groups": ("a", "b")}
    assert said.until_ms == NOW_MS + 3_655_000


def test_c13_an_assertion_is_known_again_however_it_is_brought() -> None:
    """By what is signed alone: one that may be brought in two ways, or whose conditions have no end, is one."""
    document = good()
    subject = document.find(f".//{A}Subject")
    twice = copy.deepcopy(subject.find(f"{A}SubjectConfirmation"))
    twice.find(f"{A}SubjectConfirmationData").set("NotOnOrAfter", at(900))
    subject.append(twice)
    del document.find(f".//{A}Conditions").attrib["NotOnOrAfter"]
    whole = signed(document, OURS)
    first, later = proven(whole), proven(whole, expected=EXPECTED._replace(now_ms=NOW_MS + 600_000))
    assert (first.id, first.until_ms) == (later.id, later.until_ms)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("signer", [OURS, CURVED], ids=["rsa", "ecdsa"])
@pytest.mark.parametrize("hash", ["sha256", "sha384", "sha512"])
def test_answers_and_assertions_are_taken_signed_with_what_is_strong(whole: bool, signer: Signer, hash: str) -> None:
    family = "RSA" if signer is OURS else "ECDSA"
    document = signed(good(), signer, whole=whole, method=f"{family}_{hash.upper()}", digest=hash)
    assert proven(document, signer).name.text == "ann@acme.example"


def test_one_certificate_takes_over_from_another() -> None:
    for signer in (OURS, NEXT):
        assert proven(signed(good(), signer), OURS, NEXT)
    both = signed(signed(good(), OURS), NEXT, whole=True)
    assert proven(both, OURS, NEXT)
    with pytest.raises(Unauthenticated):
        proven(both, OURS)  # every signature there is has to be good


def test_who_has_not_signed_vouches_for_nobody() -> None:
    with pytest.raises(Unauthenticated, match="not signed what"):
        proven(good())
    with pytest.raises(Unauthenticated, match="not signed by your"):
        proven(signed(good(), FOREIGN))
    with pytest.raises(Unauthenticated):
        proven(signed(good(), CURVED))
    tampered = signed(good(), OURS)
    assertion_in(tampered).find(f".//{A}NameID").text = "eve@acme.example"
    with pytest.raises(Unauthenticated, match="not signed by your"):
        proven(tampered)


@pytest.mark.parametrize(
    "how", [{"method": "RSA_SHA1"}, {"digest": "sha1"}, {"method": "RSA_SHA1", "digest": "sha1"}], ids=str
)
def test_c9_sha1_stands_for_nothing(how: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match="not taken"):
        proven(signed(good(), OURS, weak=True, **how))


def test_c9_a_certificate_is_no_secret_to_make_a_mac_with() -> None:
    document = signed(good(), OURS)
    method = document.find(f".//{DS}SignatureMethod")
    method.set("Algorithm", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")
    with pytest.raises(Unauthenticated, match="not taken"):
        proven(document)


# ---------------------------------------------------------------- wrapping


def _evil(document: Any, id: str = "_evil") -> Any:
    """A copy of its Assertion, unsigned, of somebody else."""
    evil = copy.deepcopy(assertion_in(document))
    for one in evil.findall(f"{DS}Signature"):
        evil.remove(one)
    evil.set("ID", id)
    evil.find(f".//{A}NameID").text = "eve@acme.example"
    return evil


def _in_front(document: Any) -> Any:
    document.insert(2, _evil(document))
    return document


def _behind(document: Any) -> Any:
    document.append(_evil(document))
    return document


def _same_id(document: Any) -> Any:
    document.insert(2, _evil(document, "_a1"))
    return document


def _around(document: Any) -> Any:
    """The signed one within a forged one."""
    kept, evil = assertion_in(document), _evil(document)
    document.replace(kept, evil)
    etree.SubElement(evil, f"{A}Advice").append(kept)
    return document


def _in_extensions(document: Any) -> Any:
    kept, evil = assertion_in(document), _evil(document)
    document.replace(kept, evil)
    extensions = etree.SubElement(document, f"{P}Extensions")
    extensions.append(kept)
    return document


def _in_the_signature(document: Any) -> Any:
    """The signature moves to the forged one, and takes the signed one along as its Object."""
    kept, evil = assertion_in(document), _evil(document)
    signature = kept.find(f"{DS}Signature")
    kept.remove(signature)
    document.replace(kept, evil)
    etree.SubElement(signature, f"{DS}Object").append(kept)
    evil.insert(1, signature)
    return document


def _borrowed(document: Any) -> Any:
    """The signature alone moves, still over the other's id."""
    kept, evil = assertion_in(document), _evil(document)
    signature = kept.find(f"{DS}Signature")
    document.replace(kept, evil)
    evil.insert(1, signature)
    return document


def _of_the_response(document: Any) -> Any:
    """The signature of the assertion stands as that of the whole."""
    signature = assertion_in(document).find(f"{DS}Signature")
    document.insert(1, signature)
    return document


def _to_everything(document: Any) -> Any:
    document.find(f".//{DS}Reference").set("URI", "")
    return document


def _by_xpath(document: Any) -> Any:
    transforms = document.find(f".//{DS}Transforms")
    etree.SubElement(transforms, f"{DS}Transform", Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116")
    return document


@pytest.mark.parametrize(
    "wrap",
    [_in_front, _behind, _same_id, _around, _in_extensions, _in_the_signature, _borrowed, _of_the_response,
     _to_everything, _by_xpath],
)  # fmt: skip
def test_c9_a_signature_is_wrapped_around_nothing_else(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises((Invalid, Unauthenticated)):
        proven(wrap(signed(good(), OURS)))
    with pytest.raises((Invalid, Unauthenticated)):
        proven(wrap(signed(signed(good(), OURS), OURS, whole=True)))


@pytest.mark.parametrize("name", ["ann@acme.example<!---->.evil.example", "<!--x-->ann@acme.example.evil.example"])
def test_c9_a_comment_ends_no_name(name: str) -> None:
    assert proven(signed(good(name=name), OURS)).name.text.endswith("evil.example")
    document = raw(signed(good(name="ann@acme.example.evil.example"), OURS))
    cut = document.replace(b"example.evil", b"example<!-- -->.evil")
    assert cut != document
    assert proven(cut).name.text == "ann@acme.example.evil.example"


def test_d4_what_a_broken_sandbox_says_is_not_believed() -> None:
    """It has the bytes of a real signature, and anything else is made up."""
    ders = [OURS.der]
    [seal] = unpacked(ders, raw(signed(good(), OURS))).seals
    evil = seal.payload.replace(b"ann@", b"eve@")
    digest = seal.signed_info.replace(b"<ds:Reference", b"<ds:Reference ")
    assert prove(seal, ders)
    for forged in (
        msgspec.structs.replace(seal, payload=evil),
        msgspec.structs.replace(seal, signed_info=digest),
        msgspec.structs.replace(seal, method="http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"),
        msgspec.structs.replace(seal, method="none"),
        msgspec.structs.replace(seal, signature=b""),
        Sealed("Assertion", seal.method, evil, seal.signature, evil),
    ):
        with pytest.raises(Unauthenticated):
            prove(forged, ders)
    with pytest.raises(Unauthenticated):
        assertion_of(Sent(status=names.SUCCESS, version="2.0", destination=HERE), [], EXPECTED)


# ---------------------------------------------------------------- hostile XML


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>',
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>',
        b"<r>" * 40 + b"</r>" * 40,
        b"<r>" + b"<x/>" * 11_000 + b"</r>",
        b"<r",
        b"",
        b"\xff\xfe",
        b"x" * (300 << 10),
        b"<r/>",
    ],
)  # fmt: skip
def test_d6_xml_that_is_no_answer_is_told_so(document: bytes) -> None:
    for read in (lambda: unpacked([OURS.der], document), lambda: described("", document)):
        with pytest.raises(Problem):
            read()


# ---------------------------------------------------------------- for whom, where, and when


def _set(path: str, **attributes: str) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        element = document if path == "." else document.find(path)
        for name, value in attributes.items():
            if value:
                element.set(name, value)
            else:
                del element.attrib[name]

    return edit


def _write(path: str, text: str) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        document.find(path).text = text

    return edit


def _drop(path: str) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        element = document.find(path)
        element.getparent().remove(element)

    return edit


def _add(path: str, name: str) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        etree.SubElement(document.find(path), name)

    return edit


CONDITIONS, CONFIRMED = f".//{A}Conditions", f".//{A}SubjectConfirmationData"
WRONG: dict[str, tuple[Callable[[Any], None], type[Problem]]] = {
    "another issuer": (_write(f"{A}Assertion/{A}Issuer", "https://evil.example"), Forbidden),
    "another issuer's response": (_write(f"{A}Issuer", "https://evil.example"), Forbidden),
    "another audience": (_write(f".//{A}Audience", "https://other.example"), Forbidden),
    "no audience": (_drop(f".//{A}AudienceRestriction"), Forbidden),
    "no conditions": (_drop(CONDITIONS), Invalid),
    "a condition nobody knows": (_add(CONDITIONS, f"{A}Condition"), Invalid),
    "another recipient": (_set(CONFIRMED, Recipient="https://other.example/return"), Forbidden),
    "no recipient": (_set(CONFIRMED, Recipient=""), Forbidden),
    "another destination": (_set(".", Destination="https://other.example/return"), Forbidden),
    "answers another": (_set(".", InResponseTo="_other"), Forbidden),
    "answers nothing": (_set(CONFIRMED, InResponseTo=""), Forbidden),
    "not by bearer": (_set(f".//{A}SubjectConfirmation", Method="urn:x"), Forbidden),
    "no confirmation": (_drop(f".//{A}SubjectConfirmation"), Forbidden),
    "confirmation is over": (_set(CONFIRMED, NotOnOrAfter=at(-61)), Unauthenticated),
    "confirmation without end": (_set(CONFIRMED, NotOnOrAfter=""), Unauthenticated),
    "confirmation with a beginning": (_set(CONFIRMED, NotBefore=at(-5)), Forbidden),
    "conditions are over": (_set(CONDITIONS, NotOnOrAfter=at(-61)), Unauthenticated),
    "conditions not begun": (_set(CONDITIONS, NotBefore=at(61)), Unauthenticated),
    "a time that is none": (_set(CONDITIONS, NotOnOrAfter="tomorrow"), Invalid),
    "a time nowhere": (_set(CONDITIONS, NotOnOrAfter="2099-01-01T00:00:00"), Invalid),
    "issued long ago": (_set(f"{A}Assertion", IssueInstant=at(-3700)), Unauthenticated),
    "issued in the future": (_set(f"{A}Assertion", IssueInstant=at(120)), Unauthenticated),
    "not issued": (_set(f"{A}Assertion", IssueInstant=""), Unauthenticated),
    "another version": (_set(f"{A}Assertion", Version="1.1"), Invalid),
    "another version of the answer": (_set(".", Version="1.1"), Invalid),
    "nobody signed in": (_drop(f".//{A}AuthnStatement"), Unauthenticated),
    "the session is over": (_set(f".//{A}AuthnStatement", SessionNotOnOrAfter=at()), Unauthenticated),
    "the session ends never": (_set(f".//{A}AuthnStatement", SessionNotOnOrAfter="never"), Invalid),
    "the session ended before there were any": (
        _set(f".//{A}AuthnStatement", SessionNotOnOrAfter="1970-01-01T00:00:00Z"),
        Unauthenticated,
    ),
    "nobody": (_drop(f".//{A}NameID"), Invalid),
    "nobody's name": (_write(f".//{A}NameID", " "), Invalid),
    "cancelled": (_set(f".//{P}StatusCode", Value="urn:oasis:names:tc:SAML:2.0:status:Responder"), Unauthenticated),
}


@pytest.mark.parametrize("whole", [False, True], ids=["assertion", "whole"])
@pytest.mark.parametrize("what", WRONG)
def test_c9_an_answer_is_for_one_place_one_time_and_one_request(what: str, whole: bool) -> None:
    edit, kind = WRONG[what]
    document = good()
    edit(document)
    with pytest.raises(kind):
        proven(signed(document, OURS, whole=whole))


def test_a_signed_answer_says_where_it_goes() -> None:
    document = good()
    del document.attrib["Destination"]
    assert proven(signed(copy.deepcopy(document), OURS))
    with pytest.raises(Forbidden):
        proven(signed(document, OURS, whole=True))


def test_an_answer_to_nothing_is_taken_where_that_is_allowed() -> None:
    document = response(AUDIENCE, HERE)
    with pytest.raises(Forbidden, match="not begun here"):
        proven(signed(copy.deepcopy(document), OURS))
    assert proven(signed(document, OURS), expected=EXPECTED._replace(unsolicited=True)).in_response_to == ""


def test_c6_the_first_end_of_a_session_counts() -> None:
    assert proven(signed(good(), OURS)).session_until_ms == 0
    document = good(session_s=600)
    statement = document.find(f".//{A}AuthnStatement")
    earlier = copy.deepcopy(statement)
    earlier.set("SessionNotOnOrAfter", at(1))
    statement.addnext(earlier)
    assert proven(signed(document, OURS)).session_until_ms == NOW_MS + 1_000


def test_times_are_taken_with_a_minute_of_doubt() -> None:
    for edit in (_set(CONDITIONS, NotOnOrAfter=at(-59)), _set(CONDITIONS, NotBefore=at(59))):
        document = good()
        edit(document)
        assert proven(signed(document, OURS))


# ---------------------------------------------------------------- metadata


def test_metadata_tells_where_and_with_which_keys() -> None:
    told = described("", metadata(OURS, NEXT).encode())
    assert (told.entity_id, told.sign_on) == (IDP, SIGN_ON)
    assert told.certificates == (OURS.der, NEXT.der)
    several = f'<x xmlns:m="{names.METADATA}">{metadata(OURS)}{metadata(NEXT, entity_id="https://two.example")}</x>'
    assert described("https://two.example", several.encode()).certificates == (NEXT.der,)
    for entity_id in ("", "https://three.example"):
        with pytest.raises(Invalid, match="such identity providers"):
            described(entity_id, several.encode())
    with pytest.raises(Invalid, match="by redirect"):
        described("", metadata(OURS).replace(names.BY_REDIRECT, "urn:x").encode())


@pytest.mark.parametrize(("said", "wanted"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_metadata_tells_whether_requests_are_to_be_signed(said: str, wanted: bool) -> None:
    assert described("", metadata(OURS, role=f'WantAuthnRequestsSigned="{said}"').encode()).wants_signed is wanted
    assert not described("", metadata(OURS).encode()).wants_signed


def test_weak_keys_are_not_taken() -> None:
    for weak in (Signer(rsa.generate_private_key(65537, 1024)), Signer(ec.generate_private_key(ec.SECP192R1()))):
        with pytest.raises(Invalid, match="key that is not taken"):
            key_of(weak.der)
    with pytest.raises(Invalid, match="cannot be read"):
        key_of(b"x")
