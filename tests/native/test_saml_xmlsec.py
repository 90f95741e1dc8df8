"""Is what another implementation of XML Signature and Encryption makes read here, and is ours proven there?

xmlsec1, with libxml2 and OpenSSL, signs and encrypts an assertion, its name, or both; it verifies what this node puts
into a form. (C9, D4)
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.saml import logouts, names, writing
from gateway.saml.assertions import Assertion, Expected, assertion_of, subject_in
from gateway.saml.envelopes import check_sealed, name_envelope_of
from gateway.saml.opening import opened
from gateway.saml.proving import prove
from gateway.saml.shapes import Name
from gateway.saml.trees import read
from gateway.saml.unpacking import assertion as inside
from gateway.saml.unpacking import response as unpacked
from storage.errors import Unauthenticated
from tests.harness.clients import program, run
from tests.harness.ledgers import NOW_MS
from tests.harness.saml_answers import IDP, A, Signer, assertion_in, raw, response

pytestmark = pytest.mark.native

AUDIENCE, HERE, REQUEST = "https://pkgs.example/sp", "https://pkgs.example/-/sign-in/saml/acme/corp/return", "_request"
THEIRS, OURS, OTHER = Signer(), Signer(), Signer()
EXPECTED = Expected(IDP, AUDIENCE, HERE, NOW_MS)
GCM, CBC = f"{names.ENCRYPTION_11}aes256-gcm", f"{names.ENCRYPTION}aes256-cbc"
SIGNATURE = f"""<ds:Signature xmlns:ds="{names.SIGNATURE}"><ds:SignedInfo>
<ds:CanonicalizationMethod Algorithm="{names.EXCLUSIVE}"/>
<ds:SignatureMethod Algorithm="{names.MORE_SIGNATURE}rsa-sha256"/>
<ds:Reference URI="#ID"><ds:Transforms><ds:Transform Algorithm="{names.SIGNATURE}enveloped-signature"/>
<ds:Transform Algorithm="{names.EXCLUSIVE}"/></ds:Transforms>
<ds:DigestMethod Algorithm="{names.ENCRYPTION}sha256"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>
<ds:SignatureValue/><ds:KeyInfo><ds:X509Data/></ds:KeyInfo></ds:Signature>"""
ENCRYPTED = f"""<x:EncryptedData xmlns:x="{names.ENCRYPTION}" xmlns:ds="{names.SIGNATURE}"
 Type="{names.ENCRYPTION}Element"><x:EncryptionMethod Algorithm="CIPHER"/>
<ds:KeyInfo><x:EncryptedKey><x:EncryptionMethod Algorithm="{names.OAEP}"/><ds:KeyInfo><ds:X509Data/></ds:KeyInfo>
<x:CipherData><x:CipherValue/></x:CipherData></x:EncryptedKey></ds:KeyInfo>
<x:CipherData><x:CipherValue/></x:CipherData></x:EncryptedData>"""


class Xmlsec:
    """The program, with the keys of a provider and the certificate of this node in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.program, self.folder = program("xmlsec1"), folder
        (folder / "key.pem").write_text(THEIRS.key_pem)
        (folder / "theirs.crt").write_text(THEIRS.pem)
        (folder / "ours.crt").write_text(OURS.pem)

    def sign(self, document: Any, path: str) -> Any:
        """The document with the element at this path signed."""
        element = document if path == "." else document.find(path)
        template = etree.fromstring(SIGNATURE.replace('"#ID"', f'"#{element.get("ID")}"'))
        element.insert(1, template)
        (self.folder / "in.xml").write_bytes(raw(document))
        kinds = [f"{names.ASSERTION}:Assertion", f"{names.PROTOCOL}:Response"]
        ids = [part for one in kinds for part in ("--id-attr:ID", one)]
        xpath = "//*[local-name()='Signature']" if path == "." else f"//*[@ID='{element.get('ID')}']/*[2]"
        pair = f"{self.folder / 'key.pem'},{self.folder / 'theirs.crt'}"
        return self._made("--sign", "--privkey-pem", pair, *ids, "--node-xpath", xpath, str(self.folder / "in.xml"))

    def encrypt(self, document: Any, name: str, cipher: str) -> Any:
        """The first element of this name of the document within one that says that it is encrypted."""
        old = document.find(f".//{A}{name}")
        (self.folder / "in.xml").write_bytes(etree.tostring(old, with_tail=False))
        (self.folder / "template.xml").write_text(ENCRYPTED.replace("CIPHER", cipher))
        made = self._made(
            "--encrypt", "--pubkey-cert-pem", str(self.folder / "ours.crt"), "--session-key", "aes-256",
            "--xml-data", str(self.folder / "in.xml"), str(self.folder / "template.xml"),
        )  # fmt: skip
        kind = {"Assertion": "EncryptedAssertion", "NameID": "EncryptedID"}[name]
        around = etree.Element(f"{A}{kind}", nsmap={"a": names.ASSERTION})
        around.append(made)
        old.getparent().replace(old, around)
        return document

    def verifies(self, text: str, certificate: str, kind: str) -> bool:
        (self.folder / "in.xml").write_text(text)
        (self.folder / "known.crt").write_text(certificate)
        done = subprocess.run(
            [self.program, "--verify", "--pubkey-cert-pem", str(self.folder / "known.crt"), "--enabled-key-data", "rsa",
             "--id-attr:ID", f"{names.PROTOCOL}:{kind}", str(self.folder / "in.xml")],
            capture_output=True,
        )  # fmt: skip
        return done.returncode == 0

    def _made(self, *arguments: str) -> Any:
        run([self.program, arguments[0], "--output", str(self.folder / "out.xml"), *arguments[1:]])
        return etree.fromstring((self.folder / "out.xml").read_bytes())


