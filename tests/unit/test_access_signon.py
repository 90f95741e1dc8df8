"""Does who comes back from an OpenID provider get in as himself, from the flow that his own browser began? (C9, C13)

Pure: the claims are as the verifier of identity tokens (test_api_oidc) would have proven them.
"""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.access.signin import flows, signon
from gateway.access.signin.flows import Going
from gateway.access.signin.idtokens import Claims
from gateway.access.signin.issuers import Endpoints
from gateway.access.signin.vouching import Person
from storage.errors import Forbidden, Unauthenticated
from storage.nouns import People, Provider
from tests.harness.ledgers import NOW_MS

ISSUER, CLIENT, BACK, COOKIE = "https://idp.example", "entrepot", "https://pkgs.example/back", "c" * 32
ENDPOINTS = Endpoints(f"{ISSUER}/authorize", f"{ISSUER}/token", True, True)


def provider(**people: Any) -> Provider:
    said = {"name": "preferred_username"} | people
    return Provider("idp_1", "acme", ISSUER, CLIENT, (), 900, people=People(**said))


def begun(cookie: str = COOKIE, endpoints: Endpoints = ENDPOINTS) -> dict[str, str]:
    """The arguments that a browser takes to the provider."""
    address = signon.begin(provider(), endpoints, "acme", "/-/account", BACK, cookie, NOW_MS)
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{ISSUER}/authorize"
    return {name: one for name, [one] in parse_qs(parts.query).items()}


def going(cookie: str = COOKIE) -> Going:
    return flows.returned(begun(cookie)["state"], cookie, NOW_MS)


def claims(way: Going, values: dict[str, str], lists: Any = None, *, issuer: str = ISSUER, aud: str = CLIENT) -> Claims:
    nonce = flows.derived("nonce", way, COOKIE)
    good = {"nonce": nonce, "preferred_username": "ann@acme.example", "email": "ann@acme.example"}
    said = {name: value for name, value in (good | values).items() if value}
    return Claims(issuer, "s-1", aud, 2, 1, 0, b"", said, lists or {})


def person(values: dict[str, str] | None = None, lists: Any = None, **people: Any) -> Person:
    way = going()
    return signon.person_of(provider(**people), claims(way, values or {}, lists), way, COOKIE)


def test_a_flow_is_begun_as_the_specification_says() -> None:
    asked = begun()
    way = flows.returned(asked["state"], COOKIE, NOW_MS)
    assert (way.workspace, way.provider, way.next) == ("acme", "idp_1", "/-/account")
    assert (asked["response_type"], asked["client_id"], asked["redirect_uri"]) == ("code", CLIENT, BACK)
    assert asked["scope"] == "openid profile email"
    verifier = signon.verifier_of(way, COOKIE)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    assert (asked["code_challenge_method"], asked["code_challenge"]) == ("S256", challenge)
    assert 43 <= len(verifier) <= 128
    assert verifier not in str(asked)
    assert COOKIE not in str(asked)
    again = begun()
    assert again["nonce"] != asked["nonce"]
    assert again["code_challenge"] != asked["code_challenge"]


def test_an_address_that_has_a_query_keeps_it() -> None:
    asked = begun(endpoints=ENDPOINTS._replace(authorization=f"{ISSUER}/authorize?tenant=7"))
    assert (asked["tenant"], asked["response_type"]) == ("7", "code")


def test_c13_a_state_is_good_in_its_browser_unchanged_and_not_for_long() -> None:
    state = begun()["state"]
    body, _, seal = state.partition(".")
    forged = base64.urlsafe_b64encode(b'["other","idp_2","/-/account",1,"x"]').decode().rstrip("=")
    for bad in (
        "",
        ".",
        state[:-1],
        state + "A",
        f"{forged}.{seal}",
        f"{body}.",
        f".{seal}",
        "\udc80.\udc80",
        f"AAAA.{flows.seal('AAAA', COOKIE)}",
        "x" * 9_000,
    ):
        with pytest.raises(Forbidden):
            flows.returned(bad, COOKIE, NOW_MS)
    for cookie in ("", "d" * 32):
        with pytest.raises(Forbidden):
            flows.returned(state, cookie, NOW_MS)
    for at_ms in (NOW_MS - 1, NOW_MS + flows.STATE_S_MAX * 1000 + 1):
        with pytest.raises(Forbidden):
            flows.returned(state, COOKIE, at_ms)
    assert flows.returned(state, COOKIE, NOW_MS + flows.STATE_S_MAX * 1000)


