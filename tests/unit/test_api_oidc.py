"""Does a build get exactly the token that its CI's word is good for, once, and does everything else get none?

Real keys, a real issuer on loopback, the real API and index; the clock is injected (THREATS C5, C6, C8, C9, D2).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.access.rights.verdicts import identify, judge
from gateway.access.signin.idtokens import AHEAD_S_MAX, LEEWAY_S
from gateway.access.signin.issuers import Issuers
from gateway.console.people import oidc
from storage.errors import Absent, Unauthenticated, UpstreamFailed
from storage.nouns import Binding, Draft, Grant, PutBinding
from tests.harness.consoles import Console, Got
from tests.harness.identities import Issuer, compact, ec_signer, rsa_jwk, rsa_signer, text_of
from tests.harness.ledgers import NOW_MS

NOW_S = NOW_MS // 1000
AUDIENCE = "https://entrepot.example"
MINE = {"repository_id": "1296269", "ref": "refs/heads/main"}


class World:
    """acme, where robot may read, and a provider that leads to it."""

    def __init__(self, root: Path, issuer: Issuer) -> None:
        self.clock_s = 0.0
        self.console = Console(root, issuers=Issuers(clock_s=lambda: self.clock_s))
        self.console.add_people("acme")
        binding = Binding("bnd_robot", "svc_robot", Grant("acme/main"), NOW_MS)
        self.console.ledger.write(Draft("acme", "", "t", "t", (PutBinding(binding),)))
        self.issuer = issuer
        self.number = 0

    def provider(self, **changed: Any) -> dict[str, Any]:
        return {
            "name": "ci",
            "issuer": self.issuer.url,
            "audience": AUDIENCE,
            "rules": [{"service": "robot", "claims": MINE}],
            "private_network": True,
        } | changed

    async def believe(self, **changed: Any) -> None:
        got = await self.console.call("node admin", "POST", "/workspaces/acme/providers", self.provider(**changed))
        assert got.status == 201, got.body
        self.console.ledger.entries.clear()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Good ones, with a jti of their own; None takes a claim away."""
        self.number += 1
        good = {
            "iss": self.issuer.url,
            "sub": "repo:octo/app:ref:refs/heads/main",
            "aud": AUDIENCE,
            "exp": NOW_S + 300,
            "iat": NOW_S,
            "nbf": NOW_S,
            "jti": f"run-{self.number}",
        }
        return {name: value for name, value in (good | MINE | changed).items() if value is not None}

    async def exchange(self, token: str, workspace: str = "acme", service: str = "") -> Got:
        body = {"workspace": workspace, "token": token, "service": service}
        return await self.console.call("anonymous", "POST", "/oidc/exchange", body)

    async def reads(self, text: str) -> int:
        self.console.tokens["build"] = text
        return (await self.console.call("build", "GET", "/repositories/acme/main")).status


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, issuer: Issuer) -> Iterator[World]:
    made = World(tmp_path, issuer)
    yield made
    made.console.ledger.close()


async def test_an_identity_token_is_exchanged_and_the_journal_says_whose_it_was(world: World) -> None:
    await world.believe(lifetime_s=600)
    got = await world.exchange(world.issuer.token(world.claims()))
    assert got.status == 201, got.body
    assert got.json["owner"] == "svc_robot"
    assert got.json["expires_ms"] == NOW_MS + 600_000
    assert (got.json["issuer"], got.json["subject"]) == (world.issuer.url, "repo:octo/app:ref:refs/heads/main")
    assert await world.reads(got.json["token"]) == 200
    [entry] = world.console.ledger.entries
    assert entry.action == "oidc.exchange"
    assert entry.actor.startswith("idp_")
    assert got.json["token"].encode() not in repr(entry).encode()


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256"])
async def test_every_algorithm_that_a_key_allows(world: World, algorithm: str) -> None:
    await world.believe()
    kid = "ec" if algorithm == "ES256" else "rsa"
    signer = ec_signer(Issuer.ec_key) if kid == "ec" else rsa_signer(Issuer.rsa_key, algorithm)
    got = await world.exchange(compact({"alg": algorithm, "kid": kid}, world.claims(), signer))
    assert got.status == 201, got.body