@pytest.fixture
def xmlsec(tmp_path: Path) -> Xmlsec:
    return Xmlsec(tmp_path)


def said(document: Any) -> Assertion:
    """As the node reads what comes: through the sandbox's steps, opened and proven outside."""
    ders = [THEIRS.der]
    sent = unpacked(ders, raw(document))
    proven = [prove(one, ders) for one in sent.seals]
    if sent.envelope is not None:
        if not proven:
            check_sealed(sent.envelope)
        plain = opened(sent.envelope, [OURS.key])
        proven += [prove(one, ders) for one in inside(ders, plain).seals]
    hidden = name_envelope_of(subject_in(proven))
    return assertion_of(sent, proven, EXPECTED, None if hidden is None else read(opened(hidden, [OURS.key])))


def good() -> Any:
    return response(AUDIENCE, HERE, REQUEST, index="s1")


def _signed(xmlsec: Xmlsec) -> Any:
    return xmlsec.sign(good(), f"{A}Assertion")


def _whole(xmlsec: Xmlsec) -> Any:
    return xmlsec.sign(good(), ".")


def _encrypted(xmlsec: Xmlsec) -> Any:
    return xmlsec.encrypt(_signed(xmlsec), "Assertion", GCM)


def _cbc_within_a_signed_answer(xmlsec: Xmlsec) -> Any:
    return xmlsec.sign(xmlsec.encrypt(_signed(xmlsec), "Assertion", CBC), ".")


def _hidden_name(xmlsec: Xmlsec) -> Any:
    return xmlsec.sign(xmlsec.encrypt(good(), "NameID", GCM), f"{A}Assertion")


def _hidden_name_by_cbc(xmlsec: Xmlsec) -> Any:
    return xmlsec.sign(xmlsec.encrypt(good(), "NameID", CBC), f"{A}Assertion")


def _hidden_name_in_what_is_encrypted(xmlsec: Xmlsec) -> Any:
    return xmlsec.encrypt(_hidden_name(xmlsec), "Assertion", GCM)


@pytest.mark.parametrize(
    "make",
    [_signed, _whole, _encrypted, _cbc_within_a_signed_answer, _hidden_name, _hidden_name_by_cbc,
     _hidden_name_in_what_is_encrypted],
)  # fmt: skip
def test_c9_what_xmlsec_signs_and_encrypts_is_read(xmlsec: Xmlsec, make: Callable[[Xmlsec], Any]) -> None:
    found = said(make(xmlsec))
    assert (found.name.text, found.sessions, found.in_response_to) == ("ann@acme.example", ("s1",), REQUEST)
    assert found.name.format.endswith("persistent")


def test_d4_cbc_with_nothing_signed_around_it_is_not_opened(xmlsec: Xmlsec) -> None:
    with pytest.raises(Unauthenticated, match="AES-CBC"):
        said(xmlsec.encrypt(_signed(xmlsec), "Assertion", CBC))


def test_c9_what_was_changed_behind_xmlsec_is_not_believed(xmlsec: Xmlsec) -> None:
    document = _signed(xmlsec)
    assertion_in(document).find(f".//{A}NameID").text = "eve@acme.example"
    with pytest.raises(Unauthenticated):
        said(document)


@pytest.mark.parametrize("kind", ["LogoutRequest", "LogoutResponse"])
def test_c9_xmlsec_proves_what_this_node_signs_in_a_form(xmlsec: Xmlsec, kind: str) -> None:
    to, name = "https://idp.example/slo?a=1&b=2", Name("ann & <co> é \"x\" 'y'", "urn:x", "q", "")
    message = (
        logouts.request(to, AUDIENCE, "_1", name, ("s1", "s2"), NOW_MS)
        if kind == "LogoutRequest"
        else logouts.answer(to, AUDIENCE, "_1", "_r", NOW_MS)
    )
    whole = writing.signed(message, "_1", OURS.key, OURS.der)
    assert xmlsec.verifies(whole, OURS.pem, kind)
    assert not xmlsec.verifies(whole.replace("a=1", "a=2"), OURS.pem, kind)
    assert not xmlsec.verifies(whole, OTHER.pem, kind)