def test_whom_the_claims_name() -> None:
    found = person({"name": "Ann", "email_verified": "true"})
    assert found == Person(f"{ISSUER} s-1", "ann@acme.example", "Ann", "ann@acme.example", frozenset())
    assert person().email == "", "an address that nobody verified is not kept"


def test_c9_claims_of_another_flow_client_or_issuer_are_nobody() -> None:
    way = going()
    other = going()
    good = claims(way, {})
    assert signon.person_of(provider(), good, way, COOKIE)
    bad = [
        claims(other, {}),
        claims(way, {"nonce": ""}),
        claims(way, {"azp": "another-client"}),
        claims(way, {}, issuer="https://other.example"),
        claims(way, {}, aud="another-client"),
    ]
    for one in bad:
        with pytest.raises(Unauthenticated):
            signon.person_of(provider(), one, way, COOKIE)
    with pytest.raises(Unauthenticated):
        signon.person_of(Provider("idp_1", "ci", ISSUER, CLIENT, (), 900), good, way, COOKIE)


@pytest.mark.parametrize(
    ("people", "values"),
    [
        ({"name": "email"}, {}),
        ({"name": "email"}, {"email_verified": "false"}),
        ({"domains": ("other.example",)}, {}),
        ({"domains": ("acme.example",)}, {"preferred_username": "ann@acme.example.evil.example"}),
        ({"domains": ("acme.example",)}, {"preferred_username": "ann"}),
        ({"claims": {"tid": "7"}}, {}),
        ({"claims": {"tid": "7"}}, {"tid": "8"}),
        ({}, {"preferred_username": ""}),
        ({}, {"preferred_username": " ann"}),
        ({}, {"preferred_username": "an\nn"}),
        ({}, {"preferred_username": "x" * 201}),
        ({"name": "upn"}, {}),
    ],
)
def test_who_is_not_let_in(people: dict[str, Any], values: dict[str, str]) -> None:
    """Above all nobody by a mail address that the provider has not verified."""
    with pytest.raises(Unauthenticated):
        person(values, **people)


def test_who_is_let_in() -> None:
    assert person({"email_verified": "true"}, name="email").user_name == "ann@acme.example"
    assert person(domains=("acme.example",)).user_name == "ann@acme.example"
    assert person({"tid": "7"}, claims={"tid": "7"}).user_name == "ann@acme.example"


def test_groups_lead_to_teams_that_are_named_for_them() -> None:
    said: dict[str, Any] = {"groups": "groups", "teams": {"g-web": "web", "g-ops": "ops"}}
    assert person({}, {"groups": ("g-web", "g-all")}, **said).teams == {"web"}
    assert person({"groups": "g-ops"}, {}, **said).teams == {"ops"}, "one that comes alone"
    assert person({}, {"other": ("g-web",)}, **said).teams == frozenset()


def test_a_code_is_redeemed_as_the_provider_takes_it() -> None:
    one = provider()
    fields, authorization = signon.redemption(one, ENDPOINTS, "code", BACK, "verifier", "s:e c")
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"entrepot:s%3Ae%20c"
    assert fields == {
        "grant_type": "authorization_code", "code": "code", "redirect_uri": BACK, "code_verifier": "verifier",
    }  # fmt: skip
    fields, authorization = signon.redemption(one, ENDPOINTS._replace(basic=False), "code", BACK, "verifier", "s:e c")
    assert (fields["client_id"], fields["client_secret"], authorization) == (CLIENT, "s:e c", "")
    fields, authorization = signon.redemption(one, ENDPOINTS, "code", BACK, "verifier", "")
    assert (fields["client_id"], fields.get("client_secret"), authorization) == (CLIENT, None, "")


def test_an_answer_says_whose_it_is() -> None:
    signon.check_issuer(provider(), ENDPOINTS, {"iss": ISSUER})
    signon.check_issuer(provider(), ENDPOINTS._replace(names_itself=False), {})
    for endpoints, said in ((ENDPOINTS, {}), (ENDPOINTS, {"iss": "https://other.example"})):
        with pytest.raises(Forbidden):
            signon.check_issuer(provider(), endpoints, said)
