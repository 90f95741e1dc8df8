"""Is what this node signs in a form signed as others read it, whatever stands in it? (C9)"""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from signxml.verifier import SignatureConfiguration, XMLVerifier

from gateway.saml import logouts, names, writing
from gateway.saml.proving import prove
from gateway.saml.shapes import Name
from gateway.saml.unpacking import message as unpacked
from storage.errors import Invalid, Unauthenticated
from tests.harness.ledgers import NOW_MS
from tests.harness.saml_answers import A, P, Signer

TO, US, ID = "https://idp.example/slo?a=1&b=<2>", 'https://pkgs.example/"sp"', "_AbC.d-e_"
OURS = Signer()
ODD = "ann <\"&'>\r\n\t&amp; ]]> é\U0001f600"
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r", exclude_characters="\ufffe\uffff"),
    max_size=30,
)


def canonical(text: str) -> str:
    """As libxml2 has it: Exclusive XML Canonicalization 1.0, without comments."""
    return etree.tostring(etree.fromstring(text.encode()), method="c14n", exclusive=True).decode()


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=3))
def test_what_is_written_is_canonical_and_says_what_was_meant(
    name: str, format: str, us: str, indexes: list[str]
) -> None:
    asked = logouts.request(TO, us, ID, Name(name, format, "q&", ""), indexes, NOW_MS)
    assert canonical(asked) == asked
    read: Any = etree.fromstring(asked.encode())
    assert read.get("Destination") == TO
    assert (read.find(f"{A}NameID").text or "", read.find(f"{A}NameID").get("Format", "")) == (name, format)
    assert [one.text or "" for one in read.findall(f"{P}SessionIndex")] == indexes


def test_an_answer_is_canonical_too() -> None:
    told = logouts.answer(TO, US, ID, ODD, NOW_MS)
    assert canonical(told) == told
    read: Any = etree.fromstring(told.encode())
    assert (read.get("InResponseTo"), read.findtext(f"{A}Issuer")) == (ODD, US)


@pytest.mark.parametrize("kind", ["request", "answer"])
def test_c9_what_is_signed_is_proven_by_a_library_and_by_this_node(kind: str) -> None:
    said = (
        logouts.request(TO, US, ID, Name(ODD), (ODD,), NOW_MS)
        if kind == "request"
        else logouts.answer(TO, US, ID, "_r", NOW_MS)
    )
    whole = writing.signed(said, ID, OURS.key, OURS.der)
    proven: Any = XMLVerifier().verify(
        whole.encode(),
        x509_cert=OURS.certificate,
        id_attribute="ID",
        expect_config=SignatureConfiguration(
            location="./", verification_time=OURS.certificate.not_valid_before_utc, ignore_ambiguous_key_info=True
        ),
    )
    assert proven.signed_data.decode() == said
    [seal] = unpacked([OURS.der], whole.encode()).seals
    assert prove(seal, [OURS.der]).attributes["ID"] == ID
    root: Any = etree.fromstring(whole.encode())
    assert [one.tag.partition("}")[2] for one in root][:2] == ["Issuer", "Signature"], "where SAML has it"
    assert base64.b64decode(root.findtext(f".//{{{names.SIGNATURE}}}X509Certificate")) == OURS.der
    for changed in (whole.replace(TO[:19], "https://evil.example"), whole.replace("_AbC", "_ABC", 1)):
        assert changed != whole
        with pytest.raises((Invalid, Unauthenticated)):
            unpacked([OURS.der], changed.encode())
