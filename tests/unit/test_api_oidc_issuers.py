"""Are an issuer's keys asked for where, how often and as they may be, and only good ones used (THREATS C9, D2)?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.access.signin.issuers import AGAIN_S, FRESH_S, RESTING_S
from tests.harness.identities import Issuer, compact, ec_jwk, rsa_jwk, rsa_signer, text_of
from tests.unit.test_api_oidc import GOOD, OTHER_EC, OTHER_RSA, World


async def test_c9_keys_are_asked_for_seldom_and_not_believed_for_long(tmp_path: Path) -> None:
    with Issuer() as issuer:
        world = World(tmp_path, issuer)
        await world.believe()
        for _ in range(3):
            assert (await world.exchange(issuer.token(world.claims()))).status == 201
        assert len(issuer.asked) == 2, "the document and the keys, once"
        for number in range(20):
            await world.exchange(issuer.token(world.claims(), {"kid": f"made up {number}"}))
        assert len(issuer.asked) == 2, "a kid that is made up asks nothing so soon"
        rotated = rsa_jwk(OTHER_RSA, "new")
        issuer.publish(rotated)
        fresh = compact(GOOD | {"kid": "new"}, world.claims(), rsa_signer(OTHER_RSA))
        world.clock_s = AGAIN_S
        for number in range(20):
            await world.exchange(issuer.token(world.claims(), {"kid": f"made up {number}"}))
        assert len(issuer.asked) == 4
        assert (await world.exchange(fresh)).status == 201, "and finds the key that is new"
        assert (await world.exchange(issuer.token(world.claims()))).status == 401, "and not the one that is gone"
        issuer.documents.clear()
        world.clock_s += FRESH_S
        assert (await world.exchange(fresh)).status == 502
        assert (await world.exchange(fresh)).status == 503, "an issuer that failed is left in peace"
        asked = len(issuer.asked)
        world.clock_s += RESTING_S
        assert (await world.exchange(fresh)).status == 502
        assert len(issuer.asked) == asked + 1
        world.console.ledger.close()


WEAK = rsa.generate_private_key(65537, 1024)
P384 = ec.generate_private_key(ec.SECP384R1())
UNUSABLE: dict[str, list[Any]] = {
    "weak": [rsa_jwk(WEAK, "rsa")],
    "for encryption": [rsa_jwk(Issuer.rsa_key, "rsa", use="enc")],
    "for signing alone": [rsa_jwk(Issuer.rsa_key, "rsa", key_ops=["sign"])],
    "for another algorithm": [rsa_jwk(Issuer.rsa_key, "rsa", alg="RS512")],
    "a private key": [rsa_jwk(Issuer.rsa_key, "rsa", d="AQAB")],
    "a secret": [{"kty": "oct", "kid": "rsa", "k": "AQAB"}],
    "a kid twice": [rsa_jwk(Issuer.rsa_key, "rsa"), rsa_jwk(OTHER_RSA, "rsa")],
    "a kid three times": [rsa_jwk(OTHER_RSA, "rsa"), rsa_jwk(OTHER_RSA, "rsa"), rsa_jwk(Issuer.rsa_key, "rsa")],
    "no kid": [{name: value for name, value in rsa_jwk(Issuer.rsa_key, "").items() if name != "kid"}],
    "no numbers": [{"kty": "RSA", "kid": "rsa", "n": 1, "e": None}],
    "no base64": [rsa_jwk(Issuer.rsa_key, "rsa", n="!")],
    "kty is a list": [rsa_jwk(Issuer.rsa_key, "rsa", kty=["RSA"])],
    "off the curve": [ec_jwk(OTHER_EC, "rsa", "P-256", x=text_of(bytes(32)))],
    "another curve": [ec_jwk(P384, "rsa", "P-256")],
    "none at all": [],
    "no objects": ["rsa", 1, None],
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_c9_keys_that_nothing_may_be_signed_with(name: str, tmp_path: Path) -> None:
    with Issuer() as issuer:
        issuer.publish(*UNUSABLE[name])
        world = World(tmp_path, issuer)
        await world.believe()
        signer = rsa_signer(WEAK) if name == "weak" else rsa_signer(Issuer.rsa_key)
        assert (await world.exchange(compact(GOOD, world.claims(), signer))).status == 401
        world.console.ledger.close()


DISCOVERED: dict[str, Callable[[Issuer], dict[str, Any]]] = {
    "of another issuer": lambda issuer: {"issuer": issuer.url + "/", "jwks_uri": issuer.url + "/keys"},
    "without an issuer": lambda issuer: {"jwks_uri": issuer.url + "/keys"},
    "keys of a file": lambda issuer: {"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"},
    "keys at the metadata service": lambda issuer: {"issuer": issuer.url, "jwks_uri": "http://169.254.169.254/keys"},
    "keys are a number": lambda issuer: {"issuer": issuer.url, "jwks_uri": 1},
    "keys with a credential": lambda issuer: {"issuer": issuer.url, "jwks_uri": "http://a:b@127.0.0.1/keys"},
}


@pytest.mark.parametrize("name", DISCOVERED)
async def test_d2_what_an_issuer_may_not_say(name: str, tmp_path: Path) -> None:
    with Issuer() as issuer:
        issuer.documents["/.well-known/openid-configuration"] = DISCOVERED[name](issuer)
        world = World(tmp_path, issuer)
        await world.believe()
        assert (await world.exchange(issuer.token(world.claims()))).status == 502
        world.console.ledger.close()


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys"])
@pytest.mark.parametrize("instead", [b"", b"{", b"[]", b"[" * 5000, b" " * (257 << 10), "/elsewhere"])
async def test_d2_documents_that_are_none(path: str, instead: Any, tmp_path: Path) -> None:
    """Empty, cut, of another shape, deep, too large, or elsewhere: a redirect is not followed to a good one either."""
    with Issuer() as issuer:
        issuer.documents["/elsewhere"] = issuer.documents[path]
        issuer.documents[path] = instead
        world = World(tmp_path, issuer)
        await world.believe()
        assert (await world.exchange(issuer.token(world.claims()))).status == 502
        world.console.ledger.close()
