"""What is an identity provider asked? SAML 2.0 Core section 3.4."""

from datetime import UTC, datetime
from html import escape

from gateway.saml import names


def sign_in(sign_on: str, audience: str, here: str, id: str, now_ms: int) -> str:
    """To say at `sign_on` who somebody is; the answer to the request of this id is to come to `here`."""
    return (
        f'<p:AuthnRequest xmlns:p="{names.PROTOCOL}" xmlns="{names.ASSERTION}" ID="{escape(id)}" Version="2.0" '
        f'IssueInstant="{instant(now_ms)}" Destination="{escape(sign_on)}" ProtocolBinding="{names.BY_POST}" '
        f'AssertionConsumerServiceURL="{escape(here)}"><Issuer>{escape(audience)}</Issuer>'
        '<p:NameIDPolicy AllowCreate="true"/></p:AuthnRequest>'
    )


def instant(now_ms: int) -> str:
    """A time as SAML writes it (Core section 1.3.3)."""
    return datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