# ---------------------------------------------------------------- tokens that are no good

OTHER_RSA = rsa.generate_private_key(65537, 2048)
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
GOOD = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
Forge = Callable[[World], str]


def header(**changed: Any) -> Forge:
    """Well signed, under a header that is not taken."""
    told = {name: value for name, value in (GOOD | changed).items() if value is not None}
    return lambda world: compact(told, world.claims(), rsa_signer(Issuer.rsa_key))


def claims(**changed: Any) -> Forge:
    """Well signed, and saying something wrong."""
    return lambda world: world.issuer.token(world.claims(**changed))


def raw(head: bytes | dict[str, Any], body: Callable[[World], bytes]) -> Forge:
    return lambda world: compact(head, body(world), rsa_signer(Issuer.rsa_key))


def by_hmac(key: bytes, algorithm: str = "HS256") -> Forge:
    return lambda world: compact(
        GOOD | {"alg": algorithm}, world.claims(), lambda data: hmac.digest(key, data, "sha" + algorithm[2:])
    )


def mended(change: Callable[[list[str]], list[str]]) -> Forge:
    """A good token, changed afterwards."""
    return lambda world: ".".join(change(world.issuer.token(world.claims()).split(".")))


def swapped(world: World) -> str:
    """The claims of one token under the signature of another."""
    one, other = world.issuer.token(world.claims()).split("."), world.issuer.token(world.claims()).split(".")
    return ".".join((one[0], other[1], one[2]))


def der_signature(world: World) -> str:
    return compact({"alg": "ES256", "kid": "ec"}, world.claims(), lambda data: Issuer.ec_key.sign(data, ec.ECDSA(HASH)))


def duplicated(world: World, where: str) -> str:
    head, body = json.dumps(GOOD).encode(), json.dumps(world.claims()).encode()
    if where == "header":
        head = b'{"alg":"none",' + head[1:]
    else:
        body = b'{"aud":"elsewhere",' + body[1:]
    return compact(head, body, rsa_signer(Issuer.rsa_key))


HASH = hashes.SHA256()
PEM = Issuer.rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = Issuer.rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
MODULUS = base64.urlsafe_b64decode(rsa_jwk(Issuer.rsa_key, "")["n"] + "==")

