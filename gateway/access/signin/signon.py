"""Who is it that an OpenID provider sends back? The steps of an authorization code flow that need no network.

OpenID Connect Core 1.0 section 3.1 with PKCE (RFC 7636). Nothing is kept here while somebody is away: what the flow
rests on travels in `state`, sealed with a secret that only his browser has, in a cookie that no script and no other
site can read. From that secret come the verifier of PKCE and the nonce too, so who has the address alone can do
nothing with it, and a flow that was begun in another browser is no flow (C13).

Each provider has an address of its own to send people back to. So one of them cannot pass off a code that another gave
(RFC 9700 section 4.4), and `iss` is compared where it is told (RFC 9207).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from gateway.access.signin.idtokens import Claims
from gateway.access.signin.issuers import Endpoints
from storage.errors import Forbidden, Unauthenticated
from storage.nouns import PERSON_CHARS_MAX, People, Provider

STATE_S_MAX = 600
STATE_CHARS_MAX = 3_500
RANDOM_BYTES = 18
SCOPES = ("openid", "profile", "email")
NAME_CHARS_MAX = 200
GROUPS_MAX = 1_000


class Going(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A flow on its way: at which provider (its id) of which Workspace, and where to go on to afterwards."""

    workspace: str
    provider: str
    next: str
    began_ms: int
    random: str


class Person(NamedTuple):
    """Whom the provider vouches for. `subject` is the same for nobody else, whatever he is called; `teams` are those
    that he is to be in."""

    subject: str
    user_name: str
    display_name: str
    email: str
    teams: frozenset[str]


def begin(
    provider: Provider, endpoints: Endpoints, workspace: str, next: str, back: str, cookie: str, now_ms: int
) -> str:
    """The address to send a browser to. `back` is where it is to be sent back to, `cookie` its secret."""
    going = Going(workspace, provider.id, next, now_ms, _text(secrets.token_bytes(RANDOM_BYTES)))
    people = provider.people
    asked = {
        "response_type": "code",
        "client_id": provider.audience,
        "redirect_uri": back,
        "scope": " ".join(SCOPES if people is None or not people.scopes else ("openid", *people.scopes)),
        "state": _sealed(going, cookie),
        "nonce": _derived("nonce", going, cookie),
        "code_challenge": _text(hashlib.sha256(verifier_of(going, cookie).encode()).digest()),
        "code_challenge_method": "S256",
    }
    mark = "&" if "?" in endpoints.authorization else "?"
    return f"{endpoints.authorization}{mark}{urlencode(asked, quote_via=quote)}"


def returned(state: str, cookie: str, now_ms: int) -> Going:
    """The flow that this browser is back from. Raises Forbidden."""
    sealed, dot, seal = state.partition(".")
    good = len(state) <= STATE_CHARS_MAX and bool(dot) and bool(cookie)
    if good and hmac.compare_digest(_seal(sealed, cookie).encode(), seal.encode("utf-8", "surrogateescape")):
        try:
            going = msgspec.json.decode(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)), type=Going)
        except (ValueError, msgspec.DecodeError):  # sealed for one's own cookie by oneself
            raise _not_begun() from None
        if 0 <= now_ms - going.began_ms <= STATE_S_MAX * 1000:
            return going
    raise _not_begun()


def _not_begun() -> Forbidden:
    return Forbidden("This sign-in was not begun in this browser, or too long ago.", "Begin again.")


def verifier_of(going: Going, cookie: str) -> str:
    """The code verifier of PKCE: 43 characters."""
    return _derived("verifier", going, cookie)


def redemption(
    provider: Provider, endpoints: Endpoints, code: str, back: str, verifier: str, secret: str
) -> tuple[dict[str, str], str]:
    """The fields that redeem a code, and the Authorization to send with them (RFC 6749 sections 2.3.1, 4.1.3)."""
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
    if secret and endpoints.basic:
        pair = f"{quote(provider.audience, safe='')}:{quote(secret, safe='')}"
        return fields, "Basic " + base64.b64encode(pair.encode()).decode()
    fields["client_id"] = provider.audience
    if secret:
        fields["client_secret"] = secret
    return fields, ""


def person_of(provider: Provider, claims: Claims, going: Going, cookie: str) -> Person:
    """Whom proven claims name. Raises Unauthenticated: for this flow, this client, and what the Workspace asks for."""
    people = provider.people
    nonce = claims.values.get("nonce", "")
    if people is None or (claims.issuer, claims.audience) != (provider.issuer, provider.audience):
        raise refused("It vouches for somebody, but not to this workspace.")
    if not hmac.compare_digest(nonce.encode(), _derived("nonce", going, cookie).encode()):
        raise refused("What it says is not of this sign-in.")
    if claims.values.get("azp", provider.audience) != provider.audience:
        raise refused("It vouches for somebody, but not to this workspace.")
    if any(claims.values.get(name) != value for name, value in people.claims.items()):
        raise refused("You are not among those whom this workspace lets in.")
    name = claims.values.get(people.name, "")
    if not name or name != name.strip() or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise refused(f"It does not tell by what you are known here: {people.name}.")
    verified = claims.values.get("email_verified") == "true"
    if people.name == "email" and not verified:
        raise refused("It has not verified your mail address.")
    if people.domains and name.rpartition("@")[2].lower() not in people.domains:
        raise refused("You are not among those whom this workspace lets in.")
    email = _line(claims.values.get("email", "")) if verified else ""
    subject = f"{claims.issuer} {claims.subject}"
    return Person(subject, name, _line(claims.values.get("name", "")), email, _teams(people, claims))


def _line(text: str) -> str:
    """A text that may be kept of somebody, "" for any other: SCIM would refuse to touch who has it."""
    return text if len(text) <= PERSON_CHARS_MAX and text.isprintable() else ""


def _teams(people: People, claims: Claims) -> frozenset[str]:
    said = claims.lists.get(people.groups) or (
        (claims.values[people.groups],) if people.groups in claims.values else ()
    )
    return frozenset(people.teams[one] for one in said[:GROUPS_MAX] if one in people.teams)


def refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"Your identity provider did not sign you in here. {why}", "Ask who manages the workspace.")


def check_issuer(provider: Provider, endpoints: Endpoints, arguments: Mapping[str, str]) -> None:
    """Raises Forbidden where the answer is another issuer's, or does not say whose although that one always does."""
    said = arguments.get("iss", "")
    if said != provider.issuer and (said or endpoints.names_itself):
        raise Forbidden("This answer is another identity provider's.", "Begin again.")


def _derived(what: str, going: Going, cookie: str) -> str:
    return _text(hmac.digest(cookie.encode(), f"entrepot oidc {what} {going.random}".encode(), "sha256"))


def _sealed(going: Going, cookie: str) -> str:
    text = _text(msgspec.json.encode(going))
    return f"{text}.{_seal(text, cookie)}"


def _seal(text: str, cookie: str) -> str:
    return _text(
        hmac.digest(cookie.encode(), b"entrepot oidc state " + text.encode("utf-8", "surrogateescape"), "sha256")
    )


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
