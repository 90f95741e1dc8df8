"""Who is it that an OpenID provider sends back? The steps of an authorization code flow that need no network.

OpenID Connect Core 1.0 section 3.1 with PKCE (RFC 7636). Nothing is kept here while somebody is away (`flows.py`): from
the secret of his browser come the verifier of PKCE and the nonce too.

Each provider has an address of its own to send people back to. So one of them cannot pass off a code that another gave
(RFC 9700 section 4.4), and `iss` is compared where it is told (RFC 9207).
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from gateway.access.signin import flows
from gateway.access.signin.flows import Going
from gateway.access.signin.idtokens import Claims
from gateway.access.signin.issuers import Endpoints
from gateway.access.signin.vouching import Person, Word, refused
from gateway.access.signin.vouching import person_of as person_by
from storage.errors import Forbidden
from storage.nouns import Provider

SCOPES = ("openid", "profile", "email")


def begin(
    provider: Provider, endpoints: Endpoints, workspace: str, next: str, back: str, cookie: str, now_ms: int
) -> str:
    """The address to send a browser to. `back` is where it is to be sent back to, `cookie` its secret."""
    going = flows.set_out(workspace, provider.id, next, now_ms)
    people = provider.people
    asked = {
        "response_type": "code",
        "client_id": provider.audience,
        "redirect_uri": back,
        "scope": " ".join(SCOPES if people is None or not people.scopes else ("openid", *people.scopes)),
        "state": flows.sealed(going, cookie),
        "nonce": flows.derived("nonce", going, cookie),
        "code_challenge": flows.text(hashlib.sha256(verifier_of(going, cookie).encode()).digest()),
        "code_challenge_method": "S256",
    }
    mark = "&" if "?" in endpoints.authorization else "?"
    return f"{endpoints.authorization}{mark}{urlencode(asked, quote_via=quote)}"


def verifier_of(going: Going, cookie: str) -> str:
    """The code verifier of PKCE: 43 characters."""
    return flows.derived("verifier", going, cookie)


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
    if not hmac.compare_digest(nonce.encode(), flows.derived("nonce", going, cookie).encode()):
        raise refused("What it says is not of this sign-in.")
    if claims.values.get("azp", provider.audience) != provider.audience:
        raise refused("It vouches for somebody, but not to this workspace.")
    verified = claims.values.get("email_verified") == "true"
    if people.name == "email" and not verified:
        raise refused("It has not verified your mail address.")
    email = claims.values.get("email", "") if verified else ""
    subject = f"{claims.issuer} {claims.subject}"
    return person_by(people, Word(subject, claims.values.get("name", ""), email, claims.values, claims.lists))


def check_issuer(provider: Provider, endpoints: Endpoints, arguments: Mapping[str, str]) -> None:
    """Raises Forbidden where the answer is another issuer's, or does not say whose although that one always does."""
    said = arguments.get("iss", "")
    if said != provider.issuer and (said or endpoints.names_itself):
        raise Forbidden("This answer is another identity provider's.", "Begin again.")