BAD: dict[str, Forge] = {
    # the algorithm
    "none": lambda world: compact({"alg": "none"}, world.claims(), lambda data: b"x"),
    "none with a kid": lambda world: compact(GOOD | {"alg": "none"}, world.claims(), lambda data: b"x"),
    "None": header(alg="None"),
    "nOnE and no signature": lambda world: (
        ".".join(world.issuer.token(world.claims(), {"alg": "nOnE"}).split(".")[:2]) + "."
    ),
    "HS256 by the PEM": by_hmac(PEM),
    "HS256 by the PEM without its end": by_hmac(PEM.strip()),
    "HS256 by the DER": by_hmac(DER),
    "HS256 by the modulus": by_hmac(MODULUS),
    "HS256 by nothing": by_hmac(b""),
    "HS384": by_hmac(PEM, "HS384"),
    "HS512": by_hmac(PEM, "HS512"),
    "no alg": header(alg=None),
    "alg is a list": header(alg=["RS256"]),
    "alg is a number": header(alg=256),
    "rs256 in small letters": header(alg="rs256"),
    "EdDSA": header(alg="EdDSA"),
    "ES256K": header(alg="ES256K"),
    "RSA-OAEP": header(alg="RSA-OAEP"),
    "RS512 said, RS256 signed": header(alg="RS512"),
    "PS256 said, RS256 signed": header(alg="PS256"),
    "ES256 said for the RSA key": header(alg="ES256"),
    "RS256 said for the EC key": header(kid="ec"),
    "ES384 said for a P-256 key": lambda world: compact(
        {"alg": "ES384", "kid": "ec"}, world.claims(), ec_signer(Issuer.ec_key, "ES384")
    ),
    # the header brings or names a key, or asks for more
    "jwk": lambda world: compact(GOOD | {"jwk": rsa_jwk(OTHER_RSA, "rsa")}, world.claims(), rsa_signer(OTHER_RSA)),
    "jwk of the right key": header(jwk=rsa_jwk(Issuer.rsa_key, "rsa")),
    "jku": lambda world: compact(
        GOOD | {"jku": f"{world.issuer.url}/keys"}, world.claims(), rsa_signer(Issuer.rsa_key)
    ),
    "x5u": header(x5u="https://keys.example/chain.pem"),
    "x5c": header(x5c=["MIIB"]),
    "crit": header(crit=["exp"], exp=1),
    "crit of nothing": header(crit=[]),
    "b64": header(b64=False),
    "zip": header(zip="DEF"),
    "cty": header(cty="JWT"),
    "enc": header(enc="A256GCM"),
    "unknown member": header(extra="1"),
    "typ of an access token": header(typ="at+jwt"),
    "typ is a list": header(typ=["JWT"]),
    # the key
    "no kid": header(kid=None),
    "empty kid": header(kid=""),
    "kid is a number": header(kid=1),
    "kid that nobody has": header(kid="other"),
    "kid with a NUL": header(kid="rsa\0"),
    "kid that is a path": header(kid="../../dev/null"),
    "kid that is long": header(kid="k" * 600),
    "another RSA key": lambda world: compact(GOOD, world.claims(), rsa_signer(OTHER_RSA)),
    "another EC key": lambda world: compact({"alg": "ES256", "kid": "ec"}, world.claims(), ec_signer(OTHER_EC)),
    # the signature
    "no signature": mended(lambda parts: parts[:2]),
    "empty signature": mended(lambda parts: [*parts[:2], ""]),
    "short signature": mended(lambda parts: [*parts[:2], parts[2][:-4]]),
    "zero signature": mended(lambda parts: [*parts[:2], text_of(bytes(256))]),
    "zero EC signature": lambda world: compact({"alg": "ES256", "kid": "ec"}, world.claims(), lambda data: bytes(64)),
    "EC signature in DER": der_signature,
    "four parts": mended(lambda parts: [*parts, parts[2]]),
    "signature of other claims": swapped,
    "claims changed": mended(lambda parts: [parts[0], text_of(b'{"iss":"x"}'), parts[2]]),
    # the spelling
    "padding": mended(lambda parts: [parts[0], parts[1], parts[2] + "="]),
    "other alphabet": mended(lambda parts: [*parts[:2], "+/" + parts[2][2:]]),
    "a space": mended(lambda parts: [" " + parts[0], *parts[1:]]),
    "a newline at the end": mended(lambda parts: [*parts[:2], parts[2] + "\n"]),
    "no text at all": lambda world: "x",
    "only dots": lambda world: "..",
    "not ASCII": lambda world: "é.é.é",
    "too long": claims(filler="x" * 13_000, more="y"),
    "header is a list": raw(b"[]", lambda world: json.dumps(world.claims()).encode()),
    "header is no JSON": raw(b"{", lambda world: json.dumps(world.claims()).encode()),
    "claims are a list": raw(GOOD, lambda world: b"[]"),
    "claims are nested deeply": raw(GOOD, lambda world: b"[" * 9000),
    "claims hold NaN": raw(GOOD, lambda world: json.dumps(world.claims(exp=float("nan"))).encode()),
    "claims are UTF-16": raw(GOOD, lambda world: json.dumps(world.claims()).encode("utf-16")),
    "a header member twice": lambda world: duplicated(world, "header"),
    "a claim twice": lambda world: duplicated(world, "claims"),
    # who and for whom
    "no iss": claims(iss=None),
    "another iss": claims(iss="https://issuer.example"),
    "iss with a slash more": lambda world: world.issuer.token(world.claims(iss=world.issuer.url + "/")),
    "iss in capitals": lambda world: world.issuer.token(world.claims(iss=world.issuer.url.upper())),
    "iss is a list": lambda world: world.issuer.token(world.claims(iss=[world.issuer.url])),
    "no aud": claims(aud=None),
    "another aud": claims(aud="https://other.example"),
    "aud begins alike": claims(aud=AUDIENCE + ".evil.example"),
    "several aud": claims(aud=[AUDIENCE, "https://other.example"]),
    "no aud in the list": claims(aud=[]),
    "aud is an object": claims(aud={"a": AUDIENCE}),
    "aud is true": claims(aud=True),
    "no sub": claims(sub=None),
    "empty sub": claims(sub=""),
    "sub with a newline": claims(sub="a\nb"),
    "sub is long": claims(sub="s" * 600),
    "jti is a number": claims(jti=7),
    "jti is empty": claims(jti=""),
    # when
    "no exp": claims(exp=None),
    "no iat": claims(iat=None),
    "exp is text": claims(exp=str(NOW_S + 300)),
    "exp is true": claims(exp=True),
    "exp is a fraction": claims(exp=NOW_S + 300.5),
    "exp is negative": claims(exp=-1),
    "exp is huge": claims(exp=1 << 60),
    "nbf is text": claims(nbf="now"),
    "nbf is null": raw(GOOD, lambda world: json.dumps(world.claims() | {"nbf": None}).encode()),
    "expired": claims(exp=NOW_S - LEEWAY_S, iat=NOW_S - 600, nbf=NOW_S - 600),
    "not yet": claims(nbf=NOW_S + LEEWAY_S + 1),
    "issued later": claims(iat=NOW_S + LEEWAY_S + 1),
    "ends before it begins": claims(iat=NOW_S + 20, exp=NOW_S + 10),
    "good for days": claims(exp=NOW_S + AHEAD_S_MAX + 1),
    # what it shows
    "another repository": claims(repository_id="1296270"),
    "another branch": claims(ref="refs/heads/other"),
    "the repository's name alone": claims(repository_id=None, repository="octo/app"),
    "the claim is a list": claims(repository_id=["1296269"]),
    "the claim is an object": claims(repository_id={"1296269": True}),
    "the claim has a space more": claims(ref="refs/heads/main "),
}


