"""Does this node sign what it asks a SAML identity provider, where that is wanted, with a key that it was told? (C9)"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.saml import names
from tests.harness.browsing import Browser
from tests.harness.consoles import Console
from tests.harness.saml_answers import metadata
from tests.unit.test_signin_saml import AT, OURS, entered, is_in, told
from tests.unit.test_signin_saml_encrypted import KEYS, certificates

WANTS = metadata(OURS, role='WantAuthnRequestsSigned="true"')
AT_API = "/workspaces/acme/saml/corp"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.vault.close()
    made.ledger.close()


def check(address: str, certificate: bytes) -> None:
    """As a provider does it: over what is quoted, as it is quoted, in its order (Bindings section 3.4.4.1)."""
    query = urlsplit(address).query
    said, mark, rest = query.partition("&Signature=")
    assert [one.partition("=")[0] for one in said.split("&")] == ["SAMLRequest", "RelayState", "SigAlg"]
    assert parse_qs(query)["SigAlg"] == [names.RSA_SHA256]
    assert (mark, "&" in rest) == ("&Signature=", False)
    signature = base64.b64decode(parse_qs(query)["Signature"][0], validate=True)
    key: Any = x509.load_der_x509_certificate(certificate).public_key()
    key.verify(signature, said.encode(), PKCS1v15(), SHA256())


async def asked(console: Console) -> str:
    return (await Browser(console).get(AT)).location


async def describes(console: Console) -> str:
    return (await Browser(console).get(f"{AT}/metadata")).text


async def test_requests_are_signed_where_the_provider_wants_it(console: Console) -> None:
    await told(console)
    assert "Signature" not in await asked(console)
    assert 'AuthnRequestsSigned="false"' in await describes(console)
    renewed = await console.call("acme admin", "PUT", AT_API, {"metadata": WANTS})
    assert (renewed.json["saml"]["wants_signed"], renewed.json["saml"]["sign_requests"]) == (True, False)
    [certificate] = await certificates(console, "signing")
    check(await asked(console), certificate)
    assert 'AuthnRequestsSigned="true"' in await describes(console)
    assert await is_in(await entered(console)), "and it leads on as before"
    await console.call("acme admin", "PUT", AT_API, {"metadata": metadata(OURS)})
    assert "Signature" not in await asked(console)


async def test_requests_are_signed_where_the_operator_wants_it(console: Console) -> None:
    await told(console, sign_requests=True)
    [certificate] = await certificates(console, "signing")
    check(await asked(console), certificate)
    await console.call("acme admin", "PUT", AT_API, {"metadata": metadata(OURS)})
    check(await asked(console), certificate)
    await console.call("acme admin", "PUT", AT_API, {"metadata": metadata(OURS), "sign_requests": False})
    assert "Signature" not in await asked(console)


async def test_the_key_that_the_provider_has_known_for_longest_signs(console: Console) -> None:
    await told(console, sign_requests=True)
    [old] = await certificates(console, "signing")
    assert (await console.call("acme admin", "POST", KEYS)).status == 201
    known = await certificates(console, "signing")
    check(await asked(console), old)
    with pytest.raises(InvalidSignature):
        check(await asked(console), known[1])
    with pytest.raises(InvalidSignature):
        check(await asked(console), (await certificates(console))[0])
    pairs = (await console.call("acme admin", "GET", "/workspaces/acme/providers/corp")).json["saml"]["keys"]
    assert (await console.call("acme admin", "DELETE", f"{KEYS}/{pairs[0]['id']}")).status == 204
    check(await asked(console), known[1])
