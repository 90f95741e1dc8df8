"""Who has signed out at an OpenID provider? OpenID Connect Back-Channel Logout 1.0, section 2.4.

It is taken apart, timed and proven as identity tokens are (`idtokens.py`), and can never be taken for one, nor one for
it: it has an event and no nonce.
"""

from typing import NamedTuple

from gateway.access.signin.idtokens import Claims
from storage.errors import Unauthenticated

EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Named(NamedTuple):
    """Whose sessions are over, by the provider's own ids: all of a subject, one of it, or a session; "" = not told."""

    subject: str
    session: str


def named_by(claims: Claims, issuer: str, audience: str) -> Named:
    """Whom this provider names to this client. Raises Unauthenticated."""
    session = claims.values.get("sid", "")
    if (claims.issuer, claims.audience) != (issuer, audience):
        raise _refused("is another provider's, or meant for somebody else")
    if EVENT not in claims.events or "nonce" in claims.names:
        raise _refused("is another kind of token")
    if not claims.values.get("jti", ""):
        raise _refused("has no jti, by which it would be known again")
    if not claims.subject and not session:
        raise _refused("names nobody")
    return Named(claims.subject, session)


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"This logout token {why}.", "Check the client at the identity provider.")