def test_c9_the_table_is_large_enough() -> None:
    assert len(BAD) >= 60


async def test_c9_no_bad_token_gets_anything(world: World) -> None:
    """One world for all of them: none leaves anything behind that would help the next."""
    await world.believe()
    got_in = {}
    for name, forge in BAD.items():
        got = await world.exchange(forge(world))
        if got.status != 401 or b"identity token" not in got.body:
            got_in[name] = (got.status, got.body)
    assert got_in == {}
    assert world.console.ledger.entries == []
    assert (await world.exchange(world.issuer.token(world.claims()))).status == 201


async def test_c9_the_claim_may_be_a_number_or_a_truth_value(world: World) -> None:
    await world.believe(rules=[{"service": "robot", "claims": {"repository_id": "7", "ref_protected": "true"}}])
    assert (await world.exchange(world.issuer.token(world.claims(repository_id=7, ref_protected=True)))).status == 201
    assert (await world.exchange(world.issuer.token(world.claims(repository_id=7, ref_protected=1)))).status == 401
    assert (
        await world.exchange(world.issuer.token(world.claims(repository_id=True, ref_protected=True)))
    ).status == 401


# ---------------------------------------------------------------- once, and in time


async def test_c9_a_token_is_exchanged_once_whatever_its_spelling(world: World) -> None:
    await world.believe()
    told = world.claims()
    token = world.issuer.token(told)
    assert (await world.exchange(token)).status == 201
    assert (await world.exchange(token)).status == 401
    again = compact({"alg": "ES256", "kid": "ec"}, told, ec_signer(Issuer.ec_key))
    assert (await world.exchange(again)).status == 401, "the same jti in another envelope"


async def test_c9_without_a_jti_it_is_the_signed_text_that_counts(world: World) -> None:
    await world.believe()
    told = {name: value for name, value in world.claims().items() if name != "jti"}
    signed = compact({"alg": "ES256", "kid": "ec"}, told, ec_signer(Issuer.ec_key))
    head, body, signature = signed.split(".")
    given = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = given[:32] + (order - int.from_bytes(given[32:])).to_bytes(32)
    assert (await world.exchange(signed)).status == 201
    got = await world.exchange(f"{head}.{body}.{text_of(twin)}")
    assert got.status == 401
    assert "exchanged before" in got.json["detail"], "the twin of an ECDSA signature is good, and no other token"


async def test_c9_of_parallel_exchanges_of_one_token_one_wins(world: World) -> None:
    await world.believe()
    statuses: list[int] = []

    async def one(token: str) -> None:
        statuses.append((await world.exchange(token)).status)

    for _ in range(20):
        token = world.issuer.token(world.claims())
        statuses.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one, token)
        assert sorted(statuses) == [201] + [401] * 49


async def test_c9_the_clock_at_the_boundaries(world: World) -> None:
    await world.believe()
    for at_ms, status in (
        ((NOW_S - LEEWAY_S) * 1000 - 1, 401),
        ((NOW_S - LEEWAY_S) * 1000, 201),
        ((NOW_S + 300 + LEEWAY_S) * 1000 - 1, 201),
        ((NOW_S + 300 + LEEWAY_S) * 1000, 401),
    ):
        token = world.issuer.token(world.claims())
        world.console.now_ms = at_ms
        assert (await world.exchange(token)).status == status, at_ms


async def test_c9_a_used_token_is_known_as_long_as_any_clock_could_take_it(world: World) -> None:
    """And then forgotten: what is kept stays a matter of hours (the journal keeps all)."""
    await world.believe(lifetime_s=60)
    token = world.issuer.token(world.claims())
    first = (await world.exchange(token)).json["id"]
    end_ms = (NOW_S + 300 + LEEWAY_S) * 1000
    world.console.now_ms = end_ms - 1
    for _ in range(6):  # later ones push nothing out that still counts
        late = world.claims(iat=NOW_S + 300, exp=NOW_S + 900)
        assert (await world.exchange(world.issuer.token(late))).status == 201
    assert (await world.exchange(token)).status == 401
    with world.console.ledger.catalog.read() as reading:
        assert reading.token_by_id(first) is not None


async def test_c9_what_ended_leaves_the_index(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "KEPT_MS", -10_000_000)  # the test's journal stands still at NOW_MS
    world = World(tmp_path, issuer)
    await world.believe()
    first = (await world.exchange(issuer.token(world.claims()))).json
    assert (await world.exchange(issuer.token(world.claims()))).status == 201
    with world.console.ledger.catalog.read() as reading:
        assert reading.token_by_id(first["id"]) is None
        assert reading.token(hashlib.sha256(first["token"].encode()).digest()) is None
        assert not [one for one in reading.tokens() if one.exchange is not None]
    world.console.ledger.close()


async def test_c9_what_changes_between_proof_and_lock_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """TOCTOU: the provider goes, or the time runs out, after the signature was found good."""
    await world.believe()
    right = world.console.services.issuers.key

    async def slow(*arguments: Any, **more: Any) -> Any:
        found = await right(*arguments, **more)
        await steps.pop(0)()
        return found

    async def removed() -> None:
        assert (await world.console.call("node admin", "DELETE", "/workspaces/acme/providers/ci")).status == 204

    async def late() -> None:
        world.console.now_ms = (NOW_S + 300 + LEEWAY_S) * 1000

    monkeypatch.setattr(world.console.services.issuers, "key", slow)
    steps = [late, removed]
    while steps:
        token = world.issuer.token(world.claims())
        assert (await world.exchange(token)).status == 401
        world.console.now_ms = NOW_MS


# ---------------------------------------------------------------- what the token is worth


async def test_c6_c8_the_end_of_the_provider_or_the_account_is_the_end_of_the_token(world: World) -> None:
    for end, status in (("/workspaces/acme/providers/ci", 404), ("/workspaces/acme/services/robot", 401)):
        await world.believe()
        text = (await world.exchange(world.issuer.token(world.claims()))).json["token"]
        assert await world.reads(text) == 200
        assert (await world.console.call("node admin", "DELETE", end)).status == 204
        assert await world.reads(text) == status
        with world.console.ledger.catalog.read() as reading, pytest.raises((Absent, Unauthenticated)):
            judge(reading, identify(reading, text, NOW_MS), "acme", "main", "read")
    assert (await world.exchange(world.issuer.token(world.claims()))).status == 401


async def test_c6_a_provider_made_again_brings_no_token_back(world: World) -> None:
    await world.believe()
    text = (await world.exchange(world.issuer.token(world.claims()))).json["token"]
    await world.console.call("node admin", "DELETE", "/workspaces/acme/providers/ci")
    await world.believe()
    assert await world.reads(text) == 404


async def test_c8_the_token_makes_no_others_and_ends_in_time(world: World) -> None:
    """Even of a service account that is an owner, and has another token that is good for ever."""
    admin = "node admin"
    await world.console.call(admin, "PUT", "/workspaces/acme/members/service:robot", {"role": "owner"})
    for_ever = (await world.console.call(admin, "POST", "/tokens", {"name": "n", "owner": "service:acme/robot"})).json
    world.console.add_customer("acme")
    await world.believe(lifetime_s=3600)
    got = (await world.exchange(world.issuer.token(world.claims()))).json
    world.console.tokens["build"] = got["token"]
    world.console.ledger.entries.clear()
    for method, path, body in (
        ("POST", "/tokens", {"name": "child"}),
        ("POST", "/tokens", {"name": "child", "owner": "service:acme/robot"}),
        ("POST", "/tokens", {"name": "child", "grants": [{"scope": "acme"}]}),
        ("POST", "/workspaces/acme/entitlements", {"name": "customer"}),
        ("POST", f"/workspaces/acme/entitlements/{world.console.ids['customer']}/refresh", {}),
        ("POST", f"/tokens/{got['id']}/rotate", {}),
        ("POST", f"/tokens/{for_ever['id']}/rotate", {}),
        ("DELETE", f"/tokens/{for_ever['id']}", None),
        ("POST", "/workspaces/acme/providers", world.provider(name="mine", issuer="https://issuer.example/")),
    ):
        assert (await world.console.call("build", method, path, body)).status in (403, 404), path
    assert world.console.ledger.entries == []
    assert (await world.console.call("build", "DELETE", f"/tokens/{got['id']}")).status == 200, "it may end itself"
    assert await world.reads(got["token"]) == 401
    later = (await world.exchange(world.issuer.token(world.claims()))).json["token"]
    world.console.now_ms = NOW_MS + 3600_000 - 1
    assert await world.reads(later) == 200
    world.console.now_ms += 1
    assert await world.reads(later) == 401


async def test_c8_nobody_gives_away_what_he_does_not_have(world: World) -> None:
    """A manager cannot have an owner's rights by way of a provider, nor reach into the private network."""
    world.console.add_token("people", Grant("acme", False, False, actions=("people",)))
    body = world.provider(issuer="https://issuer.example", private_network=False)
    assert (await world.console.call("people", "POST", "/workspaces/acme/providers", body)).status == 403
    body = world.provider()
    assert (await world.console.call("acme admin", "POST", "/workspaces/acme/providers", body)).status == 403
    assert world.console.ledger.entries == []


async def test_c5_a_provider_counts_in_its_own_workspace_alone(world: World) -> None:
    await world.believe()
    refused = set()
    for workspace in ("other", "nowhere", "", "acme\0", "ACME", "-", "é"):
        got = await world.exchange(world.issuer.token(world.claims()), workspace)
        refused.add((got.status, got.body))
    assert len(refused) == 1, "a workspace that is not there and one that believes nobody are told alike"
    assert refused.pop()[0] == 401
    told = set()
    for name in ("ci", "none"):
        got = await world.console.call("stranger", "DELETE", f"/workspaces/acme/providers/{name}")
        told.add((got.status, got.body))
    assert [status for status, _ in told] == [403]


async def test_several_service_accounts_must_be_told_apart(world: World) -> None:
    made = await world.console.call("node admin", "POST", "/workspaces/acme/services", {"name": "deploy"})
    assert made.status == 201
    rules = [{"service": name, "claims": {"repository_id": "1296269"}} for name in ("robot", "deploy")]
    await world.believe(rules=rules)
    assert (await world.exchange(world.issuer.token(world.claims()))).status == 400
    got = await world.exchange(world.issuer.token(world.claims()), service="deploy")
    assert got.json["owner"] == made.json["id"]
    assert (await world.exchange(world.issuer.token(world.claims()), service="alice")).status == 401


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"issuer": "http://issuer.example", "private_network": False}, 400),
        ({"issuer": "https://user:secret@issuer.example"}, 400),
        ({"issuer": "https://issuer.example/?x=1"}, 400),
        ({"issuer": "file:///etc/passwd"}, 400),
        ({"issuer": ""}, 400),
        ({"audience": ""}, 400),
        ({"rules": []}, 400),
        ({"rules": [{"service": "robot", "claims": {}}]}, 400),
        ({"rules": [{"service": "robot", "claims": {"aud": "x"}}]}, 400),
        ({"rules": [{"service": "nobody", "claims": MINE}]}, 404),
        ({"lifetime_s": 3601}, 400),
        ({"lifetime_s": 0}, 400),
        ({"name": "../x"}, 400),
    ],
)
async def test_a_provider_is_well_formed(world: World, changed: dict[str, Any], status: int) -> None:
    got = await world.console.call("node admin", "POST", "/workspaces/acme/providers", world.provider(**changed))
    assert got.status == status, got.body
    assert world.console.ledger.entries == []


async def test_providers_are_listed_and_named_once(world: World) -> None:
    await world.believe()
    for changed in ({"name": "second"}, {"issuer": "https://issuer.example"}):
        got = await world.console.call("node admin", "POST", "/workspaces/acme/providers", world.provider(**changed))
        assert got.status == 409
    [one] = (await world.console.call("acme admin", "GET", "/workspaces/acme/providers")).json["items"]
    assert one["rules"] == [{"service": "robot", "claims": MINE}]
    assert (await world.console.call("acme admin", "DELETE", "/workspaces/acme/providers/none")).status == 404


async def test_d2_an_issuer_inside_is_asked_only_where_it_was_declared(world: World) -> None:
    """A name that leads inside after the provider was added reaches nothing."""
    await world.believe()
    asked = len(world.issuer.asked)
    issuers = world.console.services.issuers
    url = world.issuer.url.replace("http:", "https:")
    with pytest.raises(UpstreamFailed, match="not on the public Internet"):
        await issuers.key(url, "rsa", private_network=False, workspace="acme")
    assert len(world.issuer.asked) == asked


async def test_an_edge_by_itself_exchanges_nothing(tmp_path: Path, issuer: Issuer) -> None:
    console = Console(tmp_path, commit=None, role="edge")
    body = {"workspace": "acme", "token": "x"}
    assert (await console.call("anonymous", "POST", "/oidc/exchange", body)).status == 503
    console.ledger.close()


async def test_whoever_guesses_is_slowed_and_the_token_is_in_no_log(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    spent: list[str] = []
    caplog.set_level("DEBUG")
    console = Console(tmp_path, spend=lambda principal, peer: tuple(spent.append(peer) or ()))  # type: ignore[func-returns-value]
    token = issuer.token({"iss": "https://issuer.example"})
    got = await console.ask(
        "POST",
        "/-/api/v1/oidc/exchange",
        {"Content-Type": "application/json", "X-Entrepot-Peer": "192.0.2.7"},
        json.dumps({"workspace": "acme", "token": token}).encode(),
    )
    assert got.status == 401
    assert spent == ["192.0.2.7"] * 2
    assert token not in caplog.text
    assert token.encode() not in got.body
    console.ledger.close()
